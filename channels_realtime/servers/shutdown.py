"""Detects that the server is about to stop, early enough to drain its connections.

ASGI reports this too late: Daphne has no lifespan protocol and cancels its applications on SIGTERM;
uvicorn closes its connections with 1012 before it tells the application. So this module hooks into
the server:

- Daphne: a trigger before Twisted's shutdown, which waits for the drain;
- uvicorn, also as gunicorn's worker: its main loop, which asks ten times a second whether to exit
  (``Server.on_tick``), goes on until the drain is done. That covers every reason: SIGTERM, SIGINT,
  ``--limit-max-requests`` and gunicorn's ``--max-requests``. The heartbeat of gunicorn's workers
  is in the same loop.

For other servers there is only lifespan's shutdown, and leases, which expire.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from typing import Any

from .uvicorn import running_uvicorn

logger = logging.getLogger(__name__)

SAME_STOP_S = 1.0
"""Signals within this time are one stop: Ctrl+C and systemd tell a whole process group, and the parent
of uvicorn's workers tells its workers once more."""

BeginDrain = Callable[[], "asyncio.Future[None]"]


def on_stop(begin_drain: BeginDrain) -> Callable[[], None]:
    """Begin the drain when the server of the running loop is told to stop.

    Args:
        begin_drain: called on the event loop. The server waits for the future that it returns.

    Returns:
        A function that removes the hook.
    """
    reactor = _running_reactor()
    if reactor is not None:
        return _before_reactor_stops(reactor, begin_drain)
    return _before_uvicorn_stops(begin_drain)


def _running_reactor() -> Any | None:
    if "daphne.server" not in sys.modules:
        return None
    reactor = sys.modules.get("twisted.internet.reactor")
    return reactor if getattr(reactor, "running", False) else None


def _before_reactor_stops(reactor: Any, begin_drain: BeginDrain) -> Callable[[], None]:
    from twisted.internet.defer import Deferred  # Daphne installs Twisted

    def leave() -> Any:
        return Deferred.fromFuture(asyncio.ensure_future(begin_drain()))

    trigger = reactor.addSystemEventTrigger("before", "shutdown", leave)

    def forget() -> None:
        try:
            reactor.removeSystemEventTrigger(trigger)
        except (ValueError, KeyError, TypeError):
            logger.debug("The reactor has already removed the trigger")

    return forget


def _before_uvicorn_stops(begin_drain: BeginDrain) -> Callable[[], None]:
    server = running_uvicorn()
    if server is None:
        return lambda: None
    exits = server.on_tick
    time = asyncio.get_running_loop().time
    drain: asyncio.Future[None] | None = None
    told, settled_at = 1, 0.0

    async def on_tick(counter: int) -> bool:
        """Whether to exit now."""
        nonlocal drain, told, settled_at
        if not await exits(counter):
            return False
        if drain is None:
            server.should_exit = True  # or it would log the limit of requests at each tick
            drain = begin_drain()
            settled_at = time() + SAME_STOP_S
        signals = len(getattr(server, "_captured_signals", ()))
        if time() < settled_at:
            told = max(told, signals)
        # A later signal means: do not wait.
        return drain.done() or server.force_exit or signals > told

    server.on_tick = on_tick

    def forget() -> None:
        if server.on_tick is on_tick:
            server.on_tick = exits

    return forget
