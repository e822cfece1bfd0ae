"""What consumers of Channels override and raise, behind all of the mixins."""

from __future__ import annotations

import json

import pytest
from channels.exceptions import AcceptConnection, DenyConnection
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)

from channels_realtime.errors import ImproperUse
from channels_realtime.middleware import OriginMiddleware
from channels_realtime.mixins import (
    AuthenticationMixin,
    ChannelsMixin,
    HeartbeatMixin,
    OriginMixin,
    RealtimeMixin,
    ThrottleMixin,
)
from tests.support.asgi_socket import AsgiSocket
from tests.unit.mixins.consumers import KINDS, echoed, echoing, made, nothing_left


class Open(RealtimeMixin):
    allow_anonymous = True


@pytest.mark.parametrize("kind", KINDS)
async def test_consumer_may_override_init(node, kind):
    class Chat(Open, echoing(kind)):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.began = True

    consumer = Chat.as_asgi()
    async with AsgiSocket(consumer) as socket:
        await echoed(socket, "hello")
    assert Chat().began
    await nothing_left(node)


@pytest.mark.parametrize("kind", [AsyncJsonWebsocketConsumer, JsonWebsocketConsumer])
async def test_consumer_may_override_dispatch(node, kind):
    seen = []

    class Chat(Open, echoing(kind)):
        async def dispatch(self, message):
            seen.append(message["type"])
            await super().dispatch(message)

    async with AsgiSocket(Chat.as_asgi()) as socket:
        await echoed(socket, "hello")
    assert seen == ["websocket.connect", "websocket.receive", "websocket.disconnect"]


async def test_consumer_may_override_send_json(node):
    class Chat(Open, AsyncJsonWebsocketConsumer):
        async def receive_json(self, content):
            await self.send_json(content)

        async def send_json(self, content, close=False):
            await super().send_json({"wrapped": content}, close=close)

    async with AsgiSocket(Chat.as_asgi()) as socket:
        assert await socket.ask({"n": 1}) == {"wrapped": {"n": 1}}


async def test_sync_consumer_may_override_send_json(node):
    class Chat(Open, JsonWebsocketConsumer):
        def receive_json(self, content):
            self.send_json(content)

        def send_json(self, content, close=False):
            super().send_json({"wrapped": content}, close=close)

    async with AsgiSocket(Chat.as_asgi()) as socket:
        assert await socket.ask({"n": 1}) == {"wrapped": {"n": 1}}


def raising(kind: type, error: type[Exception]) -> type:
    if getattr(kind, "_sync", False):

        class Raises(echoing(kind)):  # type: ignore[misc]
            def connect(self):
                raise error
    else:

        class Raises(echoing(kind)):  # type: ignore[misc, no-redef]
            async def connect(self):
                raise error

    return type("Chat", (Open, Raises), {})


@pytest.mark.parametrize("kind", KINDS)
async def test_consumer_may_raise_accept_connection(node, kind):
    async with AsgiSocket(raising(kind, AcceptConnection).as_asgi()) as socket:
        assert socket.accepted is not None
        await echoed(socket, "hello")


@pytest.mark.parametrize("kind", KINDS)
async def test_consumer_may_raise_deny_connection(node, kind):
    socket = AsgiSocket(raising(kind, DenyConnection).as_asgi())
    assert (await socket.connect())["type"] == "websocket.close"
    await socket.disconnect(1006)
    await nothing_left(node)


@pytest.mark.parametrize("kind", KINDS)
async def test_consumer_keeps_books_of_its_clients_pings(node, kind):
    heard = []

    if getattr(kind, "_sync", False):

        def on_heartbeat(self, text):
            heard.append(json.loads(text)["type"])
    else:

        async def on_heartbeat(self, text):
            heard.append(json.loads(text)["type"])

    application = made(HeartbeatMixin, echoing(kind), on_heartbeat=on_heartbeat)
    async with AsgiSocket(application) as socket:
        assert await socket.ask({"type": "ping"}) == {"type": "pong"}
        socket.send({"type": "pong"})
        await echoed(socket, "hello")
    assert heard == ["ping", "pong"]


async def test_ping_over_a_limit_is_not_heard(node):
    heard = []

    class Chat(HeartbeatMixin, ThrottleMixin, echoing(AsyncWebsocketConsumer)):
        connection_messages = (0.001, 1)

        async def on_heartbeat(self, text):
            heard.append(text)

    async with AsgiSocket(Chat.as_asgi()) as socket:
        await socket.ask({"type": "ping"})
        assert (await socket.ask({"type": "ping"}))["type"] == "error"
    assert len(heard) == 1


# -- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mixin", "hook"),
    [
        (ThrottleMixin, "on_throttled"),
        (HeartbeatMixin, "send_ping"),
        (HeartbeatMixin, "on_heartbeat"),
        (ChannelsMixin, "channel_message"),
        (ChannelsMixin, "channel_missed"),
        (ChannelsMixin, "channel_ended"),
    ],
)
def test_sync_hook_of_an_async_consumer_is_refused(mixin, hook):
    def sync(self, *args):
        self.send(text_data="never awaited")

    with pytest.raises(ImproperUse) as refused:
        type("Chat", (mixin, AsyncWebsocketConsumer), {hook: sync})
    assert str(refused.value) == f"Chat is an async consumer; expected async def {hook}(…)"


async def test_hook_that_returns_what_is_to_be_awaited_is_taken(node):
    class Chat(ThrottleMixin, HeartbeatMixin, echoing(AsyncWebsocketConsumer)):
        connection_messages = (0.001, 1)

        def on_throttled(self, limit, retry_after):
            return self.send(text_data='"slowly"')

        send_ping = lambda self: self.send(text_data='"ping"')  # noqa: E731

    async with AsgiSocket(Chat.as_asgi()) as socket:
        await echoed(socket, "hello")
        socket.send_text("again")
        assert await socket.read() == "slowly"


@pytest.mark.parametrize(
    ("mixin", "hook"), [(ThrottleMixin, "on_throttled"), (HeartbeatMixin, "on_heartbeat")]
)
def test_async_hook_of_a_sync_consumer_is_refused(mixin, hook):
    async def never_awaited(self, *args): ...

    with pytest.raises(ImproperUse) as refused:
        type("Chat", (mixin, WebsocketConsumer), {hook: never_awaited})
    assert str(refused.value) == f"Chat is a sync consumer; expected def {hook}(…)"


@pytest.mark.parametrize(
    ("allowed", "fault"),
    [
        (
            ["shop.example"],
            "contains 'shop.example', which has no scheme and matches nothing. Write 'https://shop.example'.",
        ),
        (
            ("https://shop.example/",),
            "contains 'https://shop.example/', which is not an origin and matches nothing. An"
            " origin is a scheme, a host and optionally a port, without path or final slash.",
        ),
        (
            "https://shop.example",
            "is 'https://shop.example'; expected a list of origins or a function",
        ),
        (
            [None],
            "contains None, which is no text. Write an origin, such as 'https://www.example.com'.",
        ),
    ],
)
def test_origin_that_matches_nothing_is_refused(allowed, fault):
    with pytest.raises(ImproperUse) as refused:
        type("Chat", (OriginMixin, AsyncWebsocketConsumer), {"allowed_origins": allowed})
    assert str(refused.value) == f"Chat.allowed_origins {fault}"
    with pytest.raises(ImproperUse) as refused:
        OriginMiddleware(AsyncWebsocketConsumer.as_asgi(), allowed)
    assert str(refused.value) == f"The list of OriginMiddleware {fault}"


def test_origins_that_can_match_are_taken():
    allowed = iter(["*", "null", "file://", "https://*.shop.example", "wss://shop.example:8443"])
    type("Chat", (OriginMixin, AsyncWebsocketConsumer), {"allowed_origins": allowed})


@pytest.mark.parametrize("mixin", [OriginMixin, AuthenticationMixin, RealtimeMixin])
def test_mixin_without_a_consumer_is_refused_where_it_is_routed(mixin):
    class Alone(mixin):
        pass

    with pytest.raises(ImproperUse) as refused:
        Alone.as_asgi()
    assert str(refused.value).endswith(
        "Alone has no consumer of Channels' behind its mixins; expected class Alone(SomeMixin,"
        " AsyncWebsocketConsumer)"
    )
