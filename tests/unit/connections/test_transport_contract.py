"""What each transport must do; a new one is added to ``PUSHED`` or ``TAKEN``."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from channels_realtime.access.client_address import FoundAddress
from channels_realtime.connections.connection import Connection
from channels_realtime.connections.transport import Transport
from channels_realtime.connections.writer import Writer
from channels_realtime.conversation.throttling import LimitExceeded, Rates
from channels_realtime.endpoints.cursors import Cursor, ReadCursor
from channels_realtime.endpoints.event_stream import EventStreamTransport
from channels_realtime.endpoints.http_transport import HttpDialect
from channels_realtime.endpoints.polling import PollTransport
from channels_realtime.endpoints.websocket import ENCODINGS, WebSocketTransport
from channels_realtime.mixins.transport import ConsumerOptions, ConsumerTransport
from channels_realtime.nodes.node import Node
from channels_realtime.protocol import messages as m
from channels_realtime.protocol.codes import CloseCode
from channels_realtime.protocol.dialects.realtime import RealtimeDialect
from channels_realtime.servers.daphne import LOSE_CONNECTION, FlowControl
from tests.support.nodes import NodeHarness
from tests.support.virtual_time import in_virtual_time, settle

SCOPE = {"asgi": {"spec_version": "2.4"}, "extensions": {}}
SCOPES = [SCOPE, {}, {"extensions": {}}, {"asgi": {"spec_version": "x"}, "extensions": {}}]

Made = tuple[Transport, Connection]


def websocket(node: Node, scope: dict, send: Any, drop: Any) -> Made:
    transport = WebSocketTransport(scope, send, SimpleNamespace(drop=drop), max_frame_bytes=100_000)
    dialect = RealtimeDialect(ENCODINGS["json"], node.config.limits, batches=True, heartbeat=False)
    return transport, Connection(node, scope, FoundAddress(None), transport, dialect)


def consumer(node: Node, scope: dict, send: Any, drop: Any) -> Made:
    hooks = SimpleNamespace(is_heartbeat=lambda text: False)
    options = ConsumerOptions(says=frozenset({m.Closing, m.Error}), rates=Rates())
    task = SimpleNamespace(drop=drop)
    transport = ConsumerTransport(node, scope, send, task, hooks, options)
    return transport, transport.connect(scope)


def event_stream(node: Node, scope: dict, send: Any, drop: Any) -> Made:
    cursor = Cursor(ReadCursor(""), (), lambda name: False)
    transport = EventStreamTransport(cursor, max_frame_bytes=100_000, drop=drop)
    return transport, Connection(
        node, scope, FoundAddress(None), transport, HttpDialect(node.config.limits)
    )


def poll(node: Node, scope: dict, send: Any, drop: Any) -> Made:
    transport = PollTransport(lambda: None, lambda: None, max_frame_bytes=100_000, drop=drop)
    return transport, Connection(
        node, scope, FoundAddress(None), transport, HttpDialect(node.config.limits)
    )


class FakeTwistedTransport:
    """Twisted's transport beneath a Daphne connection; records what it is asked for."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.calls.append(name)


PUSHED: dict[str, Callable[..., Made]] = {"websocket": websocket, "consumer": consumer}
"""Those that give a frame to the server at once."""

TAKEN: dict[str, Callable[..., Made]] = {"event stream": event_stream, "poll": poll}
"""Those from which the server takes what was written; how, their own tests say."""

TRANSPORTS = PUSHED | TAKEN
ALL = pytest.mark.parametrize("make", TRANSPORTS.values(), ids=TRANSPORTS)
ALL_PUSHED = pytest.mark.parametrize("make", PUSHED.values(), ids=PUSHED)
ALL_TAKEN = pytest.mark.parametrize("make", TAKEN.values(), ids=TAKEN)


class Server:
    """The end that a transport writes to."""

    def __init__(self) -> None:
        self.written: list[Any] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.drops = 0

    async def send(self, content: Any) -> None:
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.written.append(content)

    def drop(self) -> None:
        self.drops += 1


def writer_of(transport: Transport) -> Writer:
    owner = SimpleNamespace(lost=lambda error: None, overflowed=lambda: None)
    return Writer(transport.write, owner, max_messages=10, max_bytes=1_000)


@ALL_PUSHED
@in_virtual_time
async def test_frames_are_written_in_order_though_the_client_reads_late(make):
    async with NodeHarness() as harness:
        server = Server()
        transport, connection = make(harness.node, dict(SCOPE), server.send, server.drop)
        writer = writer_of(transport)
        server.gate.clear()
        frames = [connection.encoding.frame(str(number)) for number in range(3)]
        for frame in frames:
            writer.write(frame)
        await settle()
        assert server.written == []
        server.gate.set()
        await settle()
        assert server.written == [frame.content for frame in frames]


@ALL_TAKEN
@in_virtual_time
async def test_write_waits_while_the_server_takes_nothing(make):
    async with NodeHarness() as harness:
        transport, connection = make(harness.node, dict(SCOPE), None, None)
        frame = connection.encoding.frame("x" * 10_000)
        writing = [asyncio.create_task(transport.write(frame.content)) for _ in range(10)]
        await settle()
        done = sum(task.done() for task in writing)
        assert 0 < done < 10
        transport.detach()  # and nobody waits any more
        await settle()
        assert all(task.done() for task in writing)


@ALL_PUSHED
@in_virtual_time
async def test_write_raises_what_the_server_raises(make):
    async with NodeHarness() as harness:
        server = Server()
        transport, connection = make(harness.node, dict(SCOPE), server.send, server.drop)
        server.error = ConnectionResetError("gone")
        with pytest.raises(ConnectionResetError):
            await transport.write(connection.encoding.frame("x").content)


@ALL_TAKEN
@pytest.mark.parametrize("rfc", [True, False])
@pytest.mark.parametrize("reconnect", [True, False])
@in_virtual_time
async def test_connection_over_http_ends_with_the_code_of_the_protocol(make, rfc, reconnect):
    async with NodeHarness() as harness:
        for code in CloseCode:
            transport, _ = make(harness.node, dict(SCOPE), None, None)
            number, content = transport.close_content(code, "over", rfc=rfc, reconnect=reconnect)
            assert number == content.code == int(code)
            assert content.final is (not reconnect or code is CloseCode.UNAUTHENTICATED)
            await transport.write(content)
            await transport.write(content)  # nothing follows it


@ALL_PUSHED
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("rfc", [True, False])
@in_virtual_time
async def test_every_code_closes_with_a_number_that_the_content_carries(make, scope, rfc):
    async with NodeHarness() as harness:
        server = Server()
        for code in CloseCode:
            transport, _ = make(harness.node, dict(scope), server.send, server.drop)
            number, content = transport.close_content(code, "x" * 500, rfc=rfc, reconnect=True)
            expected = code.rfc if rfc and "extensions" in scope else int(code)
            assert number == expected
            await transport.write(content)  # as the last frame
        assert len(server.written) >= len(CloseCode)


PLAIN_CODES = {
    CloseCode.NORMAL: (1012, 1000),
    CloseCode.UNAUTHENTICATED: (1008, 1008),
}
"""What a plain client gets if it is to come back, and if not. All others: 1012 and 1008."""


@pytest.mark.parametrize("rfc", [True, False])
@pytest.mark.parametrize("code", CloseCode)
def test_plain_client_is_closed_by_codes_of_the_rfc_that_say_whether_to_come_back(code, rfc):
    transport = WebSocketTransport(SCOPE, Server().send, None, max_frame_bytes=None, plain=True)
    back, away = PLAIN_CODES.get(code, (1012, 1008))
    for reconnect, expected in ((True, back), (False, away)):
        number, content = transport.close_content(code, "", rfc=rfc, reconnect=reconnect)
        assert (number, content["code"]) == (expected, expected)


@pytest.mark.parametrize("code", CloseCode)
def test_plain_client_of_daphne_loses_its_connection_if_it_is_to_come_back(code):
    flow = FlowControl(Server().send, FakeTwistedTransport())
    scope = {key: value for key, value in SCOPE.items() if key != "extensions"}
    transport = WebSocketTransport(scope, flow.send, None, max_frame_bytes=None, plain=True)
    if code is not CloseCode.UNAUTHENTICATED:
        assert transport.close_content(code, "", rfc=False, reconnect=True) == (
            1006,
            LOSE_CONNECTION,
        )
    away, content = transport.close_content(code, "", rfc=False, reconnect=False)
    assert (away, content) == (int(code), {"type": "websocket.close", "code": int(code)})


@in_virtual_time
async def test_lost_connection_of_daphne_ends_after_what_was_written():
    server, twisted = Server(), FakeTwistedTransport()
    flow = FlowControl(server.send, twisted)
    await flow.send({"type": "websocket.send", "text": "last"})
    await flow.send(LOSE_CONNECTION)
    assert server.written == [{"type": "websocket.send", "text": "last"}]
    assert twisted.calls[-1] == "loseConnection"


@ALL
@in_virtual_time
async def test_drop_and_detach_raise_nothing_in_any_order_and_number(make):
    async with NodeHarness() as harness:
        server = Server()
        transport, _ = make(harness.node, dict(SCOPE), server.send, server.drop)
        transport.drop()
        transport.detach()
        transport.detach()
        transport.drop()
        assert server.drops == 1


@ALL
@in_virtual_time
async def test_nothing_of_a_detached_transport_holds_its_connection(make):
    async with NodeHarness() as harness:
        server = Server()
        transport, connection = make(harness.node, dict(SCOPE), server.send, server.drop)
        connection.begin()
        connection.finish()
        await settle()
        gone = weakref.ref(connection)
        del connection
        assert gone() is None
        assert isinstance(transport, Transport)


@ALL
@in_virtual_time
async def test_methods_that_may_not_wait_take_what_comes(make):
    async with NodeHarness() as harness:
        server = Server()
        transport, connection = make(harness.node, dict(SCOPE), server.send, server.drop)
        assert transport.name
        assert transport.max_frame_bytes is None or transport.max_frame_bytes > 0
        assert transport.is_open in (True, False)
        assert transport.serve(m.Ping()) in (True, False)
        assert transport.tell(m.PingPush()) in (True, False)
        transport.throttled(LimitExceeded("USER_MESSAGES", 1.0))
        transport.hold(connection.writer, True)
        transport.hold(connection.writer, False)
        transport.discard("orders/1")
        transport.credentials_read()
        deliveries = transport.deliveries(connection.writer)
        deliveries.deliver(connection.encoding.publication_frame(m.Publication("a", 1), "close"))
