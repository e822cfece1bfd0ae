"""Checks of ``ALLOWED_ORIGINS``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags

from ..access.origins import OriginPolicy, is_own_host, origin_fault, parse_origin
from ..config import Config
from ..settings import SETTING
from .configuration import config_check, function_fault


@config_check(Tags.security)
def check_origins(config: Config) -> Iterator[CheckMessage]:
    """Report entries that admit every page or match none, and a callable that cannot be used."""
    allowed = config.allowed_origins
    if isinstance(allowed, str):
        fault = function_fault("ALLOWED_ORIGINS", allowed)
        if fault is not None:
            yield Error(
                fault,
                hint=(
                    "Name a plain function that takes an origin and the ASGI scope and returns a"
                    " bool."
                ),
                id="channels_realtime.E008",
            )
    elif allowed is not None and not callable(allowed):
        for origin in allowed:
            yield from _check_origin(origin)


def _check_origin(origin: str) -> Iterator[CheckMessage]:
    if origin == "*":
        yield checks.Warning(
            f"{SETTING}['ALLOWED_ORIGINS'] contains '*': any page on the web may connect with its"
            " visitor's cookies (cross-site WebSocket hijacking).",
            hint="List the origins, such as 'https://app.example.com'.",
            id="channels_realtime.W004",
        )
        return
    fault = origin_fault(origin)
    if fault is not None:
        yield Error(
            f"{SETTING}['ALLOWED_ORIGINS'] contains {origin!r}, {fault[0]}.",
            hint=fault[1],
            id="channels_realtime.E007",
        )


@config_check(Tags.security)
def check_allowlist(config: Config) -> Iterator[CheckMessage]:
    """Report an empty list of origins."""
    allowed = config.allowed_origins
    if allowed is None or callable(allowed) or len(allowed) > 0:
        return
    if not config.allow_missing_origin:
        yield Error(
            f"{SETTING}['ALLOWED_ORIGINS'] is empty and ALLOW_MISSING_ORIGIN is False: no client can"
            " connect.",
            hint="List the origins of your pages, or remove ALLOWED_ORIGINS for the default.",
            id="channels_realtime.E012",
        )
    else:
        yield checks.Warning(
            f"{SETTING}['ALLOWED_ORIGINS'] is empty: no page in a browser can connect, not even the"
            " site's own.",
            hint=(
                "List the origins of your pages, or remove ALLOWED_ORIGINS for the default. Silence"
                " channels_realtime.W006 if only clients other than browsers connect."
            ),
            id="channels_realtime.W006",
        )


@config_check(Tags.security)
def check_cross_origin_sites(config: Config) -> Iterator[CheckMessage]:
    """Report pages that may use the site's HTTP views, by django-cors-headers, but no connections."""
    allowed = config.allowed_origins
    if callable(allowed) or isinstance(allowed, str):
        return
    policy = OriginPolicy(allowed)
    refused = [
        origin
        for origin in _cors_origins()
        if not policy.lists(origin) and not (allowed is None and _may_be_own(origin))
    ]
    if refused:
        place = "CSRF_TRUSTED_ORIGINS" if allowed is None else f"{SETTING}['ALLOWED_ORIGINS']"
        yield checks.Warning(
            f"CORS_ALLOWED_ORIGINS contains {', '.join(map(repr, refused[:5]))}, from where no page can"
            " connect: CORS does not apply to WebSockets.",
            hint=(
                f"Add them to {place}, or silence channels_realtime.W030 if their pages open no"
                " connections."
            ),
            id="channels_realtime.W030",
        )


def _cors_origins() -> Sequence[str]:
    """The origins that django-cors-headers allows, by its setting or that setting's older name."""
    older = getattr(settings, "CORS_ORIGIN_WHITELIST", ())
    origins: Sequence[str] = getattr(settings, "CORS_ALLOWED_ORIGINS", older)
    return origins


def _may_be_own(text: str) -> bool:
    """Whether it looks like the site's own address, which people list there too."""
    origin = parse_origin(text)
    hosts = settings.ALLOWED_HOSTS
    return origin is not None and origin.port == 0 and "*" not in hosts and is_own_host(origin.host)
