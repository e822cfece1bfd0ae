"""Reads a user again, for credentials other than a login session."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db.models import Model
from django.utils.module_loading import import_string

from ..identity import Identity


def anonymous_user() -> Any:
    """The user of a connection without credentials."""
    return _anonymous_class()()


@functools.cache
def _anonymous_class() -> Any:
    from django.contrib.auth.models import AnonymousUser  # a model's module: it needs loaded apps

    return AnonymousUser


def has_row(user: Any) -> bool:
    """Whether this user is a row of the database; simplejwt's ``TokenUser`` is not.

    Decided by the class, because a ``TokenUser`` seems to have every attribute.
    """
    return isinstance(user, Model)


def read_user(identity: Identity, user: Any) -> Any | None:
    """Return an identity's user as the database has it now, or None if it is gone or inactive.

    Args:
        identity: the identity of the user to read.
        user: the user object so far. One without a row, made from a token, is returned unchanged.
    """
    if identity.user_id is None or not has_row(user):
        return user
    try:
        fresh = get_user_model()._default_manager.get(pk=identity.user_id)
    except (ObjectDoesNotExist, ValueError, TypeError, ValidationError):
        return None
    if not getattr(fresh, "is_active", True):
        return None
    from_session = any(key.startswith("session:") for key in identity.keys)
    if (from_session or identity.carries_token) and _password(fresh) != _password(user):
        # A token, or a ticket from a login session: both are of the time before the change.
        return None
    return fresh


def _password(user: Any) -> str:
    return str(getattr(user, "password", ""))


def read_users(ids: Iterable[str]) -> dict[str, Any]:
    """Return users as the database has them now, by their primary keys as text. Blocks."""
    users = get_user_model()._default_manager.filter(pk__in=ids)
    return {str(user.pk): user for user in users}


def is_plain(identity: Identity) -> bool:
    """Whether ``read_users`` reads an identity's user as its authentication did."""
    if identity.method != "session":
        return True
    from django.contrib.auth.backends import ModelBackend  # it needs loaded apps

    backends = (import_string(path) for path in settings.AUTHENTICATION_BACKENDS)
    return all(backend.get_user is ModelBackend.get_user for backend in backends)
