"""An outage of the database or the channel layer closes no connection and hides no revocation."""

import asyncio
import json
import time
import urllib.parse
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.databases import own_database, postgres_answers
from tests.support.forwarder import Forwarder
from tests.support.members import do, http, key_of, log_in, make_member, obtain_tokens
from tests.support.pages import Page, pages, wait_until
from tests.support.promptness import PROMPTLY_S
from tests.support.servers import Server, together
from tests.support.site import made_site

POLL_INTERVAL_S = 0.5
SIGNAL_WAIT_S = 1.0
"""How long a logout waits for a layer that is away, for each of its revocations."""
CHANNEL = "open/outage"


@dataclass
class Site:
    """Two processes that reach PostgreSQL and Redis through forwarders; ``direct`` does not."""

    a: Server
    b: Server
    direct: Server
    database: Forwarder
    database_url: str
    redis: Forwarder


def moved(url: str, port: int) -> str:
    parts = urllib.parse.urlsplit(url)
    netloc = f"{parts.username or ''}{'@' if parts.username else ''}127.0.0.1:{port}"
    return parts._replace(netloc=netloc).geturl()


async def forwarder_to(url: str) -> Forwarder:
    parts = urllib.parse.urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    forwarder = Forwarder(parts.hostname, parts.port)
    await forwarder.start()
    return forwarder


@asynccontextmanager
async def serving(directory: Path, redis_url: str, conn_max_age: str) -> AsyncIterator[Site]:
    with own_database("postgres", directory) as url:
        database, redis = await forwarder_to(url), await forwarder_to(redis_url)
        async with AsyncExitStack() as stack:
            block = made_site(
                url,
                redis_url,
                REVOCATION_POLL_INTERVAL=POLL_INTERVAL_S,
                SWEEP_INTERVAL=POLL_INTERVAL_S,
                PUBLISH_TIMEOUT=1.0,
            )
            made = await asyncio.to_thread(block.__enter__)
            stack.callback(block.__exit__, None, None, None)
            direct = made.having(
                SITE_DATABASE_OPTIONS=json.dumps({"CONN_MAX_AGE": int(conn_max_age)})
            )
            through = direct.having(
                SITE_DATABASE_URL=moved(url, database.port),
                SITE_REDIS_URL=moved(redis_url, redis.port),
            )
            starts = together(*(site.serve("uvicorn") for site in (through, through, direct)))
            a, b, direct_server = await asyncio.to_thread(starts.__enter__)
            stack.callback(starts.__exit__, None, None, None)
            try:
                yield Site(a, b, direct_server, database, url, redis)
            finally:
                await database.refuse()
                await redis.refuse()


@pytest.fixture
async def site(
    request: pytest.FixtureRequest, redis_url: str, tmp_path: Path
) -> AsyncIterator[Site]:
    """With connections to the database that are closed after each use, or kept."""
    if not postgres_answers():
        pytest.skip("no PostgreSQL answers")
    async with serving(tmp_path, redis_url, getattr(request, "param", "0")) as made:
        yield made


async def is_served(site: Site, page: Page, word: str) -> None:
    await do(site.direct, "publish", channel=CHANNEL, payload=word)
    await page.until(lambda m: m.get("payload") == word, f"the publication {word!r}")


def terminate_backends(url: str) -> int:
    import psycopg  # only where there is a PostgreSQL

    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchall()
    return len(found)


@pytest.mark.parametrize("site", ["0", "600"], ids=["closed", "kept"], indirect=True)
async def test_database_away_closes_no_connection_and_hides_no_revocation(site: Site) -> None:
    async with pages() as open_one:
        member = await make_member(site.a)
        cookie, gone, swept = [await log_in(site.a, member) for _ in range(3)]
        stays = await open_one(site.b, cookie=cookie)
        revoked = await open_one(site.b, cookie=gone)
        deleted = await open_one(site.b, cookie=swept)
        by_token = await open_one(site.b, token=(await obtain_tokens(site.a, member))["access"])
        for page in (stays, revoked, deleted, by_token):
            await page.subscribe(CHANNEL)

        for number in range(3):  # backends that die: the next use recovers
            await asyncio.to_thread(terminate_backends, site.database_url)
            await is_served(site, stays, f"terminated {number}")
        await log_in(site.a, member)

        await site.database.refuse()
        await asyncio.to_thread(terminate_backends, site.database_url)
        await wait_until(
            lambda: asyncio.to_thread(lambda: "Cannot read the revocations" in site.b.log()),
            "a poll that failed",
        )
        # Meanwhile, where the database is: one is told by SQL alone, so that no message helps.
        await do(site.direct, "sql", statement=revocation_sql(key_of(gone)))
        await do(
            site.direct,
            "sql",
            statement=f"DELETE FROM django_session WHERE session_key = '{key_of(swept)}'",
        )
        await is_served(site, stays, "while the database is away")
        await is_served(site, revoked, "no process was told")
        for page in (stays, revoked, deleted, by_token):
            await page.round_trip()

        started_at = time.time()
        await site.database.start()
        assert await revoked.closed() == 4401
        assert await deleted.closed() == 4401
        recovered_in = max(page.closed_at or 0.0 for page in (revoked, deleted)) - started_at
        print(f"\ndatabase back: revoked {recovered_in * 1000:.0f} ms after")
        assert recovered_in < 4 * POLL_INTERVAL_S + PROMPTLY_S
        await stays.round_trip()
        await by_token.round_trip()
        late = await open_one(site.b, cookie=cookie)
        await late.round_trip()


def revocation_sql(key: str) -> str:
    """The row of a revocation in another process; the message of it was lost."""
    from hashlib import sha256

    name = "session:" + sha256(key.encode()).hexdigest()[:40]
    return (
        "INSERT INTO channels_realtime_revocationrecord (key, not_before, created_at, expires_at)"
        f" VALUES ('{name}', {time.time()}, now(), now() + interval '600 seconds')"
    )


@pytest.mark.parametrize("how", ["refuses", "hangs"])
async def test_layer_away_delays_a_logout_a_little_and_the_poll_ends_it(
    site: Site, how: str
) -> None:
    async with pages() as open_one:
        member = await make_member(site.a)
        cookie, other = await log_in(site.a, member), await log_in(site.a, member)
        page = await open_one(site.b, cookie=cookie)
        changed = await open_one(site.b, cookie=other)
        if how == "refuses":
            await site.redis.refuse()
        else:
            site.redis.hang()
        try:
            started_at = time.time()
            await do(site.a, "logout", cookie=cookie)
            logout_s = time.time() - started_at
            assert await page.closed() == 4401
            closed_s = (page.closed_at or 0.0) - started_at
            assert logout_s < SIGNAL_WAIT_S + PROMPTLY_S
            assert closed_s < POLL_INTERVAL_S + SIGNAL_WAIT_S + PROMPTLY_S
            _, fresh = await http(
                site.a, "/do/change-password/", cookie=other, password="another", timeout=10.0
            )
            assert fresh is not None
            assert await changed.closed() == 4401
        finally:
            if how == "refuses":
                await site.redis.start()
            else:
                site.redis.go_on()
        print(
            f"\nlayer {how}: logout took {logout_s * 1000:.0f} ms, closed {closed_s * 1000:.0f} ms"
        )
        again = await open_after(open_one, site, fresh)
        await again.round_trip()


async def open_after(open_one, site: Site, cookie: str) -> Page:
    """A connection once the layer is back."""

    async def try_once() -> Page | None:
        page: Page = await open_one(site.b, cookie=cookie, first="")
        return page if await page.first() == "welcome" else None

    return await wait_until(try_once, "a welcome once the layer is back")
