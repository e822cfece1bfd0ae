"""A history store in the site's own database: it proves that the contract has room for one.

What is appended inside a transaction is committed with it: the rows of the stream and of its bucket are
locked until then, so that numbers are in the order of the commits. It wakes the nodes of its own
process; one for several processes would use what its database has, such as NOTIFY.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from asgiref.sync import sync_to_async
from django.db import transaction
from django.db.models import F

from channels_realtime.config import Config
from channels_realtime.protocol.messages import Position
from channels_realtime.stores.history.base import (
    Append,
    Appended,
    Changes,
    Entry,
    HistoryStore,
    Newest,
    Page,
    Usage,
    bucket_of,
    condition_unmet,
    is_complete,
    key_reused,
)
from tests.site.models import (
    HistoryBucket,
    HistoryEntry,
    HistoryKey,
    HistoryState,
    HistoryStream,
)


class DatabaseHistory(HistoryStore):
    """See the module's documentation.

    Args:
        layer: not used.
        config: not used.
    """

    transactional: ClassVar[bool] = True
    wakes_nodes: ClassVar[bool] = True
    tells_positions: ClassVar[bool] = True
    """Off, it behaves like a store whose positions are known only at the commit."""

    time_shift: ClassVar[float] = 0.0
    using: ClassVar[str] = "default"
    _watchers: ClassVar[list[Callable[[str], None]]] = []

    def __init__(self, layer: Any = None, config: Config | None = None) -> None:
        pass

    # -- append ------------------------------------------------------------------------------------

    async def append(self, request: Append) -> Appended:
        return await sync_to_async(self._append_alone)(request)

    def _append_alone(self, request: Append) -> Appended:
        with transaction.atomic(using=self.using):
            return self._append(request, self.using)

    def append_in_transaction(self, request: Append, using: str) -> Appended:
        appended = self._append(request, using)
        if self.tells_positions or appended.duplicate:
            return appended
        return Appended(None)

    def _append(self, request: Append, using: str) -> Appended:
        now = self._now()
        stream = self._open(request.stream, using)
        name = stream.name
        if request.key is not None:
            keys = HistoryKey.objects.using(using).filter(stream=name, key=request.key)
            used = keys.filter(expires__gt=now).first()
            if used is not None:
                if used.digest != request.digest:
                    raise key_reused()
                return Appended(Position(used.epoch, used.offset), duplicate=True)
            keys.delete()
        state = self._state(request, using, now)
        condition = request.condition
        if condition is not None:
            there = state.offset is not None
            if (condition.new and there) or (
                condition.version is not None
                and not (there and state.body_version == condition.version)
            ):
                raise condition_unmet(condition)
        if None not in (request.version, state.version) and request.version <= state.version:
            return Appended(None, duplicate=True)
        stream.top += 1
        self._mark(stream, using)
        expires = now + request.history.ttl
        entry = {"uid": request.uid, "body": request.body}
        HistoryEntry.objects.using(using).create(
            stream=name, offset=stream.top, expires=expires, **entry
        )
        kept = HistoryEntry.objects.using(using).filter(stream=name)
        kept.filter(offset__lte=stream.top - request.history.size).delete()
        self._set_state(state, request, stream.top, now)
        position = Position(stream.epoch, stream.top)
        if request.key is not None:
            keys.create(
                stream=name,
                key=request.key,
                digest=request.digest,
                epoch=position.epoch,
                offset=position.offset,
                expires=now + request.key_window,
            )
        transaction.on_commit(lambda: self._wake(name), using=using)
        return Appended(position)

    def _state(self, request: Append, using: str, now: float) -> HistoryState:
        state, _ = HistoryState.objects.using(using).get_or_create(
            stream=request.stream, key=request.state_key or "", defaults={"body": b""}
        )
        if state.expires is not None and state.expires <= now:
            state.offset = None
        if state.version_expires is not None and state.version_expires <= now:
            state.version = None
        return state

    def _set_state(self, state: HistoryState, request: Append, offset: int, now: float) -> None:
        if request.version is not None:
            state.version, state.version_expires = request.version, None
        if request.state_key is not None:
            state.expires = state.version_expires = None
            if request.removed:
                state.offset = None
                state.version_expires = now + request.tombstone_s()
            else:
                state.offset, state.uid, state.body = offset, request.uid, request.body
                state.body_version = request.version
                if request.state_ttl is not None:
                    state.expires = now + request.state_ttl
                    state.version_expires = state.expires + request.tombstone_s()
        state.save()

    # -- read --------------------------------------------------------------------------------------

    async def read(
        self, stream: str, since: Position | None = None, *, limit: int, reverse: bool = False
    ) -> Page:
        return await sync_to_async(self._read)(stream, since, limit, reverse)

    def _read(self, name: str, since: Position | None, limit: int, reverse: bool) -> Page:
        with transaction.atomic(using=self.using):
            stream = self._open(name, self.using)
            position = Position(stream.epoch, stream.top)
            self._expire(name)
            rows = HistoryEntry.objects.using(self.using).filter(stream=name)
            oldest = rows.order_by("offset").first()
            first = stream.top + 1 if oldest is None else oldest.offset
            complete = is_complete(position, since, first, reverse=reverse)
            if since is not None and (
                since.epoch != position.epoch or since.offset > position.offset
            ):
                return Page(position, (), complete=False)
            if reverse:
                newest = stream.top + 1 if since is None else since.offset
                rows = rows.filter(offset__lt=newest).order_by("-offset")
            else:
                after = 0 if since is None else since.offset
                rows = rows.filter(offset__gt=after).order_by("offset")
            entries = [Entry(row.offset, row.uid, bytes(row.body)) for row in rows[:limit]]
            return Page(position, tuple(entries), complete=complete)

    def _expire(self, name: str) -> None:
        """Drop the oldest, as long as they are too old."""
        rows = HistoryEntry.objects.using(self.using).filter(stream=name)
        young = rows.filter(expires__gt=self._now()).order_by("offset").first()
        (rows if young is None else rows.filter(offset__lt=young.offset)).delete()

    async def state(self, stream: str) -> Page:
        return await sync_to_async(self._read_state)(stream)

    def _read_state(self, name: str) -> Page:
        now = self._now()
        with transaction.atomic(using=self.using):
            stream = self._open(name, self.using)
            rows = HistoryState.objects.using(self.using).filter(stream=name, offset__gt=0)
            entries = [
                Entry(row.offset, row.uid, bytes(row.body))
                for row in rows.order_by("offset")
                if row.expires is None or row.expires > now
            ]
            return Page(Position(stream.epoch, stream.top), tuple(entries))

    async def newest(self, streams: Sequence[str]) -> list[Newest | None]:
        found = await sync_to_async(self._rows)(streams)
        return [
            None if row is None else Newest(Position(row.epoch, row.top))
            for row in map(found.get, streams)
        ]

    def _rows(self, streams: Sequence[str]) -> dict[str, HistoryStream]:
        return HistoryStream.objects.using(self.using).in_bulk(list(streams))

    async def changes(self, seen: Mapping[int, int]) -> Changes:
        return await sync_to_async(self._changes)(seen)

    def _changes(self, seen: Mapping[int, int]) -> Changes:
        buckets = HistoryBucket.objects.using(self.using).in_bulk(list(seen))
        sequences: dict[int, int] = {}
        streams: dict[str, Newest] = {}
        unknown: set[int] = set()
        for number, sequence in seen.items():
            present = buckets[number].sequence if number in buckets else 0
            if present == sequence:
                continue
            sequences[number] = present
            if sequence > present:
                unknown.add(number)
            rows = HistoryStream.objects.using(self.using).filter(bucket=number)
            for row in rows.filter(changed__gt=sequence):
                streams[row.name] = Newest(Position(row.epoch, row.top))
        return Changes(sequences, streams, frozenset(unknown))

    # -- the rest ----------------------------------------------------------------------------------

    async def renew_epoch(self, stream: str, epoch: str) -> Position:
        return await sync_to_async(self._renew)(stream, epoch)

    def _renew(self, name: str, epoch: str) -> Position:
        with transaction.atomic(using=self.using):
            stream = self._open(name, self.using)
            if stream.epoch == epoch:
                stream.epoch, stream.top = secrets.token_hex(8), 0
                self._drop(name)
                self._mark(stream, self.using)
            return Position(stream.epoch, stream.top)

    async def purge(self, stream: str) -> None:
        await sync_to_async(self._drop)(stream)

    def _drop(self, name: str) -> None:
        with transaction.atomic(using=self.using):
            for model in (HistoryEntry, HistoryState):
                model.objects.using(self.using).filter(stream=name).delete()

    async def usage(self, streams: Sequence[str]) -> list[Usage | None]:
        return await sync_to_async(self._usage)(streams)

    def _usage(self, streams: Sequence[str]) -> list[Usage | None]:
        found = self._rows(streams)
        usages: list[Usage | None] = []
        for row in map(found.get, streams):
            if row is None:
                usages.append(None)
                continue
            entries = HistoryEntry.objects.using(self.using).filter(stream=row.name)
            states = HistoryState.objects.using(self.using).filter(stream=row.name)
            position = Position(row.epoch, row.top)
            held = states.filter(offset__isnull=False)
            usages.append(Usage(position, messages=entries.count(), states=held.count()))
        return usages

    async def ping(self) -> None:
        await sync_to_async(HistoryBucket.objects.using(self.using).exists)()

    def watch(self, wake: Callable[[str], None]) -> Callable[[], None]:
        self._watchers.append(wake)
        return lambda: self._watchers.remove(wake)

    def _wake(self, name: str) -> None:
        for wake in tuple(self._watchers):
            wake(name)

    def _open(self, name: str, using: str) -> HistoryStream:
        """The row of a stream, made if it is new, and locked until the transaction ends."""
        streams = HistoryStream.objects.using(using)
        epoch = secrets.token_hex(8)
        stream, created = streams.select_for_update().get_or_create(
            name=name, defaults={"epoch": epoch, "bucket": bucket_of(name)}
        )
        if created:
            self._mark(stream, using)
        return stream

    def _mark(self, stream: HistoryStream, using: str) -> None:
        buckets = HistoryBucket.objects.using(using)
        bucket, _ = buckets.select_for_update().get_or_create(number=stream.bucket)
        buckets.filter(number=bucket.number).update(sequence=F("sequence") + 1)
        stream.changed = bucket.sequence + 1
        stream.save(using=using)

    def _now(self) -> float:
        return time.time() + self.time_shift
