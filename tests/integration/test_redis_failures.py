"""Redis fails under traffic: no silent gap, no old cursor accepted, and everybody goes on.

Each has servers of its own. What subscribers saw is compared with what the publishers were told, as by
``python -m tests.checker``.
"""

import asyncio
import json
import time
from typing import Any

import pytest

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
