"""Time, injected so that tests need not wait for it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from. Deadlines are monotonic: a step of the wall clock moves none."""

    def monotonic(self) -> float:
        """Seconds of a clock that never steps."""
        ...

    def time(self) -> float:
        """Seconds since the epoch, for what the wire and the database carry."""
        ...


class SystemClock:
    """The computer's own clocks."""

    def monotonic(self) -> float:
        """``time.monotonic()``, the event loop's own clock."""
        return time.monotonic()

    def time(self) -> float:
        """``time.time()``."""
        return time.time()
