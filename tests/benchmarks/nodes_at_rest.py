"""What many processes send each other while nothing happens: their probes of the groups they share.

    python -m tests.benchmarks.nodes_at_rest [--nodes 10 20 40] [--channels 25] [--seconds 20]

Brokers in this one process, each with a layer of its own over a Redis of the benchmark's own, all in the
same channels. Counts, not times: PUBLISH commands a second and what Redis sends to all of them. Expect both
to grow with the number of processes, and not with its square.
"""

import argparse
import asyncio
import os
import time
from contextlib import AsyncExitStack
from typing import Any

import django
import redis
from channels_redis.pubsub import RedisPubSubChannelLayer

from channels_realtime.nodes.broker import Broker
from channels_realtime.nodes.metrics import Metrics
from tests.support.redis_server import private_redis_server

CHECK_S = 10.0


class Deaf:
    """Takes nothing."""

    def receive(self, publication: Any, sent_at: float | None = None) -> None: ...

    def lost(self) -> None: ...

    def control(self, message: dict[str, Any]) -> None: ...


def counted(admin: "redis.Redis") -> tuple[int, int, float]:
    commands = admin.info("commandstats").get("cmdstat_publish", {"calls": 0})["calls"]
    cpu = admin.info("cpu")
    sent = admin.info("stats")["total_net_output_bytes"]
    return commands, sent, cpu["used_cpu_user"] + cpu["used_cpu_sys"]


async def measure(url: str, nodes: int, channels: int, seconds: float) -> None:
    async with AsyncExitStack() as stack:
        for number in range(nodes):
            broker = Broker(
                RedisPubSubChannelLayer(hosts=[url]),
                prefix="rest",
                node_id=str(number),
                receiver=Deaf(),
                metrics=Metrics(),
                subscribe_timeout=30.0,
                publish_timeout=30.0,
                check_interval=CHECK_S,
            )
            stack.push_async_callback(broker.stop)
            await broker.start()
            for channel in range(channels):
                await broker.join(str(channel))
        await asyncio.sleep(CHECK_S)
        with redis.Redis.from_url(url) as admin:
            before, begun, used = counted(admin), time.perf_counter(), time.process_time()
            await asyncio.sleep(seconds)
            after, took = counted(admin), time.perf_counter() - begun
            used = time.process_time() - used
    commands, sent, in_redis = ((a - b) / took for a, b in zip(after, before, strict=True))
    print(
        f"{nodes} processes, {channels} channels: {commands:.1f} PUBLISH/s, {sent / 1024:.0f} KiB/s"
        f" out of Redis, {in_redis:.2%} of a core in Redis, {used / took / nodes:.3%} in each process",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=[10, 20, 40])
    parser.add_argument("--channels", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    with private_redis_server() as url:
        for nodes in options.nodes:
            asyncio.run(measure(url, nodes, options.channels, options.seconds))


if __name__ == "__main__":
    main()
