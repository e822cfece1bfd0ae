"""One WebSocket client as a bare protocol: small and fast enough for thousands in one event loop.

In: what a server sends. Out: each message's bytes, to ``message_received``, which a subclass overrides.
It takes what servers send: no fragments (RFC 6455, section 5.4), and no extensions, which it never offers.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable
from typing import Any

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
"""Opcodes (RFC 6455, section 11.8)."""


class RawConnection(asyncio.Protocol):
    """A client's end of one WebSocket; write a ``handshake`` to its transport first.

    Args:
        answers: whether it answers a close, and the pings of the WebSocket protocol.
    """

    def __init__(self, *, answers: bool = True) -> None:
        loop = asyncio.get_running_loop()
        self.answers = answers
        self.status: asyncio.Future[int] = loop.create_future()
        """The HTTP status of the handshake; 0 where there was none."""
        self.closed: asyncio.Future[int] = loop.create_future()
        """The close code: 1005 for a close without one, 1006 without a close."""
        self.transport: asyncio.Transport
        self._rest = b""
        """The beginning of a frame."""
        self._head = True

    def message_received(self, data: bytes) -> None:
        """Called with each message, text or binary."""

    def ended(self) -> None:
        """Called once, when ``closed`` has its result."""

    # -- asyncio.Protocol --------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        """Called by asyncio."""
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        if not self.status.done():
            self.status.set_result(0)
        self._end(1006)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        if self._rest:
            data = self._rest + data
        if self._head:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._rest = data
                return
            self._head = False
            if not self.status.done():  # the caller may have given up
                self.status.set_result(int(data[9:12]))
            data = data[end + 4 :]
        self._rest = self._take_frames(data)

    # -- frames ------------------------------------------------------------------------------------

    def _take_frames(self, data: bytes) -> bytes:
        """Take all complete frames; returns the rest."""
        at, size = 0, len(data)
        while size - at >= 2:
            length, start = data[at + 1] & 0x7F, at + 2
            if length == 126:
                start = at + 4
                length = int.from_bytes(data[at + 2 : start])
            elif length == 127:
                start = at + 10
                length = int.from_bytes(data[at + 2 : start])
            end = start + length
            if size < end:  # also a length that is not complete: its bytes come first
                break
            self._take(data[at] & 0x0F, data[start:end])
            at = end
        return data[at:]

    def _take(self, opcode: int, data: bytes) -> None:
        if opcode == CLOSE:
            if self.answers:
                self.write_frame(CLOSE, data)
                self.transport.close()
            self._end(int.from_bytes(data[:2]) if data else 1005)
        elif opcode == PING:
            if self.answers:
                self.write_frame(PONG, data)
        elif opcode != PONG:
            self.message_received(data)

    def _end(self, code: int) -> None:
        if not self.closed.done():
            self.closed.set_result(code)
            self.ended()

    def write_frame(self, opcode: int, data: bytes) -> None:
        """Send one frame, unless the connection is closing."""
        if not self.transport.is_closing():
            self.transport.write(frame(opcode, data))

    def leave(self) -> None:
        """Begin to close as a browser does."""
        self.write_frame(CLOSE, struct.pack("!H", 1000))


def frame(opcode: int, data: bytes) -> bytes:
    """A complete frame from a client, with a mask that changes nothing."""
    length = len(data)
    if length < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | length)
    elif length < 65_536:
        head = struct.pack("!BBH", 0x80 | opcode, 0xFE, length)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0xFF, length)
    return head + b"\0\0\0\0" + data


def handshake(
    host: str, path: str, subprotocol: str | None = None, headers: Iterable[str] = ()
) -> bytes:
    """The bytes of an opening handshake.

    Args:
        host: of the ``Host`` header, with the port.
        headers: more of them, as lines.
    """
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        *([f"Sec-WebSocket-Protocol: {subprotocol}"] if subprotocol else []),
        *headers,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
