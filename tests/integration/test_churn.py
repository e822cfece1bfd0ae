"""A server keeps nothing of clients that have connected and left, in any way."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.many_clients import (
    RawClient,
    in_turn,
    reset_in_the_handshake,
    resident,
    until,
    visit_and_close,
    visit_and_reset,
    visit_and_stop_answering,
)
from tests.support.servers import Server
from tests.support.site import COMMANDS, Site, insides, login

EACH = 250
AT_ONCE = 20
COUNTED = (
    "tasks",
    "descriptors",
    "objects",
    "closing",
    "timers",
    "hub",
    "groups",
    "revocation_keys",
    "addresses",
    "limited_users",
    "spawned",
)
CONFIG = {"HEARTBEAT_INTERVAL": 2.0, "HEARTBEAT_TIMEOUT": 1.0, "MAX_CONNECTIONS_PER_USER": 10_000}


@pytest.fixture(scope="module", params=list(COMMANDS))
def server(request: pytest.FixtureRequest, site: Site) -> Iterator[Server]:
    with site.having(realtime=CONFIG).serve(request.param) as server:
        yield server


def held(server: Server) -> dict[str, int]:
    found = insides(server)
    return {key: found[key] for key in COUNTED} | {"connections": found["connections"]}


async def come_and_go(server: Server, count: int, cookie: str) -> None:
    port, options = server.port, {"headers": [f"Cookie: {cookie}"]}

    async def die(number: int) -> None:
        await reset_in_the_handshake(port, number, **options)

    def visit(way):
        async def one(number: int) -> RawClient | None:
            return await way(port, f"public/{number % 50}", **options)

        return one

    await in_turn(count, AT_ONCE, die)
    await in_turn(count, AT_ONCE, visit(visit_and_close))
    await in_turn(count, AT_ONCE, visit(visit_and_reset))
    silent = await in_turn(count, AT_ONCE, visit(visit_and_stop_answering))
    async with asyncio.timeout(30):
        codes = [await member.closed for member in silent]
    assert set(codes) == {4408}
    for member in silent:
        member.abort()


async def test_nothing_is_left_of_clients_that_came_and_went(server):
    cookie = await asyncio.to_thread(login, server, "alice")
    await come_and_go(server, 20, cookie)  # what is loaded lazily is loaded
    await until(lambda: held(server)["groups"] == 0, "the first ones are gone", timeout=30)
    # The view's own request is one of the tasks and of the open files, each time.
    before = await asyncio.to_thread(held, server)
    memory = resident(server.process.pid)
    await come_and_go(server, EACH, cookie)

    def left() -> dict[str, tuple[int, int]]:
        now = held(server)
        return {key: (before[key], now[key]) for key in now if now[key] > before[key]}

    await until(lambda: not left(), "nothing is left", timeout=30)
    assert before["connections"] == 0
    # The benchmark is exact about memory: here pools have just grown to what so many need at once.
    assert resident(server.process.pid) - memory < 24 * 2**20
    assert "Traceback" not in server.log(), server.log()[-5_000:]
