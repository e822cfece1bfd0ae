"""For the tests of sites that use the package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .capture import Captured, captures

__all__ = ["Captured", "capture_publications"]


@contextmanager
def capture_publications() -> Iterator[Captured]:
    """Keep what is published in the block, instead of sending it.

    Works in a plain ``TestCase``, whose transaction never commits: a publication that waits for a
    commit is captured once the code's own ``atomic()`` blocks have been left, and is not where they
    were rolled back.

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
