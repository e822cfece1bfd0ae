"""Runs a node's own database work in a separate thread, one task at a time.

The hook threads are for the site's hooks. A database that is slow or down must delay neither hooks
nor connections, and no message waits for this thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

from asgiref.sync import sync_to_async
from django.db import close_old_connections, connections

_Value = TypeVar("_Value")
_Arguments = TypeVarTuple("_Arguments")


class DatabaseThread:
    """One thread, with at most one database connection for each alias.

    Args:
        name: of the thread, as stack traces show it.
        own_thread: False uses asgiref's thread-sensitive thread, which under ``async_to_sync`` is
            the caller's thread (for tests inside a transaction).
    """

    def __init__(self, name: str = "database", *, own_thread: bool = True) -> None:
        self._pool = (
            ThreadPoolExecutor(1, thread_name_prefix=f"realtime-{name}") if own_thread else None
        )
        self._closed = False

    async def run(self, work: Callable[[*_Arguments], _Value], *arguments: *_Arguments) -> _Value:
        """Run one task, after the tasks that were submitted before it."""
        if self._pool is None:
            return await sync_to_async(work)(*arguments)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, _work, work, *arguments)

    def close(self) -> None:
        """Accept no more tasks. The thread finishes its tasks, closes its connections and ends."""
        if self._pool is not None and not self._closed:
            self._closed = True
            self._pool.submit(connections.close_all)
            self._pool.shutdown(wait=False)


def _work(work: Callable[[*_Arguments], _Value], *arguments: *_Arguments) -> _Value:
    close_old_connections()
    try:
        return work(*arguments)
    finally:
        close_old_connections()
