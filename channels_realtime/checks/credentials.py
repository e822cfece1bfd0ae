"""Checks of the ways in: what AUTHENTICATORS names, tokens, login sessions, tickets."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core import checks
from django.core.cache import DEFAULT_CACHE_ALIAS
from django.core.checks import CheckMessage, Error, Tags, register
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils.module_loading import import_string

from ..auth.base import Authenticator
from ..auth.login_session import LoginSession, has_login_sessions
from ..auth.tickets import Ticket
from ..auth.tokens import JWT_VERIFIER, takes_tokens
from ..config import Config
from ..http.tickets import ticket
from ..settings import SETTING
from .backends import ancestry, crosses_processes
from .configuration import valid_config

MAX_AUTH_LEEWAY_S = 300.0
"""As long as simplejwt's access tokens live by default: more would be a second lifetime."""

_SESSION_MIDDLEWARE = "django.contrib.sessions.middleware.SessionMiddleware"
_SIGNED_COOKIES = "django.contrib.sessions.backends.signed_cookies"

_DUMMY_CACHE = "django.core.cache.backends.dummy.DummyCache"
_UNFIT_CACHES = {
    "django.core.cache.backends.locmem.LocMemCache": (
        "is each process's own: a ticket that was used can be used again in another"
    ),
    "django.core.cache.backends.filebased.FileBasedCache": (
        "looks before it writes: a ticket can be used in two processes at once"
    ),
    _DUMMY_CACHE: "keeps nothing: every ticket is refused",
}


# -- the classes -----------------------------------------------------------------------------------


@register(Tags.security)
def check_authenticators(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Entries of ``AUTHENTICATORS`` that are no authenticators."""
    config = valid_config()
    if config is None:
        return []
    found: list[CheckMessage] = []
    for path in config.authenticators:
        try:
            named = import_string(path)
        except ImportError as error:
            message = (
                f"{SETTING}['AUTHENTICATORS'] names {path!r}, which cannot be imported: {error}"
            )
        else:
            if isinstance(named, type) and issubclass(named, Authenticator):
                continue
            message = (
                f"{SETTING}['AUTHENTICATORS'] names {path!r}, which is no subclass of"
                " channels_realtime.auth.base.Authenticator."
            )
        found.append(
            Error(
                message,
                hint="Name a subclass of Authenticator, and install what it imports.",
                id="channels_realtime.E009",
            )
        )
    return found


def uses(config: Config, authenticator: type[Authenticator]) -> bool:
    """Whether a way in, or a class made from it, is among ``AUTHENTICATORS``."""
    return any(issubclass(named, authenticator) for named in _authenticators(config))


def _authenticators(config: Config) -> Iterator[type[Authenticator]]:
    for path in config.authenticators:
        try:
            named = import_string(path)
        except ImportError:
            continue  # E009 says it
        if isinstance(named, type):
            yield named


# -- tokens ----------------------------------------------------------------------------------------


@register(Tags.security)
def check_tokens(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Who verifies tokens, and where they may travel."""
    config = valid_config()
    if config is None:
        return []
    return [
        *_check_verifier(config),
        *_check_places(config),
        *_check_user_id_field(config),
    ]


def _check_verifier(config: Config) -> Iterator[CheckMessage]:
    path = config.token_verifier
    if path is None or path == JWT_VERIFIER:
        return  # our own is imported where a token is judged, because it imports simplejwt
    try:
        verifier = import_string(path)
    except ImportError as error:
        message = f"{SETTING}['TOKEN_VERIFIER'] cannot be imported: {error}"
    else:
        if callable(verifier) and not inspect.iscoroutinefunction(verifier):
            return
        fault = "async" if callable(verifier) else "not callable"
        message = f"{SETTING}['TOKEN_VERIFIER'] names {path!r}, which is {fault}."
    yield Error(
        message,
        hint="Name a plain function of a token's text that returns an Authenticated.",
        id="channels_realtime.E010",
    )


def _check_places(config: Config) -> Iterator[CheckMessage]:
    if config.query_token:
        yield checks.Warning(
            f"{SETTING}['QUERY_TOKEN'] is True: tokens travel in URLs, which servers, proxies and"
            " monitoring write into their logs, where a token can be used by whoever reads it.",
            hint=(
                "Send the token as a subprotocol or as the first message, or put a one-time ticket"
                " into the URL."
            ),
            id="channels_realtime.W005",
        )
    asked_for = [
        name
        for name, wanted in (
            ("QUERY_TOKEN", config.query_token),
            ("JWT_COOKIE", config.jwt_cookie is not None),
            ("STATELESS_TOKENS", config.stateless_tokens),
        )
        if wanted
    ]
    if asked_for and not takes_tokens(config):
        yield checks.Warning(
            f"{SETTING} has {' and '.join(asked_for)}, and this site verifies no tokens: all of"
            " their ways in are off.",
            hint="Install 'channels-realtime[jwt]', or set TOKEN_VERIFIER.",
            id="channels_realtime.W011",
        )


def _check_user_id_field(config: Config) -> Iterator[CheckMessage]:
    if not config.stateless_tokens or config.token_verifier != JWT_VERIFIER:
        return
    field = (getattr(settings, "SIMPLE_JWT", None) or {}).get("USER_ID_FIELD", "id")
    primary_key = get_user_model()._meta.pk
    if field not in ("pk", primary_key.name, primary_key.attname):
        yield checks.Warning(
            f"{SETTING}['STATELESS_TOKENS'] is True and SIMPLE_JWT['USER_ID_FIELD'] is {field!r}: the"
            " value in the token is taken for the primary key of a user, which it is not.",
            hint=(
                f"Set USER_ID_FIELD to {primary_key.name!r}, or turn STATELESS_TOKENS off so that the"
                " user is looked up."
            ),
            id="channels_realtime.W012",
        )


# -- times -----------------------------------------------------------------------------------------


@register(Tags.security)
def check_times(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Times so long that they defeat what they are for."""
    config = valid_config()
    if config is None:
        return []
    found: list[CheckMessage] = []
    if config.auth_leeway > MAX_AUTH_LEEWAY_S:
        found.append(
            checks.Warning(
                f"{SETTING}['AUTH_LEEWAY'] is {config.auth_leeway:g} seconds: connections outlive"
                " their credentials by that.",
                hint=f"Use at most {MAX_AUTH_LEEWAY_S:g}, or give tokens a longer life.",
                id="channels_realtime.W014",
            )
        )
    return found


# -- login sessions --------------------------------------------------------------------------------


@register(Tags.security)
def check_login_sessions(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Login sessions as a way in on a site that has none, or cannot end them."""
    config = valid_config()
    if config is None or not uses(config, LoginSession):
        return []
    missing = []
    if not has_login_sessions():
        missing.append("'django.contrib.sessions' is not in INSTALLED_APPS")
    if not any(_SESSION_MIDDLEWARE in ancestry(path) for path in settings.MIDDLEWARE):
        missing.append("SessionMiddleware is not in MIDDLEWARE")
    if missing:
        return [
            checks.Warning(
                f"{SETTING}['AUTHENTICATORS'] holds LoginSession, but {' and '.join(missing)}: nobody"
                " comes in with a login session.",
                hint="Add what is missing, or list AUTHENTICATORS without LoginSession.",
                id="channels_realtime.W009",
            )
        ]
    if settings.SESSION_ENGINE == _SIGNED_COOKIES:
        return [
            checks.Warning(
                "SESSION_ENGINE keeps login sessions in signed cookies, which cannot be ended: a"
                " logout misses the connections that were opened with an earlier cookie of the same"
                " session.",
                hint="Use 'django.contrib.sessions.backends.db' or 'cached_db'.",
                id="channels_realtime.W015",
            )
        ]
    return []


# -- tickets ---------------------------------------------------------------------------------------


@register(Tags.security)
def check_tickets(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """A cache that cannot tell a ticket that was used from one that was not.

    Only of a site whose URLconf has the view that issues tickets. ``Ticket`` is an authenticator by
    default, but where nobody can have a ticket nothing can be replayed, and a site that never heard
    of tickets must not be stopped for want of a shared cache. A site that calls ``issue_ticket``
    from a view of its own cannot be seen here.
    """
    config = valid_config()
    if config is None or not uses(config, Ticket) or not _issues_tickets():
        return []
    backend = settings.CACHES.get(DEFAULT_CACHE_ALIAS, {}).get("BACKEND", "")
    bases = ancestry(backend)
    unfit = next((path for path in _UNFIT_CACHES if path in bases), None)
    if unfit is None:
        return []
    message = (
        f"CACHES[{DEFAULT_CACHE_ALIAS!r}] is {backend.rpartition('.')[2]}, which"
        f" {_UNFIT_CACHES[unfit]}."
    )
    if crosses_processes(config.channel_layer):
        return [
            Error(
                message,
                hint=(
                    "Use a cache that all processes share, such as"
                    " 'django.core.cache.backends.redis.RedisCache'; where nobody uses tickets, list"
                    " AUTHENTICATORS without Ticket."
                ),
                id="channels_realtime.E011",
            )
        ]
    if unfit == _DUMMY_CACHE:
        return [
            checks.Warning(
                message,
                hint="Use 'django.core.cache.backends.locmem.LocMemCache' while developing.",
                id="channels_realtime.W010",
            )
        ]
    return []


def _issues_tickets() -> bool:
    if not getattr(settings, "ROOT_URLCONF", None):
        return False
    return _routes_to(get_resolver().url_patterns, inspect.unwrap(ticket))


def _routes_to(patterns: Iterable[URLPattern | URLResolver], view: Any) -> bool:
    return any(
        _routes_to(pattern.url_patterns, view)
        if isinstance(pattern, URLResolver)
        else inspect.unwrap(pattern.callback) is view
        for pattern in patterns
    )
