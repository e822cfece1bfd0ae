"""What the presence store in Redis costs: ``python -m tests.benchmarks.presence [redis://…]``.

Prints the time of each call, this process's CPU and the server's. Entering and leaving are batches of
500 in 100 channels; a sweep, once a second in each process that has presence, is over all partitions.
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections.abc import Awaitable, Callable

import redis

from channels_realtime.config import Config
from channels_realtime.protocol.messages import Member
from channels_realtime.stores.presence.base import BATCH, PARTITIONS, Departure, Entry
from channels_realtime.stores.presence.redis import RedisPresence

MEMBERS = 10_000
LEASE_S = 1_000.0


async def main(url: str) -> None:
    prefix = f"benchmark-{uuid.uuid4().hex}"
    store = RedisPresence(None, Config(store_redis=url, group_prefix=prefix, store_timeout=30.0))
    server = redis.Redis.from_url(url)

    def server_cpu() -> float:
        info = server.info("cpu")
        return float(info["used_cpu_user"] + info["used_cpu_sys"])

    async def measure(name: str, times: int, per: int, call: Callable[[int], Awaitable[object]]):
        wall, own, theirs = time.perf_counter(), time.process_time(), server_cpu()
        for number in range(times):
            await call(number)
        units = times * per / 1e6
        print(
            f"{name:34} {(time.perf_counter() - wall) / units:9.0f} us"
            f" {(time.process_time() - own) / units:9.0f} us own CPU"
            f" {(server_cpu() - theirs) / units:9.0f} us of Redis"
        )

    entries = [
        Entry(f"room/{n % 100}", str(n), Member(f"user:{n}", str(n), {"name": f"user {n}"}))
        for n in range(MEMBERS)
    ]
    batches = [entries[start : start + BATCH] for start in range(0, MEMBERS, BATCH)]
    rooms = [f"room/{n}" for n in range(100)]
    try:
        await measure("sweep, nothing due", 100, 1, lambda n: store.sweep())
        await measure(
            "enter, one member",
            len(batches),
            BATCH,
            lambda n: store.enter("n", batches[n], LEASE_S),
        )
        used = sum(
            server.memory_usage(key, samples=0) or 0 for key in server.scan_iter(prefix + "*")
        )
        print(f"memory of Redis for a member: {used / MEMBERS:.0f} bytes")
        await measure("members, 100", 200, 1, lambda n: store.members("room/1", 100))
        await measure("tallies, 100 channels", 50, 1, lambda n: store.tallies(rooms))
        held = dict.fromkeys(range(PARTITIONS), 0)
        await measure("renew", 50, 1, lambda n: store.renew("n", held, LEASE_S))
        await measure(
            "leave, one member",
            len(batches),
            BATCH,
            lambda n: store.leave("n", [Departure(entry.hold) for entry in batches[n]]),
        )
    finally:
        for key in server.scan_iter(prefix + "*"):
            server.delete(key)
        await store.close()
        server.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "redis://127.0.0.1:6379/0"))
