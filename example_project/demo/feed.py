"""A thread that publishes at a steady pace, in one of the serving processes.

Each process samples, so that whoever takes over goes on without a jump; only the holder of the
lease publishes.
"""

import atexit
import logging
import threading
import time

from .lease import Lease

logger = logging.getLogger(__name__)


class Feed(threading.Thread):
    """The contract: `collect` runs every `interval_s` in every process and returns what is new;
    `deliver` publishes it, in the process that holds the lease.
    """

    job = ""
    interval_s = 1.0
    # Three missed beats and another process takes over.
    lease_beats = 3

    def __init__(self) -> None:
        super().__init__(name=f"feed-{self.job}", daemon=True)
        self._lease = Lease(self.job, duration_s=max(2, round(self.lease_beats * self.interval_s)))
        self._stopped = threading.Event()
        self._failing = False

    def begin(self) -> None:
        """Called once, in the thread, a beat before the first `collect`."""

    def collect(self) -> object:
        raise NotImplementedError

    def deliver(self, news: object) -> None:
        raise NotImplementedError

    def run(self) -> None:
        atexit.register(self.stop)
        self.begin()
        next_beat_s = time.monotonic() + self.interval_s
        while not self._stopped.wait(max(0.0, next_beat_s - time.monotonic())):
            # After a long stop (a sleeping laptop) go on from now, without catching up.
            next_beat_s = max(next_beat_s, time.monotonic() - self.interval_s) + self.interval_s
            self._beat()

    def _beat(self) -> None:
        try:
            news = self.collect()
            if self._lease.hold():
                self.deliver(news)
        except Exception:
            # Redis may be away for a while: said once, and again only after it was back.
            if not self._failing:
                logger.exception("The feed %s is failing; it tries again each beat.", self.job)
            self._failing = True
        else:
            if self._failing:
                logger.warning("The feed %s is back.", self.job)
            self._failing = False

    def stop(self) -> None:
        """End the thread, and hand over to another process without its waiting."""
        self._stopped.set()
        try:
            self._lease.release()
        except Exception as error:  # the process ends: the lease runs out by itself
            logger.debug("The lease of %s was not released: %s", self.job, error)
