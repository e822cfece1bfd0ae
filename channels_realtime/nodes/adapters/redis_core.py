"""The way to the core layer of channels_redis: a batch is one script a server, and so is all that waits.

In: messages for groups. Out: what comes to an inbox. What is in Redis looks the same as the layer's own, so
processes that use its public API are reached and heard; names, shards, connections, capacities and
serializers are the layer's. The layer takes five commands to send a message and four to receive one.

Sending: one script asks for the members of a batch's groups, and one puts the messages into their queues; a
queue that is full takes nothing, as with the layer itself.

Receiving: an inbox has a queue of its own, while the layer's own channels of a process share one, so that code
which receives by the layer itself and the broker do not meet. What a script has taken off stays in a backup
until the next, and is handed out again after a connection broke; the broker drops what it had.
"""

from __future__ import annotations

import asyncio
import collections
import contextvars
import logging
import time
import uuid
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

from ...runtime.batches import BatchSender, Sending
from ...runtime.redis_connection import CommandSender, Script, can_be_taken_over, pack
from .base import RECEIVE_BURST, SEND_TIMEOUT_S, LayerAdapter, Take, is_untouched

try:  # optional: a site without Redis does not install it
    from channels_redis.core import RedisChannelLayer
except ImportError:
    RedisChannelLayer = None

logger = logging.getLogger(__name__)

_METHODS = (
    "group_add",
    "group_discard",
    "group_send",
    "send",
    "receive",
    "receive_single",
    "new_channel",
    "connection",
    "consistent_hash",
    "non_local_name",
    "get_capacity",
    "_group_key",
    "_map_channel_keys_to_connection",
)

_BATCH = 32
"""Messages sent at once: a queue takes no more than ``capacity`` that wait, by default 100."""

_TAKEN = 256
"""Messages taken off a queue at once."""

_WAIT_S = 5
"""How long Redis waits for a message before it answers that there is none."""

_TICK_S = 1e-6
"""Between the times of two messages: a queue is in the order of times, which the layer counts in seconds."""

MEMBERS = Script(
    """
local found = {}
for i, group in ipairs(KEYS) do
  redis.call('ZREMRANGEBYSCORE', group, 0, ARGV[1])
  found[i] = redis.call('ZRANGE', group, 0, -1)
end
return found
"""
)

PUT = Script(
    """
local full, number = 0, #KEYS
local expiry, expired = ARGV[3 * number + 1], ARGV[3 * number + 2]
local cleared = {}
for i, queue in ipairs(KEYS) do
  if not cleared[queue] then
    redis.call('ZREMRANGEBYSCORE', queue, 0, expired)
    cleared[queue] = true
  end
  if redis.call('ZCARD', queue) < tonumber(ARGV[number + i]) then
    redis.call('ZADD', queue, ARGV[2 * number + i], ARGV[i])
    redis.call('EXPIRE', queue, expiry)
  else
    full = full + 1
  end
end
return full
"""
)

_TAKE = Script(
    """
local queue, backup = KEYS[1], KEYS[2]
if ARGV[1] == '1' then
  redis.call('DEL', backup)
elseif redis.call('EXISTS', backup) == 1 then
  redis.call('ZUNIONSTORE', queue, 2, queue, backup, 'AGGREGATE', 'MIN')
  redis.call('EXPIRE', queue, ARGV[3])
  redis.call('DEL', backup)
end
local taken = redis.call('ZPOPMIN', queue, ARGV[2])
local messages = {}
for i = 1, #taken, 2 do
  messages[#messages + 1] = taken[i]
  redis.call('ZADD', backup, taken[i + 1], taken[i])
end
if #messages > 0 then redis.call('EXPIRE', backup, ARGV[3]) end
return messages
"""
)


class CoreAdapter(LayerAdapter):
    """See the module's documentation."""

    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        self._servers: dict[int, CommandSender] = {}
        self._sender = _Sender(self, layer)

    @staticmethod
    def suits(layer: Any) -> bool:
        """Whether the layer is as it is known here."""
        return (
            RedisChannelLayer is not None
            and is_untouched(layer, RedisChannelLayer, _METHODS)
            and isinstance(getattr(layer, "prefix", None), str)
            and isinstance(getattr(layer, "ring_size", None), int)
            and all(
                isinstance(getattr(layer, name, None), int | float)
                for name in ("expiry", "group_expiry")
            )
            # Without a loop: sync code that sends asks too.
            and all(can_be_taken_over(layer.create_pool(n)) for n in range(layer.ring_size))
        )

    def server(self, index: int) -> CommandSender:
        """Sends to one of the layer's servers."""
        sender = self._servers.get(index)
        if sender is None:
            sender = self._servers[index] = CommandSender(lambda: self._layer.connection(index))
        return sender

    async def new_channel(self) -> str:
        return f"specific.{uuid.uuid4().hex}!{uuid.uuid4().hex}"

    async def group_add_all(self, groups: Sequence[str], inbox: str) -> Sequence[Exception | None]:
        layer = self._layer
        errors: dict[str, Exception | None] = {}
        for index, own in _by_server(layer, groups).items():
            pipe = layer.connection(index).pipeline(transaction=False)
            for group in own:
                pipe.zadd(layer._group_key(group), {inbox: time.time()})
                pipe.expire(layer._group_key(group), layer.group_expiry)
            try:
                answers: list[Any] = await pipe.execute(raise_on_error=False)
            except Exception as error:
                answers = [error] * (2 * len(own))
            for number, group in enumerate(own):
                pair = answers[2 * number : 2 * number + 2]
                errors[group] = next((each for each in pair if isinstance(each, Exception)), None)
        return [errors[group] for group in groups]

    def probe_key(self, group: str) -> Hashable:
        """Its server, which has answered for each of them."""
        index: int = self._layer.consistent_hash(group)
        return index

    async def group_send(
        self, group: str, message: dict[str, Any], timeout: float | None = None
    ) -> None:
        await self._sender.send((group, message), timeout or SEND_TIMEOUT_S)

    async def _read(self, inbox: str, take: Take, lost: Callable[[], None]) -> None:
        """Take what comes to the inbox, for ever; an error is waited out."""
        layer = self._layer
        local = layer.non_local_name(inbox)
        index = layer.consistent_hash(local)
        queue = layer.prefix + local
        keys = [queue, f"{queue}$inflight"]
        server = CommandSender(lambda: layer.connection(index))  # one of its own: it waits
        try:
            failures = 0
            handled = False  # what was taken last
            while True:
                try:
                    expiry = max(1, int(layer.expiry))
                    arguments = ("1" if handled else "0", _TAKEN, expiry)
                    taken = await server.run(_TAKE, keys, arguments, SEND_TIMEOUT_S)
                    handled = True
                    if not taken:
                        wait = pack(b"BZPOPMIN", queue, _WAIT_S)
                        popped = await server.send(wait, _WAIT_S + SEND_TIMEOUT_S)
                        taken = popped[1:2] if popped else []
                except Exception as error:
                    failures += 1
                    handled = False
                    log = logger.warning if failures == 1 else logger.debug
                    log(
                        "Reading from the channel layer failed: %s: %s", type(error).__name__, error
                    )
                    await asyncio.sleep(min(5.0, 0.1 * 2 ** min(failures, 6)))
                    lost()
                    continue
                failures = 0
                for number, data in enumerate(taken, 1):
                    self._hand_over(data, take)
                    if number % RECEIVE_BURST == 0:
                        await asyncio.sleep(0)
        finally:
            await server.close()

    def _hand_over(self, data: bytes, take: Take) -> None:
        try:
            message = self._layer.deserialize(data)
            message.pop("__asgi_channel__", None)
            take(message)
        except Exception:
            logger.exception("A message of the channel layer could not be handled")

    def mapped(self, channels: list[str], message: dict[str, Any]) -> tuple[Any, Any, Any]:
        """By server the queues of these channels, and by queue its message, serialized, and its capacity."""

        def serialize(message: dict[str, Any]) -> tuple[Any, Any, Any]:
            found: tuple[Any, Any, Any] = self._layer._map_channel_keys_to_connection(
                channels, message
            )
            return found

        return self._portably(serialize, message)


class _Sender(BatchSender):
    """Sends in batches, over all servers of the layer."""

    def __init__(self, adapter: CoreAdapter, layer: Any) -> None:
        super().__init__(_BATCH, _BATCH)
        self._adapter = adapter
        self._layer = layer
        self._task: asyncio.Task[None] | None = None
        self._newest = 0.0

    def _size(self, message: Any) -> int:
        return 1

    def _transmit(self) -> None:
        # It may outlive its callers, so it has a context of its own.
        self._task = self._loop.create_task(self._run(), context=contextvars.Context())

    def _hangs(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        batch = tuple(self._in_flight)
        try:
            await self._put(batch, await self._members(batch))
        except Exception as error:
            for sending in batch:
                sending.fail(error)
        else:
            for sending in batch:
                sending.done()
        finally:
            self._in_flight = collections.deque()
            self._go_on()

    async def _members(self, batch: Sequence[Sending]) -> dict[str, list[str]]:
        """The channels in each group of a batch."""
        layer = self._layer
        by_server = _by_server(layer, dict.fromkeys(sending.message[0] for sending in batch))
        expired = int(time.time()) - layer.group_expiry
        members = {}
        for index, groups in by_server.items():
            keys = [layer._group_key(group) for group in groups]
            server = self._adapter.server(index)
            found = await server.run(MEMBERS, keys, [expired], SEND_TIMEOUT_S)
            for group, names in zip(groups, found, strict=True):
                members[group] = [name.decode() for name in names]
        return members

    async def _put(self, batch: Sequence[Sending], members: dict[str, list[str]]) -> None:
        """Put the messages into the queues of their groups' members."""
        layer = self._layer
        by_server: dict[int, tuple[list[str], list[bytes], list[int], list[str]]] = {}
        for sending in batch:
            group, message = sending.message
            self._newest = max(time.time(), self._newest + _TICK_S)
            queues_of, messages, capacities = self._adapter.mapped(members[group], message)
            for index, queues in queues_of.items():
                put = by_server.setdefault(index, ([], [], [], []))
                for queue in queues:
                    put[0].append(queue)
                    put[1].append(messages[queue])
                    put[2].append(capacities[queue])
                    put[3].append(f"{self._newest:.7f}")
        for index, (queues, bodies, capacities, times) in by_server.items():
            expired = int(time.time()) - int(layer.expiry)
            arguments = [*bodies, *capacities, *times, int(layer.expiry), expired]
            server = self._adapter.server(index)
            full = await server.run(PUT, queues, arguments, SEND_TIMEOUT_S)
            if full:
                logger.info("%d of %d messages over capacity", full, len(queues))


def _by_server(layer: Any, groups: Iterable[str]) -> dict[int, list[str]]:
    by_server: dict[int, list[str]] = {}
    for group in groups:
        by_server.setdefault(layer.consistent_hash(group), []).append(group)
    return by_server
