"""A response that lasts keeps no thread of its request."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from asgiref.sync import ThreadSensitiveContext, sync_to_async

from channels_realtime.runtime.request_thread import release_request_thread


async def ended(thread: threading.Thread) -> bool:
    """Whether a thread ends."""
    await asyncio.to_thread(thread.join, 10.0)
    return not thread.is_alive()


async def test_thread_of_a_request_ends_and_the_request_gets_another():
    async with ThreadSensitiveContext():
        first = await sync_to_async(threading.current_thread)()
        release_request_thread()
        assert await ended(first)
        assert await sync_to_async(threading.current_thread)() is not first


async def test_thread_is_let_go_once_and_only_where_there_is_one():
    release_request_thread()
    async with ThreadSensitiveContext():
        release_request_thread()
        release_request_thread()


async def test_thread_that_somebody_else_owns_stays():
    with ThreadPoolExecutor(1) as pool:
        try:
            context = ThreadSensitiveContext(executor=pool)
        except TypeError:  # an older asgiref
            return
        async with context:
            first = await sync_to_async(threading.current_thread)()
            release_request_thread()
            assert await sync_to_async(threading.current_thread)() is first
