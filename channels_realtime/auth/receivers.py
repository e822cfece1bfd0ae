"""Receivers of the signals that end credentials: logout, password, deactivation, deletion, blacklist.

Connected when the apps are ready. A failing receiver must not fail the request that sent the signal.
"""

from __future__ import annotations

import contextvars
import functools
import itertools
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.apps import apps
from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db import router
from django.db.models.signals import post_delete, post_init, post_save, pre_save
from django.utils import timezone

from ..errors import ImproperUse
from ..runtime.commits import open_transactions
from . import revoking, session_rows
from .jwt_claims import FAMILY_CLAIM
from .login_session import LOGGED_IN_AT, LOGIN_ID, session_model, uses_signed_cookies

logger = logging.getLogger(__name__)

_UID = "channels_realtime.{}"

_rotating: contextvars.ContextVar[bool] = contextvars.ContextVar("realtime_rotating", default=False)
"""Whether a refresh token is being rotated. That blacklists the token but closes no connection."""


def connect() -> None:
    """Connect the receivers. Called once, when the apps are ready."""
    user_logged_in.connect(stamp_login, dispatch_uid=_UID.format("login"))
    user_logged_out.connect(on_logout, dispatch_uid=_UID.format("logout"))
    _watch_refresh(get_user_model())
    for model in _user_models():
        post_init.connect(remember_active, sender=model, dispatch_uid=_UID.format("user_loaded"))
        pre_save.connect(on_user_saving, sender=model, dispatch_uid=_UID.format("user_saving"))
        post_save.connect(on_user_saved, sender=model, dispatch_uid=_UID.format("user_saved"))
        post_delete.connect(on_user_deleted, sender=model, dispatch_uid=_UID.format("user_gone"))
    sessions = session_model()
    if sessions is not None:
        session_rows.watch(sessions, before=deleted_login, after=on_session_deleted)
    if apps.is_installed("rest_framework_simplejwt.token_blacklist"):
        post_save.connect(
            on_token_blacklisted,
            sender=apps.get_model("token_blacklist", "BlacklistedToken"),
            dispatch_uid=_UID.format("blacklisted"),
        )
        _mark_rotations()


def _guarded(receiver: Callable[..., None]) -> Callable[..., None]:
    """Log a receiver's exceptions, so that the logout itself does not fail."""

    @functools.wraps(receiver)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            receiver(*args, **kwargs)
        except Exception:
            logger.exception("%s failed", receiver.__name__)

    return guarded


def _user_models() -> Iterator[Any]:
    """Return the user model and its subclasses: a proxy model sends its own signals."""
    user_model = get_user_model()
    return (model for model in apps.get_models() if issubclass(model, user_model))


@_guarded
def stamp_login(sender: Any, request: Any, user: Any, **kwargs: Any) -> None:
    """Store the login time in the session, so that revoking a user ends only earlier sessions."""
    session = getattr(request, "session", None)
    if session is not None:
        session[LOGGED_IN_AT] = time.time()
        if uses_signed_cookies():
            session[LOGIN_ID] = secrets.token_hex(8)


@_guarded
def on_logout(sender: Any, request: Any, user: Any, **kwargs: Any) -> None:
    """Revoke the login session. For sessions in the database, ``on_session_deleted`` does it."""
    session = getattr(request, "session", None)
    if session is None or session_model() is not None:
        return
    key, login = session.session_key, session.get(LOGIN_ID)
    if key:
        revoking.submit(revoking.of_session(key, deleted=True, login=login))


def deleted_login(session: Any) -> str | None:
    """The key of a session that is about to be deleted, if it is a login that has not expired.

    Args:
        session: its row, or its key where nothing else is known of it.
    """
    if isinstance(session, str):
        return session
    try:
        alive = session.expire_date > timezone.now() and SESSION_KEY in session.get_decoded()
        return str(session.session_key) if alive else None
    except Exception:
        logger.exception("deleted_login failed")
        return None


@_guarded
def on_session_deleted(keys: Iterable[str]) -> None:
    """Revoke sessions after their rows were deleted: logout, flush, a new key, or in the admin."""
    revocations = [revoking.of_session(key, deleted=True) for key in keys]
    model = session_model()
    databases = None if model is None else open_transactions(router.db_for_write(model))
    revoking.submit(itertools.chain.from_iterable(revocations), databases=databases)


def remember_active(sender: Any, instance: Any, **kwargs: Any) -> None:
    """Remember whether a user that was loaded is active, to tell a deactivation from other saves."""
    # Not by getattr: it would load a field that the query has deferred.
    instance._state.realtime_active = instance.__dict__.get("is_active")


@functools.cache  # once for a model
def _watch_refresh(user_model: Any) -> None:
    """Note again whether a user is active when the row is reloaded, for which there is no signal."""
    original = user_model.refresh_from_db

    @functools.wraps(original)
    def refresh_from_db(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        remember_active(type(self), self)

    user_model.refresh_from_db = refresh_from_db


@_guarded
def on_user_saving(sender: Any, instance: Any, **kwargs: Any) -> None:
    """Forget what was remembered of a user that was not loaded: the row may say something else."""
    if instance._state.adding:
        instance._state.realtime_active = None


@_guarded
def on_user_saved(
    sender: Any,
    instance: Any,
    created: bool,
    raw: bool = False,
    using: str | None = None,
    update_fields: Iterable[str] | None = None,
    **kwargs: Any,
) -> None:
    """Revoke a deactivated user's credentials, or the tokens after a change of password."""
    active = bool(getattr(instance, "is_active", True))
    saves_active = update_fields is None or "is_active" in update_fields
    was_active = getattr(instance._state, "realtime_active", None)
    if saves_active:
        remember_active(sender, instance)
    if created:
        return
    databases = open_transactions(using)
    if not active and saves_active:
        if was_active is None and raw:
            # A fixture: each user may have been inactive before, so nodes look for themselves.
            revoking.submit([revoking.rereading(instance.pk)], stored=False, databases=databases)
        elif was_active is not False:
            revoking.submit([revoking.of_user(instance.pk)], databases=databases)
        return
    if getattr(instance, "_password", None) is not None and (
        update_fields is None or "password" in update_fields
    ):
        # set_password() sets it until save() is done. Sessions hold a hash of the password, so they
        # are checked again; the session that changed it gets a new key and reconnects with it.
        # Tokens hold nothing of the password, so they are revoked.
        found = [revoking.of_tokens(instance.pk), revoking.rereading(instance.pk)]
        revoking.submit(found, databases=databases)


@_guarded
def on_user_deleted(sender: Any, instance: Any, using: str | None = None, **kwargs: Any) -> None:
    """Revoke all credentials of a deleted user; those of an inactive one are revoked already."""
    if getattr(instance._state, "realtime_active", None) is not False:
        revoking.submit([revoking.of_user(instance.pk)], databases=open_transactions(using))


@_guarded
def on_token_blacklisted(
    sender: Any, instance: Any, created: bool, using: str | None = None, **kwargs: Any
) -> None:
    """Revoke a blacklisted token, unless a routine rotation blacklisted it."""
    if not created or _rotating.get():
        return
    outstanding = instance.token
    found = [*revoking.of_token(outstanding.jti)]
    family = _family(outstanding.token)
    if family is not None:
        found.append(revoking.of_family(family))
    elif outstanding.user_id is not None:
        # Its access tokens are unknown without a family id, so revoke all of the user's tokens.
        found.append(revoking.of_tokens(outstanding.user_id))
    revoking.submit(found, databases=open_transactions(using))


def _family(token: str) -> str | None:
    try:
        family = revoking.read_claims(token).get(FAMILY_CLAIM)
    except ImproperUse:
        return None
    return family if isinstance(family, str) else None


@functools.cache  # once
def _mark_rotations() -> None:
    """Wrap simplejwt's refresh serializer, so that a rotation can be told from a logout.

    Both blacklist the refresh token by the same call, and nothing else tells them apart. Subclasses
    of the serializer call its ``validate`` too.
    """
    from rest_framework_simplejwt.serializers import TokenRefreshSerializer  # its app is installed

    original = TokenRefreshSerializer.validate

    @functools.wraps(original)
    def validate(self: Any, attrs: Any) -> Any:
        mark = _rotating.set(True)
        try:
            return original(self, attrs)
        finally:
            _rotating.reset(mark)

    TokenRefreshSerializer.validate = validate  # type: ignore[method-assign]
