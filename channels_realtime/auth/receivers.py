"""Django's signals that end credentials: logout, password, deactivation, deletion, blacklist.

Connected when the apps are ready. None of them may make the request fail that sent the signal.
"""

from __future__ import annotations

import contextvars
import functools
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

from django.apps import apps
from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db.models.signals import post_delete, post_save
from django.utils import timezone

from ..errors import ImproperUse
from . import revoking
from .jwt_claims import FAMILY_CLAIM
from .login_session import LOGGED_IN_AT, LOGIN_ID, session_model, uses_signed_cookies

logger = logging.getLogger(__name__)

_UID = "channels_realtime.{}"

_rotating: contextvars.ContextVar[bool] = contextvars.ContextVar("realtime_rotating", default=False)
"""Whether a refresh token is being rotated: that blacklists it, and ends nothing."""


def connect() -> None:
    """Connect the receivers; once, when the apps are ready."""
    user_logged_in.connect(stamp_login, dispatch_uid=_UID.format("login"))
    user_logged_out.connect(on_logout, dispatch_uid=_UID.format("logout"))
    for model in _user_models():
        post_save.connect(on_user_saved, sender=model, dispatch_uid=_UID.format("user_saved"))
        post_delete.connect(on_user_deleted, sender=model, dispatch_uid=_UID.format("user_gone"))
    sessions = session_model()
    if sessions is not None:
        post_delete.connect(
            on_session_deleted, sender=sessions, dispatch_uid=_UID.format("session_gone")
        )
    if apps.is_installed("rest_framework_simplejwt.token_blacklist"):
        post_save.connect(
            on_token_blacklisted,
            sender=apps.get_model("token_blacklist", "BlacklistedToken"),
            dispatch_uid=_UID.format("blacklisted"),
        )
        _mark_rotations()


def _guarded(receiver: Callable[..., None]) -> Callable[..., None]:
    """Log what goes wrong in a receiver: the logout itself must not fail."""

    @functools.wraps(receiver)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            receiver(*args, **kwargs)
        except Exception:
            logger.exception("%s failed", receiver.__name__)

    return guarded


def _user_models() -> Iterator[Any]:
    """The user model, and those that inherit from it: proxies send signals of their own."""
    user_model = get_user_model()
    return (model for model in apps.get_models() if issubclass(model, user_model))


@_guarded
def stamp_login(sender: Any, request: Any, user: Any, **kwargs: Any) -> None:
    """Date the login session, so that revoking the user ends the sessions of before."""
    session = getattr(request, "session", None)
    if session is not None:
        session[LOGGED_IN_AT] = time.time()
        if uses_signed_cookies():
            session[LOGIN_ID] = secrets.token_hex(8)


@_guarded
def on_logout(sender: Any, request: Any, user: Any, **kwargs: Any) -> None:
    """The login session is over. Sessions in the database say so themselves when they are deleted."""
    session = getattr(request, "session", None)
    if session is None or session_model() is not None:
        return
    key, login = session.session_key, session.get(LOGIN_ID)
    if key:
        revoking.submit(revoking.of_session(key, deleted=True, login=login))


@_guarded
def on_session_deleted(sender: Any, instance: Any, **kwargs: Any) -> None:
    """A login session's row is gone: by logout, flush, a new key, or the admin's hand."""
    if instance.expire_date > timezone.now() and SESSION_KEY in instance.get_decoded():
        revoking.submit(revoking.of_session(instance.session_key, deleted=True))


@_guarded
def on_user_saved(sender: Any, instance: Any, created: bool, **kwargs: Any) -> None:
    """A user who may no longer be there, or whose password is another."""
    if created:
        return
    if not getattr(instance, "is_active", True):
        revoking.submit([revoking.of_user(instance.pk)])
    elif getattr(instance, "_password", None) is not None:
        # Set by set_password() until save() is done. Sessions carry a hash of the password and are
        # read again; the one that changed it gets a new key and connects anew with it. Tokens carry
        # nothing of the password, so they end.
        revoking.submit([revoking.of_tokens(instance.pk), revoking.rereading(instance.pk)])


@_guarded
def on_user_deleted(sender: Any, instance: Any, **kwargs: Any) -> None:
    """A user is gone."""
    revoking.submit([revoking.of_user(instance.pk)])


@_guarded
def on_token_blacklisted(sender: Any, instance: Any, created: bool, **kwargs: Any) -> None:
    """A token was blacklisted, unless by a routine rotation."""
    if not created or _rotating.get():
        return
    outstanding = instance.token
    found = [*revoking.of_token(outstanding.jti)]
    family = _family(outstanding.token)
    if family is not None:
        found.append(revoking.of_family(family))
    elif outstanding.user_id is not None:
        # Nothing says which access tokens came of it: all of the user's.
        found.append(revoking.of_tokens(outstanding.user_id))
    revoking.submit(found)


def _family(token: str) -> str | None:
    try:
        family = revoking.read_claims(token).get(FAMILY_CLAIM)
    except ImproperUse:
        return None
    return family if isinstance(family, str) else None


def _mark_rotations() -> None:
    """Have simplejwt's refresh serializer say that it rotates.

    A rotation blacklists the old refresh token by the very call that a logout makes, and gives no
    other sign; whoever subclasses the serializer calls its ``validate`` too.
    """
    from rest_framework_simplejwt.serializers import TokenRefreshSerializer  # its app is installed

    original = TokenRefreshSerializer.validate
    if getattr(original, "_realtime_marked", False):
        return

    @functools.wraps(original)
    def validate(self: Any, attrs: Any) -> Any:
        mark = _rotating.set(True)
        try:
            return original(self, attrs)
        finally:
            _rotating.reset(mark)

    validate._realtime_marked = True  # type: ignore[attr-defined]
    TokenRefreshSerializer.validate = validate  # type: ignore[method-assign]
