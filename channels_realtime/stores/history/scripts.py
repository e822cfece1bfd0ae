"""The Lua scripts of the Redis store: each is one step, on keys of one hash tag.

Keys of a stream, all in its bucket's slot: the position (text: ``<epoch> <newest offset> <no publication
expires before, ms> <uid of the newest, or nothing>``, so that many are read by one command), the
publications (a Redis stream, ids ``<offset>-<expires, ms>``), the states (hash: key to ``<offset> <uid>
<version or -> <body>``), the versions (hash), and when states and versions expire (sorted set, members
``s<key>`` and ``v<key>``). Keys of a bucket: its changed streams (sorted set by sequence number, and the
member ``""`` up to which changes may be forgotten).

A replica that takes over may lack the newest publications, as may a server that starts again from its
disk, and gives their numbers to others. So an epoch ends with 8 digits of the run of the server that it
began on, and a stream that is read on another gets a new epoch, and keeps what it has. A position from
before can then not be taken for one from after, whether or not a node was there to see the loss.

A sequence number is the time in microseconds, or one more than the one before: so a store that was
lost, or a replica that took over without its last changes, does not give the same number twice.
"""

from __future__ import annotations

from ...runtime.redis_connection import Script
from .base import MAX_STATE_KEYS, POSITION_TTL_S

CHANGES_KEPT_S = 600.0
"""For how long a bucket remembers its changed streams, in seconds."""

MAX_CHANGED = 4_096
"""How many changed streams a bucket remembers at most."""

_SLACK_MS = 60_000  # a key's expiry is set again once in this time, not at each append

_COMMON = """
local META, ENTRIES, STATES, VERSIONS, EXPIRIES, CHANGED =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local STREAM, NEW_EPOCH = ARGV[1], ARGV[2]
local call = redis.call
local time = call('TIME')
local us = time[1] * 1000000 + time[2]
local now = math.floor(us / 1000)

local function text(number) return string.format('%.0f', number) end

local function mark()
  local newest = call('ZREVRANGE', CHANGED, 0, 0, 'WITHSCORES')
  local sequence = us
  if not newest[2] then
    call('ZADD', CHANGED, text(us - 1), '')
  elseif tonumber(newest[2]) >= sequence then
    sequence = tonumber(newest[2]) + 1
  end
  call('ZADD', CHANGED, text(sequence), STREAM)
  if call('PTTL', CHANGED) < POSITION_TTL_MS then
    call('PEXPIRE', CHANGED, POSITION_TTL_MS + SLACK_MS)
  end
  local floor
  local oldest = call('ZRANGE', CHANGED, 1, 1, 'WITHSCORES')
  if tonumber(oldest[2]) <= us - CHANGES_KEPT_US then
    floor = us - CHANGES_KEPT_US
  elseif call('ZCARD', CHANGED) > MAX_CHANGED then
    floor = tonumber(call('ZRANGE', CHANGED, MAX_CHANGED / 16, MAX_CHANGED / 16, 'WITHSCORES')[2])
  end
  if floor then
    call('ZREMRANGEBYSCORE', CHANGED, '-inf', text(floor))
    call('ZADD', CHANGED, text(floor), '')
  end
end

local function keep(ms, stateful)
  local left = call('PTTL', META)
  local renewed = left < ms
  if renewed then
    left = ms + SLACK_MS
    call('PEXPIRE', META, left)
  end
  if renewed or stateful then
    call('PEXPIRE', STATES, left)
    call('PEXPIRE', VERSIONS, left)
    call('PEXPIRE', EXPIRIES, left)
  end
end

local function save(epoch, top, due, uid)
  call('SET', META, epoch .. ' ' .. text(top) .. ' ' .. text(due) .. ' ' .. uid, 'KEEPTTL')
end

-- Another after each start of a server, and on a replica than on its master; '' where INFO is not allowed.
local function server()
  local found = redis.pcall('INFO', 'server')
  return type(found) == 'string' and string.match(found, 'run_id:(%x%x%x%x%x%x%x%x)') or ''
end

local function new_epoch(run)
  return run == '' and NEW_EPOCH or string.sub(NEW_EPOCH, 1, 8) .. run
end

local function begin(epoch)
  call('DEL', ENTRIES, STATES, VERSIONS, EXPIRIES)
  save(epoch, 0, 0, '')
end

local function expire_states(limit)
  local over = call('ZRANGEBYSCORE', EXPIRIES, '-inf', text(now), 'LIMIT', 0, limit)
  for _, member in ipairs(over) do
    local key = string.sub(member, 2)
    if string.sub(member, 1, 1) == 's' then
      call('HDEL', STATES, key)
    else
      call('HDEL', VERSIONS, key)
    end
    call('ZREM', EXPIRIES, member)
  end
  return #over
end

-- The first publication from an id on: its offset, and when it expires.
local function first_from(id)
  local found = call('XRANGE', ENTRIES, id, '+', 'COUNT', 1)[1]
  if not found then return nil end
  local offset, expires = string.match(found[1], '^(%d+)%-(%d+)$')
  return tonumber(offset), tonumber(expires)
end

-- Drop the publications up to the last that is too old; the oldest offset left, and its expiry. They are
-- looked for in halves and dropped in one step, because there may be a million.
local function expire_entries(top)
  local first, expires = first_from('-')
  if not first or expires > now then return first, expires end
  local low, high = first, top + 1
  while high - low > 1 do
    local middle = math.floor((low + high) / 2)
    local _, due = first_from(text(middle))
    if due and due <= now then low = middle else high = middle end
  end
  call('XTRIM', ENTRIES, 'MINID', text(high))
  return first_from('-')
end

local epoch, top, due, previous
do
  local found = call('GET', META)
  if found then
    epoch, top, due, previous = string.match(found, '^(%S+) (%d+) (%d+) (%S*)$')
    top, due = tonumber(top), tonumber(due)
  end
end
"""

_OPEN = """
local run = server()
if not epoch then
  epoch, top = new_epoch(run), 0
  begin(epoch)
  keep(POSITION_TTL_MS, false)
  mark()
elseif run ~= '' and string.sub(epoch, -8) ~= run then
  epoch = new_epoch(run)
  save(epoch, top, due, previous)
  mark()
end
"""

_APPEND = """
local UID, BODY, SIZE, TTL_MS = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local DIGEST, WINDOW_MS, VERSION, STATE_KEY, STATE_TTL_MS, REMOVED, TOMBSTONE_MS, IF_NEW, IF_VERSION
if ARGV[7] then
  DIGEST, WINDOW_MS, VERSION = ARGV[7], ARGV[8], tonumber(ARGV[9])
  STATE_KEY = ARGV[10] ~= '' and string.sub(ARGV[10], 2) or nil
  STATE_TTL_MS, REMOVED, TOMBSTONE_MS = tonumber(ARGV[11]), ARGV[12] == '1', tonumber(ARGV[13])
  IF_NEW, IF_VERSION = ARGV[14] == '1', tonumber(ARGV[15])
end
local USED_KEY = KEYS[7]

if USED_KEY then
  local used = call('GET', USED_KEY)
  if used then
    local offset, first_epoch, digest = string.match(used, '^(%d+) (%S+) (.*)$')
    if digest ~= DIGEST then return {'key'} end
    return {'duplicate', first_epoch, tonumber(offset)}
  end
end

local stateful = STATE_KEY or VERSION or IF_NEW or IF_VERSION
local key = STATE_KEY or ''
local state, version, fresh = false, nil, false
if stateful and epoch then
  expire_states(64)
  local expires = tonumber(call('ZSCORE', EXPIRIES, 's' .. key) or nil)
  state = (not expires or expires > now) and call('HGET', STATES, key)
  expires = tonumber(call('ZSCORE', EXPIRIES, 'v' .. key) or nil)
  version = (not expires or expires > now) and tonumber(call('HGET', VERSIONS, key) or nil)
end
if IF_NEW and state then return {'condition'} end
if IF_VERSION then
  local seen = state and tonumber((string.match(state, '^%d+ %S+ (%S+) ')))
  if seen ~= IF_VERSION then return {'condition'} end
end
if VERSION and version and VERSION <= version then return {'old'} end
if epoch and not state and not version and (VERSION or (STATE_KEY and not REMOVED)) then
  local function full()
    return call('HLEN', STATES) >= MAX_STATE_KEYS or call('HLEN', VERSIONS) >= MAX_STATE_KEYS
  end
  if full() then
    while expire_states(500) > 0 do end
    if full() then return {'full'} end
  end
end

if not epoch then
  epoch, top, due, previous = new_epoch(server()), 0, 0, ''
  begin(epoch)
end
top = top + 1
local expires = now + TTL_MS
local offset = text(top)
call('XADD', ENTRIES, 'MAXLEN', SIZE, offset .. '-' .. text(expires), 'u', UID, 'b', BODY)
if due > 0 and due <= now then
  local _, oldest = expire_entries(top)
  due = oldest or expires
end
save(epoch, top, due > 0 and math.min(due, expires) or expires, UID)
if call('PTTL', ENTRIES) < TTL_MS then call('PEXPIRE', ENTRIES, TTL_MS + SLACK_MS) end

if VERSION then
  call('HSET', VERSIONS, key, text(VERSION))
  call('ZREM', EXPIRIES, 'v' .. key)
  version = VERSION
end
if STATE_KEY then
  local state_expires, version_expires
  if REMOVED then
    call('HDEL', STATES, key)
    version_expires = now + TOMBSTONE_MS
  else
    local shown = VERSION and text(VERSION) or '-'
    call('HSET', STATES, key, offset .. ' ' .. UID .. ' ' .. shown .. ' ' .. BODY)
    if STATE_TTL_MS then
      state_expires = now + STATE_TTL_MS
      version_expires = state_expires + TOMBSTONE_MS
    end
  end
  if state_expires then
    call('ZADD', EXPIRIES, text(state_expires), 's' .. key)
  else
    call('ZREM', EXPIRIES, 's' .. key)
  end
  if version_expires and version then
    call('ZADD', EXPIRIES, text(version_expires), 'v' .. key)
  else
    call('ZREM', EXPIRIES, 'v' .. key)
  end
end
keep(TTL_MS + POSITION_TTL_MS, stateful)
if USED_KEY then
  call('SET', USED_KEY, offset .. ' ' .. epoch .. ' ' .. DIGEST, 'PX', WINDOW_MS)
end
mark()
return {'ok', epoch, top, previous}
"""

_READ = (
    _OPEN
    + """
local SINCE_EPOCH, SINCE, LIMIT, REVERSE = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6] == '1'
local first = expire_entries(top) or top + 1
local entries = {}
local known = not SINCE or (SINCE_EPOCH == epoch and SINCE <= top)
if known and LIMIT > 0 then
  if not REVERSE then
    local from = SINCE and text(SINCE + 1) or '-'
    entries = call('XRANGE', ENTRIES, from, '+', 'COUNT', LIMIT)
  elseif not SINCE or SINCE > 1 then
    local from = SINCE and text(SINCE - 1) or '+'
    entries = call('XREVRANGE', ENTRIES, from, '-', 'COUNT', LIMIT)
  end
end
return {epoch, top, first, entries}
"""
)

_STATE = (
    _OPEN
    + """
while expire_states(500) > 0 do end
return {epoch, top, call('HVALS', STATES)}
"""
)

_RENEW = (
    _OPEN
    + """
if epoch == ARGV[3] then
  epoch, top = new_epoch(run), 0
  begin(epoch)
  keep(POSITION_TTL_MS, false)
  mark()
end
return {epoch, top}
"""
)

_PURGE = """
call('DEL', ENTRIES, STATES, VERSIONS, EXPIRIES)
"""


def _script(body: str) -> Script:
    text = _COMMON + body
    for name, value in {
        "POSITION_TTL_MS": int(POSITION_TTL_S * 1_000),
        "SLACK_MS": _SLACK_MS,
        "CHANGES_KEPT_US": int(CHANGES_KEPT_S * 1_000_000),
        "MAX_CHANGED": MAX_CHANGED,
        "MAX_STATE_KEYS": MAX_STATE_KEYS,
    }.items():
        text = text.replace(name, str(value))
    return Script(text)


APPEND = _script(_APPEND)
"""Keep a publication: ``ok`` (with the position and the uid of the one before), ``duplicate`` (with the
position), ``old``, ``key``, ``condition`` or ``full``."""

READ = _script(_READ)
"""The position, the oldest offset that is kept, and publications."""

STATE = _script(_STATE)
"""The position and the states."""

RENEW = _script(_RENEW)
"""Begin a new epoch if the present one is still the caller's; the position."""

PURGE = _script(_PURGE)
"""Drop all but the position."""
