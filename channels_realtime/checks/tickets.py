"""Checks of one-time tickets, which need a cache that all processes share."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.cache import DEFAULT_CACHE_ALIAS
from django.core.checks import CheckMessage, Error, Tags
from django.urls import URLPattern, URLResolver, get_resolver

from ..auth.tickets import Ticket
from ..config import Config
from ..http.tickets import ticket
from .authenticators import uses
from .backends import ancestry, crosses_processes
from .configuration import config_check

_DUMMY_CACHE = "django.core.cache.backends.dummy.DummyCache"
_UNFIT_CACHES = {
    "django.core.cache.backends.locmem.LocMemCache": (
        "is separate in each process: a used ticket can be used again in another process"
    ),
    "django.core.cache.backends.filebased.FileBasedCache": (
        "does not add atomically: a ticket can be used in two processes at once"
    ),
    _DUMMY_CACHE: "stores nothing: every ticket is refused",
}


@config_check(Tags.security)
def check_tickets(config: Config) -> Iterator[CheckMessage]:
    """Report a cache that cannot tell whether a ticket was used.

    Only if the site's URLconf has the view that issues tickets. ``Ticket`` is an authenticator by
    default, but without tickets nothing can be replayed, and a site that uses none must not be
    stopped because it has no shared cache. A site's own view that calls ``issue_ticket`` is not
    detected.
    """
    if not uses(config, Ticket) or not _issues_tickets():
        return
    backend = settings.CACHES.get(DEFAULT_CACHE_ALIAS, {}).get("BACKEND", "")
    bases = ancestry(backend)
    unfit = next((path for path in _UNFIT_CACHES if path in bases), None)
    if unfit is None:
        return
    message = (
        f"CACHES[{DEFAULT_CACHE_ALIAS!r}] is {backend.rpartition('.')[2]}, which"
        f" {_UNFIT_CACHES[unfit]}."
    )
    if crosses_processes(config.channel_layer):
        yield Error(
            message,
            hint=(
                "Use a cache that all processes share, such as"
                " 'django.core.cache.backends.redis.RedisCache'. If no client uses tickets, list"
                " AUTHENTICATORS without Ticket."
            ),
            id="channels_realtime.E011",
        )
    elif unfit == _DUMMY_CACHE:
        yield checks.Warning(
            message,
            hint="Use 'django.core.cache.backends.locmem.LocMemCache' in development.",
            id="channels_realtime.W010",
        )


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
