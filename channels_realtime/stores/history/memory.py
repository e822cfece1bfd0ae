"""Publications kept in the memory of one process, for development, tests and sites of one process.

Publishers in any thread and the server's event loop see the same streams. Bounds: a publication is
dropped after its ``ttl``, a stream ``POSITION_TTL_S`` later, and over ``MAX_STREAMS`` streams the one
that was used longest ago; ``MAX_STATE_KEYS`` keys of a stream have a state. Idempotency keys are kept
for their window, however many there are.
"""

from __future__ import annotations

import heapq
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from ...config import Config
from ...protocol.messages import Position
from ...runtime.clock import Clock
from .base import (
    MAX_STATE_KEYS,
    POSITION_TTL_S,
    Append,
    Appended,
    Changes,
    Condition,
    Entry,
    HistoryStore,
    Newest,
    Page,
    Usage,
    bucket_of,
    condition_unmet,
    is_complete,
    key_reused,
    too_many_state_keys,
)

MAX_STREAMS = 1_000_000
"""How many streams are kept; the one that was used longest ago makes room."""

MAX_CHANGED = 4_096
"""How many changed streams of a bucket are remembered."""

KEYS_SWEPT_S = 60.0
"""How often a stream's idempotency keys are looked through for those that are over, in seconds."""

_FOREVER = float("inf")


class _Key:
    """An idempotency key that was used."""

    __slots__ = ("digest", "expires", "position")

    def __init__(self, digest: str, position: Position, expires: float) -> None:
        self.digest = digest
        self.position = position
        self.expires = expires


class _State:
    """The newest publication of a state key with its version, and the newest version that was seen.

    ``entry`` is None where there is a version alone. Times are monotonic.
    """

    __slots__ = ("entry", "entry_version", "expires", "version", "version_expires")

    def __init__(self) -> None:
        self.entry: Entry | None = None
        self.entry_version: int | None = None
        self.expires = _FOREVER
        self.version: int | None = None
        self.version_expires = _FOREVER

    def expire(self, now: float) -> bool:
        """Forget what is over; returns whether nothing is left."""
        if self.expires <= now:
            self.entry, self.expires = None, _FOREVER
        if self.version_expires <= now:
            self.version, self.version_expires = None, _FOREVER
        return self.entry is None and self.version is None


class _Stream:
    """One channel's publications, by offset; ``first`` to ``top`` are kept."""

    __slots__ = ("entries", "epoch", "expires", "first", "keys", "states", "top", "uid")

    def __init__(self, expires: float) -> None:
        self.epoch = secrets.token_hex(8)
        self.top = 0
        self.uid = ""  # of the newest publication
        self.first = 1
        self.expires = expires
        self.entries: dict[int, tuple[float, Entry]] = {}
        self.keys: dict[str, _Key] = {}
        self.states: dict[str, _State] = {}

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.top)

    @property
    def newest(self) -> Newest:
        return Newest(self.position, self.uid)

    def trim(self, size: int, now: float) -> None:
        """Drop what is too much, and the oldest as long as they are too old."""
        while self.first <= self.top and (
            self.top - self.first >= size or self.entries[self.first][0] <= now
        ):
            del self.entries[self.first]
            self.first += 1

    def expire(self, now: float) -> None:
        """Drop what is too old, of everything."""
        self.trim(self.top, now)
        for key in [key for key, used in self.keys.items() if used.expires <= now]:
            del self.keys[key]
        for key in [key for key, state in self.states.items() if state.expire(now)]:
            del self.states[key]

    def drop(self) -> None:
        """Drop publications, states and versions."""
        self.entries = {}
        self.first = self.top + 1
        self.states = {}

    def next_look(self, now: float) -> float:
        """When to look again for what is over."""
        due = self.entries[self.top][0] if self.entries else self.expires
        if self.keys:
            due = min(due, now + KEYS_SWEPT_S)
        return max(due, now + 1.0)

    def live_states(self, now: float) -> Iterator[Entry]:
        for state in self.states.values():
            if state.entry is not None and state.expires > now:
                yield state.entry


class _Bucket:
    """Which streams of a bucket changed, oldest first, each with its sequence number."""

    __slots__ = ("changed", "floor", "sequence")

    def __init__(self) -> None:
        self.sequence = 0
        self.floor = 0  # what changed up to this number may be forgotten
        self.changed: OrderedDict[str, int] = OrderedDict()

    def mark(self, stream: str) -> None:
        self.sequence += 1
        self.changed[stream] = self.sequence
        self.changed.move_to_end(stream)
        if len(self.changed) > MAX_CHANGED:
            self.floor = self.changed.popitem(last=False)[1]

    def since(self, sequence: int) -> Iterator[str]:
        for stream, number in reversed(self.changed.items()):
            if number <= sequence:
                return
            yield stream


class MemoryHistory(HistoryStore):
    """See the module's documentation.

    Args:
        layer: the Channels layer that it belongs to.
        config: the settings.
        clock: the time.
    """

    shared: ClassVar[bool] = False

    def __init__(self, layer: Any, config: Config, clock: Clock | None = None) -> None:
        self._now = (clock or Clock()).monotonic
        self._lock = threading.Lock()
        self._streams: OrderedDict[str, _Stream] = OrderedDict()  # used longest ago first
        self._expiries: list[tuple[float, str]] = []  # one a stream
        self._buckets: dict[int, _Bucket] = {}

    async def append(self, request: Append) -> Appended:
        with self._lock:
            return self._append(request)

    def _append(self, request: Append) -> Appended:
        now = self._now()
        self._sweep(now)
        stream = self._get(request.stream, now)
        if stream is None:
            if request.condition is not None and not _is_met(request.condition, None):
                raise condition_unmet(request.condition)  # and no stream is made for it
            stream = self._open(request.stream, now)
        used = stream.keys.get(request.key) if request.key is not None else None
        if used is not None and used.expires > now:
            if used.digest != request.digest:
                raise key_reused()
            return Appended(used.position, duplicate=True)
        state_key = request.state_key or ""
        state = stream.states.get(state_key)
        if state is not None:
            state.expire(now)
        if request.condition is not None and not _is_met(request.condition, state):
            raise condition_unmet(request.condition)
        if _is_old(request, state):
            return Appended(None, duplicate=True)
        if state is None and _keeps_state(request) and len(stream.states) >= MAX_STATE_KEYS:
            stream.expire(now)
            if len(stream.states) >= MAX_STATE_KEYS:
                raise too_many_state_keys()

        previous, stream.uid = stream.uid, request.uid
        stream.top += 1
        entry = Entry(stream.top, request.uid, request.body)
        stream.entries[stream.top] = (now + request.history.ttl, entry)
        stream.trim(request.history.size, now)
        stream.expires = max(stream.expires, now + request.history.ttl + POSITION_TTL_S)
        self._set_state(stream, request, entry, now)
        position = stream.position
        if request.key is not None:
            stream.keys[request.key] = _Key(request.digest, position, now + request.key_window)
        self._mark(request.stream)
        return Appended(position, previous=previous)

    def _set_state(self, stream: _Stream, request: Append, entry: Entry, now: float) -> None:
        if request.state_key is None and request.version is None:
            return
        state_key = request.state_key or ""
        state = stream.states.setdefault(state_key, _State())
        if request.version is not None:
            state.version = request.version
            state.version_expires = _FOREVER
        if request.state_key is None:
            return
        remembered_s = request.tombstone_s()
        if request.removed:
            state.entry, state.expires = None, _FOREVER
            state.version_expires = now + remembered_s
        else:
            state.entry, state.entry_version = entry, request.version
            expires = _FOREVER if request.state_ttl is None else now + request.state_ttl
            state.expires, state.version_expires = expires, expires + remembered_s
        if state.entry is None and state.version is None:
            del stream.states[state_key]

    async def read(
        self, stream: str, since: Position | None = None, *, limit: int, reverse: bool = False
    ) -> Page:
        with self._lock:
            now = self._now()
            found = self._open(stream, now)
            found.trim(found.top, now)
            position = found.position
            complete = is_complete(position, since, found.first, reverse=reverse)
            if since is not None and (
                since.epoch != position.epoch or since.offset > position.offset
            ):
                return Page(position, (), complete=False)
            if reverse:
                newest = found.top if since is None else since.offset - 1
                offsets = range(newest, max(found.first - 1, newest - limit), -1)
            else:
                oldest = found.first if since is None else max(found.first, since.offset + 1)
                offsets = range(oldest, min(found.top + 1, oldest + limit))
            entries = tuple(found.entries[offset][1] for offset in offsets)
            return Page(position, entries, complete=complete)

    async def state(self, stream: str) -> Page:
        with self._lock:
            now = self._now()
            found = self._open(stream, now)
            entries = sorted(found.live_states(now), key=lambda entry: entry.offset)
            return Page(found.position, tuple(entries))

    async def newest(self, streams: Sequence[str]) -> list[Newest | None]:
        with self._lock:
            now = self._now()
            found = (self._get(stream, now) for stream in streams)
            return [None if one is None else one.newest for one in found]

    async def changes(self, seen: Mapping[int, int]) -> Changes:
        sequences: dict[int, int] = {}
        streams: dict[str, Newest] = {}
        unknown: set[int] = set()
        with self._lock:
            now = self._now()
            self._sweep(now)
            for number, sequence in seen.items():
                bucket = self._buckets.get(number)
                present = 0 if bucket is None else bucket.sequence
                if sequence == present:
                    continue
                sequences[number] = present
                if bucket is None or sequence > present or sequence < bucket.floor:
                    unknown.add(number)
                    continue
                for name in bucket.since(sequence):
                    if (stream := self._get(name, now)) is not None:
                        streams[name] = stream.newest
        return Changes(sequences, streams, frozenset(unknown))

    async def renew_epoch(self, stream: str, epoch: str) -> Position:
        with self._lock:
            now = self._now()
            found = self._open(stream, now)
            if found.epoch == epoch:
                found.epoch = secrets.token_hex(8)
                found.top, found.uid = 0, ""
                found.drop()
                self._mark(stream)
            return found.position

    async def purge(self, stream: str) -> None:
        with self._lock:
            found = self._get(stream, self._now())
            if found is not None:
                found.drop()

    async def usage(self, streams: Sequence[str]) -> list[Usage | None]:
        with self._lock:
            now = self._now()
            return [self._usage(self._get(stream, now), now) for stream in streams]

    def _usage(self, stream: _Stream | None, now: float) -> Usage | None:
        if stream is None:
            return None
        stream.trim(stream.top, now)
        states = sum(1 for _ in stream.live_states(now))
        return Usage(stream.position, messages=len(stream.entries), states=states)

    async def ping(self) -> None:
        """Memory is always there."""

    def _open(self, name: str, now: float) -> _Stream:
        """A stream, made if it is new or over."""
        self._sweep(now)
        stream = self._get(name, now)
        if stream is not None:
            return stream
        known = name in self._streams  # one that is over, with an expiry that is due
        stream = self._streams[name] = _Stream(now + POSITION_TTL_S)
        if not known:
            heapq.heappush(self._expiries, (now, name))
        if len(self._streams) > MAX_STREAMS:
            self._streams.popitem(last=False)
        self._mark(name)
        return stream

    def _get(self, name: str, now: float) -> _Stream | None:
        stream = self._streams.get(name)
        if stream is None or stream.expires <= now:
            return None
        self._streams.move_to_end(name)
        return stream

    def _sweep(self, now: float) -> None:
        """Drop what is over of a few streams: more than are made, so that all get their turn."""
        for _ in range(2):
            if not self._expiries or self._expiries[0][0] > now:
                return
            _, name = heapq.heappop(self._expiries)
            stream = self._streams.get(name)
            if stream is None:
                continue
            if stream.expires <= now:
                del self._streams[name]
                continue
            stream.expire(now)
            heapq.heappush(self._expiries, (stream.next_look(now), name))

    def _mark(self, name: str) -> None:
        self._buckets.setdefault(bucket_of(name), _Bucket()).mark(name)


def _keeps_state(request: Append) -> bool:
    """Whether a new key is to be remembered."""
    if request.version is not None:
        return True
    return request.state_key is not None and not request.removed


def _is_met(condition: Condition, state: _State | None) -> bool:
    there = state is not None and state.entry is not None
    if condition.new and there:
        return False
    if condition.version is None:
        return True
    return state is not None and there and state.entry_version == condition.version


def _is_old(request: Append, state: _State | None) -> bool:
    if request.version is None or state is None or state.version is None:
        return False
    return request.version <= state.version
