"""``manage.py realtime_drain``: ask the clients of a server process to reconnect elsewhere."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from channels_realtime.errors import Unavailable
from channels_realtime.operations import drain, drain_all

_NOT_SENT = "The channel layer did not accept the message. Nothing was drained."


class Command(BaseCommand):
    """Drains one node (one server process), or all of them."""

    help = (
        "Close a node's connections so that their clients reconnect to other nodes, and accept no new"
        " ones. A node is one server process; the process runs on until it is stopped. The health"
        " view and the log show a node's id."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the arguments that name the nodes."""
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("node", nargs="?", help="the node's id")
        which.add_argument("--all", action="store_true", help="every node")

    def handle(self, *args: Any, **options: Any) -> None:
        """Send the request to drain.

        Raises:
            CommandError: the node does not respond, or the channel layer failed.
        """
        if options["all"]:
            if not drain_all():
                raise CommandError(_NOT_SENT)
            message = (
                "The request was sent. Follow the drain in the nodes' readiness views or logs."
            )
        else:
            try:
                drains = drain(options["node"])
            except Unavailable:
                raise CommandError(_NOT_SENT) from None
            if not drains:
                raise CommandError(
                    f"Node {options['node']} does not respond. Check the id, and that it runs."
                )
            message = "The node is draining. Follow it in its readiness view or log."
        if options["verbosity"] > 0:
            self.stdout.write(message)
