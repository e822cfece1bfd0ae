"""Collects the revocations of a transaction, so that its commit announces all of them at once.

In: revocations, from ``revoking``, in the thread of the transaction. Out: one call at the commit.
What a savepoint or the transaction rolls back is dropped, because Django drops its callback.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import transaction

from ..access.revocation_list import Revocation
from .issued import Watch

_ATTRIBUTE = "_channels_realtime_batches"
"""Of Django's database connection, which belongs to one thread: the batches of its transaction."""


class Batch:
    """What is committed or rolled back together."""

    def __init__(self, connection: Any, finish: Callable[[Batch], None]) -> None:
        self.entries: dict[str, Revocation] = {}
        """By key; the latest of each."""
        self.written: set[str] = set()
        """The keys with a row that the transaction has written."""
        self.writes = 0
        """Times that the transaction has written rows."""
        self.unstored: set[str] = set()
        """The keys that get no row."""
        self.watch: Watch | None = None
        """The tokens that were made since the first revocation of a user."""
        self.wait = 0.0
        """How long the commit may wait for the layer, in seconds."""
        self.savepoints = _savepoints(connection)
        """Those that may still roll it back without the rest of the transaction."""
        self._connection = connection
        self._finish = finish
        self._done = False
        self._callbacks: list[Any] = []

    def await_commit(self) -> None:
        """Have Django call ``run`` at the commit of the connection's transaction."""
        transaction.on_commit(self.run, using=self._connection.alias, robust=True)
        self._callbacks = self._connection.run_on_commit

    def run(self) -> None:
        """The transaction is committed."""
        self._done = True
        for other in self._connection.__dict__.pop(_ATTRIBUTE, ()):
            if other is not self and other.follows(self):
                self.absorb(other)
        if self.entries:
            self._finish(self)

    def is_alive(self) -> bool:
        """Whether its callback still waits for the commit."""
        callbacks = self._connection.run_on_commit
        if callbacks is not self._callbacks:  # Django makes a new list at each rollback
            self._callbacks = callbacks
            self._done = self._done or not self._is_in(callbacks)
        return not self._done

    def follows(self, running: Batch) -> bool:
        """Whether its callback runs after one that runs now: Django has taken that off the list."""
        return self._is_in(self._callbacks) and not running._is_in(self._callbacks)

    def absorb(self, other: Batch) -> None:
        """Take another batch over, the callback of which then does nothing."""
        self.entries.update(other.entries)
        self.written |= other.written
        self.unstored |= other.unstored
        self.writes += other.writes
        self.wait = max(self.wait, other.wait)
        if self.watch is None:
            self.watch = other.watch
        elif other.watch is not None:
            self.watch.absorb(other.watch)
        other.entries = {}
        other._done = True

    def _is_in(self, callbacks: list[Any]) -> bool:
        return any(function == self.run for _, function, _ in callbacks)


def open_batch(connection: Any, finish: Callable[[Batch], None]) -> Batch:
    """Return the batch of the transaction, or of the innermost savepoint, that is open now."""
    current = _savepoints(connection)
    found: dict[frozenset[str], Batch] = {}
    for batch in connection.__dict__.get(_ATTRIBUTE, ()):
        if not batch.is_alive():
            continue
        # A savepoint that was released is part of what surrounds it.
        batch.savepoints &= current
        if batch.savepoints in found:
            found[batch.savepoints].absorb(batch)
        else:
            found[batch.savepoints] = batch
    if current not in found:
        found[current] = Batch(connection, finish)
        found[current].await_commit()
    connection.__dict__[_ATTRIBUTE] = list(found.values())
    return found[current]


def _savepoints(connection: Any) -> frozenset[str]:
    # None stands for an atomic block without a savepoint of its own.
    return frozenset(savepoint for savepoint in connection.savepoint_ids if savepoint is not None)
