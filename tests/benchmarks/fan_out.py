"""Deliveries a second and server time a delivery, against an application that does nothing else.

    python -m tests.benchmarks.fan_out [--clients 1000] [--rounds 3] [--server daphne]

One channel, 200-byte payloads, the next publication when everybody has the last. The reference is
``bare_application`` on the same server in the same session, in alternating rounds; medians. Read the
ratio of the processor times: deliveries a second are bounded by the load generator, which is Python
too, and by what else the machine does.
"""

import argparse
import asyncio
import gc
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.benchmarks.serving import SERVERS, options_of, serve, site
from tests.support.many_clients import RawClient, join, join_many, processor_seconds, stamped
from tests.support.servers import Server, free_port, run_server
from tests.support.site import SERVERS as COMMANDS
from tests.support.site import Site

REFERENCE = "tests.benchmarks.bare_application:application"
CHANNEL = "public/f"
SIZE = 200
WARM, PUBLICATIONS = 20, 200


@contextmanager
def serve_reference(kind: str) -> Iterator[Server]:
    port = free_port()
    command = [*COMMANDS[kind](REFERENCE, port, python=sys.executable), *options_of(kind)]
    with run_server(command, port) as server:
        yield server


async def measure(
    server: Server, clients: int, *, ours: bool, channel: str = CHANNEL
) -> tuple[float, float]:
    """Deliveries a second, and server microseconds a delivery."""
    received, everybody, expected = 0, asyncio.Event(), clients

    def count(member: RawClient, frame: bytes) -> None:
        nonlocal received
        received += 1
        if received >= expected:
            everybody.set()

    publisher = await join(server.port, welcomed=ours)
    members = await join_many(server.port, clients, welcomed=ours)
    for member in members:
        await member.subscribe(channel)
        member.on_frame = count
    gc.freeze()

    async def publish(number: int) -> None:
        nonlocal expected
        for _ in range(number):
            expected = received + clients
            everybody.clear()
            publisher.say({"type": "publish", "channel": channel, "payload": stamped(SIZE)})
            async with asyncio.timeout(30):
                await everybody.wait()

    await publish(WARM)
    start, processor = time.perf_counter(), processor_seconds(server.process.pid)
    await publish(PUBLICATIONS)
    took, used = time.perf_counter() - start, processor_seconds(server.process.pid) - processor
    for member in (publisher, *members):
        member.abort()
    await asyncio.sleep(0)
    gc.unfreeze()
    deliveries = clients * PUBLICATIONS
    return deliveries / took, used / deliveries * 1e6


def compare(kind: str, found: Site, clients: int, rounds: int) -> None:
    results: dict[str, list[tuple[float, float]]] = {"bare": [], "ours": []}
    for _ in range(rounds):
        for name in results:
            ours = name == "ours"
            with serve(kind, found, {}) if ours else serve_reference(kind) as server:
                done = asyncio.run(measure(server, clients, ours=ours))
            results[name].append(done)
            print(f"  {kind} {name}: {done[0]:,.0f} a second, {done[1]:.2f} us", flush=True)
    (bare_rate, bare_us), (our_rate, our_us) = (
        [statistics.median(column) for column in zip(*results[name], strict=True)]
        for name in ("bare", "ours")
    )
    print(
        f"{kind}: {our_rate:,.0f} deliveries a second against {bare_rate:,.0f};"
        f" {our_us:.2f} us against {bare_us:.2f} us ({our_us / bare_us:.2f} times),"
        f" {clients} clients, median of {rounds}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--server", choices=SERVERS, action="append")
    options = parser.parse_args()
    with site() as found:
        for kind in options.server or SERVERS:
            compare(kind, found, options.clients, options.rounds)


if __name__ == "__main__":
    main()
