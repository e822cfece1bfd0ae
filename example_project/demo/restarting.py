"""Lets the demo's server become a new one: it stops as at Ctrl+C, and its process starts the command again.

Only `manage.py demo` makes this possible, with DEBUG, and where it listens on this machine alone.
"""

import atexit
import json
import os
import signal
import sys

from django.conf import settings

COMMAND = "DEMO_RESTART_COMMAND"
"""The environment's variable with the server's command, as JSON."""


def can_restart() -> bool:
    return settings.DEBUG and COMMAND in os.environ


def restart() -> None:
    """Stop this process's server, which sends its clients away first, and start it again."""
    command = json.loads(os.environ[COMMAND])
    atexit.register(os.execv, sys.executable, command)
    # uvicorn ends by the signal itself, and after SIGTERM nothing more would run. A process that was started in
    # the background of a script ignores SIGINT, and Daphne leaves it so.
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    os.kill(os.getpid(), signal.SIGTERM if ignored else signal.SIGINT)
