"""`manage.py demo`: a database, accounts and samples, then the server. One command, no set-up."""

import errno
import os
import socket
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.core.cache import cache
from django.core.files import locks
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connections

from boards.sample_data import create_sample_board
from demo.accounts import NAMES, create_demo_accounts
from rooms.sample_data import create_sample_rooms

APPLICATION = "site_config.asgi:application"
SERVERS = ("daphne", "uvicorn")


class Command(BaseCommand):
    help = (
        "Prepare the database, the demo accounts and some content, then serve the site. "
        "Environment: HOST, PORT, SERVER (daphne or uvicorn), REDIS_URL, DATABASE_URL."
    )
    # Some checks ask the database: they run under the lock, after the migrations.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--prepare-only", action="store_true", help="stop before the server would start"
        )

    def handle(self, *args: object, **options: object) -> None:
        host = os.environ.get("HOST") or "127.0.0.1"
        port = read_port(os.environ.get("PORT") or "8000")
        server = os.environ.get("SERVER") or SERVERS[0]
        if server not in SERVERS:
            raise CommandError(f"SERVER is {server!r}; expected one of: {', '.join(SERVERS)}.")
        if not options["prepare_only"]:
            require_free(host, port)

        require_redis()
        try:
            with exclusive_preparation():
                call_command("migrate", interactive=False, verbosity=0)
                self.check()
                foreign = create_demo_accounts()
                create_sample_rooms()
                create_sample_board()
        except OperationalError as error:
            raise CommandError(f"The database cannot be used: {error}") from error
        connections.close_all()

        if options["prepare_only"]:
            return
        self.greet(host, port, server, foreign)
        serve(host, port, server)

    def greet(self, host: str, port: int, server: str, foreign: list[str]) -> None:
        shown_host = "localhost" if host in {"0.0.0.0", "::"} else host
        if ":" in shown_host:
            shown_host = f"[{shown_host}]"
        accounts = [f"{name}/{name}" for name in NAMES if name not in foreign]
        layer = (
            "Redis, shared by all processes" if settings.REDIS_URL else "in memory, this process"
        )
        database = settings.DATABASES["default"]["ENGINE"].rpartition(".")[2]

        write = self.stdout.write
        write("")
        write(self.style.SUCCESS(f"  http://{shown_host}:{port}/"))
        write("")
        write(f"  Server         {server}")
        write(f"  Channel layer  {layer}")
        write(f"  Database       {database}")
        write(f"  Accounts       {', '.join(accounts) or 'none made'}")
        if foreign:
            write(f"                 left alone, as they are not the demo's: {', '.join(foreign)}")
        write("")
        if accounts:
            write(self.style.WARNING("  Everybody knows these passwords: keep this to yourself."))
        write("  Ctrl+C stops it.")
        write("")
        self.stdout.flush()


def read_port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise CommandError(f"PORT is {text!r}; expected a number from 1 to 65535.")
    return int(text)


def require_free(host: str, port: int) -> None:
    """Say clearly, and before any work, that the server could not listen there."""
    try:
        (family, _, _, _, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise CommandError(f"HOST is {host!r}, which is no address here: {error}") from error
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if os.name == "posix":
            # As servers do: connections of an ended one may still linger. A listener still fails.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                message = f"Port {port} of {host} is taken; choose another one: PORT={port + 1}"
            else:
                message = f"Cannot listen on {host}, port {port}: {error.strerror}"
            raise CommandError(message) from error


def require_redis() -> None:
    """Say clearly that the Redis of REDIS_URL does not answer; without its URL, which may hold a
    password.
    """
    if not settings.REDIS_URL:
        return
    # Only the demo on Redis needs the client.
    from redis.exceptions import RedisError

    try:
        cache.get("demo")
    except (RedisError, ValueError) as error:
        raise CommandError(f"The Redis that REDIS_URL names cannot be used: {error}") from error


@contextmanager
def exclusive_preparation() -> Iterator[None]:
    """One demo of this checkout at a time, so that two started together share the database."""
    with (settings.VAR_DIR / "demo.lock").open("w") as file:
        locks.lock(file, locks.LOCK_EX)
        try:
            yield
        finally:
            locks.unlock(file)


def serve(host: str, port: int, server: str) -> None:
    """Become the server: signals reach it directly, and it leaves nothing behind."""
    address = {
        "daphne": ["-v", "0", "-b", host, "-p", str(port)],
        "uvicorn": ["--host", host, "--port", str(port), "--log-level", "warning"],
    }[server]
    command = [sys.executable, "-m", server, *address, APPLICATION]
    roots = [str(settings.BASE_DIR), str(settings.BASE_DIR.parent)]
    if os.environ.get("PYTHONPATH"):
        roots.append(os.environ["PYTHONPATH"])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(roots),
        "PYTHONUNBUFFERED": "1",
        "DJANGO_SETTINGS_MODULE": os.environ["DJANGO_SETTINGS_MODULE"],
        "HOST": host,
    }
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name == "posix":
        os.execve(sys.executable, command, environment)
    sys.exit(subprocess.call(command, env=environment))
