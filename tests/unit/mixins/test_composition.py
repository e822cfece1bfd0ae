"""What every mixin does for a connection, in whatever order they stand."""

from __future__ import annotations

import asyncio
import gc
import itertools
import weakref

import pytest
from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    WebsocketConsumer,
)
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User
from django.test import AsyncClient

from channels_realtime import publishing, signals
from channels_realtime.errors import ImproperUse
from channels_realtime.mixins import (
    AuthenticationMixin,
    ChannelsMixin,
    ConsumerMixin,
    HeartbeatMixin,
    OriginMixin,
    RealtimeMixin,
    ThrottleMixin,
)
from tests.support.asgi_socket import AsgiSocket
from tests.unit.auth.credentials import settle
from tests.unit.mixins.consumers import (
    KINDS,
    closing,
    echoed,
    echoing,
    ended,
    made,
    nothing_left,
    sending,
    until,
)

MIXINS = (OriginMixin, AuthenticationMixin, HeartbeatMixin, ThrottleMixin, ChannelsMixin)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mixin", [*MIXINS, RealtimeMixin])
async def test_consumer_works_as_before_with_any_mixin(node, kind, mixin):
    async with AsgiSocket(made(mixin, echoing(kind))) as socket:
        assert socket.accepted == {"type": "websocket.accept", "subprotocol": None}
        await echoed(socket, "hello")
        assert node.statistics().connections == 1
    await nothing_left(node)
    assert node.statistics().metrics.connected == 1


@pytest.mark.parametrize("order", list(itertools.permutations(MIXINS, 5))[::17])
async def test_order_of_the_mixins_changes_nothing(configure, make_node, order):
    configure(ALLOW_ANONYMOUS=False)
    node = make_node()
    application = made(*order, echoing(AsyncWebsocketConsumer))
    foreign = AsgiSocket(application, headers=[(b"origin", b"https://evil.example")])
    assert await foreign.connect() == {"type": "websocket.close"}
    async with AsgiSocket(application) as nobody:
        assert nobody.accepted is not None
        assert await closing(nobody) == 4401
    await nothing_left(node)


class Recorder:
    """Somebody else's mixin, in Channels' own style."""

    async def websocket_connect(self, message):
        self.log.append("connect")
        await super().websocket_connect(message)

    async def websocket_receive(self, message):
        self.log.append(message["text"])
        await super().websocket_receive(message)

    async def websocket_disconnect(self, message):
        self.log.append(message["code"])
        await super().websocket_disconnect(message)

    async def dispatch(self, message):
        self.log.append(f"<{message['type']}>")
        await super().dispatch(message)


@pytest.mark.parametrize("outside", [True, False])
async def test_other_mixins_stand_before_and_behind(node, outside):
    log: list[object] = []
    mixins = (Recorder, RealtimeMixin) if outside else (RealtimeMixin, Recorder)
    async with AsgiSocket(made(*mixins, echoing(AsyncWebsocketConsumer), log=log)) as socket:
        await echoed(socket, "hello")
        assert await socket.ask({"type": "ping"}) == {"type": "pong"}
    heard = [entry for entry in log if not str(entry).startswith("<")]
    assert heard == ["connect", "hello", 1001]
    assert log.count("<websocket.receive>") == (2 if outside else 1)


@pytest.mark.parametrize("kind", KINDS)
def test_mixin_behind_the_consumer_is_refused(kind):
    with pytest.raises(ImproperUse) as refused:
        type("Chat", (kind, OriginMixin), {})
    assert str(refused.value) == (
        f"Chat: {kind.__name__} stands before the mixins, which would do nothing;"
        f" expected class Chat(SomeMixin, {kind.__name__})"
    )


def test_mixins_of_a_base_class_may_be_joined_by_others():
    class Base(OriginMixin, AsyncWebsocketConsumer):
        pass

    class Chat(Base, HeartbeatMixin):
        pass

    assert Chat.__mro__.index(ConsumerMixin) < Chat.__mro__.index(AsyncWebsocketConsumer)


async def test_mixins_without_a_consumer_are_refused(node):
    with pytest.raises(ImproperUse, match="Alone has no consumer of Channels' behind its mixins"):
        await type("Alone", (OriginMixin,), {})()({"type": "websocket"}, None, None)


async def test_mixins_serve_no_http(node):
    with pytest.raises(ImproperUse, match="serve websocket, got 'http'"):
        await made(OriginMixin, AsyncWebsocketConsumer)({"type": "http"}, None, None)


# -- room and leaving ------------------------------------------------------------------------------


async def test_full_process_refuses_before_the_consumer_hears_of_it(configure, make_node):
    configure(MAX_CONNECTIONS=1)
    node = make_node()
    application = made(HeartbeatMixin, echoing(AsyncWebsocketConsumer))
    async with AsgiSocket(application):
        assert await AsgiSocket(application).connect() == {"type": "websocket.close"}
        assert node.statistics().metrics.refused == 1
        full = AsgiSocket(application, extensions={"websocket.http.response": {}})
        assert (await full.connect())["status"] == 503


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mixin", [HeartbeatMixin, RealtimeMixin])
async def test_drain_closes_with_4503_and_lets_nobody_in(configure, make_node, kind, mixin):
    configure(DRAIN_GRACE=5.0, DRAIN_BATCH_INTERVAL=0.0)
    node = make_node()
    application = made(mixin, echoing(kind))
    socket = AsgiSocket(application)
    await socket.connect()
    drained = node.drain.begin()
    assert await closing(socket) == 4503
    assert await AsgiSocket(application).connect() == {"type": "websocket.close"}
    await socket.disconnect(4503)
    await drained
    await nothing_left(node)


async def test_drain_says_why_where_the_page_understands(configure, make_node):
    configure(DRAIN_RETRY_WINDOW=0.0)
    node = make_node()
    application = made(HeartbeatMixin, echoing(AsyncWebsocketConsumer), says_closing=True)
    async with AsgiSocket(application) as socket:
        node.drain.begin()
        assert await socket.read() == {
            "type": "closing",
            "payload": {
                "code": 4503,
                "reason": "going away",
                "reconnect": True,
                "retry_after": 0.0,
            },
        }
        assert await closing(socket) == 4503


async def test_cancellation_during_a_drain_is_let_wait_for_it(configure, make_node):
    """As Daphne cancels its applications on SIGTERM, before anybody was told."""
    configure(DRAIN_BATCH_INTERVAL=0.0)
    node = make_node()
    log: list[object] = []
    application = made(Recorder, RealtimeMixin, echoing(AsyncWebsocketConsumer), log=log)
    socket = AsgiSocket(application)
    await socket.connect()
    drained = node.drain.begin()
    assert socket.task is not None
    socket.task.cancel()
    assert await closing(socket) == 4503
    await socket.disconnect(4503)
    assert log[-1] == 4503
    await drained
    await nothing_left(node)


async def test_consumer_serves_on_between_the_cancellation_and_its_close(configure, make_node):
    configure(DRAIN_BATCH=1, DRAIN_BATCH_INTERVAL=0.2)
    node = make_node()
    application = made(RealtimeMixin, echoing(AsyncWebsocketConsumer))
    first, second = AsgiSocket(application), AsgiSocket(application)
    await first.connect()
    await second.connect()
    drained = node.drain.begin()
    assert second.task is not None
    second.task.cancel()
    await echoed(second, "still here")
    assert await closing(second) == 4503
    for socket in (first, second):
        await socket.disconnect()
    await drained
    await nothing_left(node)


# -- whatever ends it ------------------------------------------------------------------------------


class Joining:
    """On a channel from the start."""

    async def connect(self):
        await self.channels.subscribe("public/a")
        await self.accept()


@pytest.mark.parametrize("own_messages", [True, False])
async def test_cancellation_frees_everything(node, own_messages):
    async def channel_message(self, channel, payload, event, sender):
        raise AssertionError

    attributes = {"channel_message": channel_message} if own_messages else {}
    socket = AsgiSocket(made(Joining, RealtimeMixin, AsyncWebsocketConsumer, **attributes))
    await socket.connect()
    assert len(node.hub) == 1
    assert socket.task is not None
    socket.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await socket.task
    await nothing_left(node)


async def test_cancellation_within_a_handler_frees_everything(node):
    inside = asyncio.Event()

    class Stuck(Joining, RealtimeMixin, AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            inside.set()
            await asyncio.Event().wait()

    socket = AsgiSocket(Stuck.as_asgi())
    await socket.connect()
    socket.send_text("x")
    await inside.wait()
    assert socket.task is not None
    socket.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await socket.task
    await nothing_left(node)


@pytest.mark.parametrize("where", ["connect", "receive", "disconnect"])
async def test_failing_handler_frees_everything_and_is_the_servers_to_report(node, where):
    async def fail(self, *args, **kwargs):
        raise ZeroDivisionError("planted")

    socket = AsgiSocket(made(Joining, RealtimeMixin, AsyncWebsocketConsumer, **{where: fail}))
    if where == "connect":
        with pytest.raises(ZeroDivisionError):
            await socket.connect()
    else:
        await socket.connect()
        socket.send_text("x")
        with pytest.raises(ZeroDivisionError):
            await socket.disconnect()
    await nothing_left(node)


async def test_consumer_that_refuses_the_handshake_leaves_nothing(node):
    class Closed(RealtimeMixin, AsyncWebsocketConsumer):
        async def connect(self):
            await self.channels.subscribe("public/a")
            await self.close()

    socket = AsgiSocket(Closed.as_asgi())
    assert await socket.connect() == {"type": "websocket.close"}
    await socket.disconnect(1006)
    await nothing_left(node)


async def test_client_that_does_not_answer_a_close_is_dropped(node, clock):
    socket = AsgiSocket(made(RealtimeMixin, AsyncWebsocketConsumer))
    await socket.connect()
    (connection,) = node.connections.values()
    connection.revoke("over")
    assert await closing(socket) == 4401
    clock.pass_by(10.1)
    node.timers._fire()
    await ended(socket)
    await nothing_left(node)


async def test_what_is_sent_on_a_closed_connection_is_dropped(node):
    entered, go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    class Slow(HeartbeatMixin, AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            entered.set()
            await go_on.wait()
            await self.send(text_data="late")
            await self.close(4000)
            done.set()

    async with AsgiSocket(Slow.as_asgi()) as socket:
        socket.send_text("x")
        await entered.wait()
        (connection,) = node.connections.values()
        connection.revoke("over")
        assert await closing(socket) == 4401
        go_on.set()
        await done.wait()
        assert socket.from_application.empty()


async def test_consumers_own_close_is_what_the_signal_tells(node):
    told: list[object] = []

    async def receiver(sender, connection, code, **kwargs):
        told.append(code)

    signals.disconnected.connect(receiver)
    try:

        class Leaving(HeartbeatMixin, AsyncWebsocketConsumer):
            async def receive(self, text_data=None, bytes_data=None):
                await self.close(4123)

        async with AsgiSocket(Leaving.as_asgi()) as socket:
            socket.send_text("x")
            assert await closing(socket) == 4123
        await until(lambda: told)
    finally:
        signals.disconnected.disconnect(receiver)
    assert told == [4123]


async def test_signals_tell_of_a_consumers_connections(node):
    told: list[str] = []

    async def receiver(signal, sender, connection, **kwargs):
        told.append(connection.transport)

    signals.connected.connect(receiver)
    try:
        async with AsgiSocket(made(OriginMixin, WebsocketConsumer)):
            await until(lambda: told)
    finally:
        signals.connected.disconnect(receiver)
    assert told == ["websocket"]


# -- writing ---------------------------------------------------------------------------------------


async def test_own_frames_and_deliveries_keep_their_order_when_the_client_reads_late(node):
    class Chat(Joining, ChannelsMixin, AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            await self.send(text_data='"own"')

    async with AsgiSocket(Chat.as_asgi()) as socket:
        socket.gate = asyncio.Event()
        await publishing.apublish("public/a", 1)
        await until(lambda: node.metrics.delivered == 1)
        socket.send_text("x")
        await until(lambda: sending(node))
        await publishing.apublish("public/a", 2)
        await until(lambda: node.metrics.delivered == 2)
        socket.gate.set()
        frames = [await socket.read() for _ in range(3)]
        assert [f if f == "own" else f["payload"] for f in frames] == [1, 2, "own"]


async def test_slow_client_is_closed_with_4430(configure, make_node):
    configure(OUTBOX_MAX_MESSAGES=2)
    node = make_node()
    async with AsgiSocket(made(Joining, ChannelsMixin, AsyncWebsocketConsumer)) as socket:
        socket.gate = asyncio.Event()
        for number in range(4):
            await publishing.apublish("public/a", number)
        await until(lambda: node.statistics().metrics.slow == 1)
        socket.gate.set()
        assert (await socket.read())["payload"] == 0
        assert await closing(socket) == 4430


async def test_own_send_waits_for_a_client_that_does_not_read(node):
    sent = asyncio.Event()

    class Chat(HeartbeatMixin, AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            await self.send(text_data='"own"')
            sent.set()

    async with AsgiSocket(Chat.as_asgi()) as socket:
        socket.gate = asyncio.Event()
        socket.send_text("x")
        await until(lambda: sending(node))
        await settle()
        assert not sent.is_set()
        socket.gate.set()
        assert await socket.read() == "own"
        await sent.wait()


async def test_error_of_the_servers_send_is_the_consumers(node):
    class Chat(HeartbeatMixin, AsyncWebsocketConsumer):
        async def connect(self):
            await self.send(text_data="before accept")

    async def send(event):
        raise RuntimeError("Expected 'websocket.accept'")

    async def receive():
        return {"type": "websocket.connect"}

    with pytest.raises(RuntimeError, match=r"Expected 'websocket\.accept'"):
        await Chat.as_asgi()(AsgiSocket(None).scope, receive, send)
    await nothing_left(node)


# -- around it -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [AsyncWebsocketConsumer, WebsocketConsumer])
async def test_consumer_is_tested_with_channels_own_communicator(node, kind):
    """Whose scope has no client, no server and no extensions."""
    communicator = WebsocketCommunicator(made(RealtimeMixin, echoing(kind)), "/chat/")
    assert await communicator.connect() == (True, None)
    await communicator.send_to(text_data="hello")
    assert await communicator.receive_from() == '{"echo": "hello"}'
    await communicator.disconnect()
    await nothing_left(node)


async def test_consumer_stands_in_channels_own_middleware(node):
    user = await User.objects.acreate_user("alice")
    client = AsyncClient()
    await client.aforce_login(user)
    cookie = f"sessionid={client.cookies['sessionid'].value}".encode()
    application = AuthMiddlewareStack(made(ChannelsMixin, echoing(AsyncWebsocketConsumer)))
    async with AsgiSocket(application, headers=[(b"cookie", cookie)]) as socket:
        await echoed(socket, "hello")
        (connection,) = node.connections.values()
        assert (connection.user_id, connection.identity.method) == (str(user.pk), "scope")
    await nothing_left(node)


@pytest.mark.parametrize("kind", [AsyncWebsocketConsumer, AsyncJsonWebsocketConsumer])
async def test_ended_connection_waits_for_no_collection_of_garbage(node, kind):
    # A sync consumer stays with the traceback of Channels' StopConsumer, which is a cycle of asgiref's.
    gc.collect()
    gc.disable()
    try:
        async with AsgiSocket(made(RealtimeMixin, echoing(kind))) as socket:
            await echoed(socket, "hello")
            (connection,) = node.connections.values()
            ended = weakref.ref(connection)
            del connection
        del socket
        await nothing_left(node)
        await until(lambda: ended() is None)
    finally:
        gc.enable()
