"""Waits for the commits of this thread's open transactions.

In: work, from ``publishing`` and ``auth.revoking``. Out: its call, when every transaction that it
belongs to is committed; none if one of them, or a savepoint, is rolled back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, transaction


def open_transactions(using: str | None) -> tuple[str, ...]:
    """Return the databases whose transaction is open in this thread.

    Args:
        using: the only database to look at; None for all of them. The blocks that a ``TestCase``
            opens around each test count only where the code has opened none: they never commit.
    """
    if using is not None:
        return (using,) if connections[using].in_atomic_block else ()
    found = [c for c in connections.all(initialized_only=True) if c.in_atomic_block]
    own = tuple(c.alias for c in found if not all(map(from_testcase, c.atomic_blocks)))
    if own or not found:
        return own
    aliases = [c.alias for c in found]
    return (DEFAULT_DB_ALIAS if DEFAULT_DB_ALIAS in aliases else aliases[0],)


def from_testcase(block: Any) -> bool:
    """Whether an atomic block is one that a ``TestCase`` opened around its test."""
    return bool(getattr(block, "_from_testcase", False))  # Django's own mark, as for durable=True


def after_commit(work: Callable[[], Any], databases: Sequence[str]) -> None:
    """Call ``work`` once the open transactions of these databases are committed, all of them.

    Its exceptions are logged. It is called at once where there are no databases to wait for.
    """
    if not databases:
        work()
        return
    waiting = set(databases)
    for alias in databases:
        transaction.on_commit(_step(alias, waiting, work), using=alias, robust=True)


def _step(alias: str, waiting: set[str], work: Callable[[], Any]) -> Callable[[], None]:
    def committed() -> None:  # not a partial, which Django fails to name where it raises
        waiting.discard(alias)
        if not waiting:
            work()

    return committed
