"""The channels with history that have subscribers in this process: in order, once, without gaps.

In: publications that the broker brings, which the layer may lose, repeat or reorder, and what the store
says. Out: each publication once and in order to the hub, or the word that a channel starts over.

A publication that is the next one is delivered at once; that costs a look into a dict and a comparison.
One that is ahead waits a moment, because the layer may have reordered; then what is missing is read
from the store. What is lost at the end of a channel shows in no later publication: so the node
compares its positions with the store every ``SYNC_INTERVAL``, and at once after the layer failed. It
asks what has changed in the buckets of its channels, not for each channel's position.

A stream costs about 500 bytes. It is open while the channel has a subscriber here.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import logging
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import msgspec

from ..config import Config
from ..errors import Unavailable
from ..protocol.messages import Position, Publication
from ..recovery.catch_up import Tail
from ..recovery.stream import Finding, Stream, Verdict
from ..runtime.tasks import end_tasks
from ..stores.history.base import Entry, HistoryStore, Page
from .comparison import Comparison
from .metrics import Metrics
from .outgoing import decode_entry
from .store_requests import ask

logger = logging.getLogger(__name__)

REORDER_GRACE_S = 0.02
"""How long a publication waits for an earlier one before the store is read."""

GIVE_UP_S = 10.0
"""How long a channel waits for what is missing while the store is away; then it starts over."""

PAGE = 100
"""Publications that are read at once."""

_RETRY_S = 0.1
_MAX_RETRY_S = 1.0
"""Between two tries of a store that is away: the first pause, doubled each time, and the longest."""

_MAX_READS = 32
"""Reads of the store that run at once in one node."""

_MAX_UNNUMBERED = 20_000
"""Publications without a number whose uids are remembered, about 200 bytes each: the first of an outage
are those that the store may have kept."""

_UNKNOWN_EPOCH = ""
"""Of a stream that was opened while the store was away."""

_Answer = TypeVar("_Answer")
_encode = msgspec.msgpack.Encoder().encode


class LiveStream(Stream[Publication]):
    """One open channel: its state, who uses it, and the task that fills its gap."""

    __slots__ = ("healing", "references", "tail")

    def __init__(self, epoch: str, offset: int, uid: str = "") -> None:
        super().__init__(epoch, offset, uid)
        self.references = 0
        self.healing: asyncio.Task[None] | None = None
        self.tail: Tail | None = None


class _Opening:
    """A channel whose position is being read."""

    __slots__ = ("references", "stirred", "task")

    def __init__(self) -> None:
        self.references = 0
        self.stirred = False  # a publication came meanwhile
        self.task: asyncio.Task[None] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Missed:
    """A page of what a subscriber has missed.

    Args:
        position: the store's newest.
        publications: marked as recovered, oldest first.
        sizes: of each in bytes, as it is kept.
        complete: whether nothing is missing between the position asked for and the first of them.
        entries: how many there were, with those that cannot be read and were left out.
    """

    position: Position
    publications: tuple[Publication, ...]
    sizes: tuple[int, ...]
    complete: bool
    entries: int


class Streams:
    """The open channels of one node; belongs to its event loop.

    Args:
        store: gives the history store.
        config: the settings.
        metrics: counts what is healed.
        deliver: hands a publication to the local subscribers.
        started_anew: tells the local subscribers of a channel that it goes on from a position.
    """

    def __init__(
        self,
        store: Callable[[], HistoryStore],
        config: Config,
        metrics: Metrics,
        deliver: Callable[[Publication], None],
        started_anew: Callable[[str, Position], None],
    ) -> None:
        self._store = store
        self._config = config
        self._metrics = metrics
        self._deliver = deliver
        self._started_anew = started_anew
        self._streams: dict[str, LiveStream] = {}
        self._opening: dict[str, _Opening] = {}
        self._reads: dict[tuple[str, Position, int], asyncio.Task[Missed]] = {}
        self._states: dict[str, asyncio.Task[Page]] = {}
        self._reading = asyncio.Semaphore(_MAX_READS)
        self._unnumbered: dict[str, None] = {}  # uids that were delivered without a position
        self._comparison = Comparison(
            self._ask, self._streams, self._incomplete, config.sync_interval
        )
        self._syncing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._end_waking: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self._streams)

    def __contains__(self, key: str) -> bool:
        return key in self._streams

    def position(self, key: str) -> Position | None:
        """Up to where an open channel was delivered here; None where it is not open.

        None too where ``STORE_FAILURES`` is "live" and the store has not yet said it.
        """
        stream = self._streams.get(key)
        return None if stream is None or stream.epoch == _UNKNOWN_EPOCH else stream.position

    def positions(self) -> Iterator[tuple[str, Position]]:
        """The open channels and their positions, for operators."""
        for key, stream in tuple(self._streams.items()):
            yield key, stream.position

    # -- open and close ----------------------------------------------------------------------------

    async def open(self, key: str) -> None:
        """Follow a channel; each ``open`` needs its ``close``. The group must be joined before.

        Once it returns, everything after ``position`` is delivered.

        Raises:
            Unavailable: the store is away, and the channel was not open.
        """
        stream = self._streams.get(key)
        if stream is not None:
            stream.references += 1
            return
        opening = self._opening.get(key)
        if opening is None:
            opening = self._opening[key] = _Opening()
            opening.task = self._spawn(self._open(key, opening), "realtime-open")
        opening.references += 1
        assert opening.task is not None
        try:
            # Several may wait for one read; a caller that is cancelled must not end it for the others.
            await asyncio.shield(opening.task)
        except asyncio.CancelledError:
            if not opening.task.done():
                opening.references -= 1
            elif not opening.task.cancelled() and opening.task.exception() is None:
                self.close(key)
            raise

    async def _open(self, key: str, opening: _Opening) -> None:
        begun = self._comparison.begin_opening()
        try:
            self._have_it_wake(self._store())
            stream = await self._read_position(key)
        finally:
            del self._opening[key]
        if opening.references <= 0:
            return
        stream.references = opening.references
        self._streams[key] = stream
        if self._comparison.opened(key, begun) or opening.stirred:
            stream.doubt()  # the store may be further on than what was read
        if stream.doubts:
            self._heal_soon(key, stream)
        if self._syncing is None:
            self._syncing = self._spawn(self._comparison.run(), "realtime-sync")

    async def _read_position(self, key: str) -> LiveStream:
        try:
            async with self._reading:
                page = await self._ask(lambda store: store.read(key, None, limit=1, reverse=True))
        except Unavailable:
            if self._config.store_failures != "live":
                raise
            stream = LiveStream(_UNKNOWN_EPOCH, 0)
            stream.doubt()
            return stream
        top = page.position
        newest = page.entries[0] if page.entries else None
        uid = newest.uid if newest is not None and newest.offset == top.offset else ""
        return LiveStream(top.epoch, top.offset, uid)

    def close(self, key: str) -> None:
        """Take one ``open`` back. Does nothing where the channel is not open."""
        stream = self._streams.get(key)
        if stream is None:
            return
        stream.references -= 1
        if stream.references > 0:
            return
        del self._streams[key]
        if stream.healing is not None:
            stream.healing.cancel()
        self._comparison.closed(key)

    async def stop(self) -> None:
        """End its tasks."""
        if self._end_waking is not None:
            self._end_waking()
            self._end_waking = None
        await end_tasks(*self._tasks)
        self._syncing = None

    # -- from a store that wakes its nodes ---------------------------------------------------------

    def _have_it_wake(self, store: HistoryStore) -> None:
        if self._end_waking is None and store.wakes_nodes:
            loop = asyncio.get_running_loop()

            def wake(key: str) -> None:  # from any thread
                loop.call_soon_threadsafe(self._woken, key)

            self._end_waking = store.watch(wake)

    def _woken(self, key: str) -> None:
        """The store has something new of a channel."""
        stream = self._streams.get(key)
        if stream is not None:
            self._doubt(key, grace=0.0)
        elif (opening := self._opening.get(key)) is not None:
            opening.stirred = True

    def pass_on(self, publication: Publication) -> None:
        """Deliver a publication that has no number; with ``STORE_FAILURES`` "live" the store was away.

        The store may have kept it nevertheless, and only its answer was lost: it is not delivered again.
        """
        if publication.uid and publication.key in self._streams:
            self._unnumbered[publication.uid] = None
            if len(self._unnumbered) > _MAX_UNNUMBERED:
                self._unnumbered.pop(next(iter(self._unnumbered)))
        self._deliver(publication)

    # -- from the layer ----------------------------------------------------------------------------

    def take(self, publication: Publication, position: Position) -> None:
        """Deliver a numbered publication when it is its turn; never waits."""
        key = publication.key
        stream = self._streams.get(key)
        if stream is None:
            opening = self._opening.get(key)
            if opening is not None:
                opening.stirred = True
            else:
                self._deliver(publication)
            return
        verdict = stream.take(position, publication.uid, publication.previous)
        if verdict is Verdict.DELIVER:
            self._out(stream, publication)
            if stream.held:
                for held in stream.released():
                    self._out(stream, held)
        elif verdict is Verdict.AHEAD:
            stream.hold(position.offset, publication.uid, publication, len(_encode(publication)))
            self._heal_soon(key, stream)
        elif verdict is Verdict.DOUBTFUL:
            self._heal_soon(key, stream)

    def _out(self, stream: LiveStream, publication: Publication) -> None:
        if stream.tail is not None:
            stream.tail.add(publication)
        self._deliver(publication)

    # -- healing -----------------------------------------------------------------------------------

    def _heal_soon(self, key: str, stream: LiveStream, grace: float = REORDER_GRACE_S) -> None:
        if stream.healing is None:
            stream.healing = self._spawn(self._heal(key, stream, grace), "realtime-heal")

    async def _heal(self, key: str, stream: LiveStream, grace: float) -> None:
        now = asyncio.get_running_loop().time
        healed = 0
        pause, given_up_at = _RETRY_S, now() + GIVE_UP_S
        try:
            await asyncio.sleep(grace)
            while stream.incomplete:
                try:
                    healed += await self._fill(key, stream)
                    pause, given_up_at = _RETRY_S, now() + GIVE_UP_S
                    continue
                except Unavailable as error:
                    logger.debug("What is missing cannot be read: %s", error.reason)
                except Exception:
                    logger.exception("Healing a channel failed", extra={"channel": key})
                if now() >= given_up_at and stream.top > stream.offset:
                    self._go_on(key, stream)
                    await asyncio.sleep(REORDER_GRACE_S)  # other gaps have waited as well
                    continue
                await asyncio.sleep(pause)
                pause = min(2 * pause, _MAX_RETRY_S)
        finally:
            stream.healing = None
            # Where the store wakes the nodes, reading it is the usual way.
            if healed and self._end_waking is None:
                self._metrics.healed_gaps += 1
                self._metrics.healed += healed
                self.sync_soon()  # the layer may have lost the newest of other channels too

    async def _fill(self, key: str, stream: LiveStream) -> int:
        """Read what is missing, one page, and deliver it; how many publications that were."""
        async with self._reading:
            doubts, asked_top, epoch = stream.doubts, stream.top, stream.epoch
            # The last one that was delivered is read too: its uid shows a fork.
            since = Position(epoch, max(0, stream.offset - 1))
            page = await self._ask(lambda store: store.read(key, since, limit=PAGE))
        filled = 0

        def deliver(entry: Entry) -> None:
            nonlocal filled
            if self._unnumbered.pop(entry.uid, self) is None:
                return  # it was delivered when the store seemed to be away
            filled += 1
            publication = _decode(page, entry)
            if publication is not None:
                self._out(stream, publication)

        waited = stream.held
        finding = stream.fill(asked_top, page.position, page.entries, deliver)
        filled -= waited - stream.held  # those had come over the layer
        if finding in (Finding.COMPLETE, Finding.MORE):
            stream.settle(doubts)
        for held in stream.released():
            self._out(stream, held)
        if finding is Finding.GONE:
            self._start_anew(key, stream, page.position)
        elif finding is Finding.FORKED:
            logger.warning("The history store has lost publications; a channel begins a new epoch")
            renewed = await self._ask(lambda store: store.renew_epoch(key, epoch))
            self._start_anew(key, stream, renewed)
        elif finding is Finding.OTHER_EPOCH:
            await self._begin_epoch(key, stream)
        return filled

    async def _begin_epoch(self, key: str, stream: LiveStream) -> None:
        """Follow the store into its new epoch: from its first publication, where all are kept."""
        page = await self._ask(lambda store: store.read(key, None, limit=PAGE))
        top = page.position
        whole = len(page.entries) == top.offset and (not top.offset or page.entries[0].offset == 1)
        if stream.epoch == _UNKNOWN_EPOCH:
            whole = False
        self._start_anew(key, stream, Position(top.epoch, 0) if whole else top)
        stream.learn(top)

    def _go_on(self, key: str, stream: LiveStream) -> None:
        """Deliver what there is: the store was away for too long to wait for what is missing."""
        position = stream.give_up()
        if position != stream.position:
            self._start_anew(key, stream, position)
            return
        stream.settle(stream.doubts)  # nothing is missing; the next comparison asks again
        for held in stream.released():
            self._out(stream, held)

    def _start_anew(self, key: str, stream: LiveStream, position: Position) -> None:
        self._metrics.resets += 1
        stream.start_anew(position)
        if stream.tail is not None:
            stream.tail.clear()
        self._started_anew(key, position)
        for held in stream.released():
            self._out(stream, held)

    # -- catching up -------------------------------------------------------------------------------

    def watch(self, key: str) -> Tail:
        """Keep what an open channel delivers from now on; each ``watch`` needs its ``unwatch``."""
        stream = self._streams[key]
        if stream.tail is None:
            stream.tail = Tail()
        stream.tail.users += 1
        return stream.tail

    def unwatch(self, key: str, tail: Tail) -> None:
        """Take one ``watch`` back."""
        tail.users -= 1
        stream = self._streams.get(key)
        if tail.users <= 0 and stream is not None and stream.tail is tail:
            stream.tail = None

    async def read(self, key: str, since: Position, *, limit: int = PAGE) -> Missed:
        """Read what follows a position; those who ask the same at the same time share the answer.

        Raises:
            Unavailable: the store is away.
        """
        asked = (key, since, limit)
        task = self._reads.get(asked)
        if task is None:
            task = self._reads[asked] = self._spawn(self._read(key, since, limit), "realtime-read")
            task.add_done_callback(lambda done: self._forget_read(asked, done))
        return await asyncio.shield(task)

    def _forget_read(self, asked: tuple[str, Position, int], task: asyncio.Task[Missed]) -> None:
        if self._reads.get(asked) is task:
            del self._reads[asked]

    async def _read(self, key: str, since: Position, limit: int) -> Missed:
        async with self._reading:
            page = await self._ask(lambda store: store.read(key, since, limit=limit))
        decoded = [(_decode(page, one, recovered=True), len(one.body)) for one in page.entries]
        readable = [(one, size) for one, size in decoded if one is not None]
        return Missed(
            page.position,
            publications=tuple(one for one, _ in readable),
            sizes=tuple(size for _, size in readable),
            complete=page.complete,
            entries=len(page.entries),
        )

    async def state(self, key: str) -> Page:
        """Read a channel's state; those who ask at the same time share the answer.

        Raises:
            Unavailable: the store is away.
        """
        task = self._states.get(key)
        if task is None:
            task = self._states[key] = self._spawn(
                self._ask(lambda store: store.state(key)), "realtime-state"
            )
            task.add_done_callback(lambda _: self._states.pop(key, None))
        return await asyncio.shield(task)

    async def reach(self, key: str, position: Position) -> None:
        """Have an open channel delivered up to a position that the store has, or start over."""
        stream = self._streams.get(key)
        if stream is None:
            return
        if stream.learn(position):
            self._heal_soon(key, stream, grace=0.0)
            assert stream.healing is not None
            await asyncio.wait([stream.healing], timeout=self._config.store_timeout)

    # -- synchronising -----------------------------------------------------------------------------

    def sync_soon(self) -> None:
        """Something may have been lost: compare with the store at once."""
        self._comparison.soon()

    async def sync(self) -> None:
        """Compare the positions of what has changed with the store, and read what is missing.

        Raises:
            Unavailable: the store is away.
        """
        await self._comparison.compare()

    def _doubt(self, key: str, grace: float = REORDER_GRACE_S) -> None:
        stream = self._streams.get(key)
        if stream is not None:
            stream.doubt()
            self._heal_soon(key, stream, grace)

    def _incomplete(self, key: str) -> None:
        self._heal_soon(key, self._streams[key])

    # -- inside ------------------------------------------------------------------------------------

    async def _ask(
        self, request: Callable[[HistoryStore], Coroutine[Any, Any, _Answer]]
    ) -> _Answer:
        store = self._store()
        try:
            return await ask(store, request(store), self._config.store_timeout)
        except Unavailable:
            self._metrics.store_errors += 1
            raise

    def _spawn(self, coroutine: Coroutine[Any, Any, _Answer], name: str) -> asyncio.Task[_Answer]:
        # In a context of its own: not in the trace, language or tenant of the client that came first.
        task = asyncio.get_running_loop().create_task(
            coroutine, name=name, context=contextvars.Context()
        )
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            error = task.exception()  # retrieved, so that asyncio does not warn
            if error is not None and not isinstance(error, Unavailable):
                logger.error("%s failed", task.get_name(), exc_info=error)


def _decode(page: Page, entry: Entry, *, recovered: bool = False) -> Publication | None:
    publication = decode_entry(page.position.epoch, entry)
    if publication is None or not recovered:
        return publication
    return msgspec.structs.replace(publication, recovered=True)
