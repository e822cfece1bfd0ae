"""Channels for somebody's consumer, through the node's one inbox."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)
from channels.layers import get_channel_layer
from django.contrib.auth.models import User

from channels_realtime import Channel, apublish, apublish_to_user, errors
from channels_realtime.channels import registry
from channels_realtime.connections.server_subscriptions import HANDLERS
from channels_realtime.consumers import RealtimeConsumer
from channels_realtime.mixins import ChannelsMixin, ConsumerMixin, RealtimeMixin
from tests.site.realtime import HookedChannel
from tests.support.asgi_socket import AsgiSocket
from tests.unit.mixins.consumers import KINDS, closing, made, nothing_left, until


class Remote(ChannelsMixin, AsyncJsonWebsocketConsumer):
    """Does what its client says, and answers ``null`` or the error's code."""

    async def receive_json(self, content):
        verb, *arguments = content
        try:
            await getattr(self.channels, verb)(*arguments)
        except errors.RealtimeError as error:
            await self.send_json([error.code, error.reason])
        else:
            await self.send_json(None)


class SyncRemote(ChannelsMixin, JsonWebsocketConsumer):
    def receive_json(self, content):
        verb, *arguments = content
        try:
            getattr(self.channels, verb)(*arguments)
        except errors.RealtimeError as error:
            self.send_json([error.code, error.reason])
        else:
            self.send_json(None)


REMOTES = (Remote, SyncRemote)


async def done(socket: AsgiSocket, *call: object) -> None:
    socket.send(call)
    assert await socket.read() is None


async def failed(socket: AsgiSocket, *call: object) -> str:
    socket.send(call)
    code, _ = await socket.read()
    return str(code)


@pytest.mark.parametrize("remote", REMOTES)
async def test_publication_arrives_as_the_wires_message(node, remote):
    async with AsgiSocket(remote.as_asgi()) as socket:
        await done(socket, "subscribe", "public/a")
        await apublish("public/a", {"n": 1}, event="number")
        assert await socket.read() == {
            "type": "message",
            "channel": "public/a",
            "payload": {"n": 1},
            "event": "number",
        }
    await nothing_left(node)


@pytest.mark.parametrize("remote", REMOTES)
async def test_nothing_arrives_after_unsubscribing(node, remote):
    async with AsgiSocket(remote.as_asgi()) as socket:
        await done(socket, "subscribe", "public/a")
        await done(socket, "subscribe", "public/b")
        await done(socket, "unsubscribe", "public/a")
        await apublish("public/a", 1)
        await apublish("public/b", 2)
        assert (await socket.read())["payload"] == 2


@pytest.mark.parametrize("remote", REMOTES)
async def test_server_puts_a_consumer_on_a_channel_with_its_state(node, remote):
    class Board(Channel):
        state = "last"

    registry.register("board/<str:x>", Board)
    try:
        await apublish("board/a", "before")
        async with AsgiSocket(remote.as_asgi()) as socket:
            await done(socket, "subscribe", "public/a")  # it is open
            found = await HANDLERS["subscribe"](
                node,
                {"connections": list(node.connections), "channel": "board/a", "parameters": None},
            )
            assert found == {"done": list(node.connections), "impossible": []}
            await apublish("board/a", "after")
            assert (await socket.read())["automatic"] is True
            received = [await socket.read(), await socket.read()]
            assert [(m["payload"], m.get("state", False)) for m in received] == [
                ("before", True),
                ("after", False),
            ]
    finally:
        registry.unregister("board/<str:x>")


@pytest.mark.parametrize("remote", REMOTES)
async def test_client_publishes_with_its_rights_and_as_the_sender(node, remote):
    async with AsgiSocket(remote.as_asgi(), user=User(pk=7)) as socket:
        await done(socket, "subscribe", "public/a")
        socket.send(["publish", "public/a", {"n": 1}, "typing"])
        frames = [await socket.read(), await socket.read()]
        assert None in frames
        frames.remove(None)
        assert frames == [
            {
                "type": "message",
                "channel": "public/a",
                "payload": {"n": 1},
                "event": "typing",
                "sender": {"user": "7"},
            }
        ]
        assert await failed(socket, "publish", "public/a", 1, "other") == "forbidden"
        assert await failed(socket, "publish", "closed/a", 1) == "forbidden"


@pytest.mark.parametrize("remote", REMOTES)
@pytest.mark.parametrize(
    ("call", "code"),
    [
        (("subscribe", "closed/a"), "forbidden"),
        (("subscribe", "members/1"), "forbidden"),
        (("subscribe", "nowhere"), "unknown_channel"),
        (("subscribe", "a b"), "bad_channel"),
        (("subscribe", "users/1"), "forbidden"),
        (("subscribe", "broken/permission"), "forbidden"),
        (("subscribe", "broken/missing"), "unknown_channel"),
        (("subscribe", "broken/invalid"), "bad_payload"),
        (("unsubscribe", "public/a"), "not_subscribed"),
        (("subscribe", ["a"]), "bad_channel"),
        (("unsubscribe", {}), "bad_channel"),
        (("publish", 5, 1), "bad_channel"),
        (("publish", "public/a", 1, 5), "bad_payload"),
        (("publish", "public/a", 1, {}), "bad_payload"),
        (("publish", "public/a", "x" * 70_000), "too_large"),
    ],
)
async def test_refusal_is_raised_with_its_code(node, remote, call, code):
    async with AsgiSocket(remote.as_asgi()) as socket:
        assert await failed(socket, *call) == code


async def test_bug_in_a_hook_is_raised_as_it_is(node):
    class Chat(ChannelsMixin, AsyncWebsocketConsumer):
        async def connect(self):
            await self.channels.subscribe("broken/bug")

    with pytest.raises(ZeroDivisionError, match="planted-secret"):
        await AsgiSocket(Chat.as_asgi()).connect()
    await nothing_left(node)


async def test_second_subscribe_is_already_subscribed_and_the_limit_holds(configure, make_node):
    configure(MAX_SUBSCRIPTIONS=2)
    make_node()
    async with AsgiSocket(Remote.as_asgi()) as socket:
        await done(socket, "subscribe", "public/a")
        assert await failed(socket, "subscribe", "public/a") == "already_subscribed"
        await done(socket, "subscribe", "public/b")
        assert await failed(socket, "subscribe", "public/c") == "too_many_subscriptions"


async def test_two_subscribes_at_the_same_moment_are_one_subscription(node):
    outcomes: list[object] = []

    class Chat(ChannelsMixin, AsyncWebsocketConsumer):
        async def connect(self):
            outcomes.extend(
                await asyncio.gather(
                    *(self.channels.subscribe("public/a") for _ in range(3)),
                    return_exceptions=True,
                )
            )
            await self.accept()

    async with AsgiSocket(Chat.as_asgi()):
        assert [type(o).__name__ for o in outcomes] == ["NoneType"] + ["AlreadySubscribed"] * 2
    await nothing_left(node)


async def test_parameters_select(node):
    async with AsgiSocket(Remote.as_asgi()) as socket:
        await done(socket, "subscribe", "stocks", {"symbol": "AAPL"})
        await done(socket, "subscribe", "stocks", {"symbol": "MSFT"})
        await done(socket, "unsubscribe", "stocks", {"symbol": "AAPL"})
        await apublish("stocks", {"symbol": "AAPL", "price": 1})
        await apublish("stocks", {"symbol": "MSFT", "price": 2})
        assert (await socket.read())["payload"] == {"symbol": "MSFT", "price": 2}


async def test_channels_are_a_collection_of_names(node):
    seen: list[object] = []

    class Chat(ChannelsMixin, AsyncWebsocketConsumer):
        async def connect(self):
            await self.channels.subscribe("public/a")
            await self.channels.subscribe("public/b")
            seen.extend((list(self.channels), len(self.channels), "public/a" in self.channels))
            await self.accept()

    async with AsgiSocket(Chat.as_asgi()):
        assert seen == [["public/a", "public/b"], 2, True]


async def test_users_own_channel_is_subscribed_to_like_any_other(node):
    user = User(pk=7)
    async with AsgiSocket(Remote.as_asgi(), user=user) as socket:
        await done(socket, "subscribe", "users/7")
        await apublish_to_user(user, "hello")
        assert (await socket.read())["payload"] == "hello"


async def test_hooks_of_the_channel_see_the_connection_and_its_end(node):
    HookedChannel.log.clear()
    async with AsgiSocket(Remote.as_asgi()) as socket:
        await done(socket, "subscribe", "hooked/a")
        await done(socket, "publish", "hooked/b", "x")
    await nothing_left(node)
    assert HookedChannel.log == [("subscribe", "hooked/a"), ("unsubscribe", "hooked/a")]


@pytest.mark.parametrize("kind", [AsyncWebsocketConsumer, WebsocketConsumer])
async def test_what_is_published_before_the_accept_follows_it(node, kind):
    if kind is AsyncWebsocketConsumer:

        async def connect(self):
            await self.channels.subscribe("public/a")
            await apublish("public/a", 1)
            await until(lambda: node.metrics.delivered == 1)
            await self.accept()
    else:

        def connect(self):
            from channels_realtime import publish

            self.channels.subscribe("public/a")
            publish("public/a", 1)
            self.accept()

    async with AsgiSocket(made(ChannelsMixin, kind, connect=connect)) as socket:
        assert socket.accepted is not None
        assert (await socket.read())["payload"] == 1


# -- the consumer's own handler --------------------------------------------------------------------


class Own(Remote):
    """Writes publications in words of its own."""

    async def channel_message(self, channel, payload, event, sender):
        await self.send_json({"on": channel, "said": payload, "event": event, "by": sender})


async def test_publication_is_handed_to_the_consumers_own_handler(node):
    async with AsgiSocket(Own.as_asgi(), user=User(pk=7)) as socket:
        await done(socket, "subscribe", "public/a")
        await done(socket, "publish", "public/a", {"n": 1})
        expected = {"on": "public/a", "said": {"n": 1}, "event": None, "by": {"user": "7"}}
        assert await socket.read() == expected
        await apublish("public/a", 2, event="number")
        expected = {"on": "public/a", "said": 2, "event": "number", "by": None}
        assert await socket.read() == expected
    await nothing_left(node)


async def test_payload_is_each_consumers_own_and_bytes_are_bytes(node):
    seen: list[object] = []

    class Changing(Remote):
        async def channel_message(self, channel, payload, event, sender):
            payload["seen"] = payload.get("seen", 0) + 1
            seen.append(payload)

    async with AsgiSocket(Changing.as_asgi()) as first, AsgiSocket(Changing.as_asgi()) as second:
        for socket in (first, second):
            await done(socket, "subscribe", "public/a")
        await apublish("public/a", {"raw": b"\x00\xff"})
        await until(lambda: len(seen) == 2)
    assert seen == [{"raw": b"\x00\xff", "seen": 1}] * 2


async def test_handler_falls_back_on_the_wires_message(node):
    class Some(Remote):
        async def channel_message(self, channel, payload, event, sender):
            if payload != "mine":
                await super().channel_message(channel, payload, event, sender)

    async with AsgiSocket(Some.as_asgi()) as socket:
        await done(socket, "subscribe", "public/a")
        await apublish("public/a", "mine")
        await apublish("public/a", {"raw": b"\xff"})
        expected = {"type": "message", "channel": "public/a", "payload": {"raw": "/w=="}}
        assert await socket.read() == expected


async def test_handlers_of_a_consumer_never_run_at_the_same_time(node):
    running = 0
    most = 0
    handled: list[object] = []

    class Chat(Remote):
        async def _work(self, what):
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            handled.append(what)

        async def receive_json(self, content):
            if content == "subscribe":
                await self.channels.subscribe("public/a")
            await self._work(content)

        async def channel_message(self, channel, payload, event, sender):
            await self._work(payload)

    async with AsgiSocket(Chat.as_asgi()) as socket:
        socket.send("subscribe")
        await until(lambda: handled)
        for number in range(20):
            socket.send(f"frame {number}")
            await apublish("public/a", number)
        await until(lambda: len(handled) == 41)
    assert most == 1
    assert [n for n in handled if isinstance(n, int)] == list(range(20))
    assert handled.index(19) < 40 or handled.index("frame 19") < 40


async def test_client_that_writes_without_end_does_not_starve_its_deliveries(node):
    handled: list[object] = []

    class Chat(Own):
        async def connect(self):
            await self.channels.subscribe("public/a")
            await self.accept()

        async def receive_json(self, content):
            handled.append("frame")

        async def channel_message(self, channel, payload, event, sender):
            handled.append("delivery")

    async with AsgiSocket(Chat.as_asgi()) as socket:
        for number in range(20):
            await apublish("public/a", number)
            socket.send(number)
            socket.send(number)
        await until(lambda: handled.count("delivery") == 20)
        assert handled.count("frame") <= 40


async def test_what_waits_of_a_channel_is_taken_back_with_it(node):
    entered, go_on = asyncio.Event(), asyncio.Event()
    seen: list[object] = []

    class Chat(Remote):
        async def connect(self):
            await self.channels.subscribe("public/a")
            await self.accept()

        async def channel_message(self, channel, payload, event, sender):
            seen.append(payload)
            entered.set()
            await go_on.wait()
            await self.channels.unsubscribe("public/a")

    async with AsgiSocket(Chat.as_asgi()) as socket:
        for number in range(3):
            await apublish("public/a", number)
        await entered.wait()
        await until(lambda: node.metrics.delivered == 3)
        go_on.set()
        assert await failed(socket, "unsubscribe", "public/a") == "not_subscribed"
    assert seen == [0]


async def test_handler_that_falls_behind_is_a_slow_client(configure, make_node):
    configure(OUTBOX_MAX_MESSAGES=2)
    node = make_node()
    go_on = asyncio.Event()

    class Chat(Own):
        async def connect(self):
            await self.channels.subscribe("public/a")
            await self.accept()

        async def channel_message(self, channel, payload, event, sender):
            await go_on.wait()

    async with AsgiSocket(Chat.as_asgi()) as socket:
        for number in range(5):
            await apublish("public/a", number)
            await until(lambda n=number: node.metrics.delivered == n + 1 or node.metrics.slow)
        assert await closing(socket) == 4430
        assert node.statistics().metrics.slow == 1
        go_on.set()
    await nothing_left(node)


# -- history ---------------------------------------------------------------------------------------


async def lose_history(node, client_published):
    """Publish, then lose the history, and publish again: a new epoch, of which this is the first."""
    await apublish("kept/a", "before")
    await client_published()
    node.history._streams.clear()
    await apublish("kept/a", "after")


@pytest.mark.parametrize("remote", REMOTES)
async def test_client_of_a_channel_with_history_gets_positions_and_hears_of_losses(node, remote):
    async with AsgiSocket(remote.as_asgi()) as socket:
        await done(socket, "subscribe", "kept/a")
        first = []

        async def published():
            first.append(await socket.read())

        await lose_history(node, published)
        assert (first[0]["payload"], first[0]["offset"]) == ("before", 1)
        word, after = await socket.read(), await socket.read()
        assert word["type"] == "subscribed"
        assert word["payload"] == {"epoch": after["epoch"], "offset": 0, "recovered": False}
        assert (after["payload"], after["offset"]) == ("after", 1)


@pytest.mark.parametrize("fall_back", [True, False])
async def test_consumer_of_a_channel_with_history_hears_of_losses_in_order(node, fall_back):
    class Chat(Remote):
        async def channel_message(self, channel, payload, event, sender):
            await self.send_json(payload)

        async def channel_missed(self, channel, epoch, offset):
            if fall_back:
                await super().channel_missed(channel, epoch, offset)
            else:
                await self.send_json([channel, offset])

    async with AsgiSocket(Chat.as_asgi()) as socket:
        await done(socket, "subscribe", "kept/a")

        async def published():
            assert await socket.read() == "before"

        await lose_history(node, published)
        told = await socket.read()
        if fall_back:
            assert (told["type"], told["payload"]["recovered"]) == ("subscribed", False)
        else:
            assert told == ["kept/a", 0]
        assert await socket.read() == "after"


# -- ends ------------------------------------------------------------------------------------------


@pytest.fixture
def changing_right(monkeypatch):
    from tests.site.realtime import PublicChannel

    allowed = {"yes": True}
    monkeypatch.setattr(
        PublicChannel, "can_subscribe", lambda self, connection: allowed["yes"], raising=False
    )
    return allowed


@pytest.mark.parametrize("remote", REMOTES)
async def test_client_is_told_when_its_right_ends(node, changing_right, remote):
    async with AsgiSocket(remote.as_asgi()) as socket:
        await done(socket, "subscribe", "public/a")
        changing_right["yes"] = False
        (connection,) = node.connections.values()
        await connection.recheck()
        assert await socket.read() == {
            "type": "unsubscribed",
            "channel": "public/a",
            "payload": {"code": "forbidden", "reason": "no longer allowed on 'public/a'"},
        }
        assert await failed(socket, "unsubscribe", "public/a") == "not_subscribed"


@pytest.mark.parametrize("fall_back", [True, False])
async def test_consumer_is_told_when_a_right_ends(node, changing_right, fall_back):
    class Chat(Remote):
        async def channel_ended(self, channel, code, reason):
            if fall_back:
                await super().channel_ended(channel, code, reason)
            else:
                await self.send_json([channel, code])

    async with AsgiSocket(Chat.as_asgi()) as socket:
        await done(socket, "subscribe", "public/a")
        await apublish("public/a", 1)
        assert (await socket.read())["type"] == "message"
        changing_right["yes"] = False
        (connection,) = node.connections.values()
        await connection.recheck()
        told = await socket.read()
        if fall_back:
            assert told["payload"]["code"] == "forbidden"
        else:
            assert told == ["public/a", "forbidden"]


async def test_subscribing_on_a_closed_connection_ends_the_handler_quietly(node):
    inside, go_on = asyncio.Event(), asyncio.Event()

    class Chat(Remote):
        async def receive(self, text_data=None, bytes_data=None):
            inside.set()
            await go_on.wait()
            await self.channels.subscribe("public/a")
            raise AssertionError

    async with AsgiSocket(Chat.as_asgi()) as socket:
        socket.send_text("x")
        await inside.wait()
        (connection,) = node.connections.values()
        connection.revoke("over")
        assert await closing(socket) == 4401
        go_on.set()
    await nothing_left(node)


# -- cost ------------------------------------------------------------------------------------------


async def test_frame_is_encoded_once_for_all_and_shared_with_our_own_consumer(node):
    async with (
        AsgiSocket(Remote.as_asgi()) as first,
        AsgiSocket(SyncRemote.as_asgi()) as second,
        AsgiSocket(RealtimeConsumer.as_asgi()) as ours,
    ):
        await ours.expect("welcome")
        await ours.ask({"type": "subscribe", "channel": "public/a"})
        for socket in (first, second):
            await done(socket, "subscribe", "public/a")
        await apublish("public/a", 1)
        events = [await socket.event() for socket in (first, second, ours)]
        assert events[0] is events[1] is events[2]


async def test_connection_takes_no_layer_channel(node):
    layer = get_channel_layer()
    sockets = [AsgiSocket(Remote.as_asgi()) for _ in range(5)]
    for socket in sockets:
        await socket.connect()
        await done(socket, "subscribe", "public/a")
    assert len(layer.channels) <= 1  # the node's inbox
    assert [len(members) for members in layer.groups.values()] == [1] * len(layer.groups)
    for socket in sockets:
        await socket.disconnect()


@pytest.mark.parametrize("kind", [AsyncWebsocketConsumer, WebsocketConsumer])
async def test_layer_says_what_is_missing_where_there_is_none(node, kind):
    if kind is WebsocketConsumer:

        def connect(self):
            self.channel_layer.group_add("chat", "x")
    else:

        async def connect(self):
            await self.channel_layer.group_add("chat", "x")

    chat = type("Chat", (ChannelsMixin, kind), {"connect": connect})
    with pytest.raises(errors.ImproperUse) as refused:
        await AsgiSocket(chat.as_asgi()).connect()  # type: ignore[attr-defined]
    assert str(refused.value) == (
        "Chat has no channel_layer: ChannelsMixin spares each connection a layer channel. Subscribe"
        " to channels, or set channel_layer_alias = 'default' to have groups as well"
    )


def test_groups_without_a_layer_channel_are_refused():
    with pytest.raises(errors.ImproperUse, match=r"Chat has groups \['chat'\] and no layer chann"):
        type("Chat", (ChannelsMixin, AsyncWebsocketConsumer), {"groups": ["chat"]})


async def test_groups_and_channels_stand_side_by_side_where_a_layer_is_named(node):
    class Both(Remote):
        channel_layer_alias = "default"
        groups = ["chat"]

        async def chat_message(self, event):
            await self.send_json(event["text"])

    async with AsgiSocket(Both.as_asgi()) as socket:
        await done(socket, "subscribe", "public/a")
        await get_channel_layer().group_send("chat", {"type": "chat.message", "text": "group"})
        assert await socket.read() == "group"
        await apublish("public/a", "channel")
        assert (await socket.read())["payload"] == "channel"


# -- sync ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mixin", [ChannelsMixin, RealtimeMixin])
@pytest.mark.parametrize("hook", ["channel_message", "channel_ended"])
def test_sync_consumer_may_not_take_publications_itself(mixin, hook):
    with pytest.raises(errors.ImproperUse, match=f"Chat is a sync consumer and overrides {hook}"):
        type("Chat", (mixin, WebsocketConsumer), {hook: lambda self, *args: None})


async def test_delivery_does_not_wait_for_the_thread_of_sync_consumers(node):
    go_on, inside = threading.Event(), threading.Event()

    class Busy(ConsumerMixin, WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            inside.set()
            go_on.wait(20.0)

    async with AsgiSocket(SyncRemote.as_asgi()) as first, AsgiSocket(Own.as_asgi()) as second:
        for socket in (first, second):
            await done(socket, "subscribe", "public/a")
        async with AsgiSocket(Busy.as_asgi()) as busy:
            busy.send_text("x")
            await until(inside.is_set)
            await apublish("public/a", 1)
            assert (await first.read())["payload"] == 1
            assert (await second.read())["said"] == 1
            go_on.set()


async def test_sync_consumer_subscribes_from_a_thread_of_its_own(node):
    class Chat(ChannelsMixin, WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            def work():
                self.channels.subscribe("public/a")
                self.send(text_data=json.dumps(list(self.channels)))

            threading.Thread(target=work).start()

    async with AsgiSocket(Chat.as_asgi()) as socket:
        socket.send_text("x")
        assert await socket.read() == ["public/a"]


# -- the user's own channel ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_user_is_on_the_own_channel_from_the_start(node, kind):
    alice = await User.objects.acreate(username="alice")
    application = made(ChannelsMixin, kind)
    async with AsgiSocket(application, user=alice) as socket:
        await apublish_to_user(alice, {"n": 1}, event="news")
        assert await socket.read() == {
            "type": "message",
            "channel": f"users/{alice.pk}",
            "event": "news",
            "payload": {"n": 1},
        }
    await nothing_left(node)


async def test_own_publications_wait_until_the_consumer_accepts(node):
    alice = await User.objects.acreate(username="alice")

    class Slow(ChannelsMixin, AsyncJsonWebsocketConsumer):
        async def connect(self):
            await apublish_to_user(alice, "early")
            await self.accept()

        async def channel_message(self, channel, payload, event, sender):
            await self.send_json([channel, payload])

    async with AsgiSocket(Slow.as_asgi(), user=alice) as socket:
        assert socket.accepted is not None
        assert await socket.read() == [f"users/{alice.pk}", "early"]


@pytest.mark.parametrize("remote", REMOTES)
async def test_subscribing_to_the_own_channel_is_no_error(node, remote):
    alice = await User.objects.acreate(username="alice")
    async with AsgiSocket(remote.as_asgi(), user=alice) as socket:
        name = f"users/{alice.pk}"
        await done(socket, "subscribe", name)
        await done(socket, "unsubscribe", name)
        await done(socket, "subscribe", name)
        await apublish_to_user(alice, 1)
        assert (await socket.read())["payload"] == 1


async def test_consumer_without_channels_is_not_on_the_own_channel(node):
    alice = await User.objects.acreate(username="alice")
    async with AsgiSocket(made(ConsumerMixin, AsyncWebsocketConsumer), user=alice):
        assert len(node.hub) == 0
