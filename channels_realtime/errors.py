"""The exceptions of the package, each with the wire code that a client sees.

    RealtimeError
    ├── BadMessage, BadChannel, BadPayload, Unsupported
    ├── Unauthenticated, TokenExpired, TokenInvalid, Forbidden
    ├── UnknownChannel, NotSubscribed, AlreadySubscribed, UnknownMethod
    ├── RateLimited, TooLarge, TooManySubscriptions
    ├── RequestTimeout, Unavailable
    ├── ImproperUse          the caller's own mistake, never sent to a client
    └── ConnectionClosed     the connection ended while a request was being served

Hooks of a channel raise them to refuse a request; ``publish()`` raises them in its caller.
"""

from __future__ import annotations

from typing import ClassVar

from .protocol.codes import ErrorCode


class RealtimeError(Exception):
    """A request or a publication failed.

    Args:
        reason: what was got, what was expected and the remedy. It reaches the client: no secrets.
        retry_after: seconds after which trying again may succeed, or None.
        code: the wire code, by default that of the class.
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
    """A channel's name breaks the grammar."""

    code = ErrorCode.BAD_CHANNEL
    default_reason = "not a channel name"


class BadPayload(RealtimeError):
    """A payload cannot be encoded, or a channel does not accept it."""

    code = ErrorCode.BAD_PAYLOAD
    default_reason = "payload not accepted"


class Unsupported(RealtimeError):
    """The channel, or this release, does not offer what was asked for."""

    code = ErrorCode.UNSUPPORTED
    default_reason = "not supported here"


class Unauthenticated(RealtimeError):
    """Credentials are missing."""

    code = ErrorCode.UNAUTHENTICATED
    default_reason = "authenticate first"


class TokenExpired(RealtimeError):
    """The token was good once."""

    code = ErrorCode.TOKEN_EXPIRED
    default_reason = "the token has expired"


class TokenInvalid(RealtimeError):
    """The token proves nothing."""

    code = ErrorCode.TOKEN_INVALID
    default_reason = "the token is not valid"


class Forbidden(RealtimeError):
    """The identity of the connection may not do this."""

    code = ErrorCode.FORBIDDEN
    default_reason = "not allowed"


class UnknownChannel(RealtimeError):
    """No route matches, or a channel class hides what exists."""

    code = ErrorCode.UNKNOWN_CHANNEL
    default_reason = "no such channel"


class NotSubscribed(RealtimeError):
    """The connection is not on the channel."""

    code = ErrorCode.NOT_SUBSCRIBED
    default_reason = "not subscribed"


class AlreadySubscribed(RealtimeError):
    """The connection is on the channel with these parameters."""

    code = ErrorCode.ALREADY_SUBSCRIBED
    default_reason = "already subscribed"


class UnknownMethod(RealtimeError):
    """The channel has no such action."""

    code = ErrorCode.UNKNOWN_METHOD
    default_reason = "no such method"


class RateLimited(RealtimeError):
    """Too much in too short a time."""

    code = ErrorCode.RATE_LIMITED
    default_reason = "too many requests"


class TooLarge(RealtimeError):
    """A payload is over its limit."""

    code = ErrorCode.TOO_LARGE
    default_reason = "too large"


class TooManySubscriptions(RealtimeError):
    """The connection holds all the subscriptions it may."""

    code = ErrorCode.TOO_MANY_SUBSCRIPTIONS
    default_reason = "too many subscriptions"


class RequestTimeout(RealtimeError):
    """A hook took longer than ``HOOK_TIMEOUT``."""

    code = ErrorCode.TIMEOUT
    default_reason = "the request took too long"


class Unavailable(RealtimeError):
    """The channel layer or a store did not answer."""

    code = ErrorCode.UNAVAILABLE
    default_reason = "temporarily unavailable"


class ImproperUse(RealtimeError):
    """The calling code misuses the package, as ``publish()`` on a running event loop does."""


class ConnectionClosed(RealtimeError):
    """The connection ended while its request was being served; nobody waits for the answer."""
