"""One-time tickets: credentials for a handshake that cannot carry others.

A page that has a token fetches a ticket over HTTP and puts it in the WebSocket's URL. A ticket in a
log is harmless, unlike a token: it works once, for seconds, from one origin. The connection ends
when the credentials behind the ticket end.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import Any

import msgspec
from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core import signing
from django.core.cache import DEFAULT_CACHE_ALIAS, cache, caches
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.filebased import FileBasedCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import ObjectDoesNotExist, ValidationError

from ..access.origins import same_origin
from ..errors import TokenExpired, TokenInvalid
from ..identity import Identity
from ..namespaces import current_namespace
from ..settings import get_config
from .base import Authenticated, Authenticator, Handshake
from .users import has_row

_SALT = "channels_realtime.ticket"
_CACHE_PREFIX = "channels_realtime:ticket:"
_MAX_TICKET_LENGTH = 4_096

TICKETS_NEED_A_SHARED_CACHE = "channels_realtime.E011"
"""The check of the cache. A site that silences it takes the responsibility."""


class _Ticket(msgspec.Struct, array_like=True):
    """The content of a ticket. It is signed but not encrypted, so it holds no secret."""

    id: str
    origin: str | None
    user_id: str
    method: str
    expires_at: float | None
    proven_at: float
    keys: list[str]
    password: str = ""
    """A hash of the password hash, for a login session; "" for other credentials."""
    claims: dict[str, Any] | None = None
    """The token's claims, with ``STATELESS_TOKENS`` only: the user is made from them."""
    namespace: str = ""


def issue_ticket(found: Authenticated, origin: str | None) -> tuple[str, float]:
    """Return a ticket for an authenticated user, to be used from ``origin``.

    Args:
        found: the result of the authentication.
        origin: the ``Origin`` that the handshake will have; None for clients that send none.

    Returns:
        The ticket, and its lifetime in seconds.

    Raises:
        ValueError: ``found`` is anonymous.
    """
    identity = found.identity
    if identity.user_id is None:
        raise ValueError("a ticket needs a user; the identity is anonymous")
    ticket = _Ticket(
        id=secrets.token_urlsafe(12),
        origin=origin,
        user_id=identity.user_id,
        method=identity.method,
        expires_at=identity.expires_at,
        proven_at=identity.proven_at,
        keys=sorted(identity.keys),
        password=_password_marks(found.user)[0] if identity.method == "session" else "",
        claims=None if has_row(found.user) else getattr(found.user, "token", None),
        namespace=current_namespace(),
    )
    text = signing.TimestampSigner(salt=_SALT).sign_object(msgspec.to_builtins(ticket))
    return text, get_config().ticket_lifetime


def could_be_used_twice() -> bool:
    """Whether other processes of the site would take a ticket that this one has seen used."""
    if TICKETS_NEED_A_SHARED_CACHE in settings.SILENCED_SYSTEM_CHECKS:
        return False
    layer = get_channel_layer(get_config().channel_layer)
    if layer is None or isinstance(layer, InMemoryChannelLayer):
        return False  # a single process
    return isinstance(caches[DEFAULT_CACHE_ALIAS], (LocMemCache, FileBasedCache))


class Ticket(Authenticator):
    """Authenticates by ``?ticket=<ticket>``."""

    def find(self, handshake: Handshake) -> str | None:
        """Return the query parameter ``ticket``."""
        return handshake.query.get("ticket")

    def authenticate(self, credential: str, handshake: Handshake) -> Authenticated:
        """Redeem the ticket. Of two attempts at once, in any processes, one is refused."""
        return redeem_ticket(credential, handshake.origin)


def redeem_ticket(text: str, origin: str | None) -> Authenticated:
    """Use up a ticket and return its user and identity. Blocks on the cache and the database.

    Raises:
        TokenExpired: the ticket, or the credentials behind it, have expired.
        TokenInvalid: the ticket is forged, used, for another origin, or its user is gone or inactive.
    """
    ticket = _read(text)
    if not same_origin(ticket.origin, origin):
        raise TokenInvalid("the ticket is for another origin")
    if ticket.namespace != current_namespace():
        raise TokenInvalid("the ticket is for another namespace")
    if ticket.expires_at is not None and ticket.expires_at <= time.time():
        raise TokenExpired("the ticket's credentials have expired")
    if isinstance(caches[DEFAULT_CACHE_ALIAS], DummyCache):
        raise TokenInvalid("tickets need a cache; this site's DummyCache stores nothing")
    lifetime = get_config().ticket_lifetime
    if not cache.add(_CACHE_PREFIX + ticket.id, 1, timeout=lifetime * 2 + 60):
        raise TokenInvalid("the ticket was used already")
    user = _user(ticket)
    identity = Identity(
        user_id=ticket.user_id,
        method="ticket",
        source=ticket.method,
        expires_at=ticket.expires_at,
        proven_at=ticket.proven_at,
        keys=frozenset(ticket.keys),
    )
    return Authenticated(identity=identity, user=user)


def _read(text: str) -> _Ticket:
    if not text or len(text) > _MAX_TICKET_LENGTH:
        raise TokenInvalid("not a ticket")
    lifetime = get_config().ticket_lifetime
    try:
        value = signing.TimestampSigner(salt=_SALT).unsign_object(text, max_age=lifetime)
        return msgspec.convert(value, _Ticket)
    except signing.SignatureExpired:
        raise TokenExpired("the ticket has expired") from None
    except (signing.BadSignature, msgspec.ValidationError, ValueError, TypeError):
        raise TokenInvalid("not a ticket") from None


def _user(ticket: _Ticket) -> Any:
    if ticket.claims is not None and get_config().stateless_tokens:
        from rest_framework_simplejwt.settings import api_settings  # only where tokens are used

        return api_settings.TOKEN_USER_CLASS(ticket.claims)
    try:
        user = get_user_model()._default_manager.get(pk=ticket.user_id)
    except (ObjectDoesNotExist, ValueError, TypeError, ValidationError):
        raise TokenInvalid from None
    if not getattr(user, "is_active", True):
        raise TokenInvalid
    if ticket.method == "session" and ticket.password not in _password_marks(user):
        raise TokenInvalid  # the password has changed, so the session is void although its row exists
    return user


def _password_marks(user: Any) -> list[str]:
    """Return hashes of the user's password hash: with the current secret key, then the fallbacks."""
    if not hasattr(user, "get_session_auth_hash"):
        return [""]
    hashes = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    return [hashlib.sha256(text.encode()).hexdigest()[:32] for text in hashes]
