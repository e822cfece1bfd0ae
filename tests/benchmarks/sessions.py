"""Connections that arrive and subscribe, with sessions kept and not: what a session costs each.

    python -m tests.benchmarks.sessions [--count 5000] [--seconds 20] [--rounds 3] [--server uvicorn]
        [--layer pubsub --redis redis://127.0.0.1:6379/0]

The server's processor time for a connection, from the TCP connect until after its session is written,
in alternating rounds, the registry on in both; and the time to ``subscribed``. The connections are
reset at the end, whose sessions are written too. Medians of the rounds; expect the ratio of the
processor times within 1.03.
"""

import argparse
import asyncio
import gc
import itertools
import statistics
import time
import uuid
from dataclasses import dataclass

from tests.benchmarks.registry import need_descriptors
from tests.benchmarks.serving import SERVERS, serve, site
from tests.support.many_clients import RawClient, join, percentile, processor_seconds
from tests.support.servers import Server

WARM = 100
SETTLE_S = 3.0
CHANNELS = 50
WINDOW_S = 120.0


@dataclass
class Round:
    """The server's processor time a connection, in microseconds, and the median latency."""

    arriving_us: float
    leaving_us: float
    latency_ms: float


async def measure(server: Server, count: int, seconds: float) -> Round:
    loop = asyncio.get_running_loop()
    took: list[float] = []
    members: list[RawClient] = []

    async def one(number: int) -> None:
        begun = time.perf_counter()
        member = await join(server.port, host=f"127.0.0.{2 + number % 50}")
        await member.subscribe(f"public/{number % CHANNELS}")
        took.append((time.perf_counter() - begun) * 1e3)
        members.append(member)

    for number in range(WARM):
        await one(number)
    for member in members:
        member.reset()
    members.clear()
    took.clear()
    await asyncio.sleep(SETTLE_S)
    gc.freeze()
    used = [processor_seconds(server.process.pid)]
    start = loop.time() + 0.1
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            if (wait := start + number * seconds / count - loop.time()) > 0:
                await asyncio.sleep(wait)
            group.create_task(one(number))
    await asyncio.sleep(SETTLE_S)  # what is written behind belongs to it
    used.append(processor_seconds(server.process.pid))
    for member in members:
        member.reset()
    await asyncio.sleep(SETTLE_S)
    used.append(processor_seconds(server.process.pid))
    gc.unfreeze()
    arriving, leaving = (
        (after - before) / count * 1e6 for before, after in itertools.pairwise(used)
    )
    return Round(arriving, leaving, percentile(took, 0.50))


def compare(kind: str, options: argparse.Namespace) -> None:
    variables = {"SITE_LAYER": options.layer}
    if options.layer != "memory":
        variables |= {
            "SITE_REDIS_URL": options.redis,
            "SITE_REDIS_PREFIX": f"benchmark-{uuid.uuid4().hex}",
        }
    rounds: dict[bool, list[Round]] = {False: [], True: []}
    with site(**variables) as found:
        for number in range(options.rounds):
            for on in (False, True) if number % 2 == 0 else (True, False):
                settings = {
                    "RESUME_WINDOW": WINDOW_S if on else 0,
                    "GROUP_PREFIX": f"bench-{uuid.uuid4().hex[:12]}",
                }
                with serve(kind, found, settings) as server:
                    done = asyncio.run(measure(server, options.count, options.seconds))
                rounds[on].append(done)
                print(
                    f"  {kind} {'on ' if on else 'off'}: {done.arriving_us:.0f} us arriving,"
                    f" {done.leaving_us:.0f} us leaving, p50 {done.latency_ms:.2f} ms",
                    flush=True,
                )
    for name in ("arriving_us", "leaving_us", "latency_ms"):
        off, on = (
            statistics.median(getattr(one, name) for one in rounds[key]) for key in (False, True)
        )
        print(f"{kind}, {options.layer}: {name} {on:.2f} against {off:.2f} ({on / off:.3f} times)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--server", choices=SERVERS, default="uvicorn")
    parser.add_argument("--layer", choices=("memory", "pubsub", "core"), default="memory")
    parser.add_argument("--redis", default="redis://127.0.0.1:6379/0")
    options = parser.parse_args()
    need_descriptors(options.count)
    compare(options.server, options)


if __name__ == "__main__":
    main()
