"""Frames: encoded messages on their way to clients, in the form that a transport writes."""

from __future__ import annotations

import enum
from typing import Any

import msgspec


class Policy(enum.StrEnum):
    """What happens to a frame that a slow client has no room for."""

    CLOSE = "close"
    DROP_OLDEST = "drop_oldest"
    LATEST = "latest"


class Frame(msgspec.Struct, frozen=True):
    """One encoded frame; the same object goes to every connection that shares it.

    Args:
        content: what the transport's ``write`` takes; only an encoding and its transport know what
            that is.
        size: of the encoded message in bytes.
        channel: of a publication, so that what waits can be taken back when the subscription ends.
        policy: what happens to it where the client is slow.
    """

    content: Any
    size: int
    channel: str | None = None
    policy: Policy = Policy.CLOSE


def frame_size(data: str | bytes) -> int:
    """The size of an encoded message in bytes."""
    if isinstance(data, bytes) or data.isascii():
        return len(data)
    return len(data.encode(errors="surrogatepass"))  # no server passes these on, yet nothing raises
