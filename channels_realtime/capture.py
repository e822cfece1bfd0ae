"""Captures publications instead of sending them; ``testing`` is the public module."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, overload

from django.db import connections, transaction

from .protocol.messages import Publication
from .runtime.commits import from_testcase


class CapturedPublication(Publication, frozen=True, kw_only=True, array_like=True):
    """A publication, and what was asked for it that does not cross the layer."""

    idempotency_key: str | None = None
    """As given to ``publish`` as ``key``."""
    only_if: Mapping[str, Any] | None = None
    transient: bool = False


class Captured(Sequence[CapturedPublication]):
    """The publications of a ``with`` block, in the order in which they were published.

    A publication that waits for a commit appears when the code has left its transaction, although
    the transaction around a ``TestCase`` never commits. It does not appear if the transaction or a
    savepoint was rolled back.
    """

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._frozen: list[CapturedPublication] | None = None

    def record(
        self,
        publications: list[CapturedPublication],
        databases: Sequence[str],
        outgoing: Sequence[Any],
    ) -> None:
        """Keep publications.

        Args:
            publications: the publications of one call.
            databases: the aliases of the databases for whose commits they wait.
            outgoing: the same, as they would be sent.
        """
        entry = _Entry(publications, databases, outgoing)
        self._entries.append(entry)
        for alias, mark in entry.marks.items():
            transaction.on_commit(mark, using=alias)

    def take(self) -> list[Any]:
        """Return what is to be sent of the publications that are out and were not taken before."""
        found: list[Any] = []
        for entry in self._entries:
            if not entry.taken and entry.is_out():
                entry.taken = True
                found += entry.outgoing
        return found

    def freeze(self) -> None:
        """Keep the present list: the block has ended."""
        self._frozen = self._visible()

    def _visible(self) -> list[CapturedPublication]:
        if self._frozen is not None:
            return self._frozen
        found: list[CapturedPublication] = []
        for entry in self._entries:
            if entry.is_out():
                found += entry.publications
        return found

    @overload
    def __getitem__(self, index: int) -> CapturedPublication: ...
    @overload
    def __getitem__(self, index: slice) -> list[CapturedPublication]: ...
    def __getitem__(self, index: int | slice) -> CapturedPublication | list[CapturedPublication]:
        return self._visible()[index]

    def __len__(self) -> int:
        return len(self._visible())

    def __iter__(self) -> Iterator[CapturedPublication]:
        return iter(self._visible())

    def __repr__(self) -> str:
        return f"<Captured {self._visible()!r}>"

    def to(self, channel: str) -> list[CapturedPublication]:
        """Return the publications to one channel."""
        return [publication for publication in self._visible() if publication.channel == channel]


class _Entry:
    """The publications of one call, and the commits that they wait for."""

    __slots__ = ("marks", "outgoing", "publications", "taken")

    def __init__(
        self,
        publications: list[CapturedPublication],
        databases: Sequence[str],
        outgoing: Sequence[Any],
    ) -> None:
        self.publications = publications
        self.outgoing = outgoing
        self.taken = False
        self.marks = {alias: functools.partial(self._committed, alias) for alias in databases}
        """What each database calls at its commit; without those that have."""

    def _committed(self, alias: str) -> None:
        self.marks.pop(alias, None)

    def is_out(self) -> bool:
        """Whether it was sent, or would be sent without the transactions around a test."""
        return all(_would_commit(connections[alias], mark) for alias, mark in self.marks.items())


def _would_commit(connection: Any, mark: Callable[[], None]) -> bool:
    if not all(map(from_testcase, connection.atomic_blocks)):
        return False
    return any(entry[1] is mark for entry in connection.run_on_commit)


class _Captures:
    """The active captures; the innermost takes all publications of the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stack: list[Captured] = []

    def current(self) -> Captured | None:
        return self._stack[-1] if self._stack else None

    def push(self, captured: Captured) -> None:
        with self._lock:
            self._stack.append(captured)

    def pop(self, captured: Captured) -> None:
        with self._lock:
            self._stack.remove(captured)


captures = _Captures()


@contextmanager
def capture_publications() -> Iterator[Captured]:
    """Capture what is published in the block, instead of sending it.

    Works in a plain ``TestCase``, although its transaction never commits: a publication that waits
    for a commit is captured when the code has left its own ``atomic()`` blocks, unless they were
    rolled back.

    Example::

        with capture_publications() as published:
            self.client.post("/orders/42/pay/")
        self.assertEqual(published[0].channel, "orders/42")
        self.assertEqual(published[0].payload, {"status": "paid"})
    """
    captured = Captured()
    captures.push(captured)
    try:
        yield captured
    finally:
        captured.freeze()
        captures.pop(captured)
