"""Where a handshake may carry a token, and the function that verifies it (``TOKEN_VERIFIER``)."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.util import find_spec

from django.utils.module_loading import import_string

from ..config import Config
from ..conversation.throttling import Rate, TokenBucket
from ..errors import TokenInvalid
from ..protocol.subprotocols import TOKEN_PREFIX, shape_of
from .base import Authenticated, Authenticator, Handshake
from .token_header import JWT_VERIFIER, header_token, token_header

logger = logging.getLogger(__name__)

MAX_TOKEN_LENGTH = 16_384
"""In characters. No server accepts a header as long as this."""

Verifier = Callable[[str], Authenticated]
"""Verifies a token. It may block, and raises TokenInvalid or TokenExpired."""


def takes_tokens(config: Config) -> bool:
    """Whether this site can verify tokens. If not, no token is looked for.

    Called on the event loop for each handshake, so it imports nothing: a site that uses only login
    sessions never loads DRF.
    """
    path = config.token_verifier
    return path is not None and (path != JWT_VERIFIER or _has_simplejwt())


def token_verifier(config: Config) -> Verifier | None:
    """Return the function that verifies tokens, or None. The first call imports it."""
    if config.token_verifier is None or not takes_tokens(config):
        return None
    verifier: Verifier = import_string(config.token_verifier)
    return verifier


@lru_cache(maxsize=1)
def _has_simplejwt() -> bool:
    try:
        return find_spec("rest_framework_simplejwt") is not None
    except ModuleNotFoundError:  # from an import hook that does not let it be found
        return False


def verify_token(token: str, config: Config, source: str) -> Authenticated:
    """Verify a token. Blocks.

    Args:
        token: the token.
        config: the settings.
        source: where the token came from, for ``Identity.source``.

    Raises:
        TokenInvalid, TokenExpired: the token is not valid, or no longer.
    """
    verifier = token_verifier(config)
    if verifier is None:
        raise TokenInvalid("this site accepts no tokens")
    if not token or len(token) > MAX_TOKEN_LENGTH or not token.isascii():
        raise TokenInvalid
    found = verifier(token)
    return dataclasses.replace(found, identity=dataclasses.replace(found.identity, source=source))


class TokenSource(Authenticator):
    """Authenticates by a token in the handshake; each subclass looks in one place."""

    source = ""

    def find(self, handshake: Handshake) -> str | None:
        """Return the token, if the site accepts tokens and there is one in this place."""
        token = self.token(handshake)
        return token if token is not None and takes_tokens(handshake.config) else None

    def token(self, handshake: Handshake) -> str | None:
        """Return the token in this place, or None. Override it to look in another place."""
        raise NotImplementedError

    def authenticate(self, credential: str, handshake: Handshake) -> Authenticated:
        """Verify the token."""
        return verify_token(credential, handshake.config, self.source)


class HeaderToken(TokenSource):
    """Looks in ``Authorization: Bearer <token>``, which browsers cannot send with a WebSocket.

    Header and schemes follow simplejwt's settings; see ``token_header``.
    """

    source = "header"

    def token(self, handshake: Handshake) -> str | None:
        """Return the token; for other schemes see ``token_header``."""
        return header_token(handshake.headers(token_header()), handshake.config)


class SubprotocolToken(TokenSource):
    """Looks among the offered subprotocols, the only header that a browser's page can set."""

    source = "subprotocol"

    def token(self, handshake: Handshake) -> str | None:
        """Return the token that the subprotocol negotiation found; it may be empty."""
        return handshake.subprotocol_token

    def authenticate(self, credential: str, handshake: Handshake) -> Authenticated:
        """Verify the token."""
        offered = handshake.scope.get("subprotocols", ())
        if not credential and TOKEN_PREFIX not in offered:  # that is the right form of no token
            log_offer(offered, handshake.config, "carry no one token")
            raise TokenInvalid("the subprotocols carry no one token; expected 'jwt' and the token")
        return super().authenticate(credential, handshake)


def log_offer(offered: Sequence[str], config: Config, fault: str) -> None:
    """Log an offer of subprotocols that leads nowhere, by its shape: it may hold a token.

    Args:
        offered: the names.
        config: the settings.
        fault: what is wrong, with the names as its subject.
    """
    if _log_bucket.take(1.0, time.monotonic()) is not None:
        return
    logger.warning(
        "A client offered the subprotocols [%s], which %s. Expected 'realtime.v1.json' or another that"
        " is served, and for a token 'jwt' and the token after it.",
        shape_of(offered, config.subprotocols),
        fault,
    )


_log_bucket = TokenBucket(Rate(0.2, 20.0), time.monotonic())
"""How often offers are logged, so that clients cannot fill the log."""


class QueryToken(TokenSource):
    """Looks in ``?token=<token>``. URLs end up in access logs, so it is off unless ``QUERY_TOKEN`` is set."""

    source = "query"

    def token(self, handshake: Handshake) -> str | None:
        """Return the query parameter ``token``."""
        return handshake.query.get("token") if handshake.config.query_token else None


class CookieToken(TokenSource):
    """Looks in the cookie that ``JWT_COOKIE`` names."""

    source = "cookie"

    def token(self, handshake: Handshake) -> str | None:
        """Return the cookie's value."""
        name = handshake.config.jwt_cookie
        return (handshake.cookies.get(name) or None) if name else None
