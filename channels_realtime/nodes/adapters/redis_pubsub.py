"""The way to the pub/sub layer of channels_redis: what is sent in one turn of the loop goes in one write.

In: messages for groups. Out: each message of a group that an inbox is in. What the layer itself sends and
receives looks the same on the wire, so processes that use its public API are reached and heard. Shards, names,
pools and serializers are the layer's own. There are two connections a shard: one publishes and one is
subscribed; the layer would have as many.

Publishing: a batch is written when the one before was answered, so that order holds. Each sender waits for the
answer to its own message. One that is not answered in its time fails, and when that is true of all that are
in flight, the connection is replaced.

Subscribing: ``group_add`` returns when the server has confirmed it. A connection that breaks is opened again, with all
its subscriptions, and then the inboxes are told that messages may have been lost; the layer itself tells nobody.
"""

from __future__ import annotations

import asyncio
import collections
import contextvars
import logging
import uuid
from collections.abc import Callable, Hashable, Sequence
from typing import Any, cast

from ...runtime.redis_connection import (
    BATCH,
    CommandSender,
    PooledConnection,
    ResponseError,
    can_be_taken_over,
    pack,
)
from .base import SEND_TIMEOUT_S, LayerAdapter, Take, WaitingMessages, is_untouched

try:  # optional: a site without Redis does not install it
    from channels_redis.pubsub import (
        RedisPubSubChannelLayer,
        RedisPubSubLoopLayer,
        RedisSingleShardConnection,
    )
except ImportError:
    RedisPubSubChannelLayer = None

logger = logging.getLogger(__name__)

_METHODS = ("__getattr__", "serialize", "deserialize", "_get_layer")
_FORWARDED = ("new_channel", "send", "receive", "group_add", "group_discard", "group_send", "flush")
"""What the layer leaves to its part for the running loop; a subclass may define it all the same."""

_LOOP_METHODS = (*_FORWARDED, "_get_shard", "_get_group_channel_name")
_SHARD_METHODS = ("publish", "subscribe", "unsubscribe", "_receive_message", "_ensure_redis")

_WAITING = 1_000
"""Messages of an inbox that may wait; beyond, nothing more is read from the server."""

_CONFIRM_S = 1.0
"""A connection that has not confirmed a subscription for so long, when its caller gives up, is replaced."""

_REOPEN_S = 0.01
"""How long after its end a connection is opened again."""

_MAX_PAUSE_S = 5.0
"""The longest pause between two tries to subscribe again."""


class PubSubAdapter(LayerAdapter):
    """See the module's documentation."""

    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        self._loop_layer = layer._get_layer()
        self._publishers: dict[Any, CommandSender] = {}
        self._subscribers: dict[Any, _Subscriber] = {}
        self._groups: dict[bytes, set[str]] = {}
        self._inboxes: dict[str, _Inbox] = {}

    @staticmethod
    def suits(layer: Any) -> bool:
        """Whether the layer, its part for the running loop and its shards are as they are known here."""
        if (
            RedisPubSubChannelLayer is None
            or not is_untouched(layer, RedisPubSubChannelLayer, _METHODS)
            or any(name in vars(layer) or hasattr(type(layer), name) for name in _FORWARDED)
        ):
            return False
        own = layer._get_layer()
        shards = getattr(own, "_shards", None)
        return (
            is_untouched(own, RedisPubSubLoopLayer, _LOOP_METHODS)
            and isinstance(getattr(own, "prefix", None), str)
            and isinstance(shards, list)
            and all(map(_is_known_shard, shards))
        )

    async def new_channel(self) -> str:
        inbox = f"{self._loop_layer.prefix}specific.{uuid.uuid4().hex}"
        try:
            confirmed = self._subscribe(inbox.encode(), inbox)
            await self._confirmed([confirmed])
            confirmed.result()
        except BaseException:
            self._unsubscribe(inbox.encode(), inbox)
            raise
        return inbox

    async def group_add(self, group: str, inbox: str) -> None:
        confirmed = self._subscribe(self._name(group), inbox)
        await self._confirmed([confirmed])
        confirmed.result()

    async def group_add_all(self, groups: Sequence[str], inbox: str) -> Sequence[Exception | None]:
        asked = [self._subscribe(self._name(group), inbox) for group in groups]
        await self._confirmed(asked)
        return [cast("Exception | None", confirmed.exception()) for confirmed in asked]

    def probe_key(self, group: str) -> Hashable:
        """The server of the group: it has confirmed each of them, and reads a connection in order."""
        return cast("Hashable", self._loop_layer._get_shard(self._name(group).decode()))

    async def group_discard(self, group: str, inbox: str) -> None:
        self._unsubscribe(self._name(group), inbox)

    async def group_send(
        self, group: str, message: dict[str, Any], timeout: float | None = None
    ) -> None:
        channel = self._name(group)
        shard = self._loop_layer._get_shard(channel.decode())
        publisher = self._publishers.get(shard)
        if publisher is None:
            publisher = self._publishers[shard] = CommandSender(lambda: _client_of(shard))
        command = pack(b"PUBLISH", channel, self._portably(self._layer.serialize, message))
        await publisher.send(command, timeout or SEND_TIMEOUT_S)

    def listen(self, inbox: str, take: Take, lost: Callable[[], None]) -> None:
        self._inboxes[inbox] = _Inbox(self._layer, take, lost, self._drained)

    def stop_listening(self, inbox: str) -> asyncio.Task[None] | None:
        found = self._inboxes.pop(inbox, None)
        if found is not None:
            found.waiting.clear()
            self._drained()
        for channel in [name for name, inboxes in self._groups.items() if inbox in inboxes]:
            self._unsubscribe(channel, inbox)
        return None

    def _name(self, group: str) -> bytes:
        name: str = self._loop_layer._get_group_channel_name(group)
        return name.encode()

    def _subscriber(self, channel: bytes) -> _Subscriber:
        shard = self._loop_layer._get_shard(channel.decode())
        subscriber = self._subscribers.get(shard)
        if subscriber is None:
            subscriber = self._subscribers[shard] = _Subscriber(shard, self._take, self._replaced)
        return subscriber

    def _subscribe(self, channel: bytes, inbox: str) -> asyncio.Future[None]:
        """Have the channel's messages come to an inbox; what is done when that is confirmed."""
        self._groups.setdefault(channel, set()).add(inbox)
        return self._subscriber(channel).subscribe(channel)

    async def _confirmed(self, asked: Sequence[asyncio.Future[None]]) -> None:
        """Wait until all are confirmed or refused."""
        waiting = [confirmed for confirmed in asked if not confirmed.done()]
        if not waiting:
            return
        now = asyncio.get_running_loop().time
        began = now()
        try:
            await asyncio.wait(waiting)
        except asyncio.CancelledError:
            if now() - began >= _CONFIRM_S:  # nothing else would notice
                for subscriber in self._subscribers.values():
                    subscriber.replace_if_it_hangs()
            raise

    def _unsubscribe(self, channel: bytes, inbox: str) -> None:
        inboxes = self._groups.get(channel)
        if inboxes is None or inbox not in inboxes:
            return
        inboxes.discard(inbox)
        if not inboxes:
            del self._groups[channel]
            self._subscriber(channel).unsubscribe(channel)

    def _take(self, channel: bytes, data: bytes) -> None:
        for name in self._groups.get(channel, ()):
            inbox = self._inboxes.get(name)
            if inbox is not None and inbox.waiting.put(data) and len(inbox.waiting) > _WAITING:
                for subscriber in self._subscribers.values():
                    subscriber.pause()

    def _drained(self) -> None:
        for subscriber in self._subscribers.values():
            subscriber.resume()

    def _replaced(self) -> None:
        for inbox in tuple(self._inboxes.values()):
            inbox.lost()


def _is_known_shard(shard: Any) -> bool:
    if not is_untouched(shard, RedisSingleShardConnection, _SHARD_METHODS):
        return False
    return can_be_taken_over(getattr(_client_of(shard), "connection_pool", None))


def _client_of(shard: Any) -> Any:
    """The shard's client of redis-py; another one after the layer was flushed."""
    shard._ensure_redis()
    return shard._redis


class _Inbox:
    """Where the messages of one broker go."""

    def __init__(
        self, layer: Any, take: Take, lost: Callable[[], None], drained: Callable[[], None]
    ) -> None:
        deserialize = layer.deserialize
        self.lost = lost
        # Each inbox decodes for itself, so that two of a process share nothing.
        self.waiting = WaitingMessages(lambda data: take(deserialize(data)), drained)


class _Subscriber(PooledConnection):
    """Is subscribed to channels of one shard, whatever becomes of its connection.

    Args:
        take: gets the channel and the data of each message.
        replaced: is called when the connection was replaced and all is subscribed again.
    """

    def __init__(
        self, shard: Any, take: Callable[[bytes, bytes], None], replaced: Callable[[], None]
    ) -> None:
        super().__init__(lambda: _client_of(shard))
        self._loop = asyncio.get_running_loop()
        self._take = take
        self._replaced = replaced
        self._wanted: dict[bytes, asyncio.Future[None]] = {}  # by channel: its confirmation
        self._to_ask: list[bytes] = []
        self._restoring: set[bytes] = set()
        self._unanswered: collections.Counter[bytes] = collections.Counter()
        self._broke = False
        self._down = ""  # why it cannot be opened
        self._opening: asyncio.Task[None] | None = None

    def subscribe(self, channel: bytes) -> asyncio.Future[None]:
        """Be subscribed to a channel; done when the server has confirmed it.

        It fails with ConnectionError where the connection cannot be opened, and with ResponseError where the
        server refuses.
        """
        confirmed = self._wanted.get(channel)
        if confirmed is None:
            confirmed = self._loop.create_future()
            if self._down:
                _fail(confirmed, ConnectionError(self._down))
                return confirmed
            self._wanted[channel] = confirmed
            self._ask(channel)
        return confirmed

    def replace_if_it_hangs(self) -> None:
        """Replace the connection where something is not confirmed, although it had its time."""
        hangs = any(not confirmed.done() for confirmed in self._wanted.values())
        if hangs and self._connection is not None:
            self._connection.abort()

    def unsubscribe(self, channel: bytes) -> None:
        """Be subscribed to it no more."""
        if channel not in self._wanted:
            return
        self._refuse(channel, ConnectionError("unsubscribed"))
        if channel in self._to_ask:
            self._to_ask.remove(channel)
        elif self._connection is not None:
            self._connection.write(pack(b"UNSUBSCRIBE", channel))

    def pause(self) -> None:
        """Read nothing more from the server for now."""
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """Read on."""
        if self._connection is not None:
            self._connection.resume()

    def _ask(self, channel: bytes) -> None:
        self._to_ask.append(channel)
        if len(self._to_ask) == 1:
            self._loop.call_soon(self._write)

    def _write(self) -> None:
        if self._connection is None:
            if self._opening is None and self._wanted:
                self._opening = self._loop.create_task(
                    self._reopen(), name="realtime-subscriber", context=contextvars.Context()
                )
            return
        asked, self._to_ask = self._to_ask, []
        self._unanswered.update(asked)
        for start in range(0, len(asked), BATCH):
            self._connection.write(pack(b"SUBSCRIBE", *asked[start : start + BATCH]))

    async def _reopen(self) -> None:
        """Open the connection, as often as it takes, and subscribe to what is wanted."""
        failures = 0
        while self._wanted:
            try:
                await self._open()
                break
            except Exception as error:
                failures += 1
                log = logger.warning if failures == 1 else logger.debug
                log("Reading from the channel layer failed: %s: %s", type(error).__name__, error)
                self._down = str(error) or type(error).__name__
                asked, self._to_ask = self._to_ask, []
                for channel in asked:  # those before are wanted until it is open again
                    self._refuse(channel, ConnectionError(self._down))
            await asyncio.sleep(min(_MAX_PAUSE_S, 0.1 * 2 ** min(failures, 6)))
        self._opening = None
        self._down = ""
        self._to_ask = list(self._wanted)
        self._restoring = set(self._wanted) if self._broke else set()
        self._broke = False
        self._write()

    def _refuse(self, channel: bytes, error: Exception) -> None:
        confirmed = self._wanted.pop(channel, None)
        if confirmed is not None and not confirmed.done():
            _fail(confirmed, error)
        self._confirm_restored(channel)

    def _confirm_restored(self, channel: bytes) -> None:
        if channel in self._restoring:
            self._restoring.discard(channel)
            if not self._restoring:
                self._replaced()

    def _received(self, answer: Any) -> None:
        if isinstance(answer, ResponseError):
            self._unanswered.clear()  # which of them it refused is not said
            for channel in [name for name, one in self._wanted.items() if not one.done()]:
                self._refuse(channel, answer)
            return
        if not isinstance(answer, list | tuple) or len(answer) != 3:
            return
        kind, channel, data = answer
        if kind == b"message":
            self._take(channel, data)
        elif kind == b"subscribe":
            self._unanswered[channel] -= 1
            if self._unanswered[channel] > 0:
                return  # of an earlier one, which was taken back
            del self._unanswered[channel]
            confirmed = self._wanted.get(channel)
            if confirmed is not None and not confirmed.done():
                confirmed.set_result(None)
            self._confirm_restored(channel)

    def _lost(self) -> None:
        self._connection = None
        self._to_ask = []
        self._unanswered.clear()
        if not self._wanted:
            return
        self._broke = True
        logger.warning("The connection to the channel layer was lost; it is opened again")
        for channel, confirmed in self._wanted.items():
            if confirmed.done():
                self._wanted[channel] = self._loop.create_future()
        # Not at once: where the loop is about to close, the layer has just closed its pool.
        self._loop.call_later(_REOPEN_S, self._write)


def _fail(confirmed: asyncio.Future[None], error: Exception) -> None:
    confirmed.set_exception(error)
    confirmed.exception()  # retrieved, though all who waited for it may have gone
