"""Detects that the server is about to stop, early enough to drain its connections.

ASGI reports this too late: Daphne has no lifespan protocol and cancels its applications on SIGTERM;
uvicorn closes its connections with 1012 before it tells the application. So this module hooks into
the server:

- Daphne: a trigger before Twisted's shutdown, which waits for the drain;
- uvicorn: a SIGTERM handler that calls uvicorn's own handler after the drain.

For other servers there is only lifespan's shutdown, and leases, which expire.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

logger = logging.getLogger(__name__)

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
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    original = signal.getsignal(signal.SIGTERM)
    server = getattr(original, "__self__", None)
    if not callable(original) or not type(server).__module__.startswith("uvicorn"):
        return lambda: None
    loop = asyncio.get_running_loop()
    told = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal told
        if told:  # a second signal means: do not wait
            original(number, frame)
            return
        told = True
        loop.call_soon_threadsafe(begin)

    def begin() -> None:
        begin_drain().add_done_callback(lambda _: original(signal.SIGTERM, None))

    signal.signal(signal.SIGTERM, stop)

    def forget() -> None:
        if signal.getsignal(signal.SIGTERM) is stop:
            signal.signal(signal.SIGTERM, original)

    return forget
