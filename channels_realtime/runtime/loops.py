"""From any thread to an event loop that sends.

In a process that serves connections that is the server's loop: the in-memory layer is not safe from
another thread, and from another loop it reaches no connection. In any other process (WSGI, Celery, the shell)
it is one background loop, kept running: a new loop for each call would open a Redis connection for
each call.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import os
import threading
import weakref
from collections.abc import Coroutine
from typing import Any, TypeVar

from ..errors import ImproperUse

_Value = TypeVar("_Value")


class BackgroundLoop:
    """Runs coroutines on one event loop in a thread, started at the first use; one a process."""

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
        """End the loop and its thread; the next use starts others. A process that exits need not."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    def forget(self) -> None:
        """Make a new loop at the next use: after a fork the thread stayed in the parent."""
        self._lock = threading.Lock()
        self._loop = self._thread = None


background_loop = BackgroundLoop()

_serving: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
_lock = threading.Lock()


def add_serving_loop(loop: asyncio.AbstractEventLoop) -> None:
    """From now on ``submit`` runs coroutines on this loop, as long as it runs."""
    with _lock:
        _serving.add(loop)


def remove_serving_loop(loop: asyncio.AbstractEventLoop) -> None:
    """The loop serves no connections any more."""
    with _lock:
        _serving.discard(loop)


def serving_loop() -> asyncio.AbstractEventLoop | None:
    """The running loop of this process that serves connections; None where nothing is served."""
    with _lock:
        return next((loop for loop in _serving if loop.is_running()), None)


def submit(coroutine: Coroutine[Any, Any, _Value]) -> concurrent.futures.Future[_Value]:
    """Run a coroutine on the loop that serves, else on the background loop; from any thread.

    It runs in a context of its own: what it starts outlives the caller's request, and asgiref would
    run it in that request's thread, or refuse to.
    """
    loop = serving_loop()
    if loop is None:
        return contextvars.Context().run(background_loop.submit, coroutine)
    return contextvars.Context().run(asyncio.run_coroutine_threadsafe, coroutine, loop)


def refuse_event_loop(function: str, twin: str) -> None:
    """Refuse to block a running event loop.

    As in Django, ``DJANGO_ALLOW_ASYNC_UNSAFE`` allows it, for notebooks and test tools that run sync
    code on a loop; except on a loop that serves, which would wait for itself.

    Args:
        function: the sync function that was called.
        twin: the async one.

    Raises:
        ImproperUse: called on a running event loop.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    if loop in _serving or not os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE"):
        raise ImproperUse(
            f"{function}() would block the event loop it runs on: await {twin}() instead"
        )


def _forget() -> None:
    global _lock
    _lock = threading.Lock()
    _serving.clear()
    background_loop.forget()


if hasattr(os, "register_at_fork"):  # a child's event loops are not its parent's
    os.register_at_fork(after_in_child=_forget)
