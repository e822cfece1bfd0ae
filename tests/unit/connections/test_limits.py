"""Limits that need a connection: a channel class's own, a user's, and ``flow``."""

from __future__ import annotations

import asyncio

import pytest

from channels_realtime import Channel
from channels_realtime.auth.base import Authenticated
from channels_realtime.connections import connection as connection_module
from channels_realtime.errors import ImproperUse
from channels_realtime.identity import Identity
from channels_realtime.protocol.messages import Publication
from tests.unit.connections.test_connection import House, NoChance, Public, Wire, subscribe
from tests.virtual_time import in_virtual_time, settle


@pytest.fixture(autouse=True)
def no_jitter(monkeypatch):
    monkeypatch.setattr(connection_module, "random", NoChance)


class Limited(Public):
    publish_rate = (1.0, 2.0)
    max_payload_bytes = 20


class Newest(Public):
    slow_policy = "latest"


class Lossy(Public):
    slow_policy = "drop_oldest"


def house_with(**config) -> House:
    house = House(**config)
    for route, channel in {
        "limited/<str:x>": Limited,
        "newest/<str:x>": Newest,
        "lossy/<str:x>": Lossy,
    }.items():
        house.node.routes.register(route, channel)
    return house


def publish(channel: str, payload, **fields) -> dict:
    return {"type": "publish", "channel": channel, "payload": payload, **fields}


# -- a channel class's own -------------------------------------------------------------------------


@in_virtual_time
async def test_publish_rate_of_a_channel_is_each_connections_own():
    async with house_with() as house:
        wire, other = await house.open(), await house.open()
        replies = await wire.ask(*[publish("limited/a", n, id=n) for n in range(3)])
        assert [reply["type"] for reply in replies] == ["published", "published", "error"]
        assert replies[2] == {
            "type": "error",
            "request": "publish",
            "id": 2,
            "channel": "limited/a",
            "payload": {
                "code": "rate_limited",
                "reason": "too many publications to 'limited/a'",
                "retry_after": 1.0,
            },
        }
        (reply,) = await wire.ask(publish("limited/b", 1, id=1))  # another channel's bucket
        assert reply["type"] == "published"
        (reply,) = await other.ask(publish("limited/a", 1, id=1))
        assert reply["type"] == "published"
        await asyncio.sleep(1.0)
        (reply,) = await wire.ask(publish("limited/a", 1, id=1))
        assert reply["type"] == "published"
        assert house.node.statistics().throttled == 1


@in_virtual_time
async def test_publish_buckets_have_a_bound():
    async with house_with(connection_messages=None) as house:
        wire = await house.open()
        for n in range(connection_module.MAX_PUBLISH_BUCKETS + 50):
            await wire.ask(publish(f"limited/{n}", n))
        assert len(wire.connection._publish_buckets) == connection_module.MAX_PUBLISH_BUCKETS


@in_virtual_time
async def test_payload_over_the_channels_bound_is_too_large_and_others_are_not():
    async with house_with() as house:
        wire = await house.open()
        (reply,) = await wire.ask(publish("limited/a", "x" * 19, id=1))
        assert reply["payload"] == {
            "code": "too_large",
            "reason": "a payload of 21 bytes; 'limited/a' takes 20",
        }
        assert reply["type"] == "error"
        (reply,) = await wire.ask(publish("limited/a", "x" * 18, id=1))
        assert reply["type"] == "published"
        (reply,) = await wire.ask(publish("public/a", "x" * 1_000, id=1))
        assert reply["type"] == "published"


async def deliver(house: House, channel: str, count: int) -> None:
    for n in range(count):
        await house.node.publish(Publication(channel, n))
    await settle()


async def slow_wire(house: House, *channels: str) -> Wire:
    wire = await house.open()
    for channel in channels:
        await wire.ask(subscribe(channel))
    wire.gate.clear()
    return wire


async def read_on(wire: Wire) -> list:
    wire.gate.set()
    await settle()
    return [message["payload"] for message in wire.take() if message["type"] == "message"]


@in_virtual_time
async def test_slow_client_of_a_channel_that_loses_the_oldest_gets_the_newest():
    async with house_with(outbox_max_messages=5) as house:
        wire = await slow_wire(house, "lossy/a")
        await deliver(house, "lossy/a", 100)
        assert await read_on(wire) == [0, 95, 96, 97, 98, 99]
        assert not wire.connection.closed


@in_virtual_time
async def test_slow_client_of_a_channel_that_keeps_the_latest_gets_that():
    async with house_with(outbox_max_messages=5) as house:
        wire = await slow_wire(house, "newest/a", "newest/b")
        await deliver(house, "newest/a", 100)
        await deliver(house, "newest/b", 100)
        assert await read_on(wire) == [0, 99, 99]


@in_virtual_time
async def test_slow_client_is_closed_by_a_channel_that_loses_nothing_beside_one_that_may():
    async with house_with(outbox_max_messages=5) as house:
        wire = await slow_wire(house, "lossy/a", "public/a")
        await deliver(house, "lossy/a", 100)
        await deliver(house, "public/a", 5)  # these push out what may be lost
        assert not wire.connection.closed
        await deliver(house, "public/a", 1)
        assert wire.connection.close_code == 4430


@in_virtual_time
async def test_ping_and_replies_do_not_end_a_slow_client_that_may_lose_messages():
    async with house_with(outbox_max_messages=5) as house:
        wire = await slow_wire(house, "lossy/a")
        await deliver(house, "lossy/a", 100)
        await wire.ask({"type": "ping", "id": 1})
        await asyncio.sleep(25.5)  # and the server's own
        assert not wire.connection.closed
        wire.gate.set()
        await settle()
        kinds = [message["type"] for message in wire.take()]
        assert kinds == ["message"] * 4 + ["pong", "ping"]


def test_slow_policy_that_does_not_exist_is_told_when_the_class_is_made():
    with pytest.raises(ImproperUse, match=r"Wrong.slow_policy is 'newest'; expected 'close', "):

        class Wrong(Channel):
            slow_policy = "newest"


# -- flow ------------------------------------------------------------------------------------------


def flow(paused, channel="public/a", **fields) -> dict:
    return {"type": "flow", "channel": channel, "payload": {"paused": paused}, **fields}


@in_virtual_time
async def test_paused_channel_delivers_nothing_and_what_was_published_is_gone():
    async with House() as house:
        wire = await house.open()
        await wire.ask(subscribe("public/a"), subscribe("public/b"))
        assert await wire.ask(flow(True, id=1)) == [
            {"type": "flow", "id": 1, "channel": "public/a", "payload": {"paused": True}}
        ]
        await deliver(house, "public/a", 3)
        await deliver(house, "public/b", 1)
        assert [m["channel"] for m in wire.take()] == ["public/b"]
        assert await wire.ask(flow(False, id=2)) == [
            {"type": "flow", "id": 2, "channel": "public/a", "payload": {"paused": False}}
        ]
        await deliver(house, "public/a", 1)
        assert [m["payload"] for m in wire.take()] == [0]


@in_virtual_time
async def test_pausing_twice_and_resuming_what_runs_change_nothing():
    async with House() as house:
        wire = await house.open()
        await wire.ask(subscribe())
        assert [m["type"] for m in await wire.ask(flow(False), flow(True), flow(True))] == [
            "flow"
        ] * 3
        await wire.ask(flow(False))
        await deliver(house, "public/a", 1)
        assert len(wire.take()) == 1


@in_virtual_time
async def test_flow_of_a_channel_that_is_not_subscribed_is_refused():
    async with House() as house:
        wire = await house.open()
        (reply,) = await wire.ask(flow(True, id=1))
        assert (reply["type"], reply["payload"]["code"]) == ("error", "not_subscribed")
        assert wire.connection._paused_channels == set()


@in_virtual_time
async def test_pause_ends_with_the_subscription():
    async with House() as house:
        wire = await house.open()
        await wire.ask(subscribe(), flow(True), {"type": "unsubscribe", "channel": "public/a"})
        await wire.ask(subscribe())
        await deliver(house, "public/a", 1)
        assert len(wire.take()) == 1


# -- users -----------------------------------------------------------------------------------------


class User:
    is_authenticated = True


def proof(user: str) -> Authenticated:
    return Authenticated(identity=Identity(user_id=user, method="token"), user=User())


@in_virtual_time
async def test_user_over_its_connections_is_closed_with_4429_and_others_are_not():
    async with House(max_connections_per_user=2) as house:
        wires = [await house.open() for _ in range(4)]
        users = ["7", "7", "7", "8"]
        found = [
            wire.connection.authenticated(proof(user), 0.0)
            for wire, user in zip(wires, users, strict=True)
        ]
        assert found == [True, True, False, True]
        assert wires[2].take()[0] == {
            "type": "closing",
            "payload": {
                "code": 4429,
                "reason": "this user has all the connections it may",
                "reconnect": True,
                "retry_after": connection_module.USER_FULL_RETRY_S,
            },
        }
        wires[2].connection.finish()
        wires[0].connection.finish()
        await settle()
        again = await house.open()
        assert again.connection.authenticated(proof("7"), 0.0)


@in_virtual_time
async def test_user_that_proves_itself_again_is_counted_once():
    async with House(max_connections_per_user=1) as house:
        wire = await house.open()
        assert wire.connection.authenticated(proof("7"), 0.0)
        assert wire.connection.authenticated(proof("7"), 0.0)
        wire.connection.finish()
        await settle()
        assert not house.node.admission._by_user
