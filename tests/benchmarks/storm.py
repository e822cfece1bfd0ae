"""A reconnect storm: in which order are its clients served, and what do those already served notice?

    python -m tests.benchmarks.storm [--clients 5000] [--served 200] [--rate 20] [--rounds 3] [--server uvicorn]

A server has some subscribers, who get a publication 20 times a second from another process. Then clients come, all at
once, each with a login session that has to be looked up, as after a restart. Told are the latencies of the deliveries
before, during and after it (p50 and p99), how long the storm took, and how far the order of the welcomes is from that
of the arrivals: the share of neighbours that are the wrong way round, and the greatest number of places.

The storm's clients are a process of their own, with a lower priority than that of the subscribers, whose latencies
would be its own otherwise. Pin the server to one processor and this to another: with `taskset`, before and by --pin.
"""

import argparse
import asyncio
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from tests.benchmarks.registry import need_descriptors
from tests.benchmarks.serving import serve, site
from tests.support.clients import JSON
from tests.support.many_clients import RawClient, age, handshake, join_many, percentile, stamped
from tests.support.redis_server import private_redis_server
from tests.support.servers import HOST, Server
from tests.support.site import COMMANDS, login

CHANNEL = "public/served"
CALM_S = 5.0
PATIENCE_S = 120.0
COLLECTED = ("before", "during", "after")


async def come(port: int, count: int, cookie: str) -> dict[str, float]:
    """The storm: connect all at once; how long it took, and how far it was out of order."""
    loop = asyncio.get_running_loop()
    order: list[int] = []
    everybody = asyncio.Event()

    def on_frame(number: int) -> Callable[[RawClient, bytes], None]:
        def welcomed(client: RawClient, data: bytes) -> None:
            if b'"welcome"' in data:
                order.append(number)
                if len(order) == count:
                    everybody.set()

        return welcomed

    begun = time.monotonic()
    clients = []
    for number in range(count):
        host = f"127.0.0.{2 + number // 20_000}"
        _, client = await loop.create_connection(
            lambda number=number: RawClient(on_frame(number)), HOST, port, local_addr=(host, 0)
        )
        headers = [f"Cookie: {cookie}", f"X-Client-ID: {number}"]
        client.transport.write(handshake(port, "/ws/", JSON, headers))
        clients.append(client)
    connected = time.monotonic() - begun
    async with asyncio.timeout(PATIENCE_S):
        await everybody.wait()
    took = time.monotonic() - begun
    pairs = list(itertools.pairwise(order))
    return {
        "connected_s": connected,
        "took_s": took,
        "inversions": sum(a > b for a, b in pairs) / len(pairs),
        "displaced": max(abs(place - number) for place, number in enumerate(order)),
    }


async def publish(port: int, rate: float) -> None:
    """Publish at a rate, for ever."""
    (publisher,) = await join_many(port, 1)
    due = time.monotonic()
    while True:
        publisher.say({"type": "publish", "channel": CHANNEL, "payload": stamped(200)})
        publisher.messages.clear()
        due += 1 / rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))


async def measure(server: Server, options: argparse.Namespace) -> dict[str, float]:
    latencies: dict[str, list[float]] = {phase: [] for phase in COLLECTED}
    phase = "before"

    def delivered(client: RawClient, data: bytes) -> None:
        waited = age(data)
        if waited is not None:
            latencies[phase].append(waited * 1e3)

    cookie = await asyncio.to_thread(login, server, "alice")
    served = await join_many(server.port, options.served)
    for client in served:
        await client.subscribe(CHANNEL)
        client.on_frame = delivered
    command = [sys.executable, "-m", "tests.benchmarks.storm", "--port", str(server.port)]
    publisher = subprocess.Popen([*command, "--publish", str(options.rate)])
    try:
        await asyncio.sleep(1.0)
        latencies["before"].clear()
        await asyncio.sleep(CALM_S)
        phase = "during"
        storm = await asyncio.create_subprocess_exec(
            *("nice", *command, "--storm", str(options.clients), "--cookie", cookie),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert storm.stdout is not None
        assert storm.stdin is not None
        told = json.loads(await storm.stdout.readline())
        phase = "after"
        await asyncio.sleep(CALM_S)
        storm.stdin.close()
        await storm.wait()
    finally:
        publisher.kill()
        publisher.wait()
    for client in served:
        client.abort()
    await asyncio.sleep(0)
    for name, found in latencies.items():
        told[f"{name} p50"], told[f"{name} p99"] = percentile(found, 0.5), percentile(found, 0.99)
    return told


def compare(kind: str, options: argparse.Namespace) -> None:
    rounds = []
    for _ in range(options.rounds):
        with (
            private_redis_server() as redis,
            site(SITE_LAYER="pubsub", SITE_REDIS_URL=redis) as found,
            serve(kind, found, {}) as server,
        ):
            if options.pin is not None:
                os.sched_setaffinity(server.process.pid, {options.pin})
            rounds.append(asyncio.run(measure(server, options)))
        print(
            f"  {kind}: { {key: round(value, 3) for key, value in rounds[-1].items()} }", flush=True
        )
    middle = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
    print(
        f"{kind}: {options.clients} clients in {middle['took_s']:.1f} s, median of {options.rounds}"
    )
    print(
        f"  order: {middle['inversions']:.2%} inversions, {middle['displaced']:.0f} places at most"
    )
    for name in COLLECTED:
        p50, p99 = middle[f"{name} p50"], middle[f"{name} p99"]
        print(f"  deliveries {name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms", flush=True)


async def storm_and_stay(port: int, count: int, cookie: str) -> None:
    """The storm's process: tell how it went, and keep the connections until the other closes its end."""
    print(json.dumps(await come(port, count, cookie)), flush=True)
    await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=5_000)
    parser.add_argument("--served", type=int, default=200)
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--server", choices=COMMANDS, action="append")
    parser.add_argument("--pin", type=int, help="the server's processor")
    # Of its own processes:
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--storm", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--publish", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--cookie", help=argparse.SUPPRESS)
    options = parser.parse_args()
    need_descriptors(options.clients + 1_000)
    if options.storm is not None:
        asyncio.run(storm_and_stay(options.port, options.storm, options.cookie))
    elif options.publish is not None:
        asyncio.run(publish(options.port, options.publish))
    else:
        for kind in options.server or COMMANDS:
            compare(kind, options)


if __name__ == "__main__":
    main()
