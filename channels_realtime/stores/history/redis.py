"""Publications kept in Redis (6.2 or later) or Valkey: one script an append, one round trip.

Keys begin with ``<prefix>:{<bucket>}:h``. The part in braces is the hash tag: a Redis Cluster
keeps all keys of a bucket on one server, so each script runs there. With several servers that are no
cluster, buckets are spread over them. Bounds: publications, states and idempotency keys expire with
their times, a position ``POSITION_TTL_S`` after the last publication.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from ...config import Config
from ...protocol.messages import Position
from ...runtime.redis_clients import RedisClients, key_prefix
from .base import (
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
    too_many_state_keys,
)
from .scripts import APPEND, PURGE, READ, RENEW, STATE

_PIPELINE = 1_000  # streams asked about in one pipeline


class RedisHistory(HistoryStore):
    """See the module's documentation.

    Args:
        layer: the Channels layer, whose Redis servers are used unless ``STORE_REDIS`` names others.
        config: the settings.

    Raises:
        ImproperUse: the layer is not one of channels_redis, and ``STORE_REDIS`` is not set.
    """

    def __init__(self, layer: Any, config: Config) -> None:
        self._prefix = key_prefix(layer, config)
        self._clients = RedisClients(layer, config, "the history store")

    async def append(self, request: Append) -> Appended:
        bucket, keys = self._keys(request.stream)
        if request.key is not None:
            # No name of a stream contains a space, so no two pairs give the same key.
            keys.append(f"{self._prefix}:{{{bucket}}}:hk:{request.stream} {request.key}")
        outcome, *found = await self._clients.run_in_batch(
            self._clients.index_of(bucket), APPEND, keys, _arguments(request)
        )
        match outcome:
            case b"ok":
                epoch, offset, previous = found
                return Appended(_position(epoch, offset), previous=previous.decode())
            case b"duplicate":
                return Appended(_position(*found), duplicate=True)
            case b"old":
                return Appended(None, duplicate=True)
            case b"key":
                raise key_reused()
            case b"full":
                raise too_many_state_keys()
        assert request.condition is not None
        raise condition_unmet(request.condition)

    async def read(
        self, stream: str, since: Position | None = None, *, limit: int, reverse: bool = False
    ) -> Page:
        epoch, offset = ("", "") if since is None else (since.epoch, since.offset)
        arguments = (epoch, offset, limit, "1" if reverse else "")
        *found, first, entries = await self._run(READ, stream, *arguments)
        position = _position(*found)
        return Page(
            position,
            tuple(_entry(*each) for each in entries),
            complete=is_complete(position, since, first, reverse=reverse),
        )

    async def state(self, stream: str) -> Page:
        *found, values = await self._run(STATE, stream)
        entries = sorted(map(_state_entry, values), key=lambda entry: entry.offset)
        return Page(_position(*found), tuple(entries))

    async def newest(self, streams: Sequence[str]) -> list[Newest | None]:
        found: list[Newest | None] = [None] * len(streams)

        async def ask_server(index: int, asked: Sequence[int]) -> None:
            keys = [self._keys(streams[at])[1][0] for at in asked]
            for at, value in zip(asked, await self._clients.values(index, keys), strict=True):
                found[at] = _newest(value)

        await self._each_server(streams, bucket_of, ask_server)
        return found

    async def changes(self, seen: Mapping[int, int]) -> Changes:
        def ask_newest(pipe: Any, bucket: int) -> None:
            pipe.zrevrange(self._changed_key(bucket), 0, 0, withscores=True)

        def ask_changed(pipe: Any, bucket: int) -> None:
            key = self._changed_key(bucket)
            pipe.zrangebyscore(key, f"({seen[bucket]}", "+inf", withscores=True)
            pipe.zscore(key, "")  # last: what is forgotten meanwhile counts as unknown

        answers = await self._ask_each(list(seen), int, ask_newest, 1)
        sequences: dict[int, int] = {}
        for bucket, (newest,) in zip(seen, answers, strict=True):
            present = int(newest[0][1]) if newest else 0
            if present != seen[bucket]:
                sequences[bucket] = present
        unknown = {bucket for bucket, present in sequences.items() if seen[bucket] > present}
        further = [bucket for bucket in sequences if 0 < seen[bucket] < sequences[bucket]]
        unknown |= {bucket for bucket in sequences if seen[bucket] <= 0}
        names: list[str] = []
        answers = await self._ask_each(further, int, ask_changed, 2)
        for bucket, (changed, floor) in zip(further, answers, strict=True):
            if not changed or floor is None or seen[bucket] < floor:
                unknown.add(bucket)
                continue
            names += [name.decode() for name, _ in changed]
            sequences[bucket] = int(changed[-1][1])
        # Read after the sequence numbers: a position may be newer than its number, never older.
        newest = zip(names, await self.newest(names), strict=True)
        streams = {name: one for name, one in newest if one is not None}
        return Changes(sequences, streams, frozenset(unknown))

    async def renew_epoch(self, stream: str, epoch: str) -> Position:
        return _position(*await self._run(RENEW, stream, epoch))

    async def purge(self, stream: str) -> None:
        await self._run(PURGE, stream)

    async def usage(self, streams: Sequence[str]) -> list[Usage | None]:
        def ask(pipe: Any, stream: str) -> None:
            meta, entries, states, *_ = self._keys(stream)[1]
            pipe.get(meta)
            pipe.xlen(entries)
            pipe.hlen(states)

        answers = await self._ask_each(streams, bucket_of, ask, 3)
        return [
            None if (newest := _newest(value)) is None else Usage(newest.position, messages, states)
            for value, messages, states in answers
        ]

    async def ping(self) -> None:
        await self._clients.ping()

    async def close(self) -> None:
        await self._clients.close()

    def _keys(self, stream: str) -> tuple[int, list[str]]:
        """The bucket of a stream, and its keys as the scripts take them."""
        bucket = bucket_of(stream)
        begin = f"{self._prefix}:{{{bucket}}}:h"
        return bucket, [
            f"{begin}m:{stream}",
            f"{begin}x:{stream}",
            f"{begin}s:{stream}",
            f"{begin}v:{stream}",
            f"{begin}e:{stream}",
            f"{begin}c",
        ]

    def _changed_key(self, bucket: int) -> str:
        return f"{self._prefix}:{{{bucket}}}:hc"

    async def _run(self, script: Any, stream: str, *arguments: Any) -> Any:
        bucket, keys = self._keys(stream)
        index = self._clients.index_of(bucket)
        return await self._clients.run(index, script, keys, (stream, _new_epoch(), *arguments))

    async def _ask_each(
        self,
        subjects: Sequence[Any],
        bucket: Callable[[Any], int],
        ask: Callable[[Any, Any], None],
        commands: int,
    ) -> list[list[Any]]:
        """The answers about each subject, in pipelines, to all servers at once.

        Args:
            bucket: the bucket of a subject.
            ask: puts the commands about a subject into a pipeline.
            commands: how many these are.
        """
        found: list[list[Any]] = [[]] * len(subjects)

        async def ask_server(index: int, asked: Sequence[int]) -> None:
            for start in range(0, len(asked), _PIPELINE):
                chunk = asked[start : start + _PIPELINE]

                def fill(pipe: Any, chunk: Sequence[int] = chunk) -> None:
                    for at in chunk:
                        ask(pipe, subjects[at])

                answers = await self._clients.pipeline(index, fill)
                for number, at in enumerate(chunk):
                    found[at] = answers[number * commands : (number + 1) * commands]

        await self._each_server(subjects, bucket, ask_server)
        return found

    async def _each_server(
        self,
        subjects: Sequence[Any],
        bucket: Callable[[Any], int],
        ask: Callable[[int, Sequence[int]], Awaitable[None]],
    ) -> None:
        """Ask all servers at once, each about its own subjects, which are given by their indices."""
        by_server: dict[int, list[int]] = {}
        for at, subject in enumerate(subjects):
            by_server.setdefault(self._clients.index_of(bucket(subject)), []).append(at)
        await asyncio.gather(*(ask(index, asked) for index, asked in by_server.items()))


def _arguments(request: Append) -> tuple[Any, ...]:
    """What the script of an append takes; ``""`` for None. The options are left out where there are
    none: redis-py takes 1 us to pack each."""
    kept = (
        request.stream,
        _new_epoch(),
        request.uid,
        request.body,
        request.history.size,
        _ms(request.history.ttl),
    )
    condition = request.condition
    if {request.key, request.version, request.state_key, condition} == {None}:
        return kept
    state_ttl = request.state_ttl
    return (
        *kept,
        request.digest,
        _ms(request.key_window),
        "" if request.version is None else request.version,
        "" if request.state_key is None else f"={request.state_key}",
        "" if state_ttl is None else _ms(state_ttl),
        "1" if request.removed else "",
        _ms(request.tombstone_s()),
        "1" if condition is not None and condition.new else "",
        "" if condition is None or condition.version is None else condition.version,
    )


def _new_epoch() -> str:
    return secrets.token_hex(8)


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1_000))


def _position(epoch: bytes, offset: int | bytes) -> Position:
    return Position(epoch.decode(), int(offset))


def _newest(value: bytes | None) -> Newest | None:
    """What the value of a position's key says."""
    if value is None:
        return None
    epoch, offset, _, uid = value.split(b" ")
    return Newest(_position(epoch, offset), uid.decode())


def _entry(number: bytes, fields: list[bytes]) -> Entry:
    return Entry(int(number.partition(b"-")[0]), fields[1].decode(), fields[3])


def _state_entry(value: bytes) -> Entry:
    offset, uid, _, body = value.split(b" ", 3)
    return Entry(int(offset), uid.decode(), body)
