"""Dialects: how one kind of client writes commands and reads pushes.

In: the text or bytes of a frame. Out: commands; and for each push the text or bytes of a frame, or
None where the dialect has no word for it. A dialect keeps no state between frames; it is made once
for each connection, so that it may know its limits and its channel.

``encode_publication`` is apart from ``encode`` because the hub calls it once for all connections
whose dialects have the same ``encoding``.
"""

from __future__ import annotations

from typing import Protocol

from ..messages import Command, Publication, Push

VERSION = 1
"""The version of the wire protocol that ``welcome`` announces."""


class Encoding(Protocol):
    """How publications are written. Two dialects with an equal encoding share the encoded frame."""

    @property
    def name(self) -> str:
        """Tells encodings apart."""
        ...

    def encode_publication(self, publication: Publication) -> str | bytes: ...


class Dialect(Protocol):
    """The contract of a dialect; no method blocks, and ``decode`` raises nothing."""

    @property
    def encoding(self) -> Encoding:
        """How it writes publications."""
        ...

    @property
    def name(self) -> str:
        """What operators are shown."""
        ...

    @property
    def heartbeat(self) -> bool:
        """Whether its clients have agreed to answer pings."""
        ...

    def decode(self, frame: str | bytes) -> list[Command]: ...

    def encode(self, push: Push) -> str | bytes | None: ...


def frame_size(frame: str | bytes) -> int:
    """The size of a frame in bytes."""
    if isinstance(frame, bytes) or frame.isascii():
        return len(frame)
    return len(
        frame.encode(errors="surrogatepass")
    )  # no server passes these on, yet nothing raises
