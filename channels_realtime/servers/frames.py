"""WebSocket frames that are made once for all clients of a process and written at once.

With plain ASGI each ``send`` makes its frame again. The servers that ``servers.daphne`` and
``servers.uvicorn.frames`` start do not: the frame of the last message is kept, and the next
connection that is sent the same object (``is``, not ``==``) gets the same bytes. The events are
ASGI's own, so a middleware between sees them all, and one that changes a message has changed the
frame. Such a server announces ``EXTENSION`` in ``scope["extensions"]``. An application that holds the
server's own ``send`` may then write without a coroutine: see ``direct_write``.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from typing import Any

from .unwrap import SendEvent, is_daphne, is_uvicorn

logger = logging.getLogger(__name__)

EXTENSION = "channels_realtime.frames"
"""What such a server announces in ``scope["extensions"]``, with an empty dict."""

TryWrite = Callable[[dict[str, Any]], bool]
"""Writes a ``websocket.send`` event at once if it can; if not, nothing was written."""

_FIN_TEXT, _FIN_BINARY = 0x81, 0x82


def frame_of(data: str | bytes) -> bytes:
    """The frame of a message: unmasked, in one piece, not compressed (RFC 6455, section 5.2).

    Raises:
        UnicodeEncodeError: the text has a surrogate.
    """
    first = _FIN_BINARY if isinstance(data, bytes) else _FIN_TEXT
    payload = data if isinstance(data, bytes) else data.encode()
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", first, size) + payload
    if size < 65_536:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


class LastFrame:
    """The last message, and its frame; one for a process."""

    __slots__ = ("data", "frame")

    def __init__(self) -> None:
        self.data: Any = self  # an event without a message has None
        self.frame = b""

    def take(self, data: Any) -> bool:
        """Make the frame of another message; False leaves the message to the server's own way."""
        if not data or type(data) not in (str, bytes):
            return False  # Daphne sends no empty message
        try:
            self.frame = frame_of(data)
        except UnicodeEncodeError:
            return False  # the server raises it
        self.data = data
        return True


LAST = LastFrame()


def direct_write(scope: Mapping[str, Any], send: SendEvent) -> TryWrite | None:
    """What writes to the connection without a coroutine, or None.

    None where the server does not announce it, where a middleware has wrapped ``send`` (it is to see
    what is sent), and on a connection with TLS or compression.

    Args:
        scope: of a connection that was accepted.
        send: its ``send``, as the application was given it.
    """
    if EXTENSION not in scope.get("extensions", ()):
        return None
    if is_daphne(send):
        protocol = send.args[0]  # type: ignore[attr-defined]
    elif is_uvicorn(send):
        protocol = send.__self__  # type: ignore[attr-defined]
    else:
        return None
    found = getattr(protocol, "direct_write", None)
    return None if found is None else found()


def known(server: str, ranges: Mapping[str, tuple[str, str]], missing: Iterable[str] = ()) -> bool:
    """Whether this process may write frames itself; if not, log why, for the plain way is taken.

    Args:
        server: its name, for the log.
        ranges: by distribution, the first version that this was tested with and the first that it
            was not.
        missing: what the server or its libraries were expected to have.
    """
    reasons = [f"without {name}" for name in missing]
    for name, (first, beyond) in ranges.items():
        version = metadata.version(name)
        if not _numbers(first) <= _numbers(version) < _numbers(beyond):
            reasons.append(f"{name} {version}; expected {first} or later, and before {beyond}")
    if reasons:
        logger.warning(
            "%s: frames are written in the plain way, which costs more time (%s)",
            server,
            ", ".join(reasons),
        )
    return not reasons


def _numbers(version: str) -> tuple[int, ...]:
    numbers = []
    for part in version.split("."):
        if not part.isdecimal():
            break
        numbers.append(int(part))
    return tuple(numbers)
