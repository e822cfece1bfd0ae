"""What the services of a node may ask of a connection."""

from __future__ import annotations

from typing import Protocol

from ..identity import Identity
from ..protocol.codes import CloseCode


class Member(Protocol):
    """A connection, as its node and the services of its node see it."""

    id: str
    closed: bool
    identity: Identity
    read_at: float
    """When its credentials were last read, in seconds since the epoch."""

    @property
    def user_id(self) -> str | None: ...
    @property
    def namespace(self) -> str: ...
    @property
    def client_address(self) -> str | None: ...

    def close(self, code: CloseCode, reason: str, *, retry_after: float | None = None) -> None: ...

    def replaced(self) -> None:
        """Close it with 4409, and write nothing more: another connection has resumed its session."""
        ...

    def drop(self) -> None:
        """End it without waiting for the client."""
        ...

    def revoke(self, reason: str) -> None:
        """Close it with 4401: its credentials are over."""
        ...

    def rights_changed(self, channel: str | None = None) -> None:
        """What it may do may have changed, on this channel or on all: nothing of it is kept."""
        ...

    async def reread(self) -> None:
        """Read its credentials again, and close it where they no longer hold."""
        ...

    async def read_user(self, channel: str | None, since: float) -> None:
        """Have its user be one that was read at ``since`` or later, if a hook is to be asked again."""
        ...

    async def recheck(self, channel: str | None = None, since: float | None = None) -> None:
        """Ask again whether it may be on its channels, or on this one.

        Args:
            channel: this one only.
            since: how old its user may be; by default it is read again.
        """
        ...
