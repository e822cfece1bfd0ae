"""The admin's list of connections with 100,000 of them: how long its page takes, and how many queries.

    python -m tests.benchmarks.admin_list [--count 100000] [--rounds 7] [--database postgres]

Each request goes through Django's test client: middleware, queries and templates, and no server.
Medians of the rounds, the questions in turn. Expect each within 300 ms, and as many
queries with 1,000 connections as with 100,000.
"""

import argparse
import datetime
import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import settings as tests_settings
from tests.benchmarks import postgres
from tests.support.databases import postgres_settings

CHANNELS = 3
NODES = 10
USERS = 5_000
ROOMS = 500
LATER_PAGE = 500
BATCH = 2_000
AGE_S = 86_400.0
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
QUESTIONS = {
    "all": "",
    f"page {LATER_PAGE}": f"p={LATER_PAGE}",
    "sorted by user": "o=2",
    "health": "health=any",
    "authenticated by": "method=jwt",
    "last hour": "since=1h",
    "a user": "user=user17",
    "a channel of a few": "channel=rooms/17",
    "a channel of all": "channel=site",
    "search for a user": "q=user17",
    "search for an address": "q=10.0.7.7",
    "search for nothing there": "q=nobody-has-this",
    "search and filters": "q=user17&health=any&since=1h",
}


@contextmanager
def database(kind: str) -> Iterator[dict[str, Any]]:
    """An empty database, as Django's settings name it."""
    if kind == "postgres":
        with postgres.database() as url:
            yield postgres_settings(url)
        return
    with tempfile.TemporaryDirectory(prefix="channels-realtime-benchmark-") as directory:
        yield {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(Path(directory) / "list.sqlite3"),
        }


def fill(count: int) -> None:
    """So many connections of several processes, each on some channels."""
    from django.utils import timezone

    from channels_realtime.models import ConnectionRecord, NodeRecord, SubscriptionRecord

    now = timezone.now()
    draw = random.Random(1)
    nodes = NodeRecord.objects.bulk_create(
        NodeRecord(
            id=f"{number:032x}",
            host=f"web{number}",
            pid=1_000 + number,
            server="uvicorn",
            version="1.0",
            started_at=now,
            lease_until=now + datetime.timedelta(days=1),
        )
        for number in range(NODES)
    )
    for first in range(0, count, BATCH):
        numbers = range(first, min(first + BATCH, count))
        ConnectionRecord.objects.bulk_create(
            ConnectionRecord(
                connection_id=f"{number:016x}",
                node=nodes[number % NODES],
                user_pk=str(number % USERS),
                user_label=f"user{number % USERS}",
                address=f"10.0.{number // 250 % 250}.{number % 250}",
                transport="websocket",
                health="" if number % 4 else "slow",
                origin="https://example.com",
                user_agent=FIREFOX,
                client_id=f"device-{number}",
                auth_method="jwt" if number % 3 else "session",
                channels=CHANNELS,
                connected_at=now - datetime.timedelta(seconds=draw.random() * AGE_S),
                seen_at=now,
            )
            for number in numbers
        )
        SubscriptionRecord.objects.bulk_create(
            SubscriptionRecord(connection_id=f"{number:016x}", channel=channel)
            for number in numbers
            for channel in ("site", f"rooms/{number % ROOMS}", f"users/{number % USERS}")
        )


def measure(kind: str, count: int, rounds: int) -> None:
    from django.contrib.auth.models import User
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext
    from django.urls import reverse

    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    page = reverse("admin:channels_realtime_connectionrecord_changelist")
    took: dict[str, list[float]] = {name: [] for name in QUESTIONS}
    queries: dict[str, int] = {}
    for number in range(rounds + 1):  # the first warms caches
        for name, question in QUESTIONS.items():
            url = f"{page}?{question}"
            begun = time.perf_counter()
            response = client.get(url)
            ms = (time.perf_counter() - begun) * 1e3
            if response.status_code != 200:
                raise RuntimeError(f"{url} was answered with {response.status_code}")
            if number:
                took[name].append(ms)
            else:
                with CaptureQueriesContext(connection) as captured:
                    client.get(url)
                queries[name] = len(captured)
    for name, found in took.items():
        print(
            f"{kind}: {name:26} {statistics.median(found):4.0f} ms"
            f" (at most {max(found):4.0f}), {queries[name]} queries",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    options = parser.parse_args()
    with database(options.database) as found:
        tests_settings.DATABASES = {"default": found}
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
        import django

        django.setup()
        from django.core.management import call_command
        from django.db import connection

        call_command("migrate", verbosity=0)
        fill(options.count)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        try:
            measure(options.database, options.count, options.rounds)
        finally:
            connection.close()


if __name__ == "__main__":
    main()
