"""Subscriptions that the server makes, on a loop of virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser

from channels_realtime import Channel, signals
from channels_realtime.access.revocation import Revocations
from channels_realtime.auth.base import Authenticated
from channels_realtime.connections import server_subscriptions
from channels_realtime.endpoints.websocket import BARE_ENCODING
from channels_realtime.errors import Forbidden
from channels_realtime.identity import Identity
from channels_realtime.nodes.node import Node
from channels_realtime.nodes.outgoing import Outgoing
from channels_realtime.protocol.dialects.bare import BareDialect
from channels_realtime.protocol.messages import Publication
from tests.support.nodes import FakeClient, Gated, NodeHarness, subscribe
from tests.support.virtual_time import in_virtual_time, settle


class Team(Channel):
    """Its members are on it automatically; its right is not asked for them."""

    teams: Any = ("teams/red",)
    entered: list[str] = []

    @classmethod
    async def automatic(cls, connection):
        if isinstance(cls.teams, Exception):
            raise cls.teams
        return cls.teams

    async def can_subscribe(self, connection):
        return False

    async def on_subscribe(self, connection):
        self.entered.append(self.name)
        if self.name == "teams/refuses":
            raise Forbidden("not here")


@pytest.fixture(autouse=True)
def teams():
    Team.teams, Team.entered = ("teams/red",), []
    return Team


class Harness(NodeHarness):
    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self.node.routes.register("teams/<str:x>", Team)

    async def enter(self) -> tuple[FakeClient, dict]:
        client = FakeClient(self.node)
        self.clients.append(client)
        await client.connection.welcome()
        (welcome,) = client.take()
        return client, welcome["payload"]["channels"]


async def ask(node: Node, kind: str, **arguments: Any) -> Any:
    found = server_subscriptions.HANDLERS[kind](node, {"parameters": None, **arguments})
    found = await found if asyncio.iscoroutine(found) else found
    await settle()
    return found


async def sign_in(client: FakeClient, user_id: str) -> None:
    identity = Identity(user_id=user_id, method="session")
    found = Authenticated(identity=identity, user=AnonymousUser())
    assert client.connection.authenticated(found, client.node.clock.time())
    await client.connection.join_own_channel()


def ended(channel: str, reason: str) -> dict:
    return {
        "type": "unsubscribed",
        "channel": channel,
        "payload": {"code": "forbidden", "reason": reason},
    }


AUTOMATIC = {"type": "subscribed", "payload": {}, "automatic": True}


# -- at the start ----------------------------------------------------------------------------------


@in_virtual_time
async def test_connection_is_on_its_automatic_channels_from_the_welcome():
    Team.teams = ("teams/red", "teams/blue")
    async with Harness() as harness:
        client, channels = await harness.enter()
        assert channels == {"teams/red": {}, "teams/blue": {}}
        assert Team.entered == ["teams/red", "teams/blue"]
        await harness.node.publish(Outgoing(publication=Publication("teams/blue", "hello")))
        await settle()
        assert [message["payload"] for message in client.take()] == ["hello"]


@in_virtual_time
async def test_what_is_published_before_the_welcome_follows_it():
    class Second(Channel):
        @classmethod
        async def automatic(cls, connection):
            return ["second/a"]

        async def on_subscribe(self, connection):
            await asyncio.sleep(1)

    async with Harness() as harness:
        harness.node.routes.register("second/<str:x>", Second)
        client = FakeClient(harness.node)
        harness.clients.append(client)
        welcoming = asyncio.create_task(client.connection.welcome())
        await asyncio.sleep(0.5)
        await harness.node.publish(Outgoing(publication=Publication("teams/red", "early")))
        await settle()
        assert client.take() == []
        await welcoming
        assert [message["type"] for message in client.take()] == ["welcome", "message"]


@pytest.mark.parametrize(
    ("teams", "logged"),
    [
        (ValueError("no database"), "Team.automatic failed"),
        ("teams/red", "Team.automatic failed"),
        (("public/a",), "Team.automatic failed"),
        (("teams/refuses",), "is not on 'teams/refuses' automatically: not here"),
    ],
)
def test_failure_is_logged_and_refuses_nobody(teams, logged, caplog):
    Team.teams = teams

    @in_virtual_time
    async def run():
        async with Harness() as harness:
            client, channels = await harness.enter()
            assert channels == {}
            assert not client.connection.closed

    run()
    assert logged in caplog.text


@in_virtual_time
async def test_automatic_channels_count_towards_the_limit(caplog):
    Team.teams = tuple(f"teams/{i}" for i in range(5))
    async with Harness(max_subscriptions=3) as harness:
        client, channels = await harness.enter()
        assert list(channels) == ["teams/0", "teams/1", "teams/2"]
        (error,) = await client.ask(subscribe("public/a", id=1))
        assert error["payload"]["code"] == "too_many_subscriptions"
    assert "gave more than 3 channels" in caplog.text


@in_virtual_time
async def test_names_may_be_yielded():
    class Yields(Channel):
        @classmethod
        async def automatic(cls, connection):
            while True:
                yield f"yields/{len(Team.entered)}"
                Team.entered.append("")

    async with Harness(max_subscriptions=3) as harness:
        Team.teams = None
        harness.node.routes.register("yields/<str:x>", Yields)
        _, channels = await harness.enter()
        assert list(channels) == ["yields/0", "yields/1", "yields/2"]


@in_virtual_time
async def test_connection_that_signs_in_is_told_of_its_channels():
    Team.teams = ()
    async with Harness() as harness:
        client, _ = await harness.enter()
        Team.teams = ("teams/red",)
        await sign_in(client, "5")
        assert client.take() == [{**AUTOMATIC, "channel": "teams/red"}]
        assert set(client.connection.subscriptions) == {"users/5", "teams/red"}


@in_virtual_time
async def test_client_that_subscribes_to_an_automatic_channel_is_on_it_already():
    async with Harness() as harness:
        client, _ = await harness.enter()
        (error,) = await client.ask(subscribe("teams/red", id=1))
        assert error["payload"]["code"] == "already_subscribed"
        assert [
            m["type"] for m in await client.ask({"type": "unsubscribe", "channel": "teams/red"})
        ]


# -- afterwards ------------------------------------------------------------------------------------


@in_virtual_time
async def test_recheck_ends_what_is_no_longer_automatic_and_makes_what_is_new():
    Team.teams = ("teams/red", "teams/blue")
    async with Harness() as harness:
        client, _ = await harness.enter()
        Team.teams = ("teams/blue", "teams/green")
        await client.connection.recheck()
        await settle()
        assert client.take() == [
            ended("teams/red", "no longer on 'teams/red'"),
            {**AUTOMATIC, "channel": "teams/green"},
        ]


@in_virtual_time
async def test_recheck_of_a_channel_concerns_that_channel_alone():
    Team.teams = ("teams/red", "teams/blue")
    async with Harness() as harness:
        client, _ = await harness.enter()
        Team.teams = ("teams/green",)
        harness.node.service(Revocations).recheck("teams/red", None)
        await settle()
        assert client.take() == [ended("teams/red", "no longer on 'teams/red'")]


@in_virtual_time
async def test_recheck_changes_nothing_where_the_class_fails(caplog):
    async with Harness() as harness:
        client, _ = await harness.enter()
        Team.teams = ValueError("no database")
        await client.connection.recheck()
        await settle()
        assert client.take() == []
    assert "Team.automatic failed" in caplog.text


@in_virtual_time
async def test_recheck_does_not_end_what_an_operation_has_made():
    Team.teams = ()
    async with Harness() as harness:
        client, _ = await harness.enter()
        await ask(harness.node, "subscribe", connections=[client.connection.id], channel="teams/x")
        client.take()
        await client.connection.recheck()
        await settle()
        assert client.take() == []


# -- operations ------------------------------------------------------------------------------------


@in_virtual_time
async def test_operation_subscribes_once_and_tells_the_client():
    told: list[str] = []

    async def receiver(connection, channel, **_):
        told.append(channel)

    signals.subscribed.connect(receiver)
    try:
        async with NodeHarness() as harness:
            client = await harness.open()
            ids = [client.connection.id, "gone"]
            first, second = await asyncio.gather(
                *(ask(harness.node, "subscribe", connections=ids, channel="public/a") for _ in "ab")
            )
            assert first == second == {"done": ids[:1], "impossible": []}
            assert client.take() == [{**AUTOMATIC, "channel": "public/a"}]
            await settle()
    finally:
        signals.subscribed.disconnect(receiver)
    assert told == ["public/a"]


@in_virtual_time
async def test_operation_and_client_that_subscribe_at_once_make_one_subscription():
    async with NodeHarness() as harness:
        client = await harness.open()
        asked = asyncio.create_task(client.ask(subscribe("gated/a", id=1)))
        await settle()
        operation = asyncio.create_task(
            ask(harness.node, "subscribe", connections=[client.connection.id], channel="gated/a")
        )
        await asyncio.gather(asked)
        assert not operation.done()
        Gated.gate.set()
        assert (await operation)["done"] == [client.connection.id]
        assert [m.get("automatic", False) for m in client.take()] == [False]
        assert harness.node.hub.count("gated/a") == 1


@in_virtual_time
async def test_operation_cannot_subscribe_a_full_or_a_plain_connection():
    async with Harness(max_subscriptions=1) as harness:
        full, _ = await harness.enter()
        bare = FakeClient(
            harness.node, dialect=BareDialect(BARE_ENCODING, "public/b", harness.node.config.limits)
        )
        harness.clients.append(bare)
        bare.connection.open_silently()
        ids = [bare.connection.id, full.connection.id]
        found = await ask(harness.node, "subscribe", connections=ids, channel="public/a")
        assert found == {"done": [], "impossible": ids}


@in_virtual_time
async def test_operation_concerns_the_namespace_of_the_channel_alone():
    async with NodeHarness() as harness:
        client = await harness.open()
        ids = [client.connection.id]
        found = await ask(harness.node, "subscribe", connections=ids, channel="acme|public/a")
        assert found == {"done": [], "impossible": []}


@in_virtual_time
async def test_subscription_is_taken_away():
    async with NodeHarness() as harness:
        on_it, not_on_it = await harness.open(), await harness.open()
        await on_it.ask(subscribe("public/a"), subscribe("public/b"))
        ids = [on_it.connection.id, not_on_it.connection.id, "gone"]
        assert (
            await ask(harness.node, "unsubscribe", connections=ids, channel="public/a") == ids[:1]
        )
        assert on_it.take() == [ended("public/a", "ended by an administrator")]
        await harness.node.publish(Outgoing(publication=Publication("public/a", 1)))
        await harness.node.publish(Outgoing(publication=Publication("public/b", 2)))
        await settle()
        assert [message["payload"] for message in on_it.take()] == [2]
        assert not_on_it.take() == []
        assert await ask(harness.node, "unsubscribe", connections=ids, channel="public/a") == []
