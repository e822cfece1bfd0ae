"""The contract of history stores: numbered publications of a channel, kept for a while.

A store numbers the publications of each stream 1, 2, 3 … within an epoch. A stream is one channel, by
its qualified name (with its namespace). ``tests`` of a store subclass ``channels_realtime.testing``'s
contract.

Rules for every store:

- Order: offsets of a stream grow by one, in the order in which the appends took effect. An append that
  has returned is seen by every read that begins after it, in every process.
- Atomicity: idempotency key, condition, version, number, trim and expiry are one step, judged in that
  order: a key that was used answers first, then a condition that is not met, then an old version.
- An epoch is made when a stream is first read or written, and again when the stream was lost: offsets
  of different epochs cannot be compared. A position outlives the messages by ``POSITION_TTL_S``.
- Errors: ``Unavailable`` where the store is away or too slow; it may have done what was asked.
- Methods run on an event loop, in any process, and may be called from several loops of a process.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import msgspec

from ...errors import Conflict, ImproperUse, TooLarge
from ...protocol.messages import Position

POSITION_TTL_S = 7 * 86_400.0
"""How much longer than its messages the position of a quiet stream is kept, in seconds."""

MAX_STATE_KEYS = 10_000
"""How many keys of one stream have a state or a remembered version at most."""

BUCKETS = 256
"""Streams are spread over this many buckets, by a hash of their names; see ``changes``."""


@dataclasses.dataclass(frozen=True, slots=True)
class History:
    """What a channel class keeps of its publications: ``history = History(size=100, ttl=3600)``.

    Args:
        size: how many publications of a channel are kept, at least 1.
        ttl: for how many seconds a publication is kept.
    """

    size: int = 100
    ttl: float = 3_600.0

    def __post_init__(self) -> None:
        if type(self.size) is not int or not 1 <= self.size <= 1_000_000:
            raise ImproperUse(
                f"History.size is {self.size!r}; expected 1 to 1,000,000 publications"
            )
        if type(self.ttl) not in (int, float) or not 0 < self.ttl < 1e9:
            raise ImproperUse(f"History.ttl is {self.ttl!r}; expected seconds greater than 0")


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """When a publication with a state key is taken; otherwise the append is a ``Conflict``.

    Args:
        new: the key has no state.
        version: the version that the publication in the key's state was given.
    """

    new: bool = False
    version: int | None = None


class Append(msgspec.Struct, frozen=True, kw_only=True):
    """One publication to be kept.

    Args:
        stream: the channel's qualified name.
        uid: random, 16 hexadecimal digits: tells two publications of one offset apart, after a
            failover.
        body: the encoded publication, opaque to the store.
        history: how much is kept, and for how long.
        key: an idempotency key with its scope in it, or None. Within ``key_window`` seconds another
            append with it is a duplicate, or a ``Conflict`` where ``digest`` differs.
        digest: of what the key stands for.
        key_window: in seconds.
        version: in a stream of versions: an append with a version that is not above the newest of its
            state key (of the stream, without one) is a duplicate and is not kept. The version of a key
            whose state was removed or has expired is remembered for ``tombstone_s()`` more.
        state_key: the key whose state this is; ``""`` is that of a last-value channel; None for none.
        state_ttl: seconds after which the state of the key expires; None keeps it until removed, or
            until the position expires.
        removed: this ends the key's state.
        condition: when it is taken.
    """

    stream: str
    uid: str
    body: bytes
    history: History
    key: str | None = None
    digest: str = ""
    key_window: float = 300.0
    version: int | None = None
    state_key: str | None = None
    state_ttl: float | None = None
    removed: bool = False
    condition: Condition | None = None

    def tombstone_s(self) -> float:
        """How long the version of a key outlives its state, in seconds."""
        return max(self.history.ttl, self.key_window)


class Appended(msgspec.Struct, frozen=True):
    """The outcome of an append.

    Args:
        position: where it is, or for a duplicate key where the first one is. None where it is known
            only at the commit of the caller's transaction, or a version was too old.
        duplicate: it was not kept: its key was used before, or its version is not new.
        previous: the uid of the publication before it; empty for none, or where the store does not
            know. Nodes compare it with what they have, and so notice a store that has lost some.
    """

    position: Position | None
    duplicate: bool = False
    previous: str = ""


class Entry(msgspec.Struct, frozen=True):
    """One publication that is kept.

    Args:
        offset: its number.
        uid: as it was appended.
        body: as it was appended.
    """

    offset: int
    uid: str
    body: bytes


class Page(msgspec.Struct, frozen=True):
    """What a read found.

    Args:
        position: the stream's newest: its epoch and the offset of its last publication, 0 for none.
        entries: in the order that was asked for.
        complete: whether nothing is missing between ``since`` and the first entry: the epoch is the
            same, ``since`` is not above the newest offset, and the next offset is still kept.
    """

    position: Position
    entries: tuple[Entry, ...] = ()
    complete: bool = True


class Newest(msgspec.Struct, frozen=True):
    """The newest publication of a stream.

    Args:
        position: where it is.
        uid: as it was appended; empty for none, or where the store does not know.
    """

    position: Position
    uid: str = ""


class Changes(msgspec.Struct, frozen=True):
    """What changed in the buckets that were asked about.

    Args:
        sequences: the present sequence number of each bucket that has changed.
        streams: the streams that changed, with their newest publications.
        unknown: buckets whose changes are not all known any more: every position there may be new.
    """

    sequences: Mapping[int, int]
    streams: Mapping[str, Newest]
    unknown: frozenset[int] = frozenset()


class Usage(msgspec.Struct, frozen=True):
    """What a stream holds, for operators.

    Args:
        position: its newest.
        messages: publications kept; may include some that have expired since the last append.
        states: keys with a state; likewise.
    """

    position: Position
    messages: int
    states: int


class HistoryStore:
    """The contract; see the module's documentation for its rules."""

    transactional: ClassVar[bool] = False
    """Whether an append belongs to the caller's database transaction: ``append_in_transaction``."""

    wakes_nodes: ClassVar[bool] = False
    """Whether the store itself tells the nodes of new publications, so that nothing has to be sent
    over the channel layer: see ``watch``."""

    shared: ClassVar[bool] = True
    """Whether all processes see the same streams."""

    async def append(self, request: Append) -> Appended:
        """Keep a publication.

        Raises:
            Conflict: its key was used for something else, or its condition is not met.
            TooLarge: the stream has a state for ``MAX_STATE_KEYS`` keys, and this is another one.
            Unavailable: the store is away; the publication may have been kept.
        """
        raise NotImplementedError

    def append_in_transaction(self, request: Append, using: str) -> Appended:
        """Keep a publication as part of the transaction that is open on the database ``using``.

        Only for stores that are ``transactional``; called by ``publish()``, in its thread. What a
        rollback undoes was never kept, and after the commit the nodes are told of the stream.

        Raises:
            Conflict, TooLarge, Unavailable: as for ``append``.
        """
        raise NotImplementedError

    async def read(
        self, stream: str, since: Position | None = None, *, limit: int, reverse: bool = False
    ) -> Page:
        """Read publications, and the position; makes the epoch of a stream that is new.

        Args:
            stream: the channel's qualified name.
            since: exclusive; None is the oldest that is kept, or with ``reverse`` the newest.
            limit: how many publications at most; 0 reads the position alone.
            reverse: newest first, and ``since`` is where to go back from (exclusive).

        Returns:
            a page; with ``complete`` False its entries are those that are left, and may be none.

        Raises:
            Unavailable: the store is away.
        """
        raise NotImplementedError

    async def state(self, stream: str) -> Page:
        """Read the state: the newest publication of each key, in the order of their offsets.

        Read in one step with the position, so that what follows it is what came after.

        Raises:
            Unavailable: the store is away.
        """
        raise NotImplementedError

    async def newest(self, streams: Sequence[str]) -> list[Newest | None]:
        """The newest publication of each stream, in the order asked; None for one that is not there.

        Raises:
            Unavailable: the store is away.
        """
        raise NotImplementedError

    async def changes(self, seen: Mapping[int, int]) -> Changes:
        """What changed since; costs what changes, not what there is.

        Args:
            seen: buckets (see ``bucket_of``), and the sequence number of each that the caller has
                seen: 0 for none, which is unknown where the store does not know all changes since it
                began. A number above the present one (a store that was lost) is unknown.

        Raises:
            Unavailable: the store is away.
        """
        raise NotImplementedError

    async def renew_epoch(self, stream: str, epoch: str) -> Position:
        """Begin a new epoch, if the present one is still ``epoch``; what was kept is dropped.

        For a node that finds that the store has lost publications that were delivered.

        Returns:
            the stream's position now: of the new epoch, by this caller or by an earlier one.

        Raises:
            Unavailable: the store is away.
        """
        raise NotImplementedError

    async def purge(self, stream: str) -> None:
        """Drop what is kept of a stream, its states and versions too; the position stays.

        Numbers go on, and idempotency keys are still known.

        Raises:
            Unavailable: the store is away.
        """
        raise NotImplementedError

    async def usage(self, streams: Sequence[str]) -> list[Usage | None]:
        """What streams hold, in the order asked; None for one that is not there.

        Raises:
            Unavailable: the store is away.
        """
        raise NotImplementedError

    async def ping(self) -> None:
        """Ask the store for a sign of life.

        Raises:
            Unavailable: the store is away.
        """
        raise NotImplementedError

    def watch(self, wake: Callable[[str], None]) -> Callable[[], None]:
        """Call ``wake`` with the name of each stream that changes, from any thread.

        Only for stores with ``wakes_nodes``; the others are never asked.

        Returns:
            what ends it.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Close the connections of the running event loop."""


def too_many_state_keys() -> TooLarge:
    """The error of an append with one state key too many."""
    return TooLarge(f"this channel has a state for {MAX_STATE_KEYS:,} keys, the most; remove some")


def key_reused() -> Conflict:
    """The error of an append whose key stands for something else."""
    return Conflict("this key was used for another publication; expected a new key")


def condition_unmet(condition: Condition) -> Conflict:
    """The error of an append whose condition is not met."""
    if condition.new:
        return Conflict("this state key has a state; expected none")
    return Conflict(f"this state key is not at version {condition.version}; read it again")


def is_complete(position: Position, since: Position | None, first: int, *, reverse: bool) -> bool:
    """Whether nothing is missing between ``since`` and what a stream keeps: ``Page.complete``.

    Args:
        position: the stream's newest.
        since: where the read begins, exclusive.
        first: the lowest offset that is kept; one above the newest where nothing is.
        reverse: whether the read goes back.
    """
    if since is None:
        return True
    if since.epoch != position.epoch or since.offset > position.offset:
        return False
    if reverse:
        return since.offset <= 1 or since.offset > first
    return since.offset + 1 >= first


def bucket_of(stream: str) -> int:
    """The bucket of a stream: the same in every process."""
    return zlib.crc32(stream.encode()) % BUCKETS
