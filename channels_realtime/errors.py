"""The exceptions of the package, each with the wire code that a client sees.

    RealtimeError
    ├── BadMessage, BadChannel, BadPayload, Unsupported
    ├── Unauthenticated, TokenExpired, TokenInvalid, Forbidden
    ├── UnknownChannel, NotSubscribed, AlreadySubscribed, UnknownMethod
    ├── UnknownSession, NotRecoverable, Conflict
    ├── RateLimited, TooLarge, TooManySubscriptions
    ├── RequestTimeout, Unavailable
    ├── TooSlow              code that follows a channel did not keep up
    ├── ImproperUse          a bug in the calling code, never sent to a client
    └── ConnectionClosed     the connection ended before its request was answered

Raise them in a channel's hooks to refuse a request. ``publish()`` raises them too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from .protocol.codes import ErrorCode

if TYPE_CHECKING:  # which imports this module
    from .protocol.messages import Position


class RealtimeError(Exception):
    """A request or a publication failed.

    Args:
        reason: what is wrong, what was expected and the remedy. The client sees it: no secrets.
        retry_after: seconds after which the client may try again, or None.
        code: the wire code, by default the class's.
    """

    code: ErrorCode = ErrorCode.INTERNAL
    default_reason: ClassVar[str] = "internal error"

    def __init__(
        self,
        reason: str | None = None,
        *,
        retry_after: float | None = None,
        code: ErrorCode | None = None,
    ) -> None:
        self.reason = self.default_reason if reason is None else reason
        self.retry_after = retry_after
        if code is not None:
            self.code = ErrorCode(code)
        super().__init__(self.reason)


class BadMessage(RealtimeError):
    """A frame is not a message of the protocol."""

    code = ErrorCode.BAD_MESSAGE
    default_reason = "not a message of this protocol"


class BadChannel(RealtimeError):
    """A channel's name is malformed."""

    code = ErrorCode.BAD_CHANNEL
    default_reason = "not a channel name"


class BadPayload(RealtimeError):
    """A payload cannot be encoded, or a channel does not accept it."""

    code = ErrorCode.BAD_PAYLOAD
    default_reason = "payload not accepted"


class Unsupported(RealtimeError):
    """The channel or this release does not support the request."""

    code = ErrorCode.UNSUPPORTED
    default_reason = "not supported here"


class Unauthenticated(RealtimeError):
    """Credentials are missing."""

    code = ErrorCode.UNAUTHENTICATED
    default_reason = "authenticate first"


class TokenExpired(RealtimeError):
    """The token has expired."""

    code = ErrorCode.TOKEN_EXPIRED
    default_reason = "the token has expired"


class TokenInvalid(RealtimeError):
    """The token is not valid."""

    code = ErrorCode.TOKEN_INVALID
    default_reason = "the token is not valid"


class Forbidden(RealtimeError):
    """The connection's user may not do this."""

    code = ErrorCode.FORBIDDEN
    default_reason = "not allowed"


class UnknownChannel(RealtimeError):
    """No route matches, or a channel class hides what exists."""

    code = ErrorCode.UNKNOWN_CHANNEL
    default_reason = "no such channel"


class NotSubscribed(RealtimeError):
    """The connection is not subscribed to the channel."""

    code = ErrorCode.NOT_SUBSCRIBED
    default_reason = "not subscribed"


class AlreadySubscribed(RealtimeError):
    """The connection is already subscribed to the channel with these parameters.

    Args:
        reason: what the client is told.
        position: of the channel, where it has history.
    """

    code = ErrorCode.ALREADY_SUBSCRIBED
    default_reason = "already subscribed"

    def __init__(self, reason: str | None = None, *, position: Position | None = None) -> None:
        super().__init__(reason)
        self.position = position


class UnknownMethod(RealtimeError):
    """The channel has no such action."""

    code = ErrorCode.UNKNOWN_METHOD
    default_reason = "no such method"


class UnknownSession(RealtimeError):
    """There is no such session to resume: it is too old, another's, or was resumed already."""

    code = ErrorCode.UNKNOWN_SESSION
    default_reason = "no such session; subscribe anew"


class NotRecoverable(RealtimeError):
    """The history does not hold what follows the position."""

    code = ErrorCode.NOT_RECOVERABLE
    default_reason = "what follows this position is no longer kept"


class Conflict(RealtimeError):
    """A ``key`` was used for another payload, or the state is not as ``only_if`` expects."""

    code = ErrorCode.CONFLICT
    default_reason = "in conflict with an earlier publication"


class RateLimited(RealtimeError):
    """A rate limit was exceeded."""

    code = ErrorCode.RATE_LIMITED
    default_reason = "too many requests"


class TooLarge(RealtimeError):
    """A payload is over its limit."""

    code = ErrorCode.TOO_LARGE
    default_reason = "too large"


class TooManySubscriptions(RealtimeError):
    """The connection has as many subscriptions as allowed."""

    code = ErrorCode.TOO_MANY_SUBSCRIPTIONS
    default_reason = "too many subscriptions"


class RequestTimeout(RealtimeError):
    """A hook took longer than ``HOOK_TIMEOUT``."""

    code = ErrorCode.TIMEOUT
    default_reason = "the request took too long"


class Unavailable(RealtimeError):
    """The channel layer or a store did not respond."""

    code = ErrorCode.UNAVAILABLE
    default_reason = "temporarily unavailable"


class TooSlow(RealtimeError):
    """The site's own code that follows a channel, with ``subscribe()``, did not keep up."""

    default_reason = "too slow: messages were dropped"


class ImproperUse(RealtimeError):
    """The calling code misuses the package, for example by ``publish()`` on a running event loop."""


class ConnectionClosed(RealtimeError):
    """The connection ended before its request was answered, so the answer is not needed."""
