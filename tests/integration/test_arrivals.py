"""A storm of reconnects is served in the order of arrival, and those already served go on."""

import asyncio
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.many_clients import RawClient, join, stamped
from tests.support.servers import Server
from tests.support.site import COMMANDS, Site, login

STORM = 120
THREADS = 1
"""With two, a look-up that has begun in one waits while the other goes on, as the machine shares out time."""

SLACK = 15
"""Places that one may be early or late: what this process reads at once."""

CHANNEL = "public/served"


@pytest.fixture(params=list(COMMANDS))
def server(request: pytest.FixtureRequest, site: Site) -> Iterator[Server]:
    realtime = {
        "AUTHENTICATORS": ["tests.site.members.authenticators.GatedSession"],
        "HOOK_THREADS": THREADS,
    }
    with site.having(realtime=realtime).serve(request.param) as server:
        yield server


async def test_storm_is_welcomed_in_its_order_between_deliveries(
    server: Server, tmp_path: Path
) -> None:
    cookie = await asyncio.to_thread(login, server, "alice")
    gate = tmp_path / "gate"
    path = f"/ws/?gate={urllib.parse.quote(str(gate))}"
    events: list[int] = []  # the number of one that was welcomed; -1 for a delivery
    some, everybody = asyncio.Event(), asyncio.Event()

    served = await join(server.port)
    await served.subscribe(CHANNEL)

    def delivered(client: RawClient, data: bytes) -> None:
        if b'"message"' in data:
            events.append(-1)
            if len(events) >= 20:
                some.set()
            if not everybody.is_set():
                publish()

    def publish() -> None:
        served.say({"type": "publish", "channel": CHANNEL, "payload": stamped(50)})

    served.on_frame = delivered
    arriving = []
    for number in range(STORM):

        def welcomed(client: RawClient, data: bytes, number: int = number) -> None:
            if b'"welcome"' in data:
                events.append(number)
                if sum(event >= 0 for event in events) == STORM:
                    everybody.set()

        headers = [f"Cookie: {cookie}", f"X-Client-ID: {number}"]  # no two are equal
        arriving.append(
            await join(server.port, path=path, headers=headers, welcomed=False, on_frame=welcomed)
        )
    publish()
    async with asyncio.timeout(10):
        await some.wait()  # deliveries go on while all of them wait
    assert set(events) == {-1}
    anonymous = await join(server.port)  # and without credentials nobody waits
    gate.touch()
    async with asyncio.timeout(30):
        await everybody.wait()
    order = [event for event in events if event >= 0]
    late = max(abs(place - number) for place, number in enumerate(order))
    assert late <= SLACK, order
    first, last = events.index(order[0]), events.index(order[-1])
    between = events[first:last].count(-1)
    assert between >= 10, f"{between} deliveries while {STORM} were welcomed"
    for client in (served, anonymous, *arriving):
        client.abort()
    await asyncio.sleep(0)
