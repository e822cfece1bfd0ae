"""Token buckets: how much of something may be done, and how long to wait for more.

A bucket holds ``burst`` tokens at most and gains ``rate`` a second; what is done takes tokens out.
Pure arithmetic over a time that is handed in.
"""

from __future__ import annotations

import msgspec


class Rate(msgspec.Struct, frozen=True):
    """A limit: ``rate`` a second on average, ``burst`` at once."""

    rate: float
    burst: float

    @classmethod
    def of(cls, value: tuple[float, float] | None) -> Rate | None:
        """A rate of a setting's ``(per second, burst)``; None for no limit."""
        return None if value is None else cls(float(value[0]), float(value[1]))


_DEBT_S = 10.0


class TokenBucket:
    """One bucket; full when made."""

    __slots__ = ("_at", "_tokens", "rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self.rate = rate
        self._tokens = rate.burst
        self._at = now

    def take(self, amount: float, now: float) -> float | None:
        """Take ``amount`` tokens.

        Returns:
            None where they were there; else the seconds until they will be, and nothing is taken.
            An amount over ``burst`` is measured against a full bucket, for it would wait for ever.
        """
        self._refill(now)
        needed = min(amount, self.rate.burst)
        if self._tokens >= needed:
            self._tokens -= needed
            return None
        if self.rate.rate <= 0:
            return 3_600.0
        return (needed - self._tokens) / self.rate.rate

    def drain(self, amount: float, now: float) -> None:
        """Take out what others have used, below nothing where it must be.

        Without that debt each of several processes whose bucket is empty anyway would give the
        whole rate. It is bounded by the burst and by what comes back in ten seconds.
        """
        self._refill(now)
        most = max(self.rate.burst, self.rate.rate * _DEBT_S)
        self._tokens = max(-most, self._tokens - amount)

    def is_empty(self, now: float) -> bool:
        """Whether there is not one token."""
        self._refill(now)
        return self._tokens < 1.0

    def _refill(self, now: float) -> None:
        gained = max(0.0, now - self._at) * self.rate.rate
        self._tokens = min(self.rate.burst, self._tokens + gained)
        self._at = now


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one connection, each by the key of its setting; None is no limit."""

    messages: Rate | None = None
    bytes: Rate | None = None
    publishes: Rate | None = None
    failures: Rate | None = None
    patience: float = 100.0
    """Refusals within ten seconds or so after which the connection is closed with 4429."""


class LimitExceeded(msgspec.Struct, frozen=True):
    """A limit that is exceeded.

    Args:
        limit: the key of its setting.
        retry_after: seconds until there is room again.
    """

    limit: str
    retry_after: float


_PATIENCE_S = 10.0


class Throttle:
    """What one connection may still do. Buckets are made at the first use: most need none."""

    __slots__ = ("_buckets", "_patience", "_rates")

    def __init__(self, rates: Rates) -> None:
        self._rates = rates
        self._buckets: dict[str, TokenBucket] = {}
        self._patience: TokenBucket | None = None

    def message(self, size: float, now: float) -> LimitExceeded | None:
        """One message came that took ``size`` bytes on the wire."""
        return self._take("CONNECTION_MESSAGES", self._rates.messages, 1.0, now) or self._take(
            "CONNECTION_BYTES", self._rates.bytes, size, now
        )

    def publish(self, now: float) -> LimitExceeded | None:
        """One publish is asked for."""
        return self._take("CONNECTION_PUBLISHES", self._rates.publishes, 1.0, now)

    def failure(self, now: float) -> LimitExceeded | None:
        """One request failed; what exceeds this limit ends the connection."""
        return self._take("CONNECTION_FAILURES", self._rates.failures, 1.0, now)

    def refused(self, now: float) -> bool:
        """One more was refused; True where that has gone on for too long."""
        if self._patience is None:
            burst = self._rates.patience
            self._patience = TokenBucket(Rate(burst / _PATIENCE_S, burst), now)
        return self._patience.take(1.0, now) is not None

    def _take(
        self, limit: str, rate: Rate | None, amount: float, now: float
    ) -> LimitExceeded | None:
        if rate is None:
            return None
        bucket = self._buckets.get(limit)
        if bucket is None:
            bucket = self._buckets[limit] = TokenBucket(rate, now)
        retry_after = bucket.take(amount, now)
        return None if retry_after is None else LimitExceeded(limit, round(retry_after, 3))
