"""Who is on a channel, in Redis (6.2 or later) or Valkey: one script a call and partition.

Keys begin with ``<prefix>:{p<partition>}:p``. The part in braces is the hash tag: a Redis
Cluster keeps all keys of a partition on one server. With several servers that are no cluster,
partitions are spread over them. Bounds: all that is kept belongs to a connection whose node renews its
lease, or is swept by the next node that runs.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from ...config import Config
from ...protocol.messages import Member
from ...runtime.redis_clients import RedisClients, key_prefix
from ...runtime.redis_connection import Script
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
from .scripts import ENTER, LEAVE, MEMBERS, RENEW, SWEEP, TALLIES

_KEYS = ("order", "bodies", "holds", "sequences", "due", "leases", "held")

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Member).decode

_Item = TypeVar("_Item")
_Value = TypeVar("_Value")


class RedisPresence(PresenceStore):
    """See the module's documentation.

    Args:
        layer: the Channels layer, whose Redis servers are used unless ``STORE_REDIS`` names others.
        config: the settings.
        clock: seconds, for tests; by default the server's own time.

    Raises:
        ImproperUse: the layer is not one of channels_redis, and ``STORE_REDIS`` is not set.
    """

    def __init__(
        self, layer: Any, config: Config, *, clock: Callable[[], float] | None = None
    ) -> None:
        self._clock = clock
        self._clients = RedisClients(layer, config, "the presence store")
        prefix = key_prefix(layer, config)
        self._keys = [
            [f"{prefix}:{{p{number}}}:p:{key}" for key in _KEYS] for number in range(PARTITIONS)
        ]

    async def _run(self, partition: int, script: Script, *arguments: Any) -> Any:
        now = "" if self._clock is None else self._clock()
        index = self._clients.index_of(partition)
        return await self._clients.run(index, script, self._keys[partition], (now, *arguments))

    async def enter(self, node: str, entries: Sequence[Entry], lease: float) -> list[Change]:
        def run(partition: int, batch: Sequence[Entry]) -> Coroutine[Any, Any, Any]:
            fields: list[Any] = []
            for entry in batch:
                fields += (entry.stream, entry.holder, entry.member.id, _encode(entry.member))
            return self._run(partition, ENTER, node, lease, *fields)

        found = await _all(run(*each) for each in _batches(entries, lambda entry: entry.stream))
        return [_change("join", *each) for changes in found for each in changes]

    async def leave(self, node: str, departures: Sequence[Departure]) -> list[Change]:
        def run(partition: int, batch: Sequence[Departure]) -> Coroutine[Any, Any, Any]:
            fields: list[Any] = []
            for one in batch:
                fields += (one.hold.stream, one.hold.holder, one.hold.member, one.grace)
            return self._run(partition, LEAVE, node, *fields)

        batches = _batches(departures, lambda one: one.hold.stream)
        found = await _all(run(*each) for each in batches)
        return [_change("leave", *each) for changes in found for each in changes]

    async def renew(self, node: str, held: Mapping[int, int], lease: float) -> frozenset[int]:
        counts = await _all(self._run(partition, RENEW, node, lease) for partition in held)
        found = zip(held.items(), counts, strict=True)
        return frozenset(partition for (partition, own), count in found if own != count)

    async def held(self, node: str, partition: int) -> frozenset[Hold]:
        key = self._keys[partition][_KEYS.index("held")]
        (found,) = await self._clients.pipeline(
            self._clients.index_of(partition),
            lambda pipe: pipe.zrangebylex(key, f"[{node}\0", f"({node}\1"),
        )
        holds = []
        for name in found:
            _, stream, holder, member = name.decode().split("\0", 3)
            holds.append(Hold(stream, member, holder))
        return frozenset(holds)

    async def sweep(self, partitions: Sequence[int] = range(PARTITIONS)) -> Sweep:
        found = await _all(self._run(partition, SWEEP, BATCH) for partition in partitions)
        return Sweep(
            [_change("leave", *each) for _, changes in found for each in changes],
            more=any(more for more, _ in found),
        )

    async def members(self, stream: str, limit: int) -> Roll:
        count, sequence, overdue, found = await self._run(
            partition_of(stream), MEMBERS, stream, limit
        )
        return Roll(count, int(sequence), tuple(map(_decode, found)), bool(overdue))

    async def tallies(self, streams: Sequence[str]) -> list[Tally]:
        batches = list(_batches(streams, lambda stream: stream))
        answers = await _all(self._run(number, TALLIES, *batch) for number, batch in batches)
        tallies = {}
        for (_, batch), found in zip(batches, answers, strict=True):
            for stream, count, sequence in zip(batch, found[::2], found[1::2], strict=True):
                tallies[stream] = Tally(count, int(sequence))
        return [tallies[stream] for stream in streams]

    async def close(self) -> None:
        await self._clients.close()


def _change(kind: Any, stream: bytes, body: bytes, sequence: bytes, count: int) -> Change:
    return Change(stream.decode(), kind, _decode(body), int(sequence), count)


def _batches(
    items: Iterable[_Item], stream: Callable[[_Item], str]
) -> Iterable[tuple[int, Sequence[_Item]]]:
    """The items by partition, at most ``BATCH`` together."""
    by_partition: dict[int, list[_Item]] = defaultdict(list)
    for item in items:
        by_partition[partition_of(stream(item))].append(item)
    for partition, group in by_partition.items():
        for start in range(0, len(group), BATCH):
            yield partition, group[start : start + BATCH]


async def _all(calls: Iterable[Coroutine[Any, Any, _Value]]) -> list[_Value]:
    """Run all at once, each to its end; then raise what one of them raised."""
    found = await asyncio.gather(*calls, return_exceptions=True)
    for result in found:
        if isinstance(result, BaseException):
            raise result
    return [result for result in found if not isinstance(result, BaseException)]
