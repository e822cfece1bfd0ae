"""Daphne with frames that are made once, close codes and reasons, and a longer backlog.

The only module that reaches into what Twisted and autobahn do not publish: whether a connection has
something to write, its socket, whether it compresses, and how many are accepted at once. ``usable`` looks
at the versions at start.
"""

from __future__ import annotations

import sys
from typing import Any

from daphne.server import Server as DaphneServer  # first: it installs Twisted's reactor
from daphne.ws_protocol import WebSocketProtocol
from twisted.internet import reactor, tcp, unix

from ..frames import EXTENSION, LAST, TryWrite, known

VERSIONS = {
    "daphne": ("4.2", "5"),
    "twisted": ("23.8", "27"),
    "autobahn": ("23.1", "27"),
}
"""What this module was tested with: from the first, up to and without the second."""

BACKLOG = 2048
"""Connections that may wait to be accepted; Twisted's default of 50 is too few after a restart."""

MAX_REASON_BYTES = 123
"""Of a close frame (RFC 6455, section 5.5.1): 125, of which the code takes 2."""

WRITERS: Any = getattr(reactor, "_writers", None)
"""The transports of the process that wait to write."""

_SOCKETS = (tcp.Server, unix.Server)
"""Transports that write to a socket; TLS has others."""


def usable() -> bool:
    """Whether frames can be written here; if not, log why."""
    missing = [
        f"{owner.__name__}.{name}"
        for owner, names in (
            (tcp.Server, ("TLS", "startWriting")),
            (WebSocketProtocol, ("dropConnection", "sendCloseFrame", "sendData")),
        )
        for name in names
        if not hasattr(owner, name)
    ]
    if WRITERS is None:
        missing.append("the reactor's writers")
    return known("Daphne", VERSIONS, missing)


class DirectSocket:
    """Writes to one connection's socket, as long as it is open and nothing waits in its transport.

    Of all that a connection consists of, this alone is touched by a delivery to it: with a thousand
    connections nothing else is in the processor's cache, and each look at it would be a wait.
    """

    __slots__ = ("limit", "socket", "transport")

    def __init__(self, transport: Any, limit: int) -> None:
        self.socket: Any = transport.socket  # None from the connection's end on
        self.transport: Any = transport
        self.limit = limit

    def write(self, event: dict[str, Any]) -> bool:
        """Write a message's frame; False if it was not written."""
        socket = self.socket
        if socket is None:
            return False
        data = event.get("text")
        if data is None:
            data = event.get("bytes")
        if data is not LAST.data and not LAST.take(data):
            return False
        frame = LAST.frame
        # A transport that has something to write, or is to be closed, is one of the reactor's writers.
        if self.transport in WRITERS or len(frame) > self.limit:
            return False
        try:
            written = socket.send(frame)
        except OSError:
            return False  # full, or lost: the transport waits for room, or meets the error itself
        if written < len(frame):
            self.transport.write(frame[written:])
        return True

    def close(self) -> None:
        """Write nothing more."""
        self.socket = self.transport = None


class FrameProtocol(WebSocketProtocol):  # type: ignore[misc]  # Daphne has no types
    """A connection whose frames are made once, and which may be closed with any code and reason."""

    _direct: DirectSocket | None = None

    def onOpen(self) -> None:
        """The handshake is done: from now on frames may be written."""
        if self._may_write():
            limit = self.maxMessagePayloadSize or sys.maxsize
            self._direct = DirectSocket(self.transport, limit)
        super().onOpen()

    def _may_write(self) -> bool:
        transport = self.transport
        return (
            self.server.writes_frames
            and type(transport) in _SOCKETS
            and not transport.TLS
            and self._perMessageCompress is None
            and not self.autoFragmentSize
        )

    def direct_write(self) -> TryWrite | None:
        """What writes to the socket; None on a connection where nothing may."""
        return None if self._direct is None else self._direct.write

    def _end_direct(self) -> None:
        direct, self._direct = self._direct, None
        if direct is not None:
            direct.close()

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """autobahn's; what it queues itself is overtaken by nothing."""
        if sync or chopsize:
            self._end_direct()
        super().sendData(data, sync, chopsize)

    def sendCloseFrame(self, *args: Any, **options: Any) -> None:
        """autobahn's; no message follows a close."""
        self._end_direct()
        super().sendCloseFrame(*args, **options)

    def dropConnection(self, abort: bool = False) -> None:
        """autobahn's; no message follows."""
        self._end_direct()
        super().dropConnection(abort)

    def connectionLost(self, *args: Any) -> None:
        """Twisted's."""
        self._end_direct()
        super().connectionLost(*args)

    def handle_reply(self, message: dict[str, Any]) -> None:
        """Daphne's, for one event; frames, headers, close codes and reasons are this class's."""
        kind = message.get("type")
        if kind == "websocket.send":
            if self._direct is not None and self._direct.write(message):
                return
        elif kind == "websocket.close":
            if self.state == self.STATE_OPEN and _may_be_sent(message.get("code")):
                self._close(message["code"], message.get("reason") or "")
                return
        elif kind == "websocket.accept" and message.get("headers"):
            self.serverAccept((message.get("subprotocol"), _header_dict(message["headers"])))
            return
        super().handle_reply(message)

    def _close(self, code: int, reason: str) -> None:
        told = reason.encode(errors="ignore")[:MAX_REASON_BYTES].decode(errors="ignore").encode()
        self.sendCloseFrame(code=code, reasonUtf8=told)


def _may_be_sent(code: Any) -> bool:
    """Whether an endpoint may send this close code (RFC 6455, section 7.4; IANA's registry)."""
    if not isinstance(code, int):
        return False
    return (1000 <= code <= 1014 and code not in (1004, 1005, 1006)) or 3000 <= code <= 4999


def _header_dict(headers: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    return found


class Server(DaphneServer):  # type: ignore[misc]
    """Daphne's server with ``FrameProtocol``."""

    writes_frames = False
    _factory: Any = None

    def __init__(self, application: Any, endpoints: Any = None, **options: Any) -> None:
        super().__init__(application, [with_backlog(one) for one in endpoints or ()], **options)
        self.writes_frames = usable()

    @property
    def ws_factory(self) -> Any:
        """What makes the protocol of each WebSocket; Daphne makes it when it runs."""
        return self._factory

    @ws_factory.setter
    def ws_factory(self, factory: Any) -> None:
        factory.protocol = FrameProtocol
        self._factory = factory

    def listen_success(self, port: Any) -> None:
        """Daphne's, for each address on which it listens."""
        super().listen_success(port)
        if self.writes_frames:
            accept_one_at_a_time(port)

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        """Daphne's, with what this server can do in the scope."""
        if scope["type"] == "websocket":
            # 2.3: headers of the acceptance, and reasons of a close.
            scope["asgi"] = {"version": "3.0", "spec_version": "2.3"}
            scope["extensions"] = {EXTENSION: {}} if self.writes_frames else {}
        return super().create_application(protocol, scope)


def with_backlog(endpoint: str) -> str:
    """Twisted's description of an endpoint, with ``BACKLOG`` unless it names its own."""
    if endpoint.startswith(("tcp:", "ssl:", "unix:")) and ":backlog=" not in endpoint:
        return f"{endpoint}:backlog={BACKLOG}"
    return endpoint


def accept_one_at_a_time(port: Any) -> None:
    """Have a Twisted port accept one connection in each turn of the event loop, as libuv does.

    Twisted accepts 20 more in each turn as long as more wait. After a restart one turn then took seconds, in
    which nothing was delivered to those already served.
    """
    if not hasattr(port, "numberAccepts"):
        return
    read = port.doRead

    def accept() -> Any:
        port.numberAccepts = 1  # it has grown since
        return read()

    port.doRead = accept
