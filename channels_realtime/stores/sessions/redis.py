"""Sessions in Redis (6.2 or later) or Valkey: a string each, gone when the session is too old.

Keys begin with ``<prefix>:{s<partition>}:``. The part in braces is the hash tag: a Redis Cluster
keeps all keys of a partition on one server, so one script saves all of a partition that are saved
together. A string is the owner, a digest of the identity and the body; a hash of three fields takes half as
much again. A session that was taken stays as ``-``, which refuses every save.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
from collections.abc import Sequence
from typing import Any

from ...config import Config
from ...runtime.redis_clients import RedisClients, key_prefix
from ...runtime.redis_connection import Script
from .base import Save, SessionStore, Taken

PARTITIONS = 16
"""Sessions are spread over this many partitions, by their keys: so many scripts save a batch at most."""

SAVE = Script("""
local refused = {}
for index, key in ipairs(KEYS) do
    local at = (index - 1) * 3
    local known = redis.call('GET', key)
    if known and string.match(known, '^%S+') ~= ARGV[at + 1] then
        refused[#refused + 1] = index
    else
        redis.call('SET', key, ARGV[at + 1] .. ARGV[at + 2], 'PX', ARGV[at + 3])
    end
end
return refused
""")

TAKE = Script("""
local known = redis.call('GET', KEYS[1])
local owner, identity, body = string.match(known or '', '^(%S+) (%S+) ()')
if identity ~= ARGV[1] then
    return false
end
redis.call('SET', KEYS[1], '-', 'PX', ARGV[2])
return {owner, string.sub(known, body)}
""")

FORGET = Script("""
for index, key in ipairs(KEYS) do
    local known = redis.call('GET', key)
    if known and string.match(known, '^%S+') == ARGV[index] then
        redis.call('DEL', key)
    end
end
""")


class RedisSessions(SessionStore):
    """See the module's documentation.

    Args:
        layer: the Channels layer, whose Redis servers are used unless ``STORE_REDIS`` names others.
        config: the settings.

    Raises:
        ImproperUse: the layer is not one of channels_redis, and ``STORE_REDIS`` is not set.
    """

    def __init__(self, layer: Any, config: Config) -> None:
        self._prefix = key_prefix(layer, config)
        self._clients = RedisClients(layer, config, "the session store")

    async def save(self, saves: Sequence[Save]) -> frozenset[str]:
        """See ``SessionStore``."""
        parts: dict[int, list[Save]] = {}
        for one in saves:
            parts.setdefault(_partition(one.key), []).append(one)
        found = await asyncio.gather(*(self._save(part, parts[part]) for part in parts))
        return frozenset().union(*found)

    async def _save(self, part: int, saves: list[Save]) -> set[str]:
        arguments: list[Any] = []
        for one in saves:
            rest = b" " + _digest(one.identity) + b" " + one.body
            arguments += (one.owner, rest, _milliseconds(one.ttl))
        keys = [self._key(part, one.key) for one in saves]
        index = self._clients.index_of(part)
        refused = await self._clients.run_in_batch(index, SAVE, keys, arguments)
        return {saves[index - 1].key for index in refused}

    async def take(self, key: str, identity: str, *, ttl: float) -> Taken | None:
        """See ``SessionStore``."""
        part = _partition(key)
        taken = await self._clients.run(
            self._clients.index_of(part),
            TAKE,
            [self._key(part, key)],
            [_digest(identity), _milliseconds(ttl)],
        )
        return None if taken is None else Taken(taken[0].decode(), taken[1])

    async def forget(self, owned: Sequence[tuple[str, str]]) -> None:
        """See ``SessionStore``."""
        parts: dict[int, list[tuple[str, str]]] = {}
        for key, owner in owned:
            parts.setdefault(_partition(key), []).append((key, owner))
        await asyncio.gather(
            *(
                self._clients.run(
                    self._clients.index_of(part),
                    FORGET,
                    [self._key(part, key) for key, _ in pairs],
                    [owner for _, owner in pairs],
                )
                for part, pairs in parts.items()
            )
        )

    async def close(self) -> None:
        """See ``SessionStore``."""
        await self._clients.close()

    def _key(self, part: int, key: str) -> str:
        return f"{self._prefix}:{{s{part}}}:{key}"


def _partition(key: str) -> int:
    return int(key[:8], 16) % PARTITIONS


@functools.lru_cache(maxsize=1_024)  # all anonymous clients are one
def _digest(identity: str) -> bytes:
    return hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:16].encode()


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1_000))
