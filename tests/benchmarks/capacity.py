"""The constants of the capacity model, and three points that it is checked against.

    python -m tests.benchmarks.capacity [--layer pubsub] [--rounds 3]

See ``docs/topics/capacity.md``. Processor time in microseconds, of the server processes and of Redis; that
of processes at rest is measured before each load and taken off. The constants come from one uvicorn
process with 50 and with 500 subscribers. The points are other numbers of connections, channels and
processes, each predicted from the constants before it is measured. Publications come at a fixed rate,
so that their batches are those of an ordinary day and not of a flood.
"""

import argparse
import asyncio
import gc
import os
import statistics
import time
from dataclasses import dataclass

import redis

from tests.benchmarks.performance.measure import Bench, bench, site_environment
from tests.benchmarks.workers import children, redis_seconds, serve
from tests.support.many_clients import (
    RawClient,
    join,
    join_many,
    processor_seconds,
    resident,
    until,
)
from tests.support.servers import Server

FEW, MANY = 50, 500
PAYLOAD = {"text": "x" * 180}
IDLE_S = 3.0
FIRST = 60
"""Publications before it counts, so many that each of the channels has one."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is measured at once."""

    clients: int
    channels: int = 1
    rate: float = 20.0
    seconds: float = 4.0
    workers: int = 1
    by_client: bool = False


@dataclass(frozen=True, kw_only=True)
class Found:
    """Microseconds and bytes."""

    connect: float
    kib: float
    idle: float
    publication: float
    in_redis: float
    frame: float
    commands: float


class Members:
    """Clients, evenly on the channels."""

    def __init__(self, members: list[RawClient]) -> None:
        self.received = self.bytes = 0
        for member in members:
            member.on_frame = self._count

    def _count(self, member: RawClient, frame: bytes) -> None:
        if frame.startswith(b'{"type":"message"'):
            self.received += 1
            self.bytes += len(frame) + (2 if len(frame) < 126 else 4)


async def measure(found: Bench, server: Server, load: Load) -> Found:
    from channels_realtime import publish

    pids = [server.process.pid, *children(server.process.pid)]
    options = {"headers": [f"Origin: {server.origin}"]}
    publisher = await join(server.port, **options)
    warm = await join_many(server.port, 20, **options)
    for number, member in enumerate(warm):
        await member.subscribe(f"bench/{number % load.channels}")

    def used() -> float:
        return sum(map(processor_seconds, pids))

    before = used(), sum(map(resident, pids))
    members = await join_many(server.port, load.clients, **options)
    for number, member in enumerate(members):
        await member.subscribe(f"bench/{number % load.channels}")
    connect = (used() - before[0]) / load.clients * 1e6
    kib = (sum(map(resident, pids)) - before[1]) / load.clients / 1024
    for member in warm:
        member.abort()
    await asyncio.sleep(3.0)  # the registry has been written, and what was left is left
    began = used()
    await asyncio.sleep(IDLE_S)
    idle = (used() - began) / IDLE_S
    counted = Members(members)

    async def publish_one(number: int) -> None:
        channel = f"bench/{number % load.channels}"
        if load.by_client:
            publisher.say({"type": "publish", "channel": channel, "payload": PAYLOAD})
        else:
            await asyncio.to_thread(publish, channel, PAYLOAD)

    async def publish_all(count: int) -> None:
        begun = time.perf_counter()
        for number in range(count):
            await asyncio.sleep(begun + number / load.rate - time.perf_counter())
            await publish_one(number)

    await publish_all(FIRST)
    warmed = FIRST * load.clients // load.channels
    await until(lambda: counted.received >= warmed, "the first were delivered")
    gc.collect()
    counted.received = counted.bytes = 0
    publications = int(load.rate * load.seconds)
    expected = publications * load.clients // load.channels
    with redis.Redis.from_url(found.redis_url) as admin:
        commands = admin.info("stats")["total_commands_processed"]
        begun, began = time.perf_counter(), (used(), redis_seconds(admin))
        await publish_all(publications)
        await until(lambda: counted.received >= expected, "all was delivered")
        ended = used(), redis_seconds(admin)
        at_rest = idle * (time.perf_counter() - begun)
        commands = admin.info("stats")["total_commands_processed"] - commands
    for member in (publisher, *members):
        member.abort()
    return Found(
        connect=connect,
        kib=kib,
        idle=idle * 1e6,
        publication=(ended[0] - began[0] - at_rest) / publications * 1e6,
        in_redis=(ended[1] - began[1]) / publications * 1e6,
        frame=counted.bytes / max(1, counted.received),
        commands=commands / publications,
    )


def run(found: Bench, layer: str, load: Load, rounds: int) -> Found:
    """The medians."""
    results = []
    for _ in range(rounds):
        with serve(found, True, layer, load.workers) as server:
            results.append(asyncio.run(measure(found, server, load)))
    names = Found.__dataclass_fields__
    return Found(**{n: statistics.median(getattr(one, n) for one in results) for n in names})


def model(found: Bench, layer: str, rounds: int) -> None:
    few = run(found, layer, Load(clients=FEW), rounds)
    many = run(found, layer, Load(clients=MANY), rounds)
    client = run(found, layer, Load(clients=FEW, by_client=True), rounds)
    delivery = (many.publication - few.publication) / (MANY - FEW)
    process = few.publication - FEW * delivery
    command = client.publication - few.publication
    print(
        f"{layer}: connect and subscribe {many.connect:.0f} us, {many.kib:.1f} KiB a connection;"
        f" at rest {few.idle:.0f} us a second; a delivery {delivery:.2f} us, a publication"
        f" {process:.0f} us in each process that has a subscriber, {command:.0f} us more where a client sends it; Redis"
        f" {few.in_redis:.0f} us and {few.commands:.1f} commands; {many.frame:.0f} bytes a frame",
        flush=True,
    )
    points = [
        Load(clients=1_000, rate=20.0),
        Load(clients=600, channels=60, rate=50.0),
        Load(clients=400, channels=4, rate=50.0, workers=2, by_client=True),
    ]
    for load in points:
        each = load.clients / load.channels
        predicted = load.workers * process + each * delivery + command * load.by_client
        predicted_s = load.workers * few.idle + load.rate * predicted
        got = run(found, layer, load, rounds)
        got_s = got.idle + load.rate * got.publication
        print(
            f"{layer}: {load.clients} connections, {load.channels} channels, {load.workers}"
            f" processes, {load.rate:g} publications/s"
            f"{' of a client' if load.by_client else ''}: predicted {predicted:.0f} us a"
            f" publication, {predicted_s / 1e4:.1f} % of a core; measured"
            f" {got.publication:.0f} us, {got_s / 1e4:.1f} % ({got_s / predicted_s:.2f}); Redis {got.in_redis:.0f} us,"
            f" {got.commands:.1f} commands; {got.frame:.0f} bytes a frame; {got.kib:.1f} KiB a"
            f" connection, connect {got.connect:.0f} us",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layer", choices=("pubsub", "core"), default="pubsub")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with bench() as found:
        environment = site_environment("ours", options.layer, found.database, found.redis_url)
        os.environ.update(environment)
        import django  # with these settings

        django.setup()
        model(found, options.layer, options.rounds)


if __name__ == "__main__":
    main()
