"""The contract of inbox stores: up to where each user has acknowledged a channel, and what is due.

An inbox is a stream of the history and a user. It begins when the user first subscribes, or when a
publication names the user. A stream is *due* at the moment when a publication of it has been
unacknowledged for long enough; one of the nodes claims it then, looks, and settles it.

Rules for every store:

- Acknowledged positions only grow within an epoch; one of another epoch takes the place of the old.
- Claims: of several that claim at once, in any processes, one gets a stream. Its claim ends with
  ``settle``, or by itself after the lease, and then another gets the stream: what is done with it is done
  at least once, also where a process dies over it.
- What is expected while a stream is claimed does not end the claim, and is not lost: once the stream is
  settled it is due by then, although the process that claimed it may not have found the publication yet.
- Inboxes end ``POSITION_TTL_S`` after they were last used, and those of a stream are at most ``MAX_USERS``.
- Errors: ``Unavailable`` where the store is away or too slow; it may have done what was asked.
- Methods run on an event loop, in any process, and may be called from several loops of a process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import msgspec

from ...protocol.messages import Position

MAX_USERS = 10_000
"""How many users of one stream have an inbox; more are left out."""


class Inbox(msgspec.Struct, frozen=True):
    """The inbox of one user.

    Args:
        acknowledged: up to here the user has acknowledged; None for nothing that is kept.
        notified: up to here the site was told that the user has not; None for nothing.
    """

    acknowledged: Position | None = None
    notified: Position | None = None


class Acknowledgement(msgspec.Struct, frozen=True):
    """What one user has received.

    Args:
        stream: the channel's qualified name.
        user: the user's primary key as text.
        position: everything up to here.
    """

    stream: str
    user: str
    position: Position


class StreamInboxes(msgspec.Struct, frozen=True):
    """The inboxes of one stream.

    Args:
        revision: grows with what is expected of the stream; ``settle`` takes it.
        users: by the user's primary key as text.
    """

    revision: int
    users: Mapping[str, Inbox]


class InboxStore:
    """The contract; see the module's documentation for its rules."""

    shared: ClassVar[bool] = True
    """Whether all processes see the same inboxes."""

    async def open(self, stream: str, user: str, position: Position | None) -> None:
        """Begin an inbox at a position; does nothing where there is one.

        Raises:
            Unavailable: the store is away.
        """
        raise NotImplementedError

    async def acknowledged(self, stream: str, user: str) -> Inbox | None:
        """A user's inbox; None where there is none.

        Raises:
            Unavailable: the store is away.
        """
        raise NotImplementedError

    async def acknowledge(self, acknowledgements: Sequence[Acknowledgement]) -> None:
        """Record what users have received; inboxes that are not there begin.

        Raises:
            Unavailable: the store is away; any of them may have been recorded.
        """
        raise NotImplementedError

    async def expect(self, stream: str, users: Sequence[str], due_at: float) -> None:
        """Have a stream due, before something is published to it; begins the inboxes of ``users``.

        Args:
            stream: the channel's qualified name.
            users: whom the publication is for, as far as the channel class names them.
            due_at: seconds since the epoch. A stream that is due earlier stays so.

        Raises:
            Unavailable: the store is away.
        """
        raise NotImplementedError

    async def claim(self, now: float, lease_s: float, limit: int) -> list[str]:
        """Claim streams that are due.

        Args:
            now: seconds since the epoch.
            lease_s: after which another may claim them.
            limit: how many at most.

        Raises:
            Unavailable: the store is away; what was claimed is free again after the lease.
        """
        raise NotImplementedError

    async def inboxes(self, stream: str) -> StreamInboxes:
        """All inboxes of a stream.

        Raises:
            Unavailable: the store is away.
        """
        raise NotImplementedError

    async def settle(
        self, stream: str, revision: int, notified: Mapping[str, Position], due_at: float | None
    ) -> None:
        """End a claim.

        Args:
            stream: the channel's qualified name.
            revision: as ``inboxes`` returned it; where more is expected since, the stream is due at once.
            notified: up to where the site was told of each user.
            due_at: when the stream is due again; None if nothing more was found.

        Raises:
            Unavailable: the store is away.
        """
        raise NotImplementedError

    async def forget(self, stream: str, user: str) -> None:
        """End an inbox.

        Raises:
            Unavailable: the store is away.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Close the connections of the running event loop."""


def is_newer(position: Position, known: Position | None) -> bool:
    """Whether an acknowledged position takes the place of the one that is known."""
    return known is None or position.epoch != known.epoch or position.offset > known.offset
