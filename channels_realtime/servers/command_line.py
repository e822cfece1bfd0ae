"""Reads the command line of an ASGI server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath


def server_of(argv: Sequence[str]) -> str | None:
    """Return the name of the server that a command line starts, or None if it is unknown."""
    if not argv:
        return None
    program = PurePath(argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.stem
    return name if name in ("daphne", "granian", "hypercorn", "uvicorn") else None


def option(argv: Sequence[str], *names: str) -> str | None:
    """Return the value of the last occurrence of an option, or None."""
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
