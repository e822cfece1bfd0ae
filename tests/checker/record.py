"""What a subscriber saw of a channel, and what the publishers were told; no I/O.

Times are of ``time.monotonic``, which all processes of a machine share.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position: an offset within an epoch."""

    epoch: str
    offset: int


@dataclass(frozen=True, slots=True)
class Started:
    """A ``subscribed``, or one channel of a ``resumed``.

    Args:
        at: when it came.
        position: as the server says.
        since: what the client had sent; None where it began without.
        recovered: as the server says; None where nothing was asked for.
        pushed: it came without a request.
    """

    at: float
    position: Cursor
    since: Cursor | None = None
    recovered: bool | None = None
    pushed: bool = False


@dataclass(frozen=True, slots=True)
class Received:
    """A ``message``.

    Args:
        at: when it came.
        position: its number.
        payload: which publication it is.
        recovered: whether it came as one that was missed.
    """

    at: float
    position: Cursor
    payload: str
    recovered: bool = False


Event = Started | Received


@dataclass(slots=True)
class Record:
    """All that one subscriber saw of one channel, in order, over all its connections."""

    subscriber: str
    channel: str
    events: list[Event] = field(default_factory=list)
    cursor: Cursor | None = None
    """Where the subscriber is: what it sends as ``since``."""

    def begin(self, event: Started) -> None:
        self.events.append(event)
        if not event.recovered:  # otherwise it goes on where it was
            self.cursor = event.position

    def receive(self, event: Received) -> None:
        self.events.append(event)
        self.cursor = event.position


@dataclass(frozen=True, slots=True)
class Kept:
    """One publication, as its append returned.

    Args:
        payload: which publication it is.
        begun: when its publisher first tried.
        ended: when its publisher was told the position.
    """

    payload: str
    begun: float
    ended: float


class Truth:
    """The streams, as the store's appends returned them.

    Args:
        size: how many publications a channel keeps.
        ttl: for how many seconds.
    """

    def __init__(self, *, size: int, ttl: float) -> None:
        self.size = size
        self.ttl = ttl
        self._streams: dict[str, dict[str, dict[int, list[Kept]]]] = defaultdict(dict)

    def add(self, channel: str, position: Cursor, kept: Kept) -> None:
        """A publisher was told this position; a store that lost publications tells it twice."""
        epochs = self._streams[channel]
        epochs.setdefault(position.epoch, {}).setdefault(position.offset, []).append(kept)

    @property
    def channels(self) -> list[str]:
        return sorted(self._streams)

    @property
    def count(self) -> int:
        """How many publications there are."""
        return sum(len(same) for _, _, same in self.all())

    def all(self) -> Iterator[tuple[str, Cursor, list[Kept]]]:
        """Every position, with what was published there."""
        for channel, epochs in self._streams.items():
            for epoch, offsets in epochs.items():
                for offset, same in offsets.items():
                    yield channel, Cursor(epoch, offset), same

    def at(self, channel: str, position: Cursor) -> list[Kept]:
        """What was published at a position: one, or several where the store had lost the first."""
        return self._streams[channel].get(position.epoch, {}).get(position.offset, [])

    def carried(self, channel: str, position: Cursor) -> list[Kept]:
        """What has this offset in any epoch: a server that takes over keeps what it has, in a new one."""
        return [
            kept
            for offsets in self._streams[channel].values()
            for kept in offsets.get(position.offset, [])
        ]

    def end(self, channel: str) -> Cursor | None:
        """The newest position: of the epoch of the last append."""
        newest: tuple[float, Cursor] | None = None
        for epoch, offsets in self._streams[channel].items():
            top = max(offsets)
            found = (max(kept.ended for kept in offsets[top]), Cursor(epoch, top))
            if newest is None or found[0] > newest[0]:
                newest = found
        return None if newest is None else newest[1]

    def is_gone(self, channel: str, position: Cursor, at: float) -> bool:
        """Whether a publication may have been dropped by then: pushed out, or too old."""
        pusher = Cursor(position.epoch, position.offset + self.size)
        if any(kept.begun <= at for kept in self.at(channel, pusher)):
            return True
        return any(kept.begun + self.ttl <= at for kept in self.at(channel, position))

    def holes(self) -> Iterator[str]:
        """Numbers that no publisher was told, and numbers that were told twice."""
        for channel, epochs in self._streams.items():
            for epoch, offsets in epochs.items():
                missing = sorted(set(range(1, max(offsets) + 1)) - set(offsets))
                if missing:
                    yield f"{channel}: no publisher was told {missing[:5]} of epoch {epoch}"
                twice = sorted(offset for offset, same in offsets.items() if len(same) > 1)
                if twice:
                    yield f"{channel}: told twice, {twice[:5]} of epoch {epoch}"

    def fork(self, channel: str, epoch: str) -> int | None:
        """The first offset of an epoch that two publications have; None where there is none."""
        offsets = self._streams[channel].get(epoch, {})
        return min((offset for offset, same in offsets.items() if len(same) > 1), default=None)
