"""Credentials end, and times are right, on every database, with time zones and without.

Two processes share a database and no channel layer. What happens in process ``a`` ends connections of
``a`` by message, and connections of ``b`` by the row alone.
"""

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from tests.support.databases import mariadb_answers, own_database, postgres_answers
from tests.support.members import Member, do, http, key_of, log_in, make_member, obtain_tokens
from tests.support.pages import Page, pages
from tests.support.promptness import PROMPTLY_S
from tests.support.servers import Server, together
from tests.support.site import make_tables, site_on

ANSWERS = {"sqlite": lambda: True, "postgres": postgres_answers, "mariadb": mariadb_answers}
ZONE = "Asia/Kolkata"


@dataclass
class Servers:
    """Process ``a``, and process ``b`` that hears nothing of it."""

    a: Server
    b: Server


@pytest.fixture(scope="module", params=["sqlite", "postgres", "mariadb"])
def database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of a database with the site's tables."""
    kind: str = request.param
    if not ANSWERS[kind]():
        pytest.skip(f"no {kind} answers")
    with own_database(kind, tmp_path_factory.mktemp("database")) as url:
        make_tables(url)
        yield url


@pytest.fixture(scope="module", params=["USE_TZ", "no USE_TZ"])
def servers(request: pytest.FixtureRequest, database: str) -> Iterator[Servers]:
    site = site_on(
        database, SITE_USE_TZ="1" if request.param == "USE_TZ" else "0", SITE_TIME_ZONE=ZONE
    ).having(
        realtime={
            "ALLOW_ANONYMOUS": False,
            "REVOCATION_POLL_INTERVAL": 0.2,
            "SWEEP_INTERVAL": 3_600.0,
        }
    )
    with together(site.serve("uvicorn"), site.serve("uvicorn")) as (a, b):
        yield Servers(a, b)
        for server in (a, b):
            for word in ("Traceback", "could not be written", "Writing", "Cannot read"):
                assert word not in server.log(), server.log()[-5000:]


class Scene:
    """A user's connections in both processes; closes of what ends are timed."""

    def __init__(self, servers: Servers, member: Member, open_page) -> None:
        self.servers = servers
        self.member = member
        self._open = open_page

    async def by_session(self) -> tuple[str, list[Page]]:
        cookie = await log_in(self.servers.a, self.member)
        return cookie, await self._both(cookie=cookie)

    async def by_token(self) -> tuple[dict[str, str], list[Page]]:
        tokens = await obtain_tokens(self.servers.a, self.member)
        return tokens, await self._both(token=tokens["access"])

    async def _both(self, **credentials: str) -> list[Page]:
        return [
            await self._open(server, **credentials) for server in (self.servers.a, self.servers.b)
        ]

    async def ends(self, what: str, pages: list[Page], **query: str) -> None:
        await do(self.servers.a, what, **query)
        await self.ended(what, pages)

    async def ended(self, what: str, pages: list[Page]) -> None:
        at = time.time()
        assert [await page.closed() for page in pages] == [4401] * len(pages), what
        for page in pages:
            assert (page.closed_at or 0.0) - at < PROMPTLY_S, what


@pytest.fixture
async def scenes(servers: Servers) -> AsyncIterator[list[Scene]]:
    """Those of three users."""
    async with pages() as open_one:
        yield [Scene(servers, await make_member(servers.a), open_one) for _ in range(3)]


async def test_every_cause_ends_connections_by_message_and_by_the_row_alone(
    scenes: list[Scene],
) -> None:
    alice, bob, carol = scenes
    a = alice.servers.a
    cookie, by_session = await alice.by_session()
    tokens, by_token = await alice.by_token()
    _, others = await alice.by_token()
    await alice.ends("logout", by_session, cookie=cookie)
    await http(a, "/api/token/blacklist/", body={"refresh": tokens["refresh"]})
    await alice.ended("blacklist", by_token)
    cookie, by_session = await alice.by_session()
    _, another = await alice.by_session()
    await alice.ends("revoke", by_session, login_session=key_of(cookie))
    for page in (*others, *another):
        await page.round_trip()
    await alice.ends("set-password", [*others, *another], user=alice.member.id, password="new")
    for scene, what in ((bob, "revoke"), (carol, "deactivate")):
        _, by_session = await scene.by_session()
        _, by_token = await scene.by_token()
        await scene.ends(what, [*by_session, *by_token], user=scene.member.id)


async def test_nodes_times_are_right(servers: Servers) -> None:
    found = await do(servers.a, "node-times")
    assert len(found) == 2
    for node in found:
        assert 0 <= node["age"] < 600, node
        assert 0 < node["lease"] <= 60, node
        assert node["alive"], node
