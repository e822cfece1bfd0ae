"""Checks the largest message that uvicorn accepts."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from django.core import checks
from django.core.checks import CheckMessage, Tags

from ..config import Config
from ..servers.uvicorn import largest_message
from .configuration import config_check

_DAPHNE_MAX_BYTES = 1_048_576
"""Daphne's limit: small enough to let anyone send it."""

_FRAMES = 8
"""A limit of so many times ``MAX_FRAME_BYTES`` is the site's own choice."""


@config_check(Tags.security)
def check_message_size(config: Config) -> Iterator[CheckMessage]:
    """Report a limit that lets clients make the process hold far more than it takes from them."""
    found = largest_message(sys.argv, os.environ)
    if found is None or found <= max(_DAPHNE_MAX_BYTES, _FRAMES * config.max_frame_bytes):
        return
    yield checks.Warning(
        f"uvicorn accepts messages of {found:,} bytes, and MAX_FRAME_BYTES is"
        f" {config.max_frame_bytes:,}: a few clients that never finish theirs make the process hold"
        " hundreds of megabytes.",
        hint="Start it with --ws-max-size 1048576 (under gunicorn: ws_max_size in the worker's"
        " CONFIG_KWARGS).",
        id="channels_realtime.W036",
    )
