"""Checks of the ASGI application, and of Daphne's position in ``INSTALLED_APPS``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from channels.routing import ProtocolTypeRouter
from django.apps import AppConfig, apps
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.utils.module_loading import import_string

from ..settings import SETTING, problems


@register(Tags.compatibility)
def check_server(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Report settings that keep ``runserver`` from serving WebSockets."""
    return list(_check_runserver([config.name for config in apps.get_app_configs()]))


def _check_runserver(names: list[str]) -> Iterator[CheckMessage]:
    if "daphne" not in names:
        if settings.DEBUG and _command() == "runserver":
            yield checks.Warning(
                "'daphne' is not in INSTALLED_APPS: runserver serves no WebSockets.",
                hint=(
                    "Put 'daphne' first in INSTALLED_APPS, or run another ASGI server and"
                    " silence channels_realtime.W003."
                ),
                id="channels_realtime.W003",
            )
        return
    if not getattr(settings, "ASGI_APPLICATION", None):
        yield Error(
            "ASGI_APPLICATION is not set, and Daphne's runserver does not start without it.",
            hint="Set ASGI_APPLICATION = '<project>.asgi.application'.",
            id="channels_realtime.E005",
        )
    position = names.index("daphne")
    shadowing = {"django.contrib.staticfiles", "whitenoise.runserver_nostatic"} & set(
        names[:position]
    )
    if shadowing:
        yield Error(
            f"'daphne' comes after {', '.join(sorted(shadowing))} in INSTALLED_APPS, which replaces"
            " its runserver command.",
            hint="Put 'daphne' first.",
            id="channels_realtime.E006",
        )


@register(Tags.compatibility)
def check_asgi_application(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Report an ``asgi.py`` that serves no WebSockets. Imports it, as the server does.

    Only for ``check`` and ``runserver``: other commands serve nothing, and a process that imports
    the site's ``asgi.py`` counts as a server from then on.
    """
    path = getattr(settings, "ASGI_APPLICATION", None)
    if not path or not runs_checks():
        return []
    if next(problems(getattr(settings, SETTING, None)), None) is not None:
        return []  # E001 or E002 report them, with which the application cannot be made
    try:
        application = import_string(path)
    except Exception as error:  # any, of the site's own code
        return [
            Error(
                f"ASGI_APPLICATION names {path!r}, which cannot be imported:"
                f" {type(error).__name__}: {error}",
                hint="Correct the path, or the import that fails.",
                id="channels_realtime.E033",
            )
        ]
    if isinstance(application, (ASGIHandler, WSGIHandler)):
        what = "Django's own application"
    elif isinstance(application, ProtocolTypeRouter) and (
        "websocket" not in application.application_mapping
    ):
        what = "a ProtocolTypeRouter without 'websocket'"
    else:
        return []  # ours, or the site's own routing, which may lead to ours
    return [
        Error(
            f"ASGI_APPLICATION names {path!r}, which is {what}: it serves no WebSockets.",
            hint=(
                "At the end of the module: application ="
                " get_realtime_application(get_asgi_application()), from channels_realtime.asgi."
            ),
            id="channels_realtime.E034",
        )
    ]


def runs_checks() -> bool:
    """Whether this process is a management command that both runs the checks and imports ``asgi.py``."""
    return _command() in ("check", "runserver")


def _command() -> str | None:
    """The management command of this process, such as ``"runserver"``; None for other programs."""
    return sys.argv[1] if len(sys.argv) > 1 else None
