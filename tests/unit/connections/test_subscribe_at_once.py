"""Subscriptions for which nothing has to be waited for: they are made in the turn that reads them."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from channels_realtime import Channel
from tests.support.nodes import FakeClient, NodeHarness, subscribe
from tests.support.virtual_time import in_virtual_time


class Closed(Channel):
    pass


class Asking(Channel):
    async def can_subscribe(self, connection):
        return True


class Told(Channel):
    public = True

    async def on_subscribe(self, connection):
        pass


def harness_of(**config) -> NodeHarness:
    harness = NodeHarness(**config)
    for kind in (Closed, Asking, Told):
        harness.node.routes.register(f"{kind.__name__.lower()}/<str:x>", kind)
    return harness


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
        ("public/b", {}),  # in no group yet
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
            if channel != "public/b":
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
