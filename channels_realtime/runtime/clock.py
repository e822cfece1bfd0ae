"""The clock, passed as an argument so that tests, with one of their own, need not wait."""

from __future__ import annotations

import time


class Clock:
    """The system's time. Deadlines are monotonic, so that changes of the wall clock do not move them."""

    def monotonic(self) -> float:
        """Return monotonic seconds, those of the event loop."""
        return time.monotonic()

    def time(self) -> float:
        """Return seconds since the epoch, for the wire and the database."""
        return time.time()
