"""Presence over processes: one that is killed leaves no ghosts, and a storm of reloads is silent.

Longer by variables: PRESENCE_ROUNDS (processes killed in turn, 2), PRESENCE_CLIENTS (of the storm, 100):
``PRESENCE_ROUNDS=100 PRESENCE_CLIENTS=500 pytest -s tests/integration/test_presence_ghosts.py``.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.many_clients import RawClient, join, join_many
from tests.support.members import cookie_of, do
from tests.support.pages import Page, open_page, wait_until
from tests.support.servers import Server
from tests.support.site import Site

LEASE_S = 4.0
ROUNDS = int(os.environ.get("PRESENCE_ROUNDS", "2"))
CLIENTS = int(os.environ.get("PRESENCE_CLIENTS", "100"))
HELD = 20
"""Members of the process that is killed."""

GRACE_S = 10.0
"""Of the channels ``lounges/…`` of the site."""


@pytest.fixture
def redis_site(site: Site, redis_url: str, redis_prefix: str) -> Site:
    return site.having(
        SITE_LAYER="pubsub",
        SITE_REDIS_URL=redis_url,
        SITE_REDIS_PREFIX=redis_prefix,
        realtime={
            "NODE_LEASE": LEASE_S,
            "GROUP_PREFIX": redis_prefix,
            "CONNECTION_MESSAGES": None,
            "ADDRESS_FAILURES": None,
        },
    )


@pytest.fixture
def pair(redis_site: Site) -> Iterator[tuple[Server, Server]]:
    with ExitStack() as stack:
        yield (
            stack.enter_context(redis_site.serve("daphne")),
            stack.enter_context(redis_site.serve("uvicorn")),
        )


async def watch(server: Server, room: str, **options: Any) -> Page:
    page = await open_page(server, **options)
    await page.send(type="subscribe", channel=room, presence=True, id="watch")
    reply = await page.until(lambda message: message.get("id") == "watch", "the members")
    assert reply["type"] == "subscribed", reply
    return page


def moved(page: Page, kind: str) -> list[str]:
    """Who joined, or left, as the page was told."""
    return [m["payload"]["member"]["id"] for m in page.messages if m["type"] == kind]


async def counted(page: Page, room: str) -> int:
    mark = f"count {uuid.uuid4().hex}"[:40]
    await page.send(type="presence", channel=room, id=mark)
    reply = await page.until(lambda message: message.get("id") == mark, "the count")
    count: int = reply["payload"]["count"]
    return count


def subscribe(client: RawClient, room: str) -> None:
    client.say({"type": "subscribe", "channel": room, "id": 1})


async def subscribed(clients: list[RawClient]) -> None:
    async def all_are() -> bool:
        return all(any(m["type"] == "subscribed" for m in each.messages) for each in clients)

    await wait_until(all_are, "all subscribed")


async def test_members_of_a_killed_process_leave_within_the_lease(
    redis_site: Site, pair: tuple[Server, Server]
) -> None:
    room = "lounges/ghosts"
    watchers = [await watch(server, room) for server in pair]
    slowest = 0.0
    for number in range(1, ROUNDS + 1):
        with redis_site.serve("uvicorn") as victim:
            clients = await join_many(victim.port, HELD)
            for client in clients:
                subscribe(client, room)

            async def all_joined(number: int = number) -> bool:
                return all(
                    len(set(moved(page, "join")) - {ids_of(watchers)[1]}) == number * HELD
                    for page in watchers
                )

            await wait_until(all_joined, "all joined")
            os.kill(victim.process.pid, signal.SIGKILL)
            killed = time.monotonic()

            async def all_left(number: int = number) -> bool:
                return all(len(moved(page, "leave")) == number * HELD for page in watchers)

            await wait_until(all_left, "all left", every=0.01)
            took = time.monotonic() - killed
            slowest = max(slowest, took)
            assert took <= LEASE_S, f"round {number}: {took:.2f} s"
        for page in watchers:
            assert await counted(page, room) == len(watchers)
    print(f"{ROUNDS} rounds: the last of {HELD} members left after {slowest:.2f} s at most")
    for page in watchers:
        await page.end()


def ids_of(pages: list[Page]) -> list[str]:
    """The members that anonymous pages are: their connections."""
    welcomes = [next(m for m in page.messages if m["type"] == "welcome") for page in pages]
    return [welcome["payload"]["connection_id"] for welcome in welcomes]


async def test_storm_of_reloads_reaches_nobody(
    pair: tuple[Server, Server], redis_url: str, redis_prefix: str
) -> None:
    import redis

    room = "lounges/storm"
    made = await do(pair[0], "make-sessions", count=str(CLIENTS))
    headers = [[f"Cookie: {cookie_of(each['key'])}"] for each in made]
    watchers = [await watch(server, room) for server in pair]

    async def arrive() -> list[RawClient]:
        turn = asyncio.Semaphore(50)

        async def one(number: int) -> RawClient:
            async with turn:
                client = await join(pair[number % 2].port, headers=headers[number])
            subscribe(client, room)
            return client

        clients = list(await asyncio.gather(*map(one, range(CLIENTS))))
        await subscribed(clients)
        return clients

    clients = await arrive()

    async def all_joined() -> bool:
        counts = [await counted(page, room) for page in watchers]
        return counts == [CLIENTS + 2] * 2

    await wait_until(all_joined, "all joined")
    marks = [len(page.messages) for page in watchers]
    with redis.Redis.from_url(redis_url) as connection:
        before = connection.info("commandstats")
        began = time.monotonic()
        for client in clients:
            client.leave()
        await asyncio.gather(*(client.closed for client in clients))
        clients = await arrive()
        took = time.monotonic() - began
        after = connection.info("commandstats")
    assert took < GRACE_S, f"the storm took {took:.1f} s, longer than the grace: a slow machine"
    # Beyond the grace of those who left, so that whoever was not back in time would be told.
    end = began + took + GRACE_S + 2.0

    async def over() -> bool:
        return time.monotonic() > end

    await wait_until(over, "the grace time", timeout=60.0)
    for page, mark in zip(watchers, marks, strict=True):
        moves = [m for m in page.messages[mark:] if m["type"] in ("join", "leave")]
        assert moves == []
        assert await counted(page, room) == CLIENTS + 2
    scripts = after["cmdstat_evalsha"]["calls"] - before["cmdstat_evalsha"]["calls"]
    print(f"{CLIENTS} reloads in {took:.1f} s, {scripts} scripts in Redis (all users of it)")
    for client in clients:
        client.leave()
    for page in watchers:
        await page.end()


async def test_pages_in_two_processes_see_each_other(pair: tuple[Server, Server]) -> None:
    room = "lounges/two"
    made = await do(pair[0], "make-sessions", count="2")
    first = await watch(pair[0], room, cookie=cookie_of(made[0]["key"]))
    second = await watch(pair[1], room, cookie=cookie_of(made[1]["key"]))
    joined = await first.of_type("join")
    assert joined["payload"]["member"]["user"] == made[1]["id"]
    assert joined["payload"]["count"] == 2
    await second.send(type="unsubscribe", channel=room)
    await second.of_type("unsubscribed")
    assert await counted(first, room) == 2
    left = await first.of_type("leave")
    assert left["payload"] == {**joined["payload"], "count": 1}
    await first.end()
    await second.end()
