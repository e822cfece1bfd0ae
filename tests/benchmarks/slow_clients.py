"""What clients that do not read cost the others and the process.

    python -m tests.benchmarks.slow_clients [--rounds 2] [--seconds 60] [--server daphne]

200 connections get messages of 16 KiB, 20 a second; in one half of the runs 10 of them do not read.
Runs with and without slow ones alternate, medians are over the rounds. Expect the p99 latency of the
others within 1.5 times, and the process to grow by less than the outbox's bound and 64 KiB for each
slow one. ``CPU`` is the server's processor time a delivery.

The publisher is one of the clients, and publishes over the WebSocket. Everything is on one machine:
the load generator's own delays are part of the latencies, in both kinds of runs.
"""

import argparse
import asyncio
import gc
import statistics
from typing import NamedTuple

from tests.benchmarks.serving import SERVERS, serve, site
from tests.support.many_clients import (
    RawClient,
    age,
    join,
    join_many,
    percentile,
    processor_seconds,
    resident,
    stamped,
    until,
)
from tests.support.servers import Server
from tests.support.site import Site, insides

CLIENTS, SLOW = 200, 10
SIZE, A_SECOND = 16_384, 20
CHANNELS = {"close": "public/b", "drop_oldest": "lossy/b", "latest": "newest/b"}
OUTBOX_BYTES = 1_048_576  # the default
EARLY_S = 5.0
"""Before this the slow ones have filled the kernel's buffers and their queue."""


class Run(NamedTuple):
    p50: float
    p99: float
    peak: int
    """Bytes that the process grew by at most while messages went out."""
    cpu: float
    ends: str


async def run(server: Server, slow: int, seconds: float, policy: str) -> Run:
    channel, ages = CHANNELS[policy], []

    def take(member: RawClient, frame: bytes) -> None:
        seconds = age(frame)
        if seconds is not None:
            ages.append(seconds)

    publisher = await join(server.port)
    quick = await join_many(server.port, CLIENTS - slow)
    stuck = await join_many(server.port, slow, receive_buffer=4_096)
    for member in (*quick, *stuck):
        await member.subscribe(channel)
    for member in quick:
        member.on_frame = take
    publisher.say({"type": "publish", "channel": channel, "payload": stamped(SIZE)})
    await until(lambda: len(ages) >= len(quick), "one has gone to all")
    for member in stuck:
        member.stop_reading()
    ages.clear()
    gc.freeze()
    memory, processor = resident(server.process.pid), processor_seconds(server.process.pid)
    peak, count, loop = 0, int(seconds * A_SECOND), asyncio.get_running_loop()
    start = loop.time()
    for number in range(count):
        publisher.say({"type": "publish", "channel": channel, "payload": stamped(SIZE)})
        if number % 10 == 0:
            peak = max(peak, resident(server.process.pid) - memory)
        await asyncio.sleep(max(0.0, start + (number + 1) / A_SECOND - loop.time()))
    await until(lambda: len(ages) == len(quick) * count, "everything has come", 60)
    cpu = (processor_seconds(server.process.pid) - processor) / len(ages)
    for member in stuck:
        member.read_on()
    await asyncio.sleep(2.0)
    # A connection that was closed long ago was dropped after its grace; 1006 is what it then sees.
    codes = [member.closed.result() if member.closed.done() else "open" for member in stuck]
    ends = ", ".join(f"{codes.count(code)} {code}" for code in sorted(set(codes), key=str))
    metrics = (await asyncio.to_thread(insides, server))["metrics"]
    ends += f"; slow {metrics['slow']}, dropped {metrics['dropped']} so far"
    for member in (publisher, *quick, *stuck):
        member.abort()
    await until(lambda: insides(server)["connections"] == 0, "all are gone", timeout=60)
    gc.unfreeze()
    return Run(percentile(ages, 0.5), percentile(ages, 0.99), peak, cpu, ends)


async def compare(kind: str, found: Site, rounds: int, seconds: float, policy: str) -> None:
    runs: dict[int, list[Run]] = {0: [], SLOW: []}
    # No limits of a connection: the publisher is one.
    with serve(kind, found, {"CONNECTION_MESSAGES": None, "CONNECTION_BYTES": None}) as server:
        await run(server, SLOW, EARLY_S, policy)  # what is made once is made
        for number in range(rounds):
            order = (0, SLOW) if number % 2 == 0 else (SLOW, 0)
            for slow in order:
                done = await run(server, slow, seconds, policy)
                runs[slow].append(done)
                print(
                    f"  {kind} {policy}, {slow:2} slow: p50 {done.p50 * 1e3:.1f} ms,"
                    f" p99 {done.p99 * 1e3:.1f} ms, peak growth {done.peak / 2**20:+.1f} MiB,"
                    f" CPU {done.cpu * 1e6:.1f} us; {done.ends}",
                    flush=True,
                )
    without, with_slow = (statistics.median(each.p99 for each in runs[slow]) for slow in (0, SLOW))
    growth = statistics.median(each.peak for each in runs[SLOW]) - statistics.median(
        each.peak for each in runs[0]
    )
    bound = SLOW * (OUTBOX_BYTES + 65_536)
    print(
        f"{kind} {policy}: p99 of the others {with_slow * 1e3:.1f} ms against"
        f" {without * 1e3:.1f} ms ({with_slow / without:.2f} times; median of {rounds});"
        f" growth for {SLOW} slow ones {growth / 2**20:+.1f} MiB (bound {bound / 2**20:.1f})",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--server", choices=SERVERS, action="append")
    parser.add_argument("--policy", choices=CHANNELS, action="append")
    options = parser.parse_args()
    with site() as found:
        for kind in options.server or SERVERS:
            for policy in options.policy or ["close"]:
                asyncio.run(compare(kind, found, options.rounds, options.seconds, policy))


if __name__ == "__main__":
    main()
