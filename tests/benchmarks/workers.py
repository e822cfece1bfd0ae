"""Several processes on one port, over Redis: until the last subscriber has it, and what a delivery costs.

    python -m tests.benchmarks.workers [--workers 2 4] [--layer pubsub] [--layer core]
        [--clients 100] [--rounds 3]

``uvicorn --workers``; the clients are spread over the processes by the kernel, all on one channel, with a
200-byte payload. One more client publishes: first paced, ten a second, for the time from the publication
to the last of all deliveries; then four at a time, for the rate. We and plain Channels (the reference in
``performance/site``) take turns; medians. Processor time is that of all server processes, and of Redis.

The servers share the first processor, and Redis and the clients the second: on two processors more
processes are not faster, so read the microseconds. The clients are Python, and some 10 us of each of the
latencies are theirs, times the clients.
"""

import argparse
import asyncio
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import redis

from tests.benchmarks.performance.measure import Bench, bench, server_command, site_environment
from tests.benchmarks.performance.rows import OURS, PLAIN
from tests.support.many_clients import (
    RawClient,
    descriptors,
    join,
    join_many,
    percentile,
    processor_seconds,
)
from tests.support.servers import Server, free_port, run_server

CHANNEL = "bench/1"
PLAIN_CHANNEL = "bench.1"
PAYLOAD = "x" * 180
WARM, PACED, PACE_S, BURST, WINDOW = 5, 40, 0.1, 60, 4
PATIENCE_S = 10.0


def children(pid: int) -> list[int]:
    """The processes that a process has started, and theirs."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        own = [int(each) for each in file.read().split()]
    return own + [each for child in own for each in children(child)]


@contextmanager
def serve(found: Bench, ours: bool, layer: str, workers: int) -> Iterator[Server]:
    candidate = replace(OURS if ours else PLAIN, layer=layer)
    port = free_port()
    command = server_command(candidate, "uvicorn", port, found.redis_url)
    with tempfile.TemporaryDirectory(prefix="channels-realtime-benchmark-") as directory:
        database = Path(directory) / "site.sqlite3"
        shutil.copy(found.database, database)
        environment = site_environment(candidate.kind, layer, database, found.redis_url)
        command = [*found.server_prefix, *command, "--workers", str(workers)]
        with run_server(command, port, environment=environment) as server:
            yield server


class Crowd:
    """Subscribers of one channel, and when each publication came to the last of them."""

    def __init__(self, publisher: RawClient, members: list[RawClient], channel: str) -> None:
        self._publisher = publisher
        self._members = members
        self._channel = channel
        self._sent: dict[int, float] = {}
        self._came: dict[int, int] = {}
        self._news = asyncio.Event()
        self.took: list[float] = []
        self.received = 0
        for member in members:
            member.on_frame = self._count

    def publish(self) -> None:
        number = len(self._sent)
        self._sent[number], self._came[number] = time.perf_counter(), 0
        payload = {"n": number, "text": PAYLOAD}
        self._publisher.say({"type": "publish", "channel": self._channel, "payload": payload})

    def _count(self, member: RawClient, frame: bytes) -> None:
        at = frame.find(b'"n":') + 4
        if at < 4:
            return
        number = int(frame[at : frame.index(b",", at)])
        self.received += 1
        self._came[number] += 1
        if self._came[number] == len(self._members):
            self.took.append(time.perf_counter() - self._sent[number])
            self._news.set()

    async def wait(self, outstanding: int = 0) -> None:
        """Until no more than so many publications are on their way; gives up on lost ones."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while len(self._sent) - len(self.took) > outstanding:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pass


async def measure(found: Bench, server: Server, ours: bool, clients: int) -> list[float]:
    channel = CHANNEL if ours else PLAIN_CHANNEL
    pids = [server.process.pid, *children(server.process.pid)]
    idle = [descriptors(pid) for pid in pids]
    options: dict[str, Any] = {"headers": [f"Origin: http://127.0.0.1:{server.port}"]}
    if not ours:
        options |= {"welcomed": False, "subprotocol": None}
    publisher = await join(server.port, **options)
    members = await join_many(server.port, clients, **options)
    for member in members:
        await member.subscribe(channel)
    spread = sorted(descriptors(p) - i for p, i in zip(pids, idle, strict=True))
    crowd = Crowd(publisher, members, channel)
    for _ in range(WARM):
        crowd.publish()
        await crowd.wait()
    crowd.took.clear()
    crowd._sent.clear()
    crowd._came.clear()
    for _ in range(PACED):
        crowd.publish()
        await asyncio.sleep(PACE_S)
    await crowd.wait()
    paced = [took * 1e3 for took in crowd.took]
    with redis.Redis.from_url(found.redis_url) as admin:
        before = redis_seconds(admin), sum(map(processor_seconds, pids))
        crowd.received, begun = 0, time.perf_counter()
        for _ in range(BURST):
            crowd.publish()
            await crowd.wait(WINDOW - 1)
        await crowd.wait()
        elapsed = time.perf_counter() - begun
        after = redis_seconds(admin), sum(map(processor_seconds, pids))
    lost = BURST * clients - crowd.received
    for member in (publisher, *members):
        member.abort()
    return [
        percentile(paced, 0.5) if paced else float("inf"),
        percentile(paced, 0.99) if paced else float("inf"),
        crowd.received / elapsed,
        (after[1] - before[1]) / max(1, crowd.received) * 1e6,
        (after[0] - before[0]) / BURST * 1e6,
        lost,
        spread[-1] / clients,
    ]


def redis_seconds(admin: "redis.Redis") -> float:
    """Processor time that Redis has used."""
    info = admin.info("cpu")
    return float(info["used_cpu_user"] + info["used_cpu_sys"])


def compare(found: Bench, layer: str, workers: int, clients: int, rounds: int) -> None:
    measured: dict[bool, list[Sequence[float]]] = {True: [], False: []}
    for _ in range(rounds):
        for ours, results in measured.items():
            with serve(found, ours, layer, workers) as server:
                results.append(asyncio.run(measure(found, server, ours, clients)))
    for ours, results in measured.items():
        columns = list(zip(*results, strict=True))
        p50, p99, rate, used, in_redis, lost, most = map(statistics.median, columns)
        print(
            f"{layer}, {workers} processes, {'ours' if ours else 'plain Channels'}: to the last of"
            f" {clients} p50 {p50:.1f} ms, p99 {p99:.1f} ms ({min(columns[1]):.1f} to"
            f" {max(columns[1]):.1f}); {rate:,.0f} deliveries/s, {used:.1f} us each"
            f" ({min(columns[3]):.1f} to {max(columns[3]):.1f}), Redis {in_redis:,.0f} us a"
            f" publication, {lost:.0f} lost, the fullest process has {most:.0%}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--layer", choices=("pubsub", "core"), action="append")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    with bench() as found:
        for layer in options.layer or ("pubsub", "core"):
            for workers in options.workers:
                compare(found, layer, workers, options.clients, options.rounds)


if __name__ == "__main__":
    main()
