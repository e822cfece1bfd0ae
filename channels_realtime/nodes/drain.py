"""Draining: a node closes its connections in batches, so that their clients reconnect elsewhere.

In: the server's signal to stop, or ``manage.py realtime_drain``. From then on the node accepts no new
connections and is not ready. Every client gets ``closing`` 4503 with its own ``retry_after``, so that
thousands do not come back in the same second. The drain ends when all are gone or the grace is over.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Mapping

from ..config import Config
from ..protocol.codes import CloseCode
from .member import Member

logger = logging.getLogger(__name__)

_LOOK_S = 0.02
"""How often to check whether the last connection has gone."""


class Drain:
    """The drain of one node; begins at most once.

    Args:
        config: the settings.
        connections: the node's, by id; shrinks as they go.
    """

    def __init__(self, config: Config, connections: Mapping[str, Member]) -> None:
        self._config = config
        self._connections = connections
        self._task: asyncio.Task[None] | None = None

    @property
    def begun(self) -> bool:
        """Whether no new connections are accepted."""
        return self._task is not None

    def begin(self) -> asyncio.Task[None]:
        """Start the drain; return the task that ends with it."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="realtime-drain")
        return self._task

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._config.drain_grace
        count = len(self._connections)
        logger.info("Draining: %d connections are sent elsewhere", count)
        leaving = list(self._connections.values())
        batch = self._config.drain_batch
        # However many there are, all are told in half the grace, and have the rest to go.
        pause = min(
            self._config.drain_batch_interval,
            self._config.drain_grace / 2 / max(1, math.ceil(count / batch)),
        )
        for start in range(0, count, batch):
            for connection in leaving[start : start + batch]:
                self._send_away(connection)
            await asyncio.sleep(pause)
        while self._connections and loop.time() < deadline:
            for connection in list(self._connections.values()):
                if not connection.closed:  # it was between its handshake and its registration
                    self._send_away(connection)
            await asyncio.sleep(_LOOK_S)
        left = list(self._connections.values())
        for connection in left:
            connection.drop()
        logger.info("Drained: %d connections left, %d were dropped", count - len(left), len(left))

    def _send_away(self, connection: Member) -> None:
        connection.close(
            CloseCode.GOING_AWAY,
            "going away",
            retry_after=round(random.uniform(0.0, self._config.drain_retry_window), 3),
        )
