"""One thread for a node's own database work, a piece at a time."""

from __future__ import annotations

import asyncio
import threading

import pytest
from asgiref.sync import async_to_sync
from django.db import connections

from channels_realtime.runtime.database import Clerk


def where() -> str:
    return threading.current_thread().name


async def test_work_is_done_in_a_thread_of_its_own_and_returns():
    clerk = Clerk()
    assert await clerk.run(divmod, 7, 2) == (3, 1)
    assert {await clerk.run(where) for _ in range(5)} == {"realtime-clerk_0"}
    clerk.close()


async def test_work_is_done_in_its_order_though_it_is_given_at_once():
    clerk, done = Clerk(), []
    gate = threading.Event()
    first = asyncio.create_task(clerk.run(gate.wait, 10))
    others = [asyncio.create_task(clerk.run(done.append, n)) for n in range(20)]
    await asyncio.sleep(0)
    assert done == []
    gate.set()
    await asyncio.gather(first, *others)
    assert done == list(range(20))
    clerk.close()


async def test_failure_is_the_callers_and_the_clerk_goes_on():
    clerk = Clerk()
    with pytest.raises(ZeroDivisionError):
        await clerk.run(divmod, 1, 0)
    assert await clerk.run(divmod, 1, 1) == (1, 0)
    clerk.close()


async def test_work_in_progress_is_done_though_nobody_waits_for_it_any_more():
    clerk, done = Clerk(), []
    gate, begun = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        gate.wait(10)
        done.append("first")

    task = asyncio.create_task(clerk.run(work))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()
    await clerk.run(done.append, "second")
    assert done == ["first", "second"]
    clerk.close()


async def test_clerk_that_is_closed_ends_its_connections_and_its_thread():
    clerk = Clerk()
    closed, threads = threading.Event(), []

    def work() -> None:
        threads.append(threading.current_thread())
        connections["default"].close = closed.set  # type: ignore[method-assign]

    await clerk.run(work)
    closed.clear()  # one of no age is closed after each piece of work
    clerk.close()
    clerk.close()
    await asyncio.to_thread(threads[0].join, 10)
    assert not threads[0].is_alive()
    assert closed.is_set()
    with pytest.raises(RuntimeError):
        await clerk.run(where)


def test_clerk_without_a_thread_works_in_the_callers():
    clerk = Clerk(own_thread=False)

    async def run() -> str:
        return await clerk.run(where)

    assert async_to_sync(run)() == where()
    clerk.close()


@pytest.mark.django_db(transaction=True)
async def test_connection_is_closed_after_each_piece_of_work():
    clerk = Clerk()
    found = []

    def work() -> None:
        database = connections["default"]
        with database.cursor() as cursor:
            cursor.execute("SELECT 1")
        found.append(database)

    await clerk.run(work)
    assert found[0].connection is None
    clerk.close()
