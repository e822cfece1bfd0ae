"""One stream in one node: what was delivered, what waits for an earlier one, what is missing.

In: publications as the layer brings them (some never, some twice, some late), pages of the store, and
positions that the store was seen to have. Out: what to deliver, once and in order, and whether the
store must be asked, or the stream starts over. The store is the truth: it lists every publication,
so what the layer loses is read there.

A store can lose its newest publications too: a replica that was behind takes over, and gives new
publications the old numbers. So each has a random uid. Where the store's newest offset is below one
that this node has seen, or an offset has another uid, the stream has forked: it needs a new epoch. Each
publication names the uid of the one before it, and the store the uid of its newest, so that a fork
shows even where this node got nothing of what was lost. While anything is in doubt, nothing is
delivered: the store is asked first.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from ..protocol.messages import Position

MAX_HELD = 256
"""Publications of one stream that wait for an earlier one; the store has those beyond."""

MAX_HELD_BYTES = 1_048_576
"""Their bytes."""

_REMEMBERED = 4
"""The newest uids that are kept of a stream, to tell a repetition from a fork; the store knows more."""

_Item = TypeVar("_Item")


class Entry(Protocol):
    """One publication of the store."""

    @property
    def offset(self) -> int: ...
    @property
    def uid(self) -> str: ...


_Entry = TypeVar("_Entry", bound=Entry)


class Verdict(enum.Enum):
    """What becomes of a publication that came over the layer."""

    DELIVER = enum.auto()
    """It is the next one: deliver it, then what ``released`` gives."""
    REPEATED = enum.auto()
    """It was delivered before, or waits already."""
    AHEAD = enum.auto()
    """One before it is missing, or the store is to be asked first; ``hold`` it, and read the store."""
    DOUBTFUL = enum.auto()
    """The stream may have forked or begun a new epoch: read the store, which has this one too."""


class Finding(enum.Enum):
    """What a page of the store says about the stream."""

    COMPLETE = enum.auto()
    """Nothing is missing now."""
    MORE = enum.auto()
    """More is to be read."""
    GONE = enum.auto()
    """What is missing is not kept any more: start over at the store's position."""
    OTHER_EPOCH = enum.auto()
    """The store has begun another epoch: start over."""
    FORKED = enum.auto()
    """The store has lost publications: a new epoch is needed."""


class Stream(Generic[_Item]):
    """The state of one stream; small, because a node may have 100,000.

    Args:
        epoch: of the store's position when it was opened.
        offset: of that position: what came before is not this stream's to deliver.
        uid: of the publication at that offset, where it is known.
    """

    __slots__ = ("_held", "_held_bytes", "_uids", "doubts", "epoch", "offset", "top")

    def __init__(self, epoch: str, offset: int, uid: str = "") -> None:
        self.epoch = epoch
        self.offset = offset
        """Everything up to here was delivered."""
        self.top = offset
        """The highest offset that is known to exist."""
        self.doubts = 0
        """Reasons to ask the store whether the stream is still the same; see ``settle``."""
        self._uids: list[str] | None = None
        self._held: dict[int, tuple[str, int, _Item]] | None = None
        self._held_bytes = 0
        if uid:
            self._remember(offset, uid)

    @property
    def position(self) -> Position:
        """Everything up to here was delivered."""
        return Position(self.epoch, self.offset)

    @property
    def incomplete(self) -> bool:
        """Whether something is missing, or in doubt: the store is to be read."""
        return self.doubts > 0 or self.top > self.offset

    @property
    def held(self) -> int:
        """How many publications wait for an earlier one."""
        return 0 if self._held is None else len(self._held)

    # -- from the layer ----------------------------------------------------------------------------

    def take(self, position: Position, uid: str, previous: str = "") -> Verdict:
        """Judge a publication of the layer; ``DELIVER`` counts it as delivered.

        Args:
            position: its own.
            uid: its own.
            previous: the uid of the one before it, where the store knew.
        """
        offset = position.offset
        if position.epoch != self.epoch:
            self.doubts += 1
            return Verdict.DOUBTFUL
        if offset == self.offset + 1:
            if previous and self._uid(self.offset) not in (None, previous):
                self.doubts += 1
            if not self.doubts:
                self.offset = offset
                if offset > self.top:
                    self.top = offset
                self._remember(offset, uid)
                return Verdict.DELIVER
        elif offset <= self.offset:
            if self._uid(offset) == uid:
                return Verdict.REPEATED
            self.doubts += 1
            return Verdict.DOUBTFUL
        if self._held is not None and (known := self._held.get(offset)) is not None:
            if known[0] == uid:
                return Verdict.REPEATED
            self.doubts += 1
            return Verdict.DOUBTFUL
        if offset > self.top:
            self.top = offset
        return Verdict.AHEAD

    def hold(self, offset: int, uid: str, item: _Item, size: int) -> bool:
        """Keep a publication that is ahead; False where it is left to the store."""
        held = self._held
        if held is None:
            held = self._held = {}
        if len(held) >= MAX_HELD or self._held_bytes + size > MAX_HELD_BYTES:
            return False
        held[offset] = (uid, size, item)
        self._held_bytes += size
        return True

    def released(self) -> Iterator[_Item]:
        """Take out what follows without a gap; each counts as delivered. Nothing while in doubt."""
        while self._held and not self.doubts:
            found = self._held.get(self.offset + 1)
            if found is None:
                return
            self._drop(self.offset + 1)
            self.offset += 1
            self._remember(self.offset, found[0])
            yield found[2]

    # -- from the store ----------------------------------------------------------------------------

    def doubt(self) -> None:
        """The store is to be asked before anything more is delivered."""
        self.doubts += 1

    def settle(self, doubts: int) -> None:
        """A read that began when there were so many doubts has answered them."""
        if self.doubts == doubts:
            self.doubts = 0

    def learn(self, position: Position, uid: str = "") -> bool:
        """Note what the store was seen to have as its newest; whether the store is to be read."""
        if position.epoch != self.epoch or position.offset < self.offset:
            # Below what was delivered: it may be old by now, or the store has lost something.
            self.doubts += 1
        elif position.offset == self.offset:
            if uid and self._uid(self.offset) not in (None, uid):
                self.doubts += 1
        elif position.offset > self.top:
            self.top = position.offset
        return self.incomplete

    def fill(
        self,
        asked_top: int,
        position: Position,
        entries: Sequence[_Entry],
        deliver: Callable[[_Entry], None],
    ) -> Finding:
        """Take a page that was read from before the present offset.

        Args:
            asked_top: ``top`` when the read began: the store has all up to there, or has lost it.
            position: the store's newest position.
            entries: in order.
            deliver: is called with each entry that is the next one, in order.
        """
        if position.epoch != self.epoch:
            return Finding.OTHER_EPOCH
        if position.offset < asked_top:
            return Finding.FORKED
        for entry in entries:
            offset = entry.offset
            if offset <= self.offset:
                known = self._uid(offset)
                if known is not None and known != entry.uid:
                    return Finding.FORKED
            elif offset == self.offset + 1:
                self._drop(offset)
                self.offset = offset
                self._remember(offset, entry.uid)
                deliver(entry)
            else:
                return Finding.GONE
        if self.top < max(self.offset, position.offset):
            self.top = max(self.offset, position.offset)
        if self.offset >= position.offset:
            return Finding.COMPLETE
        if entries or (self._held and self.offset + 1 in self._held):
            return Finding.MORE  # the page was full, or what is held follows
        return Finding.GONE

    def start_anew(self, position: Position) -> None:
        """Go on from another position, as for a new stream; what follows it and is held stays held."""
        if position.epoch != self.epoch:
            self._held = None
            self._held_bytes = 0
        elif self._held:
            for offset in [offset for offset in self._held if offset <= position.offset]:
                self._drop(offset)
        self.epoch = position.epoch
        self.offset = position.offset
        self.top = max(self._held, default=position.offset) if self._held else position.offset
        self.doubts = 0
        self._uids = None

    def give_up(self) -> Position:
        """Where to start over without the store: before what is held, or at the highest known."""
        if self._held:
            return Position(self.epoch, min(self._held) - 1)
        return Position(self.epoch, self.top)

    # -- inside ------------------------------------------------------------------------------------

    def _drop(self, offset: int) -> None:
        if self._held is not None:
            found = self._held.pop(offset, None)
            if found is not None:
                self._held_bytes -= found[1]
            if not self._held:
                self._held = None
                self._held_bytes = 0

    def _remember(self, offset: int, uid: str) -> None:
        if self._uids is None:
            self._uids = [""] * _REMEMBERED
        self._uids[offset % _REMEMBERED] = uid

    def _uid(self, offset: int) -> str | None:
        """The uid of one of the newest that were delivered; None where it is not known."""
        if self._uids is None or offset <= self.offset - _REMEMBERED:
            return None
        return self._uids[offset % _REMEMBERED] or None
