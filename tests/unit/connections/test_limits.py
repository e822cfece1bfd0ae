"""Limits that need a connection: a channel class's own, a user's, and ``flow``."""

from __future__ import annotations

import asyncio

import pytest

from channels_realtime import Channel
from channels_realtime.access.limits import AccessLimits
from channels_realtime.auth.base import Authenticated
from channels_realtime.connections import connection as connection_module
from channels_realtime.connections.credentials import USER_FULL_RETRY_S
from channels_realtime.errors import ImproperUse
from channels_realtime.identity import Identity
from channels_realtime.nodes.outgoing import Outgoing
from channels_realtime.protocol.messages import Publication
from tests.support.nodes import FakeClient, NodeHarness, NoJitter, Public, subscribe
from tests.support.virtual_time import in_virtual_time, settle


@pytest.fixture(autouse=True)
def no_jitter(monkeypatch):
    monkeypatch.setattr(connection_module, "random", NoJitter)


class Limited(Public):
    publish_rate = (1.0, 2.0)
    max_payload_bytes = 20


class Newest(Public):
    slow_policy = "latest"


class Lossy(Public):
    slow_policy = "drop_oldest"


def house_with(**config) -> NodeHarness:
    harness = NodeHarness(**config)
    for route, channel in {
        "limited/<str:x>": Limited,
        "newest/<str:x>": Newest,
        "lossy/<str:x>": Lossy,
    }.items():
        harness.node.routes.register(route, channel)
    return harness


def publish(channel: str, payload, **fields) -> dict:
    return {"type": "publish", "channel": channel, "payload": payload, **fields}


# -- a channel class's own -------------------------------------------------------------------------


@in_virtual_time
async def test_publish_rate_of_a_channel_is_each_connections_own():
    async with house_with() as harness:
        client, other = await harness.open(), await harness.open()
        replies = await client.ask(*[publish("limited/a", n, id=n) for n in range(3)])
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
        (reply,) = await client.ask(publish("limited/b", 1, id=1))  # another channel's bucket
        assert reply["type"] == "published"
        (reply,) = await other.ask(publish("limited/a", 1, id=1))
        assert reply["type"] == "published"
        await asyncio.sleep(1.0)
        (reply,) = await client.ask(publish("limited/a", 1, id=1))
        assert reply["type"] == "published"
        assert harness.node.statistics().metrics.throttled == 1


@in_virtual_time
async def test_publish_buckets_have_a_bound():
    async with house_with(connection_messages=None) as harness:
        client = await harness.open()
        for n in range(connection_module.MAX_PUBLISH_BUCKETS + 50):
            await client.ask(publish(f"limited/{n}", n))
        assert len(client.connection._publish_buckets) == connection_module.MAX_PUBLISH_BUCKETS


@in_virtual_time
async def test_payload_over_the_channels_bound_is_too_large_and_others_are_not():
    async with house_with() as harness:
        client = await harness.open()
        (reply,) = await client.ask(publish("limited/a", "x" * 19, id=1))
        assert reply["payload"] == {
            "code": "too_large",
            "reason": "a payload of 21 bytes; 'limited/a' takes 20",
        }
        assert reply["type"] == "error"
        (reply,) = await client.ask(publish("limited/a", "x" * 18, id=1))
        assert reply["type"] == "published"
        (reply,) = await client.ask(publish("public/a", "x" * 1_000, id=1))
        assert reply["type"] == "published"


async def deliver(harness: NodeHarness, channel: str, count: int) -> None:
    for n in range(count):
        await harness.node.publish(Outgoing(publication=Publication(channel, n)))
    await settle()


async def slow_wire(harness: NodeHarness, *channels: str) -> FakeClient:
    client = await harness.open()
    for channel in channels:
        await client.ask(subscribe(channel))
    client.gate.clear()
    return client


async def read_on(client: FakeClient) -> list:
    client.gate.set()
    await settle()
    return [message["payload"] for message in client.take() if message["type"] == "message"]


@in_virtual_time
async def test_slow_client_of_a_channel_that_loses_the_oldest_gets_the_newest():
    async with house_with(outbox_max_messages=5) as harness:
        client = await slow_wire(harness, "lossy/a")
        await deliver(harness, "lossy/a", 100)
        assert await read_on(client) == [0, 95, 96, 97, 98, 99]
        assert not client.connection.closed


@in_virtual_time
async def test_slow_client_of_a_channel_that_keeps_the_latest_gets_that():
    async with house_with(outbox_max_messages=5) as harness:
        client = await slow_wire(harness, "newest/a", "newest/b")
        await deliver(harness, "newest/a", 100)
        await deliver(harness, "newest/b", 100)
        assert await read_on(client) == [0, 99, 99]


@in_virtual_time
async def test_slow_client_is_closed_by_a_channel_that_loses_nothing_beside_one_that_may():
    async with house_with(outbox_max_messages=5) as harness:
        client = await slow_wire(harness, "lossy/a", "public/a")
        await deliver(harness, "lossy/a", 100)
        await deliver(harness, "public/a", 5)  # these push out what may be lost
        assert not client.connection.closed
        await deliver(harness, "public/a", 1)
        assert client.connection.close_code == 4430


@in_virtual_time
async def test_ping_and_replies_do_not_end_a_slow_client_that_may_lose_messages():
    async with house_with(outbox_max_messages=5) as harness:
        client = await slow_wire(harness, "lossy/a")
        await deliver(harness, "lossy/a", 100)
        await client.ask({"type": "ping", "id": 1})
        await asyncio.sleep(25.5)  # and the server's own
        assert not client.connection.closed
        client.gate.set()
        await settle()
        kinds = [message["type"] for message in client.take()]
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
    async with NodeHarness() as harness:
        client = await harness.open()
        await client.ask(subscribe("public/a"), subscribe("public/b"))
        assert await client.ask(flow(True, id=1)) == [
            {"type": "flow", "id": 1, "channel": "public/a", "payload": {"paused": True}}
        ]
        await deliver(harness, "public/a", 3)
        await deliver(harness, "public/b", 1)
        assert [m["channel"] for m in client.take()] == ["public/b"]
        assert await client.ask(flow(False, id=2)) == [
            {"type": "flow", "id": 2, "channel": "public/a", "payload": {"paused": False}}
        ]
        await deliver(harness, "public/a", 1)
        assert [m["payload"] for m in client.take()] == [0]


@in_virtual_time
async def test_pausing_twice_and_resuming_what_runs_change_nothing():
    async with NodeHarness() as harness:
        client = await harness.open()
        await client.ask(subscribe())
        assert [m["type"] for m in await client.ask(flow(False), flow(True), flow(True))] == [
            "flow"
        ] * 3
        await client.ask(flow(False))
        await deliver(harness, "public/a", 1)
        assert len(client.take()) == 1


@in_virtual_time
async def test_flow_of_a_channel_that_is_not_subscribed_is_refused():
    async with NodeHarness() as harness:
        client = await harness.open()
        (reply,) = await client.ask(flow(True, id=1))
        assert (reply["type"], reply["payload"]["code"]) == ("error", "not_subscribed")
        assert client.connection._paused_channels == set()


@in_virtual_time
async def test_pause_ends_with_the_subscription():
    async with NodeHarness() as harness:
        client = await harness.open()
        await client.ask(subscribe(), flow(True), {"type": "unsubscribe", "channel": "public/a"})
        await client.ask(subscribe())
        await deliver(harness, "public/a", 1)
        assert len(client.take()) == 1


# -- users -----------------------------------------------------------------------------------------


class User:
    is_authenticated = True


def proof(user: str) -> Authenticated:
    return Authenticated(identity=Identity(user_id=user, method="token"), user=User())


@in_virtual_time
async def test_user_over_its_connections_is_closed_with_4429_and_others_are_not():
    async with NodeHarness(max_connections_per_user=2) as harness:
        clients = [await harness.open() for _ in range(4)]
        users = ["7", "7", "7", "8"]
        found = [
            client.connection.authenticated(proof(user), 0.0)
            for client, user in zip(clients, users, strict=True)
        ]
        assert found == [True, True, False, True]
        assert clients[2].take()[0] == {
            "type": "closing",
            "payload": {
                "code": 4429,
                "reason": "this user has all the connections it may",
                "reconnect": True,
                "retry_after": USER_FULL_RETRY_S,
            },
        }
        clients[2].connection.finish()
        clients[0].connection.finish()
        await settle()
        again = await harness.open()
        assert again.connection.authenticated(proof("7"), 0.0)


@in_virtual_time
async def test_user_that_proves_itself_again_is_counted_once():
    async with NodeHarness(max_connections_per_user=1) as harness:
        client = await harness.open()
        assert client.connection.authenticated(proof("7"), 0.0)
        assert client.connection.authenticated(proof("7"), 0.0)
        client.connection.finish()
        await settle()
        assert not harness.node.service(AccessLimits)._by_user
