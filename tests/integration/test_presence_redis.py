"""Members in Redis: the contract on a cluster and on several servers, and a Redis that lost everything."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import redis

from channels_realtime.config import Config
from channels_realtime.stores.presence.redis import RedisPresence
from channels_realtime.testing import PresenceStoreContract
from tests.integration.test_presence_ghosts import ids_of, moved, watch
from tests.support.pages import wait_until
from tests.support.redis_server import private_redis_cluster, private_redis_server
from tests.support.servers import Server
from tests.support.site import Site

LEASE_S = 8.0
"""A node that is starved of the processor for half of it may tell that members have left."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with private_redis_server() as url:
        yield url


@pytest.fixture(scope="module")
def cluster_url() -> Iterator[str]:
    with private_redis_cluster() as url:
        yield url


class Contract(PresenceStoreContract):
    """With a clock that can be moved."""

    hosts: Any

    async def make_store(self) -> RedisPresence:
        config = Config(store_redis=self.hosts, group_prefix=self.prefix, store_timeout=20.0)
        return RedisPresence(None, config, clock=lambda: self.now)

    async def advance(self, seconds: float) -> None:
        self.now += seconds


class TestValkeyContract(Contract):
    @pytest.fixture(autouse=True)
    def _redis(self, server: str, redis_prefix: str) -> None:
        self.hosts, self.prefix, self.now = server, redis_prefix, time.time()


class TestClusterContract(Contract):
    """A cluster refuses scripts whose keys are not all in one slot."""

    @pytest.fixture(autouse=True)
    def _redis(self, cluster_url: str, redis_prefix: str) -> None:
        self.hosts = {"address": cluster_url, "cluster": True}
        self.prefix, self.now = redis_prefix, time.time()


class TestServersContract(Contract):
    """Two servers: partitions are spread over them."""

    @pytest.fixture(autouse=True)
    def _redis(self, redis_url: str, server: str, redis_prefix: str) -> None:
        self.hosts = [redis_url, {"address": server}]
        self.prefix, self.now = redis_prefix, time.time()


PREFIX = "presence-loss"


@pytest.fixture
def pair(site: Site, server: str) -> Iterator[tuple[Server, Server]]:
    own = site.having(
        SITE_LAYER="pubsub",
        SITE_REDIS_URL=server,
        SITE_REDIS_PREFIX=PREFIX,
        realtime={"NODE_LEASE": LEASE_S, "GROUP_PREFIX": PREFIX},
    )
    with ExitStack() as stack:
        yield (
            stack.enter_context(own.serve("daphne")),
            stack.enter_context(own.serve("uvicorn")),
        )


async def test_redis_that_lost_everything_gets_the_members_again_and_nobody_is_told(
    pair: tuple[Server, Server], server: str
) -> None:
    room = "lounges/loss"
    pages = [await watch(each, room) for each in pair]
    await pages[0].of_type("join")
    store = RedisPresence(
        None,
        Config(store_redis=server, group_prefix=f"{PREFIX}:{PREFIX}"),  # the layer's, and ours
    )

    async def both_are_there() -> bool:
        roll = await store.members(room, 10)
        return {member.id for member in roll.members} == set(ids_of(pages))

    assert await both_are_there()
    with redis.Redis.from_url(server) as client:
        client.flushall()
    assert not await both_are_there()
    await wait_until(both_are_there, "both are members again", timeout=3 * LEASE_S)
    third = await watch(pair[0], room)
    for page in pages:
        await page.until(
            lambda m: m["type"] == "join" and m["payload"]["member"]["id"] == ids_of([third])[0],
            "the third",
        )
    # Longer than the nodes wait before they tell what a store has lost.
    end = time.monotonic() + 0.5 * LEASE_S

    async def over() -> bool:
        return time.monotonic() > end

    await wait_until(over, "the nodes' patience")
    for page in pages:
        assert moved(page, "leave") == []
        assert len(moved(page, "join")) == (2 if page is pages[0] else 1)
        await page.end()
    await third.end()
    await store.close()
