"""When a connection's credentials end, and what happens before and then.

A token is announced (``auth_expiring``) and ends the connection at its deadline; a login session,
which may have been prolonged meanwhile, is read again at its. Deadlines are monotonic, so a step of
the wall clock keeps nobody in.
"""

from __future__ import annotations

import enum

HOLD_S = 5.0
"""How long deliveries are held while an ``auth`` or a session is being judged at the deadline."""


class Due(enum.Enum):
    """What a tick of the expiry calls for."""

    NOTHING = enum.auto()
    WARN = enum.auto()
    REREAD = enum.auto()
    HOLD = enum.auto()
    END = enum.auto()


class Expiry:
    """The end of one connection's credentials; without a deadline until ``set``."""

    __slots__ = ("_at", "_hold_until", "_rereads", "_warn_at", "expires_at")

    def __init__(self) -> None:
        self._at: float | None = None
        self._hold_until: float | None = None
        self._rereads = False
        self._warn_at: float | None = None
        self.expires_at: float | None = None
        """The deadline as the wire has it, in seconds since the epoch."""

    def set(
        self, at: float | None, *, now: float, expires_at: float | None, lead: float, rereads: bool
    ) -> None:
        """Begin anew.

        Args:
            at: the deadline in monotonic seconds, or None for credentials that do not end.
            now: monotonic seconds.
            expires_at: the deadline in seconds since the epoch, for ``auth_expiring``.
            lead: seconds before the deadline to warn; at most half of what is left is used.
            rereads: whether it is a login session, which is read again and never announced.
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
        """When ``tick`` has something to say, in monotonic seconds, or None."""
        if self._hold_until is not None:
            return self._hold_until
        if self._warn_at is not None:
            return self._warn_at
        return self._at

    def tick(self, now: float, *, judging: bool) -> Due:
        """What is due at ``now``; ``judging`` says that a fresh ``auth`` is being looked at."""
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
        """Ask for fresh credentials: the present ones end in ``seconds`` at the latest.

        Args:
            now: monotonic seconds.
            seconds: until then.
            expires_at: the same moment in seconds since the epoch, for ``auth_expiring``.
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
