"""Measures this machine each second and publishes to `host/metrics`."""

import os
import platform
import time

import psutil

from channels_realtime import publish

from .recent import remember
from .sample import Sample


class HostMetricsFeed:
    interval_s = 1.0

    def __init__(self) -> None:
        # psutil measures CPU use since the thread's last call: this one sets the start.
        psutil.cpu_percent()
        self._network = (time.monotonic(), *network_bytes())

    def publish(self) -> None:
        sample = self.measure()
        remember(sample)
        publish("host/metrics", sample, event="sample")

    def measure(self) -> Sample:
        memory = psutil.virtual_memory()
        before_s, received_before, sent_before = self._network
        self._network = now_s, received, sent = (time.monotonic(), *network_bytes())
        seconds = max(now_s - before_s, 0.001)
        return Sample(
            at=round(time.time(), 3),
            cpu_percent=psutil.cpu_percent(),
            memory_percent=memory.percent,
            memory_used_bytes=memory.total - memory.available,
            memory_total_bytes=memory.total,
            # A counter that fell (a network interface was removed) counts as no traffic.
            received_bytes_per_s=max(0, round((received - received_before) / seconds)),
            sent_bytes_per_s=max(0, round((sent - sent_before) / seconds)),
            host=platform.node(),
            process=os.getpid(),
        )


def network_bytes() -> tuple[int, int]:
    """Bytes received and sent since the machine started; zeros where the system does not tell."""
    counters = psutil.net_io_counters()
    return (counters.bytes_recv, counters.bytes_sent) if counters else (0, 0)
