"""Runs a channel's hooks, sync and async, so that a slow hook does not delay the others.

Sync hooks run in a bounded thread pool: in asgiref's one shared thread, a slow hook would stall
every connection. Async hooks run on the event loop, each in its own thread-sensitive context, so
that their ORM calls do not share one thread either. Database connections are closed as Django
closes them at the end of a request.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import close_old_connections, connections
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
        self._pool = (
            ThreadPoolExecutor(threads, thread_name_prefix=f"realtime-{name}") if threads else None
        )

    async def run(self, hook: Callable[..., Any], *args: Any) -> Any:
        """Call ``hook`` and return what it returns.

        Raises:
            RequestTimeout: the hook took longer than the timeout. A sync hook continues in its
                thread; its result is ignored.
        """
        try:
            async with asyncio.timeout(self._timeout) as deadline:
                if inspect.iscoroutinefunction(hook):
                    return await self._run_async(hook, args)
                result = await self._run_sync(hook, args)
                if inspect.iscoroutine(result):
                    # An async hook in a sync wrapper: a coroutine left here would count as a true result.
                    return await self._run_async(lambda: result, ())
                return result
        except TimeoutError:
            if not deadline.expired():  # raised by the hook itself
                raise
            raise RequestTimeout(f"not done within {self._timeout:g} seconds") from None

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
        if self._pool is None:
            return await sync_to_async(hook)(*args)
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, context.run, _call, hook, args)

    def close(self) -> None:
        """Let the threads end after their current hooks, without waiting for them."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


def _call(hook: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    close_old_connections()
    try:
        return hook(*args)
    finally:
        close_old_connections()
