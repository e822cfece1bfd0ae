"""A server that is stopped sends its clients to another server, and then ends."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
import urllib.error
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from tests.support.many_clients import RawClient, join, until
from tests.support.servers import Server, together
from tests.support.site import COMMANDS, Site, get, insides

CLIENTS = 200
GRACE_S = 10.0
SHORT_GRACE_S = 3.0
CONFIG = {"DRAIN_GRACE": GRACE_S, "DRAIN_RETRY_WINDOW": 1.0, "DRAIN_BATCH": 50}
CHANNEL = "public/drained"
EVERY_SERVER = pytest.mark.parametrize("kind", list(COMMANDS), indirect=True)


@pytest.fixture(params=["daphne", "uvicorn"])
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def shared_site(site: Site, redis_url: str, redis_prefix: str) -> Site:
    return site.having(
        realtime=CONFIG,
        SITE_LAYER="pubsub",
        SITE_REDIS_URL=redis_url,
        SITE_REDIS_PREFIX=redis_prefix,
    )


@pytest.fixture
def pair(shared_site: Site, kind: str) -> Iterator[tuple[Server, Server]]:
    with together(shared_site.serve(kind), shared_site.serve(kind)) as (first, second):
        yield first, second


@pytest.fixture
def server(site: Site, kind: str) -> Iterator[Server]:
    """One server with a short grace time."""
    with site.having(realtime=CONFIG | {"DRAIN_GRACE": SHORT_GRACE_S}).serve(kind) as server:
        yield server


class Page:
    """A client that reconnects after the delay that its last server named, to any server that accepts it."""

    def __init__(self, ports: list[int], *, after: float = 0.0) -> None:
        self._ports = ports
        self._after = after
        self.first = True
        self.codes: list[int] = []
        self.retry_after: list[float] = []
        self.visits: list[set[int]] = []
        """The numbers that it received on each connection."""
        self.member: RawClient | None = None
        self.port = 0
        """The port that it is connected to."""

    async def live(self) -> None:
        await asyncio.sleep(self._after)
        while True:
            for port in self._ports:
                try:
                    await self._visit(port)
                    break
                except (ConnectionError, OSError):
                    continue
            await asyncio.sleep(random.uniform(0, 0.2))

    async def _visit(self, port: int) -> None:
        member = self.member = await join(port)
        self.port = port
        try:
            await member.subscribe(CHANNEL)
            self.codes.append(await member.closed)
        finally:
            member.abort()
            found = numbers(member)
            assert found == sorted(set(found))
            self.visits.append(set(found))
        closing = [m["payload"] for m in member.messages if m["type"] == "closing"]
        if closing:
            self.retry_after.append(closing[-1]["retry_after"])
            await asyncio.sleep(closing[-1]["retry_after"])


@asynccontextmanager
async def living(pages: list[Page]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(page.live()) for page in pages]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@EVERY_SERVER
async def test_every_client_is_told_and_comes_back_to_the_other_process(pair, kind):
    first, second = pair
    publisher = await join(second.port)
    await publisher.subscribe(CHANNEL)
    pages = [Page([first.port, second.port]) for _ in range(CLIENTS)]
    published: list[int] = []
    stop = asyncio.Event()

    async def publish() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            publisher.say({"type": "publish", "channel": CHANNEL, "payload": {"n": number}})
            published.append(number)
            await asyncio.sleep(0.02)

    async with living(pages):
        await until(lambda: count(first) == CLIENTS, "all are there", 30)
        await until(lambda: all(p.member and has(p.member, "subscribed") for p in pages), "on it")
        traffic = asyncio.create_task(publish())
        await until(lambda: all(has(p.member, "message") for p in pages), "traffic flows", 30)
        start = time.monotonic()
        os.kill(first.process.pid, signal.SIGTERM)
        status = await asyncio.to_thread(first.process.wait, GRACE_S + 5)
        took = time.monotonic() - start
        await until(lambda: count(second) == CLIENTS + 1, "all are at the other process", 30)
        await until(
            lambda: all(p.member and has(p.member, "message") for p in pages), "traffic flows on"
        )
        stop.set()
        await traffic
        last = published[-1]
        await until(
            lambda: all(numbers(p.member)[-1:] == [last] for p in pages), "all have the last", 30
        )
    publisher.abort()
    assert status in (0, -signal.SIGTERM)
    assert took < GRACE_S
    assert [page.codes for page in pages] == [[4503]] * CLIENTS
    waits = [wait for page in pages for wait in page.retry_after]
    assert len(waits) == CLIENTS
    assert max(waits) - min(waits) > 0.5  # they do not all come at once
    for page in pages:
        # On each process, from the first number it got to the last: none is missing between them.
        assert len(page.visits) == 2
        for got in page.visits:
            assert got == set(range(min(got), max(got) + 1))
    assert "Traceback" not in first.log(), first.log()[-5_000:]


def has(member: RawClient | None, kind: str) -> bool:
    return member is not None and any(m["type"] == kind for m in member.messages)


def numbers(member: RawClient) -> list[int]:
    return [m["payload"]["n"] for m in member.messages if m["type"] == "message"]


def count(server: Server) -> int:
    found: int = insides(server)["connections"]
    return found


def readiness(server: Server) -> int:
    try:
        get(server, "/realtime/ready/")
    except urllib.error.HTTPError as error:
        return error.code
    return 200


async def test_draining_node_is_not_ready_and_refuses_connections(site, kind):
    # One client at a time with a pause after each: six seconds, whatever the server does with their connections.
    pace = {"DRAIN_GRACE": 12.0, "DRAIN_BATCH": 1, "DRAIN_BATCH_INTERVAL": 3.0}
    with site.having(realtime=CONFIG | pace).serve(kind) as server:
        pages = [await join(server.port) for _ in range(2)]
        assert await asyncio.to_thread(readiness, server) == 200
        os.kill(server.process.pid, signal.SIGTERM)
        await until(lambda: readiness(server) == 503, "it is not ready")
        refused = "403" if kind == "daphne" else "503"
        with pytest.raises(ConnectionError, match=refused):
            await join(server.port)
        assert {await page.closed for page in pages} == {4503}
        await asyncio.to_thread(server.process.wait, 15)


@EVERY_SERVER
async def test_clients_that_never_answer_do_not_hold_the_process(server):
    """One client is silent; another does not read either, and its buffers are full."""
    silent = await join(server.port, answers=False)
    full = await join(server.port, answers=False, receive_buffer=4_096)
    await full.subscribe("newest/full")
    full.stop_reading()
    publisher = await join(server.port)
    for _ in range(150):
        publisher.say({"type": "publish", "channel": "newest/full", "payload": "x" * 60_000})
    await until(lambda: insides(server)["metrics"]["dropped"] > 0, "its queue has filled")
    start = time.monotonic()
    os.kill(server.process.pid, signal.SIGTERM)
    await asyncio.to_thread(server.process.wait, SHORT_GRACE_S + 5)
    assert time.monotonic() - start < SHORT_GRACE_S + 3
    assert await silent.closed == 4503
    full.abort()
    publisher.abort()


async def test_handshakes_in_flight_end_when_the_server_stops(server):
    """Each gets 4503, is refused or cut off; a client reconnects after any of these."""
    there = await join(server.port)
    outcomes: list[str] = []

    async def connect() -> None:
        try:
            member = await join(server.port)
            code = await member.closed
            outcomes.append(str(code))
        except (ConnectionError, OSError) as error:
            outcomes.append(type(error).__name__)

    async with asyncio.TaskGroup() as group:
        for number in range(300):
            group.create_task(connect())
            if number == 150:
                os.kill(server.process.pid, signal.SIGTERM)
            if number % 5 == 0:
                await asyncio.sleep(0.001)
    assert len(outcomes) == 300
    refused = {"ConnectionError", "ConnectionRefusedError", "ConnectionResetError"}
    assert set(outcomes) <= {"4503", "1006", *refused}
    assert await there.closed == 4503
    await asyncio.to_thread(server.process.wait, SHORT_GRACE_S + 5)
    assert "Traceback" not in server.log().replace("KeyError: 'application_instance'", ""), (
        server.log()[-5_000:]
    )


@pytest.mark.parametrize("everybody", [False, True])
def test_realtime_drain_drains_the_node_that_it_names(shared_site, pair, everybody):
    asyncio.run(_drain_by_hand(shared_site, pair, everybody))


async def _drain_by_hand(site: Site, pair: tuple[Server, Server], everybody: bool) -> None:
    first, second = pair
    members = [await join(server.port) for server in pair]
    node = (await asyncio.to_thread(insides, first))["node_id"]
    argument = "--all" if everybody else node
    printed = await asyncio.to_thread(site.manage, "realtime_drain", argument)
    if everybody:
        assert printed == (
            "The request was sent. Follow the drain in the nodes' readiness views or logs.\n"
        )
    else:
        assert printed == "The node is draining. Follow it in its readiness view or log.\n"
    assert await members[0].closed == 4503
    await until(lambda: readiness(first) == 503, "the first is not ready")
    if everybody:
        assert await members[1].closed == 4503
    else:
        assert await asyncio.to_thread(readiness, second) == 200
        members[1].say({"type": "ping", "id": 1})
        await members[1].expect("pong")
    assert first.process.poll() is None  # it goes on until it is stopped
    for member in members:
        member.abort()


def test_realtime_drain_says_that_no_such_node_answers(shared_site):
    unknown = uuid.uuid4().hex
    result = subprocess.run(
        [sys.executable, "-m", "django", "realtime_drain", unknown],
        env={**os.environ, **shared_site.environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1
    assert f"Node {unknown} does not respond." in result.stderr


def test_realtime_drain_fails_when_the_layer_is_away(shared_site):
    away = shared_site.having(SITE_REDIS_URL="redis://127.0.0.1:1/0")
    result = subprocess.run(
        [sys.executable, "-m", "django", "realtime_drain", uuid.uuid4().hex],
        env={**os.environ, **away.environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1
    assert "The channel layer did not accept the message. Nothing was drained." in result.stderr
