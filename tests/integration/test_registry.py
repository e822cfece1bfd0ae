"""The connection registry in the database: two servers, connections that end in every way, and outages."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import time
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import own_database, postgres_answers
from tests.support.forwarder import Forwarder
from tests.support.members import do, log_in, make_member, obtain_tokens
from tests.support.pages import Page, pages, wait_until
from tests.support.servers import Server, together
from tests.support.site import Site, made_site

LEASE_S = 3
WRITTEN_S = 10.0
"""How long rows may take on a machine under load; about a second on an idle one."""
SETTINGS = {
    "NODE_LEASE": LEASE_S,
    "ALLOW_ANONYMOUS": True,
    "REVOCATION_POLL_INTERVAL": 3_600,
    "SWEEP_INTERVAL": 3_600,
    "DRAIN_RETRY_WINDOW": 0,
}
CHANNEL = "open/registry"


@dataclass
class Servers:
    """Connections are in ``a`` (Daphne) and ``b`` (uvicorn); ``c`` holds none and reads the registry."""

    kind: str
    site: Site
    url: str
    a: Server
    b: Server
    c: Server


@pytest.fixture(scope="module", params=["sqlite-pubsub", "postgres-pubsub", "sqlite-core"])
def servers(
    request: pytest.FixtureRequest, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Servers]:
    with serving(request.param, redis_url, tmp_path_factory.mktemp("registry")) as made:
        yield made


@contextlib.contextmanager
def serving(kind: str, redis_url: str, directory: Path) -> Iterator[Servers]:
    database, _, layer = kind.partition("-")
    if database == "postgres" and not postgres_answers():
        pytest.skip("no PostgreSQL answers")
    with own_database(database, directory) as url, made_site(url, redis_url, **SETTINGS) as made:
        members = made.having(SITE_LAYER=layer)
        kinds = ("daphne", "uvicorn", "uvicorn")
        with together(*(members.serve(kind) for kind in kinds)) as (a, b, c):
            yield Servers(kind, members, url, a, b, c)
            for server in (a, b, c):
                assert "Traceback" not in server.log(), server.log()[-5000:]


Rows = dict[str, Any]


async def rows(server: Server) -> Rows:
    found: Rows = await do(server, "registry")
    return found


async def rows_when(
    server: Server,
    condition: Callable[[Rows], Any],
    what: str,
    timeout: float = WRITTEN_S,
) -> Rows:
    async def look() -> Rows | None:
        found = await rows(server)
        seen[:] = [found]
        return found if condition(found) else None

    seen: list[Rows] = []
    try:
        found: Rows = await wait_until(look, what, timeout)
    except TimeoutError as error:
        raise TimeoutError(f"{error}: {seen}") from None
    return found


def of_user(found: Rows, user: str) -> list[Rows]:
    return [row for row in found["connections"].values() if row["user_pk"] == user]


async def publish(server: Server, word: str) -> None:
    await do(server, "publish", channel=CHANNEL, payload=word)


async def hears(page: Page, word: str, timeout: float = 5.0) -> None:
    await page.until(lambda m: m.get("payload") == word, f"the publication {word!r}", timeout)


# -- what is there ---------------------------------------------------------------------------------


async def test_connections_of_several_users_in_two_processes_are_written(servers: Servers) -> None:
    async with pages() as open_one:
        alice, bob = await make_member(servers.c), await make_member(servers.c)
        cookie = await log_in(servers.c, alice)
        opened = [
            await open_one(servers.a, cookie=cookie),
            await open_one(servers.b, cookie=cookie),
            await open_one(servers.b, token=(await obtain_tokens(servers.c, bob))["access"]),
            await open_one(servers.a),
        ]
        for page in opened:
            await page.subscribe(CHANNEL)
        found = await rows_when(
            servers.c,
            lambda found: (
                len(found["connections"]) == 4
                # The user's own channel, and one more.
                and len(found["subscriptions"]) == 2 + 2 + 2 + 1
            ),
            "all rows",
        )
        kinds = {node["pk"]: node["server"] for node in found["alive"]}
        by_user = {
            user: sorted(kinds[row["node_id"]] for row in of_user(found, user))
            for user in (alice.id, bob.id, "")
        }
        assert by_user == {alice.id: ["daphne", "uvicorn"], bob.id: ["uvicorn"], "": ["daphne"]}
        (row,) = of_user(found, bob.id)
        assert (row["user_label"], row["auth_method"], row["address"]) == (
            bob.name,
            "jwt",
            "127.0.0.1",
        )
        assert {node["pid"] for node in found["alive"]} == {
            servers.a.process.pid,
            servers.b.process.pid,
        }
        await opened[2].end()
        await rows_when(servers.c, lambda found: not of_user(found, bob.id), "bob's row gone")
    await rows_when(servers.c, lambda found: found["all_connections"] == 0, "no row is left")


async def test_other_channels_are_written(servers: Servers) -> None:
    async with pages() as open_one:
        member = await make_member(servers.c)
        page = await open_one(servers.b, cookie=await log_in(servers.c, member))
        await page.subscribe(CHANNEL)
        await rows_when(
            servers.c,
            lambda found: [row["channels"] for row in of_user(found, member.id)] == [2],
            "two channels",
        )
        await page.send(type="unsubscribe", channel=CHANNEL, id="u")
        await rows_when(
            servers.c,
            lambda found: [row["channels"] for row in of_user(found, member.id)] == [1],
            "one channel",
        )


async def test_rows_of_processes_that_are_killed_are_gone_within_the_lease(
    servers: Servers,
) -> None:
    """A Daphne and a uvicorn at the same time."""
    async with pages() as open_one:
        member = await make_member(servers.c)
        cookie = await log_in(servers.c, member)
        bystander = await open_one(
            servers.a, cookie=await log_in(servers.c, await make_member(servers.c))
        )
        with together(servers.site.serve("daphne"), servers.site.serve("uvicorn")) as doomed:
            for server in doomed:
                page = await open_one(server, cookie=cookie)
                await page.subscribe(CHANNEL)
            found = await rows_when(
                servers.c,
                lambda found: [row["channels"] for row in of_user(found, member.id)] == [2, 2],
                "their rows, with the channel",
            )
            pids = {server.process.pid for server in doomed}
            dead = [node for node in found["alive"] if node["pid"] in pids]
            assert len(dead) == 2
            for pid in pids:
                os.killpg(pid, signal.SIGKILL)
            killed_at = time.monotonic()
            await rows_when(
                servers.c,
                lambda found: not of_user(found, member.id),
                "their leases are over",
                LEASE_S + 2,
            )
            assert time.monotonic() - killed_at < LEASE_S + 1.0
        found = await rows_when(
            servers.c,
            lambda found: not {node["pk"] for node in dead} & set(found["nodes"]),
            "they are swept",
            5 * LEASE_S,
        )
        assert found["all_connections"] == len(found["connections"])
        # Their places in the layer's groups too, which the core layer keeps for a day.
        for node in dead:
            await wait_until(
                lambda inbox=node["inbox"]: is_in_no_group(servers, inbox),
                "it is in no group",
                2 * LEASE_S + 5,
            )
        await bystander.round_trip()


async def is_in_no_group(servers: Servers, inbox: str) -> bool:
    """Whether the inbox is in no group of the core layer."""
    import redis.asyncio

    environment = servers.site.environment
    async with redis.asyncio.from_url(environment["SITE_REDIS_URL"]) as client:
        async for key in client.scan_iter(match=f"{environment['SITE_REDIS_PREFIX']}:group:*"):
            if await client.type(key) == b"zset" and await client.zscore(key, inbox) is not None:
                return False
    return True


async def test_rows_of_processes_that_are_stopped_are_gone_at_once(servers: Servers) -> None:
    async with pages() as open_one:
        member = await make_member(servers.c)
        cookie = await log_in(servers.c, member)
        with together(servers.site.serve("daphne"), servers.site.serve("uvicorn")) as stopped:
            opened = [await open_one(server, cookie=cookie) for server in stopped]
            found = await rows_when(
                servers.c, lambda found: len(of_user(found, member.id)) == 2, "their rows"
            )
            nodes = {node["pid"]: node["pk"] for node in found["alive"]}
            for left, (server, page) in enumerate(zip(stopped, opened, strict=True), 1):
                os.kill(server.process.pid, signal.SIGTERM)
                assert await page.closed() == 4503
                await asyncio.to_thread(server.process.wait, 20)
                found = await rows(servers.c)
                assert nodes[server.process.pid] not in found["nodes"]
                assert len(of_user(found, member.id)) == 2 - left


# -- a database that is away -----------------------------------------------------------------------


class Outage:
    """Two processes with a database that can be taken away; ``direct`` keeps its own way to it."""

    def __init__(self, a: Server, b: Server, direct: Server) -> None:
        self.a = a
        self.b = b
        self.direct = direct
        self.begin: Callable[[], Awaitable[None]]
        self.end: Callable[[], Awaitable[None]]


@asynccontextmanager
async def outage(kind: str, redis_url: str, directory: Path) -> AsyncIterator[Outage]:
    database, layer, way = kind.split("-")
    async with AsyncExitStack() as stack:
        url = await entered(stack, own_database(database, directory))
        made = await entered(stack, made_site(url, redis_url, **SETTINGS))
        direct = made.having(SITE_LAYER=layer)
        through, forwarder = direct, None
        if database == "postgres":
            parts = urllib.parse.urlsplit(url)
            forwarder = Forwarder(parts.hostname or "127.0.0.1", parts.port or 5432)
            await stack.enter_async_context(forwarder)
            moved = parts._replace(netloc=f"{parts.username}@127.0.0.1:{forwarder.port}")
            through = direct.having(SITE_DATABASE_URL=moved.geturl())
        starts = through.serve("daphne"), through.serve("uvicorn"), direct.serve("uvicorn")
        found = Outage(*await entered(stack, together(*starts)))
        if forwarder is not None:
            found.begin, found.end = cut(forwarder, way)
        else:
            found.begin, found.end = locked(url)
        yield found
        for server in (found.a, found.b):
            assert "Traceback" not in server.log(), server.log()[-5000:]


async def entered(stack: AsyncExitStack, block: Any) -> Any:
    value = await asyncio.to_thread(block.__enter__)
    stack.push_async_callback(asyncio.to_thread, block.__exit__, None, None, None)
    return value


Ways = tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]


def cut(forwarder: Forwarder, way: str) -> Ways:
    async def hang() -> None:
        forwarder.hang()

    async def go_on() -> None:
        forwarder.go_on()

    return (hang, go_on) if way == "hangs" else (forwarder.refuse, forwarder.start)


def locked(url: str) -> Ways:
    """Another connection holds the write lock."""
    holder: list[sqlite3.Connection] = []

    async def begin() -> None:
        connection = sqlite3.connect(
            url.removeprefix("sqlite://"), isolation_level=None, timeout=20
        )
        connection.execute("BEGIN EXCLUSIVE")
        holder.append(connection)

    async def end() -> None:
        connection = holder.pop()
        connection.execute("ROLLBACK")
        connection.close()

    return begin, end


@pytest.mark.parametrize(
    "kind",
    [
        "sqlite-pubsub-locked",
        "postgres-pubsub-refuses",
        "postgres-pubsub-hangs",
        "postgres-core-refuses",
    ],
)
async def test_database_that_is_away_affects_no_client_and_is_caught_up_with(
    kind: str, redis_url: str, tmp_path: Path
) -> None:
    if kind.startswith("postgres") and not postgres_answers():
        pytest.skip("no PostgreSQL answers")
    async with outage(kind, redis_url, tmp_path) as servers, pages() as open_one:
        member = await make_member(servers.direct)
        cookie = await log_in(servers.direct, member)
        staying = [await open_one(server, cookie=cookie) for server in (servers.a, servers.b)]
        leaving = [await open_one(server, cookie=cookie) for server in (servers.a, servers.b)]
        for page in (*staying, *leaving):
            await page.subscribe(CHANNEL)
        before = await rows_when(
            servers.direct, lambda found: len(of_user(found, member.id)) == 4, "four rows"
        )
        begun_at = time.monotonic()
        await servers.begin()
        try:
            for page in leaving:
                await page.end()
            coming = [await open_one(server) for server in (servers.a, servers.b)]
            number = 0
            # Longer than two leases: after that, others would sweep.
            while time.monotonic() - begun_at < 3 * LEASE_S:
                number += 1
                page = await open_one((servers.a, servers.b)[number % 2])
                await page.subscribe(CHANNEL)
                await page.send(type="ping", id=1)
                # A publication does not need the database.
                await do_publish(servers.direct, staying, f"word {number}")
                await page.end()
                await coming[0].round_trip()
        finally:
            await servers.end()
        for page in coming:
            await page.subscribe(CHANNEL)
        await do_publish(servers.direct, (*staying, *coming), "it is back")
        found = await rows_when(
            servers.direct,
            lambda found: (
                len(of_user(found, member.id)) == 2
                and len(found["connections"]) == found["all_connections"] == 4
                and len(found["subscriptions"]) == 2 * 2 + 2
            ),
            "the rows are right again",
            4 * LEASE_S + WRITTEN_S,
        )
        assert set(found["nodes"]) == set(before["nodes"])
        # Every later publication comes too: no connection was taken out of a group.
        for number in range(10):
            await do_publish(servers.direct, (*staying, *coming), f"later {number}")
            await asyncio.sleep(LEASE_S / 10)  # not a wait for anything: time for a sweep
        for page in (*staying, *coming):
            assert page.closed_at is None


async def do_publish(server: Server, listeners: Any, word: str) -> None:
    started_at = time.monotonic()
    await publish(server, word)
    for page in listeners:
        await hears(page, word)
    assert time.monotonic() - started_at < 2.0


# -- off, and a share ------------------------------------------------------------------------------


@pytest.mark.parametrize(("setting", "expected"), [(False, range(1)), (0.5, range(5, 36))])
async def test_registry_may_be_off_or_sampled(
    redis_url: str, tmp_path: Path, setting: Any, expected: range
) -> None:
    with (
        own_database("sqlite", tmp_path) as url,
        made_site(url, redis_url, **SETTINGS, CONNECTION_REGISTRY=setting) as made,
        made.serve("uvicorn") as server,
    ):
        async with pages() as open_one:
            opened = [await open_one(server) for _ in range(40)]
            await rows_when(
                server,
                lambda found: found["alive"] and len(found["connections"]) >= expected.start,
                "the node, and the fewest rows",
            )
            await asyncio.sleep(2.5)  # not a wait for anything: more rows would be written by then
            found = await rows(server)
            assert len(found["connections"]) in expected
            # Operations reach connections without a row as well.
            (node,) = found["alive"]
            answer = await do(server, "operate", verb="nodes")
            assert [(report["record"], report["answer"]["connections"]) for report in answer] == [
                (node["pk"], len(opened))
            ]
            assert json.dumps(answer)
