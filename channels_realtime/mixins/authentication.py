"""Authentication of a consumer's clients."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

import msgspec
from asgiref.sync import async_to_sync

from ..auth.base import Authenticated
from ..auth.tokens import takes_tokens
from ..config import Config
from ..endpoints.handshake import add_session, identify
from ..nodes.node import Node
from ..protocol.codes import CloseCode
from ..protocol.subprotocols import negotiate
from .base import ConsumerMixin
from .transport import ConsumerOptions

logger = logging.getLogger(__name__)


class AuthenticationMixin(ConsumerMixin):
    """Puts ``scope["user"]`` and ``scope["identity"]`` there before ``connect()``.

    The credentials are those of ``AUTHENTICATORS``. A connection with bad credentials is accepted and
    closed with 4401, because a browser sees no HTTP status and would try again for ever. A
    connection is closed with 4401 too when its credentials are revoked or expire, or its user logs out.

    A client with a token gets the wire's ``auth_expiring`` before it expires, and renews it in place by
    ``{"type": "auth", "token": …}``, which is answered with ``auth_ok`` or ``error`` and does not reach
    ``receive()`` (where the setting ``FIRST_MESSAGE_AUTH`` is on).

    ``scope["cookies"]`` and ``scope["session"]`` are there too, as from ``AuthMiddlewareStack``.
    """

    allow_anonymous: ClassVar[bool | None] = None
    """Whether a connection without credentials goes on; None for the setting of that name."""

    _realtime_needs_layer: ClassVar[bool] = True
    _realtime_told: ClassVar[bool] = False
    _realtime_sign_in: Any

    def authenticate(self, token: str) -> Any:
        """Sign the client in with a token from a message of the consumer's own; a coroutine if it is async.

        From then on ``scope["user"]`` is the token's user, and the connection ends with the token unless
        it is renewed. ``allow_anonymous`` must be True, or the connection is closed before its message.

        Raises:
            TokenInvalid, TokenExpired, Unauthenticated: the token is bad; counts against the address.
            Forbidden: it is another user's than the connection's.
        """
        return self._realtime_sign_in(token)

    def is_auth(self, text: str) -> bool:
        """Whether an ``auth`` with a ``token`` is the wire's.

        Override it where the consumer has a message of this name itself; ``False`` leaves it to
        ``receive()``.
        """
        return True

    async def _realtime_identify(self, node: Node) -> tuple[Authenticated | None, float]:
        scope = self.realtime.scope
        return await identify(node, scope, negotiate(scope.get("subprotocols", ())).token)

    def _realtime_options(self, config: Config) -> ConsumerOptions:
        options = super()._realtime_options(config)
        auths = config.first_message_auth and takes_tokens(config)
        return msgspec.structs.replace(options, auths=auths)

    def _realtime_identified(self, node: Node) -> None:
        connection = self.realtime
        scope = connection.scope
        scope["user"] = connection.user
        scope["identity"] = connection.identity
        add_session(scope, node.config)
        sign_in = connection.sign_in
        self._realtime_sign_in = (
            async_to_sync(sign_in) if getattr(self, "_sync", False) else sign_in
        )
        allowed = self.allow_anonymous
        if allowed is None:
            allowed = node.config.allow_anonymous
        if connection.identity.is_anonymous and not allowed:
            self._realtime_tell_of_anonymous()
            connection.close(CloseCode.UNAUTHENTICATED, "credentials are needed")
            return
        super()._realtime_identified(node)

    @classmethod
    def _realtime_tell_of_anonymous(cls) -> None:
        if cls.allow_anonymous is None and not vars(cls).get("_realtime_told"):
            cls._realtime_told = True
            logger.warning(
                "%s closes connections without credentials with 4401, before connect() and their"
                " first message. If its clients log in by a message, set allow_anonymous = True;"
                " if not, allow_anonymous = False says so.",
                cls.__qualname__,
            )
