"""``manage.py realtime_bench``: measure this site on this machine, beside plain Channels and the bare server."""

from __future__ import annotations

import asyncio
import json
import math
import os
import platform
import secrets
import ssl
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from channels.layers import InMemoryChannelLayer
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, router

from channels_realtime.benchmark import report, rows
from channels_realtime.benchmark.applications import CHANNEL
from channels_realtime.benchmark.clients import Target
from channels_realtime.benchmark.processes import (
    BenchmarkError,
    Server,
    installed_servers,
    raise_open_files,
    serve,
)
from channels_realtime.benchmark.references import LAYER_VARIABLE, PREFIX_VARIABLE
from channels_realtime.benchmark.rows import (
    NEEDS_A_SHARED_LAYER,
    NEEDS_AN_OWN_SERVER,
    NOT_BY_DEFAULT,
    ROWS,
    Plan,
)
from channels_realtime.config import Config
from channels_realtime.errors import Unavailable
from channels_realtime.monitoring.registry_rows import forget_nodes
from channels_realtime.nodes.layers import configured_layer
from channels_realtime.settings import get_config

Progress = Callable[[str], Any]

TARGETS = ("site", "plain_channels", "bare")
MAX_CLIENTS = 1_000_000
INTERRUPTED = 130  # what shells say of a process that SIGINT ended
_OWN_FILES = 200


class Command(BaseCommand):
    """Measures the site's own application with its settings, channel layer and database."""

    help = (
        "Start this site's ASGI application on a free port of 127.0.0.1, connect clients, and measure what"
        " it carries, in turn with a consumer of plain Channels and with a bare application on the same"
        " server. Nothing reaches the site's own channels, and nothing is left behind."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add what to measure, with what, and how to print it."""
        parser.add_argument(
            "rows",
            nargs="*",
            metavar="row",
            help=f"{', '.join(ROWS)}; by default all but {', '.join(NOT_BY_DEFAULT)}",
        )
        parser.add_argument(
            "--clients",
            type=_integer(1, MAX_CLIENTS),
            default=1_000,
            metavar="N",
            help="how many connect (1000)",
        )
        parser.add_argument(
            "--rounds",
            type=_integer(1, 100),
            default=3,
            metavar="N",
            help="of which the median (3)",
        )
        parser.add_argument(
            "--seconds", type=_number, default=3.0, metavar="S", help="of each row and round (3)"
        )
        parser.add_argument(
            "--size",
            type=_integer(1, 65_000),
            default=200,
            metavar="BYTES",
            help="of a payload (200)",
        )
        parser.add_argument(
            "--rate",
            type=_number,
            default=10.0,
            metavar="N",
            help="publications a second of 'latency' (10)",
        )
        parser.add_argument(
            "--idle-seconds", type=_number, default=60.0, metavar="S", help="of the row 'idle' (60)"
        )
        parser.add_argument(
            "--server", help="daphne or uvicorn; by default the first that is installed"
        )
        parser.add_argument(
            "--url",
            help="measure a server that runs already, alone; it needs the measurements' channel",
        )
        parser.add_argument(
            "--token-env",
            metavar="NAME",
            help="with --url: the variable that has the clients' token",
        )
        parser.add_argument(
            "--frames",
            action="store_true",
            help="start the site's server through this package, which makes a frame once",
        )
        parser.add_argument(
            "--alone",
            action="store_true",
            help="measure the site, without what it is compared with",
        )
        parser.add_argument("--json", action="store_true", help="print JSON, with every round")
        parser.add_argument(
            "--noinput",
            "--no-input",
            action="store_false",
            dest="interactive",
            help="do not ask, although DEBUG is off",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Measure, and print the table.

        Raises:
            CommandError: an argument is wrong, a server does not run, or the operator does not want it.
        """
        names = options["rows"]
        for name in names:
            if name not in ROWS:
                raise CommandError(f"There is no row {name!r}; expected {', '.join(ROWS)}.")
        plan = Plan(**{name: options[name] for name in Plan.__dataclass_fields__})
        progress = self.stderr.write if options["verbosity"] > 0 else lambda text: None
        try:
            raise_open_files(plan.clients + _OWN_FILES)
            if options["url"] is None:
                about, results = self._measure_here(names, plan, progress, options)
            else:
                about, results = _measure_there(names, plan, progress, options)
        except BenchmarkError as error:
            raise CommandError(str(error)) from None
        except KeyboardInterrupt:
            self.stderr.write("Stopped. No server of this command runs any more.")
            sys.exit(INTERRUPTED)
        about |= {
            "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        }
        if options["json"]:
            how = {name: options[name] for name in ("clients", "size", "rounds", "seconds")}
            self.stdout.write(
                json.dumps({**about, **how, "rows": report.as_json(results)}, indent=2)
            )
            return
        for line in report.as_table(results):
            self.stdout.write(line)
        self.stdout.write("")
        self.stdout.write(
            f"{plan.clients:,} clients, payloads of {plan.size} bytes; {', '.join(about.values())}."
            f" Medians of {options['rounds']} rounds with half of their range; ×: how many times better"
            " this site is."
        )

    def _measure_here(
        self, names: list[str], plan: Plan, progress: Progress, options: dict[str, Any]
    ) -> tuple[dict[str, str], report.Results]:
        """What was measured, and what came of it: servers that this command starts."""
        kind = _checked_server(options["server"])
        if not getattr(settings, "ASGI_APPLICATION", None):
            raise CommandError("ASGI_APPLICATION is not set: it names the application to measure.")
        try:
            config = get_config()
            layer = type(configured_layer(config.channel_layer))
        except (ImproperlyConfigured, Unavailable) as error:
            raise CommandError(str(error)) from error
        through = ", through this package" if options["frames"] else ""
        about = {
            "layer": f"{layer.__module__}.{layer.__qualname__}",
            "server": f"{kind} {version(kind)}{through}",
        }
        if layer is InMemoryChannelLayer:
            names = _rows(names, NEEDS_A_SHARED_LAYER, "a channel layer that processes share")
        else:
            names = _rows(names)
        self._confirm(about["layer"], options["interactive"])
        bench = _Bench(kind, config, plan, frames=options["frames"], progress=progress)
        targets = TARGETS[:1] if options["alone"] else TARGETS
        return about, bench.run(names, targets, options["rounds"])

    def _confirm(self, where: str, interactive: bool) -> None:
        """Ask before the databases of a site in production are measured with."""
        text = (
            f"This starts servers on 127.0.0.1 that take anonymous clients, and loads this machine,"
            f" the channel layer ({where}) and the database of these settings for some minutes."
        )
        if settings.DEBUG or not interactive:
            return
        if not sys.stdin.isatty():
            raise CommandError(f"DEBUG is off. {text} Expected --noinput if that is meant.")
        self.stderr.write(f"DEBUG is off. {text}")
        if input("Type 'yes' to continue: ") != "yes":
            raise CommandError("Nothing was measured.")


def _measure_there(
    names: list[str], plan: Plan, progress: Progress, options: dict[str, Any]
) -> tuple[dict[str, str], report.Results]:
    """The same of a server that runs already."""
    names = _rows(names, NEEDS_AN_OWN_SERVER, "a server that this command starts; omit --url")
    target = _target_of(options["url"], options["token_env"])
    asyncio.run(rows.check(target))
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(1, options["rounds"] + 1):
        for name in names:
            progress(f"Round {number}/{options['rounds']}: {name}")
            results[name].append(asyncio.run(ROWS[name].measure(target, plan)))
    return {"url": options["url"]}, {name: {"site": found} for name, found in results.items()}


def _target_of(url: str, token_variable: str | None) -> Target:
    """The server at a URL.

    Raises:
        CommandError: the URL or the variable is wrong.
    """
    expected = "expected the URL of a WebSocket, such as wss://staging.example.com/ws/"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise CommandError(f"--url is {url!r}; {expected}") from None
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise CommandError(f"--url is {url!r}; {expected}")
    secure = parts.scheme == "wss"
    headers = [f"Origin: {'https' if secure else 'http'}://{parts.netloc}"]
    if token_variable is not None:
        token = os.environ.get(token_variable)
        if not token:
            raise CommandError(f"The environment variable {token_variable} is not set.")
        headers.append(f"Authorization: Bearer {token}")
    return Target(
        host=parts.hostname,
        port=port or (443 if secure else 80),
        path=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        tls=ssl.create_default_context() if secure else None,
        headers=tuple(headers),
        greets=True,
        channel=CHANNEL,
        pid=None,
    )


class _Bench:
    """The rounds of one run, which have a prefix of their own for all groups and keys."""

    def __init__(
        self, kind: str, config: Config, plan: Plan, *, frames: bool, progress: Progress
    ) -> None:
        self._kind = kind
        self._path = "/" + config.websocket_path
        self._plan = plan
        self._frames = frames
        self._progress = progress
        self._environment = {
            "DJANGO_SETTINGS_MODULE": os.environ["DJANGO_SETTINGS_MODULE"],
            LAYER_VARIABLE: config.channel_layer,
            PREFIX_VARIABLE: f"realtime-bench-{secrets.token_hex(6)}",
        }

    def run(self, names: list[str], targets: tuple[str, ...], rounds: int) -> report.Results:
        """The figures of each round; in a round each target has a new server."""
        results: dict[str, dict[str, list[dict[str, float]]]] = {
            name: {target: [] for target in targets} for name in names
        }
        for number in range(1, rounds + 1):
            for target in targets:
                for name, figures in self._round(names, target, f"{number}/{rounds}"):
                    results[name][target].append(figures)
        return results

    def _round(self, names: list[str], name: str, label: str) -> list[tuple[str, dict[str, float]]]:
        application = f"channels_realtime.benchmark.applications:{name}"
        node: str | None = None
        done = []
        try:
            frames = self._frames and name == "site"
            with serve(self._kind, application, self._environment, frames=frames) as server:
                target = Target(
                    port=server.port,
                    path=self._path,
                    greets=name == "site",
                    channel=CHANNEL,
                    pid=server.process.pid,
                    publisher=None if name == "bare" else self._environment,
                    name=name,
                )
                if name == "site":
                    node = _on_server(server, rows.node_of(target))
                for row in names:
                    self._progress(f"Round {label}, {name}: {row}")
                    done.append((row, _on_server(server, ROWS[row].measure(target, self._plan))))
        finally:
            if node is not None:
                self._clean_up(node)
        return done

    def _clean_up(self, node: str) -> None:
        """Delete what the node has written about itself: a sample, and all if it was killed."""
        model = apps.get_model("channels_realtime", "SampleRecord")
        using = router.db_for_write(model)
        try:
            forget_nodes([node])
            model._default_manager.using(using).filter(node_id=node).delete()
        except DatabaseError as error:
            self._progress(f"The rows of node {node} were not looked for: {error}")


def _on_server(server: Server, measuring: Any) -> Any:
    """The result of a coroutine; what goes wrong is told with what the server wrote."""
    try:
        return asyncio.run(measuring)
    except BenchmarkError as error:
        log = server.log()
        raise BenchmarkError(f"{error}\n{log}" if log else str(error)) from None


def _rows(found: list[str], without: tuple[str, ...] = (), need: str = "") -> list[str]:
    """The rows to measure, in their order; those of ``without`` lack what they need."""
    for name in found:
        if name in without:
            raise CommandError(f"The row {name!r} needs {need}.")
    without += NOT_BY_DEFAULT
    return [name for name in ROWS if (name in found if found else name not in without)]


def _checked_server(found: str | None) -> str:
    installed = installed_servers()
    if not installed:
        raise CommandError("Neither daphne nor uvicorn is installed.")
    if found is None:
        return installed[0]
    if found not in installed:
        raise CommandError(
            f"The server {found!r} is not installed; expected {' or '.join(installed)}."
        )
    return found


def _integer(least: int, most: int) -> Any:
    def integer(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise ArgumentTypeError(f"{text!r} is not a number from {least} to {most}")
        return int(text)

    return integer


def _number(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < math.inf:
        raise ArgumentTypeError(f"{text!r} is not a number greater than 0")
    return found
