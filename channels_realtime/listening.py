"""Subscriptions of the site's own code: ``async for message in subscribe("orders/42")``.

In: a channel's name, in any process and on any event loop. Out: its publications. They come through the
node of the process, where it serves connections, else through a light node: an inbox on the channel
layer and nothing else, which is there as long as something is subscribed.

The node may be on another event loop, in another thread: what it delivers goes through a bounded queue.
A channel with history is followed by its offsets: what did not come is read from the store.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque
from collections.abc import Coroutine, Mapping
from types import TracebackType
from typing import Any, TypeVar

from .channels import Channel
from .errors import ImproperUse, NotRecoverable, TooSlow
from .namespaces import current_namespace
from .nodes import light
from .nodes.hub import Outlet
from .nodes.node import Node, running_node, serving_node
from .nodes.outgoing import decode_entry
from .nodes.store_requests import ask
from .nodes.streams import Missed
from .protocol.dialects.base import Encoding
from .protocol.frames import Frame, Policy
from .protocol.messages import Position, Publication
from .protocol.names import channel_key
from .publications import Published, as_position, check_channel
from .runtime import loops

_Value = TypeVar("_Value")


def subscribe(
    channel: str,
    *,
    since: Position | Published | Mapping[str, Any] | None = None,
    max_queue: int = 1_000,
) -> Subscription:
    """Follow a channel in the site's own code; no rights are asked.

    Iterate over it with ``async for``. It begins with the first message that is asked for; inside
    ``async with subscribe(…) as messages:`` it begins at once, and what is published in the block is
    in it. Leave a loop early only inside such a block, or call ``aclose()``.

    Args:
        channel: the channel's name, such as ``"orders/42"``, in the namespace of the running code.
        since: where the channel has history, the position after which to begin, as ``position()`` or a
            message has it, or as ``{"epoch": …, "offset": …}``. None begins with what is published from now
            on, after the state where the channel has one.
        max_queue: messages that may wait for the code, at least 1.

    Returns:
        an asynchronous iterator of ``Publication``: ``payload``, ``event``, ``sender``, ``position`` and so on.

    Raises:
        BadChannel, UnknownChannel: no such name, or no route for it.
        ImproperUse: ``since`` is no position, or the channel keeps no history; or ``max_queue`` is less than 1.

    Iterating raises:
        NotRecoverable: the history does not hold what follows: load the state, and subscribe again.
        TooSlow: more than ``max_queue`` messages wait, on a channel without history. With one, the
            subscription catches up from the history instead.
        Unavailable: the channel layer or the store is away.
    """
    if type(max_queue) is not int or max_queue < 1:
        raise ImproperUse(f"subscribe(): max_queue is {max_queue!r}; expected at least 1")
    resolved = check_channel(channel)
    resolved.namespace = current_namespace()
    position = None if since is None else as_position(since)
    if since is not None and position is None:
        raise ImproperUse(
            f"subscribe(): since is {since!r:.100}; expected a Position or {{'epoch': …, 'offset': …}}"
        )
    if position is not None and resolved.kept() is None:
        raise ImproperUse(
            f"subscribe({channel!r}, since=…): {type(resolved).__qualname__} keeps no history;"
            " expected a class with history = History(…), or no since"
        )
    return Subscription(resolved, position, max_queue)


class Subscription:
    """A channel that is followed; an asynchronous iterator of its publications.

    Made by ``subscribe``. It is for one task at a time.
    """

    def __init__(self, channel: Channel, since: Position | None, max_queue: int) -> None:
        self._channel = channel
        self._since = since
        self._max_queue = max_queue
        self._feed: _Feed | None = None
        self._ready: deque[Publication] = deque()
        self._behind = False
        self._cursor: Position | None = None  # up to where messages are in ``_ready``
        self._closed = False

    position: Position | None = None
    """Of the last message, where the channel has history: ``since`` for another subscription."""

    async def __aenter__(self) -> Subscription:
        await self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Publication:
        if self._closed:
            raise StopAsyncIteration
        feed = await self._start()
        while True:
            if self._ready:
                return self._give(self._ready.popleft())
            try:
                if self._behind:
                    await self._catch_up(feed)
                    continue
                publication = await feed.get()
                if publication is None:
                    if self._cursor is None:  # nothing that could be read on from
                        raise TooSlow(
                            f"more than {self._max_queue} messages of {self._channel.name!r} waited;"
                            " expected a faster consumer, a larger max_queue or a channel with history"
                        )
                    self._behind = True
                elif self._is_next(publication):
                    return self._give(publication)
            except (NotRecoverable, TooSlow):
                await self.aclose()
                raise

    async def aclose(self) -> None:
        """End the subscription; does nothing where it has ended. Iterating it ends too."""
        self._closed = True
        self._ready.clear()
        feed, self._feed = self._feed, None
        if feed is not None:
            await asyncio.shield(feed.stop())

    def __del__(self) -> None:
        # A loop was left by `break`, and nothing closed it.
        if self._feed is not None:
            self._feed.abandon()

    async def _start(self) -> _Feed:
        if self._closed:
            raise ImproperUse(f"the subscription to {self._channel.name!r} was closed")
        if self._feed is None:
            feed = _Feed(self._channel, self._max_queue)
            try:
                begun = await feed.start(state=self._since is None)
            except BaseException:
                feed.abandon()
                raise
            self._feed = feed
            self._begin(begun)
            if self._behind:
                try:
                    await self._catch_up(feed)
                except NotRecoverable:
                    await self.aclose()
                    raise
        return self._feed

    def _begin(self, begun: _Begun) -> None:
        self.position = self._cursor = begun.position if self._since is None else self._since
        self._ready.extend(begun.state)
        self._behind = self._since is not None

    async def _catch_up(self, feed: _Feed) -> None:
        feed.clear()
        cursor = self._cursor
        assert cursor is not None
        missed = await feed.read(cursor)
        if not missed.complete:
            self.position = missed.position
            raise NotRecoverable(
                f"the history of {self._channel.name!r} does not hold what follows the position"
            )
        self._ready.extend(missed.publications)
        # Offsets have no gaps, whatever of these can be read.
        self._cursor = Position(cursor.epoch, cursor.offset + missed.entries)
        self._behind = self._cursor.offset < missed.position.offset

    def _is_next(self, publication: Publication) -> bool:
        """Whether a publication follows the last; where something is missing, it is read."""
        found, last = publication.position, self._cursor
        if found is None:
            return True
        if last is None:  # the store was away when it began
            self._cursor = found
            return True
        if found.epoch == last.epoch and found.offset <= last.offset:
            return False  # it was read from the store
        if found.epoch != last.epoch or found.offset != last.offset + 1:
            self._behind = True
            return False
        self._cursor = found
        return True

    def _give(self, publication: Publication) -> Publication:
        if publication.position is not None and not publication.state:
            self.position = publication.position
        return publication


class _NoEncoding(Encoding):
    """The publication itself is what is delivered."""

    name = "none"

    def publication_frame(self, publication: Publication, policy: Policy) -> Frame:
        return Frame(None, 0, publication.channel, policy)


_NO_ENCODING = _NoEncoding(lambda data: data)


@dataclasses.dataclass(frozen=True, slots=True)
class _Begun:
    """Where a subscription begins.

    Args:
        position: of the channel; None where it keeps no history.
        state: of the channel, at that position.
    """

    position: Position | None = None
    state: tuple[Publication, ...] = ()


class _Feed:
    """What a node delivers to one subscription, which may be on another loop.

    ``deliver`` runs on the node's loop, all else on the subscriber's.
    """

    encoding: Encoding = _NO_ENCODING

    def __init__(self, channel: Channel, max_queue: int) -> None:
        self._channel = channel
        self._key = channel_key(channel.namespace, channel.name)
        self._max_queue = max_queue
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Publication | None] = (
            deque()
        )  # safe to append to and take from in two threads
        self._overflowed = False
        self._waiting: asyncio.Future[None] | None = None
        self._node: Node | None = None
        self._is_light = False
        self._stopped = False

    # -- on the subscriber's loop ------------------------------------------------------------------

    async def start(self, *, state: bool) -> _Begun:
        """Begin; ``state`` says whether the channel's state is wanted."""
        node = running_node() or serving_node()
        self._is_light = node is None
        home = None if node is None else node.loop
        return await self._at_home(self._join(node, state), home)

    async def get(self) -> Publication | None:
        """The next publication; None where some may be missing."""
        while not self._queue:
            if self._overflowed:
                self._overflowed = False
                return None
            self._waiting = self._loop.create_future()
            if self._queue or self._overflowed:  # since it was looked at
                continue
            await self._waiting
        return self._queue.popleft()

    def clear(self) -> None:
        """Forget what waits."""
        self._overflowed = False
        self._queue.clear()

    async def read(self, since: Position) -> Missed:
        """Read on in the history."""
        node = self._node
        assert node is not None
        return await self._at_home(node.streams.read(self._key, since), node.loop)

    async def stop(self) -> None:
        """Take no more."""
        if self._node is not None:
            await self._at_home(self._leave(), self._node.loop)

    def abandon(self) -> None:
        """Take no more, and do not wait for that; from any thread."""
        node = self._node
        if node is None or node.loop.is_closed():
            return
        coroutine = self._leave()
        try:
            asyncio.run_coroutine_threadsafe(coroutine, node.loop)
        except RuntimeError:  # the loop was closed just now
            coroutine.close()

    async def _at_home(
        self, coroutine: Coroutine[Any, Any, _Value], home: asyncio.AbstractEventLoop | None
    ) -> _Value:
        """Run a coroutine on the node's loop; None is the loop of light nodes."""
        if home is self._loop:
            return await coroutine
        if home is None:
            return await asyncio.wrap_future(loops.background_loop.submit(coroutine))
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, home))

    # -- on the node's loop ------------------------------------------------------------------------

    async def _join(self, node: Node | None, state: bool) -> _Begun:
        if node is None:
            node = await light.enter()
        key, opened = self._key, False
        try:
            await node.broker.join(key)
            try:
                if self._channel.kept() is not None:
                    await node.streams.open(key)
                    opened = True
                self._node = node
                node.delivers(key, type(self._channel))
                node.hub.add(key, self)
                position = node.streams.position(key)
                if not (state and self._channel.state is not None):
                    return _Begun(position)
                return await self._read_state(node)
            except BaseException:
                if self._node is not None:
                    await self._leave()
                    raise
                if opened:
                    node.streams.close(key)
                node.broker.leave(key)
                raise
        except BaseException:
            if self._node is None and self._is_light:
                await light.leave()
            raise

    async def _read_state(self, node: Node) -> _Begun:
        store = node.history
        page = await ask(store, store.state(self._key), node.config.store_timeout)
        epoch = page.position.epoch
        decoded = (decode_entry(epoch, entry, state=True) for entry in page.entries)
        return _Begun(page.position, tuple(one for one in decoded if one is not None))

    async def _leave(self) -> None:
        node = self._node
        if self._stopped or node is None:
            return
        self._stopped = True
        if node.hub.remove(self._key, self):
            node.left(self._key)
        if self._is_light:
            await light.leave()

    is_free = False
    """See ``Outlet``."""

    @property
    def outlet(self) -> Outlet:
        """Itself."""
        return self

    def deliver(self, frame: Frame, publication: Publication) -> None:
        """Take a publication; never waits, never raises."""
        self._put(publication)

    def started_anew(self, channel: str, position: Position) -> None:
        """Something may be missing; what it is, the store says."""
        self._put(None)

    def _put(self, publication: Publication | None) -> None:
        if len(self._queue) >= self._max_queue:
            self._overflowed = True
        elif not self._overflowed:
            self._queue.append(publication)
        try:
            if asyncio.get_running_loop() is self._loop:
                self._wake()
            else:
                self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:  # its loop was closed, and the subscription was not
            self.abandon()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
