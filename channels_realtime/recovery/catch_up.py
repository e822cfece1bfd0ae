"""What a subscriber missed: pages of the store until they meet what is delivered live.

The live stream has delivered everything up to its position. A subscriber that knows everything up to
its cursor gets what lies between, from pages of the store, or, for the last few, from the tail: what
was delivered live while the pages were read. Then it joins the live stream, at that moment, so it
misses nothing and gets nothing twice, however busy the channel is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ..protocol.messages import Position, Publication

MAX_TAIL = 256
"""Publications that are kept of what is delivered while somebody catches up."""


class Tail:
    """The newest that were delivered live, without a gap, while somebody catches up."""

    __slots__ = ("_items", "users")

    def __init__(self) -> None:
        self.users = 0
        self._items: deque[Publication] = deque(maxlen=MAX_TAIL)

    def add(self, item: Publication) -> None:
        """It was delivered."""
        self._items.append(item)

    def clear(self) -> None:
        """The stream starts over."""
        self._items.clear()

    def after(self, cursor: Position, live: Position) -> list[Publication] | None:
        """What was delivered after the cursor, up to the live position; None if not all is here."""
        if cursor.epoch != live.epoch or cursor.offset > live.offset:
            return None
        missing = live.offset - cursor.offset
        if missing == 0:
            return []
        if missing > len(self._items):
            return None
        first = len(self._items) - missing
        found = [self._items[index] for index in range(first, len(self._items))]
        at = found[0].position
        if at is None or at.offset != cursor.offset + 1:
            return None
        return found


def up_to(items: Sequence[Publication], live: Position) -> Sequence[Publication]:
    """Those that were delivered live already; the others are still to come."""
    for index in range(len(items), 0, -1):
        at = items[index - 1].position
        if at is not None and at.offset <= live.offset:
            return items[:index]
    return ()
