"""Subscriptions without a task: made in the turn that reads them, or when a plain hook or the layer answers."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import msgspec
import pytest

from channels_realtime import Channel
from channels_realtime.access.revocation import Revocations
from channels_realtime.connections import server_subscriptions
from channels_realtime.errors import RateLimited
from tests.support.nodes import FakeClient, NodeHarness, subscribe
from tests.support.virtual_time import in_virtual_time, settle

SUBSCRIBED = {"type": "subscribed", "id": 1, "payload": {}}


class Closed(Channel):
    pass


class Asking(Channel):
    async def can_subscribe(self, connection):
        return True


class Told(Channel):
    public = True

    async def on_subscribe(self, connection):
        pass


class Plain(Channel):
    """Its hook is asked in a thread, and says nothing before the gate is open."""

    gate: threading.Event
    verdict: Any

    def can_subscribe(self, connection):
        assert self.gate.wait(10)
        verdict = self.verdict.pop() if isinstance(self.verdict, list) else self.verdict
        if isinstance(verdict, Exception):
            raise verdict
        return verdict


async def in_disguise():
    return False


def harness_of(**config) -> NodeHarness:
    harness = NodeHarness(**config)
    for kind in (Closed, Asking, Told, Plain):
        harness.node.routes.register(f"{kind.__name__.lower()}/<str:x>", kind)
    Plain.gate, Plain.verdict = threading.Event(), True
    Plain.gate.set()
    return harness


async def begun(harness: NodeHarness) -> FakeClient:
    """A client whose hook is being asked; another is on the channel already."""
    first, client = await harness.open(), await harness.open()
    await first.ask(subscribe("plain/a"))
    await decided(harness)
    Plain.gate.clear()
    assert answer(client, subscribe("plain/a", id=1)) == []
    return client


async def decided(harness: NodeHarness) -> None:
    """The hooks that were asked have answered, and what they said is done."""
    Plain.gate.set()
    for client in harness.clients:
        await client.connection.served()
    await settle()


def is_alone(harness: NodeHarness, client: FakeClient) -> bool:
    """Whether nothing is left of the client's subscription, and one other client is on the channel."""
    connection = client.connection
    left = (*connection.turns, *connection.subscriptions, *connection._tasks)
    return not left and not connection.reserved and harness.node.hub.count("plain/a") == 1


def answer(client: FakeClient, *messages: dict) -> list:
    """What was answered before the event loop had its next turn."""
    for message in messages:
        client.connection.receive(msgspec.json.encode(message).decode())
    return client.take()


@in_virtual_time
async def test_channel_of_this_process_without_hooks_is_subscribed_to_at_once():
    async with harness_of() as harness:
        first, second = await harness.open(), await harness.open()
        await first.ask(subscribe(id=1))
        tasks = asyncio.all_tasks()
        assert answer(second, subscribe(id=2)) == [
            {"type": "subscribed", "id": 2, "channel": "public/a", "payload": {}}
        ]
        assert asyncio.all_tasks() == tasks
        harness.publish("public/a", "x")
        assert [message["payload"] for message in second.take()] == ["x"]


@pytest.mark.parametrize(
    ("channel", "fields"),
    [
        ("asking/a", {}),
        ("told/a", {}),
        ("stored/a", {}),
        ("public/a", {"since": {"epoch": "e", "offset": 1}}),
    ],
)
def test_anything_that_waits_is_a_task_as_before(channel, fields):
    @in_virtual_time
    async def scenario():
        async with harness_of() as harness:
            first, second = await harness.open(), await harness.open()
            await first.ask(subscribe())
            await first.ask(subscribe(channel))
            assert answer(second, subscribe(channel, **fields)) == []
            (reply,) = await second.ask()
            assert (reply["type"], reply["channel"]) == ("subscribed", channel)

    scenario()


@in_virtual_time
async def test_refusals_are_the_same_at_once():
    async with harness_of(max_subscriptions=1) as harness:
        first, second = await harness.open(), await harness.open()
        await first.ask(subscribe())
        replies = answer(
            second,
            subscribe("closed/a"),
            subscribe("nowhere/a"),
            subscribe("public/a"),
            subscribe("public/b"),
        )
        assert [(one["type"], one["payload"].get("code")) for one in replies] == [
            ("error", "forbidden"),
            ("error", "unknown_channel"),
            ("subscribed", None),
            ("error", "too_many_subscriptions"),
        ]
        (again,) = await second.ask(subscribe("public/a"))
        assert again["payload"]["code"] == "already_subscribed"


@in_virtual_time
async def test_group_is_left_after_the_last_that_subscribed_at_once():
    async with harness_of() as harness:
        first, second = await harness.open(), await harness.open()
        await first.ask(subscribe())
        answer(second, subscribe())
        await first.ask({"type": "unsubscribe", "channel": "public/a"})
        await asyncio.sleep(10)
        group = "realtime.n.public-sa"
        assert len(harness.layer.groups[group]) == 1
        await second.ask({"type": "unsubscribe", "channel": "public/a"})
        await asyncio.sleep(10)
        assert group not in harness.layer.groups


# -- a plain hook, asked in a thread ---------------------------------------------------------------


@in_virtual_time
async def test_plain_hook_is_waited_for_without_a_task():
    async with harness_of() as harness:
        client = await begun(harness)
        tasks = asyncio.all_tasks()
        (pong,) = await client.ask({"type": "ping"})  # nothing else waits for the hook
        assert pong["type"] == "pong"
        await decided(harness)
        assert client.take() == [{**SUBSCRIBED, "channel": "plain/a"}]
        assert asyncio.all_tasks() == tasks
        harness.publish("plain/a", "x")
        assert [message["payload"] for message in client.take()] == ["x"]


@pytest.mark.parametrize(
    ("verdict", "code"),
    [
        (False, "forbidden"),
        (None, "forbidden"),
        (RateLimited("too often", retry_after=3.0), "rate_limited"),
        (ValueError("a bug"), "internal"),
    ],
)
def test_refusals_of_a_plain_hook_are_the_same(verdict, code):
    @in_virtual_time
    async def scenario():
        async with harness_of() as harness:
            client = await begun(harness)
            Plain.verdict = verdict
            await decided(harness)
            (reply,) = client.take()
            assert (reply["type"], reply["payload"]["code"]) == ("error", code)
            assert is_alone(harness, client)

    scenario()


@in_virtual_time
async def test_coroutine_of_a_plain_hook_is_no_yes():
    async with harness_of() as harness:
        client = await begun(harness)
        Plain.verdict = in_disguise()
        await decided(harness)
        (reply,) = client.take()
        assert reply["payload"]["code"] == "forbidden"
        assert is_alone(harness, client)


@pytest.mark.parametrize("answered", [False, True], ids=["is being asked", "has just said yes"])
def test_connection_that_ends_when_its_hook_is_on_nothing(answered):
    @in_virtual_time
    async def scenario():
        async with harness_of() as harness:
            client = await begun(harness)
            (verdict,) = client.connection._tasks
            if answered:
                verdict.set_result(True)
            client.connection.finish()
            await decided(harness)
            assert is_alone(harness, client)

    scenario()


@in_virtual_time
async def test_operation_waits_for_the_hook_and_a_later_request_of_the_client_too():
    async with harness_of() as harness:
        client = await begun(harness)
        arguments = {
            "connections": [client.connection.id],
            "channel": "plain/a",
            "parameters": None,
        }
        operation = asyncio.create_task(
            server_subscriptions.HANDLERS["subscribe"](harness.node, arguments)
        )
        assert await client.ask(subscribe("plain/a", id=2)) == []
        assert not operation.done()
        await decided(harness)
        first, second = client.take()
        assert first == {**SUBSCRIBED, "channel": "plain/a"}
        assert second["payload"]["code"] == "already_subscribed"
        assert (await operation)["done"] == [client.connection.id]
        assert harness.node.hub.count("plain/a") == 2


@in_virtual_time
async def test_rights_that_change_while_a_plain_hook_is_asked_are_asked_again():
    async with harness_of() as harness:
        client = await begun(harness)
        Plain.verdict = [False, True]
        harness.node.service(Revocations).rechecks += 1
        await decided(harness)
        await asyncio.sleep(1)  # stands still while a thread works: the hook is asked again in one
        assert [message["type"] for message in client.take()] == ["subscribed", "unsubscribed"]
        assert is_alone(harness, client)


# -- the layer -------------------------------------------------------------------------------------


@in_virtual_time
async def test_group_is_waited_for_without_a_task_of_the_connection():
    async with harness_of(max_subscriptions=1) as harness:
        first, client = await harness.open(), await harness.open()
        await first.ask(subscribe())  # the layer is reached
        (refusal,) = answer(client, subscribe("public/new", id=1), subscribe("public/b", id=2))
        assert (refusal["id"], refusal["payload"]["code"]) == (2, "too_many_subscriptions")
        assert not any(isinstance(one, asyncio.Task) for one in client.connection._tasks)
        await settle()
        assert client.take() == [{**SUBSCRIBED, "channel": "public/new"}]
        assert client.connection.reserved == 0


@pytest.mark.parametrize("ends", [True, False], ids=["its client goes", "the layer fails"])
def test_group_that_is_not_joined_is_left(ends):
    @in_virtual_time
    async def scenario():
        async with harness_of() as harness:
            first, client = await harness.open(), await harness.open()
            await first.ask(subscribe())  # the layer is reached
            if ends:
                harness.layer.hanging.add("group_add")
            else:
                harness.layer.fail("group_add", ConnectionError("away"))
            assert answer(client, subscribe("public/new")) == []
            if ends:
                client.connection.finish()
            await settle()
            assert [one["payload"]["code"] for one in client.take()] == (
                [] if ends else ["unavailable"]
            )
            connection = client.connection
            assert (connection.reserved, *connection.turns, *connection._tasks) == (0,)
            await asyncio.sleep(12)
            assert list(harness.node.broker._memberships) == ["realtime.n.public-sa"]

    scenario()
