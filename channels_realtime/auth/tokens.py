"""The places that a token may travel in, and the setting that says who verifies it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec

from django.utils.module_loading import import_string

from ..config import Config
from ..errors import TokenInvalid
from .base import Authenticated, Authenticator, Handshake

JWT_VERIFIER = "channels_realtime.auth.jwt.verify_jwt"

MAX_TOKEN_LENGTH = 16_384
"""Characters; longer than any header a server takes."""

Verifier = Callable[[str], Authenticated]
"""Judges a token; may block. Raises TokenInvalid or TokenExpired."""


def takes_tokens(config: Config) -> bool:
    """Whether this site has a verifier of tokens; without one every token source is off.

    Asked on the event loop for each handshake, so it imports nothing: a site with login sessions
    alone never loads DRF.
    """
    path = config.token_verifier
    return path is not None and (path != JWT_VERIFIER or _has_simplejwt())


def token_verifier(config: Config) -> Verifier | None:
    """Who verifies tokens, or None where this site has none; the first call imports it."""
    if config.token_verifier is None or not takes_tokens(config):
        return None
    verifier: Verifier = import_string(config.token_verifier)
    return verifier


@lru_cache(maxsize=1)
def _has_simplejwt() -> bool:
    return find_spec("rest_framework_simplejwt") is not None


def verify_token(token: str, config: Config, source: str) -> Authenticated:
    """Judge a token from any source; blocks.

    Raises:
        TokenInvalid, TokenExpired: it proves nothing, or no longer.
    """
    verifier = token_verifier(config)
    if verifier is None:
        raise TokenInvalid("this site takes no tokens")
    if not token or len(token) > MAX_TOKEN_LENGTH or not token.isascii():
        raise TokenInvalid
    found = verifier(token)
    return dataclasses.replace(found, identity=dataclasses.replace(found.identity, source=source))


class TokenSource(Authenticator):
    """A token somewhere in the handshake."""

    source = ""

    def find(self, handshake: Handshake) -> str | None:
        """The token, if tokens are taken at all and one is here."""
        return self.token(handshake) if takes_tokens(handshake.config) else None

    def token(self, handshake: Handshake) -> str | None:
        """Where to look; override it for a further place."""
        raise NotImplementedError

    def authenticate(self, credential: str, handshake: Handshake) -> Authenticated:
        """Whose token it is."""
        return verify_token(credential, handshake.config, self.source)


class HeaderToken(TokenSource):
    """``Authorization: Bearer <token>``, which clients other than browsers can send."""

    source = "header"

    def token(self, handshake: Handshake) -> str | None:
        """The bearer token; other schemes are none of ours."""
        values = handshake.headers("authorization")
        if len(values) > 1:
            return ""  # two proofs at once: present, and bad
        for value in values:
            scheme, _, token = value.partition(" ")
            if scheme.lower() == "bearer":
                return token.strip()
        return None


class SubprotocolToken(TokenSource):
    """A token among the offered subprotocols: the one free field of a browser's handshake."""

    source = "subprotocol"

    def token(self, handshake: Handshake) -> str | None:
        """What negotiation found."""
        return handshake.subprotocol_token


class QueryToken(TokenSource):
    """``?token=<token>``, which ends up in access logs: off unless ``QUERY_TOKEN`` is set."""

    source = "query"

    def token(self, handshake: Handshake) -> str | None:
        """The parameter ``token``."""
        return handshake.query.get("token") if handshake.config.query_token else None


class CookieToken(TokenSource):
    """A token in the cookie that ``JWT_COOKIE`` names."""

    source = "cookie"

    def token(self, handshake: Handshake) -> str | None:
        """The cookie's value."""
        name = handshake.config.jwt_cookie
        return (handshake.cookies.get(name) or None) if name else None
