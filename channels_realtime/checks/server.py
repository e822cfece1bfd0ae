"""Checks of the ASGI application, and of Daphne's position in ``INSTALLED_APPS``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register


@register(Tags.compatibility)
def check_server(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Report settings that keep ``runserver`` from serving WebSockets."""
    found: list[CheckMessage] = []
    if not getattr(settings, "ASGI_APPLICATION", None):
        found.append(
            Error(
                "ASGI_APPLICATION is not set: runserver would serve WSGI, without WebSockets.",
                hint="Set ASGI_APPLICATION = '<project>.asgi.application'.",
                id="channels_realtime.E005",
            )
        )
    names = [config.name for config in apps.get_app_configs()]
    if "daphne" not in names:
        if settings.DEBUG:
            found.append(
                checks.Warning(
                    "'daphne' is not in INSTALLED_APPS: runserver serves no WebSockets.",
                    hint=(
                        "Put 'daphne' first in INSTALLED_APPS, or run another ASGI server and"
                        " silence channels_realtime.W003."
                    ),
                    id="channels_realtime.W003",
                )
            )
        return found
    position = names.index("daphne")
    shadowing = {"django.contrib.staticfiles", "whitenoise.runserver_nostatic"} & set(
        names[:position]
    )
    if shadowing:
        found.append(
            Error(
                f"'daphne' comes after {', '.join(sorted(shadowing))} in INSTALLED_APPS, which replaces"
                " its runserver command.",
                hint="Put 'daphne' first.",
                id="channels_realtime.E006",
            )
        )
    return found
