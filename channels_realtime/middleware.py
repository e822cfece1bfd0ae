"""Authentication around anyone's own Channels consumer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from django.contrib.auth.models import AnonymousUser

from .access.client_address import client_address
from .auth.base import Authenticated, Handshake
from .auth.handshake import authenticate_handshake
from .errors import TokenExpired, TokenInvalid, Unauthenticated
from .identity import ANONYMOUS, Identity
from .nodes.node import current_node
from .protocol.codes import CloseCode
from .protocol.subprotocols import negotiate

AUTHENTICATED = "channels_realtime.authenticated"
"""The scope key under which a consumer of ours finds what a middleware found."""

Receive = Callable[[], Awaitable[Any]]
SendEvent = Callable[[dict[str, Any]], Awaitable[None]]


class AuthMiddleware:
    """Puts ``scope["user"]`` and ``scope["identity"]`` in front of a consumer.

    A handshake without credentials goes on as anonymous. One with bad credentials is accepted and
    closed with 4401, because a browser sees no HTTP status and would try again for ever; so is one
    whose credentials were revoked, and with 4403 one of a user or an address that is blocked. A
    consumer that is not one of ours is not ended later: whatever revokes its credentials while it
    lives is for it to notice.

    Args:
        application: an ASGI application, such as a Channels consumer or router.
    """

    def __init__(self, application: Callable[..., Awaitable[Any]]) -> None:
        self._application = application

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Receive, send: SendEvent
    ) -> None:
        """The ASGI application."""
        if scope["type"] not in ("websocket", "http"):
            await self._application(scope, receive, send)
            return
        node = current_node()
        negotiation = negotiate(scope.get("subprotocols", ()), node.config.subprotocols)
        handshake = Handshake(scope, node.config, negotiation.token)
        read_at = node.clock.time()
        try:
            found = await authenticate_handshake(handshake, node.hooks)
            if found is not None:
                await node.guard.ready()
                if node.guard.revokes(found.identity):
                    raise TokenInvalid("the credentials were revoked")
                await node.blocks.ready()
                address = client_address(scope, node.config)
                if node.blocks.blocks(found.identity.user_id, address):
                    node.denied(scope, "blocked")
                    raise _Blocked
        except (TokenExpired, TokenInvalid, Unauthenticated, _Blocked) as refusal:
            if scope["type"] == "websocket":
                # A browser sees no close code either without one of those that it offered.
                answer = negotiation.answer
                if answer is None and negotiation.token is None:  # no token goes back
                    answer = next(iter(scope.get("subprotocols", ())), None)
                blocked = isinstance(refusal, _Blocked)
                code = CloseCode.BLOCKED if blocked else CloseCode.UNAUTHENTICATED
                await _accept_and_close(receive, send, answer, code)
                return
            found = None
        identity: Identity = ANONYMOUS if found is None else found.identity
        user = AnonymousUser() if found is None else found.user
        scope = {
            **scope,
            "user": user,
            "identity": identity,
            AUTHENTICATED: (found, read_at),
        }
        await self._application(scope, receive, send)


class _Blocked(Exception):
    """Whoever was proven may not connect for a time."""


async def _accept_and_close(
    receive: Receive, send: SendEvent, answer: str | None, code: CloseCode
) -> None:
    event = await receive()
    if event["type"] != "websocket.connect":
        return
    accept: dict[str, Any] = {"type": "websocket.accept"}
    if answer is not None:
        accept["subprotocol"] = answer
    await send(accept)
    await send({"type": "websocket.close", "code": int(code)})


def from_scope(scope: Mapping[str, Any]) -> tuple[Authenticated | None, float] | None:
    """What an ``AuthMiddleware``, or another of the site's own, found; None where there was none."""
    found: tuple[Authenticated | None, float] | None = scope.get(AUTHENTICATED)
    return found


def user_from_scope(scope: Mapping[str, Any]) -> Authenticated | None:
    """The user that another middleware put into the scope, such as Channels' own."""
    user = scope.get("user")
    try:
        if user is None or not user.is_authenticated:
            return None
    except (AttributeError, ValueError):  # Channels' lazy user, before its middleware has run
        return None
    return Authenticated(identity=Identity(user_id=str(user.pk), method="scope"), user=user)
