"""``manage.py realtime_schema``: write what the site's channels carry, for other languages."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from channels_realtime.channels import registry
from channels_realtime.errors import ImproperUse
from channels_realtime.schema.asyncapi import asyncapi
from channels_realtime.schema.json_schema import json_schema
from channels_realtime.schema.routes import describe
from channels_realtime.schema.typescript import typescript
from channels_realtime.settings import get_config


class Command(BaseCommand):
    """Writes the routes and the types that their channel classes declare."""

    help = (
        "Write what the site's channels carry: an AsyncAPI 3.0 document, a JSON Schema of the messages, or"
        " a TypeScript interface that types the browser client by route."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument(
            "--format",
            choices=("asyncapi", "json-schema", "typescript"),
            default="asyncapi",
            help="what to write (default: asyncapi)",
        )
        parser.add_argument("--output", metavar="FILE", type=Path, help="write it to a file")
        parser.add_argument(
            "--check",
            action="store_true",
            help="write nothing; fail where FILE is not what would be written",
        )
        parser.add_argument("--title", default="Channels", help="of the document")
        # Not --version, which is Django's.
        parser.add_argument(
            "--api-version", default="1.0.0", help="of the site's interface, for asyncapi"
        )
        parser.add_argument(
            "--server",
            metavar="URL",
            help="the WebSocket's address, such as wss://example.com/ws/, for asyncapi",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Write it, or compare it with the file.

        Raises:
            CommandError: a type cannot be written, the file cannot be read or written, or is not what
                would be written.
        """
        output: Path | None = options["output"]
        if options["check"] and output is None:
            raise CommandError("--check compares a file: give it with --output FILE.")
        try:
            text = _written(options)
        except ImproperUse as error:
            raise CommandError(error.reason) from None
        if output is None:
            self.stdout.write(text, ending="")
            return
        try:
            if options["check"]:
                if not output.exists() or output.read_text(encoding="utf-8") != text:
                    raise CommandError(
                        f"{output} is not what the channel classes say. Write it with:"
                        f" manage.py realtime_schema --format {options['format']} --output {output}"
                    )
            else:
                output.write_text(text, encoding="utf-8", newline="\n")
        except OSError as error:
            raise CommandError(f"{output}: {error.strerror}.") from None


def _written(options: dict[str, Any]) -> str:
    routes = describe(registry)
    if options["format"] == "typescript":
        return typescript(routes)
    if options["format"] == "json-schema":
        document = json_schema(routes, title=options["title"])
    else:
        document = asyncapi(
            routes,
            config=get_config(),
            title=options["title"],
            version=options["api_version"],
            server=options["server"],
        )
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
