"""One run of the checker: a Redis, two servers, publishers, subscribers, and what disturbs them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.checker.record import Cursor, Kept, Truth
from tests.checker.subscriber import Subscriber
from tests.checker.verdict import Verdict, judge
from tests.support.forwarder import Forwarder
from tests.support.many_clients import until
from tests.support.redis_server import private_redis_server
from tests.support.servers import HOST, ROOT, Server, together
from tests.support.site import Site, new_site, state

COUNTED = ("received", "healed_gaps", "healed", "recovered", "unrecovered", "resumed", "resets")
"""Counters of the servers that are shown."""

START_TIMEOUT_S = 60.0
END_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is run.

    Args:
        seconds: for how long is published.
        rate: publications a second, over all publishers.
        channels: how many there are.
        publishers: processes that publish.
        servers: of ``tests.support.site.COMMANDS``, each a process.
        subscribers: clients of each server; half of them resume.
        follows: how many channels each client subscribes to.
        size: how many publications a channel keeps.
        cut_every: seconds between two connections that are cut.
        kill_every: seconds between two ``CLIENT KILL`` of all the clients of Redis.
        away: the share of the returns that come after the history has moved on.
        lose, miss, repeat, delay: how often the layer does so to a publication; see ``UnrulyLayer``.
        layer: ``unruly``, or ``pubsub`` and ``core``, which have no faults of ours.
        seed: of all that is random here.
    """

    seconds: float = 300.0
    rate: float = 500.0
    channels: int = 50
    publishers: int = 3
    servers: tuple[str, ...] = ("uvicorn", "daphne")
    subscribers: int = 10
    follows: int = 10
    size: int = 100
    cut_every: float = 0.3
    kill_every: float = 5.0
    away: float = 0.02
    lose: float = 0.02
    miss: float = 0.02
    repeat: float = 0.05
    delay: float = 0.1
    layer: str = "unruly"
    seed: int = 1

    def names(self) -> list[str]:
        """The channels."""
        return [f"checked/{number}" for number in range(self.channels)]


@dataclass(slots=True)
class Result:
    """What came of a run."""

    verdict: Verdict
    truth: Truth
    took: float
    clients: Counter[str] = field(default_factory=Counter)
    servers: list[dict[str, Any]] = field(default_factory=list)
    disturbances: Counter[str] = field(default_factory=Counter)

    def of_servers(self, name: str) -> int:
        """A counter of the servers' nodes, summed."""
        return sum(each["metrics"][name] for each in self.servers)

    def table(self) -> str:
        """The figures, a line each."""
        rows: list[tuple[str, Any]] = [
            ("seconds of publishing", f"{self.took:.1f}"),
            ("publications kept", self.truth.count),
            ("publications a second", f"{self.truth.count / self.took:.0f}"),
            *((f"disturbances: {name}", n) for name, n in sorted(self.disturbances.items())),
            *((f"clients: {name}", n) for name, n in sorted(self.clients.items())),
            *((f"servers: {name}", self.of_servers(name)) for name in COUNTED),
            *((f"records: {name}", n) for name, n in sorted(self.verdict.counts.items())),
        ]
        kinds = ("loss", "duplicate", "order", "unproven")
        rows += [(f"faults: {kind}", self.verdict.count(kind)) for kind in kinds]
        rows.append(("faults of all kinds", len(self.verdict.faults)))
        width = max(len(name) for name, _ in rows)
        lines = [f"{name:<{width}}  {value:>10}" for name, value in rows]
        return "\n".join([*lines, *map(str, self.verdict.faults[:20])])


def run(options: Options) -> Result:
    """Run the checker; see ``Options``."""
    with private_redis_server() as redis_url, stage(options, SITE_REDIS_URL=redis_url) as found:
        return asyncio.run(found.run(found.cut(), found.kill_clients(redis_url)))


@contextlib.contextmanager
def stage(
    options: Options, *, realtime: dict[str, Any] | None = None, **variables: str
) -> Iterator[Stage]:
    """The servers of a run.

    Args:
        options: what is run.
        realtime: settings beside the checker's own.
        variables: of the site, which say where its Redis is.
    """
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="realtime-checker-"))
        site = checked_site(Path(directory), options, **variables).having(realtime=realtime or {})
        servers = stack.enter_context(together(*(site.serve(kind) for kind in options.servers)))
        yield Stage(options, site, servers, Path(directory))


def checked_site(directory: Path, options: Options, **variables: str) -> Site:
    """The site with the layer that has faults."""
    faults = {name: getattr(options, name) for name in ("lose", "miss", "repeat", "delay")}
    return new_site(
        directory,
        SITE_LAYER=options.layer,
        SITE_LAYER_FAULTS=json.dumps(faults),
        SITE_HISTORY_SIZE=str(options.size),
        SITE_REDIS_PREFIX="checker",
        SITE_LOG_LEVEL="ERROR",
        **variables,
    ).having(realtime={"SYNC_INTERVAL": 2.0, "CONNECTION_FAILURES": None})


class Stage:
    """Servers, with forwarders before them, subscribers and publishers.

    Args:
        options: what is run.
        site: that is served.
        servers: of the site.
        directory: for the publishers' files.
    """

    def __init__(
        self, options: Options, site: Site, servers: tuple[Server, ...], directory: Path
    ) -> None:
        self.site = site
        self.servers = servers
        self.disturbances: Counter[str] = Counter()
        self.lost_at: float | None = None
        """When a store without the newest publications took over; see ``judge``."""
        self.publishers: Publishers
        self.subscribers: list[Subscriber] = []
        self._options = options
        self._directory = directory
        self._random = random.Random(options.seed)
        self._forwarders: list[Forwarder] = []
        self._ending = False
        self._began = 0.0

    async def run(self, *disturbances: Coroutine[Any, Any, None]) -> Result:
        """Publish and subscribe while the disturbances run, then compare."""
        self._forwarders = [Forwarder(HOST, server.port) for server in self.servers]
        async with contextlib.AsyncExitStack() as stack:
            for forwarder in self._forwarders:
                await stack.enter_async_context(forwarder)
            return await self._run(disturbances)

    async def _run(self, disturbances: Iterable[Coroutine[Any, Any, None]]) -> Result:
        options = self._options
        self.subscribers = self._make_subscribers([each.port for each in self._forwarders])
        async with running(*(each.run() for each in self.subscribers)):
            async with asyncio.timeout(START_TIMEOUT_S):
                for subscriber in self.subscribers:
                    await subscriber.connected.wait()
            self._began = time.monotonic()
            with publishing(self.site, options, self._directory) as self.publishers:
                async with running(*disturbances):
                    for publisher in self.publishers.processes:
                        status = await asyncio.to_thread(publisher.wait)
                        assert status == 0, f"a publisher ended with {status}"
            took = min(time.monotonic() - self._began, options.seconds)
            truth = self.publishers.truth(options.size)
            self._ending = True
            await self._settle(truth)
        records = [record for each in self.subscribers for record in each.records.values()]
        verdict = judge(truth, records, lost_at=self.lost_at)
        states = [await asyncio.to_thread(state, server) for server in self.servers]
        clients: Counter[str] = Counter()
        for subscriber in self.subscribers:
            clients.update(subscriber.counts)
        return Result(verdict, truth, took, clients, states, self.disturbances)

    def _make_subscribers(self, ports: list[int]) -> list[Subscriber]:
        options, names = self._options, self._options.names()
        made = []
        for at, port in enumerate(ports):
            for number in range(options.subscribers):
                # In turn, so that each channel has subscribers on every server.
                first = number * options.follows
                follows = [names[(first + n) % len(names)] for n in range(options.follows)]
                made.append(
                    Subscriber(
                        f"{options.servers[at]}-{at}-{number}",
                        port,
                        sorted(set(follows)),
                        resumes=number % 2 == 1,
                        pause=self._pause,
                    )
                )
        return made

    def _pause(self, chance: float) -> float:
        if chance < self._options.away and self._began and not self._ending:
            self.disturbances["long absences"] += 1
            return self._moved_on_s()
        return 0.5 * chance

    def _moved_on_s(self) -> float:
        """After how many seconds a channel's history has moved on, at the rate that there is."""
        options = self._options
        published = self.publishers.count() / max(1.0, time.monotonic() - self._began)
        return 1.5 * options.size * options.channels / (published or options.rate)

    async def cut(self) -> None:
        """Cut connections of clients at random."""
        while True:
            await asyncio.sleep(self._random.uniform(0.5, 1.5) * self._options.cut_every)
            if self._random.choice(self._forwarders).cut_one(self._random):
                self.disturbances["connections cut"] += 1

    async def kill_clients(self, redis_url: str) -> None:
        """Have Redis end the connections of the servers and publishers, again and again."""
        from redis.asyncio import Redis  # only where there is one

        async with Redis.from_url(redis_url) as client:
            kinds = ("normal", "pubsub")
            number = 0
            while True:
                await asyncio.sleep(self._options.kill_every)
                kind = kinds[number % 2]
                killed = await client.client_kill_filter(_type=kind, skipme=True)
                self.disturbances[f"clients of Redis killed ({kind})"] += int(killed)
                number += 1

    async def _settle(self, truth: Truth) -> None:
        """Wait until everybody has seen the ends; whoever has not by then has a fault."""
        ends = {channel: truth.end(channel) for channel in truth.channels}
        known = {channel: end for channel, end in ends.items() if end is not None}

        def all_there() -> bool:
            return not any(subscriber.behind(known) for subscriber in self.subscribers)

        for subscriber in self.subscribers:
            subscriber.come_back()  # where little is published, long absences would last longer
        with contextlib.suppress(TimeoutError):
            await until(all_there, "all have seen the ends", END_TIMEOUT_S)
        await asyncio.sleep(0.5)  # a moment for what must not come


# -- processes that publish ------------------------------------------------------------------------


@dataclass(slots=True)
class Publishers:
    """Processes of ``tests.checker.publisher``, and the files that they write."""

    processes: list[subprocess.Popen[bytes]]
    paths: list[Path]

    def count(self) -> int:
        """How many publications they were told the position of, so far."""
        return sum(path.read_bytes().count(b"\n") for path in self.paths)

    def truth(self, size: int, ttl: float = 3_600.0) -> Truth:
        """What they have written so far."""
        truth = Truth(size=size, ttl=ttl)
        for path in self.paths:
            for line in path.read_text().splitlines():
                channel, epoch, offset, payload, begun, ended = json.loads(line)
                truth.add(channel, Cursor(epoch, offset), Kept(payload, begun, ended))
        return truth


@contextlib.contextmanager
def publishing(site: Site, options: Options, directory: Path) -> Iterator[Publishers]:
    """Publish from several processes, until they end or the block does."""
    processes, paths = [], []
    for number in range(options.publishers):
        path = directory / f"publisher-{number}.jsonl"
        arguments = {
            "name": f"p{number}",
            "rate": options.rate / options.publishers,
            "seconds": options.seconds,
            "channels": options.names(),
            "path": str(path),
        }
        path.touch()
        paths.append(path)
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.checker.publisher", json.dumps(arguments)],
                cwd=ROOT,
                env={**os.environ, **site.environment, "SITE_LOG_LEVEL": "CRITICAL"},
                stdin=subprocess.PIPE,
            )
        )
    try:
        yield Publishers(processes, paths)
    finally:
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()  # ends it
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.asynccontextmanager
async def running(*coroutines: Any) -> AsyncIterator[None]:
    """Run these as long as the block does; what one raises, the block's end raises."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception):
            raise error
