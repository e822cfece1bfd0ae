"""Leaving: in batches, within the grace, whatever the clients do."""

from __future__ import annotations

import asyncio

import pytest

from channels_realtime.config import Config
from channels_realtime.nodes.drain import Drain
from channels_realtime.protocol.codes import CloseCode
from tests.support.nodes import NodeHarness, subscribe
from tests.support.virtual_time import in_virtual_time, settle


class FakeConnection:
    """A connection that goes ``after`` seconds after it was told, or never."""

    def __init__(self, connections: dict, name: str, after: float | None = 0.1) -> None:
        self._connections = connections
        self._after = after
        self.name = name
        self.closed = False
        self.told_at: float | None = None
        self.dropped_at: float | None = None
        self.retry_after: float | None = None
        connections[name] = self

    def close(self, code: CloseCode, reason: str, *, retry_after: float | None = None) -> None:
        if self.closed:
            return
        assert (code, reason) == (CloseCode.GOING_AWAY, "going away")
        loop = asyncio.get_running_loop()
        self.closed, self.told_at, self.retry_after = True, loop.time(), retry_after
        if self._after is not None:
            loop.call_later(self._after, self._connections.pop, self.name)

    def drop(self) -> None:
        self.dropped_at = asyncio.get_running_loop().time()
        self._connections.pop(self.name)


def crowd(count: int, **options) -> tuple[dict, list[FakeConnection]]:
    connections: dict = {}
    return connections, [FakeConnection(connections, str(n), **options) for n in range(count)]


def now() -> float:
    return asyncio.get_running_loop().time()


@in_virtual_time
async def test_drain_without_connections_is_over_at_once():
    drain, start = Drain(Config(), {}), now()
    assert not drain.begun
    await drain.begin()
    assert drain.begun
    assert now() - start < 0.1


@in_virtual_time
async def test_drain_begins_once():
    connections, _ = crowd(3)
    drain = Drain(Config(), connections)
    task = drain.begin()
    assert drain.begin() is task
    await task
    assert drain.begin() is task


@in_virtual_time
async def test_clients_are_told_in_batches_each_with_a_wait_of_its_own():
    connections, leavers = crowd(250)
    start = now()
    config = Config(drain_batch=100, drain_batch_interval=0.5, drain_retry_window=5.0)
    await Drain(config, connections).begin()
    assert connections == {}
    told = [leaver.told_at - start for leaver in leavers]
    assert [told.count(at) for at in sorted(set(told))] == [100, 100, 50]
    assert sorted(set(told)) == [0.0, 0.5, 1.0]
    waits = [leaver.retry_after for leaver in leavers]
    assert 0.0 <= min(waits) < 1.0
    assert 4.0 < max(waits) <= 5.0
    assert len(set(waits)) > 200
    assert not any(leaver.dropped_at for leaver in leavers)


@in_virtual_time
async def test_client_that_never_goes_is_dropped_when_the_grace_is_over():
    connections, leavers = crowd(5)
    stubborn = FakeConnection(connections, "stubborn", after=None)
    start = now()
    await Drain(Config(drain_grace=20.0), connections).begin()
    assert stubborn.dropped_at - start == pytest.approx(20.0, abs=0.05)
    assert now() - start == pytest.approx(20.0, abs=0.05)
    assert connections == {}
    assert not any(leaver.dropped_at for leaver in leavers)


@in_virtual_time
async def test_drain_is_over_in_its_grace_however_many_batches_there_are():
    connections, leavers = crowd(1_000)
    start = now()
    config = Config(drain_batch=1, drain_batch_interval=1.0, drain_grace=4.0)
    await Drain(config, connections).begin()
    assert now() - start <= 4.05
    told = [leaver.told_at - start for leaver in leavers]
    assert max(told) <= 2.01  # the rest of the grace is for going
    assert not any(leaver.dropped_at for leaver in leavers)


@in_virtual_time
async def test_connection_that_was_let_in_before_the_drain_and_registers_during_it_is_told():
    connections, _ = crowd(1, after=1.0)
    task = Drain(Config(), connections).begin()
    await asyncio.sleep(0.5)
    late = FakeConnection(connections, "late")
    await task
    assert late.told_at is not None
    assert late.dropped_at is None


@in_virtual_time
async def test_drain_goes_on_though_who_waits_for_it_is_cancelled():
    connections, leavers = crowd(1, after=1.0)
    drain = Drain(Config(), connections)

    async def wait() -> None:
        await asyncio.shield(drain.begin())

    waiter = asyncio.create_task(wait())
    await settle()
    waiter.cancel()
    await drain.begin()
    assert leavers[0].told_at is not None


# -- with the node ---------------------------------------------------------------------------------


@in_virtual_time
async def test_connections_are_told_and_their_subscriptions_are_left():
    async with NodeHarness(drain_retry_window=0.0) as harness:
        clients = [await harness.open() for _ in range(3)]
        for client in clients:
            await client.ask(subscribe())
        task = harness.node.drain.begin()
        await settle()
        for client in clients:
            assert client.take() == [
                {
                    "type": "closing",
                    "payload": {
                        "code": 4503,
                        "reason": "going away",
                        "reconnect": True,
                        "retry_after": 0.0,
                    },
                },
                {"type": "websocket.close", "code": 4503, "reason": "going away"},
            ]
            client.connection.finish()
        await task
        assert harness.node.statistics().draining
        assert (len(harness.node.hub), harness.node.connections) == (0, {})
        await asyncio.sleep(10)
        assert [group for group in harness.layer.groups if ".n." in group] == []


@in_virtual_time
async def test_clients_that_do_not_read_do_not_hold_the_drain():
    async with NodeHarness(drain_grace=3.0, outbox_max_messages=1) as harness:
        client = await harness.open()
        client.gate.clear()
        await client.ask({"type": "ping"}, {"type": "ping"})
        start = now()
        await harness.node.drain.begin()
        assert client.dropped == [pytest.approx(start + 3.0, abs=0.05)]


@pytest.mark.parametrize(("named", "drains"), [("own", True), ("other", False)])
def test_request_drains_the_node_that_it_names(named, drains):
    @in_virtual_time
    async def scenario():
        async with NodeHarness() as harness:
            node = harness.node
            await node.broker.start()
            wanted = node.id if named == "own" else named
            found = await node.requests.request("drain", {}, {wanted}, wait=0.1)
            assert found.by_node == ({node.id: True} if drains else {})
            assert node.drain.begun is drains
            if drains:
                await node.drain.begin()

    scenario()


@in_virtual_time
async def test_notification_drains_every_node():
    async with NodeHarness() as one, NodeHarness(layer=one.layer) as two:
        for harness in (one, two):
            await harness.node.broker.start()
        await one.node.requests.notify("drain", {})
        await settle()
        assert one.node.drain.begun
        assert two.node.drain.begun
        await asyncio.gather(one.node.drain.begin(), two.node.drain.begin())


@in_virtual_time
async def test_node_leaves_the_layer_when_its_server_is_to_stop():
    async with NodeHarness() as harness:
        client = await harness.open()
        await client.ask(subscribe())
        assert harness.layer.groups
        await harness.node._begin_leaving()
        assert not any(harness.layer.groups.values())
