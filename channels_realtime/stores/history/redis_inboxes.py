"""Inboxes kept in Redis or Valkey, beside the history and with its hash tags.

Keys: ``<prefix>:{<bucket>}:i:<stream>`` is a hash of the users of a stream, and
``<prefix>:{<bucket>}:id`` the streams of a bucket by when they are due; ``<prefix>:{<bucket>}:ic`` is a hash of
those that are claimed, with when they were.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from ...config import Config
from ...protocol.messages import Position
from ...runtime.redis_clients import RedisClients, key_prefix
from ...runtime.redis_connection import Script
from .base import BUCKETS, POSITION_TTL_S, bucket_of
from .inboxes import MAX_USERS, Acknowledgement, Inbox, InboxStore, StreamInboxes

# A user's field is `u<user>`, with `<offset> <epoch>` acknowledged, "" for nothing; `n<user>` is the same for
# what the site was told; `r` is the revision, `d` when the last that is expected is due. `c` counts the users.
_BEGIN = """
local function begin(key, user, value)
  if redis.call('HEXISTS', key, 'u' .. user) == 1 then return false end
  if tonumber(redis.call('HGET', key, 'c') or '0') >= tonumber(ARGV[1]) then return false end
  redis.call('HSET', key, 'u' .. user, value)
  redis.call('HINCRBY', key, 'c', 1)
  return true
end
"""

_OPEN = Script(
    _BEGIN
    + """
begin(KEYS[1], ARGV[3], ARGV[4])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""
)

_ACKNOWLEDGE = Script(
    _BEGIN
    + """
for i = 3, #ARGV, 4 do
  local key, user, offset, epoch = KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local value = offset .. ' ' .. epoch
  if not begin(key, user, value) then
    local known = redis.call('HGET', key, 'u' .. user)
    if known then
      local was, of = string.match(known, '^(%d+) (.*)$')
      if of ~= epoch or tonumber(was) < tonumber(offset) then
        redis.call('HSET', key, 'u' .. user, value)
      end
    end
  end
end
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, ARGV[2]) end
return 1
"""
)

_EXPECT = Script(
    _BEGIN
    + """
for i = 5, #ARGV do begin(KEYS[1], ARGV[i], '') end
redis.call('HINCRBY', KEYS[1], 'r', 1)
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('HSET', KEYS[1], 'd', ARGV[3])
local claimed = redis.call('HEXISTS', KEYS[3], ARGV[4]) == 1
redis.call('ZADD', KEYS[2], claimed and 'NX' or 'LT', ARGV[3], ARGV[4])
return 1
"""
)

_CLAIM = Script(
    """
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])
for _, stream in ipairs(found) do
  redis.call('ZADD', KEYS[1], ARGV[2], stream)
  redis.call('HSET', KEYS[2], stream, ARGV[1])
end
return found
"""
)

_SETTLE = Script(
    """
for i = 4, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[1], 'u' .. ARGV[i]) == 1 then
    redis.call('HSET', KEYS[1], 'n' .. ARGV[i], ARGV[i + 1])
  end
end
local claimed = tonumber(redis.call('HGET', KEYS[3], ARGV[1]) or nil)
redis.call('HDEL', KEYS[3], ARGV[1])
local due, expected = tonumber(ARGV[3]), tonumber(redis.call('HGET', KEYS[1], 'd') or nil)
if (redis.call('HGET', KEYS[1], 'r') or '0') ~= ARGV[2] then
  due = 0
elseif expected and expected > (claimed or 0) and expected < (due or math.huge) then
  due = expected  -- it may be published only now
end
if due then
  redis.call('ZADD', KEYS[2], due, ARGV[1])
else
  redis.call('ZREM', KEYS[2], ARGV[1])
end
return 1
"""
)

_FORGET = Script(
    """
if redis.call('HDEL', KEYS[1], 'u' .. ARGV[1]) == 1 then redis.call('HINCRBY', KEYS[1], 'c', -1) end
redis.call('HDEL', KEYS[1], 'n' .. ARGV[1])
return 1
"""
)


class RedisInboxes(InboxStore):
    """See the module's documentation.

    Args:
        layer: the Channels layer, whose Redis servers are used unless ``STORE_REDIS`` names others.
        config: the settings.

    Raises:
        ImproperUse: the layer is not one of channels_redis, and ``STORE_REDIS`` is not set.
    """

    def __init__(self, layer: Any, config: Config) -> None:
        self._prefix = key_prefix(layer, config)
        self._clients = RedisClients(layer, config, "the inbox store")

    async def open(self, stream: str, user: str, position: Position | None) -> None:
        await self._run(_OPEN, stream, *_BOUNDS, user, _written(position))

    async def acknowledged(self, stream: str, user: str) -> Inbox | None:
        bucket = bucket_of(stream)
        key = self._key(bucket, stream)
        ((acknowledged, notified),) = await self._clients.pipeline(
            self._clients.index_of(bucket), lambda pipe: pipe.hmget(key, f"u{user}", f"n{user}")
        )
        return None if acknowledged is None else Inbox(_read(acknowledged), _read(notified))

    async def acknowledge(self, acknowledgements: Sequence[Acknowledgement]) -> None:
        by_bucket: defaultdict[int, list[Acknowledgement]] = defaultdict(list)
        for each in acknowledgements:
            by_bucket[bucket_of(each.stream)].append(each)
        await asyncio.gather(
            *(self._acknowledge(bucket, found) for bucket, found in by_bucket.items())
        )

    async def _acknowledge(self, bucket: int, found: list[Acknowledgement]) -> None:
        keys: dict[str, int] = {}  # with their numbers, from 1
        arguments: list[Any] = [*_BOUNDS]
        for each in found:
            number = keys.setdefault(self._key(bucket, each.stream), len(keys) + 1)
            arguments += [number, each.user, each.position.offset, each.position.epoch]
        index = self._clients.index_of(bucket)
        await self._clients.run(index, _ACKNOWLEDGE, list(keys), arguments)

    async def expect(self, stream: str, users: Sequence[str], due_at: float) -> None:
        await self._run(_EXPECT, stream, *_BOUNDS, due_at, stream, *users)

    async def claim(self, now: float, lease_s: float, limit: int) -> list[str]:
        due = [
            bucket
            for found in await asyncio.gather(
                *(self._due_buckets(index, now) for index in self._clients.servers)
            )
            for bucket in found
        ]
        claimed: list[str] = []
        for bucket in due:
            if len(claimed) >= limit:
                break
            names = await self._clients.run(
                self._clients.index_of(bucket),
                _CLAIM,
                [self._due_key(bucket), self._claims_key(bucket)],
                [now, now + lease_s, limit - len(claimed)],
            )
            claimed += [name.decode() for name in names]
        return claimed

    async def _due_buckets(self, index: int, now: float) -> list[int]:
        """The buckets of a server that have a stream that is due; one round trip."""
        buckets = [bucket for bucket in range(BUCKETS) if self._clients.index_of(bucket) == index]

        def ask(pipe: Any) -> None:
            for bucket in buckets:
                pipe.zcount(self._due_key(bucket), "-inf", now)

        counts = await self._clients.pipeline(index, ask)
        return [bucket for bucket, count in zip(buckets, counts, strict=True) if count]

    async def inboxes(self, stream: str) -> StreamInboxes:
        bucket = bucket_of(stream)
        key = self._key(bucket, stream)
        (fields,) = await self._clients.pipeline(
            self._clients.index_of(bucket), lambda pipe: pipe.hgetall(key)
        )
        users = {
            name[1:].decode(): Inbox(_read(value), _read(fields.get(b"n" + name[1:])))
            for name, value in fields.items()
            if name[:1] == b"u"
        }
        return StreamInboxes(int(fields.get(b"r", 0)), users)

    async def settle(
        self, stream: str, revision: int, notified: Mapping[str, Position], due_at: float | None
    ) -> None:
        pairs = [part for user, at in notified.items() for part in (user, _written(at))]
        due = "" if due_at is None else due_at
        await self._run(_SETTLE, stream, stream, revision, due, *pairs)

    async def forget(self, stream: str, user: str) -> None:
        await self._run(_FORGET, stream, user)

    async def close(self) -> None:
        await self._clients.close()

    def _key(self, bucket: int, stream: str) -> str:
        return f"{self._prefix}:{{{bucket}}}:i:{stream}"

    def _due_key(self, bucket: int) -> str:
        return f"{self._prefix}:{{{bucket}}}:id"

    def _claims_key(self, bucket: int) -> str:
        return f"{self._prefix}:{{{bucket}}}:ic"

    async def _run(self, script: Script, stream: str, *arguments: Any) -> Any:
        bucket = bucket_of(stream)
        keys = [self._key(bucket, stream), self._due_key(bucket), self._claims_key(bucket)]
        return await self._clients.run(self._clients.index_of(bucket), script, keys, arguments)


_BOUNDS = (MAX_USERS, int(POSITION_TTL_S))


def _written(position: Position | None) -> str:
    return "" if position is None else f"{position.offset} {position.epoch}"


def _read(value: bytes | None) -> Position | None:
    if not value:
        return None
    offset, _, epoch = value.decode().partition(" ")
    return Position(epoch, int(offset))
