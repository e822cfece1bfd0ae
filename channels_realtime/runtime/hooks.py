"""Runs a channel's hooks, sync and async, so that a slow hook does not delay the others.

Sync hooks run in a bounded thread pool: in asgiref's one shared thread, a slow hook would stall
every connection. Those that wait at one moment share the way to a thread and back. Async hooks run on
the event loop, each in its own thread-sensitive context, so that their ORM calls do not share one
thread either. Database connections are closed as Django closes them at the end of a request.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import close_old_connections, connections
from django.db.backends.signals import connection_created
from django.http import Http404

from ..errors import (
    BadPayload,
    Forbidden,
    ImproperUse,
    RealtimeError,
    RequestTimeout,
    UnknownChannel,
)


def translate(error: Exception) -> RealtimeError | None:
    """Return the wire error for a hook's exception, or None for an unexpected exception."""
    if isinstance(error, ImproperUse):
        return None  # a bug in the site's code: logged, not sent
    if isinstance(error, RealtimeError):
        return error
    if isinstance(error, PermissionDenied):
        return Forbidden(str(error) or None)
    if isinstance(error, Http404):
        return UnknownChannel()  # its text may reveal what exists
    if isinstance(error, ValidationError):
        return BadPayload(" ".join(error.messages))
    return None


class HookRunner:
    """Runs hooks.

    Args:
        threads: number of threads for sync hooks. 0 runs them in asgiref's thread-sensitive thread,
            which under ``async_to_sync`` is the caller's thread (for tests inside a transaction).
        timeout: how many seconds a hook may take.
        max_concurrent: how many async hooks may run at once; the others wait.
        name: of the threads, as stack traces show it.
    """

    def __init__(
        self, *, threads: int, timeout: float, max_concurrent: int, name: str = "hook"
    ) -> None:
        self._timeout = timeout
        self._async_hooks = asyncio.Semaphore(max_concurrent)
        self._threads = HookThreads(threads, name) if threads else None
        self._deadlines: dict[asyncio.Future[Any], float] = {}  # of what runs in threads, in order
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, hook: Callable[..., Any], *args: Any) -> Any:
        """Call ``hook`` and return what it returns.

        Raises:
            RequestTimeout: the hook took longer than the timeout. A sync hook continues in its
                thread; its result is ignored.
        """
        deadline = asyncio.get_running_loop().time() + self._timeout
        returned = self.start(hook, *args)
        if returned is not None:
            try:
                result = await returned
            finally:
                del self._deadlines[returned]
            if not inspect.iscoroutine(result):
                return result
            # An async hook in a sync wrapper: a coroutine left here would count as a true result.
            hook, args = _returning(result), ()
        try:
            async with asyncio.timeout_at(deadline) as limit:
                if inspect.iscoroutinefunction(hook):
                    return await self._run_async(hook, args)
                result = await self._run_sync(hook, args)
                if inspect.iscoroutine(result):
                    return await self._run_async(_returning(result), ())
                return result
        except TimeoutError:
            if not limit.expired():  # raised by the hook itself
                raise
            raise self._took_too_long() from None

    def start(self, hook: Callable[..., Any], *args: Any) -> asyncio.Future[Any] | None:
        """Have a sync hook called in a thread, for a caller without a task.

        Returns:
            what is done when the hook is, or has taken too long; ``outcome`` is to be asked for it then,
            also if it was cancelled. None where nothing was done, because the hook is async, or there
            are no threads.
        """
        if self._threads is None or inspect.iscoroutinefunction(hook):
            return None
        loop = asyncio.get_running_loop()
        returned = self._threads.submit(hook, args)
        self._deadlines[returned] = deadline = loop.time() + self._timeout
        if self._timer is None:
            self._watch(loop, deadline)
        return returned

    def outcome(self, returned: asyncio.Future[Any]) -> Any:
        """What a hook that was started has returned, which may be a coroutine.

        Raises:
            RequestTimeout: as ``run``; otherwise what the hook raised.
        """
        del self._deadlines[returned]
        return returned.result()

    def _watch(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        # All hooks share the timer, so it has the context of none.
        self._timer = loop.call_at(deadline, self._give_up, loop, context=contextvars.Context())

    def _give_up(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the wait for hooks that have not returned by their deadlines."""
        self._timer = None
        now = loop.time()
        for returned, deadline in self._deadlines.items():
            if deadline > now:
                self._watch(loop, deadline)
                return
            if not returned.done():
                returned.set_exception(self._took_too_long())

    def _took_too_long(self) -> RequestTimeout:
        return RequestTimeout(f"not done within {self._timeout:g} seconds")

    async def _run_async(self, hook: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        async with self._async_hooks, ThreadSensitiveContext() as context:
            try:
                return await hook(*args)
            finally:
                # Only a hook that used the ORM has a thread. The thread ends here, so its last task
                # closes its database connections, persistent ones included. A cancellation here
                # (the second, if the client is closed and then leaves) stops the wait and not the
                # task; with sync_to_async it would stop both.
                executor = SyncToAsync.context_to_thread_executor.pop(context, None)
                if executor is not None:
                    closed = executor.submit(connections.close_all)
                    executor.shutdown(wait=False)
                    await asyncio.wait([asyncio.wrap_future(closed)])

    async def _run_sync(self, hook: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Run a sync hook where there are no threads of our own."""
        return await sync_to_async(hook)(*args)

    def close(self) -> None:
        """Let the threads end after their current hooks, without waiting for them."""
        if self._timer is not None:
            self._timer.cancel()
        if self._threads is not None:
            self._threads.close()


def _returning(coroutine: Any) -> Callable[[], Any]:
    async def hook() -> Any:
        return await coroutine

    return hook


class _Call:
    """A hook that is to be called, and the future of what it returns."""

    __slots__ = ("args", "context", "error", "hook", "result", "returned")

    def __init__(
        self, hook: Callable[..., Any], args: tuple[Any, ...], returned: asyncio.Future[Any]
    ) -> None:
        self.hook = hook
        self.args = args
        self.context = contextvars.copy_context()
        self.returned = returned
        self.result: Any = None
        self.error: BaseException | None = None


class HookThreads:
    """The threads of sync hooks, for one event loop.

    To wake a thread, and the loop afterwards, costs several times what a quick hook does. So a thread
    that is awake takes one hook after the other. Before each it has the next thread woken if more wait,
    so that hooks that block run beside each other; and what it has done before the loop has looked is
    handed over together.

    Args:
        threads: how many hooks may run at once.
        name: of the threads, as stack traces show it.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"realtime-{name}")
        self._free = threads
        self._lock = threading.Lock()
        self._waiting: deque[_Call] = deque()
        self._waking = False  # a thread that has not taken its first hook yet
        self._done: deque[_Call] = deque()
        self._told = False  # the loop is about to look at what is done
        self._loop: asyncio.AbstractEventLoop | None = None

    def submit(self, hook: Callable[..., Any], args: tuple[Any, ...]) -> asyncio.Future[Any]:
        """Have a hook called, after those that were submitted before it, and return what it will return.

        A hook that has not begun when its future is done, as by a cancellation, is not called.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._told = loop, False
        returned: asyncio.Future[Any] = loop.create_future()
        with self._lock:
            self._waiting.append(_Call(hook, args, returned))
            wakes = self._is_to_wake()
        if wakes:
            self._pool.submit(self._work)
        return returned

    def close(self) -> None:
        """Call no more hooks: those that wait are cancelled. The threads end after their current ones."""
        with self._lock:
            given_up = list(self._waiting)
            self._waiting.clear()
        if self._loop is not None and not self._loop.is_closed():
            for call in given_up:
                call.returned.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _is_to_wake(self) -> bool:
        """Whether another thread is to be woken; under the lock."""
        if self._waking or not self._free or not self._waiting:
            return False
        self._waking = True
        self._free -= 1
        return True

    def _work(self) -> None:
        """Call hooks until none waits; in a thread."""
        with self._lock:
            self._waking = False
        while True:
            with self._lock:
                if not self._waiting:
                    self._free += 1
                    return
                call = self._waiting.popleft()
                wakes = self._is_to_wake()
            if wakes:
                try:
                    self._pool.submit(self._work)
                except RuntimeError:  # it was closed: this thread does what is left
                    with self._lock:
                        self._waking = False
                        self._free += 1
            if call.returned.done():  # given up
                continue
            try:
                call.result = call.context.run(_call, call.hook, call.args)
            except StopIteration as error:  # which no future can raise
                call.error = RuntimeError("a hook raised StopIteration")
                call.error.__cause__ = error
            except BaseException as error:
                call.error = error
            self._done.append(call)
            del call
            if not self._told:
                self._told = True
                self._tell()

    def _tell(self) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._hand_over)
        except RuntimeError:  # the loop is closed: nobody waits
            self._done.clear()

    def _hand_over(self) -> None:
        self._told = False  # first: what is done from now on is told again
        while self._done:
            call = self._done.popleft()
            if call.returned.done():
                continue
            if call.error is None:
                call.returned.set_result(call.result)
            else:
                call.returned.set_exception(call.error)


class _Thread(threading.local):
    has_connections = False
    """Whether the thread has ever opened a database connection."""


_thread = _Thread()


def _remember_connection(**kwargs: Any) -> None:
    _thread.has_connections = True


connection_created.connect(_remember_connection, dispatch_uid="channels_realtime.hooks")


def _call(hook: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    if _thread.has_connections:
        close_old_connections()
    try:
        return hook(*args)
    finally:
        if _thread.has_connections:
            close_old_connections()
