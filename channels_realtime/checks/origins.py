"""Checks of the allowlist of origins."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.utils.module_loading import import_string

from ..access.origins import parse_origin
from ..settings import SETTING
from .configuration import valid_config


@register(Tags.security)
def check_origins(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Origins that let every page in, or that cannot be what was meant."""
    config = valid_config()
    if config is None or config.allowed_origins is None or callable(config.allowed_origins):
        return []
    if isinstance(config.allowed_origins, str):
        return _check_origin_rule(config.allowed_origins)

    found: list[CheckMessage] = []
    for origin in config.allowed_origins:
        if origin == "*":
            found.append(
                checks.Warning(
                    f"{SETTING}['ALLOWED_ORIGINS'] holds '*': any page on the web may connect with"
                    " its visitor's cookies (cross-site WebSocket hijacking).",
                    hint="List the origins, such as 'https://app.example.com'.",
                    id="channels_realtime.W004",
                )
            )
        elif origin != "null" and "://" not in origin:
            found.append(
                Error(
                    f"{SETTING}['ALLOWED_ORIGINS'] holds {origin!r}, which has no scheme and matches"
                    " nothing.",
                    hint=f"Write 'https://{origin}'.",
                    id="channels_realtime.E007",
                )
            )
        elif (
            origin.startswith(("http://", "https://"))
            and parse_origin(origin.replace("://*.", "://", 1)) is None
        ):
            found.append(
                Error(
                    f"{SETTING}['ALLOWED_ORIGINS'] holds {origin!r}, which is no origin and matches"
                    " nothing.",
                    hint="An origin is a scheme, a host and perhaps a port: no path, no slash.",
                    id="channels_realtime.E007",
                )
            )
    return found


@register(Tags.security)
def check_allowlist(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """An allowlist that no page is on."""
    config = valid_config()
    if config is None or config.allowed_origins is None or callable(config.allowed_origins):
        return []
    if len(config.allowed_origins) > 0:
        return []
    if not config.allow_missing_origin:
        return [
            Error(
                f"{SETTING}['ALLOWED_ORIGINS'] is empty and ALLOW_MISSING_ORIGIN is False: nobody"
                " can connect.",
                hint="List the origins of your pages, or remove ALLOWED_ORIGINS for the default.",
                id="channels_realtime.E012",
            )
        ]
    return [
        checks.Warning(
            f"{SETTING}['ALLOWED_ORIGINS'] is empty: no page in a browser can connect, the site's"
            " own included.",
            hint=(
                "List the origins of your pages, or remove ALLOWED_ORIGINS for the default. Silence"
                " channels_realtime.W006 where only other clients connect."
            ),
            id="channels_realtime.W006",
        )
    ]


def _check_origin_rule(path: str) -> list[CheckMessage]:
    try:
        rule = import_string(path)
    except ImportError as error:
        message = f"{SETTING}['ALLOWED_ORIGINS'] cannot be imported: {error}"
    else:
        if callable(rule) and not inspect.iscoroutinefunction(rule):
            return []
        fault = "async" if callable(rule) else "not callable"
        message = f"{SETTING}['ALLOWED_ORIGINS'] names {path!r}, which is {fault}."
    return [
        Error(
            message,
            hint="Name a function of an origin's text and the ASGI scope that returns a bool.",
            id="channels_realtime.E008",
        )
    ]
