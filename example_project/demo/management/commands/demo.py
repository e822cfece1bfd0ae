"""`manage.py demo`: prepares a database, accounts and content, then starts the server."""

import os
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
from demo.server import ALL_ADDRESSES, SERVERS, read_port, require_free_port, serve
from rooms.sample_data import create_sample_rooms


class Command(BaseCommand):
    help = (
        "Prepare the database, the demo accounts and some content, then serve the site. "
        "Environment: HOST, PORT, SERVER (daphne or uvicorn), REDIS_URL, DATABASE_URL. "
        "With REDIS_URL, run run_feeds in another process."
    )
    # Some checks query the database, so they run after the migrations.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--prepare-only", action="store_true", help="do not start the server afterwards"
        )

    def handle(self, *args: object, **options: object) -> None:
        host = os.environ.get("HOST") or "127.0.0.1"
        port = read_port(os.environ.get("PORT") or "8000")
        server = os.environ.get("SERVER") or SERVERS[0]
        if server not in SERVERS:
            raise CommandError(f"SERVER is {server!r}; expected one of: {', '.join(SERVERS)}.")
        if not options["prepare_only"]:
            require_free_port(host, port)

        require_redis()
        try:
            with exclusive_preparation():
                call_command("migrate", interactive=False, verbosity=0)
                self.check()
                skipped = create_demo_accounts()
                create_sample_rooms()
                create_sample_board()
        except OperationalError as error:
            raise CommandError(f"The database cannot be used: {error}") from error
        connections.close_all()

        if options["prepare_only"]:
            return
        self.print_summary(host, port, server, skipped)
        serve(host, port, server)

    def print_summary(self, host: str, port: int, server: str, skipped: list[str]) -> None:
        shown_host = "localhost" if host in ALL_ADDRESSES else host
        if ":" in shown_host:
            shown_host = f"[{shown_host}]"
        accounts = [f"{name}/{name}" for name in NAMES if name not in skipped]
        database = settings.DATABASES["default"]["ENGINE"].rpartition(".")[2]

        write = self.stdout.write
        write("")
        prefix = (settings.FORCE_SCRIPT_NAME or "").rstrip("/")
        write(self.style.SUCCESS(f"  http://{shown_host}:{port}{prefix}/"))
        write("")
        write(f"  Server         {server}")
        if settings.REDIS_URL:
            write("  Channel layer  Redis, shared by all processes")
            write("  Feeds          start them once, with the same REDIS_URL:")
            write(f"                 {sys.executable} {sys.argv[0]} run_feeds")
        else:
            write("  Channel layer  in memory, this process only")
            write("  Feeds          in this process")
        write(f"  Database       {database}")
        write(f"  Accounts       {', '.join(accounts) or 'none created'}")
        if skipped:
            write(f"                 not changed, as others created them: {', '.join(skipped)}")
        write("")
        if accounts:
            write(
                self.style.WARNING(
                    "  These passwords are public: let only people you trust reach this site."
                )
            )
        write("  Ctrl+C stops it.")
        write("")
        self.stdout.flush()


def require_redis() -> None:
    """Refuse a Redis that does not answer. The message leaves out its URL, which may hold a
    password.
    """
    if not settings.REDIS_URL:
        return
    # Imported here because only a demo with Redis needs the client.
    from redis.exceptions import RedisError

    try:
        cache.get("demo")
    except (RedisError, ValueError) as error:
        raise CommandError(f"The Redis of REDIS_URL cannot be used: {error}") from error


@contextmanager
def exclusive_preparation() -> Iterator[None]:
    """Let one demo of this checkout prepare the database at a time."""
    with (settings.VAR_DIR / "demo.lock").open("w") as file:
        locks.lock(file, locks.LOCK_EX)
        try:
            yield
        finally:
            locks.unlock(file)
