"""Clocks, passed as arguments so that tests need not wait."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A source of time. Deadlines are monotonic, so that changes of the wall clock do not move them."""

    def monotonic(self) -> float:
        """Return monotonic seconds."""
        ...

    def time(self) -> float:
        """Return seconds since the epoch, for the wire and the database."""
        ...


class SystemClock:
    """The system's clocks."""

    def monotonic(self) -> float:
        """Return ``time.monotonic()``, the event loop's clock."""
        return time.monotonic()

    def time(self) -> float:
        """Return ``time.time()``."""
        return time.time()
