"""Runs a node's own database work in a separate thread, one task at a time.

The hook threads are for the site's hooks. A database that is slow or down must delay neither hooks
nor connections, and no message waits for this thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, TypeVarTuple

from asgiref.sync import sync_to_async
from django.apps import apps
from django.db import (
    DatabaseError,
    OperationalError,
    ProgrammingError,
    close_old_connections,
    connections,
    router,
    transaction,
)
from django.db.backends.signals import connection_created
from django.db.migrations.executor import MigrationExecutor

logger = logging.getLogger(__name__)

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
        self.used_s = 0.0
        """The processor time that its tasks have taken, in seconds; 0.0 without a thread of its own."""

    async def run(self, work: Callable[[*_Arguments], _Value], *arguments: *_Arguments) -> _Value:
        """Run one task, after the tasks that were submitted before it."""
        if self._pool is None:
            return await sync_to_async(_explained)(work, *arguments)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._work, work, *arguments)

    def _work(self, work: Callable[[*_Arguments], _Value], *arguments: *_Arguments) -> _Value:
        begun = time.thread_time()
        close_old_connections()
        try:
            return _explained(work, *arguments)
        finally:
            close_old_connections()
            self.used_s += time.thread_time() - begun

    def close(self) -> None:
        """Accept no more tasks. The thread finishes its tasks, closes its connections and ends."""
        if self._pool is not None and not self._closed:
            self._closed = True
            self._pool.submit(connections.close_all)
            self._pool.shutdown(wait=False)


# -- transactions of a node's own ------------------------------------------------------------------


class NotMigrated(DatabaseError):
    """The package's tables are missing or old; that has been logged, once, with the remedy."""


class GaveWay(DatabaseError):
    """Nothing was written, because transactions of the site left SQLite no gap; try again later."""


QUIET = (NotMigrated, GaveWay)
"""What is expected, or has been logged: no warning is needed."""

_PATIENCE_S = 1.0
"""How long a transaction waits for a gap. Revocations are read in the same thread."""

_LOOK_AGAIN_S = (0.005, 0.05)

_sqlite_connections: weakref.WeakSet[Any] = weakref.WeakSet()
_sqlite_lock = threading.Lock()


@contextlib.contextmanager
def own_transaction(using: str) -> Iterator[None]:
    """A transaction that writes for the node alone, and fails none of the site's on SQLite.

    SQLite refuses a transaction that has read and then writes, at once and whatever its timeout, if
    another one holds the lock for writing or has written in between. So this one begins when there is
    no other: it takes all locks at once or none, and before it tries it looks for transactions of
    this process.

    Raises:
        GaveWay: there was no gap. Nothing was done.
    """
    connection = connections[using]
    with contextlib.ExitStack() as stack:
        if connection.vendor != "sqlite" or connection.in_atomic_block:
            stack.enter_context(transaction.atomic(using=using))
        else:
            _enter_alone(stack, connection)
        yield


def _enter_alone(stack: contextlib.ExitStack, connection: Any) -> None:
    connection.ensure_connection()
    execute = connection.connection.execute
    mode, ((timeout_ms,),) = connection.transaction_mode, execute("PRAGMA busy_timeout").fetchall()
    connection.transaction_mode = "EXCLUSIVE"
    execute("PRAGMA busy_timeout = 0")  # waiting would be done with a lock held
    deadline = time.monotonic() + _PATIENCE_S
    try:
        while True:
            if not _others_in_transaction(connection):
                try:
                    stack.enter_context(transaction.atomic(using=connection.alias))
                    return
                except OperationalError as error:
                    if "locked" not in str(error):
                        raise
            if time.monotonic() >= deadline:
                raise GaveWay("transactions of the site left no gap")
            time.sleep(random.uniform(*_LOOK_AGAIN_S))
    finally:
        connection.transaction_mode = mode
        execute(f"PRAGMA busy_timeout = {int(timeout_ms)}")


def _others_in_transaction(connection: Any) -> bool:
    with _sqlite_lock:
        return any(
            other.in_atomic_block and other.alias == connection.alias and other is not connection
            for other in _sqlite_connections
        )


def _remember_connection(sender: Any, connection: Any, **kwargs: Any) -> None:
    if connection.vendor == "sqlite":
        with _sqlite_lock:
            _sqlite_connections.add(connection)


connection_created.connect(_remember_connection, dispatch_uid="channels_realtime.connections")


# -- a forgotten migrate ---------------------------------------------------------------------------


_told_of_migrations = False


def _explained(work: Callable[[*_Arguments], _Value], *arguments: *_Arguments) -> _Value:
    try:
        return work(*arguments)
    except DatabaseError as error:
        if tells_of_migrations(error):
            raise NotMigrated(str(error)) from error
        raise


def tells_of_migrations(error: DatabaseError) -> bool:
    """Whether a statement failed because migrations of the package were not applied. Logs it once.

    For the thread of the failed statement, outside its transaction.
    """
    global _told_of_migrations
    if not _concerns_schema(error):
        return False
    if _told_of_migrations:
        return True
    pending = _pending_migrations()
    if not pending:
        return False
    _told_of_migrations = True
    logger.error(
        "The database lacks tables or columns of channels_realtime: not applied are %s. Run"
        " 'manage.py migrate'. Until then the admin shows no connections, and revocations and"
        " blocks do not last.",
        ", ".join(pending),
    )
    return True


def _concerns_schema(error: DatabaseError) -> bool:
    # "no such table" and "no such column" of SQLite and 1054 of MariaDB are OperationalErrors.
    return isinstance(error, ProgrammingError) or any(
        sign in str(error) for sign in ("no such ", "1054", "has no column")
    )


def _pending_migrations() -> list[str]:
    label = "channels_realtime"
    models = apps.get_app_config(label).get_models()
    found: dict[str, None] = {}
    try:
        for alias in {router.db_for_write(model) for model in models}:
            executor = MigrationExecutor(connections[alias])
            targets = executor.loader.graph.leaf_nodes(label)
            for migration, _ in executor.migration_plan(targets):
                if migration.app_label == label:
                    found[f"{label}.{migration.name}"] = None
    except DatabaseError:
        return []  # the database is away, which is another story
    return list(found)
