"""Counts what a node does and writes it down once a minute, for the admin's overview.

In: the node's counters, the ends of its connections, refusals, and how late publications come. Out:
one ``SampleRecord`` a node and interval, by the node's database, behind everybody's back. A database
that is down is waited out: the next sample is the longer.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from django.apps import apps
from django.conf import settings
from django.db import router
from django.utils import timezone

from ..config import Config
from ..runtime.clock import Clock
from ..runtime.database import DatabaseThread

logger = logging.getLogger(__name__)

LATENCY_BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Upper bounds of the buckets of latency, in seconds; one more bucket takes what is later.

1, 2, 5 in each decade: an estimate is off by a factor of 2.5 at most, and samples of any node and
interval add up. Below is the time that one process needs by itself, above is an outage.
"""

LATENCY_BUCKETS = len(LATENCY_BOUNDS_S) + 1

MAX_KEYS = 50
"""Reasons counted one by one in a sample; a consumer may close with 5,000 codes. The rest are
``OTHER``."""

OTHER = "other"

_MAX_KEY_LENGTH = 50
_PRUNE_INTERVAL_S = 600.0
_STOP_TIMEOUT_S = 1.0
"""How long a node that stops waits for its last sample to be written."""

_INTEGER_MOST = 2**31 - 1
_BIG_INTEGER_MOST = 2**63 - 1


class Host(Protocol):
    """What the sampler asks of its node."""

    id: str
    config: Config
    clock: Clock
    database: DatabaseThread
    connected_total: int
    messages_in: int
    throttled: int

    @property
    def connections(self) -> Mapping[str, Any]: ...
    @property
    def hub(self) -> Any: ...


class Counters(NamedTuple):
    """The node's running totals at one moment."""

    connected: int
    messages_in: int
    messages_out: int
    throttled: int


class _Tally:
    """What was counted since a moment."""

    __slots__ = ("before", "denials", "disconnects", "latencies", "since")

    def __init__(self, since: float, before: Counters) -> None:
        self.since = since  # monotonic seconds
        self.before = before
        self.latencies = [0] * LATENCY_BUCKETS
        self.disconnects: dict[str, int] = {}
        self.denials: dict[str, int] = {}

    def take_in(self, earlier: _Tally) -> None:
        """Add what an earlier one counted, which could not be written."""
        self.since, self.before = earlier.since, earlier.before
        self.latencies = [a + b for a, b in zip(self.latencies, earlier.latencies, strict=True)]
        for key, count in earlier.disconnects.items():
            _count(self.disconnects, key, count)
        for key, count in earlier.denials.items():
            _count(self.denials, key, count)


def _count(counts: dict[str, int], key: str, more: int = 1) -> None:
    if key not in counts:
        # As any database takes it in JSON: no NUL, no lone surrogates.
        key = key[:_MAX_KEY_LENGTH].replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
        if key not in counts and len(counts) >= MAX_KEYS - 1:
            key = OTHER
    counts[key] = counts.get(key, 0) + more


class MetricsRecorder:
    """The samples of one node; the node starts it with the first connection.

    Args:
        node: what it counts.
    """

    def __init__(self, node: Host) -> None:
        self._node = node
        # A node's own counters begin at nothing, as it does.
        self._tally = _Tally(node.clock.monotonic(), Counters(0, 0, 0, 0))
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._next_prune = 0.0
        self._failing = False
        self.failures = 0
        """Attempts that the database did not take."""

    # -- from the node -----------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to write samples; does nothing where it has."""
        if self._task is None and not self._stopping.is_set():
            self._tally.since = self._node.clock.monotonic()
            self._task = asyncio.create_task(self._run(), name="realtime-samples")

    async def stop(self) -> None:
        """Write what is left, if the database takes it within a second, and no more."""
        self._stopping.set()
        if self._task is None:
            return
        task, self._task = self._task, None
        _, late = await asyncio.wait({task}, timeout=_STOP_TIMEOUT_S)
        if late:
            logger.info("The node's last sample was not written in time")
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def count_disconnect(self, end: str) -> None:
        """A connection ended; ``end`` as ``Connection.end``."""
        _count(self._tally.disconnects, end)

    def count_denial(self, reason: str) -> None:
        """A handshake or a credential was refused; ``reason`` as the signal ``denied`` has it."""
        _count(self._tally.denials, reason)

    def observe_latency(self, seconds: float) -> None:
        """A publication came, so long after it was published.

        Below 0, where the clocks of two hosts disagree, counts as at once.
        """
        self._tally.latencies[bisect_left(LATENCY_BOUNDS_S, seconds)] += 1

    # -- the task ----------------------------------------------------------------------------------

    async def _run(self) -> None:
        interval = self._node.config.sample_interval
        while not self._stopping.is_set():
            try:
                async with asyncio.timeout(interval):
                    await self._stopping.wait()
            except TimeoutError:
                await self._write()
                await self._prune()
        await self._write()

    async def _write(self) -> None:
        """Write one sample; what the database does not take goes into the next one."""
        node = self._node
        tally = self._tally
        now = node.clock.monotonic()
        counters = Counters(
            node.connected_total, node.messages_in, node.hub.delivered, node.throttled
        )
        row = _row(node, tally, counters, now)
        self._tally = _Tally(now, counters)
        try:
            await node.database.run(_insert, row)
        except Exception as error:
            self._tally.take_in(tally)
            self._failed(error)
            return
        if self._failing:
            self._failing = False
            logger.info("Samples are written again")

    async def _prune(self) -> None:
        now = self._node.clock.monotonic()
        if now < self._next_prune:
            return
        self._next_prune = now + _PRUNE_INTERVAL_S
        before = _moment(self._node.clock.time() - self._node.config.sample_retention)
        try:
            await self._node.database.run(_delete_before, before)
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        log = logger.debug if self._failing else logger.warning
        log("Samples could not be written: %s", type(error).__name__)
        self._failing = True


def _row(node: Host, tally: _Tally, counters: Counters, now: float) -> dict[str, Any]:
    connected, messages_in, messages_out, throttled = (
        after - before for after, before in zip(counters, tally.before, strict=True)
    )
    return {
        "node_id": node.id,
        "at": _moment(node.clock.time()),
        "seconds": now - tally.since,
        "connections": len(node.connections),
        "connected": min(connected, _INTEGER_MOST),
        "messages_in": min(messages_in, _BIG_INTEGER_MOST),
        "messages_out": min(messages_out, _BIG_INTEGER_MOST),
        "latency_counts": tally.latencies if any(tally.latencies) else [],
        "disconnects": tally.disconnects,
        "denials": tally.denials,
        "throttled": min(throttled, _INTEGER_MOST),
    }


def _moment(timestamp: float) -> datetime.datetime:
    moment = datetime.datetime.fromtimestamp(timestamp, datetime.UTC)
    return moment if settings.USE_TZ else timezone.make_naive(moment)


# -- in the database's thread -------------------------------------------------------------------------
# The model by name: this module is imported by a site's asgi.py, before the apps are loaded.


def _insert(row: dict[str, Any]) -> None:
    apps.get_model("channels_realtime", "SampleRecord")._default_manager.create(**row)


def _delete_before(moment: datetime.datetime) -> None:
    model = apps.get_model("channels_realtime", "SampleRecord")
    using = router.db_for_write(model)
    # Raw: the collector would read every row first, to find what refers to it.
    model._base_manager.using(using).filter(at__lt=moment)._raw_delete(using)
