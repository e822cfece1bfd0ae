"""Middleware for any ASGI application: the origin check, and authentication."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from .access.origins import OriginPolicy
from .auth.base import Authenticated
from .auth.users import anonymous_user
from .config import OriginRule
from .endpoints.handshake import (
    CREDENTIAL_ERRORS,
    Receive,
    Scope,
    SendEvent,
    accept_and_close,
    add_session,
    code_of_credentials,
    credentials_failed,
    identify,
    origin_refusal,
    refusal,
    refuse,
)
from .identity import ANONYMOUS
from .mixins.unmixed import UnmixedConnection
from .nodes.node import Node
from .protocol.codes import CloseCode
from .protocol.subprotocols import negotiate
from .services import current_node

Application = Callable[[Scope, Receive, SendEvent], Awaitable[Any]]


class OriginMiddleware:
    """Refuses handshakes from foreign pages; for any Channels consumer.

    Args:
        application: what it protects.
        allowed: as for ``OriginPolicy``, by default what the settings say.
        allow_missing: whether a handshake without ``Origin`` passes; only with ``allowed``.
    """

    def __init__(
        self,
        application: Application,
        allowed: Iterable[str] | OriginRule | None = None,
        *,
        allow_missing: bool = True,
    ) -> None:
        self._application = application
        self._policy = (
            None
            if allowed is None
            else OriginPolicy.of(
                allowed, "The list of OriginMiddleware", allow_missing=allow_missing
            )
        )

    async def __call__(self, scope: Scope, receive: Receive, send: SendEvent) -> None:
        """The ASGI application."""
        if scope["type"] == "websocket":
            scope = dict(scope)
            node = current_node()
            refused = origin_refusal(node, scope, self._policy)
            if refused is not None:
                await refuse(node, scope, receive, send, refused)
                return
        await self._application(scope, receive, send)


class AuthMiddleware:
    """Puts ``scope["user"]`` and ``scope["identity"]`` in front of a consumer.

    ``scope["cookies"]`` and ``scope["session"]`` are there too, as from ``AuthMiddlewareStack``.

    A handshake without credentials goes on as anonymous. One with bad credentials is accepted and
    closed with 4401, because a browser sees no HTTP status and would try again for ever; so is one
    whose credentials were revoked, and with 4403 one of a user or an address that is blocked. Bad
    credentials count against their address (``ADDRESS_FAILURES``).

    The connection of a consumer without mixins is known to the node once it is accepted: it is in the
    admin, drains with the node, and is closed when its credentials are revoked or its user is
    blocked. That its credentials expire has no effect; ``AuthenticationMixin`` sees to that.

    Args:
        application: an ASGI application, such as a Channels consumer or router.
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: SendEvent) -> None:
        """The ASGI application."""
        if scope["type"] not in ("websocket", "http"):
            await self._application(scope, receive, send)
            return
        scope = dict(scope)
        node = current_node()
        is_websocket = scope["type"] == "websocket"
        refused = refusal(node, scope) if is_websocket else None
        if refused is not None:
            await refuse(node, scope, receive, send, refused)
            return
        negotiation = negotiate(scope.get("subprotocols", ()), node.config.subprotocols)
        found, code = await _authenticate(node, scope, negotiation.token)
        if code is not None and is_websocket:
            await accept_and_close(scope, receive, send, negotiation, code)
            return
        scope["user"] = anonymous_user() if found is None else found.user
        scope["identity"] = ANONYMOUS if found is None else found.identity
        add_session(scope, node.config)
        if is_websocket:
            await UnmixedConnection(node, scope, receive, send).serve(self._application)
        else:
            await self._application(scope, receive, send)


async def _authenticate(
    node: Node, scope: Scope, token: str | None
) -> tuple[Authenticated | None, CloseCode | None]:
    """Whose handshake this is, and the close code where it may not go on."""
    try:
        found, _ = await identify(node, scope, token)
    except CREDENTIAL_ERRORS:
        credentials_failed(node, scope)
        return None, CloseCode.UNAUTHENTICATED
    code = await code_of_credentials(node, scope, found)
    if code is None:
        return found, None
    node.denied(scope, "blocked" if code is CloseCode.BLOCKED else "credentials")
    return None, code
