"""What the servers of a measurement serve, by name: ``site``, ``plain_channels``, ``bare``.

``site`` is the site's own ASGI application, with a channel for the measurements and with groups of its own,
so that nothing reaches the channels and nodes of a site that runs on the same channel layer and Redis.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import django
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from ..config import Config
from ..settings import SETTING, get_config
from .references import PREFIX_VARIABLE

CHANNEL = "realtime-bench/"
"""Begins the names of the channels."""

_NO_RATE = (1e9, 1e9)
_NO_MAXIMUM = 1_000_000_000
_RATES = (
    "connection_messages",
    "connection_bytes",
    "connection_publishes",
    "user_messages",
    "address_messages",
)
_MAXIMA = ("max_connections", "max_connections_per_user", "max_connections_per_address")


def overrides(config: Config, prefix: str) -> dict[str, Any]:
    """The keys of ``CHANNELS_REALTIME`` that a measurement changes.

    All clients are anonymous and come from one address. Limits that the site sets are raised and not taken
    away, so that they cost what they cost.
    """
    return {
        "GROUP_PREFIX": prefix,
        "ALLOW_ANONYMOUS": True,
        "ALLOW_MISSING_ORIGIN": True,
        "ENDED_RETENTION": 0,
        **{name.upper(): _NO_RATE for name in _RATES if getattr(config, name) is not None},
        **{name.upper(): _NO_MAXIMUM for name in _MAXIMA if getattr(config, name) is not None},
    }


def configure() -> None:
    """Change this process's settings to those of a measurement; call it before anything reads them."""
    changed = overrides(get_config(), os.environ[PREFIX_VARIABLE])
    setattr(settings, SETTING, {**(getattr(settings, SETTING, None) or {}), **changed})


def _site() -> Any:
    configure()
    path = getattr(settings, "ASGI_APPLICATION", None)
    if not path:
        raise ImproperlyConfigured("ASGI_APPLICATION is not set; expected what is to be measured")
    application = import_string(path)
    # The application has loaded the apps, which these need.
    from ..channels import registry
    from .channels import BenchChannel

    found = type(registry.resolve(CHANNEL + "any"))
    if found is not BenchChannel:
        raise ImproperlyConfigured(
            f"The route of {found.__qualname__} matches {CHANNEL + 'any'!r}, the channel of the"
            " measurements; expected that no route of the site does"
        )
    return application


def _plain_channels() -> Any:
    django.setup()
    from .references import plain_channels

    return plain_channels


def _bare() -> Any:
    from .references import bare

    return bare


_APPLICATIONS: dict[str, Callable[[], Any]] = {
    "site": _site,
    "plain_channels": _plain_channels,
    "bare": _bare,
}


def __getattr__(name: str) -> Any:
    """Make an application when a server imports it."""
    if name not in _APPLICATIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _end_with_the_command()
    return _APPLICATIONS[name]()


def _end_with_the_command() -> None:
    """Stop this server when the command ends, however it does: its end of the pipe is closed then."""

    def wait() -> None:
        sys.stdin.buffer.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True, name="realtime-bench-parent").start()
