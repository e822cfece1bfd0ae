"""``python -m channels_realtime.servers.daphne``: Daphne, with its own options, and our server."""

from __future__ import annotations

import daphne.server  # noqa: F401  # first: it installs Twisted's reactor
from daphne.cli import CommandLineInterface

from .server import Server


class Command(CommandLineInterface):  # type: ignore[misc]  # Daphne has no types
    """Daphne's command line."""

    server_class = Server


if __name__ == "__main__":
    Command.entrypoint()
