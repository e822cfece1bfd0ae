"""The time of one revocation when a user, or a whole site, has many connections."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.databases import own_database
from tests.support.members import do, log_in, make_member, node_state
from tests.support.pages import Page, pages
from tests.support.promptness import PROMPTLY_S
from tests.support.servers import Server, together
from tests.support.site import made_site

TABS = 200
CROWD = 2_000
AT_ONCE = 50


@pytest.fixture(scope="module")
def site(
    redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Server]]:
    """Without polls and sweeps, and with room for all connections of one address."""
    directory: Path = tmp_path_factory.mktemp("members")
    with (
        own_database("sqlite", directory) as url,
        made_site(
            url, redis_url, REVOCATION_POLL_INTERVAL=3_600.0, SWEEP_INTERVAL=3_600.0
        ) as members,
        together(members.serve("uvicorn"), members.serve("uvicorn")) as (a, b),
    ):
        yield a, b


async def open_many(open_one, server: Server, count: int, **proof: str) -> list[Page]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one() -> Page:
        async with gate:
            page: Page = await open_one(server, **proof)
            return page

    return await asyncio.gather(*(one() for _ in range(count)))


def last_end(opened: list[Page], since: float) -> float:
    return max((page.closed_at or 0.0) - since for page in opened)


async def test_one_logout_ends_all_tabs_at_once(site: tuple[Server, Server]) -> None:
    a, b = site
    async with pages() as open_one:
        member = await make_member(a)
        cookie = await log_in(a, member)
        other = await open_one(b, cookie=await log_in(a, member))
        tabs = [
            *await open_many(open_one, a, TABS // 2, cookie=cookie),
            *await open_many(open_one, b, TABS // 2, cookie=cookie),
        ]
        started_at = time.time()
        await do(a, "logout", cookie=cookie)
        answered_s = time.time() - started_at
        assert set(await asyncio.gather(*(page.closed() for page in tabs))) == {4401}
        ended_s = last_end(tabs, started_at)
        print(
            f"\n{TABS} tabs: logout answered in {answered_s * 1000:.0f} ms, all ended {ended_s * 1000:.0f} ms"
        )
        assert ended_s < PROMPTLY_S
        await other.round_trip()


async def test_password_change_ends_all_tabs(site: tuple[Server, Server]) -> None:
    """Each login session is read again: this one costs queries."""
    a, b = site
    async with pages() as open_one:
        member = await make_member(a)
        cookie = await log_in(a, member)
        tabs = await open_many(open_one, b, TABS, cookie=cookie)
        started_at = time.time()
        await do(a, "set-password", user=member.id, password="another")
        assert set(await asyncio.gather(*(page.closed() for page in tabs))) == {4401}
        ended_s = last_end(tabs, started_at)
        print(f"\n{TABS} tabs: password set, all ended {ended_s * 1000:.0f} ms")
        assert ended_s < PROMPTLY_S


async def test_revocation_among_a_crowd_costs_what_it_ends(site: tuple[Server, Server]) -> None:
    a, b = site
    async with pages() as open_one:
        crowd = await make_member(a)
        crowd_cookie = await log_in(a, crowd)
        crowd_pages = await open_many(open_one, b, CROWD, cookie=crowd_cookie)
        member = await make_member(a)
        spans = []
        for _ in range(10):
            cookie = await log_in(a, member)
            page = await open_one(b, cookie=cookie)
            started_at = time.time()
            await do(a, "logout", cookie=cookie)
            assert await page.closed() == 4401
            spans.append((page.closed_at or 0.0) - started_at)
        started_at = time.time()
        await do(a, "recheck", channel="open/unused")
        await crowd_pages[0].round_trip()
        recheck_s = time.time() - started_at
        started_at = time.time()
        await do(a, "revoke", user=crowd.id)
        assert set(await asyncio.gather(*(page.closed() for page in crowd_pages))) == {4401}
        ended_s = last_end(crowd_pages, started_at)
        spans.sort()
        print(
            f"\namong {CROWD}: one logout ends one connection in {spans[5] * 1000:.0f} ms (median),"
            f" {spans[-1] * 1000:.0f} ms (worst); recheck of a channel without subscribers"
            f" {recheck_s * 1000:.0f} ms; all {CROWD} ended in {ended_s * 1000:.0f} ms"
        )
        assert spans[-1] < PROMPTLY_S
        assert ended_s < PROMPTLY_S
        assert (await node_state(b))["users"] == {}
