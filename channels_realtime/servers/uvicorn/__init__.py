"""uvicorn: its server object, and the largest message that it accepts.

The process holds a message until it is complete, a compressed one inflated as well. Twenty clients
that never finish theirs make it hold 300 MiB with uvicorn's default.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from ..command_line import option, server_of

DEFAULT_MAX_BYTES = 16_777_216
"""uvicorn's ``--ws-max-size``."""


def running_uvicorn() -> Any | None:
    """Return the server that has taken this process's signals, under gunicorn too; else None."""
    if threading.current_thread() is not threading.main_thread():
        return None
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if not type(server).__module__.startswith("uvicorn") or not hasattr(server, "on_tick"):
        return None
    return server


def largest_message(argv: Sequence[str], environ: Mapping[str, str]) -> int | None:
    """Return the bytes of the largest message that uvicorn accepts, or None if it is not uvicorn.

    Args:
        argv: the command line of the process, with the program first.
        environ: the environment variables.
    """
    config = getattr(running_uvicorn(), "config", None)
    if config is not None:
        return int(config.ws_max_size)
    named = environ.get("UVICORN_WS_MAX_SIZE")
    if server_of(argv) == "uvicorn":
        named = option(argv, "--ws-max-size") or named or str(DEFAULT_MAX_BYTES)
    try:
        return None if named is None else int(named)
    except ValueError:
        return None
