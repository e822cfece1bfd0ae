"""Samples this machine each second and publishes to `host/metrics`."""

import os
import platform
import time
from typing import Any

import psutil
from django.core.cache import cache

from channels_realtime import publish
from demo.feed import Feed

RECENT_KEY = "host:recent"
RECENT_SAMPLES = 180  # three minutes, what a page draws


def recent_samples() -> list[dict[str, Any]]:
    """The last minutes, oldest first."""
    return cache.get(RECENT_KEY) or []


class HostFeed(Feed):
    job = "host-metrics"
    interval_s = 1.0

    def begin(self) -> None:
        # The first call only sets the mark that the next one, of the same thread, counts from.
        psutil.cpu_percent()
        self._network = (time.monotonic(), *network_bytes())

    def collect(self) -> dict[str, Any]:
        memory = psutil.virtual_memory()
        before_s, received_before, sent_before = self._network
        self._network = now_s, received, sent = (time.monotonic(), *network_bytes())
        seconds = max(now_s - before_s, 0.001)
        return {
            "at": round(time.time(), 3),
            "cpu_percent": psutil.cpu_percent(),
            "memory_percent": memory.percent,
            "memory_used_bytes": memory.total - memory.available,
            "memory_total_bytes": memory.total,
            # A counter that starts anew (an interface that went away) counts as silence.
            "received_bytes_per_s": max(0, round((received - received_before) / seconds)),
            "sent_bytes_per_s": max(0, round((sent - sent_before) / seconds)),
            "host": platform.node(),
            "process": os.getpid(),
        }

    def deliver(self, news: Any) -> None:
        samples = [*recent_samples(), news][-RECENT_SAMPLES:]
        cache.set(RECENT_KEY, samples, timeout=RECENT_SAMPLES)
        publish("host/metrics", news, event="sample")


def network_bytes() -> tuple[int, int]:
    """Bytes received and sent since the machine started; zeros where it does not say."""
    counters = psutil.net_io_counters()
    return (counters.bytes_recv, counters.bytes_sent) if counters else (0, 0)
