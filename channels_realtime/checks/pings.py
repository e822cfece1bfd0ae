"""Checks the server's own WebSocket pings, which plain WebSocket clients rely on."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.core.checks import CheckMessage, Tags, register

from ..servers.pings import missing_pings


@register(Tags.compatibility)
def check_server_pings(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Report pings that the command line or the environment switches off."""
    what = missing_pings(sys.argv, os.environ)
    if what is None:
        return []
    return [
        checks.Warning(
            f"The server's own WebSocket pings are off ({what}): if a client does not answer"
            " our 'ping', a proxy may close its idle connection, and its loss is not noticed.",
            hint="Ping every 20 seconds, or silence channels_realtime.W021 if all clients negotiate"
            " 'realtime.v1.json' or 'realtime.v1.msgpack'.",
            id="channels_realtime.W021",
        )
    ]
