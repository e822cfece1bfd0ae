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
import functools
import os
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import Any, TypeVar

from ..errors import ImproperUse, Unavailable

_Value = TypeVar("_Value")

_LOOP_S = 1.0
"""How much longer than the time-out to wait for the event loop."""

_LOOKUP_THREADS = 4
"""As many names of Redis servers are looked up at once."""


class BackgroundLoop:
    """Runs coroutines on one event loop in a thread, started at the first use; one a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._join: Callable[[], Any] | None = None

    def submit(self, coroutine: Coroutine[Any, Any, _Value]) -> concurrent.futures.Future[_Value]:
        """Run the coroutine on the background loop.

        Raises:
            ImproperUse: threads were replaced by something that no event loop can run beside.
        """
        try:
            loop = self._running_loop()
        except BaseException:
            coroutine.close()
            raise
        return asyncio.run_coroutine_threadsafe(coroutine, loop)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._loop.is_closed():
                started: concurrent.futures.Future[asyncio.AbstractEventLoop]
                started = concurrent.futures.Future()
                self._join = start_thread(functools.partial(self._run, started))
                self._loop = started.result()
            return self._loop

    @staticmethod
    def _run(started: concurrent.futures.Future[asyncio.AbstractEventLoop]) -> None:
        loop = asyncio.new_event_loop()  # here, because gevent's sockets belong to their thread
        asyncio.set_event_loop(loop)
        if is_gevent():
            loop.set_default_executor(_RealThreads())
        started.set_result(loop)
        try:
            loop.run_forever()
        finally:
            loop.close()

    def stop(self) -> None:
        """End the loop and its thread; the next use starts others. A process that exits need not."""
        with self._lock:
            loop, join = self._loop, self._join
            self._loop = self._join = None
        if loop is not None and join is not None:
            loop.call_soon_threadsafe(loop.stop)
            join()

    def forget(self) -> None:
        """Make a new loop at the next use: after a fork the thread stayed in the parent."""
        self._lock = threading.Lock()
        self._loop = self._join = None


class _RealThreads(concurrent.futures.ThreadPoolExecutor):
    """What a loop beside gevent looks up names with.

    The threads of its base class would be greenlets, and a process would wait for them for ever at its exit.
    """

    def __init__(self) -> None:
        super().__init__(1)
        self._pool = import_module("gevent.threadpool").ThreadPool(_LOOKUP_THREADS)

    def submit(
        self, function: Callable[..., Any], /, *args: Any, **options: Any
    ) -> concurrent.futures.Future[Any]:
        """Run a function in one of gevent's own threads."""
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def run() -> None:
            try:
                result = function(*args, **options)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        self._pool.spawn(run)
        return future


def start_thread(target: Callable[[], Any]) -> Callable[[], Any]:
    """Run a function in a thread of the operating system, which does not keep the process alive.

    gevent makes a thread a greenlet. A loop that runs in one is the running loop of every other
    greenlet too, and Django then refuses all their queries.

    Returns:
        what waits until it has ended.

    Raises:
        ImproperUse: eventlet has replaced the threads. Its locks do not work between real ones.
    """
    require_threads()
    if is_gevent():
        join: Callable[[], Any] = import_module("gevent.threadpool").ThreadPool(1).spawn(target).get
        return join
    thread = threading.Thread(target=target, name="realtime-publisher", daemon=True)
    thread.start()
    return thread.join


def is_gevent() -> bool:
    """Whether gevent has replaced this process's threads."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and monkey.is_module_patched("threading")


def require_threads() -> None:
    """Refuse a process in which no event loop can run beside the code that calls.

    Raises:
        ImproperUse: eventlet has replaced the threads.
    """
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is not None and patcher.is_monkey_patched("thread"):
        raise ImproperUse(
            "eventlet has replaced this process's threads, and an event loop cannot run beside it."
            " Use another kind of worker: gthread or gevent in gunicorn, prefork, threads or gevent"
            " in Celery"
        )


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


def run(coroutine: Coroutine[Any, Any, _Value], timeout: float) -> _Value:
    """Run a coroutine as ``submit`` does, and wait for what it returns.

    Args:
        coroutine: keeps to the time itself.
        timeout: in seconds; the event loop has ``_LOOP_S`` more.

    Raises:
        Unavailable: the event loop is busy, or has ended.
    """
    timeout = max(timeout, 0.0) + _LOOP_S
    future = submit(coroutine)
    try:
        return future.result(timeout)
    except TimeoutError:
        future.cancel()
        raise Unavailable(f"the event loop did not answer within {timeout:g} seconds") from None
    except concurrent.futures.CancelledError:
        raise Unavailable("the event loop did not answer, it has ended") from None


def refuse_event_loop(function: str, twin: str) -> None:
    """Refuse to block a running event loop.

    As in Django, ``DJANGO_ALLOW_ASYNC_UNSAFE`` allows it, for notebooks and test tools that run sync
    code on a loop; except on a loop that serves, which would wait for itself.

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
