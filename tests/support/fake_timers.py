"""Timers for the core of the Python client, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable


class FakeHandle:
    """A callback at a time."""

    def __init__(self, timers: FakeTimers, at: float, callback: Callable[[], None]) -> None:
        self._timers = timers
        self.at = at
        self.callback = callback

    def cancel(self) -> None:
        self._timers.forget(self)


class FakeTimers:
    """What is due, and when to look again."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._handles: list[FakeHandle] = []

    def later(self, delay_s: float, callback: Callable[[], None]) -> FakeHandle:
        handle = FakeHandle(self, self._clock() + delay_s, callback)
        self._handles.append(handle)
        return handle

    def forget(self, handle: FakeHandle) -> None:
        if handle in self._handles:
            self._handles.remove(handle)

    @property
    def next_at(self) -> float | None:
        """When ``run`` has something to do."""
        return min((handle.at for handle in self._handles), default=None)

    def run(self) -> None:
        """Run what is due, the earliest first."""
        now = self._clock()
        due = [handle for handle in self._handles if handle.at <= now]
        for handle in sorted(due, key=lambda one: one.at):
            if handle in self._handles:  # else an earlier one has cancelled it
                self.forget(handle)
                handle.callback()
