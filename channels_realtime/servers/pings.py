"""Whether the server's own WebSocket pings are visibly off.

They are what keeps a bare page alive, which answers nothing of ours: a proxy's idle timeout would
cut it, and a page that is gone without a word would never be noticed. What is visible is the
command line and the environment; where a server is configured in any other way, nothing is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath

LONGEST_S = 3600.0
"""A ping less often than this helps against no proxy's timeout."""


def missing_pings(argv: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """What switches the pings off, as half a sentence; None where they are on or nobody can tell.

    Args:
        argv: the process's, with the program first.
        environ: the environment's variables.
    """
    server = _server(argv)
    if server == "daphne":
        return _daphne(argv)
    if server == "hypercorn":
        return _hypercorn(argv)
    if server == "granian":
        return _granian(argv)
    return _uvicorn(argv if server == "uvicorn" else (), environ)


def _server(argv: Sequence[str]) -> str | None:
    if not argv:
        return None
    program = PurePath(argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.stem
    return name if name in ("daphne", "granian", "hypercorn", "uvicorn") else None


def _daphne(argv: Sequence[str]) -> str | None:
    # An interval of 0 is no "never" there: a ping every two seconds.
    interval = _option(argv, "--ping-interval")
    if _is_off(interval, zero=False):
        return f"daphne --ping-interval {interval}"
    timeout = _option(argv, "--ping-timeout")  # 0: who does not answer is never missed
    return f"daphne --ping-timeout {timeout}" if _is_off(timeout) else None


def _uvicorn(argv: Sequence[str], environ: Mapping[str, str]) -> str | None:
    interval = _option(argv, "--ws-ping-interval")
    if interval is not None:
        return f"uvicorn --ws-ping-interval {interval}" if _is_off(interval) else None
    interval = environ.get("UVICORN_WS_PING_INTERVAL")
    return f"UVICORN_WS_PING_INTERVAL={interval}" if _is_off(interval) else None


def _hypercorn(argv: Sequence[str]) -> str | None:
    interval = _option(argv, "--websocket-ping-interval")
    if interval is not None:
        return f"hypercorn --websocket-ping-interval {interval}" if _is_off(interval) else None
    if _option(argv, "-c", "--config") is not None:
        return None
    return "hypercorn without --websocket-ping-interval"


def _granian(argv: Sequence[str]) -> str | None:
    if any("ping" in argument and argument.startswith("--ws") for argument in argv):
        return None  # an option of a later version than 2.8, which has none
    return "granian, which sends none"


def _option(argv: Sequence[str], *names: str) -> str | None:
    """The value of the last occurrence of an option."""
    found = None
    for position, argument in enumerate(argv):
        name, equals, value = argument.partition("=")
        if name not in names:
            continue
        if equals:
            found = value
        elif position + 1 < len(argv):
            found = argv[position + 1]
    return found


def _is_off(value: str | None, *, zero: bool = True) -> bool:
    if value is None:
        return False
    try:
        seconds = float(value)
    except ValueError:
        return False
    return seconds >= LONGEST_S or (zero and seconds <= 0)
