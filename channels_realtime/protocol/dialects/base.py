"""The contract of dialects and encodings: how one kind of client writes and reads.

In: the text or bytes of a message, from a client. Out: commands. For each push: the text or bytes of
a message, or None where the dialect has no form for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ..frames import Frame, Policy, frame_size
from ..messages import Command, Publication, Push

VERSION = 1
"""The version of the wire protocol that ``welcome`` announces."""

TEXT_PING = "ping"
TEXT_PONG = "pong"
"""The keep-alive of plain connections, as other people's clients send it by default."""

Wrap = Callable[[str | bytes], Any]
"""Puts an encoded message into the form that a transport writes, such as an ASGI event."""


class Encoding:
    """How publications become frames: a dialect's format on one transport.

    The hub makes one frame for all subscribers with the same encoding, so an encoding knows nothing of
    a single client, holds no state and is shared by all connections of a dialect on a transport.

    Nothing here blocks or waits. ``encode_publication`` is called once for a publication, whatever the
    number of subscribers, with a payload that ``protocol.payloads`` has normalised: it raises nothing.
    The size of a frame is that of its payload and what the format adds; the limit on payloads bounds
    it.
    """

    __slots__ = ("wrap",)

    name: str
    """Tells the formats of a transport apart, for operators: ``"realtime.json"``."""

    def __init__(self, wrap: Wrap) -> None:
        self.wrap = wrap

    def encode_publication(self, publication: Publication) -> str | bytes | None:
        """The text or bytes of a publication, the same for every subscriber.

        None if clients of this encoding do not receive it.
        """
        raise NotImplementedError

    def publication_frame(self, publication: Publication, policy: Policy) -> Frame | None:
        """The frame of a publication, for every subscriber; None where there is nothing to write."""
        data = self.encode_publication(publication)
        if data is None:
            return None
        return Frame(self.wrap(data), frame_size(data), publication.channel, policy)

    def frame(self, data: str | bytes) -> Frame:
        """The frame of anything else that a dialect has encoded, for one client."""
        return Frame(self.wrap(data), frame_size(data))


class Dialect(Protocol):
    """How one client writes and reads; made for each connection, so that it may know its limits.

    - Order: ``decode`` is called for each frame in the order received, ``encode`` for each push in the
      order sent. A dialect keeps no state between two calls.
    - Bounds: ``decode`` returns at most ``Limits.max_batch`` commands, each with a payload within the
      limits and in normalised types (``protocol.payloads``).
    - Neither blocks or waits, and neither raises: what cannot be read becomes ``Malformed``, which the
      conversation counts and answers.
    """

    @property
    def encoding(self) -> Encoding:
        """How publications and its own pushes become frames."""
        ...

    @property
    def name(self) -> str:
        """What operators are shown."""
        ...

    @property
    def heartbeat(self) -> bool:
        """Whether its clients have agreed to answer pings."""
        ...

    def decode(self, frame: str | bytes) -> list[Command]:
        """The commands of a frame, at least one."""
        ...

    def encode(self, push: Push) -> str | bytes | None:
        """The text or bytes of a push; None where its clients are not told that."""
        ...
