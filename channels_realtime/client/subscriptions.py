"""What a program iterates over: the messages or the events of one channel."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..errors import ImproperUse, NotRecoverable, RealtimeError
from ..protocol.messages import Member, Position
from .callbacks import result_of
from .errors import ClientError
from .feeds import Feed, Feeds
from .mistakes import check_function
from .values import Event, Joined, Left, Loaded, Message, Recovered, Subscribed, covers, position_in

if TYPE_CHECKING:
    from .client import Client

Load = Callable[[], Awaitable[Any] | Any]

Listener = Callable[[Message], Awaitable[Any] | Any]

TYPING_S = 3.0
"""One notice of typing in this time."""


class Buffer:
    """What waits for the loop over a subscription; a ``Sink``.

    Args:
        size: how many messages, joins and leaves it takes. Where it is full, the rest is left to the
            channel's history. A channel's state is not counted.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: deque[Event] = deque()
        self._counted = 0
        self._waiting: set[asyncio.Future[None]] = set()
        self._error: RealtimeError | None = None
        self.ended = False
        self.begun = False

    @property
    def full(self) -> bool:
        """Whether it takes no message."""
        return self._counted >= self._size

    @property
    def drained(self) -> bool:
        """Whether half of it is free."""
        return self._counted <= self._size // 2

    def put(self, item: Event) -> None:
        """Keep an item. Unread ``Subscribed`` and ``Recovered`` that add nothing are dropped.

        ``Recovered`` with messages missing stands for a ``Subscribed`` too, which comes before it.
        """
        items = self._items
        if isinstance(item, Subscribed):
            while items and _says_nothing(items[-1]):
                items.pop()
        elif isinstance(item, Recovered) and not item.complete:
            while items and isinstance(items[-1], Subscribed | Recovered):
                items.pop()
            items.append(Subscribed(item.position))
        items.append(item)
        self._counted += _counts(item)
        self.begun = True
        self._wake()

    def end(self, error: RealtimeError | None, *, discard: bool) -> None:
        """Nothing follows."""
        if not self.ended:
            self.ended = True
            self._error = error
            if discard:
                self._items.clear()
                self._counted = 0
            self._wake()

    def take(self) -> Event | None:
        """The next item, if there is one.

        Raises:
            RealtimeError: why nothing follows; once.
        """
        if self._items:
            item = self._items.popleft()
            self._counted -= _counts(item)
            return item
        error, self._error = self._error, None
        if error is not None:
            raise error
        return None

    async def wait(self) -> None:
        """Wait until there is more, or the end."""
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)

    async def wait_for_begin(self) -> None:
        """Wait until it is subscribed.

        Raises:
            RealtimeError: it was refused.
        """
        while not self.begun and not self.ended:
            await self.wait()
        if not self.begun and self._error is not None:
            error, self._error = self._error, None
            raise error

    def _wake(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)


def _says_nothing(item: Event) -> bool:
    return isinstance(item, Subscribed) or (isinstance(item, Recovered) and item.complete)


def _counts(item: Event) -> bool:
    return isinstance(item, Joined | Left) or (isinstance(item, Message) and not item.state)


class Subscription:
    """The messages of one channel, in order, each once; made by ``Client.subscribe``.

    An asynchronous iterator of ``Message``, for one task at a time. ``async with`` waits until it is
    subscribed, and unsubscribes at the block's end; so does ``aclose()``. A loop that is left by ``break``
    unsubscribes once the subscription is garbage.
    """

    def __init__(
        self,
        client: Client,
        feeds: Feeds,
        feed: Feed,
        buffer: Buffer,
        *,
        load: Load | None,
        ack: bool,
    ) -> None:
        self._client = client
        self._feeds = feeds
        self._feed = feed
        self._loop = asyncio.get_running_loop()
        self._buffer = buffer
        self._load = load
        self._acks = ack
        self._unacknowledged: Position | None = None
        self._strict = feed.since is not None
        self._begins = feed.since is None
        self._load_due = False
        self._loaded_to: Position | None = None
        self._listeners: dict[str | None, list[Listener]] = {}
        self._typed_at: float | None = None
        self.position: Position | None = feed.since
        """Up to where the program has it: ``since`` for another subscription. None: it has nothing."""

    @property
    def channel(self) -> str:
        """The channel's name."""
        return self._feed.channel

    @property
    def members(self) -> dict[str, Member]:
        """With ``presence=True``: who is on the channel, by id, as far as the server tells."""
        return dict(self._feed.members)

    @property
    def count(self) -> int | None:
        """With ``presence=True``: how many members there are; None until it is known."""
        return self._feed.count

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Message:
        while True:
            item = await self._next()
            if isinstance(item, Message):
                return item
            if isinstance(item, Recovered) and not item.complete and self._load is None:
                if item.state or (item.position is None and not self._strict):
                    continue  # a channel without history promises nothing
                await self.aclose()
                raise NotRecoverable(
                    f"messages of {self.channel!r} are missing: the history does not hold what follows"
                    " the last one; load the state and subscribe again, or pass load=…"
                )

    def events(self) -> Events:
        """Iterate over everything: messages, ``Subscribed``, ``Recovered``, ``Loaded``, ``Joined``, ``Left``.

        Missing messages are told by ``Recovered(complete=False)`` and raise nothing.
        """
        return Events(self)

    def on(self, event: str | None, listener: Listener) -> None:
        """Let ``run`` call a function with the messages of an event; None: with those that have no event.

        Args:
            event: the event's name.
            listener: gets each ``Message``. One that is not ``async`` runs in a thread.
        """
        if listener is None or not (event is None or (isinstance(event, str) and event)):
            raise ImproperUse(
                f"on({event!r:.100}, …): expected an event's name or None, and a function"
            )
        check_function("on()", "listener", listener)
        self._listeners.setdefault(event, []).append(listener)

    async def run(self) -> None:
        """Call the listeners, one after the other in the order of the messages, until the subscription ends.

        Raises as iterating does, and what a listener raises.
        """
        if not self._listeners:
            raise ImproperUse(f"run() of {self.channel!r} has no listener; add one with on()")
        async for message in self:
            for listener in self._listeners.get(message.event, ()):
                await result_of(listener, message)

    async def typing(self, payload: Any = None) -> None:
        """Tell the others on the channel that this user is typing: the event ``typing``, which is not kept.

        At most one notice in 3 seconds is sent, and none without a connection.

        Raises:
            RealtimeError: the server refused it.
        """
        now = self._loop.time()
        if self._typed_at is None or now - self._typed_at >= TYPING_S:
            self._typed_at = now
            with contextlib.suppress(ClientError):
                await self._client.publish(
                    self.channel, payload, event="typing", transient=True, echo=False
                )

    def ack(self, message: Message | Position) -> None:
        """Acknowledge a message and all before it, where the channel has an inbox."""
        position = message.position if isinstance(message, Message) else message
        if position is not None:
            self._feeds.acknowledge(self.channel, position)

    async def aclose(self) -> None:
        """Unsubscribe; does nothing where it has ended. Iterating it ends too."""
        if not self._buffer.ended:
            self._buffer.end(None, discard=True)
            self._feeds.remove(self._feed)

    async def __aenter__(self) -> Subscription:
        try:
            await self._buffer.wait_for_begin()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # A loop was left by `break`, or its task was cancelled.
        # The garbage collector may run in any thread.
        if not self._buffer.ended and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._feeds.remove, self._feed)

    async def _next(self) -> Event:
        if self._unacknowledged is not None:
            self._feeds.acknowledge(self.channel, self._unacknowledged)
            self._unacknowledged = None
        while True:
            if self._load_due and self._load is not None:
                return await self._loaded(self._load)
            item = self._buffer.take()
            if self._feed.suspended and self._buffer.drained:
                self._feeds.drained(self._feed)
            if item is not None:
                if self._wanted(item):
                    return item
            elif self._buffer.ended:
                raise StopAsyncIteration
            else:
                await self._buffer.wait()

    def _wanted(self, item: Event) -> bool:
        """Note what an item says; False for a message that the loaded state has."""
        if isinstance(item, Subscribed):
            self._load_due = self._load_due or self._begins
            self._begins = False
            if self.position is None:
                self.position = item.position
        elif isinstance(item, Recovered) and not item.complete:
            self._load_due = True
            self._loaded_to = None
            self.position = item.position
        elif isinstance(item, Message) and not item.state and item.position is not None:
            known = self._loaded_to
            if known is not None and covers(known, item.position):
                return False
            self.position = item.position
            if self._acks:
                self._unacknowledged = item.position
        return True

    async def _loaded(self, load: Load) -> Loaded:
        state = await result_of(load)
        self._load_due = False
        position = state.get("position") if isinstance(state, dict) else None
        if not isinstance(position, Position):
            position = position_in(position)
        self._loaded_to = position
        if position is not None:
            self.position = position
            if self._acks:
                self._unacknowledged = position
        return Loaded(state)


class Events:
    """The events of a subscription; an asynchronous iterator."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> Event:
        return await self._subscription._next()
