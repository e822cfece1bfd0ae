"""The expiry of a connection's credentials, and what happens before it and at it.

The expiry of a token is announced (``auth_expiring``), and closes the connection at its deadline. A
login session is read again at its deadline, because it may have been extended. Deadlines are
monotonic, so a change of the wall clock keeps no connection open.
"""

from __future__ import annotations

import enum

HOLD_S = 5.0
"""How many seconds deliveries are held while an ``auth`` or a session is checked at the deadline."""


class Due(enum.Enum):
    """What is to be done at a tick."""

    NOTHING = enum.auto()
    WARN = enum.auto()
    REREAD = enum.auto()
    HOLD = enum.auto()
    END = enum.auto()


class Expiry:
    """The expiry of one connection's credentials. It has no deadline until ``set`` is called."""

    __slots__ = ("_at", "_hold_until", "_rereads", "_warn_at", "expires_at")

    def __init__(self) -> None:
        self._at: float | None = None
        self._hold_until: float | None = None
        self._rereads = False
        self._warn_at: float | None = None
        self.expires_at: float | None = None
        """The deadline for the wire, in seconds since the epoch."""

    def set(
        self, at: float | None, *, now: float, expires_at: float | None, lead: float, rereads: bool
    ) -> None:
        """Set the deadline of new credentials.

        Args:
            at: the deadline in monotonic seconds, or None if the credentials do not expire.
            now: monotonic seconds.
            expires_at: the deadline in seconds since the epoch, for ``auth_expiring``.
            lead: how many seconds before the deadline to warn; at most half of the time left.
            rereads: whether it is a login session, which is read again and not announced.
        """
        self._at = at
        self._hold_until = None
        self._rereads = rereads
        self.expires_at = expires_at
        self._warn_at = None
        if at is not None and not rereads:
            self._warn_at = max(at - lead, now + (at - now) / 2)

    @property
    def holding(self) -> bool:
        """Whether deliveries are being held."""
        return self._hold_until is not None

    @property
    def deadline(self) -> float | None:
        """When to call ``tick`` next, in monotonic seconds, or None."""
        if self._hold_until is not None:
            return self._hold_until
        if self._warn_at is not None:
            return self._warn_at
        return self._at

    def tick(self, now: float, *, judging: bool) -> Due:
        """Return what is due.

        Args:
            now: monotonic seconds.
            judging: whether a new ``auth`` is being checked.
        """
        if self._hold_until is not None:
            return Due.END if now >= self._hold_until else Due.NOTHING
        if self._at is not None and now >= self._at:
            if self._rereads or judging:
                self._hold_until = now + HOLD_S
                return Due.REREAD if self._rereads else Due.HOLD
            return Due.END
        if self._warn_at is not None and now >= self._warn_at:
            self._warn_at = None
            return Due.WARN
        return Due.NOTHING

    def end_soon(self, now: float, seconds: float, *, expires_at: float) -> None:
        """Ask for new credentials: the current ones expire in ``seconds`` at the latest.

        Args:
            now: monotonic seconds.
            seconds: the time until then.
            expires_at: the same time in seconds since the epoch, for ``auth_expiring``.
        """
        end = now + seconds
        if self._at is None or self._at > end:
            self._at = end
            self._rereads = False
            self._warn_at = now
            self.expires_at = expires_at

    def is_over(self, now: float) -> bool:
        """Whether the deadline has passed."""
        return self._at is not None and now >= self._at
