"""uvicorn with frames that are made once: ``--ws channels_realtime.servers.uvicorn.frames:FrameProtocol``.

Its protocol's attributes have no underscore and no documentation either: ``usable`` looks at the
versions. The transport is asyncio's, which writes at once where its buffer is empty.
"""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import State

from ..frames import EXTENSION, LAST, TryWrite, known

VERSIONS = {"uvicorn": ("0.52.1", "1"), "websockets": ("14", "18")}
"""What this module was tested with: from the first, up to and without the second."""

_NEEDED = ("close_sent", "conn", "disconnected", "transport", "writable")

_usable: bool | None = None


def usable(protocol: Any) -> bool:
    """Whether frames can be written here; if not, log why, once in a process."""
    global _usable
    if _usable is None:
        missing = [f"protocol.{name}" for name in _NEEDED if not hasattr(protocol, name)]
        _usable = known("uvicorn", VERSIONS, missing)
    return _usable


class DirectTransport:
    """Writes to one connection's transport, as long as it is open and has room.

    Of all that a connection consists of, this alone and the transport are touched by a delivery to it.
    """

    __slots__ = ("transport",)

    def __init__(self) -> None:
        self.transport: Any = None  # there while a frame may be written

    def write(self, event: dict[str, Any]) -> bool:
        """Write a message's frame; False if it was not written."""
        transport = self.transport
        if transport is None:
            return False
        data = event.get("text")
        if data is None:
            data = event.get("bytes")
        if data is not LAST.data and not LAST.take(data):
            return False
        transport.write(LAST.frame)
        return True


class FrameProtocol(WebSocketsSansIOProtocol):
    """A connection whose frames are made once."""

    _direct: DirectTransport | None = None

    def handle_connect(self, event: Any) -> None:
        """uvicorn's, with what this class can do in the scope."""
        super().handle_connect(event)
        if usable(self) and hasattr(self, "scope"):
            extensions: Any = self.scope["extensions"]
            extensions[EXTENSION] = {}  # the application has not begun yet

    def direct_write(self) -> TryWrite | None:
        """What writes to the transport; None on a connection where nothing may."""
        return None if self._direct is None else self._direct.write

    def _look(self) -> None:
        """Whether a frame may be written may have changed."""
        direct = self._direct
        if direct is not None:
            may_write = (
                not self.close_sent
                and not self.disconnected
                and self.conn.state is State.OPEN
                and self.writable.is_set()
            )
            direct.transport = self.transport if may_write else None

    async def send(self, message: Any) -> None:
        """uvicorn's; frames are this class's."""
        kind = message["type"]
        if kind == "websocket.send":
            if self._direct is not None and self._direct.write(message):
                return
            await super().send(message)
            return
        await super().send(message)
        if kind == "websocket.accept" and usable(self) and not self.conn.extensions:
            self._direct = DirectTransport()
        self._look()

    def data_received(self, data: bytes) -> None:
        """uvicorn's; the client may have closed."""
        super().data_received(data)
        self._look()

    def pause_writing(self) -> None:
        """uvicorn's; the transport is full."""
        super().pause_writing()
        self._look()

    def resume_writing(self) -> None:
        """uvicorn's; the transport has room."""
        super().resume_writing()
        self._look()

    def keepalive_timeout(self) -> None:
        """uvicorn's; it has closed."""
        super().keepalive_timeout()
        self._look()

    def shutdown(self) -> None:
        """uvicorn's; it has closed."""
        super().shutdown()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """uvicorn's."""
        super().connection_lost(exc)
        self._look()
