"""WebSockets of an ASGI server: the transport, and the task that reads one.

The server's own task reads, and nothing else lives as long as the connection. Channels'
``AsyncConsumer`` takes a layer channel and several tasks for each connection, and crosses to a thread
for every message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, MutableMapping
from typing import Any, ClassVar

from ..connections.connection import Connection
from ..connections.shell import CLOSE_GRACE_S
from ..connections.transport import SendEvent, Transport
from ..nodes.node import Node
from ..protocol.codes import CloseCode
from ..protocol.dialects.bare import BareEncoding, HtmlBareEncoding
from ..protocol.dialects.realtime import realtime_encodings
from ..servers.abort import abort, abort_unless_taken
from ..servers.daphne import LOSE_CONNECTION, FlowControl, lifetime_of, may_lose_connection
from ..servers.frames import TryWrite
from .handshake import Receive, forget_handshake


class WebSocketTransport(Transport):
    """One WebSocket, by the ASGI specification's events.

    Args:
        scope: of the handshake.
        send: the server's, or one that waits where the server's does not.
        task: in which the connection is served.
        max_frame_bytes: the largest frame that does not close the connection.
        plain: whether the client did not negotiate our protocol, and knows the RFC's close codes alone.
        try_write: see ``servers.frames.direct_write``.
    """

    __slots__ = ("_plain", "_scope", "_task", "max_frame_bytes", "try_write")

    name: ClassVar[str] = "websocket"
    max_frame_bytes: int | None

    def __init__(
        self,
        scope: Mapping[str, Any],
        send: SendEvent,
        task: ServerTask,
        *,
        max_frame_bytes: int | None,
        plain: bool = False,
        try_write: TryWrite | None = None,
    ) -> None:
        self.write = send
        self.try_write = try_write
        self._plain = plain
        self._scope = scope
        self._task: ServerTask | None = task
        self.max_frame_bytes = max_frame_bytes

    @staticmethod
    def wrap(data: str | bytes) -> dict[str, Any]:
        """A ``websocket.send`` event."""
        return {"type": "websocket.send", "bytes" if isinstance(data, bytes) else "text": data}

    def close_content(
        self, code: CloseCode, reason: str, *, rfc: bool, reconnect: bool
    ) -> tuple[int, Any]:
        """A ``websocket.close`` event; for a plain client on Daphne that is to come back, the end of TCP."""
        number = int(code)
        if self._takes_rfc_codes():
            if self._plain:
                number = code.for_plain(reconnect=reconnect)
            elif rfc:
                number = code.rfc
        elif (
            self._plain
            and code.for_plain(reconnect=reconnect) == _SERVICE_RESTART
            and may_lose_connection(self.write)
        ):
            return _ABNORMAL, LOSE_CONNECTION
        event: dict[str, Any] = {"type": "websocket.close", "code": number}
        if self._takes_reasons():
            event["reason"] = reason[:100]
        return number, event

    def drop(self) -> None:
        """Stop reading it; its end aborts what the server still has of it."""
        if self._task is not None:
            self._task.drop()

    def detach(self) -> None:
        """The connection is over."""
        self._task = None

    def _takes_rfc_codes(self) -> bool:
        # autobahn, and so Daphne, raises on any code of an application's but 1000 and 3000 to 4999;
        # Daphne is also the one server here that announces no extensions at all.
        return "extensions" in self._scope

    def _takes_reasons(self) -> bool:
        # "reason" came with version 2.3 of the ASGI WebSocket specification.
        version = self._scope.get("asgi", {}).get("spec_version", "2.0")
        return "extensions" in self._scope and _version(version) >= (2, 3)


_SERVICE_RESTART = 1012
_NORMAL = 1000
_ABNORMAL = 1006
"""What a client sees of a connection that ends without a close frame (RFC 6455, section 7.4.1)."""


def _version(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split("."))
    except ValueError:
        return (2, 0)


ENCODINGS = realtime_encodings(WebSocketTransport.wrap)
"""Of the protocol's own dialect, by codec."""

BARE_ENCODING = BareEncoding(WebSocketTransport.wrap)
HTML_BARE_ENCODING = HtmlBareEncoding(WebSocketTransport.wrap)


class ServerTask:
    """The server's own task, in which a connection lives, and what may end it."""

    __slots__ = ("_node", "_send", "dropped", "task")

    def __init__(self, node: Node, task: asyncio.Task[Any], send: SendEvent) -> None:
        self._node = node
        self.task = task
        self._send = send
        self.dropped = False

    def drop(self) -> None:
        """Stop reading: the client did not answer a close."""
        self.dropped = True
        self.task.cancel()

    def end(self) -> None:
        """The application returns: have the server free the connection."""
        if self.dropped:
            abort(self._send)
        else:
            abort_unless_taken(self._send, CLOSE_GRACE_S)

    def resume_if_draining(self) -> None:
        """A server that cancels while the node drains is let wait for the drain.

        Daphne cancels its applications on SIGTERM, before their clients could be told.
        """
        if self.dropped or not self._node.drain.begun:
            raise
        self.task.uncancel()


class Reader(ServerTask):
    """Reads a connection's frames, until the client or the server ends it."""

    __slots__ = ("_flow", "_last_moment", "_opening", "connection")

    connection: Connection

    def __init__(
        self, node: Node, task: asyncio.Task[Any], send: SendEvent, flow: FlowControl | None
    ) -> None:
        super().__init__(node, task, send)
        self._flow = flow
        self._last_moment: asyncio.TimerHandle | None = None
        self._opening: Awaitable[None] | None = None

    def begin(self, connection: Connection, opening: Awaitable[None]) -> None:
        """The connection was accepted; ``opening`` identifies and greets it."""
        self.connection = connection
        self._opening = opening
        if self._flow is not None:  # Daphne's
            self._last_moment = _close_before(lifetime_of(self._send), connection)
        connection.begin()

    async def open(self, scope: Mapping[str, Any]) -> None:
        """Identify the connection; what the client sends meanwhile waits on its side.

        Args:
            scope: as the server gave it.
        """
        opening, self._opening = self._opening, None
        assert opening is not None
        try:
            await self._unread(opening)
        except asyncio.CancelledError:
            self.resume_if_draining()
        forget_handshake(self.connection, scope)

    async def catch_up(self) -> None:
        """Let the connection's handlers catch up."""
        await self._unread(self.connection.readable())

    def take(self, event: dict[str, Any]) -> bool:
        """Take an event of the server's; returns whether it was the last."""
        kind, connection = event["type"], self.connection
        if kind == "websocket.receive":
            if not connection.closed:
                text = event.get("text")
                connection.receive(event["bytes"] if text is None else text)
        elif kind == "websocket.disconnect":
            # A close of ours has its echo here, so that it is not the client's.
            connection.receipts.ended_by_client = (
                not connection.closed and event.get("code") == _NORMAL
            )
            return True
        return False

    def end(self) -> None:
        """The application returns: free the connection, and have the server do so."""
        if self._last_moment is not None:
            self._last_moment.cancel()
        self.connection.finish()
        super().end()

    async def _unread(self, waiting: Awaitable[None]) -> None:
        """Wait without reading: the client's own writes come to a stop."""
        if self._flow is None:
            await waiting
            return
        self._flow.pause_reading()
        try:
            await waiting
        finally:
            self._flow.resume_reading()


class WebSocketApplication:
    """An ASGI application that serves connections in one coroutine each, which lives as long."""

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Receive, send: SendEvent
    ) -> None:
        """The ASGI application."""
        reader = await self._begin(scope, receive, send)
        if not isinstance(reader, Reader):
            return
        try:
            await reader.open(scope)
            while True:
                try:
                    if reader.connection.saturated:
                        await reader.catch_up()
                    if reader.take(await receive()):  # in no variable, which would keep it
                        return
                except asyncio.CancelledError:
                    reader.resume_if_draining()
        except asyncio.CancelledError:
            if not reader.dropped:
                raise
            reader.task.uncancel()
        finally:
            reader.end()

    def _begin(
        self, scope: MutableMapping[str, Any], receive: Receive, send: SendEvent
    ) -> Awaitable[Any]:
        """Accept a handshake, or serve it in another way.

        What is needed for this alone goes with its coroutine; the other lives as long as the connection.

        Returns:
            the connection's ``Reader``; anything else where there is nothing more to serve.
        """
        raise NotImplementedError


def _close_before(lifetime: float | None, connection: Connection) -> asyncio.TimerHandle | None:
    """Close a connection shortly before its server would, with a code after which clients come back.

    Args:
        lifetime: after how many seconds the server closes it; None for never.
        connection: the connection, which has just begun.
    """
    if lifetime is None:
        return None
    return asyncio.get_running_loop().call_later(
        max(lifetime - _MARGIN_S, lifetime / 2),
        connection.close,
        CloseCode.GOING_AWAY,
        "the connection reached the server's age limit",
    )


_MARGIN_S = 30.0
"""Enough for Daphne's own check, every 2 s, and for a client that is slow to answer the close."""
