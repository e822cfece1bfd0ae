"""Checks of ``AUTHENTICATORS``, and of the login sessions that one of them reads."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags
from django.utils.module_loading import import_string

from ..auth.base import Authenticator
from ..auth.login_session import LoginSession, has_login_sessions
from ..config import Config
from ..settings import SETTING
from .backends import ancestry
from .configuration import config_check

_SESSION_MIDDLEWARE = "django.contrib.sessions.middleware.SessionMiddleware"
_SIGNED_COOKIES = "django.contrib.sessions.backends.signed_cookies"


@config_check(Tags.security)
def check_authenticators(config: Config) -> Iterator[CheckMessage]:
    """Report entries of ``AUTHENTICATORS`` that are not authenticators."""
    for path in config.authenticators:
        fault = "which is not a subclass of channels_realtime.auth.base.Authenticator."
        try:
            named = import_string(path)
        except ImportError as error:
            fault = f"which cannot be imported: {error}"
        else:
            if isinstance(named, type) and issubclass(named, Authenticator):
                continue
        yield Error(
            f"{SETTING}['AUTHENTICATORS'] names {path!r}, {fault}",
            hint="Name a subclass of Authenticator, and install what it imports.",
            id="channels_realtime.E009",
        )


def uses(config: Config, authenticator: type[Authenticator]) -> bool:
    """Whether ``AUTHENTICATORS`` names this class or a subclass of it."""
    for path in config.authenticators:
        try:
            named = import_string(path)
        except ImportError:
            continue  # E009 reports it
        if isinstance(named, type) and issubclass(named, authenticator):
            return True
    return False


@config_check(Tags.security)
def check_login_sessions(config: Config) -> Iterator[CheckMessage]:
    """Report login sessions that the site does not have, or that a logout cannot end."""
    if not uses(config, LoginSession):
        return
    missing = []
    if not has_login_sessions():
        missing.append("'django.contrib.sessions' is not in INSTALLED_APPS")
    if not any(_SESSION_MIDDLEWARE in ancestry(path) for path in settings.MIDDLEWARE):
        missing.append("SessionMiddleware is not in MIDDLEWARE")
    if missing:
        yield checks.Warning(
            f"{SETTING}['AUTHENTICATORS'] contains LoginSession, but {' and '.join(missing)}: no"
            " client can authenticate with a login session.",
            hint="Add what is missing, or list AUTHENTICATORS without LoginSession.",
            id="channels_realtime.W009",
        )
    elif settings.SESSION_ENGINE == _SIGNED_COOKIES:
        yield checks.Warning(
            "SESSION_ENGINE stores login sessions in signed cookies, which the server cannot delete:"
            " a logout does not close connections that were opened with an earlier cookie of the"
            " same session.",
            hint="Use 'django.contrib.sessions.backends.db' or 'cached_db'.",
            id="channels_realtime.W015",
        )
