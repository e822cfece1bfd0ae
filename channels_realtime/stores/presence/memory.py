"""Who is on a channel, in the memory of one process.

One object serves all threads of the process: the loop that serves, and the code that asks. Nothing
here waits, so a lock is held for a few microseconds.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from ...protocol.messages import Member
from .base import (
    BATCH,
    PARTITIONS,
    Change,
    Departure,
    Entry,
    Hold,
    PresenceStore,
    Roll,
    Sweep,
    Tally,
    partition_of,
)


class _Stream:
    """The members of one channel, in the order in which they joined."""

    __slots__ = ("holds", "members", "sequence")

    def __init__(self, sequence: int) -> None:
        self.sequence = sequence
        self.members: dict[str, Member] = {}
        self.holds: dict[str, int] = {}


class _Partition:
    """What is kept apart from other partitions; the same steps as in Redis."""

    def __init__(self) -> None:
        self.streams: dict[str, _Stream] = {}
        self.held: dict[str, set[Hold]] = {}
        self.leases: dict[str, float] = {}
        self.due: dict[tuple[str, str], float] = {}

    def enter(self, node: str, entry: Entry, now: float) -> Change | None:
        stream = self.streams.get(entry.stream)
        if stream is None:
            stream = self.streams[entry.stream] = _Stream(int(now * 1e6))
        hold, member = entry.hold, entry.member
        held = self.held.setdefault(node, set())
        if hold not in held:
            held.add(hold)
            stream.holds[member.id] = stream.holds.get(member.id, 0) + 1
        self.due.pop((entry.stream, member.id), None)
        if member.id in stream.members:
            return None
        stream.members[member.id] = member
        stream.sequence += 1
        return Change(entry.stream, "join", member, stream.sequence, len(stream.members))

    def leave(self, node: str, departure: Departure, now: float) -> Change | None:
        hold = departure.hold
        held = self.held.get(node)
        if held is None or hold not in held:
            return None
        held.remove(hold)
        if not held:
            del self.held[node]
        if not self.release(hold):
            return None
        if departure.grace > 0:
            self.due[hold.stream, hold.member] = now + departure.grace
            return None
        return self.remove(hold.stream, hold.member)

    def release(self, hold: Hold) -> bool:
        """Take one hold of a member away; True where it was the last."""
        holds = self.streams[hold.stream].holds
        holds[hold.member] -= 1
        return holds[hold.member] <= 0

    def remove(self, name: str, member_id: str) -> Change:
        stream = self.streams[name]
        self.due.pop((name, member_id), None)
        del stream.holds[member_id]
        member = stream.members.pop(member_id)
        stream.sequence += 1
        if not stream.members:
            del self.streams[name]
        return Change(name, "leave", member, stream.sequence, len(stream.members))

    def overdue(self, now: float) -> bool:
        return any(at <= now for at in self.due.values()) or any(
            at <= now for at in self.leases.values()
        )

    def sweep(self, now: float) -> list[Change]:
        changes = []
        room = BATCH
        for node in [node for node, at in self.leases.items() if at <= now]:
            held = self.held.get(node, set())
            for hold in list(held)[:room]:
                room -= 1
                held.remove(hold)
                if self.release(hold):
                    changes.append(self.remove(hold.stream, hold.member))
            if not held:
                self.held.pop(node, None)
                del self.leases[node]
        over = [key for key, at in self.due.items() if at <= now]
        changes += [self.remove(*key) for key in over[:room]]
        return changes


class MemoryPresence(PresenceStore):
    """The presence store of a single process; for the in-memory channel layer, and tests.

    Args:
        layer: the channel layer that it stands beside.
        config: the settings.
        clock: seconds; by default those of the running event loop, all of which have one clock.
    """

    shared: ClassVar[bool] = False

    def __init__(
        self, layer: Any = None, config: Any = None, *, clock: Callable[[], float] | None = None
    ) -> None:
        self._clock = _loop_time if clock is None else clock
        self._lock = threading.Lock()
        self._partitions = [_Partition() for _ in range(PARTITIONS)]

    def _of(self, stream: str) -> _Partition:
        return self._partitions[partition_of(stream)]

    async def enter(self, node: str, entries: Sequence[Entry], lease: float) -> list[Change]:
        with self._lock:
            now = self._clock()
            changes = []
            for entry in entries:
                partition = self._of(entry.stream)
                partition.leases[node] = now + lease
                changes.append(partition.enter(node, entry, now))
            return [change for change in changes if change is not None]

    async def leave(self, node: str, departures: Sequence[Departure]) -> list[Change]:
        with self._lock:
            now = self._clock()
            changes = [self._of(one.hold.stream).leave(node, one, now) for one in departures]
            return [change for change in changes if change is not None]

    async def renew(self, node: str, held: Mapping[int, int], lease: float) -> frozenset[int]:
        differ = set()
        with self._lock:
            now = self._clock()
            for number, count in held.items():
                partition = self._partitions[number]
                if node in partition.leases:
                    partition.leases[node] = now + lease
                if len(partition.held.get(node, ())) != count:
                    differ.add(number)
        return frozenset(differ)

    async def held(self, node: str, partition: int) -> frozenset[Hold]:
        with self._lock:
            return frozenset(self._partitions[partition].held.get(node, ()))

    async def sweep(self, partitions: Sequence[int] = range(PARTITIONS)) -> Sweep:
        changes: list[Change] = []
        more = False
        with self._lock:
            now = self._clock()
            for number in partitions:
                changes += self._partitions[number].sweep(now)
                more = more or self._partitions[number].overdue(now)
        return Sweep(changes, more)

    async def members(self, stream: str, limit: int) -> Roll:
        with self._lock:
            overdue = self._of(stream).overdue(self._clock())
            found = self._of(stream).streams.get(stream)
            if found is None:
                return Roll(0, 0, (), overdue)
            members = tuple(found.members.values())
            return Roll(len(members), found.sequence, members[:limit], overdue)

    async def tallies(self, streams: Sequence[str]) -> list[Tally]:
        tallies = []
        with self._lock:
            for stream in streams:
                found = self._of(stream).streams.get(stream)
                tallies.append(
                    Tally(0, 0) if found is None else Tally(len(found.members), found.sequence)
                )
        return tallies


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
