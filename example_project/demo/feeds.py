"""Runs the feeds: what the example publishes at a fixed interval, each in a thread.

`manage.py run_feeds` starts them in a process of their own, and `demo.asgi` in the demo's server
process. Two processes that run them would publish everything twice.
"""

import logging
import threading
import time
from typing import Protocol

from break_it.feed import TickFeed
from host_metrics.feed import HostMetricsFeed
from stocks.feed import PriceFeed

logger = logging.getLogger(__name__)


class Feed(Protocol):
    """What publishes. It is created and called in one thread of its own."""

    interval_s: float

    def publish(self) -> None:
        """Called every `interval_s` seconds; an error is logged, and the next call comes anyway."""


FEEDS: tuple[type[Feed], ...] = (HostMetricsFeed, PriceFeed, TickFeed)


def start_feeds(stopped: threading.Event) -> list[threading.Thread]:
    """Start a thread for each feed. All of them end once `stopped` is set."""
    threads = [
        threading.Thread(target=run_feed, args=(feed, stopped), name=feed.__name__, daemon=True)
        for feed in FEEDS
    ]
    for thread in threads:
        thread.start()
    return threads


def run_feed(feed_class: type[Feed], stopped: threading.Event) -> None:
    feed = feed_class()
    failing = False
    next_call_s = time.monotonic() + feed.interval_s
    while not stopped.wait(max(0.0, next_call_s - time.monotonic())):
        # After a long pause (a sleeping laptop), continue from now instead of catching up.
        next_call_s = max(next_call_s, time.monotonic() - feed.interval_s) + feed.interval_s
        try:
            feed.publish()
        except Exception:
            # Redis may be away for a while. Log the first failure only, not one each interval.
            if not failing:
                logger.exception("%s failed; it tries again every interval.", feed_class.__name__)
            failing = True
        else:
            if failing:
                logger.warning("%s works again.", feed_class.__name__)
            failing = False
