"""Django's login session: the cookie that the browser sends with the handshake.

It only reads. Django's ``get_user`` may change the session key (after ``SECRET_KEY`` was rotated).
A WebSocket cannot send the new cookie, so that would log the user out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from asgiref.sync import sync_to_async
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
"""The entry in the session's data with the time of the login. A receiver of ``user_logged_in`` sets it."""

LOGIN_ID = "_realtime_login"
"""The entry in the session's data with a random id of the login, for signed cookies. Not a secret."""

LOGIN = "login:"
"""The prefix of revocation keys that name a ``LOGIN_ID``."""


def session_model() -> Any | None:
    """Return the model of login sessions, or None if they are not stored in the database."""
    store = import_module(django_settings.SESSION_ENGINE).SessionStore
    get_model = getattr(store, "get_model_class", None)
    return None if get_model is None or not has_login_sessions() else get_model()


def has_login_sessions() -> bool:
    """Whether sessions can be read. A site that uses only tokens need not install Django's sessions."""
    needs_app = django_settings.SESSION_ENGINE in _DATABASE_ENGINES
    return not needs_app or apps.is_installed("django.contrib.sessions")


def session_store(key: str | None) -> Any:
    """Django's session of this key, which is read when it is first used; a new one without a key."""
    return import_module(django_settings.SESSION_ENGINE).SessionStore(key)


def uses_signed_cookies() -> bool:
    """Whether sessions are signed cookies: no server knows them, and none can delete one."""
    engine: str = django_settings.SESSION_ENGINE
    return engine.endswith("signed_cookies")


def login_of(key: str) -> str | None:
    """Return the ``LOGIN_ID`` of a session in a signed cookie, or None."""
    login = session_store(key).load().get(LOGIN_ID)
    return login if isinstance(login, str) else None


def session_hash(key: str) -> str:
    """Return a hash that identifies a login session without its key, which is secret."""
    return "session:" + hashlib.sha256(key.encode()).hexdigest()[:40]


class LoginSession(Authenticator):
    """Authenticates by the session cookie."""

    def find(self, handshake: Handshake) -> str | None:
        """The session key, or None without the cookie."""
        key = handshake.cookies.get(django_settings.SESSION_COOKIE_NAME)
        if not key or not (key.isascii() and key.isprintable()):
            return None  # not a key that Django makes, so no query is needed
        return key if has_login_sessions() else None

    def authenticate(self, credential: str, handshake: Handshake) -> Authenticated | None:
        """Return the session's user and identity, or None if the cookie has no valid session."""
        return read_login_session(credential)


class SessionView(Mapping[str, Any]):
    """A Django session as a hook reads it, a visitor's without a login too. It cannot be written.

    Nothing is read before it is asked for. Then it is read once: ``connection.session`` is a new view
    each time, so keep it in a variable. Reading blocks; in an ``async`` hook await ``aload`` first.

    Args:
        key: of the session, which may not exist; None for a view that is empty.
        user_id: the connection's user. The session of another user is not shown.
    """

    __slots__ = ("_data", "_key", "_user_id")

    def __init__(self, key: str | None, user_id: str | None) -> None:
        self._key = key
        self._user_id = user_id
        self._data: dict[str, Any] | None = None

    def __repr__(self) -> str:  # the key is a secret, and so may be the data
        return "<SessionView>"

    @property
    def session_key(self) -> str | None:
        """The session's key, a secret; None if there is no session."""
        self._read()
        return self._key

    async def aload(self) -> SessionView:
        """Read it, from an ``async`` hook; afterwards nothing here blocks."""
        await sync_to_async(self._read)()
        return self

    def __getitem__(self, name: str) -> Any:
        return self._read()[name]

    def get(self, name: str, default: Any = None, /) -> Any:
        """The value of an entry, or the default."""
        return self._read().get(name, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def _read(self) -> dict[str, Any]:
        if self._data is None:
            self._key, self._data = _existing(self._key, self._user_id)
        return self._data


def _existing(key: str | None, user_id: str | None) -> tuple[str | None, dict[str, Any]]:
    """A session's key and data; None and nothing if it does not exist or is another user's."""
    if key is None:
        return None, {}
    store = session_store(key)
    data: dict[str, Any] = store.load()
    exists = bool(data) if uses_signed_cookies() else store.session_key is not None
    owner = data.get(SESSION_KEY)
    if not exists or (owner is not None and str(owner) != user_id):
        return None, {}
    return key, data


def read_login_session(key: str) -> Authenticated | None:
    """Return the user and identity of a login session, or None if it is not valid. Blocks.

    Takes at most two queries: the session's row and the user's (one with cached or cookie sessions).
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
    """Return a session's data, and when it expires in seconds since the epoch."""
    store = session_store(key)
    now = timezone.now()
    if type(store).load is DatabaseSessionStore.load:
        # Only the row has the real expiry; get_expiry_date() counts from now.
        row = store.model.objects.filter(session_key=key, expire_date__gt=now).first()
        if row is None:
            return {}, 0.0
        return store.decode(row.session_data), row.expire_date.timestamp()
    data = store.load()
    return data, now.timestamp() + store.get_expiry_age()


def password_matches(data: dict[str, Any], user: Any) -> bool:
    """Whether the session was made with the user's current password, as Django's ``get_user`` checks."""
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
