"""One thread for a node's own database work, a piece at a time."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group
from django.db import OperationalError, ProgrammingError, connection, connections, transaction
from django.db.migrations.recorder import MigrationRecorder

from channels_realtime.runtime import database
from channels_realtime.runtime.database import (
    DatabaseThread,
    GaveWay,
    NotMigrated,
    own_transaction,
    tells_of_migrations,
)


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


async def test_processor_time_of_the_work_is_known():
    def spend(seconds: float) -> None:
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass

    database = DatabaseThread()
    await database.run(spend, 0.05)
    await database.run(time.sleep, 0.5)
    assert 0.05 <= database.used_s < 0.5
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


# -- a forgotten migrate ---------------------------------------------------------------------------

PENDING = (
    "The database lacks tables or columns of channels_realtime: not applied are"
    " {}. Run 'manage.py migrate'. Until then the admin shows no connections, and revocations and"
    " blocks do not last."
)


@pytest.fixture
def untold(monkeypatch):
    monkeypatch.setattr(database, "_told_of_migrations", False)


@pytest.mark.parametrize(
    "sql", ["SELECT * FROM channels_realtime_none", "SELECT none FROM channels_realtime_noderecord"]
)
@pytest.mark.django_db
def test_forgotten_migrate_is_told_once_and_named_to_the_caller(untold, caplog, sql):
    applied = MigrationRecorder.Migration.objects.filter(app="channels_realtime")
    names = sorted(f"channels_realtime.{migration.name}" for migration in applied)
    applied.delete()

    def statement() -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql)

    async def run() -> None:
        thread = DatabaseThread(own_thread=False)
        for _ in range(2):
            with pytest.raises(NotMigrated):
                await thread.run(statement)

    async_to_sync(run)()
    assert [record.getMessage() for record in caplog.records] == [PENDING.format(", ".join(names))]


@pytest.mark.parametrize(
    "error",
    [
        ProgrammingError("syntax error"),
        OperationalError("no such table: orders"),
        OperationalError("server closed the connection"),
    ],
)
@pytest.mark.django_db
def test_other_failures_of_a_migrated_database_stay_what_they_are(untold, caplog, error):
    assert tells_of_migrations(error) is False
    assert caplog.records == []


# -- transactions of a node's own ------------------------------------------------------------------


@pytest.fixture
def visitor(transactional_db, monkeypatch):
    """Another process on the same file of SQLite, with a transaction that has read."""
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite has one lock for the whole database")
    monkeypatch.setattr(database, "_PATIENCE_S", 0.05)
    connection.ensure_connection()
    other = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None, timeout=0)
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM auth_group").fetchall()
    yield other
    other.close()


def write(name: str) -> None:
    with own_transaction("default"):
        Group.objects.create(name=name)


def test_own_transaction_fails_none_that_has_read_and_then_writes(visitor):
    with pytest.raises(GaveWay, match="transactions of the site left no gap"):
        write("node's")
    visitor.execute("INSERT INTO auth_group (name) VALUES ('visitor')")
    visitor.execute("COMMIT")
    write("node's")
    assert set(Group.objects.values_list("name", flat=True)) == {"visitor", "node's"}


def test_own_transaction_waits_for_a_gap(visitor, monkeypatch):
    monkeypatch.setattr(database, "_PATIENCE_S", 20.0)
    monkeypatch.setattr(database.time, "sleep", lambda seconds: visitor.execute("COMMIT"))
    write("node's")
    assert Group.objects.get().name == "node's"


def test_own_transaction_does_not_even_try_while_its_process_has_another(visitor):
    visitor.execute("COMMIT")
    statements = []

    def look() -> None:
        with (
            connection.execute_wrapper(lambda *call: statements.append(call[1])),
            pytest.raises(GaveWay),
        ):
            write("node's")
        connection.close()

    with transaction.atomic(), ThreadPoolExecutor(1) as pool:
        pool.submit(look).result()
    assert statements == []


def test_own_transaction_leaves_the_connection_as_it_was(visitor):
    visitor.execute("COMMIT")

    def options():
        timeout = connection.connection.execute("PRAGMA busy_timeout").fetchone()
        return connection.transaction_mode, timeout

    before = options()
    write("node's")
    with pytest.raises(ZeroDivisionError), own_transaction("default"):
        raise ZeroDivisionError
    assert options() == before
    assert not connection.in_atomic_block
