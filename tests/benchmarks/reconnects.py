"""When 1,000 clients try again after their server was killed: spread as the jitter says, or together?

    python -m tests.benchmarks.reconnects [--clients 1000] [--server uvicorn] [--client javascript] [--down 4]

A real server loses its process with SIGKILL, stays away for some seconds and is started again. The clients are the
browser's client, from its source and on Node's WebSocket, and the Python client; each kind in one process. For each
attempt it knows when the client heard of the failure before, the delay that it drew, and when the attempt began.

Each delay should be uniform in [0, min(cap, base * 2^n)] (full jitter): for the first, second … attempt of all clients
the Kolmogorov-Smirnov distance between the delays and that is told, with the distance that 1 of 100 uniform samples of
this size exceeds. The greatest number of attempts that are due in 10 ms is told with what it is where the delays of the
same failures are drawn anew by Python's generator.

A thousand clients in one process begin late what is due in the same moment, which clients on as many machines do not:
how late is told, and the greatest number that began in 10 ms.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from channels_realtime.client import Client, Limits, State, connect
from tests.benchmarks.serving import SERVERS as KINDS
from tests.benchmarks.serving import options_of, site
from tests.support.servers import HOST, free_port, run_server
from tests.support.site import APPLICATION, SERVERS, Site

BASE_S, CAP_S = 1.0, 30.0
BUCKET_S = 0.01
PATIENCE_S = 180.0
ROWS = 40
BAR = 60
ONE_IN_A_HUNDRED = 1.63
"""Times 1/sqrt(n): the Kolmogorov-Smirnov distance that 1 % of large samples exceed."""


class Attempt(NamedTuple):
    """Of one client; times in seconds since the first loss."""

    client: int
    number: int
    lost_at: float
    delay: float
    began_at: float

    @property
    def longest(self) -> float:
        return min(CAP_S, BASE_S * 2.0 ** (self.number - 1))

    @property
    def due_at(self) -> float:
        return self.lost_at + self.delay


class Victim:
    """The server that is killed and comes back on its port."""

    def __init__(self, kind: str, found: Site) -> None:
        self.port = free_port()
        self._command = [*SERVERS[kind](APPLICATION, self.port), *options_of(kind)]
        self._found = found
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        return f"ws://{HOST}:{self.port}/ws/"

    def start(self) -> None:
        environment = self._found.environment
        server = run_server(self._command, self.port, environment=environment)
        self._server = self._stack.enter_context(server)

    def kill(self) -> None:
        os.killpg(self._server.process.pid, signal.SIGKILL)
        self._server.process.wait()

    def restart_after(self, seconds: float) -> None:
        self.kill()
        time.sleep(seconds)
        self.start()

    def stop(self) -> None:
        self._stack.close()


def javascript(victim: Victim, clients: int, down: float) -> list[Attempt]:
    """The attempts of browser clients."""
    node = shutil.which("node")
    assert node is not None, "no node; install the dev extra"
    script = Path(__file__).with_suffix(".mjs")
    process = subprocess.Popen(
        [node, str(script), victim.url, str(clients)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "connected\n"
        victim.restart_after(down)
        assert process.stdout.readline() == "back\n"
        rows = json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()
    return [Attempt(*row) for row in rows]


async def python(victim: Victim, clients: int, down: float) -> list[Attempt]:
    """The attempts of Python clients."""
    attempts: list[Attempt] = []
    waiting: dict[int, tuple[int, float, float]] = {}
    lost: set[int] = set()
    made: list[Client] = []
    changed = asyncio.Event()

    def told(number: int, state: State) -> None:
        now = asyncio.get_running_loop().time()
        changed.set()
        if state is State.WAITING:
            lost.add(number)
            delay = made[number].next_delay_s
            assert delay is not None
            waiting[number] = (made[number].attempt - 1, now, delay)
        elif state is State.CONNECTING and number in waiting:
            attempts.append(Attempt(number, *waiting.pop(number), now))

    async def live(client: Client, done: asyncio.Event) -> None:
        async with client:
            await done.wait()

    def are_back() -> bool:
        return all(client.state is State.CONNECTED for client in made)

    async def until(condition: Callable[[], bool]) -> None:
        while not condition():
            changed.clear()
            await changed.wait()

    done = asyncio.Event()
    limits = Limits(backoff_base_s=BASE_S, backoff_cap_s=CAP_S)
    made += [
        connect(victim.url, limits=limits, open_timeout_s=None, on_state=partial(told, number))
        for number in range(clients)
    ]
    tasks = [asyncio.create_task(live(client, done)) for client in made]
    async with asyncio.timeout(PATIENCE_S):
        await until(are_back)
        lost.clear()
        waiting.clear()
        attempts.clear()
        await asyncio.to_thread(victim.restart_after, down)
        await until(lambda: len(lost) == clients and are_back())
    done.set()
    await asyncio.gather(*tasks)
    start = min(one.lost_at for one in attempts)
    return [
        one._replace(lost_at=one.lost_at - start, began_at=one.began_at - start) for one in attempts
    ]


def distance_from_uniform(shares: list[float]) -> float:
    """The Kolmogorov-Smirnov distance between a sample and the uniform distribution on [0, 1]."""
    ordered, n = sorted(shares), len(shares)
    return max(max((rank + 1) / n - value, value - rank / n) for rank, value in enumerate(ordered))


def greatest_bucket(times: list[float]) -> int:
    return max(Counter(int(at / BUCKET_S) for at in times).values())


def drawn_anew(attempts: list[Attempt]) -> int:
    """The greatest bucket where delays are drawn independently; the median of 21 draws."""
    draws = (
        greatest_bucket([one.lost_at + random.random() * one.longest for one in attempts])
        for _ in range(21)
    )
    return round(statistics.median(draws))


def report(title: str, attempts: list[Attempt], clients: int) -> None:
    """Print what was measured."""
    times = [one.due_at for one in attempts]
    late = sorted(one.began_at - one.due_at for one in attempts)
    span = max(times)
    print(f"\n{title}: {len(attempts)} attempts of {clients} clients within {span:.1f} s")
    for number in sorted({one.number for one in attempts}):
        some = [one for one in attempts if one.number == number]
        longest = some[0].longest
        shares = [one.delay / longest for one in some]
        bound = ONE_IN_A_HUNDRED / len(some) ** 0.5
        print(
            f"  attempt {number}: {len(some):4} delays in [0, {longest:g} s], mean"
            f" {statistics.fmean(shares) * longest:.2f} s, distance from uniform"
            f" {distance_from_uniform(shares):.3f} (1 of 100 exceeds {bound:.3f})"
        )
    print(
        f"  greatest number due in 10 ms: {greatest_bucket(times)}"
        f" (delays drawn anew: {drawn_anew(attempts)})\n"
        f"  begun late by this one process: median {statistics.median(late) * 1_000:.0f} ms, 95 % within"
        f" {late[len(late) * 95 // 100] * 1_000:.0f} ms; greatest number begun in 10 ms:"
        f" {greatest_bucket([one.began_at for one in attempts])}"
    )
    shown = sorted(times)[len(times) * 95 // 100]
    width = next(w for w in (0.1, 0.25, 0.5, 1.0, 2.0, 5.0) if shown / w <= ROWS or w == 5.0)
    bins = Counter(int(at / width) for at in times)
    scale = BAR / max(bins.values())
    rows = int(shown / width) + 1
    for index in range(rows):
        print(f"  {index * width:5.2f} s {bins[index]:5} {'#' * round(bins[index] * scale)}")
    print(f"  later   {sum(count for index, count in bins.items() if index >= rows):5}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--server", choices=KINDS, action="append")
    parser.add_argument("--client", choices=["javascript", "python"], action="append")
    parser.add_argument("--down", type=float, default=4.0, help="seconds without a server")
    options = parser.parse_args()
    for kind in options.server or ["uvicorn"]:
        for client in options.client or ["javascript", "python"]:
            with site() as found:
                victim = Victim(kind, found)
                try:
                    victim.start()
                    if client == "javascript":
                        attempts = javascript(victim, options.clients, options.down)
                    else:
                        attempts = asyncio.run(python(victim, options.clients, options.down))
                finally:
                    victim.stop()
            report(f"{client} on {kind}", attempts, options.clients)


if __name__ == "__main__":
    main()
