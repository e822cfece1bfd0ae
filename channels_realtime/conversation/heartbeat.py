"""Detects lost connections: the heartbeat of one connection, which the caller's timers drive.

Any message shows that the client is there. A client that answers pings gets one after ``interval``
seconds without a message, and counts as lost after ``timeout`` more. While the server does not read,
because its handlers are behind, the clock stops: silence then says nothing.
"""

from __future__ import annotations

import enum

REMEMBERED_ROUND_TRIPS = 30
"""How many round trips are kept, for the admin."""

EARLY = 0.01
"""The share of the interval by which a ping may be early, so that those of many idle connections are
written together and their answers read together."""


class Beat(enum.Enum):
    """What is to be done at a tick."""

    NOTHING = enum.auto()
    PING = enum.auto()
    DEAD = enum.auto()


class Heartbeat:
    """The heartbeat of one connection.

    Args:
        interval: seconds without a message before a ping; a hundredth less at a tick that comes early.
        timeout: seconds without a message after a ping before the client counts as lost.
        now: monotonic seconds.
        jitter: 0.0 to 1.0. Sends the first ping earlier by up to half an interval, so that
            connections that were opened together are not pinged together.
    """

    __slots__ = (
        "_interval",
        "_pinged_at",
        "_timeout",
        "enabled",
        "last_seen",
        "round_trip",
        "round_trips",
    )

    def __init__(self, interval: float, timeout: float, *, now: float, jitter: float = 0.0) -> None:
        self._interval = interval
        self._timeout = timeout
        self.last_seen = now - interval * 0.5 * jitter
        self._pinged_at: float | None = None
        self.enabled = False
        self.round_trip: float | None = None
        """Seconds from the last ping to its pong, or None before the first pong."""
        self.round_trips: tuple[float, ...] = ()
        """The last round trips, oldest first; at most ``REMEMBERED_ROUND_TRIPS``."""

    def seen(self, now: float) -> None:
        """Note a message from the client."""
        self.last_seen = now
        self._pinged_at = None

    def answered(self, now: float) -> None:
        """Note a ``pong`` from the client."""
        if self._pinged_at is not None:
            self.round_trip = max(0.0, now - self._pinged_at)
            self.round_trips = (*self.round_trips[1 - REMEMBERED_ROUND_TRIPS :], self.round_trip)
        self.seen(now)

    def pause(self, seconds: float) -> None:
        """Leave out a time, in seconds, in which the server did not read."""
        self.last_seen += seconds
        if self._pinged_at is not None:
            self._pinged_at += seconds

    @property
    def waits(self) -> bool:
        """Whether a ping was sent and nothing has come since."""
        return self._pinged_at is not None

    @property
    def deadline(self) -> float | None:
        """When to call ``tick`` next, in monotonic seconds, or None while disabled."""
        if not self.enabled:
            return None
        if self._pinged_at is not None:
            return self._pinged_at + self._timeout
        return self.last_seen + self._interval

    def tick(self, now: float) -> Beat:
        """Return what is due at ``now`` (monotonic seconds)."""
        deadline = self.deadline
        if deadline is None:
            return Beat.NOTHING
        if self._pinged_at is not None:
            return Beat.NOTHING if now < deadline else Beat.DEAD
        if now < deadline - self._interval * EARLY:
            return Beat.NOTHING
        self._pinged_at = now
        return Beat.PING
