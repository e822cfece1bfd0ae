"""``manage.py realtime_drain``: send a node's connections elsewhere, by hand."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from channels_realtime.errors import Unavailable
from channels_realtime.operations import drain, drain_all

_NOT_TAKEN = "The channel layer did not take the message; nothing was drained."


class Command(BaseCommand):
    """Drains one node, or all of them."""

    help = (
        "Have a node send its connections elsewhere and let nobody in any more. Its process goes on"
        " until it is stopped. The health view and the log name a node's id."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which node."""
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("node", nargs="?", help="the node's id")
        which.add_argument("--all", action="store_true", help="every node")

    def handle(self, *args: Any, **options: Any) -> None:
        """Tell the node, or say why that failed."""
        if options["all"]:
            if not drain_all():
                raise CommandError(_NOT_TAKEN)
            said = "Told; watch the readiness views or the logs of the nodes."
        else:
            try:
                drains = drain(options["node"])
            except Unavailable:
                raise CommandError(_NOT_TAKEN) from None
            if not drains:
                raise CommandError(f"No node {options['node']} answers; look whether it is there.")
            said = "It drains; watch its readiness view or its log."
        if options["verbosity"] > 0:
            self.stdout.write(said)
