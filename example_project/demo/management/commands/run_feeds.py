"""`manage.py run_feeds`: publishes from a process that serves nothing, through Redis."""

import signal
import threading

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from demo.feeds import FEEDS, start_feeds

END_TIMEOUT_S = 3.0


class Command(BaseCommand):
    help = (
        "Publish the host metrics and the invented stock prices through Redis, to every server "
        "process. Run exactly one: two would publish everything twice. Needs REDIS_URL."
    )

    def handle(self, *args: object, **options: object) -> None:
        if not settings.REDIS_URL:
            raise CommandError(
                "REDIS_URL is not set, and the in-memory channel layer does not leave its process: "
                "no page would receive anything. Set REDIS_URL here and for the server, or use "
                "`manage.py demo`, which publishes from the server's own process."
            )
        # An exception, not `stopped.set()`: a handler that runs while this thread holds the event's
        # lock would wait for itself.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        stopped = threading.Event()
        threads = start_feeds(stopped)
        names = ", ".join(feed.__name__ for feed in FEEDS)
        try:
            self.stdout.write(f"Running {names}. Ctrl+C stops them.")
            self.stdout.flush()
            for thread in threads:
                thread.join()
        except KeyboardInterrupt:
            stopped.set()
        for thread in threads:
            # A publication may still be waiting for Redis; the end of the process gives it up.
            thread.join(END_TIMEOUT_S / len(threads))
