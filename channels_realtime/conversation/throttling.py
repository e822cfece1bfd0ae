"""Rate limits by token buckets: whether something is allowed now, and if not, how long to wait.

A bucket holds at most ``burst`` tokens and gains ``rate`` tokens per second; each action takes some.
Time is an argument.
"""

from __future__ import annotations

import msgspec


class Rate(msgspec.Struct, frozen=True):
    """A limit: ``rate`` per second on average, and ``burst`` at once."""

    rate: float
    burst: float

    @classmethod
    def of(cls, value: tuple[float, float] | None) -> Rate | None:
        """Return the rate of a setting's ``(per second, burst)``; None is no limit."""
        return None if value is None else cls(float(value[0]), float(value[1]))


_DEBT_S = 10.0


class TokenBucket:
    """One bucket, full at first."""

    __slots__ = ("_at", "_tokens", "rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self.rate = rate
        self._tokens = rate.burst
        self._at = now

    def take(self, amount: float, now: float) -> float | None:
        """Take ``amount`` tokens.

        Returns:
            None if the tokens were taken. Otherwise the seconds until they are there; none is taken.
            An amount over ``burst`` needs only a full bucket, because it would wait for ever.
        """
        # As in ``_refill``, without the call: this is asked twice for each message.
        tokens, rate = self._tokens, self.rate
        burst = rate.burst
        if now > self._at:
            tokens += (now - self._at) * rate.rate
            if tokens > burst:
                tokens = burst
        self._at = now
        needed = amount if amount < burst else burst
        if tokens >= needed:
            self._tokens = tokens - needed
            return None
        self._tokens = tokens
        return (needed - tokens) / rate.rate if rate.rate > 0 else 3_600.0

    def drain(self, amount: float, now: float) -> None:
        """Take the tokens that other processes have used, even below zero.

        Without this debt, each of several processes with an empty bucket would still allow the whole
        rate. The debt is at most the burst, or what ten seconds bring back if that is more.
        """
        self._refill(now)
        most = max(self.rate.burst, self.rate.rate * _DEBT_S)
        self._tokens = max(-most, self._tokens - amount)

    def is_empty(self, now: float) -> bool:
        """Whether there is less than one token."""
        return self._refill(now) < 1.0

    def _refill(self, now: float) -> float:
        tokens, rate = self._tokens, self.rate
        if now > self._at:
            tokens += (now - self._at) * rate.rate
        if tokens > rate.burst:
            tokens = rate.burst
        self._at = now
        self._tokens = tokens
        return tokens


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """The rate limits of one connection; None is no limit."""

    messages: Rate | None = None
    bytes: Rate | None = None
    publishes: Rate | None = None
    failures: Rate | None = None
    patience: float = 100.0
    """After this many refusals within about ten seconds, the connection is closed with 4429."""


class LimitExceeded(msgspec.Struct, frozen=True):
    """A limit that is exceeded.

    Args:
        limit: the key of its setting.
        retry_after: seconds after which the client may try again.
    """

    limit: str
    retry_after: float


_PATIENCE_S = 10.0


class Throttle:
    """The buckets of one connection, made at their first use because most connections need none."""

    __slots__ = ("_bytes", "_failures", "_messages", "_patience", "_publishes", "_rates")

    def __init__(self, rates: Rates) -> None:
        self._rates = rates
        self._messages: TokenBucket | None = None
        self._bytes: TokenBucket | None = None
        self._publishes: TokenBucket | None = None
        self._failures: TokenBucket | None = None
        self._patience: TokenBucket | None = None

    def message(self, size: float, now: float) -> LimitExceeded | None:
        """One message came that took ``size`` bytes on the wire."""
        rates = self._rates
        if rates.messages is not None:
            if self._messages is None:
                self._messages = TokenBucket(rates.messages, now)
            wait = self._messages.take(1.0, now)
            if wait is not None:
                return _exceeded("CONNECTION_MESSAGES", wait)
        if rates.bytes is not None:
            if self._bytes is None:
                self._bytes = TokenBucket(rates.bytes, now)
            wait = self._bytes.take(size, now)
            if wait is not None:
                return _exceeded("CONNECTION_BYTES", wait)
        return None

    def publish(self, now: float) -> LimitExceeded | None:
        """One publish is asked for."""
        if self._rates.publishes is None:
            return None
        if self._publishes is None:
            self._publishes = TokenBucket(self._rates.publishes, now)
        wait = self._publishes.take(1.0, now)
        return None if wait is None else _exceeded("CONNECTION_PUBLISHES", wait)

    def failure(self, now: float) -> LimitExceeded | None:
        """One request failed; what exceeds this limit ends the connection."""
        if self._rates.failures is None:
            return None
        if self._failures is None:
            self._failures = TokenBucket(self._rates.failures, now)
        wait = self._failures.take(1.0, now)
        return None if wait is None else _exceeded("CONNECTION_FAILURES", wait)

    def refused(self, now: float) -> bool:
        """Count one refusal; returns True if there were too many."""
        if self._patience is None:
            burst = self._rates.patience
            self._patience = TokenBucket(Rate(burst / _PATIENCE_S, burst), now)
        return self._patience.take(1.0, now) is not None


def _exceeded(limit: str, wait: float) -> LimitExceeded:
    return LimitExceeded(limit, round(wait, 3))
