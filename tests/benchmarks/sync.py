"""What it costs a node to compare its positions with the history store, and memory a channel.

    python -m tests.benchmarks.sync [--channels 100000] [--changing 10 1000] [--rounds 5]

One node's open channels, all with history in a Redis of their own. In each round some of them change,
as they would in a second, and the node has received what was published; then it compares once.
Expect a cost that follows what changes, not what there is: the reference is ``--channels 1000``.
"""

import argparse
import asyncio
import gc
import os
import statistics
import time
from itertools import cycle

from channels_realtime.config import Config
from channels_realtime.nodes.metrics import Metrics
from channels_realtime.nodes.streams import Streams
from channels_realtime.protocol.messages import Publication
from channels_realtime.stores.history.base import Append, History
from channels_realtime.stores.history.redis import RedisHistory
from tests.support.many_clients import resident
from tests.support.redis_server import private_redis_server

AT_ONCE = 64
HISTORY = History(size=10, ttl=3_600.0)


def redis_seconds(info: dict[str, float]) -> float:
    return info["used_cpu_user"] + info["used_cpu_sys"]


class Bench:
    """A node's open channels.

    Args:
        url: of a Redis.
        channels: how many.
    """

    def __init__(self, url: str, channels: int) -> None:
        import redis

        # Only the comparisons that are measured.
        config = Config(store_redis=url, store_timeout=60.0, sync_interval=1e6)
        self._admin = redis.Redis.from_url(url)
        self._store = RedisHistory(None, config)
        self._metrics = Metrics()
        self._streams = Streams(
            lambda: self._store, config, self._metrics, lambda _: None, lambda *_: None
        )
        self._keys = [f"orders/{number}" for number in range(channels)]
        self._next = cycle(self._keys)

    async def open(self) -> tuple[float, float]:
        """Open all channels; bytes a channel here, and in Redis."""
        await self._store.read("warm/1", limit=1)
        gc.collect()
        before = resident(os.getpid()), self._admin.info("memory")["used_memory"]
        await self._in_turn(self._streams.open, self._keys)
        gc.collect()
        after = resident(os.getpid()), self._admin.info("memory")["used_memory"]
        count = len(self._keys)
        return (after[0] - before[0]) / count, (after[1] - before[1]) / count

    async def compare_first(self) -> float:
        """The comparison that knows nothing yet, of all channels; milliseconds."""
        began = time.perf_counter()
        await self._streams.sync()
        return (time.perf_counter() - began) * 1e3

    async def compare(self, changing: int) -> tuple[float, float, float]:
        """Change some, then compare: milliseconds, and of processor here and in Redis."""
        await self._in_turn(self._change, [next(self._next) for _ in range(changing)])
        redis_before = redis_seconds(self._admin.info("cpu"))
        began, used = time.perf_counter(), time.process_time()
        await self._streams.sync()
        took, used = time.perf_counter() - began, time.process_time() - used
        in_redis = redis_seconds(self._admin.info("cpu")) - redis_before
        return took * 1e3, used * 1e3, in_redis * 1e3

    async def _change(self, key: str) -> None:
        uid = os.urandom(8).hex()
        appended = await self._store.append(
            Append(stream=key, uid=uid, body=b"\x92\xa1a\xa1b", history=HISTORY)
        )
        assert appended.position is not None
        self._streams.take(Publication(key, None, uid=uid), appended.position)

    async def _in_turn(self, work, keys) -> None:
        todo = iter(keys)

        async def worker() -> None:
            for key in todo:
                await work(key)

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))

    async def close(self) -> None:
        assert self._metrics.healed == 0, "what was received was read again"
        await self._streams.stop()
        await self._store.close()
        self._admin.close()


async def measure(url: str, channels: int, changing: list[int], rounds: int) -> None:
    bench = Bench(url, channels)
    here, there = await bench.open()
    print(f"{channels:,} channels: {here:,.0f} bytes each in the node, {there:,.0f} in Redis")
    first = await bench.compare_first()
    print(f"  the first comparison: {first:,.0f} ms")
    for number in changing:
        found = [await bench.compare(number) for _ in range(rounds)]
        took, used, in_redis = (statistics.median(column) for column in zip(*found, strict=True))
        print(
            f"  {number:,} changing a second: {took:,.1f} ms a comparison, of processor"
            f" {used:,.1f} ms in the node and {in_redis:,.1f} ms in Redis",
            flush=True,
        )
    await bench.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--channels", type=int, default=100_000)
    parser.add_argument("--changing", type=int, nargs="+", default=[10, 1_000])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with private_redis_server() as url:
        asyncio.run(measure(url, options.channels, options.changing, options.rounds))


if __name__ == "__main__":
    main()
