"""``manage.py realtime_publish CHANNEL JSON``: publish from a terminal or a script."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from channels_realtime.errors import RealtimeError
from channels_realtime.publishing import publish


class Command(BaseCommand):
    """Publishes one payload to one channel."""

    help = "Publish a JSON payload to every subscriber of a channel, in every process."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the channel, the payload and the event."""
        parser.add_argument("channel", help="the channel's name, such as orders/42")
        parser.add_argument("payload", help='the payload as JSON, such as \'{"status": "paid"}\'')
        parser.add_argument("--event", help="the event's name")

    def handle(self, *args: Any, **options: Any) -> None:
        """Publish the payload.

        Raises:
            CommandError: the payload is not JSON, or publishing failed.
        """
        try:
            payload = json.loads(options["payload"])
        except ValueError as error:
            raise CommandError(
                f"The payload is not JSON: {error}. Text needs its own quotes: '\"hello\"'."
            ) from None
        try:
            publish(options["channel"], payload, event=options["event"], failures="raise")
        except RealtimeError as error:
            cause = "" if error.__cause__ is None else f" ({error.__cause__})"
            raise CommandError(f"{error.reason}{cause}") from None
        if options["verbosity"] > 0:
            self.stdout.write(f"Published to {options['channel']}.")
