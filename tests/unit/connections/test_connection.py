"""The async shell around a conversation, on a loop of virtual time."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from channels_realtime import Channel
from channels_realtime.channels import ChannelRegistry
from channels_realtime.config import Config
from channels_realtime.connections import connection as connection_module
from channels_realtime.connections.connection import CLOSE_GRACE_S, Connection
from channels_realtime.nodes.node import Node
from channels_realtime.protocol.codes import CloseCode
from channels_realtime.protocol.dialects.realtime import ENCODINGS, RealtimeDialect
from channels_realtime.protocol.messages import Publication
from channels_realtime.protocol.subprotocols import negotiate
from tests.scripted_layer import ScriptedLayer
from tests.virtual_time import VirtualClock, in_virtual_time, settle


class NoChance:
    """Instead of the module ``random``: the heartbeat's jitter is nothing."""

    @staticmethod
    def random() -> float:
        return 0.0


@pytest.fixture(autouse=True)
def no_jitter(monkeypatch):
    monkeypatch.setattr(connection_module, "random", NoChance)


class Gated(Channel):
    """Its hooks wait for a gate."""

    gate: asyncio.Event
    log: list[str]

    async def can_subscribe(self, connection):
        await self.gate.wait()
        return True

    async def can_publish(self, connection):
        self.log.append(f"may {self.name}")
        await self.gate.wait()
        return True

    async def on_publish(self, connection, payload, event):
        self.log.append(payload)
        return payload

    async def on_unsubscribe(self, connection):
        self.log.append(f"left {self.name}")


class Public(Channel):
    public = True

    async def can_publish(self, connection):
        return True


class Wire:
    """A connection, the server's side of it, and what was written."""

    def __init__(self, node: Node, *, offered=("realtime.v1.json",), scope=None) -> None:
        found = negotiate(offered)
        dialect = RealtimeDialect(
            ENCODINGS[found.codec.name],
            node.config.limits,
            batches=found.negotiated,
            heartbeat=found.heartbeat,
        )
        self.node = node
        self.events: list[dict] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: BaseException | None = None
        self.dropped: list[float] = []
        spec = {"asgi": {"spec_version": "2.4"}, "extensions": {}} if scope is None else scope
        self.connection = Connection(node, spec, self.send, dialect)
        self.connection.begin(self.drop)

    def drop(self) -> None:
        """As the consumer, whose task ends."""
        self.dropped.append(self.node.clock.monotonic())
        self.connection.finish()

    async def send(self, event):
        if not self.gate.is_set():
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.events.append(event)

    async def open(self) -> Wire:
        await self.connection.welcome()
        self.take()
        return self

    def take(self) -> list:
        """What was written since the last time."""
        found = [
            msgspec.json.decode(event["text"]) if event["type"] == "websocket.send" else event
            for event in self.events
        ]
        self.events.clear()
        return found

    async def ask(self, *messages: dict) -> list:
        for message in messages:
            self.connection.receive(msgspec.json.encode(message).decode())
        await settle()
        return self.take()


class House:
    """A node of its own, with two kinds of channels."""

    def __init__(self, **config) -> None:
        values = {"heartbeat_interval": 25.0, "heartbeat_timeout": 10.0, "allow_anonymous": True}
        registry = ChannelRegistry()
        Gated.gate, Gated.log = asyncio.Event(), []
        registry.register("gated/<str:x>", Gated)
        registry.register("public/<str:x>", Public)
        self.layer = ScriptedLayer()
        self.node = Node(
            Config(**(values | config)), self.layer, routes=registry, clock=VirtualClock()
        )
        self.wires: list[Wire] = []

    async def __aenter__(self) -> House:
        return self

    async def __aexit__(self, *exception) -> None:
        for wire in self.wires:
            wire.gate.set()
            wire.connection.finish()
        await settle()
        await self.node.stop()

    async def open(self, **options) -> Wire:
        wire = Wire(self.node, **options)
        self.wires.append(wire)
        return await wire.open()


def subscribe(channel="public/a", **fields):
    return {"type": "subscribe", "channel": channel, **fields}


def publish(payload, channel="gated/a", **fields):
    return {"type": "publish", "channel": channel, "payload": payload, **fields}


# -- order and life --------------------------------------------------------------------------------


@in_virtual_time
async def test_subscriber_gets_its_reply_before_the_first_publication():
    async with House() as house:
        wire = await house.open()
        subscribed, *others = await wire.ask(subscribe(id=1), publish("x", "public/a", id=2))
        assert subscribed == {"type": "subscribed", "id": 1, "channel": "public/a", "payload": {}}
        assert sorted(others, key=lambda message: message["type"]) == [
            {"type": "message", "channel": "public/a", "payload": "x", "sender": {"user": None}},
            {"type": "published", "id": 2, "channel": "public/a", "payload": {"duplicate": False}},
        ]


@in_virtual_time
async def test_requests_of_one_channel_are_served_in_order_though_hooks_wait():
    async with House() as house:
        wire = await house.open()
        assert await wire.ask(publish(1), publish(2), publish(3, "gated/b")) == []
        assert Gated.log == ["may gated/a", "may gated/b"]
        Gated.gate.set()
        await settle()
        assert [entry for entry in Gated.log if isinstance(entry, int)] in ([1, 3, 2], [3, 1, 2])


@in_virtual_time
async def test_reader_waits_while_too_much_runs():
    async with House(max_in_flight=2) as house:
        wire = await house.open()
        await wire.ask(publish(1), publish(2, "gated/b"))
        reading = asyncio.create_task(wire.connection.readable())
        await settle()
        assert not reading.done()
        Gated.gate.set()
        await reading


@in_virtual_time
async def test_reader_is_woken_when_the_connection_closes():
    async with House(max_in_flight=1) as house:
        wire = await house.open()
        await wire.ask(publish(1))
        reading = asyncio.create_task(wire.connection.readable())
        await settle()
        wire.connection.close(CloseCode.GOING_AWAY, "restart")
        await reading


@in_virtual_time
async def test_silent_client_is_pinged_and_closed():
    async with House() as house:
        wire = await house.open()
        await asyncio.sleep(26)
        assert wire.take() == [{"type": "ping"}]
        await asyncio.sleep(11)
        assert wire.take() == [
            {
                "type": "closing",
                "payload": {"code": 4408, "reason": "no answer to a ping", "reconnect": True},
            },
            {"type": "websocket.close", "code": 4408, "reason": "no answer to a ping"},
        ]
        assert wire.connection.closed


@in_virtual_time
async def test_client_that_answers_pings_stays_and_its_round_trip_is_known():
    async with House() as house:
        wire = await house.open()
        for _ in range(20):
            await asyncio.sleep(25.5)
            assert wire.take() == [{"type": "ping"}]
            await asyncio.sleep(0.25)
            await wire.ask({"type": "pong"})
        assert wire.connection.round_trip == pytest.approx(0.75, abs=0.01)
        assert not wire.connection.closed


@in_virtual_time
async def test_bare_client_is_not_pinged_until_it_pings_itself():
    async with House() as house:
        wire = await house.open(offered=())
        await asyncio.sleep(86_400)
        assert wire.take() == []
        assert await wire.ask({"type": "ping"}) == [{"type": "pong"}]
        await asyncio.sleep(26)
        assert wire.take() == [{"type": "ping"}]


# -- closing ---------------------------------------------------------------------------------------


@in_virtual_time
async def test_client_that_does_not_answer_a_close_is_dropped_after_the_grace():
    async with House() as house:
        wire = await house.open()
        await asyncio.sleep(10)  # a heartbeat is due before the grace is over
        start = house.node.clock.monotonic()
        wire.connection.close(CloseCode.GOING_AWAY, "restart")
        await asyncio.sleep(60)
        assert wire.dropped == [start + CLOSE_GRACE_S]


@in_virtual_time
async def test_client_that_missed_its_heartbeat_is_dropped_after_the_grace():
    async with House(heartbeat_interval=5.0, heartbeat_timeout=5.0) as house:
        wire = await house.open()
        start = house.node.clock.monotonic()
        await asyncio.sleep(60)
        assert wire.connection.closed
        (dropped,) = wire.dropped
        assert dropped - CLOSE_GRACE_S == pytest.approx(start + 10.0, abs=0.01)


@in_virtual_time
async def test_nothing_is_written_after_the_close():
    async with House() as house:
        wire = await house.open()
        await wire.ask(subscribe(), publish(1))
        wire.connection.close(CloseCode.BLOCKED, "by an administrator", reconnect=False)
        assert [message["type"] for message in wire.take()] == ["closing", "websocket.close"]
        Gated.gate.set()
        wire.connection.close(CloseCode.INTERNAL, "again")
        await house.node.publish(Publication("public/a", "late"))
        assert await wire.ask({"type": "ping"}) == []


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
        async with House(close_codes=close_codes) as house:
            wire = await house.open(scope=scope)
            wire.connection.close(CloseCode.GOING_AWAY, "restart")
            closing, close = wire.take()
            assert closing["payload"]["code"] == 4503
            assert close == event

    scenario()


# -- slow consumers --------------------------------------------------------------------------------


async def flood(node: Node, count: int, channel: str = "public/a") -> None:
    for n in range(count):
        await node.publish(Publication(channel, n))
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
        async with House(**bounds) as house:
            slow, quick = await house.open(), await house.open()
            await slow.ask(subscribe())
            await quick.ask(subscribe())
            slow.gate.clear()
            await flood(house.node, 100)
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
    async with House(outbox_max_messages=200) as house:
        wire = await house.open()
        await wire.ask(subscribe())
        wire.gate.clear()
        await flood(house.node, 100)
        wire.gate.set()
        await settle()
        await flood(house.node, 1)
        assert [message["payload"] for message in wire.take()] == [*range(100), 0]


@in_virtual_time
async def test_closing_is_said_though_the_queue_is_full_to_the_brim():
    async with House(outbox_max_messages=10) as house:
        wire = await house.open()
        await wire.ask(subscribe())
        wire.gate.clear()
        await flood(house.node, 11)
        wire.connection.close(CloseCode.BLOCKED, "by an administrator")
        wire.gate.set()
        await settle()
        assert wire.take()[-2:] == [
            {
                "type": "closing",
                "payload": {"code": 4403, "reason": "by an administrator", "reconnect": False},
            },
            {"type": "websocket.close", "code": 4403, "reason": "by an administrator"},
        ]


@in_virtual_time
async def test_nothing_queued_of_a_channel_follows_its_unsubscribed():
    async with House() as house:
        wire = await house.open()
        await wire.ask(subscribe(), subscribe("public/b"))
        wire.gate.clear()
        await flood(house.node, 3)
        await flood(house.node, 1, "public/b")
        await wire.ask({"type": "unsubscribe", "channel": "public/a", "id": 9})
        wire.gate.set()
        await settle()
        found = wire.take()
        assert [m["channel"] for m in found if m["type"] == "message"] == ["public/a", "public/b"]
        assert found[-1] == {"type": "unsubscribed", "channel": "public/a", "id": 9}


@pytest.mark.parametrize("error", [OSError("gone"), asyncio.CancelledError()])
def test_server_that_cannot_send_ends_the_connection_and_hurts_nobody(error):
    @in_virtual_time
    async def scenario():
        async with House() as house:
            lost, other = await house.open(), await house.open()
            await lost.ask(subscribe())
            await other.ask(subscribe())
            lost.error = error
            await flood(house.node, 3)
            assert lost.connection.closed
            assert [message["payload"] for message in other.take()] == [0, 1, 2]

    scenario()


# -- the end ---------------------------------------------------------------------------------------


@in_virtual_time
async def test_everything_is_freed_when_connections_end():
    async with House() as house:
        before = asyncio.all_tasks()
        wires = [await house.open() for _ in range(10)]
        for wire in wires:
            await wire.ask(subscribe(), subscribe("public/b"), publish(1))
        for wire in wires:
            wire.connection.finish()
        await settle()
        node = house.node
        assert (node.connections, len(node.hub), len(node.timers)) == ({}, 0, 0)
        assert len(asyncio.all_tasks() - before) <= 3  # the broker's own
        await asyncio.sleep(10)
        assert [g for g in house.layer.groups if ".n." in g] == []
        assert node.statistics().connections == 0
        assert node.statistics().connected_total == 10


@in_virtual_time
async def test_subscription_that_was_being_made_is_not_left_behind():
    async with House() as house:
        wire = await house.open()
        await wire.ask(subscribe("gated/a"))
        wire.connection.finish()
        Gated.gate.set()
        await settle()
        assert len(house.node.hub) == 0
        await asyncio.sleep(10)
        assert [g for g in house.layer.groups if ".n." in g] == []


@in_virtual_time
async def test_hooks_are_told_when_a_connection_ends():
    async with House() as house:
        wire = await house.open()
        Gated.gate.set()
        await wire.ask(subscribe("gated/a"), subscribe("gated/b"))
        wire.connection.finish()
        await settle()
        assert Gated.log == ["left gated/a", "left gated/b"]


@in_virtual_time
async def test_connection_costs_no_task_of_its_own():
    async with House() as house:
        first = await house.open()
        await first.ask(subscribe())
        before = asyncio.all_tasks()
        for _ in range(50):
            wire = await house.open()
            await wire.ask(subscribe())
        assert asyncio.all_tasks() == before


# -- limits ----------------------------------------------------------------------------------------


@in_virtual_time
async def test_subscriptions_are_limited_and_concurrent_ones_count():
    async with House(max_subscriptions=3) as house:
        wire = await house.open()
        replies = await wire.ask(*[subscribe(f"public/{n}", id=n) for n in range(5)])
        refused = [reply for reply in replies if reply["type"] == "error"]
        assert len(replies) == 5
        assert [reply["payload"] for reply in refused] == [
            {
                "code": "too_many_subscriptions",
                "reason": "this connection holds all the 3 subscriptions it may",
            }
        ] * 2
        await wire.ask({"type": "unsubscribe", "channel": "public/0"})
        assert (await wire.ask(subscribe("public/9")))[0]["type"] == "subscribed"


@in_virtual_time
async def test_layer_that_is_away_makes_subscribing_unavailable():
    async with House() as house:
        wire = await house.open()
        house.layer.failing["group_add"] = [ConnectionError("away")] * 10
        (reply,) = await wire.ask(subscribe(id=1))
        assert (reply["type"], reply["id"], reply["payload"]["code"]) == ("error", 1, "unavailable")
        house.layer.failing.clear()
        assert (await wire.ask(subscribe(id=1)))[0]["type"] == "subscribed"


@in_virtual_time
async def test_hook_over_its_time_is_a_timeout_to_that_client():
    async with House(hook_timeout=3.0) as house:
        wire = await house.open()
        await wire.ask(publish(1, id=1))
        await asyncio.sleep(4)
        assert wire.take() == [
            {
                "type": "error",
                "id": 1,
                "request": "publish",
                "channel": "gated/a",
                "payload": {"code": "timeout", "reason": "not done within 3 seconds"},
            }
        ]
