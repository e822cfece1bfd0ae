"""The Lua scripts of the presence store in Redis; each runs in one partition.

KEYS, the same for all:

- ``order``: sorted set, by name: ``stream NUL sequence NUL member``, so a range is a stream's members in
  the order of joining.
- ``bodies``: hash: ``stream NUL member`` to the sequence of its joining and the encoded member.
- ``holds``: hash: ``stream NUL member`` to how many connections hold it.
- ``sequences``: hash: stream to the number of its last change, while it has members.
- ``due``: sorted set: ``stream NUL member`` of those without a connection, by the end of their grace.
- ``leases``: sorted set: nodes by the end of their leases.
- ``held``: sorted set, by name: ``node NUL stream NUL holder NUL member``.

ARGV[1] is the time in seconds, or empty for the server's. No name of a stream or node contains NUL.
"""

from __future__ import annotations

from ...runtime.redis_connection import Script

_COMMON = """
local order, bodies, holds, sequences, due, leases, held =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1e6
end

local function number(stream)
  local n = redis.call('HINCRBY', sequences, stream, 1)
  if n == 1 then
    n = math.floor(now * 1e6) + 1
    redis.call('HSET', sequences, stream, string.format('%.0f', n))
  end
  return string.format('%016.0f', n)
end

local function count(name)
  return redis.call('ZLEXCOUNT', name[1], '[' .. name[2] .. '\\0', '(' .. name[2] .. '\\1')
end

local function remove(stream, key)
  local body = redis.call('HGET', bodies, key)
  redis.call('HDEL', bodies, key)
  redis.call('HDEL', holds, key)
  redis.call('ZREM', due, key)
  if not body then return nil end
  local member = string.sub(key, #stream + 2)
  redis.call('ZREM', order, stream .. '\\0' .. string.sub(body, 1, 16) .. '\\0' .. member)
  local n = number(stream)
  local left = count({order, stream})
  if left == 0 then redis.call('HDEL', sequences, stream) end
  return {stream, string.sub(body, 17), n, left}
end

local function release(hold, key)
  return redis.call('ZREM', held, hold) == 1 and redis.call('HINCRBY', holds, key, -1) <= 0
end
"""

ENTER = Script(
    _COMMON
    + """
local node, changes = ARGV[2], {}
redis.call('ZADD', leases, now + tonumber(ARGV[3]), node)
for i = 4, #ARGV, 4 do
  local stream, holder, member, body = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local key = stream .. '\\0' .. member
  local hold = node .. '\\0' .. stream .. '\\0' .. holder .. '\\0' .. member
  if redis.call('ZADD', held, 'NX', 0, hold) == 1 then redis.call('HINCRBY', holds, key, 1) end
  redis.call('ZREM', due, key)
  if redis.call('HEXISTS', bodies, key) == 0 then
    local n = number(stream)
    redis.call('HSET', bodies, key, n .. body)
    redis.call('ZADD', order, 0, stream .. '\\0' .. n .. '\\0' .. member)
    changes[#changes + 1] = {stream, body, n, count({order, stream})}
  end
end
return changes
"""
)
"""ARGV: time, node, lease, then for each entry: stream, holder, member, encoded member."""

LEAVE = Script(
    _COMMON
    + """
local node, changes = ARGV[2], {}
for i = 3, #ARGV, 4 do
  local stream, holder, member, grace = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
  local key = stream .. '\\0' .. member
  if release(node .. '\\0' .. stream .. '\\0' .. holder .. '\\0' .. member, key) then
    if grace > 0 then
      redis.call('ZADD', due, now + grace, key)
    else
      changes[#changes + 1] = remove(stream, key)
    end
  end
end
return changes
"""
)
"""ARGV: time, node, then for each departure: stream, holder, member, grace."""

RENEW = Script(
    _COMMON
    + """
if redis.call('ZSCORE', leases, ARGV[2]) then
  redis.call('ZADD', leases, now + tonumber(ARGV[3]), ARGV[2])
end
return count({held, ARGV[2]})
"""
)
"""ARGV: time, node, lease. Returns how many holds the node has."""

SWEEP = Script(
    _COMMON
    + """
local changes, room = {}, tonumber(ARGV[2])
for _, node in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now)) do
  local found = redis.call('ZRANGEBYLEX', held, '[' .. node .. '\\0', '(' .. node .. '\\1',
    'LIMIT', 0, room)
  for _, hold in ipairs(found) do
    local stream, member = string.match(hold, '^%Z*%z(%Z*)%z%Z*%z(.*)$')
    local key = stream .. '\\0' .. member
    if release(hold, key) then changes[#changes + 1] = remove(stream, key) end
  end
  if #found < room then redis.call('ZREM', leases, node) end
  room = room - #found
end
for _, key in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, room)) do
  changes[#changes + 1] = remove(string.match(key, '^%Z*'), key)
end
local more = redis.call('ZCOUNT', leases, '-inf', now) + redis.call('ZCOUNT', due, '-inf', now)
return {more, changes}
"""
)
"""ARGV: time, most changes."""

MEMBERS = Script(
    _COMMON
    + """
local stream, limit, found = ARGV[2], tonumber(ARGV[3]), {}
local names = limit > 0 and redis.call('ZRANGEBYLEX', order, '[' .. stream .. '\\0',
  '(' .. stream .. '\\1', 'LIMIT', 0, limit) or {}
for start = 1, #names, 500 do
  local keys = {}
  for i = start, math.min(start + 499, #names) do
    keys[#keys + 1] = stream .. '\\0' .. string.sub(names[i], #stream + 19)
  end
  for _, body in ipairs(redis.call('HMGET', bodies, unpack(keys))) do
    found[#found + 1] = string.sub(body, 17)
  end
end
local overdue = redis.call('ZCOUNT', leases, '-inf', now) + redis.call('ZCOUNT', due, '-inf', now)
return {count({order, stream}), redis.call('HGET', sequences, stream) or '0', overdue, found}
"""
)
"""ARGV: time, stream, limit."""

TALLIES = Script(
    _COMMON
    + """
local found = {}
for i = 2, #ARGV do
  found[#found + 1] = count({order, ARGV[i]})
  found[#found + 1] = redis.call('HGET', sequences, ARGV[i]) or '0'
end
return found
"""
)
"""ARGV: time, streams."""
