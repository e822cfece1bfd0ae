"""The way to any channel layer: its public API alone.

In: messages for groups, from the broker and from code that only sends. Out: what comes to an inbox, each
message once to its ``take``. ``choice`` gives each layer its adapter; the others are subclasses of this one,
for layers whose exact type is known, and fall back to it.
"""

from __future__ import annotations

import asyncio
import base64
import collections
import logging
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, TypeVar

logger = logging.getLogger(__name__)

RECEIVE_BURST = 64
"""Messages handled before the loop's other tasks get their turn."""

_SEND_BURST = 32
"""Messages sent before the inbox is read: an in-process layer drops beyond 100 waiting ones."""

SEND_TIMEOUT_S = 5.0
"""How long a message waits for its answer where its sender does not say."""

_Serialized = TypeVar("_Serialized")

Take = Callable[[dict[str, Any]], None]
"""Takes a message; never waits, never raises."""


class LayerAdapter:
    """Sends to and reads from one channel layer; belongs to one event loop.

    Args:
        layer: the channel layer.
    """

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._text_only = False  # the layer can carry no bytes
        self._unread = 0
        self._readers: dict[str, asyncio.Task[None]] = {}

    async def new_channel(self) -> str:
        """A new channel of the layer, for an inbox."""
        channel: str = await self._layer.new_channel()
        return channel

    async def group_add(self, group: str, inbox: str) -> None:
        """Add an inbox to a group."""
        await self._layer.group_add(group, inbox)

    async def group_add_all(self, groups: Sequence[str], inbox: str) -> Sequence[Exception | None]:
        """Add an inbox to several groups.

        Returns:
            for each group why the inbox is not in it, or None.
        """
        added = (_error_of(self.group_add(group, inbox)) for group in groups)
        if len(groups) == 1:
            return [await next(added)]
        return await asyncio.gather(*added)

    def probe_key(self, group: str) -> Hashable:
        """Groups with equal keys that were added together are proven by one probe, through the last."""
        return group

    async def group_discard(self, group: str, inbox: str) -> None:
        """Take an inbox out of a group; it may be another process's."""
        await self._layer.group_discard(group, inbox)

    async def group_send(
        self, group: str, message: dict[str, Any], timeout: float | None = None
    ) -> None:
        """Send a message to every inbox of a group, after those that were sent to it before.

        Args:
            timeout: seconds that it may take.

        Raises:
            TimeoutError: it took longer.
            Exception: the layer's own.
        """
        async with asyncio.timeout(timeout):
            await self._send(group, message)
        self._unread += 1
        if self._unread >= _SEND_BURST:
            self._unread = 0
            await asyncio.sleep(0)

    def sends_at_once(self, group: str) -> bool:
        """Whether ``group_send`` to the group does not wait now; never where a server is asked."""
        return False

    async def _send(self, group: str, message: dict[str, Any]) -> None:
        """Send a message with its bytes, or as text where the layer can carry no bytes (JSON)."""
        if not self._text_only:
            try:
                await self._layer.group_send(group, message)
                return
            except TypeError:  # of a serializer; another one comes again
                pass
        await self._layer.group_send(group, _as_text(message))
        self._text_only = True

    def _portably(
        self, serialize: Callable[[dict[str, Any]], _Serialized], message: dict[str, Any]
    ) -> _Serialized:
        """A message serialized with its bytes, or as text where the serializer cannot carry them."""
        if not self._text_only:
            try:
                return serialize(message)
            except TypeError:
                pass
        serialized = serialize(_as_text(message))
        self._text_only = True
        return serialized

    def listen(self, inbox: str, take: Take, lost: Callable[[], None]) -> None:
        """Hand over what comes to an inbox, until ``stop_listening``.

        Args:
            take: gets each message.
            lost: is called when messages may have been lost; never waits.
        """
        self._readers[inbox] = asyncio.create_task(
            self._read(inbox, take, lost), name="realtime-inbox"
        )

    def stop_listening(self, inbox: str) -> asyncio.Task[None] | None:
        """Hand over nothing more; the task, if any, that ends by that."""
        reader = self._readers.pop(inbox, None)
        if reader is not None:
            reader.cancel()
        return reader

    async def _read(self, inbox: str, take: Take, lost: Callable[[], None]) -> None:
        """Take what comes to the inbox, for ever; a layer's error is waited out."""
        failures = 0
        burst = 0
        while True:
            try:
                message = await self._layer.receive(inbox)
            except Exception as error:
                failures += 1
                log = logger.warning if failures == 1 else logger.debug
                log("Reading from the channel layer failed: %s: %s", type(error).__name__, error)
                await asyncio.sleep(min(5.0, 0.1 * 2 ** min(failures, 6)))
                lost()
                continue
            failures = 0
            self._unread = 0
            take(message)
            burst += 1
            if burst >= RECEIVE_BURST:
                burst = 0
                await asyncio.sleep(0)


async def _error_of(adding: Awaitable[None]) -> Exception | None:
    try:
        await adding
    except Exception as error:
        return error
    return None


def _as_text(message: dict[str, Any]) -> dict[str, Any]:
    """The message without bytes, for serializers that cannot carry them."""
    if "control" in message:
        return {**message, "control": _as_text(message["control"])}
    body = message.get("body")
    return message if body is None else {**message, "body": base64.b64encode(body).decode()}


def is_untouched(layer: Any, kind: type, methods: tuple[str, ...]) -> bool:
    """Whether a layer is of a class and does these things as the class itself does.

    A subclass, or an object that was patched, may do something else in any of them.
    """
    return (
        isinstance(layer, kind)
        and not set(methods) & vars(layer).keys()
        and all(
            getattr(type(layer), name, None) is getattr(kind, name, None) is not None
            for name in methods
        )
    )


class WaitingMessages:
    """What has come to one inbox and is not handed over yet; a bounded number a turn of the loop.

    Args:
        take: gets each; an exception is logged.
        drained: is called when no more than ``RECEIVE_BURST`` wait, after more did.
    """

    __slots__ = ("_drained", "_full", "_loop", "_messages", "_scheduled", "_take")

    def __init__(self, take: Callable[[Any], None], drained: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._take = take
        self._drained = drained
        self._messages: collections.deque[Any] = collections.deque()
        self._scheduled = False
        self._full = False

    def put(self, message: Any) -> bool:
        """Have it handed over; True where more wait than a turn handles."""
        self._messages.append(message)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._hand_over)
        if len(self._messages) > RECEIVE_BURST:
            self._full = True
        return self._full

    @property
    def has_room(self) -> bool:
        """Whether ``put`` returns False."""
        return not self._full and len(self._messages) < RECEIVE_BURST

    def put_from_thread(self, message: Any) -> None:
        """As ``put``, from another event loop."""
        self._loop.call_soon_threadsafe(self.put, message)

    @property
    def is_of_this_loop(self) -> bool:
        """Whether ``put`` may be called here."""
        return self._loop is asyncio.get_running_loop()

    def __len__(self) -> int:
        return len(self._messages)

    def clear(self) -> None:
        """Hand over none of them."""
        self._messages.clear()

    def _hand_over(self) -> None:
        messages, take = self._messages, self._take
        for _ in range(min(len(messages), RECEIVE_BURST)):
            if not messages:  # cleared meanwhile
                break
            try:
                take(messages.popleft())
            except Exception:
                logger.exception("A message of the channel layer could not be handled")
        self._scheduled = bool(messages)
        if messages:
            self._loop.call_soon(self._hand_over)
        if self._full and len(messages) <= RECEIVE_BURST:
            self._full = False
            self._drained()
