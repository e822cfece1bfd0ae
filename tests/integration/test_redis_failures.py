"""Redis fails under traffic: no silent gap, no old cursor accepted, and everybody goes on.

Each has servers of its own. What subscribers saw is compared with what the publishers were told, as by
``python -m tests.checker``.
"""

import asyncio
import json
import time
from typing import Any

import pytest
import redis

from channels_realtime.config import Config
from channels_realtime.errors import Unavailable
from channels_realtime.stores.history.base import Append, History
from channels_realtime.stores.history.redis import RedisHistory
from tests.checker.run import Options, Result, Stage, stage
from tests.checker.subscriber import since
from tests.support.clients import client
from tests.support.many_clients import until
from tests.support.redis_process import MASTER, Watched, redis_process, watched_redis

OPTIONS = Options(
    seconds=14.0,
    rate=60.0,
    channels=6,
    publishers=2,
    subscribers=3,
    follows=4,
    cut_every=0.3,
    away=0.0,
    miss=0.01,
    lose=0.01,
    size=1_000,
)
DETECTED_S = 0.9
"""Sentinel promotes a replica no sooner after the master's death."""


async def kept(found: Stage, count: int) -> None:
    """Wait until so many publications are kept."""
    await until(lambda: found.publishers.count() >= count, f"{count} are kept", 60.0)


def of_sentinel(watched: Watched) -> dict[str, str]:
    return {
        "SITE_REDIS_SENTINELS": json.dumps([["127.0.0.1", watched.sentinel_port]]),
        "SITE_REDIS_MASTER": MASTER,
    }


def accepted(found: Stage, result: Result) -> list[str]:
    """Positions of another epoch than the last, or above the newest, that a server still accepts."""
    wrong = []
    with client(found.servers[0]) as one:
        for channel in result.truth.channels:
            end = result.truth.end(channel)
            assert end is not None
            positions = [position for name, position, _ in result.truth.all() if name == channel]
            old = {p.epoch: p for p in sorted(positions, key=lambda p: p.offset)}
            for epoch, position in old.items():
                if epoch == end.epoch:
                    continue
                reply: Any = one.request("subscribe", channel=channel, since=since(position))
                if reply["payload"].get("recovered") is not False:
                    wrong.append(f"{channel}: {position}: {reply}")
                one.request("unsubscribe", channel=channel)
    return wrong


@pytest.mark.parametrize("stale", [False, True], ids=["in step", "stale"])
def test_replica_takes_over(stale: bool) -> None:
    with watched_redis() as watched, stage(OPTIONS, **of_sentinel(watched)) as found:

        async def fail_over() -> None:
            await kept(found, 60)
            if stale:
                watched.detach_replica()
                await kept(found, found.publishers.count() + 90)
            found.lost_at = time.monotonic() + DETECTED_S
            await asyncio.to_thread(watched.kill_master)
            found.disturbances["failovers"] += 1

        result = asyncio.run(found.run(found.cut(), fail_over()))
        print(result.table())
        assert result.verdict.faults == []
        assert result.disturbances["failovers"] == 1
        assert accepted(found, result) == []
        if stale:
            assert result.verdict.counts["because of a new epoch"] > 0


async def test_position_of_a_lost_publication_is_not_accepted_though_no_node_was_there() -> None:
    def append(number: int) -> Append:
        history = History(size=100, ttl=60.0)
        return Append(stream="c", uid=f"{number:016}", body=b"%d" % number, history=history)

    with watched_redis() as watched:
        sentinels = [("127.0.0.1", watched.sentinel_port)]
        hosts = [{"sentinels": sentinels, "master_name": MASTER}]
        store = RedisHistory(None, Config(store_redis=hosts, store_timeout=20.0))
        await store.read("c", limit=0)
        for number in range(5):
            await store.append(append(number))
        await asyncio.to_thread(watched.wait_for_replica)
        await asyncio.to_thread(watched.detach_replica)
        last = [(await store.append(append(number))).position for number in range(5, 10)][-1]
        assert last is not None
        await asyncio.to_thread(watched.kill_master)
        # More than were lost: the old position is not above the newest, and its number is taken.
        for number in range(10, 20):
            appended = await succeeds(lambda number=number: store.append(append(number)))
        assert appended.position.offset == 15
        page = await store.read("c", last, limit=10)
        assert not page.complete
        assert page.position.epoch != last.epoch
        # What the replica had is still there, and what follows is recovered as before.
        everything = await store.read("c", limit=100)
        assert [entry.offset for entry in everything.entries] == list(range(1, 16))
        position = page.position
        await store.append(append(20))
        page = await store.read("c", position, limit=10)
        assert (page.complete, [entry.offset for entry in page.entries]) == (True, [16])
        await store.close()
        with redis.Redis("127.0.0.1", watched.sentinel_port) as sentinel:
            await until(lambda: len(sentinel.client_list()) == 1, "the store has left Sentinel")


async def succeeds(request: Any) -> Any:
    """What a request answers, once the store can be used again."""
    async with asyncio.timeout(20.0):
        while True:
            try:
                return await request()
            except Unavailable:
                await asyncio.sleep(0.1)


def test_redis_restarts_empty() -> None:
    with redis_process() as server, stage(OPTIONS, SITE_REDIS_URL=server.url) as found:

        async def restart() -> None:
            await kept(found, 100)
            found.lost_at = time.monotonic()
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            found.disturbances["restarts"] += 1

        result = asyncio.run(found.run(found.cut(), restart()))
        print(result.table())
        assert result.verdict.faults == []
        # Every subscriber was told of the new epoch on each of its channels.
        records = [r for each in found.subscribers for r in each.records.values()]
        assert result.verdict.counts["because of a new epoch"] >= len(records)
        assert accepted(found, result) == []


def test_redis_that_stands_still_for_ten_seconds() -> None:
    with redis_process() as server, stage(OPTIONS, SITE_REDIS_URL=server.url) as found:

        async def stand_still() -> None:
            await kept(found, 100)
            server.pause()
            await asyncio.sleep(10.0)  # what is tested: the time itself
            server.go_on()
            found.disturbances["stood still"] += 1

        result = asyncio.run(found.run(found.cut(), stand_still()))
        print(result.table())
        assert result.disturbances["stood still"] == 1
        assert result.verdict.faults == []
        assert result.verdict.counts["not recovered"] == 0
