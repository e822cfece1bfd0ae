"""What TUNE_GARBAGE_COLLECTOR is worth: clients that arrive, then publications to all of them.

    python -m tests.benchmarks.collector [--count 1000 …] [--rounds 3] [--server daphne]

With the setting on and off in alternating rounds; medians. Clients arrive at ``PACE`` a second, whatever
the answers; then each publication to all follows the one before. It needs what
``tests.benchmarks.registry`` needs.
"""

import argparse
import asyncio
import gc
import statistics

from tests.benchmarks.registry import SHARES, WARM, arrive, need_descriptors
from tests.benchmarks.serving import SERVERS, serve, site
from tests.support.many_clients import RawClient, join, processor_seconds, stamped
from tests.support.servers import Server
from tests.support.site import Site

COUNTS = (1_000, 5_000, 10_000)
PACE = 500.0
DELIVERIES, SIZE = 200_000, 200
CHANNEL = "public/f"


async def measure(server: Server, count: int) -> dict[str, float]:
    """Milliseconds to connect by share, and the server's microseconds a delivery."""
    for _ in range(WARM):
        (await join(server.port)).reset()
    members, done = await arrive(server, count, count / PACE)
    processor_us = await deliver(server, members, DELIVERIES // count)
    for member in members:
        member.reset()
    await asyncio.sleep(0)
    return {**done.latencies, "us": processor_us}


async def deliver(server: Server, members: list[RawClient], publications: int) -> float:
    """Publish to all of them; returns the server's microseconds a delivery."""
    for number in range(0, len(members), WARM):
        await asyncio.gather(*(each.subscribe(CHANNEL) for each in members[number : number + WARM]))
    received, everybody = 0, asyncio.Event()

    def count(member: RawClient, frame: bytes) -> None:
        nonlocal received
        received += 1
        if received % len(members) == 0:
            everybody.set()

    for member in members:
        member.on_frame = count
    publisher = await join(server.port)
    gc.freeze()
    used = processor_seconds(server.process.pid)
    for _ in range(publications):
        everybody.clear()
        publisher.say({"type": "publish", "channel": CHANNEL, "payload": stamped(SIZE)})
        async with asyncio.timeout(30):
            await everybody.wait()
    used = processor_seconds(server.process.pid) - used
    gc.unfreeze()
    publisher.reset()
    return used / len(members) / publications * 1e6


def compare(kind: str, found: Site, count: int, rounds: int) -> None:
    results: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    for number in range(rounds):
        for on in (False, True) if number % 2 == 0 else (True, False):
            with serve(kind, found, {"TUNE_GARBAGE_COLLECTOR": on}) as server:
                results[on].append(asyncio.run(measure(server, count)))
    for on, rows in results.items():
        median = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
        worst = max(row["p99"] for row in rows)
        figures = ", ".join(f"{name} {median[name]:.2f} ms" for name in SHARES)
        print(
            f"{kind} {count} {'on ' if on else 'off'}: connect {figures} (at most {worst:.0f});"
            f" fan-out {median['us']:.2f} us ({min(r['us'] for r in rows):.2f} to"
            f" {max(r['us'] for r in rows):.2f}); medians of {rounds}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, action="append")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--server", choices=SERVERS, action="append")
    options = parser.parse_args()
    counts = options.count or COUNTS
    need_descriptors(max(counts))
    with site() as found:
        for kind in options.server or SERVERS:
            for count in counts:
                compare(kind, found, count, options.rounds)


if __name__ == "__main__":
    main()
