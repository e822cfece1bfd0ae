"""Error codes, close codes, and whether a client reconnects after them.

4000 to 4999 are for private use (RFC 6455, section 7.4.2). The digits after the 4 are those of the
HTTP status with the same meaning, if there is one.
"""

from __future__ import annotations

import enum


class ErrorCode(enum.StrEnum):
    """``payload.code`` of an ``error``: the request failed, but the connection stays open."""

    BAD_MESSAGE = "bad_message"
    UNKNOWN_TYPE = "unknown_type"
    UNSUPPORTED = "unsupported"
    UNAUTHENTICATED = "unauthenticated"
    TOKEN_EXPIRED = "token_expired"  # noqa: S105 - a code, not a token
    TOKEN_INVALID = "token_invalid"  # noqa: S105
    FORBIDDEN = "forbidden"
    UNKNOWN_CHANNEL = "unknown_channel"
    BAD_CHANNEL = "bad_channel"
    BAD_PAYLOAD = "bad_payload"
    NOT_SUBSCRIBED = "not_subscribed"
    ALREADY_SUBSCRIBED = "already_subscribed"
    UNKNOWN_METHOD = "unknown_method"
    UNKNOWN_SESSION = "unknown_session"
    NOT_RECOVERABLE = "not_recoverable"
    CONFLICT = "conflict"
    RATE_LIMITED = "rate_limited"
    TOO_LARGE = "too_large"
    TOO_MANY_SUBSCRIPTIONS = "too_many_subscriptions"
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class CloseCode(enum.IntEnum):
    """Close codes that this package gives to the ASGI server."""

    NORMAL = 1000
    BAD_MESSAGES = 4400
    UNAUTHENTICATED = 4401
    BLOCKED = 4403
    VERSION = 4406
    HEARTBEAT = 4408
    REPLACED = 4409
    TOO_LARGE = 4413
    RATE_LIMITED = 4429
    SLOW_CONSUMER = 4430
    INTERNAL = 4500
    GOING_AWAY = 4503

    @property
    def reconnect(self) -> bool:
        """Whether a client reconnects by itself (after 4401, when it has new credentials)."""
        return self in _RECONNECT

    @property
    def rfc(self) -> int:
        """The code of RFC 6455, section 7.4.1, that ``CLOSE_CODES = "rfc"`` sends instead."""
        return _RFC[self]

    def for_plain(self, *, reconnect: bool) -> int:
        """The code for a client that did not negotiate our protocol, such as htmx or RxJS.

        Such clients know the codes of RFC 6455 alone. Most come back after 1012 and stay away after 1008.

        Args:
            reconnect: whether it should come back. After 4401 it should not: it cannot know when it has
                other credentials.
        """
        if self is CloseCode.NORMAL and not reconnect:
            return 1000
        return 1012 if reconnect and self is not CloseCode.UNAUTHENTICATED else 1008


_RECONNECT = frozenset(
    {
        CloseCode.UNAUTHENTICATED,
        CloseCode.HEARTBEAT,
        CloseCode.RATE_LIMITED,
        CloseCode.SLOW_CONSUMER,
        CloseCode.INTERNAL,
        CloseCode.GOING_AWAY,
    }
)

_RFC = {
    CloseCode.NORMAL: 1000,
    CloseCode.BAD_MESSAGES: 1002,
    CloseCode.UNAUTHENTICATED: 1008,
    CloseCode.BLOCKED: 1008,
    CloseCode.VERSION: 1002,
    CloseCode.HEARTBEAT: 1001,
    CloseCode.REPLACED: 1008,
    CloseCode.TOO_LARGE: 1009,
    CloseCode.RATE_LIMITED: 1008,
    CloseCode.SLOW_CONSUMER: 1008,
    CloseCode.INTERNAL: 1011,
    CloseCode.GOING_AWAY: 1012,
}
