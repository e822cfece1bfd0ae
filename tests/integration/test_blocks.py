"""A block in one process closes connections in another within a second, and refuses new ones until it ends."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.support.clients import JSON
from tests.support.databases import own_database, postgres_answers
from tests.support.members import do, log_in, make_member, node_state, obtain_tokens
from tests.support.pages import TIMEOUT_S, Page, pages, wait_until
from tests.support.promptness import PROMPTLY_S
from tests.support.servers import Server, together
from tests.support.site import Site, made_site

NEVER_S = 3_600.0
BLOCKED = {
    "type": "closing",
    "payload": {"code": 4403, "reason": "blocked", "reconnect": False},
}


@dataclass
class Servers:
    """Two processes: a block in ``a`` closes connections in ``b``."""

    site: Site
    a: Server
    b: Server


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def servers(
    request: pytest.FixtureRequest, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Servers]:
    """Without polls and sweeps, so that only messages between the processes can close a connection."""
    if request.param == "postgres" and not postgres_answers():
        pytest.skip("no PostgreSQL answers")
    directory: Path = tmp_path_factory.mktemp("blocks")
    with (
        own_database(request.param, directory) as url,
        made_site(
            url,
            redis_url,
            REVOCATION_POLL_INTERVAL=NEVER_S,
            SWEEP_INTERVAL=NEVER_S,
            ALLOW_ANONYMOUS=True,
            TRUSTED_PROXIES=["127.0.0.1"],
            CLIENT_ADDRESS_HEADER="X-Forwarded-For",
        ) as site,
        together(site.serve("daphne"), site.serve("uvicorn")) as (a, b),
    ):
        yield Servers(site, a, b)
        for server in (a, b):
            assert "Traceback" not in server.log(), server.log()[-5_000:]


@pytest.fixture
async def open_page() -> AsyncIterator[Callable[..., Awaitable[Page]]]:
    async with pages() as open_one:
        yield open_one


@asynccontextmanager
async def from_address(server: Server, address: str) -> AsyncIterator[Page]:
    """A connection from this address, accepted; 403 raises ``InvalidStatus``."""
    connection = await connect(
        server.websocket_url("/ws/"),
        subprotocols=[JSON],
        additional_headers=[("X-Forwarded-For", address)],
        proxy=None,
        open_timeout=TIMEOUT_S,
        close_timeout=1.0,
        ping_interval=None,
    )
    page = Page(connection)
    try:
        yield page
    finally:
        await page.end()


async def ended_promptly(since: float, *ended: Page) -> None:
    """All were told and closed with 4403, in time."""
    assert await asyncio.gather(*(page.closed() for page in ended)) == [4403] * len(ended)
    for page in ended:
        assert page.messages[-1] == BLOCKED
        assert (page.closed_at or 0.0) - since < PROMPTLY_S


async def turned_away(page: Page) -> None:
    """The only message is the block."""
    assert await page.closed() == 4403
    assert page.messages == [BLOCKED]


async def fate(server: Server, address: str) -> str:
    """The result of a handshake from this address: ``"refused"`` with 403, ``"closed"``, or ``"welcome"``.

    A client that comes while the process still reads the blocks is accepted and then closed.
    """
    try:
        async with from_address(server, address) as page:
            if await page.first() == "welcome":
                return "welcome"
            await turned_away(page)
            return "closed"
    except InvalidStatus as refusal:
        if refusal.response.status_code != 403:
            raise
        return "refused"


async def is_refused(server: Server, address: str) -> bool:
    return await fate(server, address) == "refused"


async def test_blocked_user_is_off_everywhere_until_unblocked(
    servers: Servers, open_page: Callable[..., Any]
) -> None:
    member, other = await make_member(servers.a), await make_member(servers.a)
    cookie, others = await log_in(servers.a, member), await log_in(servers.a, other)
    token = (await obtain_tokens(servers.a, member))["access"]
    ended = [
        await open_page(servers.b, cookie=cookie),
        await open_page(servers.b, token=token),
        await open_page(servers.a, cookie=cookie),
    ]
    bystanders = [await open_page(servers.b, cookie=others), await open_page(servers.b)]

    started_at = time.time()
    pk = await do(servers.a, "block", user_pk=member.id, seconds="600", reason="spam")
    await ended_promptly(started_at, *ended)
    for page in bystanders:
        await page.round_trip()

    for server in (servers.a, servers.b):
        await turned_away(await open_page(server, cookie=cookie, first=""))
        await turned_away(await open_page(server, token=token, first=""))

    # A first message is no way round it.
    page = await open_page(servers.b)
    await page.send(type="auth", token=token)
    assert await page.closed() == 4403
    assert page.messages[-1] == BLOCKED

    assert await do(servers.a, "unblock", pk=str(pk)) == 1
    for server in (servers.a, servers.b):
        await wait_until(lambda server=server: comes_back(server, cookie), "it comes back")


async def comes_back(server: Server, cookie: str) -> bool:
    async with pages() as open_one:
        page = await open_one(server, cookie=cookie, first="")
        return await page.first() == "welcome"


async def test_blocked_network_is_refused_before_it_is_accepted_until_that_is_over(
    servers: Servers,
) -> None:
    async with (
        from_address(servers.b, "192.0.2.7") as one,
        from_address(servers.b, "192.0.2.200") as two,
        from_address(servers.b, "198.51.100.7") as bystander,
    ):
        for page in (one, two, bystander):
            await page.of_type("welcome")
        started_at = time.time()
        pk = await do(servers.a, "block", address="192.0.2.99/24", seconds="600")
        await ended_promptly(started_at, one, two)
        await bystander.round_trip()
        for server in (servers.a, servers.b):
            # The one that was asked may answer before it has read the news itself.
            await wait_until(lambda server=server: is_refused(server, "192.0.2.8"), "refused")
            assert await fate(server, "192.0.3.8") == "welcome"
        assert await do(servers.a, "unblock", pk=str(pk)) == 1
        for server in (servers.a, servers.b):
            await wait_until(lambda server=server: is_let_in(server, "192.0.2.8"), "let in")


async def is_let_in(server: Server, address: str) -> bool:
    return await fate(server, address) == "welcome"


async def test_block_is_over_by_itself(servers: Servers) -> None:
    async with from_address(servers.b, "2001:db8::7") as page:
        await page.of_type("welcome")
        started_at = time.time()
        await do(servers.a, "block", address="2001:db8::/64", seconds="2.0")
        await ended_promptly(started_at, page)
    assert await is_refused(servers.b, "2001:db8::8")
    await wait_until(lambda: is_let_in(servers.b, "2001:db8::8"), "the block is over")
    assert time.time() - started_at >= 2.0


async def test_block_of_before_holds_from_a_servers_first_handshake_on(
    servers: Servers, open_page: Callable[..., Any]
) -> None:
    member = await make_member(servers.a)
    cookie = await log_in(servers.a, member)
    await do(servers.a, "block", user_pk=member.id, seconds="600")
    await do(servers.a, "block", address="203.0.113.7", seconds="600")
    with servers.site.serve("uvicorn") as fresh:
        async with from_address(fresh, "203.0.113.7") as page:
            await turned_away(page)
        assert await is_refused(fresh, "203.0.113.7")
        await turned_away(await open_page(fresh, cookie=cookie, first=""))
    with servers.site.serve("daphne") as fresh:
        await turned_away(await open_page(fresh, cookie=cookie, first=""))
        await wait_until(lambda: has_no_connections(fresh), "no connection is left")


async def has_no_connections(server: Server) -> bool:
    return (await node_state(server))["connections"] == 0
