"""The contract of presence stores: who is on a channel, over all processes.

A member of a channel is a user or a connection; it is there as long as at least one of its connections
is, and for a grace time after the last one has gone. A store keeps for each channel (a stream: the
qualified name, with its namespace) its members, and for each node the connections that hold them
there. Tests of a store subclass ``channels_realtime.testing.PresenceStoreContract``.

Rules for every store:

- Decisions: that a member joined or left is decided by the store, in one step with the change, and
  returned to exactly one caller, as a ``Change``. That caller tells the nodes and sends the signals.
- Leases: what a node has entered holds as long as the node renews its lease. ``sweep`` of any
  process removes what a dead node held; such members leave at once, without a grace time.
- Sequence: each change of a stream has the number after the one before it. When a stream that was empty
  or lost gets a member, its numbers begin above all that it had: at the time in microseconds.
- Repetition: to enter or leave twice does it once.
- Time is the store's own, the same for all processes.
- Errors: ``Unavailable`` where the store is away or too slow; it may have done what was asked.
- Methods run on an event loop, in any process, and may be called from several loops of a process.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import msgspec

from ...errors import ImproperUse
from ...protocol.messages import Member

PARTITIONS = 16
"""Streams are spread over this many partitions, by a hash of their names. A lease is renewed, and what
is over is swept, once a partition: so there are fewer of them than a history store has buckets."""

BATCH = 500
"""Entries, departures or streams in one call, and changes that one sweep of a partition makes."""

MAX_MEMBERS = 10_000
"""The most members of a channel that are read at once."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """How a channel class tells who is on it: ``presence = Presence(grace=5)``.

    Args:
        grace: seconds for which a member that has gone stays, so that a page reload is not a leave and
            a join.
        max_members: how many members are sent; the count is of all. 0 sends the count alone.
        by_user: whether the connections of one user are one member. Connections without a user are
            members of their own.
        announces: whether joins and leaves are sent; without, subscribers get the count and members
            that they ask for, which suits large channels.
    """

    grace: float = 5.0
    max_members: int = 100
    by_user: bool = True
    announces: bool = True

    def __post_init__(self) -> None:
        if type(self.grace) not in (int, float) or not 0 <= self.grace <= 3_600:
            raise ImproperUse(f"Presence.grace is {self.grace!r}; expected 0 to 3,600 seconds")
        if type(self.max_members) is not int or not 0 <= self.max_members <= MAX_MEMBERS:
            raise ImproperUse(f"Presence.max_members is {self.max_members!r}; expected 0 to 10,000")
        for name in ("by_user", "announces"):
            if not isinstance(getattr(self, name), bool):
                raise ImproperUse(
                    f"Presence.{name} is {getattr(self, name)!r}; expected True or False"
                )


class Hold(msgspec.Struct, frozen=True):
    """One connection on one channel, which holds a member there.

    Args:
        stream: the channel's qualified name.
        member: the id of the member.
        holder: names the connection's subscription, uniquely in its node.
    """

    stream: str
    member: str
    holder: str


class Entry(msgspec.Struct, frozen=True):
    """A connection that enters a channel.

    Args:
        stream: the channel's qualified name.
        holder: names the connection's subscription, uniquely in its node.
        member: the member that it holds there. Where the member is there already, what is known of
            it stays as it is.
    """

    stream: str
    holder: str
    member: Member

    @property
    def hold(self) -> Hold:
        """What the store keeps for the node."""
        return Hold(self.stream, self.member.id, self.holder)


class Departure(msgspec.Struct, frozen=True):
    """A connection that leaves a channel.

    Args:
        hold: of the connection.
        grace: seconds after which its member leaves, if it has no other connection by then.
    """

    hold: Hold
    grace: float = 0.0


class Change(msgspec.Struct, frozen=True, array_like=True):
    """A decision of the store: a member joined or left.

    Args:
        stream: the channel's qualified name.
        kind: which of the two.
        member: as it was entered.
        sequence: the number of the change in its stream.
        count: how many members there are now.
    """

    stream: str
    kind: Literal["join", "leave"]
    member: Member
    sequence: int
    count: int

    @property
    def occupied(self) -> bool:
        """Whether the channel got its first member."""
        return self.kind == "join" and self.count == 1

    @property
    def vacated(self) -> bool:
        """Whether the channel lost its last member."""
        return self.count == 0


class Tally(msgspec.Struct, frozen=True):
    """How many are on a channel.

    Args:
        count: of the members.
        sequence: the number of the last change; 0 for a channel without members.
    """

    count: int
    sequence: int


class Roll(msgspec.Struct, frozen=True):
    """Who is on a channel.

    Args:
        count: of all members.
        sequence: the number of the last change; 0 for a channel without members.
        members: those who joined first, as many as were asked for.
        overdue: a grace time or a lease has run out that nobody has swept yet.
    """

    count: int
    sequence: int
    members: tuple[Member, ...] = ()
    overdue: bool = False


class Sweep(msgspec.Struct, frozen=True):
    """What a sweep changed.

    Args:
        changes: the members that left.
        more: there is more to sweep.
    """

    changes: list[Change]
    more: bool = False


class PresenceStore:
    """The contract; see the module's documentation for its rules."""

    shared: ClassVar[bool] = True
    """Whether all processes see the same members."""

    async def enter(self, node: str, entries: Sequence[Entry], lease: float) -> list[Change]:
        """Put connections on channels, and renew the node's lease where they are.

        Args:
            node: the id of the node that has the connections.
            entries: any number of them.
            lease: seconds for which they stay, unless it is renewed.

        Returns:
            the members that joined.

        Raises:
            Unavailable: the store is away; some may have entered.
        """
        raise NotImplementedError

    async def leave(self, node: str, departures: Sequence[Departure]) -> list[Change]:
        """Take connections off channels. Those that are not there any more are passed over.

        Args:
            node: the id of the node that had the connections.
            departures: any number of them.

        Returns:
            the members that left at once, without a grace time.

        Raises:
            Unavailable: the store is away; some may have left.
        """
        raise NotImplementedError

    async def renew(self, node: str, held: Mapping[int, int], lease: float) -> frozenset[int]:
        """Renew a node's lease, and compare how many holds it has.

        Args:
            node: the id of the node.
            held: how many holds the node has, by partition; only those where it has some.
            lease: in seconds.

        Returns:
            the partitions in which the store has another number of holds: it has swept the node, or
            has lost something. The node then compares with ``held``.

        Raises:
            Unavailable: the store is away.
        """
        raise NotImplementedError

    async def held(self, node: str, partition: int) -> frozenset[Hold]:
        """All that a node holds in a partition.

        Raises:
            Unavailable: the store is away.
        """
        raise NotImplementedError

    async def sweep(self, partitions: Sequence[int] = range(PARTITIONS)) -> Sweep:
        """Let those leave whose grace time is over, and those that only dead nodes held.

        Args:
            partitions: where to look.

        Returns:
            what changed, at most ``BATCH`` changes a partition.

        Raises:
            Unavailable: the store is away; some may have left.
        """
        raise NotImplementedError

    async def members(self, stream: str, limit: int) -> Roll:
        """Who is on a channel, read in one step with the sequence number.

        Args:
            stream: the channel's qualified name.
            limit: how many members at most, up to ``MAX_MEMBERS``.

        Raises:
            Unavailable: the store is away.
        """
        raise NotImplementedError

    async def tallies(self, streams: Sequence[str]) -> list[Tally]:
        """How many are on each channel, in the order asked.

        Raises:
            Unavailable: the store is away.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Close the connections of the running event loop."""


def partition_of(stream: str) -> int:
    """The partition of a stream: the same in every process."""
    return zlib.crc32(stream.encode()) % PARTITIONS
