"""Detects that the server's own WebSocket pings are off.

Plain WebSocket clients do not answer our ``ping`` and rely on the server's pings: without them, a
proxy's idle timeout would close the connection, and a lost client would never be noticed. Only the
command line and the environment are read. Any other configuration of a server is not detected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .command_line import option, server_of

LONGEST_S = 3600.0
"""Pings less often than this are too rare for any proxy's idle timeout."""


def missing_pings(argv: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """Return the option that switches the pings off, or None if they are on or it is unknown.

    Args:
        argv: the command line of the process, with the program first.
        environ: the environment variables.
    """
    server = server_of(argv)
    if server == "daphne":
        return _daphne(argv)
    if server == "hypercorn":
        return _hypercorn(argv)
    if server == "granian":
        return _granian(argv)
    return _uvicorn(argv if server == "uvicorn" else (), environ)


def _daphne(argv: Sequence[str]) -> str | None:
    # An interval of 0 does not mean never, but every two seconds.
    interval = option(argv, "--ping-interval")
    if _is_off(interval, zero=False):
        return f"daphne --ping-interval {interval}"
    timeout = option(argv, "--ping-timeout")  # 0: a missing answer is never noticed
    return f"daphne --ping-timeout {timeout}" if _is_off(timeout) else None


def _uvicorn(argv: Sequence[str], environ: Mapping[str, str]) -> str | None:
    interval = option(argv, "--ws-ping-interval")
    if interval is not None:
        return f"uvicorn --ws-ping-interval {interval}" if _is_off(interval) else None
    interval = environ.get("UVICORN_WS_PING_INTERVAL")
    return f"UVICORN_WS_PING_INTERVAL={interval}" if _is_off(interval) else None


def _hypercorn(argv: Sequence[str]) -> str | None:
    interval = option(argv, "--websocket-ping-interval")
    if interval is not None:
        return f"hypercorn --websocket-ping-interval {interval}" if _is_off(interval) else None
    if option(argv, "-c", "--config") is not None:
        return None
    return "hypercorn without --websocket-ping-interval"


def _granian(argv: Sequence[str]) -> str | None:
    if any("ping" in argument and argument.startswith("--ws") for argument in argv):
        return None  # a version later than 2.8, which has no such option
    return "granian, which sends none"


def _is_off(value: str | None, *, zero: bool = True) -> bool:
    if value is None:
        return False
    try:
        seconds = float(value)
    except ValueError:
        return False
    return seconds >= LONGEST_S or (zero and seconds <= 0)
