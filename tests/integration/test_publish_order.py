"""What chatty clients publish: each one's in its order everywhere, and no other client waits for all of it.

On each layer with its adapter, and with the servers of the deployment guide.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import defaultdict
from collections.abc import Iterator

import pytest
import redis

from tests.support.many_clients import Message, RawClient, join
from tests.support.servers import Server, together
from tests.support.site import Site

SETTINGS = {"CONNECTION_MESSAGES": None}
PUBLISHERS, NUMBERS, CHANNELS, LARGEST_BATCH = 3, 60, 3, 7
FLOODS, FLOOD, QUIET = 3, 500, 10
TIMEOUT_S = 60.0

Servers = tuple[Server, ...]
KINDS = {"memory": ("public", "kept"), "pubsub": ("public", "kept"), "core": ("kept",)}
"""Of channels; the core layer drops what is over its capacity, and only a history brings it back."""


@pytest.fixture(
    scope="module",
    params=[
        ("memory", "uvicorn"),
        ("pubsub", "daphne-frames", "uvicorn-frames"),
        ("core", "daphne", "uvicorn"),
    ],
    ids="-".join,
)
def running(
    request: pytest.FixtureRequest, site: Site, redis_url: str
) -> Iterator[tuple[str, Servers]]:
    """A layer, and the servers that share it."""
    layer, *kinds = request.param
    prefix = f"test-{uuid.uuid4().hex}"
    found = site.having(realtime=SETTINGS, SITE_LAYER=layer)
    if layer != "memory":
        found = found.having(SITE_REDIS_URL=redis_url, SITE_REDIS_PREFIX=prefix)
    with together(*(found.serve(kind) for kind in kinds)) as servers:
        yield layer, servers
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(match=f"*{prefix}*", count=1000):
            client.delete(key)


class Heard:
    """The numbers that one client receives, by channel and sender."""

    def __init__(self, expected: int) -> None:
        self.numbers: dict[tuple[str, int], list[int]] = defaultdict(list)
        self.complete = asyncio.Event()
        self._expected = expected

    def take(self, client: RawClient, frame: bytes) -> None:
        message = json.loads(frame)
        sender, number = message["payload"]
        self.numbers[message["channel"], sender].append(number)
        self._expected -= 1
        if self._expected <= 0:
            self.complete.set()


def publication(channel: str, sender: int, number: int) -> Message:
    return {"type": "publish", "channel": channel, "payload": [sender, number]}


async def test_what_each_client_publishes_is_delivered_in_its_order(
    running: tuple[str, Servers],
) -> None:
    layer, servers = running
    for kind in KINDS[layer]:
        await publish_and_compare(servers, kind)


async def publish_and_compare(servers: Servers, kind: str) -> None:
    channels = [f"{kind}/order-{uuid.uuid4().hex[:8]}" for _ in range(CHANNELS)]
    senders = PUBLISHERS * len(servers)
    everything = {
        (channel, sender): list(range(NUMBERS)) for channel in channels for sender in range(senders)
    }
    publishers = [await join(server.port) for server in servers for _ in range(PUBLISHERS)]
    listeners = [await join(server.port) for server in servers]
    heard = [Heard(len(everything) * NUMBERS) for _ in listeners]
    for listener, each in zip(listeners, heard, strict=True):
        for channel in channels:
            listener.messages.clear()
            await listener.subscribe(channel)
        listener.on_frame = each.take

    def publish(sender: int) -> None:
        """Alone, and in batches of every size."""
        all_of_it = [publication(c, sender, n) for n in range(NUMBERS) for c in channels]
        size = 0
        while all_of_it:
            size = size % LARGEST_BATCH + 1
            batch, all_of_it = all_of_it[:size], all_of_it[size:]
            publishers[sender].say(batch if size > 1 else batch[0])

    for sender in range(senders):
        publish(sender)
    async with asyncio.timeout(TIMEOUT_S):
        for each in heard:
            await each.complete.wait()
    for each in heard:
        assert each.numbers == everything
    for publisher in publishers:
        assert [m for m in publisher.messages if m["type"] not in ("welcome", "ping")] == []
    for client in (*publishers, *listeners):
        client.abort()


async def test_client_among_floods_is_answered_before_they_are(
    running: tuple[str, Servers],
) -> None:
    """Each of its requests, one after the other, while what others have sent before waits."""
    answered = 0
    done = asyncio.Event()

    def count(client: RawClient, frame: bytes) -> None:
        nonlocal answered
        answered += 1
        if answered == FLOODS * FLOOD:
            done.set()

    server = running[1][0]
    floods = [await join(server.port, on_frame=count) for _ in range(FLOODS)]
    quiet = await join(server.port)
    for sender, flood in enumerate(floods):
        channel = f"public/flood-{sender}"
        for number in range(FLOOD):
            flood.say({**publication(channel, sender, number), "id": number})
    seen = []
    for number in range(QUIET):
        quiet.messages.clear()
        quiet.say({**publication("public/quiet", 0, number), "id": number})
        reply = await quiet.expect("published")
        assert reply["id"] == number
        seen.append(answered)
    assert seen[-1] < FLOODS * FLOOD, "the floods were over"
    async with asyncio.timeout(TIMEOUT_S):
        await done.wait()
    for client in (*floods, quiet):
        client.abort()
