"""Checks of one-time tickets, which need a cache that all processes share: E011, W010 and W035."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.cache import DEFAULT_CACHE_ALIAS
from django.core.checks import CheckMessage, Error, Tags
from django.urls import URLPattern, URLResolver, get_resolver

from .. import urls
from ..auth.tickets import TICKETS_NEED_A_SHARED_CACHE, Ticket
from ..config import Config
from ..http.tickets import ticket
from ..settings import SETTING
from .authenticators import uses
from .backends import ancestry, crosses_processes
from .configuration import config_check

_VIEW = inspect.unwrap(ticket)
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

    Only if the site's URLconf has the view that issues tickets. A site's own view that calls
    ``issue_ticket`` is not detected.

    ``Ticket`` is an authenticator by default, and ``include("channels_realtime.urls")`` has the view
    beside those of the probes, so neither shows that the site uses tickets. A site that uses none
    must not be stopped because it has no shared cache: there, this is a warning, and the view issues
    no tickets that could be replayed.
    """
    if not uses(config, Ticket) or not _routes_to(_url_patterns(), _VIEW):
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
    hint = (
        "Use a cache that all processes share, such as"
        " 'django.core.cache.backends.redis.RedisCache'. If no client uses tickets, list"
        " AUTHENTICATORS without Ticket."
    )
    if crosses_processes(config.channel_layer):
        chosen = "AUTHENTICATORS" in (getattr(settings, SETTING, None) or {})
        if chosen or _routes_to(_url_patterns(), _VIEW, beside=urls.__name__):
            yield Error(message, hint=hint, id=TICKETS_NEED_A_SHARED_CACHE)
        elif TICKETS_NEED_A_SHARED_CACHE not in settings.SILENCED_SYSTEM_CHECKS:
            yield checks.Warning(
                f"{message} The view of channels_realtime.urls issues no tickets.",
                hint=hint,
                id="channels_realtime.W035",
            )
    elif unfit == _DUMMY_CACHE:
        yield checks.Warning(
            message,
            hint="Use 'django.core.cache.backends.locmem.LocMemCache' in development.",
            id="channels_realtime.W010",
        )


def _url_patterns() -> Iterable[URLPattern | URLResolver]:
    if not getattr(settings, "ROOT_URLCONF", None):
        return ()
    return get_resolver().url_patterns


def _routes_to(
    patterns: Iterable[URLPattern | URLResolver], view: Any, *, beside: str | None = None
) -> bool:
    """Whether a route leads to the view, other than one of the URLconf ``beside``."""
    return any(
        getattr(pattern.urlconf_module, "__name__", "") != beside
        and _routes_to(pattern.url_patterns, view, beside=beside)
        if isinstance(pattern, URLResolver)
        else inspect.unwrap(pattern.callback) is view
        for pattern in patterns
    )
