"""What a client raises, beside the errors that the server answers.

RealtimeError                  ``channels_realtime.errors``; the server's answers, a class for each code
└── ClientError                of the client itself
    ├── ConnectFailed          no connection could be made in time
    ├── HandshakeRefused       the server answered the handshake with an HTTP status
    ├── ConnectionLost         the connection ended before the answer; it may have been carried out
    ├── QueueFull              too much waits for a connection
    └── Closed                 the client has ended and does not reconnect
        ├── SignedOut          4401: no credentials, or they were refused or revoked
        ├── Blocked            4403: blocked, or disconnected by an administrator
        ├── VersionRefused     4406: no version of the protocol in common
        ├── Replaced           4409: the session was resumed elsewhere
        ├── FrameTooLarge      4413, 1009: a frame was larger than the server takes
        └── BadMessages        4400: the server could not read what it was sent
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import errors
from ..errors import RealtimeError
from ..protocol.codes import CloseCode, ErrorCode
from .values import position_in


class ClientError(RealtimeError):
    """An error of the client itself, which the server did not send."""

    code = ErrorCode.UNAVAILABLE
    default_reason = "the client is not connected"


class ConnectFailed(ClientError):
    """No connection could be made. ``__cause__`` is why the last attempt failed, where that is known."""


class HandshakeRefused(ClientError):
    """The server answered the handshake with an HTTP status: ``__cause__`` of ``ConnectFailed``."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the handshake was answered with HTTP {status}")
        self.status = status


class ConnectionLost(ClientError):
    """The connection ended before the request was answered. The server may have carried it out."""


class QueueFull(ClientError):
    """Too many requests, or too many bytes of them, wait for an answer or a connection."""


class Closed(ClientError):
    """The client has ended and does not reconnect.

    Args:
        close_code: of the protocol's table, or of RFC 6455; 1000 where the program closed the client.
        reason: what the server said, or what the client knows.
    """

    def __init__(self, close_code: int, reason: str) -> None:
        super().__init__(f"{reason or 'closed by the server'} ({close_code})")
        self.close_code = close_code


class SignedOut(Closed):
    """There are no credentials, or the server does not accept them, or not any longer."""

    code = ErrorCode.UNAUTHENTICATED


class Blocked(Closed):
    """The client is blocked, or was disconnected by an administrator."""

    code = ErrorCode.FORBIDDEN


class VersionRefused(Closed):
    """Client and server have no version of the protocol in common."""

    code = ErrorCode.UNSUPPORTED


class Replaced(Closed):
    """The session was resumed by another connection."""


class FrameTooLarge(Closed):
    """A frame was larger than the server takes."""

    code = ErrorCode.TOO_LARGE


class BadMessages(Closed):
    """The server could not read what it was sent."""

    code = ErrorCode.BAD_MESSAGE


_CLOSED: Mapping[int, type[Closed]] = {
    CloseCode.UNAUTHENTICATED: SignedOut,
    CloseCode.BLOCKED: Blocked,
    CloseCode.VERSION: VersionRefused,
    CloseCode.REPLACED: Replaced,
    CloseCode.TOO_LARGE: FrameTooLarge,
    1009: FrameTooLarge,
    CloseCode.BAD_MESSAGES: BadMessages,
}


def closed(code: int, reason: str) -> Closed:
    """The error for a close code after which the client does not reconnect."""
    return _CLOSED.get(code, Closed)(code, reason)


_ANSWERS: Mapping[str, type[RealtimeError]] = {
    cls.code: cls
    for cls in (
        errors.BadMessage,
        errors.BadChannel,
        errors.BadPayload,
        errors.Unsupported,
        errors.Unauthenticated,
        errors.TokenExpired,
        errors.TokenInvalid,
        errors.Forbidden,
        errors.UnknownChannel,
        errors.NotSubscribed,
        errors.UnknownMethod,
        errors.UnknownSession,
        errors.NotRecoverable,
        errors.Conflict,
        errors.RateLimited,
        errors.TooLarge,
        errors.TooManySubscriptions,
        errors.RequestTimeout,
        errors.Unavailable,
    )
}


def answered(payload: Any) -> RealtimeError:
    """The error that a payload of ``error`` or ``unsubscribed`` stands for.

    A code that this release does not know, or that has no class, makes a plain ``RealtimeError``.
    """
    payload = payload if isinstance(payload, dict) else {}
    code, reason = str(payload.get("code")), str(payload.get("reason") or "")
    retry_after = payload.get("retry_after")
    if not isinstance(retry_after, (int, float)):
        retry_after = None
    if code == ErrorCode.ALREADY_SUBSCRIBED:
        return errors.AlreadySubscribed(reason or None, position=position_in(payload))
    found = _ANSWERS.get(code)
    if found is not None:
        return found(reason or None, retry_after=retry_after)
    return RealtimeError(f"{code}: {reason}", retry_after=retry_after)
