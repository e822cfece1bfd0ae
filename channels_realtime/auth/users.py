"""Reading a user again, for proofs that are not a login session."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db.models import Model

from ..identity import Identity


def anonymous_user() -> Any:
    """The user of a connection without credentials."""
    from django.contrib.auth.models import AnonymousUser  # a model's module: it needs loaded apps

    return AnonymousUser()


def has_row(user: Any) -> bool:
    """Whether the database knows this user; it does not know simplejwt's ``TokenUser``.

    By its class: a ``TokenUser`` claims to have any attribute.
    """
    return isinstance(user, Model)


def read_user(identity: Identity, user: Any) -> Any | None:
    """The user of an identity as the database has it now; None where it is gone or inactive.

    Args:
        identity: whose.
        user: what stands for it now; a token's own user, which has no row, is returned as it is.
    """
    if identity.user_id is None or not has_row(user):
        return user
    try:
        fresh = get_user_model()._default_manager.get(pk=identity.user_id)
    except (ObjectDoesNotExist, ValueError, TypeError, ValidationError):
        return None
    if not getattr(fresh, "is_active", True):
        return None
    if any(key.startswith("session:") for key in identity.keys) and _password(fresh) != _password(
        user
    ):
        return (
            None  # a login session's ticket: the session is void with the password it was made with
        )
    return fresh


def _password(user: Any) -> str:
    return str(getattr(user, "password", ""))
