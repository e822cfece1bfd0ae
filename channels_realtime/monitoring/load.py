"""How busy a node is: rates and the event loop's lag, over the last ten seconds."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple

from ..nodes.node import Node, Service

_WINDOW_S = 10.0
_INTERVAL_S = 0.5


class Rates(NamedTuple):
    """What happens in a second."""

    messages_in: float = 0.0
    delivered: float = 0.0
    connected: float = 0.0


class LoadMonitor(Service):
    """Measures a node twice a second."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self._timer: asyncio.TimerHandle | None = None
        self._due: float | None = None
        self._lags: deque[float] = deque(maxlen=int(_WINDOW_S / _INTERVAL_S))
        self._counts: deque[tuple[float, Rates]] = deque(maxlen=self._lags.maxlen)

    async def start(self) -> None:
        """Measure now and from now on."""
        if self._timer is None:
            self._measure()

    async def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _measure(self) -> None:
        loop, metrics = self._node.loop, self._node.metrics
        now = loop.time()
        if self._due is not None:
            self._lags.append(max(0.0, now - self._due))
        counts = Rates(metrics.messages_in, metrics.delivered, metrics.connected)
        self._counts.append((now, counts))
        self._due = now + _INTERVAL_S
        self._timer = loop.call_at(self._due, self._measure)

    @property
    def loop_lag(self) -> float:
        """The longest time that the loop was late lately, in seconds."""
        return max(self._lags, default=0.0)

    def rates(self) -> Rates:
        """Messages in, deliveries and connections in a second."""
        if len(self._counts) < 2:
            return Rates()
        (start, before), (end, after) = self._counts[0], self._counts[-1]
        seconds = max(0.001, end - start)
        return Rates(*((new - old) / seconds for new, old in zip(after, before, strict=True)))
