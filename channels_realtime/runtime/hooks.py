"""Running a channel's hooks, sync and async, without letting one hurt the others.

Sync hooks run in a bounded pool of threads of our own: asgiref's one shared thread would let a slow
hook stall every connection. Async hooks run on the event loop, in a thread-sensitive context of
their own, so that the ORM calls of different hooks do not queue behind one thread either. Database
connections are closed as Django closes them at the end of a request.
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
    """The wire error of what a hook raised, or None for what nobody planned."""
    if isinstance(error, ImproperUse):
        return None  # the site's own mistake: to be logged, not to be sent
    if isinstance(error, RealtimeError):
        return error
    if isinstance(error, PermissionDenied):
        return Forbidden(str(error) or None)
    if isinstance(error, Http404):
        return UnknownChannel()  # its text may say what exists
    if isinstance(error, ValidationError):
        return BadPayload(" ".join(error.messages))
    return None


class HookRunner:
    """Runs hooks.

    Args:
        threads: size of the pool for sync hooks; 0 runs them in asgiref's thread-sensitive thread,
            which under ``async_to_sync`` is the caller's own (for tests inside a transaction).
        timeout: seconds a hook may take.
        max_concurrent: async hooks that may run at once; others wait.
        name: of its threads, for whoever looks at a stack.
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
            RequestTimeout: it took longer than the timeout (a sync hook's thread goes on, though
                nobody waits for it).
        """
        try:
            async with asyncio.timeout(self._timeout) as deadline:
                if inspect.iscoroutinefunction(hook):
                    return await self._run_async(hook, args)
                result = await self._run_sync(hook, args)
                if inspect.iscoroutine(result):
                    # Async in disguise (a decorator's wrapper): a coroutine is true whatever it says.
                    return await self._run_async(lambda: result, ())
                return result
        except TimeoutError:
            if not deadline.expired():  # the hook's own
                raise
            raise RequestTimeout(f"not done within {self._timeout:g} seconds") from None

    async def _run_async(self, hook: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        async with self._async_hooks, ThreadSensitiveContext() as context:
            try:
                return await hook(*args)
            finally:
                # Only a hook that touched the ORM has made a thread. It ends here, so that its
                # connections must too, persistent ones included: the last thing that it does. A
                # cancellation (a second one, where the client is closed and then goes) stops the
                # wait for that and not the thing, as it would inside sync_to_async.
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
        """Let the threads end once they have nothing to do; waits for none."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


def _call(hook: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    close_old_connections()
    try:
        return hook(*args)
    finally:
        close_old_connections()
