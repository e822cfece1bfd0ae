"""Django's login session: the cookie that the browser sends with the handshake.

Reads only. Django's own ``get_user`` may cycle a session's key (after ``SECRET_KEY`` was rotated),
and a WebSocket cannot send the new cookie: that would log the user out.
"""

from __future__ import annotations

import hashlib
from importlib import import_module
from typing import Any

from django.apps import apps
from django.conf import settings as django_settings
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user_model,
    load_backend,
)
from django.contrib.sessions.backends.db import SessionStore as DatabaseSessionStore
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from ..identity import Identity
from .base import Authenticated, Authenticator, Handshake

_DATABASE_ENGINES = (
    "django.contrib.sessions.backends.db",
    "django.contrib.sessions.backends.cached_db",
)

LOGGED_IN_AT = "_realtime_logged_in_at"
"""The session's key for the time of its login, set by our receiver of ``user_logged_in``."""

LOGIN_ID = "_realtime_login"
"""The session's key for what tells a login kept in signed cookies from others; no secret."""

LOGIN = "login:"
"""How such a login is named among what can be revoked."""


def session_model() -> Any | None:
    """The model of the login sessions, or None where they are kept elsewhere, or not at all."""
    store = import_module(django_settings.SESSION_ENGINE).SessionStore
    get_model = getattr(store, "get_model_class", None)
    return None if get_model is None or not has_login_sessions() else get_model()


def has_login_sessions() -> bool:
    """Whether sessions can be read at all: a site of tokens alone need not install Django's."""
    needs_app = django_settings.SESSION_ENGINE in _DATABASE_ENGINES
    return not needs_app or apps.is_installed("django.contrib.sessions")


def uses_signed_cookies() -> bool:
    """Whether sessions are signed cookies: no server knows them, and none can delete one."""
    engine: str = django_settings.SESSION_ENGINE
    return engine.endswith("signed_cookies")


def login_of(key: str) -> str | None:
    """The ``LOGIN_ID`` of a session that is a signed cookie, or None."""
    login = import_module(django_settings.SESSION_ENGINE).SessionStore(key).load().get(LOGIN_ID)
    return login if isinstance(login, str) else None


def session_hash(key: str) -> str:
    """What stands for a login session where its key, a secret, must not be."""
    return "session:" + hashlib.sha256(key.encode()).hexdigest()[:40]


class LoginSession(Authenticator):
    """The session cookie."""

    def find(self, handshake: Handshake) -> str | None:
        """The session key, or None without the cookie."""
        key = handshake.cookies.get(django_settings.SESSION_COOKIE_NAME)
        if not key or not (key.isascii() and key.isprintable()):
            return None  # none of Django's, and nothing that a database need be asked for
        return key if has_login_sessions() else None

    def authenticate(self, credential: str, handshake: Handshake) -> Authenticated | None:
        """Whose login session it is; None where the cookie leads to no user."""
        return read_login_session(credential)


def read_login_session(key: str) -> Authenticated | None:
    """Whose login session this is; None where it leads to no user. Blocks on the database.

    At most two queries: the session's row and the user's (one with cached or cookie sessions).
    """
    data, expires_at = _load(key)
    try:
        pk = get_user_model()._meta.pk.to_python(data[SESSION_KEY])
        backend_path = data[BACKEND_SESSION_KEY]
    except (KeyError, ValidationError):
        return None
    if backend_path not in django_settings.AUTHENTICATION_BACKENDS:
        return None
    user = load_backend(backend_path).get_user(pk)
    if user is None or not getattr(user, "is_active", True) or not password_matches(data, user):
        return None
    keys = {session_hash(key)}
    if uses_signed_cookies() and isinstance(data.get(LOGIN_ID), str):
        keys.add(LOGIN + data[LOGIN_ID])
    identity = Identity(
        user_id=str(user.pk),
        method="session",
        source="session",
        expires_at=expires_at,
        proven_at=float(data.get(LOGGED_IN_AT) or 0.0),
        keys=frozenset(keys),
    )
    return Authenticated(identity=identity, user=user, session_key=key)


def _load(key: str) -> tuple[dict[str, Any], float]:
    """A session's data and when it ends, in seconds since the epoch."""
    store = import_module(django_settings.SESSION_ENGINE).SessionStore(key)
    now = timezone.now()
    if type(store).load is DatabaseSessionStore.load:
        # The row itself: only it says when the session really ends (get_expiry_date() counts from now).
        row = store.model.objects.filter(session_key=key, expire_date__gt=now).first()
        if row is None:
            return {}, 0.0
        return store.decode(row.session_data), row.expire_date.timestamp()
    data = store.load()
    return data, now.timestamp() + store.get_expiry_age()


def password_matches(data: dict[str, Any], user: Any) -> bool:
    """Whether the session was made with the user's present password (Django's ``get_user``)."""
    if not hasattr(user, "get_session_auth_hash"):
        return True
    stored = data.get(HASH_SESSION_KEY)
    if not stored:
        return False
    if constant_time_compare(stored, user.get_session_auth_hash()):
        return True
    return any(
        constant_time_compare(stored, fallback)
        for fallback in user.get_session_auth_fallback_hash()
    )
