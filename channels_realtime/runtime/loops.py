"""From any thread to the event loop that sends.

In a process that serves connections that is the server's loop: the in-memory layer is not safe from
another thread, and reaches nobody from another loop. In any other process (WSGI, Celery, the shell)
it is one background loop, kept warm: a new loop a call would open a Redis connection a call.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

_Value = TypeVar("_Value")


class BackgroundLoop:
    """Runs coroutines on one background loop, started at the first use; one a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def submit(self, coroutine: Coroutine[Any, Any, _Value]) -> concurrent.futures.Future[_Value]:
        """Run the coroutine on the background loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._running_loop())

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._loop.is_closed():
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._run, args=(self._loop,), name="realtime-publisher", daemon=True
                )
                self._thread.start()
            return self._loop

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            loop.close()

    def stop(self) -> None:
        """End the loop and its thread; the next use starts others. A process need not: it may just exit."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    def forget(self) -> None:
        """In a forked child: the thread of the loop stayed in the parent, so make a new one."""
        self._lock = threading.Lock()
        self._loop = self._thread = None


background_loop = BackgroundLoop()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=background_loop.forget)
