"""The async shell around a conversation, on a loop of virtual time."""

from __future__ import annotations

import asyncio

import pytest

from channels_realtime.connections import connection as connection_module
from channels_realtime.connections.connection import Connection
from channels_realtime.connections.shell import CLOSE_GRACE_S
from channels_realtime.nodes.node import Node
from channels_realtime.nodes.outgoing import Outgoing
from channels_realtime.protocol.codes import CloseCode
from channels_realtime.protocol.messages import Publication
from tests.support.nodes import Gated, NodeHarness, NoJitter, publish, subscribe
from tests.support.virtual_time import in_virtual_time, settle


@pytest.fixture(autouse=True)
def no_jitter(monkeypatch):
    monkeypatch.setattr(connection_module, "random", NoJitter)


# -- order and life --------------------------------------------------------------------------------


@in_virtual_time
async def test_subscriber_gets_its_reply_before_the_first_publication():
    async with NodeHarness() as harness:
        client = await harness.open()
        subscribed, *others = await client.ask(subscribe(id=1), publish("x", "public/a", id=2))
        assert subscribed == {"type": "subscribed", "id": 1, "channel": "public/a", "payload": {}}
        assert sorted(others, key=lambda message: message["type"]) == [
            {"type": "message", "channel": "public/a", "payload": "x", "sender": {"user": None}},
            {"type": "published", "id": 2, "channel": "public/a", "payload": {"duplicate": False}},
        ]


@in_virtual_time
async def test_requests_of_one_channel_are_served_in_order_though_hooks_wait():
    async with NodeHarness() as harness:
        client = await harness.open()
        assert await client.ask(publish(1), publish(2), publish(3, "gated/b")) == []
        assert Gated.log == ["may gated/a", "may gated/b"]
        Gated.gate.set()
        await settle()
        assert [entry for entry in Gated.log if isinstance(entry, int)] in ([1, 3, 2], [3, 1, 2])


@in_virtual_time
async def test_reader_waits_while_too_much_runs():
    async with NodeHarness(max_in_flight=2) as harness:
        client = await harness.open()
        await client.ask(publish(1), publish(2, "gated/b"))
        reading = asyncio.create_task(client.connection.readable())
        await settle()
        assert not reading.done()
        Gated.gate.set()
        await reading


@in_virtual_time
async def test_reader_is_woken_when_the_connection_closes():
    async with NodeHarness(max_in_flight=1) as harness:
        client = await harness.open()
        await client.ask(publish(1))
        reading = asyncio.create_task(client.connection.readable())
        await settle()
        client.connection.close(CloseCode.GOING_AWAY, "restart")
        await reading


@in_virtual_time
async def test_silent_client_is_pinged_and_closed():
    async with NodeHarness() as harness:
        client = await harness.open()
        await asyncio.sleep(26)
        assert client.take() == [{"type": "ping"}]
        await asyncio.sleep(11)
        assert client.take() == [
            {
                "type": "closing",
                "payload": {"code": 4408, "reason": "no answer to a ping", "reconnect": True},
            },
            {"type": "websocket.close", "code": 4408, "reason": "no answer to a ping"},
        ]
        assert client.connection.closed


@in_virtual_time
async def test_client_that_answers_pings_stays_and_its_round_trip_is_known():
    async with NodeHarness() as harness:
        client = await harness.open()
        for _ in range(20):
            await asyncio.sleep(25.5)
            assert client.take() == [{"type": "ping"}]
            await asyncio.sleep(0.25)
            await client.ask({"type": "pong"})
        assert client.connection.round_trip == pytest.approx(0.75, abs=0.01)
        assert not client.connection.closed


@in_virtual_time
async def test_idle_client_is_looked_at_once_for_each_ping(monkeypatch):
    looks = []
    due = Connection.due
    monkeypatch.setattr(Connection, "due", lambda self, now: looks.append(now) or due(self, now))
    monkeypatch.setattr(connection_module.random, "random", lambda: 0.5)
    async with NodeHarness() as harness:
        client = await harness.open()
        pings = 0
        for _ in range(100):
            await asyncio.sleep(1)
            if client.take():
                pings += 1
                looked = len(looks)
                await client.ask({"type": "pong"})
            elif pings:
                assert len(looks) == looked
        assert pings == 4


@in_virtual_time
async def test_bare_client_is_not_pinged_until_it_pings_itself():
    async with NodeHarness() as harness:
        client = await harness.open(offered=())
        await asyncio.sleep(86_400)
        assert client.take() == []
        assert await client.ask({"type": "ping"}) == [{"type": "pong"}]
        await asyncio.sleep(26)
        assert client.take() == [{"type": "ping"}]


# -- closing ---------------------------------------------------------------------------------------


@in_virtual_time
async def test_client_that_does_not_answer_a_close_is_dropped_after_the_grace():
    async with NodeHarness() as harness:
        client = await harness.open()
        await asyncio.sleep(10)  # a heartbeat is due before the grace is over
        start = harness.node.clock.monotonic()
        client.connection.close(CloseCode.GOING_AWAY, "restart")
        await asyncio.sleep(60)
        assert client.dropped == [start + CLOSE_GRACE_S]


@in_virtual_time
async def test_client_that_missed_its_heartbeat_is_dropped_after_the_grace():
    async with NodeHarness(heartbeat_interval=5.0, heartbeat_timeout=5.0) as harness:
        client = await harness.open()
        start = harness.node.clock.monotonic()
        await asyncio.sleep(60)
        assert client.connection.closed
        (dropped,) = client.dropped
        assert dropped - CLOSE_GRACE_S == pytest.approx(start + 10.0, abs=0.01)


@in_virtual_time
async def test_nothing_is_written_after_the_close():
    async with NodeHarness() as harness:
        client = await harness.open()
        await client.ask(subscribe(), publish(1))
        client.connection.close(CloseCode.BLOCKED, "by an administrator", reconnect=False)
        assert [message["type"] for message in client.take()] == ["closing", "websocket.close"]
        Gated.gate.set()
        client.connection.close(CloseCode.INTERNAL, "again")
        await harness.node.publish(Outgoing(publication=Publication("public/a", "late")))
        assert await client.ask({"type": "ping"}) == []


@pytest.mark.parametrize(
    ("scope", "close_codes", "event"),
    [
        (
            {"asgi": {"spec_version": "2.4"}, "extensions": {}},
            "application",
            {"type": "websocket.close", "code": 4503, "reason": "restart"},
        ),
        (
            {"asgi": {"spec_version": "2.4"}, "extensions": {}},
            "rfc",
            {"type": "websocket.close", "code": 1012, "reason": "restart"},
        ),
        ({"asgi": {"spec_version": "2.0"}}, "rfc", {"type": "websocket.close", "code": 4503}),
        ({"asgi": {"spec_version": "2.3"}}, "rfc", {"type": "websocket.close", "code": 4503}),
        (
            {"asgi": {"spec_version": "odd"}, "extensions": {}},
            "application",
            {"type": "websocket.close", "code": 4503},
        ),
        ({"extensions": {}}, "application", {"type": "websocket.close", "code": 4503}),
    ],
)
def test_close_event_is_what_the_server_can_send(scope, close_codes, event):
    @in_virtual_time
    async def scenario():
        async with NodeHarness(close_codes=close_codes) as harness:
            client = await harness.open(scope=scope)
            client.connection.close(CloseCode.GOING_AWAY, "restart")
            closing, close = client.take()
            assert closing["payload"]["code"] == 4503
            assert close == event

    scenario()


# -- slow consumers --------------------------------------------------------------------------------


async def flood(node: Node, count: int, channel: str = "public/a") -> None:
    for n in range(count):
        await node.publish(Outgoing(publication=Publication(channel, n)))
    await settle()


SLOW = [
    {
        "type": "closing",
        "payload": {
            "code": 4430,
            "reason": "too slow: its queue was full",
            "reconnect": True,
        },
    },
    {"type": "websocket.close", "code": 4430, "reason": "too slow: its queue was full"},
]


@pytest.mark.parametrize(
    "bounds",
    [
        {"outbox_max_messages": 10},
        {"outbox_max_messages": 1},
        {"outbox_max_bytes": 1_000},
        {"outbox_max_bytes": 60},
    ],
)
def test_slow_consumer_is_closed_and_delays_nobody(bounds):
    @in_virtual_time
    async def scenario():
        async with NodeHarness(**bounds) as harness:
            slow, quick = await harness.open(), await harness.open()
            await slow.ask(subscribe())
            await quick.ask(subscribe())
            slow.gate.clear()
            await flood(harness.node, 100)
            assert [message["payload"] for message in quick.take()] == list(range(100))
            assert slow.connection.closed
            assert not quick.connection.closed
            slow.gate.set()
            await settle()
            first, *rest = slow.take()
            assert first["payload"] == 0
            assert rest == SLOW

    scenario()


@in_virtual_time
async def test_slow_consumer_within_its_bounds_gets_everything_in_order():
    async with NodeHarness(outbox_max_messages=200) as harness:
        client = await harness.open()
        await client.ask(subscribe())
        client.gate.clear()
        await flood(harness.node, 100)
        client.gate.set()
        await settle()
        await flood(harness.node, 1)
        assert [message["payload"] for message in client.take()] == [*range(100), 0]


@in_virtual_time
async def test_closing_is_said_though_the_queue_is_full_to_the_brim():
    async with NodeHarness(outbox_max_messages=10) as harness:
        client = await harness.open()
        await client.ask(subscribe())
        client.gate.clear()
        await flood(harness.node, 11)
        client.connection.close(CloseCode.BLOCKED, "by an administrator")
        client.gate.set()
        await settle()
        assert client.take()[-2:] == [
            {
                "type": "closing",
                "payload": {"code": 4403, "reason": "by an administrator", "reconnect": False},
            },
            {"type": "websocket.close", "code": 4403, "reason": "by an administrator"},
        ]


@in_virtual_time
async def test_nothing_queued_of_a_channel_follows_its_unsubscribed():
    async with NodeHarness() as harness:
        client = await harness.open()
        await client.ask(subscribe(), subscribe("public/b"))
        client.gate.clear()
        await flood(harness.node, 3)
        await flood(harness.node, 1, "public/b")
        await client.ask({"type": "unsubscribe", "channel": "public/a", "id": 9})
        client.gate.set()
        await settle()
        found = client.take()
        assert [m["channel"] for m in found if m["type"] == "message"] == ["public/a", "public/b"]
        assert found[-1] == {"type": "unsubscribed", "channel": "public/a", "id": 9}


@pytest.mark.parametrize("error", [OSError("gone"), asyncio.CancelledError()])
def test_server_that_cannot_send_ends_the_connection_and_hurts_nobody(error):
    @in_virtual_time
    async def scenario():
        async with NodeHarness() as harness:
            lost, other = await harness.open(), await harness.open()
            await lost.ask(subscribe())
            await other.ask(subscribe())
            lost.error = error
            await flood(harness.node, 3)
            assert lost.connection.closed
            assert [message["payload"] for message in other.take()] == [0, 1, 2]

    scenario()


# -- the end ---------------------------------------------------------------------------------------


@in_virtual_time
async def test_everything_is_freed_when_connections_end():
    async with NodeHarness() as harness:
        before = asyncio.all_tasks()
        clients = [await harness.open() for _ in range(10)]
        for client in clients:
            await client.ask(subscribe(), subscribe("public/b"), publish(1))
        for client in clients:
            client.connection.finish()
        await settle()
        node = harness.node
        assert (node.connections, len(node.hub), len(node.timers)) == ({}, 0, 0)
        assert len(asyncio.all_tasks() - before) <= 3  # the broker's own
        await asyncio.sleep(10)
        assert [g for g in harness.layer.groups if ".n." in g] == []
        assert node.statistics().connections == 0
        assert node.statistics().metrics.connected == 10


@in_virtual_time
async def test_subscription_that_was_being_made_is_not_left_behind():
    async with NodeHarness() as harness:
        client = await harness.open()
        await client.ask(subscribe("gated/a"))
        client.connection.finish()
        Gated.gate.set()
        await settle()
        assert len(harness.node.hub) == 0
        await asyncio.sleep(10)
        assert [g for g in harness.layer.groups if ".n." in g] == []


@in_virtual_time
async def test_hooks_are_told_when_a_connection_ends():
    async with NodeHarness() as harness:
        client = await harness.open()
        Gated.gate.set()
        await client.ask(subscribe("gated/a"), subscribe("gated/b"))
        client.connection.finish()
        await settle()
        assert Gated.log == ["left gated/a", "left gated/b"]


@in_virtual_time
async def test_connection_costs_no_task_of_its_own():
    async with NodeHarness() as harness:
        first = await harness.open()
        await first.ask(subscribe())
        before = asyncio.all_tasks()
        for _ in range(50):
            client = await harness.open()
            await client.ask(subscribe())
        assert asyncio.all_tasks() == before


# -- limits ----------------------------------------------------------------------------------------


@in_virtual_time
async def test_subscriptions_are_limited_and_concurrent_ones_count():
    async with NodeHarness(max_subscriptions=3) as harness:
        client = await harness.open()
        replies = await client.ask(*[subscribe(f"public/{n}", id=n) for n in range(5)])
        refused = [reply for reply in replies if reply["type"] == "error"]
        assert len(replies) == 5
        assert [reply["payload"] for reply in refused] == [
            {
                "code": "too_many_subscriptions",
                "reason": "this connection holds all the 3 subscriptions it may",
            }
        ] * 2
        await client.ask({"type": "unsubscribe", "channel": "public/0"})
        assert (await client.ask(subscribe("public/9")))[0]["type"] == "subscribed"


@in_virtual_time
async def test_layer_that_is_away_makes_subscribing_unavailable():
    async with NodeHarness() as harness:
        client = await harness.open()
        harness.layer.failing["group_add"] = [ConnectionError("away")] * 10
        (reply,) = await client.ask(subscribe(id=1))
        assert (reply["type"], reply["id"], reply["payload"]["code"]) == ("error", 1, "unavailable")
        harness.layer.failing.clear()
        assert (await client.ask(subscribe(id=1)))[0]["type"] == "subscribed"


@in_virtual_time
async def test_hook_over_its_time_is_a_timeout_to_that_client():
    async with NodeHarness(hook_timeout=3.0) as harness:
        client = await harness.open()
        await client.ask(publish(1, id=1))
        await asyncio.sleep(4)
        assert client.take() == [
            {
                "type": "error",
                "id": 1,
                "request": "publish",
                "channel": "gated/a",
                "payload": {"code": "timeout", "reason": "not done within 3 seconds"},
            }
        ]
