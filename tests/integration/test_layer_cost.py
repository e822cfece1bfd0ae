"""What a publication and a connection cost the channel layer and the event loop, counted.

The Redis is private, so that its counters show this test's commands alone.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import pytest
import redis
from websockets.asyncio.client import ClientConnection, connect

from channels_realtime.nodes.groups import group_name
from tests.support.clients import TIMEOUT_S, wait_until
from tests.support.redis_server import private_redis_server
from tests.support.servers import Server, together
from tests.support.site import SERVERS, Site, publish, state

SUBSCRIBERS = 200
PUBLICATIONS = 20
CHANNEL = "public/counted"
ADMIN_GROUP = group_name("", "realtime/admin/connections")

# Nothing but publications: no probes of the groups while the test counts.
QUIET = {"LAYER_CHECK_INTERVAL": 3_600.0}


@pytest.fixture(scope="module")
def private_redis() -> Iterator[str]:
    with private_redis_server() as url:
        yield url


@pytest.fixture(scope="module", params=["pubsub", "core"])
def layer(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def pair(site: Site, private_redis: str, layer: str) -> Iterator[tuple[Server, Server]]:
    over_redis = site.having(
        realtime=QUIET, SITE_LAYER=layer, SITE_REDIS_URL=private_redis, SITE_REDIS_PREFIX=layer
    )
    with together(over_redis.serve("daphne"), over_redis.serve("uvicorn")) as (first, second):
        yield first, second


@asynccontextmanager
async def connections(
    server: Server, number: int, path: str = "/ws/"
) -> AsyncIterator[list[ClientConnection]]:
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(number):
            opening = connect(
                server.websocket_url(path),
                proxy=None,
                compression=None,
                open_timeout=TIMEOUT_S,
                close_timeout=1.0,
            )
            opened.append(await stack.enter_async_context(opening))
        yield opened


async def receive(connection: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(TIMEOUT_S):
        message: dict[str, Any] = json.loads(await connection.recv())
        return message


async def subscribe(opened: list[ClientConnection]) -> None:
    for connection in opened:
        assert (await receive(connection))["type"] == "welcome"
        await connection.send(json.dumps({"type": "subscribe", "channel": CHANNEL}))
    for connection in opened:
        assert (await receive(connection))["type"] == "subscribed"


class Monitor:
    """The commands of a Redis, as MONITOR shows them."""

    def __init__(self, url: str, monitor: "redis.client.Monitor") -> None:
        self._url = url
        self._monitor = monitor
        self.commands: list[str] = []

    def take(self, last: str) -> None:
        """Read until the command ECHO ``last``, sent now, which all earlier ones precede."""
        with redis.Redis.from_url(self._url) as other:
            other.echo(last)
        for event in self._monitor.listen():
            if event["command"].upper() == f"ECHO {last}".upper():
                return
            self.commands.append(event["command"])


@contextmanager
def monitoring(url: str) -> Iterator[Monitor]:
    with (
        redis.Redis.from_url(url, socket_timeout=TIMEOUT_S) as client,
        client.monitor() as monitor,
    ):
        yield Monitor(url, monitor)


def messages(monitor: Monitor, layer: str) -> int:
    """How many layer messages the monitored commands sent.

    The pub/sub layer sends one with each PUBLISH, however many processes listen. The core layer
    writes one to each process's inbox, in a script, and once more when it has been taken, to a
    backup. A node's word to the admin that rows have changed, at most one a second, is no message
    of a publication's.
    """
    if layer == "pubsub":
        sent = [command for command in monitor.commands if command.upper().startswith("PUBLISH")]
        return sum(ADMIN_GROUP not in command for command in sent)
    inbox = [command for command in monitor.commands if command.upper().startswith("ZADD")]
    return sum("$inflight" not in command for command in inbox)


@pytest.mark.parametrize(("here", "there"), [(1, 0), (SUBSCRIBERS, 0), (SUBSCRIBERS, 1), (0, 0)])
async def test_publication_costs_one_message_a_process_with_a_subscriber(
    pair: tuple[Server, Server], private_redis: str, layer: str, here: int, there: int
) -> None:
    first, second = pair
    wait_until(
        lambda: not state(first)["channels"] + state(second)["channels"],
        "the subscribers of the last test are gone",
    )
    await wait_for_groups(private_redis, layer, 0)
    async with connections(first, here) as ours, connections(second, there) as theirs:
        await subscribe(ours + theirs)
        processes = bool(here) + bool(there)
        await wait_for_groups(private_redis, layer, processes)
        received = state(first)["metrics"]["received"], state(second)["metrics"]["received"]
        with monitoring(private_redis) as monitor:
            for number in range(PUBLICATIONS):
                await asyncio.to_thread(publish, first, CHANNEL, number)
            for connection in ours + theirs:
                got = [(await receive(connection))["payload"] for _ in range(PUBLICATIONS)]
                assert got == list(range(PUBLICATIONS))
            await asyncio.to_thread(monitor.take, "last")
        one_for_all = layer == "pubsub"  # PUBLISH does not know how many listen
        expected = PUBLICATIONS * (1 if one_for_all else processes)
        assert messages(monitor, layer) == expected, monitor.commands[:20]
        # Each process took each publication once, whatever the number of its subscribers.
        assert state(first)["metrics"]["received"] - received[0] == PUBLICATIONS * bool(here)
        assert state(second)["metrics"]["received"] - received[1] == PUBLICATIONS * bool(there)


async def wait_for_groups(url: str, layer: str, processes: int) -> None:
    """Wait until so many processes are in the channel's group; a process leaves it a little later."""
    with redis.Redis.from_url(url) as client:
        await asyncio.to_thread(
            wait_until,
            lambda: members(client, layer) == processes,
            f"{processes} processes are in the group",
        )


def members(client: "redis.Redis[Any]", layer: str) -> int:
    """How many processes are in the channel's group."""
    if layer == "core":
        (group,) = client.keys("*public-scounted") or [None]
        return 0 if group is None else client.zcard(group)
    found = client.pubsub_channels("*public-scounted")
    return sum(count for _, count in client.pubsub_numsub(*found)) if found else 0


def layer_names(client: "redis.Redis[Any]", layer: str) -> set[bytes]:
    """Every name that the layer has in Redis: channels, groups, inboxes."""
    if layer == "core":
        # Not those of the stores, which have a hash tag.
        names = client.keys("*")
        return {key for key in names if b"$inflight" not in key and b":{" not in key}
    return set(client.pubsub_channels("*"))


async def test_connection_adds_no_layer_channel(
    pair: tuple[Server, Server], private_redis: str, layer: str
) -> None:
    with redis.Redis.from_url(private_redis) as client:
        for server in pair:
            async with connections(server, 1) as opened:
                await subscribe(opened)
                before = layer_names(client, layer)
                async with connections(server, SUBSCRIBERS) as more:
                    await subscribe(more)
                    assert state(server)["connections"] == SUBSCRIBERS + 1
                    assert layer_names(client, layer) == before


@pytest.mark.parametrize("kind", list(SERVERS))
async def test_connection_costs_no_task_beyond_the_servers_own(site: Site, kind: str) -> None:
    """Against a WebSocket application that only reads, on the same server."""
    with site.serve(kind) as server:
        async with connections(server, 1) as opened:  # the node and its tasks are there
            await subscribe(opened)
            idle = state(server)["tasks"]
            async with connections(server, SUBSCRIBERS, "/baseline/"):
                servers_own = state(server)["tasks"] - idle
            wait_until(lambda: state(server)["tasks"] == idle, "the tasks have ended")
            async with connections(server, SUBSCRIBERS) as more:
                await subscribe(more)
                wait_until(
                    lambda: state(server)["tasks"] - idle == servers_own,
                    f"{SUBSCRIBERS} connections cost no more than {servers_own} tasks",
                )
            wait_until(lambda: state(server)["tasks"] == idle, "the tasks have ended")
