"""``manage.py realtime_publish CHANNEL JSON``: publish from a terminal or a script."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from channels_realtime.errors import RealtimeError
from channels_realtime.publications import Published
from channels_realtime.publishing import publish


class Command(BaseCommand):
    """Publishes one payload to one channel."""

    help = "Publish a JSON payload to every subscriber of a channel, in every process."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the channel, the payload and what is said of it."""
        parser.add_argument("channel", help="the channel's name, such as orders/42")
        parser.add_argument("payload", help='the payload as JSON, such as \'{"status": "paid"}\'')
        parser.add_argument("--event", help="the event's name")
        parser.add_argument("--key", help="an idempotency key: the same is not sent twice")
        # Not --version, which is Django's.
        parser.add_argument(
            "--payload-version", type=int, help="of the payload; one that is not newer is dropped"
        )
        parser.add_argument("--state-key", help="the key whose state this is")
        parser.add_argument("--removed", action="store_true", help="end the key's state")
        parser.add_argument("--exclude", help="the id of a connection that does not get it")

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
            published = publish(
                options["channel"],
                payload,
                event=options["event"],
                key=options["key"],
                version=options["payload_version"],
                state_key=options["state_key"],
                removed=options["removed"],
                exclude=options["exclude"],
                failures="raise",
            )
        except RealtimeError as error:
            cause = "" if error.__cause__ is None else f" ({error.__cause__})"
            raise CommandError(f"{error.reason}{cause}") from None
        if options["verbosity"] > 0:
            self.stdout.write(_said(options["channel"], published))


def _said(channel: str, published: Published | None) -> str:
    if published is None:  # a test has captured it, or a transaction is open
        return f"Published to {channel}."
    at = "" if published.offset is None else f", offset {published.offset}"
    told = "" if published.told is None else f", told {_counted(published.told)}"
    if published.duplicate:
        return f"Not published to {channel}{at}: its key was used, or its version is not new."
    return f"Published to {channel}{at}{told}."


def _counted(connections: int) -> str:
    return "1 connection" if connections == 1 else f"{connections} connections"
