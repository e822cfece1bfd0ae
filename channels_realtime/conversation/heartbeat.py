"""Is the other end still there? One clock a connection, asked by whoever keeps the timers.

Any message from the client is life. A client that has agreed to answer is sent a ping after
``interval`` seconds of silence, and is gone if ``timeout`` more pass without a word. While the
server itself does not read (its handlers are behind), silence proves nothing and the clock stops.
"""

from __future__ import annotations

import enum

REMEMBERED_ROUND_TRIPS = 30
"""Round trips that are kept for whoever looks at a connection."""


class Beat(enum.Enum):
    """What a tick of the heartbeat calls for."""

    NOTHING = enum.auto()
    PING = enum.auto()
    DEAD = enum.auto()


class Heartbeat:
    """The heartbeat of one connection.

    Args:
        interval: seconds of silence before a ping.
        timeout: seconds after a ping without a word before the client counts as gone.
        now: monotonic seconds.
        jitter: 0.0 to 1.0; brings the first ping forward by up to half an interval, so that
            connections that arrived together do not beat together.
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
        """Seconds from the last ping to the pong that answered it, or None before the first."""
        self.round_trips: tuple[float, ...] = ()
        """The last of them, oldest first, at most ``REMEMBERED_ROUND_TRIPS``."""

    def seen(self, now: float) -> None:
        """The client said something."""
        self.last_seen = now
        self._pinged_at = None

    def answered(self, now: float) -> None:
        """The client said ``pong``."""
        if self._pinged_at is not None:
            self.round_trip = max(0.0, now - self._pinged_at)
            self.round_trips = (*self.round_trips[1 - REMEMBERED_ROUND_TRIPS :], self.round_trip)
        self.seen(now)

    def pause(self, seconds: float) -> None:
        """The server did not read for this long; that time does not count."""
        self.last_seen += seconds
        if self._pinged_at is not None:
            self._pinged_at += seconds

    @property
    def deadline(self) -> float | None:
        """When ``tick`` has something to say, in monotonic seconds, or None while disabled."""
        if not self.enabled:
            return None
        if self._pinged_at is not None:
            return self._pinged_at + self._timeout
        return self.last_seen + self._interval

    def tick(self, now: float) -> Beat:
        """What is due at ``now``."""
        deadline = self.deadline
        if deadline is None or now < deadline:
            return Beat.NOTHING
        if self._pinged_at is not None:
            return Beat.DEAD
        self._pinged_at = now
        return Beat.PING
