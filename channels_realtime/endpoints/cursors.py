"""Cursors of event streams: the positions of a stream's channels, as the ``id`` of an event.

Clients send back what they were sent, or anything else: reading a cursor never fails.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable

import msgspec

from ..protocol import messages as m
from ..protocol.codes import CloseCode
from ..protocol.dialects.realtime import MAX_EPOCH_LENGTH

MAX_CURSOR_CHANNELS = 32
"""Channels with history that a cursor holds."""

_MAX_CURSOR_LENGTH = 4_096
_CLOSED = "closed."

UNKNOWN = m.Position("", 0)
"""A position that no store can meet: the client is told that it has missed something."""


class Cursor:
    """The positions up to which a stream's client has its channels.

    Args:
        came_with: the cursor that the client sent.
        channels: those that it names, which a cursor of this stream is for.
        has_state: whether a channel keeps a state. Until the state was written there is no position
            to come back to.
    """

    __slots__ = ("_came_with", "_has_state", "_positions", "_text", "_tracked")

    def __init__(
        self, came_with: ReadCursor, channels: Iterable[str], has_state: Callable[[str], bool]
    ) -> None:
        self._came_with = came_with
        self._has_state = has_state
        self._positions: dict[str, tuple[bytes, str, int]] = {}
        self._tracked: set[str] = set()
        for name in channels:
            self.track(name)
        self._text = self._encode()

    def track(self, name: str) -> None:
        """Have the cursor be for this channel too, where there is room."""
        if name in self._tracked or len(self._tracked) >= MAX_CURSOR_CHANNELS:
            return
        self._tracked.add(name)
        position = self._came_with.position(name)
        if position is not None:
            self._put(name, position)

    def begin(self, name: str, position: m.Position) -> None:
        """The client is on a channel from this position on, where it did not come with one."""
        if name not in self._tracked:
            return
        if self._has_state(name):
            self.forget(name)
        else:
            self._put(name, position)

    def advance(self, name: str, position: m.Position) -> None:
        """The client is sent a publication."""
        if name in self._tracked:
            self._put(name, position)

    def forget(self, name: str) -> None:
        """The client is no longer on a channel."""
        self._positions.pop(name, None)

    def knows(self, name: str) -> bool:
        """Whether it has a position of a channel."""
        return name in self._positions

    def _put(self, name: str, position: m.Position) -> None:
        known = self._positions.get(name)
        key = _key(name) if known is None else known[0]
        self._positions[name] = (key, position.epoch, position.offset)

    def changed(self) -> str | None:
        """The text of the cursor if it is not that of the last call."""
        text = self._encode()
        if text == self._text:
            return None
        self._text = text
        return text

    def _encode(self) -> str:
        if not self._positions:
            return ""
        data = msgspec.msgpack.encode(list(self._positions.values()))
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _key(name: str) -> bytes:
    """A channel in a cursor; short, because each event has them all."""
    return hashlib.blake2b(name.encode(), digest_size=6).digest()


_decode = msgspec.msgpack.Decoder(list[tuple[bytes, str, int]]).decode


class ReadCursor:
    """A cursor that a client has sent; anything may be in it.

    Args:
        text: as the client sent it; empty for none.
    """

    def __init__(self, text: str) -> None:
        self.closed: int | None = None
        """The close code of the stream whose end it is, if that was the last word."""
        self._positions: dict[bytes, m.Position] | None = {}
        if text.startswith(_CLOSED):
            code = text.removeprefix(_CLOSED)
            self.closed = int(code) if code in _CLOSE_CODES else int(CloseCode.BLOCKED)
        elif text:
            self._positions = _read(text)

    def position(self, name: str) -> m.Position | None:
        """Up to where the client has a channel; ``UNKNOWN`` where the cursor cannot be read."""
        if self._positions is None:
            return UNKNOWN
        return self._positions.get(_key(name))


_CLOSE_CODES = frozenset(str(int(code)) for code in CloseCode)


def _read(text: str) -> dict[bytes, m.Position] | None:
    if len(text) > _MAX_CURSOR_LENGTH or not text.isascii():
        return None
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        entries = _decode(data)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        return None
    good = all(
        len(key) == 6 and len(epoch) <= MAX_EPOCH_LENGTH and 0 <= offset <= m.MAX_ID_INTEGER
        for key, epoch, offset in entries
    )
    if not good or len(entries) > MAX_CURSOR_CHANNELS:
        return None
    return {key: m.Position(epoch, offset) for key, epoch, offset in entries}


def closed_cursor(code: int) -> str:
    """What stands in place of a cursor at the end of a stream that is not to be opened again."""
    return f"{_CLOSED}{int(code)}"
