"""One timer for all deadlines of a process: a heap instead of a task per connection."""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
import logging
from typing import Protocol

from .clock import Clock

logger = logging.getLogger(__name__)


EARLY_S = 0.25
"""How much earlier than its deadline something may be called that allows it."""


class Timed(Protocol):
    """Something with a deadline."""

    @property
    def early(self) -> bool:
        """Whether it may be called up to ``EARLY_S`` before its deadline, together with others.

        Where that is too early for it, it returns the same deadline.
        """
        ...

    def due(self, now: float) -> float | None:
        """Act on the deadline; returns the next one in monotonic seconds, or None."""
        ...


class Timers:
    """Calls ``due`` when a deadline has passed.

    A deadline that moves to a later time is only noticed when the old one passes. So a busy
    connection, which moves its deadline with each message, costs nothing. Those that are due at about
    the same time are called together: to wake the process for each of thousands of idle connections
    would cost more than what is then done.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._deadlines: dict[Timed, float] = {}
        self._heap: list[tuple[float, int, Timed]] = []
        self._numbers = itertools.count()
        self._handle: asyncio.TimerHandle | None = None
        self._armed_for = 0.0

    def __len__(self) -> int:
        return len(self._deadlines)

    def set(self, timed: Timed, deadline: float | None) -> None:
        """Call ``timed.due`` at ``deadline`` at the latest; it may be called earlier."""
        if deadline is None:
            return
        current = self._deadlines.get(timed)
        if current is not None and current <= deadline:
            return
        self._push(timed, deadline)
        self._arm()

    def postpone(self, timed: Timed, deadline: float | None) -> None:
        """Call ``timed.due`` at a later deadline, and no more at the one that was set.

        For a deadline that moves seldom: this costs a little, and saves a call that finds nothing to do.
        """
        if deadline is not None:
            self._push(timed, deadline)
            self._arm()

    def remove(self, timed: Timed) -> None:
        """Never call ``timed`` again."""
        self._deadlines.pop(timed, None)
        if len(self._heap) > 64 and len(self._heap) > 4 * len(self._deadlines):
            self._heap = [
                entry for entry in self._heap if self._deadlines.get(entry[2]) == entry[0]
            ]
            heapq.heapify(self._heap)

    def close(self) -> None:
        """Remove all deadlines, and stop the timer."""
        self._deadlines.clear()
        self._heap.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _push(self, timed: Timed, deadline: float) -> None:
        self._deadlines[timed] = deadline
        heapq.heappush(self._heap, (deadline, next(self._numbers), timed))

    def _arm(self) -> None:
        if not self._heap:
            return
        earliest = self._heap[0][0]
        if self._handle is not None:
            if self._armed_for <= earliest:
                return
            self._handle.cancel()
        delay = max(0.0, earliest - self._clock.monotonic())
        self._armed_for = earliest
        # All connections share it, so it runs in the context of none.
        self._handle = asyncio.get_running_loop().call_later(
            delay, self._fire, context=contextvars.Context()
        )

    def _fire(self) -> None:
        self._handle = None
        now = self._clock.monotonic()
        for deadline, timed in self._take(now):
            if self._deadlines.get(timed) != deadline:
                continue  # removed by one before it
            del self._deadlines[timed]
            try:
                following = timed.due(now)
            except Exception:
                logger.exception("A timer failed")
                continue
            if following is not None and timed not in self._deadlines:
                # Not at once: a deadline in the past would never let this loop end.
                self._push(timed, max(following, now + 0.001))
        self._arm()

    def _take(self, now: float) -> list[tuple[float, Timed]]:
        """Take what is called now from the heap, in the order of the deadlines."""
        taken: list[tuple[float, Timed]] = []
        too_early: list[tuple[float, int, Timed]] = []
        while self._heap and self._heap[0][0] <= now + EARLY_S:
            entry = heapq.heappop(self._heap)
            deadline, _, timed = entry
            if self._deadlines.get(timed) != deadline:
                continue  # removed, or set again
            if deadline <= now or timed.early:
                taken.append((deadline, timed))
            else:
                too_early.append(entry)
        for entry in too_early:
            heapq.heappush(self._heap, entry)
        return taken
