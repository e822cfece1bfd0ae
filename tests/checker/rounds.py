"""From the page to the socket without a gap: rendered with a position, then subscribed from there.

    python -m tests.checker.rounds [--rounds 1000] [--at-once 25]

In each round a channel is published to all the time: before the page is rendered by one server, for 300 ms
until the client subscribes on the other with the page's position, while it subscribes, and after. It must
receive every publication after the position once and in order. The layer loses, repeats and reorders.
Ends with 1 where a round fails.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.checker.run import Options, stage
from tests.support.clients import TIMEOUT_S
from tests.support.many_clients import RawClient, join, until
from tests.support.redis_server import private_redis_server
from tests.support.servers import Server
from tests.support.site import get

AWAY_S = 0.3
INTERVAL_S = 0.02
BEFORE = 3
"""Publications before the page is rendered."""
AFTER = 3
"""Publications after the client has subscribed."""


@dataclass(slots=True)
class Outcome:
    """What came of all rounds."""

    rounds: int = 0
    published: int = 0
    between: int = 0
    """Publications after the page's position that were sent before the reply to ``subscribe``."""
    faults: list[str] = field(default_factory=list)

    def table(self) -> str:
        rows = {
            "rounds": self.rounds,
            "publications": self.published,
            "between the page and the subscription": self.between,
            "rounds with a loss, a repetition or a wrong order": len(self.faults),
        }
        width = max(map(len, rows))
        lines = [f"{name:<{width}}  {value:>8}" for name, value in rows.items()]
        return "\n".join([*lines, *self.faults[:10]])


class _Publisher:
    """Publishes over a connection of its own until it is told to end; one at a time."""

    def __init__(self, client: RawClient, channel: str) -> None:
        self._client = client
        self._channel = channel
        self.offsets: list[int] = []
        self._ended = False

    async def run(self) -> None:
        while not self._ended:
            await self.publish()
            await asyncio.sleep(INTERVAL_S)

    async def publish(self) -> None:
        number = len(self.offsets) + 1
        message = {"type": "publish", "id": number, "channel": self._channel, "payload": number}
        self._client.messages.clear()
        self._client.say(message)
        reply = await self._client.expect("published")
        self.offsets.append(reply["payload"]["offset"])

    def end(self) -> None:
        self._ended = True


async def play(number: int, servers: tuple[Server, ...], outcome: Outcome) -> None:
    """One round."""
    rendering, subscribing = servers if number % 2 else servers[::-1]
    channel = f"checked/page-{number}"
    publisher = _Publisher(await join(rendering.port), channel)
    for _ in range(BEFORE):
        await publisher.publish()
    publishing = asyncio.ensure_future(publisher.run())
    page = json.loads(await asyncio.to_thread(get, rendering, "/position/", channel=channel))
    await asyncio.sleep(AWAY_S)
    got: list[dict[str, Any]] = []
    client = await join(subscribing.port, on_frame=lambda _, frame: got.append(json.loads(frame)))
    client.say({"type": "subscribe", "id": "s", "channel": channel, "since": page})
    async with asyncio.timeout(TIMEOUT_S):
        await until(lambda: any(message.get("id") == "s" for message in got), "it is answered")
        outcome.between += len(publisher.offsets) - page["offset"]
        publisher.end()
        await publishing
        for _ in range(AFTER):
            await publisher.publish()
    expected = [n for n in publisher.offsets if n > page["offset"]]

    def offsets() -> list[int]:
        return [message["offset"] for message in got if message["type"] == "message"]

    with contextlib.suppress(TimeoutError):
        await until(lambda: len(offsets()) >= len(expected), "all have come")
    reply = next(message for message in got if message.get("id") == "s")
    outcome.rounds += 1
    outcome.published += len(publisher.offsets)
    if reply["type"] != "subscribed" or reply["payload"].get("recovered") is not True:
        outcome.faults.append(f"round {number}: {reply}")
    elif offsets() != expected:
        extra = Counter(offsets()) - Counter(expected)
        missing = Counter(expected) - Counter(offsets())
        outcome.faults.append(f"round {number}: missing {missing}, too many {extra}: {offsets()}")
    for each in (client, publisher._client):
        each.abort()


async def play_all(rounds: int, at_once: int, servers: tuple[Server, ...]) -> Outcome:
    outcome = Outcome()
    room = asyncio.Semaphore(at_once)

    async def one(number: int) -> None:
        async with room:
            await play(number, servers, outcome)

    async with asyncio.TaskGroup() as group:
        for number in range(rounds):
            group.create_task(one(number))
    return outcome


def run(rounds: int, at_once: int) -> Outcome:
    """Play so many rounds, some at a time, on servers and a Redis of their own."""
    options = Options(size=1_000)
    with private_redis_server() as url, stage(options, SITE_REDIS_URL=url) as found:
        return asyncio.run(play_all(rounds, at_once, found.servers))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.checker.rounds", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1_000)
    parser.add_argument("--at-once", type=int, default=25)
    arguments = parser.parse_args()
    outcome = run(arguments.rounds, arguments.at_once)
    print(outcome.table())
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
