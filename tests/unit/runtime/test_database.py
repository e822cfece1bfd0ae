"""One thread for a node's own database work, a piece at a time."""

from __future__ import annotations

import asyncio
import threading

import pytest
from asgiref.sync import async_to_sync
from django.db import connections

from channels_realtime.runtime.database import DatabaseThread


def where() -> str:
    return threading.current_thread().name


async def test_work_is_done_in_a_thread_of_its_own_and_returns():
    database = DatabaseThread()
    assert await database.run(divmod, 7, 2) == (3, 1)
    assert {await database.run(where) for _ in range(5)} == {"realtime-database_0"}
    database.close()


async def test_work_is_done_in_its_order_though_it_is_given_at_once():
    database, done = DatabaseThread(), []
    gate = threading.Event()
    first = asyncio.create_task(database.run(gate.wait, 10))
    others = [asyncio.create_task(database.run(done.append, n)) for n in range(20)]
    await asyncio.sleep(0)
    assert done == []
    gate.set()
    await asyncio.gather(first, *others)
    assert done == list(range(20))
    database.close()


async def test_failure_is_the_callers_and_the_thread_goes_on():
    database = DatabaseThread()
    with pytest.raises(ZeroDivisionError):
        await database.run(divmod, 1, 0)
    assert await database.run(divmod, 1, 1) == (1, 0)
    database.close()


async def test_work_in_progress_is_done_though_its_caller_was_cancelled():
    database, done = DatabaseThread(), []
    gate, begun = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        gate.wait(10)
        done.append("first")

    task = asyncio.create_task(database.run(work))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()
    await database.run(done.append, "second")
    assert done == ["first", "second"]
    database.close()


async def test_database_thread_that_is_closed_ends_with_its_connections():
    database = DatabaseThread()
    closed, threads = threading.Event(), []

    def work() -> None:
        threads.append(threading.current_thread())
        connections["default"].close = closed.set  # type: ignore[method-assign]

    await database.run(work)
    closed.clear()  # one of no age is closed after each piece of work
    database.close()
    database.close()
    await asyncio.to_thread(threads[0].join, 10)
    assert not threads[0].is_alive()
    assert closed.is_set()
    with pytest.raises(RuntimeError):
        await database.run(where)


def test_database_thread_without_a_thread_of_its_own_works_in_the_callers():
    database = DatabaseThread(own_thread=False)

    async def run() -> str:
        return await database.run(where)

    assert async_to_sync(run)() == where()
    database.close()


@pytest.mark.django_db(transaction=True)
async def test_connection_is_closed_after_each_piece_of_work():
    database = DatabaseThread()
    found = []

    def work() -> None:
        database = connections["default"]
        with database.cursor() as cursor:
            cursor.execute("SELECT 1")
        found.append(database)

    await database.run(work)
    assert found[0].connection is None
    database.close()
