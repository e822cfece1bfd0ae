"""Compares the positions of a node's open channels with the history store, to find what the layer lost.

In: the open channels. Out: those of them that are behind, or in doubt. What is lost at the end of a
channel shows in no later publication, so the store is asked every ``SYNC_INTERVAL``, and at once after
the layer failed. It is asked what has changed in the buckets of the channels, which costs what has
changed: 100,000 channels that are quiet cost one request.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any

from ..errors import Unavailable
from ..recovery.stream import Stream
from ..stores.history.base import HistoryStore, Newest, bucket_of

logger = logging.getLogger(__name__)

PAUSE_S = 0.5
"""Between two comparisons at least, where one is called for sooner than usual."""

_AT_ONCE = 1_000
"""Positions that are asked for at once."""

Ask = Callable[[Callable[[HistoryStore], Coroutine[Any, Any, Any]]], Awaitable[Any]]
"""Asks the store, within a time-out; raises ``Unavailable``."""


class Comparison:
    """The comparison of one node.

    Args:
        ask: asks the store.
        streams: the open channels.
        incomplete: is told of a channel that is behind, or in doubt.
        interval: seconds between two comparisons.
    """

    def __init__(
        self,
        ask: Ask,
        streams: Mapping[str, Stream[Any]],
        incomplete: Callable[[str], None],
        interval: float,
    ) -> None:
        self._ask = ask
        self._streams = streams
        self._incomplete = incomplete
        self._interval = interval
        self._buckets: Counter[int] = Counter()
        self._seen: dict[int, int] = {}
        self._due = asyncio.Event()
        self._running = False
        self._finished = 0

    def begin_opening(self) -> int:
        """A channel's position is to be read; give the result to ``opened``."""
        return self._finished

    def opened(self, key: str, begun: int) -> bool:
        """A channel is open; whether it may have changed unnoticed since its position was read."""
        self._buckets[bucket_of(key)] += 1
        return self._running or self._finished != begun

    def closed(self, key: str) -> None:
        """A channel is open no longer."""
        bucket = bucket_of(key)
        self._buckets[bucket] -= 1
        if self._buckets[bucket] <= 0:
            del self._buckets[bucket]
            self._seen.pop(bucket, None)

    def soon(self) -> None:
        """Something may have been lost: compare at once."""
        self._due.set()

    async def run(self) -> None:
        """Compare at intervals, for ever; a store that is away is asked again the next time."""
        pause = min(PAUSE_S, self._interval)
        while True:
            try:
                async with asyncio.timeout(self._interval - pause):
                    await self._due.wait()
            except TimeoutError:
                pass
            self._due.clear()
            try:
                await self.compare()
            except Unavailable as error:
                logger.debug("Positions cannot be compared: %s", error.reason)
            except Exception:
                logger.exception("Comparing positions with the history store failed")
            await asyncio.sleep(pause)

    async def compare(self) -> None:
        """Compare what has changed since the last time.

        Raises:
            Unavailable: the store is away.
        """
        if not self._buckets:
            return
        self._running = True
        try:
            await self._compare_changes()
        finally:
            self._running = False
            self._finished += 1

    async def _compare_changes(self) -> None:
        seen = {bucket: self._seen.get(bucket, 0) for bucket in self._buckets}
        changes = await self._ask(lambda store: store.changes(seen))
        unsure = self._learn(changes.streams.items())
        if changes.unknown:
            unknown = [key for key in self._streams if bucket_of(key) in changes.unknown]
            unsure += await self._compare_each(unknown)
        # Below what was delivered here: because that was a moment later, or because the store lost it.
        await self._compare_each(unsure, sure=True)
        for bucket, sequence in changes.sequences.items():
            if bucket in self._buckets:
                self._seen[bucket] = sequence

    async def _compare_each(self, keys: list[str], *, sure: bool = False) -> list[str]:
        """Ask for the newest of channels.

        Args:
            keys: the channels.
            sure: whether a position below what was delivered before this question counts.

        Returns:
            the channels that are further on here.
        """
        unsure: list[str] = []
        for first in range(0, len(keys), _AT_ONCE):
            asked = keys[first : first + _AT_ONCE]
            before = {key: self._streams[key].offset for key in asked if key in self._streams}
            found = await self._ask(lambda store, asked=asked: store.newest(asked))  # type: ignore[misc]
            known: list[tuple[str, Newest]] = []
            for key, newest in zip(asked, found, strict=True):
                if newest is None or (sure and newest.position.offset < before.get(key, 0)):
                    self._doubt(key)
                else:
                    known.append((key, newest))
            unsure += self._learn(known)
            await asyncio.sleep(0)  # a store in memory does not wait, and there may be many
        return unsure

    def _learn(self, newest: Iterable[tuple[str, Newest]]) -> list[str]:
        """Note what the store has as its newest; return the channels that are further on here."""
        unsure = []
        for key, found in newest:
            position = found.position
            stream = self._streams.get(key)
            if stream is None:
                continue
            if position.epoch == stream.epoch and position.offset < stream.offset:
                unsure.append(key)
            elif stream.learn(position, found.uid):
                self._incomplete(key)
        return unsure

    def _doubt(self, key: str) -> None:
        stream = self._streams.get(key)
        if stream is not None:
            stream.doubt()
            self._incomplete(key)
