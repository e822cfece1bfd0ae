"""Acknowledged delivery on a node: redelivery, and the hook for what nobody acknowledged."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser

from channels_realtime import Channel, History, UserChannel, publications
from channels_realtime.auth.base import Authenticated
from channels_realtime.connections.inboxes import DELAY_S, HOOK_RETRY_S, Inboxes
from channels_realtime.errors import Unavailable
from channels_realtime.identity import Identity
from channels_realtime.protocol.messages import Position, Publication
from channels_realtime.publications import outgoing_of
from channels_realtime.stores.history.inboxes import Inbox
from tests.support.nodes import FakeClient, NodeHarness, subscribe
from tests.support.virtual_time import VirtualClock, in_virtual_time, settle

AFTER_S = 20.0  # less than a client may be silent


class Tasks(Channel):
    public = True
    history = History(size=5)
    inbox = True
    unacknowledged_after = AFTER_S
    calls: list[Any] = []
    failing = False
    allowed = True

    async def can_subscribe(self, connection):
        return self.allowed

    async def on_unacknowledged(self, user_id, publications):
        self.calls.append((self.qualified_name, user_id, [one.payload for one in publications]))
        if self.failing:
            raise ValueError("no mail server")


class Own(UserChannel):
    history = History(size=5)
    inbox = True
    unacknowledged_after = AFTER_S

    async def on_unacknowledged(self, user_id, publications):
        Tasks.calls.append((self.name, user_id, [one.payload for one in publications]))


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    monkeypatch.setattr(Tasks, "calls", [])
    monkeypatch.setattr(Tasks, "failing", False)
    monkeypatch.setattr(Tasks, "allowed", True)
    monkeypatch.setattr(publications.time, "time", VirtualClock().time)
    return Tasks


class Harness(NodeHarness):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.node.routes.register("tasks/<str:x>", Tasks)
        self.node.routes.register("users/<user_id>", Own)
        self.service = self.node.service(Inboxes)

    async def enter(self, user_id: str | None) -> FakeClient:
        """A client of this user; what the welcome brings is not taken yet."""
        client = FakeClient(self.node)
        self.clients.append(client)
        if user_id is not None:
            identity = Identity(user_id=user_id, method="session")
            found = Authenticated(identity=identity, user=AnonymousUser())
            assert client.connection.authenticated(found, self.node.clock.time())
        await client.connection.welcome()
        await settle()
        return client

    async def leave(self, client: FakeClient) -> None:
        client.connection.finish()
        self.clients.remove(client)
        await settle()

    async def publish(self, channel: str, *payloads: Any) -> None:
        found = self.node.routes.resolve(channel)
        for payload in payloads:
            outgoing = outgoing_of(
                found,
                Publication(channel=channel, payload=payload),
                key=None,
                condition=None,
                transient=False,
            )
            await self.node.publish(outgoing)
        await settle()


async def ack(client: FakeClient, channel: str, message: dict, **fields: Any) -> list[dict]:
    at = {"epoch": message["epoch"], "offset": message["offset"]}
    return await client.ask({"type": "ack", "channel": channel, "payload": at, **fields})


def payloads(messages: list[dict]) -> list[Any]:
    return [each["payload"] for each in messages if each["type"] == "message"]


# -- redelivery ------------------------------------------------------------------------------------


@in_virtual_time
async def test_what_was_not_acknowledged_comes_again_with_the_next_subscription():
    async with Harness() as harness:
        client = await harness.enter("5")
        client.take()
        first = await client.ask(subscribe("tasks/a", id=1))
        assert "recovered" not in first[0]["payload"]
        await harness.publish("tasks/a", 1, 2, 3)
        found = client.take()
        assert payloads(found) == [1, 2, 3]
        assert await ack(client, "tasks/a", found[0]) == []
        assert await ack(client, "tasks/a", found[0], id=2) == [
            {"type": "ack", "channel": "tasks/a", "id": 2}
        ]
        await harness.leave(client)

        again = await harness.enter("5")
        again.take()
        subscribed, *missed = await again.ask(subscribe("tasks/a", id=1))
        assert subscribed["payload"]["recovered"] is True
        assert [(one["payload"], one["recovered"]) for one in missed] == [(2, True), (3, True)]
        await ack(again, "tasks/a", missed[1])
        await harness.leave(again)

        last = await harness.enter("5")
        last.take()
        assert len(await last.ask(subscribe("tasks/a", id=1))) == 1


@in_virtual_time
async def test_acknowledgements_of_a_moment_are_written_together(monkeypatch):
    async with Harness() as harness:
        store, written = harness.node.inboxes, []
        acknowledge = store.acknowledge

        async def counted(found):
            written.append(list(found))
            await acknowledge(found)

        monkeypatch.setattr(store, "acknowledge", counted)
        client = await harness.enter("5")
        await client.ask(subscribe("tasks/a"))
        await harness.publish("tasks/a", 1, 2, 3)
        for message in [each for each in client.take() if each["type"] == "message"]:
            await ack(client, "tasks/a", message)
        assert written == []
        await asyncio.sleep(DELAY_S + 0.01)
        assert [[each.position.offset for each in batch] for batch in written] == [[3]]


@in_virtual_time
async def test_acknowledgements_survive_a_store_that_was_away(monkeypatch):
    async with Harness() as harness:
        store, away = harness.node.inboxes, [True]
        acknowledge = store.acknowledge

        async def failing(found):
            if away[0]:
                raise Unavailable("away")
            await acknowledge(found)

        client = await harness.enter("5")
        await client.ask(subscribe("tasks/a"))
        await harness.publish("tasks/a", 1)
        monkeypatch.setattr(store, "acknowledge", failing)
        (message,) = [each for each in client.take() if each["type"] == "message"]
        await ack(client, "tasks/a", message)
        await asyncio.sleep(1.0)
        away[0] = False
        await asyncio.sleep(10.0)
        inbox = await store.acknowledged("tasks/a", "5")
        assert inbox is not None
        assert inbox.acknowledged == Position(message["epoch"], 1)


@in_virtual_time
async def test_what_is_being_written_counts_for_a_client_that_is_back_at_once(monkeypatch):
    async with Harness() as harness:
        store, gate = harness.node.inboxes, asyncio.Event()
        acknowledge = store.acknowledge

        async def slow(found):
            await gate.wait()
            await acknowledge(found)

        monkeypatch.setattr(store, "acknowledge", slow)
        client = await harness.enter("5")
        await client.ask(subscribe("tasks/a"))
        await harness.publish("tasks/a", 1, 2)
        messages = [each for each in client.take() if each["type"] == "message"]
        await ack(client, "tasks/a", messages[0])
        await harness.leave(client)  # it is written at once, and takes a while
        again = await harness.enter("5")
        again.take()
        assert payloads(await again.ask(subscribe("tasks/a"))) == [2]
        gate.set()
        await settle()
        assert (await store.acknowledged("tasks/a", "5")).acknowledged.offset == 1


@in_virtual_time
async def test_stopped_node_has_written_what_waited():
    async with Harness() as harness:
        store = harness.node.inboxes
        client = await harness.enter("5")
        await client.ask(subscribe("tasks/a"))
        await harness.publish("tasks/a", 1)
        (message,) = [each for each in client.take() if each["type"] == "message"]
        await ack(client, "tasks/a", message)
        await harness.service.stop()
        assert await store.acknowledged("tasks/a", "5") == Inbox(Position(message["epoch"], 1))


@in_virtual_time
async def test_user_without_a_connection_has_the_messages_with_the_welcome():
    async with Harness() as harness:
        await harness.publish("users/5", 1, 2)
        client = await harness.enter("5")
        welcome, *missed = client.take()
        assert set(welcome["payload"]["channels"]) == {"users/5"}
        assert [(one["payload"], one["recovered"]) for one in missed] == [(1, True), (2, True)]
        await ack(client, "users/5", missed[0])
        await harness.leave(client)
        again = await harness.enter("5")
        assert payloads(again.take()) == [2]


@in_virtual_time
async def test_client_that_signs_in_has_them_too():
    async with Harness() as harness:
        await harness.publish("users/5", 1)
        client = await harness.enter(None)
        client.take()
        identity = Identity(user_id="5", method="session")
        found = Authenticated(identity=identity, user=AnonymousUser())
        assert client.connection.authenticated(found, harness.node.clock.time())
        await client.connection.join_own_channel()
        await settle()
        subscribed, *missed = client.take()
        assert (subscribed["channel"], subscribed["automatic"]) == ("users/5", True)
        assert subscribed["payload"]["recovered"] is True
        assert payloads(missed) == [1]


@in_virtual_time
async def test_client_that_names_a_position_begins_there():
    async with Harness() as harness:
        client = await harness.enter("5")
        client.take()
        await client.ask(subscribe("tasks/a"))
        await harness.publish("tasks/a", 1, 2, 3)
        found = client.take()
        await harness.leave(client)
        again = await harness.enter("5")
        again.take()
        since = {"epoch": found[1]["epoch"], "offset": found[1]["offset"]}
        assert payloads(await again.ask(subscribe("tasks/a", since=since))) == [3]


# -- refusals --------------------------------------------------------------------------------------


@in_virtual_time
async def test_anonymous_client_has_no_inbox():
    async with Harness() as harness:
        client = await harness.enter(None)
        client.take()
        await client.ask(subscribe("tasks/a"))
        await harness.publish("tasks/a", 1)
        (message,) = client.take()
        (error,) = await ack(client, "tasks/a", message, id=1)
        assert (error["type"], error["payload"]["code"]) == ("error", "forbidden")
        assert error["payload"]["reason"] == "the inbox of 'tasks/a' is a user's; sign in"


@in_virtual_time
async def test_channel_without_an_inbox_is_unsupported():
    async with Harness() as harness:
        client = await harness.enter("5")
        client.take()
        at = {"epoch": "x", "offset": 1}
        (error,) = await client.ask({"type": "ack", "channel": "public/a", "payload": at})
        assert error["payload"]["code"] == "unsupported"


@in_virtual_time
async def test_position_that_is_not_there_yet_is_refused_and_one_of_another_epoch_ignored():
    async with Harness() as harness:
        client = await harness.enter("5")
        client.take()
        await client.ask(subscribe("tasks/a"))
        await harness.publish("tasks/a", 1)
        (message,) = client.take()
        (error,) = await ack(client, "tasks/a", {**message, "offset": 7})
        assert error["payload"] == {
            "code": "bad_payload",
            "reason": "offset 7 of 'tasks/a' was not published yet; expected at most 1",
        }
        assert await ack(client, "tasks/a", {**message, "epoch": "old"}) == []
        await harness.service.stop()
        inbox = await harness.node.inboxes.acknowledged("tasks/a", "5")
        assert inbox is not None
        assert inbox.acknowledged == Position(message["epoch"], 0)  # where it began


@in_virtual_time
async def test_user_who_may_not_any_more_has_no_inbox():
    async with Harness() as harness:
        client = await harness.enter("5")
        await client.ask(subscribe("tasks/a"))
        assert await harness.node.inboxes.acknowledged("tasks/a", "5") is not None
        Tasks.allowed = False
        await client.connection.recheck()
        await settle()
        assert await harness.node.inboxes.acknowledged("tasks/a", "5") is None


# -- what nobody acknowledged ----------------------------------------------------------------------


@in_virtual_time
async def test_site_is_told_once_of_what_nobody_acknowledged():
    async with Harness() as harness:
        client = await harness.enter("5")
        await client.ask(subscribe("tasks/a"))
        await harness.publish("tasks/a", 1)
        await harness.leave(client)
        await asyncio.sleep(AFTER_S - 10)
        await harness.publish("tasks/a", 2)
        await harness.service.sweep()
        assert Tasks.calls == []
        await asyncio.sleep(11)
        await asyncio.gather(*(harness.service.sweep() for _ in range(3)))
        assert Tasks.calls == [("tasks/a", "5", [1, 2])]
        await asyncio.sleep(10 * AFTER_S)
        await harness.service.sweep()
        assert len(Tasks.calls) == 1
        await harness.publish("tasks/a", 3)
        await asyncio.sleep(AFTER_S + 1)
        await harness.service.sweep()
        assert Tasks.calls[1:] == [("tasks/a", "5", [3])]


@in_virtual_time
async def test_user_who_was_never_connected_is_among_them():
    async with Harness() as harness:
        await harness.publish("users/7", "hello")
        await asyncio.sleep(AFTER_S + 1)
        await harness.service.sweep()
        assert Tasks.calls == [("users/7", "7", ["hello"])]


@in_virtual_time
async def test_what_was_acknowledged_in_time_is_not_told():
    async with Harness() as harness:
        client = await harness.enter("5")
        await client.ask(subscribe("tasks/a"))
        await harness.publish("tasks/a", 1, 2)
        messages = [each for each in client.take() if each["type"] == "message"]
        await ack(client, "tasks/a", messages[0])
        await asyncio.sleep(AFTER_S - 1)
        await ack(client, "tasks/a", messages[1])
        await asyncio.sleep(2)
        await harness.service.sweep()
        assert Tasks.calls == []


@in_virtual_time
async def test_later_publication_has_its_own_time():
    async with Harness() as harness:
        client = await harness.enter("5")
        await client.ask(subscribe("tasks/a"))
        await harness.publish("tasks/a", 1)
        (message,) = [each for each in client.take() if each["type"] == "message"]
        await ack(client, "tasks/a", message)
        await asyncio.sleep(AFTER_S - 1)
        await harness.publish("tasks/a", 2)
        await asyncio.sleep(2)
        await harness.service.sweep()  # what made it due was acknowledged
        assert Tasks.calls == []
        await asyncio.sleep(AFTER_S)
        await harness.service.sweep()
        assert Tasks.calls == [("tasks/a", "5", [2])]


@in_virtual_time
async def test_hook_that_fails_is_called_again(caplog):
    async with Harness() as harness:
        Tasks.failing = True
        client = await harness.enter("5")
        await client.ask(subscribe("tasks/a"))
        await harness.publish("tasks/a", 1)
        await asyncio.sleep(AFTER_S + 1)
        await harness.service.sweep()
        await harness.service.sweep()
        assert len(Tasks.calls) == 1
        assert "on_unacknowledged of 'tasks/a' failed" in caplog.text
        Tasks.failing = False
        await asyncio.sleep(HOOK_RETRY_S + 1)
        await harness.service.sweep()
        assert len(Tasks.calls) == 2


@in_virtual_time
async def test_node_that_dies_over_a_stream_leaves_it_to_another(monkeypatch):
    async with Harness() as harness:
        await harness.publish("users/7", "hello")
        await asyncio.sleep(AFTER_S + 1)
        assert await harness.node.inboxes.claim(harness.node.clock.time(), 60.0, 10) == ["users/7"]
        await harness.service.sweep()  # another has it
        assert Tasks.calls == []
        await asyncio.sleep(61)
        await harness.service.sweep()
        assert len(Tasks.calls) == 1


@in_virtual_time
async def test_slow_hooks_of_one_node_are_not_called_by_another_as_well(monkeypatch):
    async def slow(self, user_id, publications):
        self.calls.append(user_id)
        await asyncio.sleep(20.0)

    monkeypatch.setattr(Own, "on_unacknowledged", slow)
    monkeypatch.setattr(Own, "calls", Tasks.calls, raising=False)
    async with Harness() as harness:
        for user in "12345":
            await harness.publish(f"users/{user}", "hello")
        await asyncio.sleep(AFTER_S + 1)

        async def sweep(after: float) -> None:
            await asyncio.sleep(after)
            await harness.service.sweep()

        await asyncio.gather(*(sweep(after) for after in range(0, 240, 10)))
        assert sorted(Tasks.calls) == list("12345")


@in_virtual_time
async def test_running_node_looks_by_itself():
    async with Harness() as harness:
        await harness.service.start()
        await harness.publish("users/7", "hello")
        await asyncio.sleep(AFTER_S + 10)
        assert len(Tasks.calls) == 1
        await harness.service.stop()


# -- a store that is away --------------------------------------------------------------------------


async def away(*arguments: Any) -> None:
    raise Unavailable("away")


@in_virtual_time
async def test_subscription_and_publication_fail_while_the_inboxes_are_away(monkeypatch):
    async with Harness() as harness:
        client = await harness.enter("5")
        client.take()
        monkeypatch.setattr(harness.node.inboxes, "acknowledged", away)
        (error,) = await client.ask(subscribe("tasks/a", id=1))
        assert error["payload"]["code"] == "unavailable"
        monkeypatch.setattr(harness.node.inboxes, "expect", away)
        with pytest.raises(Unavailable):
            await harness.publish("tasks/a", 1)
        page = await harness.node.history.read("tasks/a", limit=10)
        assert page.entries == ()  # nothing is kept that nobody would look after


@in_virtual_time
async def test_delivery_goes_on_without_the_inboxes_where_the_setting_says_so(monkeypatch):
    async with Harness(store_failures="live") as harness:
        monkeypatch.setattr(harness.node.inboxes, "acknowledged", away)
        monkeypatch.setattr(harness.node.inboxes, "expect", away)
        client = await harness.enter("5")
        client.take()
        (subscribed,) = await client.ask(subscribe("tasks/a", id=1))
        assert subscribed["type"] == "subscribed"
        await harness.publish("tasks/a", 1)
        assert payloads(client.take()) == [1]


@in_virtual_time
async def test_publication_is_tried_again_where_the_setting_says_so(monkeypatch):
    async with Harness(store_failures="retry", publish_timeout=5.0) as harness:
        expect, tries = harness.node.inboxes.expect, []

        async def failing_twice(*arguments):
            tries.append(arguments)
            if len(tries) < 3:
                raise Unavailable("away")
            await expect(*arguments)

        monkeypatch.setattr(harness.node.inboxes, "expect", failing_twice)
        await harness.publish("users/7", "hello")
        await asyncio.sleep(AFTER_S + 1)
        await harness.service.sweep()
        assert Tasks.calls == [("users/7", "7", ["hello"])]
