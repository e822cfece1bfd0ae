"""What 10,000 connections leave behind: a quarter each closed, reset, silent, and killed in the handshake.

    python -m tests.benchmarks.churn [--count 10000] [--rounds 3] [--server daphne]

A round counts when the server is as before it; memory is compared after the first round, which fills
pools and caches, and after the last. Expect 0 left, and memory within 5 %.
"""

import argparse
import asyncio

from tests.benchmarks.serving import SERVERS, serve, site
from tests.integration.test_churn import CONFIG, come_and_go, held
from tests.support.many_clients import resident, until
from tests.support.servers import Server
from tests.support.site import login


async def measure(server: Server, count: int, rounds: int) -> None:
    cookie = await asyncio.to_thread(login, server, "alice")
    await come_and_go(server, 20, cookie)
    await until(lambda: held(server)["groups"] == 0, "the first ones are gone", 60)
    before = await asyncio.to_thread(held, server)
    memory = []
    for number in range(rounds):
        await come_and_go(server, count // 4, cookie)

        def left() -> dict[str, int]:
            now = held(server)
            return {key: now[key] - before[key] for key in now if now[key] > before[key]}

        await until(lambda left=left: not left(), "nothing is left", 120)
        memory.append(resident(server.process.pid))
        print(f"  round {number + 1}: left {left() or 0}, {memory[-1] / 2**20:.1f} MiB", flush=True)
    print(f"  memory, first to last round: {(memory[-1] / memory[0] - 1) * 100:+.1f} %", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--server", choices=SERVERS, action="append")
    options = parser.parse_args()
    with site() as found:
        for kind in options.server or SERVERS:
            with serve(kind, found, CONFIG) as server:
                print(f"{kind}: {options.count} connections a round", flush=True)
                asyncio.run(measure(server, options.count, options.rounds))


if __name__ == "__main__":
    main()
