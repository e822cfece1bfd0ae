"""What a node knows of the members of one channel: a pure state, without I/O.

In: what the store was read to hold, and changes, which may come twice, in another order, or not at all.
Out: the changes that are news to those who watch. A change's number tells what is missing; then, or
where the store has another number, the node reads the store again and tells the differences.
"""

from __future__ import annotations

import dataclasses

from ...protocol.messages import Members
from .base import Change, Roll

AHEAD = 1_000
"""Changes that may be ahead of a missing one; with more of them the store is to be read again."""

_JUMP = 1_000_000
"""More changes than a channel has between two looks at it: numbers begin at the time in microseconds."""


@dataclasses.dataclass(frozen=True, slots=True)
class Repair:
    """What differs after the store was read again.

    Args:
        changes: those that were missed, as far as they are known: leaves first.
        whole: the members are more than are kept, so that what watchers have is to be replaced.
    """

    changes: list[Change]
    whole: bool = False


class Roster:
    """The members of a channel, as many as are sent, and the number of all.

    Args:
        stream: the channel's qualified name.
        limit: how many members are kept.
        roll: what was read.
    """

    def __init__(self, stream: str, limit: int, roll: Roll) -> None:
        self._stream = stream
        self.limit = limit
        self._recorded: list[Change] | None = None
        self._set(roll)

    def _set(self, roll: Roll) -> None:
        self.sequence = roll.sequence
        """The number up to which every change is known."""
        self._newest = roll.sequence
        self.count = roll.count
        self._members = {member.id: member for member in roll.members}
        self._ahead: set[int] = set()
        self._latest: dict[str, int] = {}  # of those that changed while something was missing
        self._whole = self.count == len(self._members)  # whether these are all

    @property
    def members(self) -> Members:
        """Those who are there now."""
        return Members(self.count, tuple(self._members.values()))

    @property
    def incomplete(self) -> bool:
        """Whether a change is missing."""
        return bool(self._ahead)

    @property
    def overrun(self) -> bool:
        """Whether so many changes are ahead of a missing one that it is not waited for."""
        return len(self._ahead) > AHEAD

    def restarted(self, sequence: int) -> bool:
        """Whether a number shows that the stream was lost; it may have begun again since."""
        return sequence == 0 or sequence - self.sequence > _JUMP

    @property
    def thin(self) -> bool:
        """Whether so few are left of the members that are kept that others are to be read."""
        return not self._whole and len(self._members) < self.limit / 2

    def take(self, change: Change) -> bool:
        """Take a change in.

        Returns:
            whether it is news: to be told to those who watch.
        """
        number, member_id = change.sequence, change.member.id
        if number <= self.sequence or number in self._ahead:
            return False
        if self._recorded is not None:
            self._recorded.append(change)
        superseded = self._latest.get(member_id, 0) > number
        self._latest[member_id] = max(number, self._latest.get(member_id, 0))
        is_news = not superseded and self._apply(change)
        if number > self._newest:
            self._newest = number
            self.count = change.count
        self._advance(number)
        return is_news

    def _apply(self, change: Change) -> bool:
        member_id = change.member.id
        known = member_id in self._members
        if change.kind == "leave":
            self._members.pop(member_id, None)
            return known or not self._whole
        if not known and self._whole:
            if len(self._members) < self.limit:
                self._members[member_id] = change.member
            else:
                self._whole = False
        return not known

    def _advance(self, number: int) -> None:
        self._ahead.add(number)
        while self.sequence + 1 in self._ahead:
            self.sequence += 1
            self._ahead.remove(self.sequence)
        if not self._ahead:
            self._latest.clear()
            self._whole = self.count == len(self._members)

    # -- reading again -----------------------------------------------------------------------------

    def begin_read(self) -> None:
        """The store is being read: what comes meanwhile may be newer than the answer."""
        self._recorded = []

    def end_read(self, roll: Roll | None) -> Repair:
        """Take the answer in; None where there was none.

        Returns:
            what those who watch have not been told.
        """
        recorded, self._recorded = self._recorded or [], None
        if roll is None:
            return Repair([])
        before, was_whole = self._members, self._whole
        known = None if self._ahead else self.sequence
        self._set(roll)
        for change in recorded:
            self.take(change)
        if known == self.sequence and not self._ahead:
            return Repair([])  # nothing was missed; others may be kept now
        if not (was_whole and self._whole):
            return Repair([], whole=True)
        left = [member for key, member in before.items() if key not in self._members]
        joined = [member for key, member in self._members.items() if key not in before]
        changes = []
        count = self.count - len(joined) + len(left)
        for kind, step, members in (("leave", -1, left), ("join", 1, joined)):
            for member in members:
                count += step
                changes.append(Change(self._stream, kind, member, self.sequence, count))  # type: ignore[arg-type]
        return Repair(changes)
