"""10,000 connections that arrive in 20 seconds, with the registry on and off: what it costs each to connect.

    python -m tests.benchmarks.registry [--count 10000] [--seconds 20] [--rounds 3]
        [--server daphne] [--database postgres]

The time from the TCP connect to the ``welcome``, at a pace that does not depend on the answers, in
alternating rounds; medians of the rounds. Expect the ratio of on to off within 1.05. It needs a
machine with nothing else to do, a core for the server and one for the clients, and as many file
descriptors as connections on both sides (``ulimit -n``).
"""

import argparse
import asyncio
import gc
import resource
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.benchmarks import postgres
from tests.benchmarks.serving import SERVERS, serve, site
from tests.support.many_clients import RawClient, join, percentile, processor_seconds, until
from tests.support.servers import Server
from tests.support.site import Site

SPARE_DESCRIPTORS = 500
WARM = 100
WRITTEN_S = 60.0
SHARES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
COUNT_ROWS = (
    "from channels_realtime.models import ConnectionRecord;"
    "print('rows:', ConnectionRecord.objects.count())"
)


@dataclass
class Round:
    """Latencies in milliseconds by share, and the server's processor time a connection."""

    latencies: dict[str, float]
    processor_us: float
    late_ms: float
    """How late the load generator itself was, at the 99th percentile: more than a little, and the
    figures are its own."""


async def arrive(server: Server, count: int, seconds: float) -> tuple[list[RawClient], Round]:
    """Connect so many clients at an even pace."""
    loop = asyncio.get_running_loop()
    took: list[float] = []
    late: list[float] = []
    members: list[RawClient] = []

    async def one(number: int) -> None:
        begun = time.perf_counter()
        # Several addresses: one has too few ports for several rounds.
        members.append(await join(server.port, host=f"127.0.0.{2 + number % 50}"))
        took.append((time.perf_counter() - begun) * 1e3)

    used = processor_seconds(server.process.pid)
    start = loop.time() + 0.1
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            at = start + number * seconds / count
            if (wait := at - loop.time()) > 0:
                await asyncio.sleep(wait)
            late.append((loop.time() - at) * 1e3)
            group.create_task(one(number))
    # What the registry does after the last arrival belongs to it.
    await asyncio.sleep(2.0)
    used = processor_seconds(server.process.pid) - used
    latencies = {name: percentile(took, share) for name, share in SHARES.items()}
    return members, Round(latencies, used / count * 1e6, percentile(late, 0.99))


async def measure(found: Site, server: Server, count: int, seconds: float, *, on: bool) -> Round:
    warm = [await join(server.port) for _ in range(WARM)]
    for member in warm:
        member.reset()
    await asyncio.sleep(2.0)
    gc.freeze()
    members, done = await arrive(server, count, seconds)
    gc.unfreeze()
    expected = count if on else 0
    await until(lambda: rows(found) == expected, f"{expected} rows", WRITTEN_S)
    for member in members:
        if member.closed.done():
            raise ConnectionError(f"a connection was closed with {member.closed.result()}")
        member.reset()
    return done


def rows(found: Site) -> int:
    printed = found.manage("shell", "-v", "0", "-c", COUNT_ROWS)
    return int(printed.rpartition("rows:")[2])


def compare(kind: str, found: Site, count: int, seconds: float, rounds: int) -> None:
    results: dict[bool, list[Round]] = {False: [], True: []}
    for number in range(rounds):
        for on in (False, True) if number % 2 == 0 else (True, False):
            settings = {"CONNECTION_REGISTRY": on, "DRAIN_ON_STOP": True}
            with serve(kind, found, settings) as server:
                done = asyncio.run(measure(found, server, count, seconds, on=on))
            results[on].append(done)
            print(f"  {kind} {'on ' if on else 'off'}: {described(done)}", flush=True)
    off, on = (
        {name: statistics.median(r.latencies[name] for r in results[key]) for name in SHARES}
        for key in (False, True)
    )
    ratios = ", ".join(
        f"{name} {on[name]:.2f} ms against {off[name]:.2f} ms ({on[name] / off[name]:.3f} times)"
        for name in SHARES
    )
    used = [statistics.median(r.processor_us for r in results[key]) for key in (True, False)]
    print(
        f"{kind}: {ratios}; server {used[0]:.0f} us a connection against {used[1]:.0f} us;"
        f" {count} connections in {seconds:g} s, medians of {rounds}",
        flush=True,
    )


def described(done: Round) -> str:
    figures = ", ".join(f"{name} {ms:.2f} ms" for name, ms in done.latencies.items())
    return (
        f"{figures}, server {done.processor_us:.0f} us a connection,"
        f" generator late by {done.late_ms:.1f} ms"
    )


def need_descriptors(count: int) -> None:
    """Raise this process's limit, which the server inherits.

    Raises:
        SystemExit: the machine does not allow as many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + SPARE_DESCRIPTORS
    if soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise SystemExit(f"{needed} file descriptors are needed; `ulimit -Hn` says {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


@contextmanager
def database(kind: str) -> Iterator[dict[str, str]]:
    """The variables that name the site's database: none for SQLite, which the site makes itself."""
    if kind == "sqlite":
        yield {}
        return
    with postgres.database() as url:
        yield {"SITE_DATABASE_URL": url}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--server", choices=SERVERS, action="append")
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    options = parser.parse_args()
    need_descriptors(options.count)
    with database(options.database) as variables, site(**variables) as found:
        for kind in options.server or SERVERS:
            compare(kind, found, options.count, options.seconds, options.rounds)


if __name__ == "__main__":
    main()
