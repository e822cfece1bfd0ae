"""Clients of somebody's consumer that are not there any more; no time passes but a fake clock's."""

from __future__ import annotations

import asyncio
import threading

import pytest
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer

from channels_realtime.errors import ImproperUse
from channels_realtime.mixins import HeartbeatMixin, RealtimeMixin, ThrottleMixin
from channels_realtime.mixins import transport as transport_module
from channels_realtime.nodes.node import Node
from tests.support.asgi_socket import AsgiSocket
from tests.unit.auth.credentials import pass_by, settle
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

PING = {"type": "ping"}
PONG = {"type": "pong"}


@pytest.fixture(autouse=True)
def no_jitter(monkeypatch):
    class NoChance:
        random = staticmethod(lambda: 0.0)

    monkeypatch.setattr(transport_module, "random", NoChance)


async def beating(node: Node) -> None:
    """The handler that ran has ended, and the clock goes."""
    (connection,) = node.connections.values()
    await until(lambda: connection._conversation.deadline is not None)


async def idle(socket: AsgiSocket) -> bool:
    """Whether nothing was sent."""
    await settle()
    return socket.from_application.empty()


@pytest.mark.parametrize("kind", KINDS)
async def test_ping_of_the_client_is_answered_and_not_the_consumers(node, kind):
    async with AsgiSocket(made(HeartbeatMixin, echoing(kind))) as socket:
        assert await socket.ask({"type": "ping", "id": 7}) == {"type": "pong", "id": 7}
        await echoed(socket, "hello")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("word", ["ping", "pong"])
async def test_silent_client_that_knows_heartbeats_is_closed_with_4408(node, clock, kind, word):
    async with AsgiSocket(made(HeartbeatMixin, kind)) as socket:
        socket.send({"type": word})
        if word == "ping":
            assert await socket.read() == PONG
        await beating(node)
        await pass_by(node, clock, 20.1)
        assert await socket.read() == PING
        await pass_by(node, clock, 9.0)
        assert await idle(socket)
        await pass_by(node, clock, 1.1)
        assert await closing(socket) == 4408
    await nothing_left(node)


async def test_page_that_knows_no_heartbeats_is_left_alone(node, clock):
    async with AsgiSocket(made(HeartbeatMixin, echoing(AsyncWebsocketConsumer))) as socket:
        for _ in range(100):
            await pass_by(node, clock, 60.0)
        await echoed(socket, "hello")


async def test_anything_from_the_client_is_life(node, clock):
    application = made(HeartbeatMixin, echoing(AsyncWebsocketConsumer), heartbeat_always=True)
    async with AsgiSocket(application) as socket:
        await beating(node)
        (connection,) = node.connections.values()
        for answer in ("text", PONG):
            await pass_by(node, clock, 20.1)
            assert await socket.read() == PING
            if answer == "text":
                await echoed(socket, "hello")
            else:
                socket.send(answer)
                await until(lambda: connection._conversation.heartbeat._pinged_at is None)
        for _ in range(20):
            await pass_by(node, clock, 19.0)
            await echoed(socket, "hello")


async def test_hours_pass_with_a_client_that_answers(node, clock):
    application = made(HeartbeatMixin, echoing(AsyncWebsocketConsumer), heartbeat_always=True)
    async with AsgiSocket(application) as socket:
        await beating(node)
        (connection,) = node.connections.values()
        for _ in range(1_000):
            await pass_by(node, clock, 20.1)
            assert await socket.read() == PING
            clock.pass_by(0.25)
            socket.send(PONG)
            await until(lambda: connection._conversation.heartbeat._pinged_at is None)
        assert connection.round_trip == pytest.approx(0.25)
        await echoed(socket, "hello")


@pytest.mark.parametrize("kind", [AsyncWebsocketConsumer, WebsocketConsumer])
async def test_class_sets_interval_and_timeout(node, clock, kind):
    application = made(
        HeartbeatMixin, kind, heartbeat_always=True, heartbeat_interval=3, heartbeat_timeout=2.0
    )
    async with AsgiSocket(application) as socket:
        await beating(node)
        await pass_by(node, clock, 3.1)
        assert await socket.read() == PING
        await pass_by(node, clock, 2.1)
        assert await closing(socket) == 4408


async def test_ping_is_the_class_own(node, clock):
    class Chat(HeartbeatMixin, echoing(AsyncWebsocketConsumer)):  # type: ignore[misc]
        heartbeat_always = True

        async def send_ping(self):
            await self.send(bytes_data=b"\x81\xa1p\x01")

    async with AsgiSocket(Chat.as_asgi()) as socket:
        await beating(node)
        await pass_by(node, clock, 20.1)
        assert (await socket.event())["bytes"] == b"\x81\xa1p\x01"
        await pass_by(node, clock, 10.1)
        assert await closing(socket) == 4408


async def test_messages_of_these_names_are_the_consumers_where_it_says_so(node):
    class Chat(HeartbeatMixin, echoing(AsyncWebsocketConsumer)):  # type: ignore[misc]
        def is_heartbeat(self, text):
            return "table" not in text

    async with AsgiSocket(Chat.as_asgi()) as socket:
        await echoed(socket, '{"type":"pong","table":4}')
        assert await socket.ask(PING) == PONG


@pytest.mark.parametrize(
    "frame",
    ['{"type":"ping"', '["ping"]', '{"type":"pingpong"}', '{"text":"ping"}', '"ping"'],
)
async def test_what_only_looks_like_a_heartbeat_is_the_consumers(node, frame):
    async with AsgiSocket(made(HeartbeatMixin, echoing(AsyncWebsocketConsumer))) as socket:
        await echoed(socket, frame)


async def test_ping_is_the_consumers_without_the_mixin(node):
    async with AsgiSocket(made(ThrottleMixin, echoing(AsyncWebsocketConsumer))) as socket:
        await echoed(socket, '{"type":"ping"}')


async def test_clock_stands_still_while_a_handler_runs(node, clock):
    inside, go_on = asyncio.Event(), asyncio.Event()

    class Chat(HeartbeatMixin, AsyncWebsocketConsumer):
        heartbeat_always = True

        async def receive(self, text_data=None, bytes_data=None):
            inside.set()
            await go_on.wait()

    async with AsgiSocket(Chat.as_asgi()) as socket:
        socket.send_text("work")
        await inside.wait()
        await pass_by(node, clock, 1_000.0)
        assert await idle(socket)
        go_on.set()
        await beating(node)
        await pass_by(node, clock, 19.0)
        assert await idle(socket)
        await pass_by(node, clock, 1.1)
        assert await socket.read() == PING


async def test_clock_stands_still_while_a_sync_handler_runs(node, clock):
    go_on = threading.Event()
    inside = threading.Event()

    class Chat(HeartbeatMixin, WebsocketConsumer):
        heartbeat_always = True

        def receive(self, text_data=None, bytes_data=None):
            inside.set()
            go_on.wait(20.0)

    async with AsgiSocket(Chat.as_asgi()) as socket:
        socket.send_text("work")
        await until(inside.is_set)
        await pass_by(node, clock, 1_000.0)
        assert await idle(socket)
        go_on.set()


async def test_client_that_does_not_read_is_not_excused_by_the_handler_that_waits_for_it(
    node, clock
):
    class Chat(HeartbeatMixin, AsyncWebsocketConsumer):
        heartbeat_always = True

        async def receive(self, text_data=None, bytes_data=None):
            await self.send(text_data="x" * 1_000)

    socket = AsgiSocket(Chat.as_asgi())
    await socket.connect()
    socket.gate = asyncio.Event()  # SIGSTOP: it neither reads nor answers
    socket.send_text("work")
    await until(lambda: sending(node))
    for seconds in (20.1, 10.1, 10.1):
        await pass_by(node, clock, seconds)
    await ended(socket)  # dropped: it did not answer the close either
    await nothing_left(node)


async def test_frames_behind_a_waiting_handler_are_life(node, clock):
    class Chat(HeartbeatMixin, AsyncWebsocketConsumer):
        heartbeat_always = True

        async def receive(self, text_data=None, bytes_data=None):
            await self.send(text_data='"slow"')

    async with AsgiSocket(Chat.as_asgi()) as socket:
        socket.gate = asyncio.Event()
        socket.send_text("work")
        await until(lambda: sending(node))
        await pass_by(node, clock, 20.1)
        socket.send(PONG)
        await until(socket.to_application.empty)
        await pass_by(node, clock, 19.0)
        socket.gate.set()
        assert await socket.read() == "slow"
        assert await socket.read() == PING


async def test_heartbeats_need_no_task_of_their_own(node):
    tasks = []
    for mixins in ((), (HeartbeatMixin,)):
        application = made(*mixins, AsyncWebsocketConsumer, heartbeat_always=True)
        sockets = [AsgiSocket(application) for _ in range(10)]
        for socket in sockets:
            await socket.connect()
        await until(lambda: not node._tasks)
        await settle()
        tasks.append(len(asyncio.all_tasks()) - len(asyncio.all_tasks() & own_tasks(node)))
        for socket in sockets:
            await socket.disconnect()
    assert tasks[0] == tasks[1]


def own_tasks(node: Node) -> set[asyncio.Task[None]]:
    prefixes = ("realtime-", "writing ")
    named = {task for task in asyncio.all_tasks() if task.get_name().startswith(prefixes)}
    return named | node._tasks


@pytest.mark.parametrize("mixin", [HeartbeatMixin, RealtimeMixin])
def test_sync_consumer_may_not_write_its_own_pings(mixin):
    with pytest.raises(ImproperUse, match="Chat is a sync consumer and overrides send_ping: its p"):
        type("Chat", (mixin, WebsocketConsumer), {"send_ping": lambda self: None})


@pytest.mark.parametrize("value", [0, -1, "20"])
def test_interval_that_is_none_is_refused(value):
    with pytest.raises(ImproperUse) as refused:
        type("Chat", (HeartbeatMixin, WebsocketConsumer), {"heartbeat_interval": value})
    assert str(refused.value) == (f"Chat.heartbeat_interval is {value!r}; expected seconds over 0")
