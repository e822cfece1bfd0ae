"""A publication for many connections, some of which wait or fail: the others get it at once."""

from __future__ import annotations

import asyncio

import pytest

from channels_realtime.connections.writer import Writer
from channels_realtime.nodes.hub import Hub
from channels_realtime.nodes.metrics import Metrics
from channels_realtime.protocol.dialects.bare import BareEncoding
from channels_realtime.protocol.messages import Publication
from tests.support.virtual_time import in_virtual_time, settle

ENCODING = BareEncoding(lambda data: {"type": "websocket.send", "text": data})


class Client:
    """A subscriber with a server's ``send``, which waits while the gate is shut."""

    encoding = ENCODING

    def __init__(self, hub: Hub) -> None:
        self.got: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: BaseException | None = None
        self.errors: list[BaseException] = []
        self.outlet = Writer(self.send, self, max_messages=10, max_bytes=1_000)
        self.hub = hub
        hub.add("a", self)

    async def send(self, event: dict) -> None:
        if not self.gate.is_set():
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.got.append(event["text"])

    def started_anew(self, channel, position) -> None:
        raise AssertionError("not expected")

    def overflowed(self) -> None:
        raise AssertionError("not expected")

    def dropped(self, count, policy) -> None:
        raise AssertionError("not expected")

    def lost(self, error: BaseException) -> None:
        self.errors.append(error)
        self.hub.remove("a", self)


def publish(hub: Hub, *texts: str) -> None:
    for text in texts:
        hub.deliver(Publication("a", text))


def got(*clients: Client) -> list[list[str]]:
    return [client.got for client in clients]


@pytest.mark.parametrize("slow", [(0,), (2,), (4,), (0, 1, 2, 3, 4), (1, 2, 4)])
@in_virtual_time
async def test_those_that_wait_delay_nobody_and_get_everything_in_order(slow):
    hub = Hub(Metrics())
    clients = [Client(hub) for _ in range(5)]
    for number in slow:
        clients[number].gate.clear()
    publish(hub, "x", "y", "z")
    fast = [client for number, client in enumerate(clients) if number not in slow]
    assert got(*fast) == [["x", "y", "z"]] * len(fast)
    for number in slow:
        assert (clients[number].got, clients[number].outlet.queued) == ([], 2)
        clients[number].gate.set()
        await settle()
        assert clients[number].got == ["x", "y", "z"]
    publish(hub, "last")
    assert [texts[-1] for texts in got(*clients)] == ["last"] * 5
    assert [len(texts) for texts in got(*clients)] == [4] * 5
    assert [client.outlet.sent for client in clients] == [4] * 5
    assert [client.outlet.sent_bytes for client in clients] == [7] * 5


@pytest.mark.parametrize("error", [ConnectionError(), asyncio.CancelledError()])
@in_virtual_time
async def test_those_that_fail_are_lost_and_the_others_get_it(error):
    hub = Hub(Metrics())
    clients = [Client(hub) for _ in range(4)]
    clients[1].error = clients[3].error = error
    publish(hub, "x", "y")
    assert [client.errors for client in clients] == [[], [error], [], [error]]
    assert got(*clients) == [["x", "y"], [], ["x", "y"], []]


@pytest.mark.parametrize("error", [ConnectionError(), asyncio.CancelledError()])
@in_virtual_time
async def test_one_that_fails_after_it_has_waited_is_lost_once(error):
    hub = Hub(Metrics())
    clients = [Client(hub) for _ in range(3)]
    clients[1].gate.clear()
    publish(hub, "x", "y")
    clients[1].error = error
    clients[1].gate.set()
    await settle()
    assert [client.errors for client in clients] == [[], [error], []]
    assert got(*clients) == [["x", "y"], [], ["x", "y"]]


@in_virtual_time
async def test_end_of_one_that_waits_ends_no_other():
    hub = Hub(Metrics())
    clients = [Client(hub) for _ in range(3)]
    for client in clients[:2]:
        client.gate.clear()
    publish(hub, "x")
    await asyncio.gather(*clients[0].outlet.stop(), return_exceptions=True)
    clients[1].gate.set()
    await settle()
    assert got(*clients) == [[], ["x"], ["x"]]
    assert [client.errors for client in clients] == [[], [], []]


@in_virtual_time
async def test_what_is_held_or_cared_for_is_not_written_at_once():
    hub = Hub(Metrics())
    held, watched, free = (Client(hub) for _ in range(3))
    held.outlet.hold()
    seen = []
    watched.outlet.care = lambda frame, publication: seen.append(publication.payload)
    publish(hub, "x")
    assert got(held, watched, free) == [[], [], ["x"]]
    held.outlet.release()
    watched.outlet.care = None
    publish(hub, "y")
    assert got(held, watched, free) == [["x", "y"], ["y"], ["x", "y"]]
    assert seen == ["x"]
