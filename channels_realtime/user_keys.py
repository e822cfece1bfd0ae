"""A user's primary key as text, from what a site's code has: a user, a number, a text."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured, ValidationError

from .errors import ImproperUse
from .settings import get_config

_SHOWN_KEY = 30
"""Longest value that an error shows: session keys and tokens, given by mistake, are longer."""


def user_key(user: Any, caller: str) -> str:
    """Return a user's primary key as text, as ``Identity.user_id`` has it.

    With ``STATELESS_TOKENS``, or an authenticator of the site's own, users may be rows of another
    service or no rows at all: any text or number is a key then.

    Args:
        user: a user, or its primary key, also as text. Not a user name.
        caller: the public function, for the message.

    Raises:
        ImproperUse: it is neither.
    """
    model = _user_model()
    if hasattr(user, "is_authenticated"):
        key = user.pk
        if key is None:
            raise ImproperUse(
                f"{caller}: {type(user).__name__} has no primary key; expected a saved user"
            )
        return str(key)
    if isinstance(user, (str, int, uuid.UUID)) and not isinstance(user, bool) and user != "":
        if model is None or not users_are_rows():
            return str(user)
        with suppress(ValidationError):
            # As text: a field takes more than it is given elsewhere, such as a number for a UUID.
            return str(model._meta.pk.to_python(str(user)))
    expected = "a user or its primary key" if model is None else _expected_user(model)
    shown = isinstance(user, (str, int, float)) and len(str(user)) <= _SHOWN_KEY
    got = repr(user) if shown else f"a value of type {type(user).__name__}"
    raise ImproperUse(f"{caller}: got {got}; expected {expected}")


def users_are_rows() -> bool:
    """Whether every connection's user is a row of the user model, as far as the settings show."""
    config = get_config()
    own = f"{__package__}."
    return not config.stateless_tokens and all(
        path.startswith(own) for path in config.authenticators
    )


def _user_model() -> Any | None:
    try:
        return get_user_model()
    except ImproperlyConfigured:  # a site without users of its own
        return None


def _expected_user(model: Any) -> str:
    field = model._meta.pk
    key = f"{model._meta.label}.{field.name}, {type(field).__name__}"
    return f"a user or its primary key ({key}), not a name"
