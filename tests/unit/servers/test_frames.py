"""Frames that are made once, and when a server may write one at once."""

from __future__ import annotations

import errno
import functools
import logging
import struct
from contextlib import ExitStack
from socket import create_connection
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet import tcp
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactor
from uvicorn import Config
from uvicorn.server import ServerState
from websockets.frames import Frame, Opcode

from channels_realtime.servers import frames
from channels_realtime.servers.daphne import server as daphne
from channels_realtime.servers.frames import EXTENSION, LastFrame, direct_write, frame_of, known
from channels_realtime.servers.uvicorn import frames as uvicorn

# -- frames ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 125, 126, 65_535, 65_536])
@pytest.mark.parametrize("binary", [False, True])
def test_frame_is_that_of_another_library(size, binary):
    payload = b"x" * size
    frame = Frame(Opcode.BINARY if binary else Opcode.TEXT, payload)
    assert frame_of(payload if binary else payload.decode()) == frame.serialize(mask=False)


def test_length_is_that_of_the_utf_8():
    assert frame_of("ä" * 63) == struct.pack("!BBH", 0x81, 126, 126) + ("ä" * 63).encode()


def test_frame_is_made_once_for_one_object():
    last, text = LastFrame(), "".join(("a", "b"))
    assert last.take(text)
    assert last.data is text
    assert last.frame == frame_of("ab")


@pytest.mark.parametrize("data", [None, "", b"", "\ud800", bytearray(b"a")])
def test_message_that_is_the_servers_own_has_no_frame(data):
    last = LastFrame()
    assert data is not last.data
    assert not last.take(data)
    assert last.frame == b""


def test_tested_versions_are_known(caplog):
    assert known("Daphne", daphne.VERSIONS)
    assert known("uvicorn", uvicorn.VERSIONS)
    assert caplog.records == []


@pytest.mark.parametrize(
    ("version", "missing", "reason"),
    [
        ("5.0", (), "daphne 5.0; expected 4.2 or later, and before 5"),
        ("4.1.9", (), "daphne 4.1.9; expected 4.2 or later, and before 5"),
        ("4.2.3", ("Server.TLS",), "without Server.TLS"),
    ],
)
def test_other_version_is_reported(monkeypatch, caplog, version, missing, reason):
    monkeypatch.setattr(frames.metadata, "version", lambda name: version)
    assert not known("Daphne", {"daphne": ("4.2", "5")}, missing)
    ((name, level, text),) = caplog.record_tuples
    assert (name, level) == (frames.__name__, logging.WARNING)
    assert text == (
        f"Daphne: frames are written in the plain way, which costs more time ({reason})"
    )


def test_pre_release_counts_as_its_release(monkeypatch):
    monkeypatch.setattr(frames.metadata, "version", lambda name: "4.3.dev1")
    assert known("Daphne", {"daphne": ("4.2", "5")})


# -- Daphne ----------------------------------------------------------------------------------------


class Socket:
    def __init__(self) -> None:
        self.sent = b""
        self.room = 1_000_000
        self.error: OSError | None = None

    def send(self, data: bytes) -> int:
        if self.error is not None:
            raise self.error
        taken = min(len(data), self.room)
        self.sent += data[:taken]
        return taken


class Transport(daphne.tcp.Server):
    """Twisted's, without a reactor."""

    def __init__(self) -> None:
        self.socket = Socket()
        self.waits: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.waits.append(data)


@pytest.fixture
def writers(monkeypatch):
    """The transports that wait to write."""
    found: dict[Transport, int] = {}
    monkeypatch.setattr(daphne, "WRITERS", found)
    monkeypatch.setattr(daphne, "_SOCKETS", (Transport,))
    return found


@pytest.fixture
def connection(writers):
    """An open connection of Daphne's."""
    return open_connection()


def open_connection(*, usable: bool = True, compress: Any = None, tls: bool = False, limit=1_000):
    protocol = daphne.FrameProtocol()
    protocol.transport = Transport()
    protocol.transport.TLS = tls
    protocol.state = protocol.STATE_OPEN
    protocol._perMessageCompress = compress
    protocol.autoFragmentSize = 0
    protocol.maxMessagePayloadSize = limit
    protocol.client_addr, protocol.request = None, SimpleNamespace(path="/")
    protocol.server = SimpleNamespace(writes_frames=usable, log_action=lambda *_: None)
    protocol.onOpen()
    return protocol


@pytest.fixture
def closes(monkeypatch):
    """The close frames that autobahn is told to send."""
    found: list[tuple[int, bytes]] = []

    def close(self, code, reasonUtf8, **_: Any):
        found.append((code, reasonUtf8))

    monkeypatch.setattr(daphne.WebSocketProtocol, "sendCloseFrame", close)
    return found


def message(text: str) -> dict[str, Any]:
    return {"type": "websocket.send", "text": text}


def write(connection, text: str = "hello") -> bool:
    found = connection.direct_write()
    return found is not None and found(message(text))


def test_daphne_writes_a_frame_to_the_socket(connection):
    assert write(connection)
    assert connection.direct_write()({"type": "websocket.send", "bytes": b"hello"})
    transport = connection.transport
    assert (transport.socket.sent, transport.waits) == (frame_of("hello") + frame_of(b"hello"), [])


def test_daphne_gives_the_transport_what_the_socket_did_not_take(connection):
    transport = connection.transport
    transport.socket.room = 3
    assert write(connection)
    assert transport.socket.sent + transport.waits[0] == frame_of("hello")
    assert len(transport.waits) == 1


def something_waits(connection):
    daphne.WRITERS[connection.transport] = 1


def full(connection):
    connection.transport.socket.error = BlockingIOError(errno.EAGAIN, "full")


def gone(connection):
    connection.transport.socket.error = ConnectionResetError(errno.ECONNRESET, "gone")


@pytest.mark.parametrize("change", [something_waits, full, gone])
def test_daphne_leaves_to_the_plain_way_what_may_not_be_written_now(connection, change):
    change(connection)
    assert not write(connection)
    transport = connection.transport
    assert (transport.socket.sent, transport.waits) == (b"", [])


@pytest.mark.usefixtures("closes")
@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("sendCloseFrame", {"code": 1000, "reasonUtf8": b""}),
        ("dropConnection", {"abort": True}),
        ("connectionLost", {}),
        ("sendData", {"data": b"", "sync": True}),
    ],
)
def test_daphne_writes_nothing_itself_from_there_on(connection, monkeypatch, method, arguments):
    """Also by what the application has kept."""
    kept = connection.direct_write()
    if method != "sendCloseFrame":
        monkeypatch.setattr(daphne.WebSocketProtocol, method, lambda *_: None)
    getattr(connection, method)(**arguments)
    assert connection.direct_write() is None
    assert not kept(message("hello"))
    assert connection.transport.socket.sent == b""


@pytest.mark.usefixtures("writers")
@pytest.mark.parametrize("why", [{"usable": False}, {"compress": object()}, {"tls": True}])
def test_daphne_writes_nothing_itself_on_other_connections(why):
    assert open_connection(**why).direct_write() is None


@pytest.mark.usefixtures("writers")
@pytest.mark.parametrize(("limit", "written"), [(6, False), (7, True), (0, True)])
def test_message_over_daphnes_limit_is_left_to_it(limit, written):
    assert write(open_connection(limit=limit)) is written


def test_close_is_no_message(connection):
    write(connection)
    assert not connection.direct_write()({"type": "websocket.close", "code": 1000})
    assert connection.transport.socket.sent == frame_of("hello")


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1012, 1014, 3000, 4430])
def test_daphne_closes_with_code_and_reason(connection, closes, code):
    connection.handle_reply({"type": "websocket.close", "code": code, "reason": "because"})
    assert closes == [(code, b"because")]


def test_reason_fits_into_a_close_frame(connection, closes):
    connection.handle_reply({"type": "websocket.close", "code": 4000, "reason": "x" + "ä" * 100})
    ((_, reason),) = closes
    assert reason == ("x" + "ä" * 61).encode()


@pytest.mark.parametrize("code", [999, 1004, 1005, 1006, 1015, 2000, 5000])
def test_code_that_no_endpoint_may_send_is_refused_as_by_daphne(connection, code):
    with pytest.raises(Exception, match=f"invalid close code {code}"):
        connection.handle_reply({"type": "websocket.close", "code": code})


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("tcp:port=1:interface=::1", "tcp:port=1:interface=::1:backlog=2048"),
        ("unix:/run/a.sock", "unix:/run/a.sock:backlog=2048"),
        ("tcp:port=1:backlog=7", "tcp:port=1:backlog=7"),
        ("fd:fileno=3", "fd:fileno=3"),
    ],
)
def test_backlog_is_longer_unless_it_is_named(endpoint, expected):
    assert daphne.with_backlog(endpoint) == expected


def test_daphne_accepts_one_at_a_time_however_many_wait():
    accepted = []

    class Accepted(Factory):
        def buildProtocol(self, address):
            accepted.append(address)

    port = tcp.Port(0, Accepted(), backlog=64, interface="127.0.0.1", reactor=MemoryReactor())
    port.startListening()
    address = port.socket.getsockname()
    daphne.accept_one_at_a_time(port)
    with ExitStack() as clients:
        clients.callback(port.socket.close)
        for _ in range(50):
            clients.enter_context(create_connection(address))
        turns = []
        while len(accepted) < 50:
            before = len(accepted)
            port.doRead()
            turns.append(len(accepted) - before)
    assert turns == [1] * 50


@pytest.mark.parametrize("tested", [True, False])
def test_daphne_announces_frames_where_its_version_was_tested(monkeypatch, tested):
    scopes = []
    monkeypatch.setattr(daphne, "usable", lambda: tested)
    monkeypatch.setattr(
        daphne.DaphneServer,
        "create_application",
        lambda self, protocol, scope: scopes.append(scope),
    )
    server = daphne.Server(None, ["tcp:port=1"])
    server.create_application(None, {"type": "websocket"})
    server.create_application(None, {"type": "http"})
    assert scopes[0]["extensions"] == ({EXTENSION: {}} if tested else {})
    assert scopes[0]["asgi"]["spec_version"] == "2.3"
    assert scopes[1] == {"type": "http"}


# -- the application's side ------------------------------------------------------------------------


def daphne_send(protocol, monkeypatch):
    server = daphne.Server.__new__(daphne.Server)
    return functools.partial(server.handle_reply, protocol)


ANNOUNCED = {"extensions": {EXTENSION: {}}}


def test_own_send_of_an_announcing_server_is_written_to_directly(connection, monkeypatch):
    send = daphne_send(connection, monkeypatch)
    assert direct_write(ANNOUNCED, send) == connection.direct_write()
    assert direct_write(ANNOUNCED, send) is not None


def test_send_is_used_where_anything_is_in_between_or_missing(connection, monkeypatch):
    send = daphne_send(connection, monkeypatch)

    async def wrapped(event):
        await send(event)

    assert direct_write(ANNOUNCED, wrapped) is None
    assert direct_write({"extensions": {}}, send) is None
    assert direct_write({}, send) is None
    connection._end_direct()
    assert direct_write(ANNOUNCED, send) is None


# -- uvicorn ---------------------------------------------------------------------------------------


class Asyncio:
    """asyncio's transport."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass


@pytest.fixture
async def socket():
    """A connection of uvicorn's that was accepted."""
    config = Config(lambda: None, ws=uvicorn.FrameProtocol, log_level="critical")
    found = uvicorn.FrameProtocol(config, ServerState(), {})
    found.transport = Asyncio()
    found.connections.add(found)
    found.handshake_complete = True
    found.conn.state = uvicorn.State.OPEN
    found._direct = uvicorn.DirectTransport()
    found._look()
    return found


async def test_uvicorn_writes_a_frame_to_the_transport(socket):
    assert write(socket)
    assert socket.transport.written == [frame_of("hello")]
    assert direct_write(ANNOUNCED, socket.send) == socket.direct_write()


async def close_by_application(found):
    await found.send({"type": "websocket.close", "code": 1000})


async def close_by_client(found):
    found.conn.receive_data = lambda data: setattr(found.conn, "state", uvicorn.State.CLOSING)
    found.data_received(b"a close frame")


async def full_buffer(found):
    found.pause_writing()


async def missing_pong(found):
    found.keepalive_timeout()


async def server_stops(found):
    found.shutdown()


async def lost(found):
    found.connection_lost(OSError())


@pytest.mark.parametrize(
    "change",
    [close_by_application, close_by_client, full_buffer, missing_pong, server_stops, lost],
)
async def test_uvicorn_leaves_to_the_plain_way_what_may_not_be_written_now(socket, change):
    kept = socket.direct_write()
    await change(socket)
    before = list(socket.transport.written)
    assert not kept(message("hello"))
    assert socket.transport.written == before
    if socket.close_timer is not None:
        socket.close_timer.cancel()


async def test_uvicorn_writes_again_when_the_transport_has_room(socket):
    socket.pause_writing()
    socket.resume_writing()
    assert write(socket)


async def test_uvicorn_of_another_version_is_not_used(socket, monkeypatch, caplog):
    monkeypatch.setattr(uvicorn, "_usable", None)
    monkeypatch.setattr(frames.metadata, "version", lambda name: "99")
    assert not uvicorn.usable(socket)
    assert not uvicorn.usable(socket)
    assert len(caplog.records) == 1  # once in a process
