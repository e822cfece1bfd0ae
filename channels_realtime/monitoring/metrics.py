"""Writes a node's metrics down once a minute, for the admin's overview.

In: the node's ``Metrics``. Out: one ``SampleRecord`` for each node and interval, in the node's database
thread. While the database is down nothing is lost: the next sample covers the longer time.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from typing import Any

from django.apps import apps
from django.db import router

from ..nodes.metrics import Metrics, difference
from ..nodes.node import Node, Service
from ..runtime.database import QUIET, own_transaction
from ..runtime.moments import moment_of
from ..runtime.tasks import end_tasks

logger = logging.getLogger(__name__)

_PRUNE_INTERVAL_S = 600.0
_STOP_TIMEOUT_S = 1.0
"""How long a node that stops waits for its last sample to be written."""

_INTEGER_MAX = 2**31 - 1
_BIG_INTEGER_MAX = 2**63 - 1


class MetricsRecorder(Service):
    """The samples of one node."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self._since = node.clock.monotonic()
        self._before = Metrics()  # as of the last sample
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._next_prune = 0.0
        self._failing = False
        self.failures = 0
        """Attempts that the database did not take."""

    async def start(self) -> None:
        """Begin to write samples."""
        if self._task is None and not self._stopping.is_set():
            self._since = self._node.clock.monotonic()
            self._task = asyncio.create_task(self._run(), name="realtime-samples")

    async def stop(self) -> None:
        """Write the last sample, if the database takes it within a second."""
        self._stopping.set()
        if self._task is None:
            return
        task, self._task = self._task, None
        _, late = await asyncio.wait({task}, timeout=_STOP_TIMEOUT_S)
        if late:
            logger.info("The node's last sample was not written in time")
            await end_tasks(task)

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
        """Write one sample; what the database does not take is part of the next one."""
        node = self._node
        now, metrics = node.clock.monotonic(), node.metrics.copy()
        row = {
            "node_id": node.id,
            "at": moment_of(node.clock.time()),
            "seconds": now - self._since,
            "connections": len(node.connections),
            **_changes(metrics, self._before),
        }
        try:
            await node.database.run(_insert, row)
        except Exception as error:
            self._failed(error)
            return
        self._since, self._before = now, metrics
        if self._failing:
            self._failing = False
            logger.info("Samples are written again")

    async def _prune(self) -> None:
        now = self._node.clock.monotonic()
        if now < self._next_prune:
            return
        self._next_prune = now + _PRUNE_INTERVAL_S
        before = moment_of(self._node.clock.time() - self._node.config.sample_retention)
        try:
            await self._node.database.run(_delete_before, before)
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        told = self._failing or isinstance(error, QUIET)
        log = logger.debug if told else logger.warning
        log("Samples could not be written: %s", type(error).__name__)
        self._failing = True


def _changes(after: Metrics, before: Metrics) -> dict[str, Any]:
    latencies = [new - old for new, old in zip(after.latencies, before.latencies, strict=True)]
    return {
        "connected": min(after.connected - before.connected, _INTEGER_MAX),
        "messages_in": min(after.messages_in - before.messages_in, _BIG_INTEGER_MAX),
        "messages_out": min(after.delivered - before.delivered, _BIG_INTEGER_MAX),
        "latency_counts": latencies if any(latencies) else [],
        "disconnects": difference(after.disconnects, before.disconnects),
        "denials": difference(after.denials, before.denials),
        **{
            name: min(getattr(after, name) - getattr(before, name), _INTEGER_MAX)
            for name in ("throttled", "recovered", "unrecovered", "healed_gaps")
        },
    }


# -- in the database's thread -------------------------------------------------------------------------
# The model by name: this module is imported by a site's asgi.py, before the apps are loaded.


def _insert(row: dict[str, Any]) -> None:
    model = apps.get_model("channels_realtime", "SampleRecord")
    with own_transaction(router.db_for_write(model)):
        model._default_manager.create(**row)


def _delete_before(moment: datetime.datetime) -> None:
    model = apps.get_model("channels_realtime", "SampleRecord")
    using = router.db_for_write(model)
    # Raw: the collector would read every row first, to find what refers to it.
    with own_transaction(using):
        model._base_manager.using(using).filter(at__lt=moment)._raw_delete(using)
