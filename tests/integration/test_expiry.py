"""Credentials that expire while a connection is open: refreshed in place, expired, or prolonged."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import own_database
from tests.support.members import do, log_in, make_member
from tests.support.pages import Page, pages
from tests.support.promptness import PROMPTLY_S
from tests.support.servers import Server, together
from tests.support.site import made_site

LIFETIME_S = 3
RATE = 50
CHANNEL = "open/ticks"


@pytest.fixture(scope="module")
def site(
    redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Server]]:
    """Two processes."""
    directory: Path = tmp_path_factory.mktemp("members")
    with (
        own_database("sqlite", directory) as url,
        made_site(url, redis_url, AUTH_EXPIRING_LEAD=1.0) as members,
        together(members.serve("uvicorn"), members.serve("daphne")) as (a, b),
    ):
        yield a, b


@asynccontextmanager
async def ticking(server: Server) -> AsyncIterator[Callable[[], int]]:
    """Publications numbered from 0, ``RATE`` a second; the block is given how many there were."""
    count = 0

    async def tick() -> None:
        nonlocal count
        started_at = time.monotonic()
        while True:
            await do(server, "publish", channel=CHANNEL, payload=str(count))
            count += 1
            await asyncio.sleep(max(0.0, started_at + count / RATE - time.monotonic()))

    task = asyncio.create_task(tick())
    try:
        yield lambda: count
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_time(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.time()))


def numbers(page: Page) -> list[int]:
    return [int(payload) for payload in page.payloads(CHANNEL)]


async def test_token_refreshed_in_place_loses_and_doubles_nothing(
    site: tuple[Server, Server],
) -> None:
    a, b = site
    async with pages() as open_one, ticking(a) as count:
        member = await make_member(a)
        page = await open_one(b, token=await do(a, "mint", user=member.id, seconds=LIFETIME_S))
        await page.subscribe(CHANNEL)
        ends_at = page.messages[0]["payload"]["expires_at"]
        fresh = await do(a, "mint", user=member.id, seconds=600)
        warning = await page.of_type("auth_expiring")
        assert warning["payload"]["expires_at"] == ends_at
        assert page.times[page.messages.index(warning)] < ends_at
        await page.send(type="auth", id="fresh", token=fresh)
        answer = await page.until(lambda m: m.get("id") == "fresh", "an answer to auth")
        assert answer["type"] == "auth_ok"
        assert answer["payload"]["expires_at"] > ends_at + 500
        await until_time(ends_at + 1.0)
        last = str(count() + 2)
        await page.until(lambda m: m["type"] == "message" and m["payload"] == last, "the latest")
        got = numbers(page)
        assert got == list(range(got[0], got[0] + len(got)))
        assert len(got) > RATE  # a slow machine publishes less than it should
        kinds = {
            kind: sum(m["type"] == kind for m in page.messages)
            for kind in ("welcome", "subscribed")
        }
        assert kinds == {"welcome": 1, "subscribed": 1}


async def test_token_not_refreshed_ends_with_4401_and_nothing_follows(
    site: tuple[Server, Server],
) -> None:
    a, b = site
    async with pages() as open_one, ticking(a):
        member = await make_member(a)
        token = await do(a, "mint", user=member.id, seconds=LIFETIME_S)
        by_header, by_message = await asyncio.gather(
            open_one(b, token=token), open_one(a, first="auth_required")
        )
        await by_message.send(type="auth", token=token)
        await by_message.of_type("welcome")
        ends = []
        await asyncio.gather(by_header.subscribe(CHANNEL), by_message.subscribe(CHANNEL))
        for page in (by_header, by_message):
            ends_at = (await page.of_type("welcome"))["payload"]["expires_at"]
            assert await page.closed() == 4401
            assert page.messages[-1]["type"] == "closing"
            assert numbers(page)
            assert page.closed_at is not None
            last = max(
                at
                for m, at in zip(page.messages, page.times, strict=True)
                if m["type"] == "message"
            )
            assert last < ends_at + 1, "a publication came after the end"
            assert ends_at <= page.closed_at < ends_at + PROMPTLY_S
            ends.append(page.closed_at - ends_at)
        print(f"\nexpiry: closed {', '.join(f'{1000 * s:.0f}' for s in ends)} ms after the end")


async def test_refresh_that_fails_leaves_the_old_deadline(site: tuple[Server, Server]) -> None:
    a, b = site
    async with pages() as open_one:
        member, other = await make_member(a), await make_member(a)
        page = await open_one(b, token=await do(a, "mint", user=member.id, seconds=LIFETIME_S))
        ends_at = page.messages[0]["payload"]["expires_at"]
        answers: dict[str, Any] = {
            "token_invalid": "not.a.token",
            "token_expired": await do(a, "mint", user=member.id, seconds=-60),
            "forbidden": await do(a, "mint", user=other.id, seconds=600),
        }
        for code, token in answers.items():
            await page.send(type="auth", id=code, token=token)
            answer = await page.until(lambda m, code=code: m.get("id") == code, "an answer to auth")
            assert answer["payload"]["code"] == code
        assert await page.closed() == 4401
        assert page.closed_at is not None
        assert ends_at <= page.closed_at < ends_at + PROMPTLY_S


async def test_sliding_session_goes_on_until_it_no_longer_slides(
    site: tuple[Server, Server],
) -> None:
    a, b = site
    async with pages() as open_one:
        member = await make_member(a)
        cookie = await log_in(a, member)
        await do(a, "touch", cookie=cookie, seconds="2")
        page = await open_one(b, cookie=cookie)
        await page.subscribe(CHANNEL)
        first_end = page.messages[0]["payload"]["expires_at"]
        touched_at = time.time()
        await do(a, "touch", cookie=cookie, seconds="4")
        await until_time(first_end + 0.5)
        await page.round_trip()
        await do(a, "publish", channel=CHANNEL, payload="after the first end")
        await page.until(lambda m: m.get("payload") == "after the first end", "a publication")
        assert await page.closed() == 4401
        assert page.closed_at is not None
        assert touched_at + 4 - 0.1 <= page.closed_at < touched_at + 4 + PROMPTLY_S
        assert not any(m["type"] == "auth_expiring" for m in page.messages)
