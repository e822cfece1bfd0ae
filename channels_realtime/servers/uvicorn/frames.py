"""uvicorn with frames that are made once: ``--ws channels_realtime.servers.uvicorn.frames:FrameProtocol``.

Its protocol's attributes have no underscore and no documentation either: ``usable`` looks at the
versions. The transport is asyncio's, which writes at once where its buffer is empty.
"""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import State

from ..frames import EXTENSION, LAST, known

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


class FrameProtocol(WebSocketsSansIOProtocol):
    """A connection whose frames are made once."""

    writes_at_once = False
    """Whether ``write_now`` may write: open, and without compression."""

    def handle_connect(self, event: Any) -> None:
        """uvicorn's, with what this class can do in the scope."""
        super().handle_connect(event)
        if usable(self) and hasattr(self, "scope"):
            extensions: Any = self.scope["extensions"]
            extensions[EXTENSION] = {}  # the application has not begun yet

    def write_now(self, event: dict[str, Any]) -> bool:
        """Give a message's frame to the transport, if it has room; False if it was not given."""
        if not self.writes_at_once:
            return False
        data = event.get("text")
        if data is None:
            data = event.get("bytes")
        if data is not LAST.data and not LAST.take(data):
            return False
        if (
            self.close_sent
            or self.disconnected
            or self.conn.state is not State.OPEN
            or not self.writable.is_set()
        ):
            return False
        self.transport.write(LAST.frame)
        return True

    async def send(self, message: Any) -> None:
        """uvicorn's; frames are this class's."""
        kind = message["type"]
        if kind == "websocket.send" and self.write_now(message):
            return
        await super().send(message)
        if kind == "websocket.accept" and usable(self):
            self.writes_at_once = not self.conn.extensions
