"""The contract of presence stores: who is on a channel, over all processes."""

from __future__ import annotations

import dataclasses

from ..errors import ImproperUse


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """How a channel class tells who is on it: ``presence = Presence(grace=5)``.

    Args:
        grace: seconds for which a member that has gone stays, so that a page reload is not a leave and
            a join.
        max_members: how many members are sent; the count is of all.
        by_user: whether the connections of one user are one member.
        announces: whether joins and leaves are sent; without, subscribers get the count and members
            that they ask for, which suits large channels.
    """

    grace: float = 5.0
    max_members: int = 100
    by_user: bool = True
    announces: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.grace, bool) or not 0 <= self.grace <= 3_600:
            raise ImproperUse(f"Presence.grace is {self.grace!r}; expected 0 to 3,600 seconds")
        if type(self.max_members) is not int or not 0 <= self.max_members <= 10_000:
            raise ImproperUse(f"Presence.max_members is {self.max_members!r}; expected 0 to 10,000")
