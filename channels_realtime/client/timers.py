"""Timers without a clock of their own: what is due, and when to look again."""

from __future__ import annotations

import itertools
from collections.abc import Callable


class Timers:
    """Callbacks at a time.

    Args:
        clock: the time in seconds, from any beginning.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._handles = itertools.count(1)
        self._due: dict[int, tuple[float, Callable[[], None]]] = {}

    def later(self, delay_s: float, callback: Callable[[], None]) -> int:
        """Call back after a delay, unless the handle that this returns is cancelled."""
        handle = next(self._handles)
        self._due[handle] = (self._clock() + delay_s, callback)
        return handle

    def cancel(self, handle: int | None) -> None:
        """Forget a callback; one that has run, or None, is nothing to forget."""
        if handle is not None:
            self._due.pop(handle, None)

    def cancel_all(self) -> None:
        """Forget every callback."""
        self._due.clear()

    @property
    def next_at(self) -> float | None:
        """When ``run`` has something to do."""
        return min((at for at, _ in self._due.values()), default=None)

    def run(self) -> None:
        """Run what is due, the earliest first."""
        now = self._clock()
        due = sorted((at, handle) for handle, (at, _) in self._due.items() if at <= now)
        for _, handle in due:
            found = self._due.pop(handle, None)
            if found is not None:  # an earlier one has cancelled it
                found[1]()
