"""Authentication of a consumer's clients."""

from __future__ import annotations

from typing import ClassVar

from ..auth.base import Authenticated
from ..endpoints.handshake import identify
from ..nodes.node import Node
from ..protocol.subprotocols import negotiate
from .base import ConsumerMixin, close_unauthenticated


class AuthenticationMixin(ConsumerMixin):
    """Puts ``scope["user"]`` and ``scope["identity"]`` there before ``connect()``.

    The credentials are those of ``AUTHENTICATORS``. A connection with bad credentials is accepted and
    closed with 4401, because a browser sees no HTTP status and would try again for ever. A
    connection is closed with 4401 too when its credentials are revoked or expire, or its user logs out.
    """

    allow_anonymous: ClassVar[bool | None] = None
    """Whether a connection without credentials goes on; None for the setting of that name."""

    _realtime_needs_layer: ClassVar[bool] = True

    async def _realtime_identify(self, node: Node) -> tuple[Authenticated | None, float]:
        scope = self.realtime.scope
        return await identify(node, scope, negotiate(scope.get("subprotocols", ())).token)

    def _realtime_identified(self, node: Node) -> None:
        connection = self.realtime
        scope = connection.scope
        scope["user"] = connection.user
        scope["identity"] = connection.identity
        allowed = self.allow_anonymous
        if allowed is None:
            allowed = node.config.allow_anonymous
        if connection.identity.is_anonymous and not allowed:
            close_unauthenticated(connection)
            return
        super()._realtime_identified(node)
