"""Publications for which nothing has to be waited for: they are sent in the turn that reads them."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from channels.layers import InMemoryChannelLayer

from channels_realtime import Channel
from channels_realtime.nodes.adapters.base import RECEIVE_BURST
from channels_realtime.stores.history.base import History
from tests.support.nodes import FakeClient, NodeHarness, publish, subscribe
from tests.support.virtual_time import in_virtual_time, settle


class Asked(Channel):
    public = True
    log: list[str]

    async def can_publish(self, connection):
        self.log.append("asked")
        return True


class Changing(Asked):
    async def on_publish(self, connection, payload, event):
        self.log.append("changed")
        return payload


class Naming(Asked):
    async def sender(self, connection):
        self.log.append("named")
        return "somebody"


class Keeping(Asked):
    history = History(size=10, ttl=60)


def harness_of(layer=None) -> NodeHarness:
    harness = NodeHarness(layer=InMemoryChannelLayer() if layer is None else layer)
    Asked.log = []
    for kind in (Asked, Changing, Naming, Keeping):
        harness.node.routes.register(f"{kind.__name__.lower()}/<str:x>", kind)
    return harness


async def open_on(harness: NodeHarness, channel: str) -> FakeClient:
    """A client that is on a channel, and may publish there as far as is known."""
    await harness.node.broker.start()
    client = await harness.open()
    client.connection.receive(msgspec.json.encode(subscribe(channel)).decode())
    client.connection.receive(msgspec.json.encode(publish("first", channel)).decode())
    for _ in range(10):
        await settle()
    client.take()
    return client


def answer(client: FakeClient, *messages: dict) -> list:
    """What was answered before the event loop had its next turn."""
    for message in messages:
        client.connection.receive(msgspec.json.encode(message).decode())
    return client.take()


@in_virtual_time
async def test_publication_in_the_process_is_sent_without_a_task_where_the_right_is_known():
    async with harness_of() as harness:
        client = await open_on(harness, "asked/a")
        tasks = asyncio.all_tasks()
        found = answer(client, publish("x", "asked/a", id=1), publish("y", "asked/a"))
        assert [(message["type"], message["id"]) for message in found] == [("published", 1)]
        assert asyncio.all_tasks() == tasks
        await settle()
        assert [message["payload"] for message in client.take()] == ["x", "y"]
        assert Asked.log == ["asked"]


@in_virtual_time
async def test_refusal_is_answered_at_once():
    async with harness_of() as harness:
        client = await open_on(harness, "asked/a")
        [error] = answer(client, publish("x", "asked/a", id=1, event="secret"))
        assert (error["type"], error["id"]) == ("error", 1)
        assert error["payload"]["code"] == "forbidden"


@pytest.mark.parametrize("channel", ["changing/a", "naming/a", "keeping/a"])
@in_virtual_time
async def test_publication_with_a_hook_or_a_history_has_a_task(channel):
    async with harness_of() as harness:
        client = await open_on(harness, channel)
        tasks = len(asyncio.all_tasks())
        assert answer(client, publish("x", channel, id=1)) == []
        assert len(asyncio.all_tasks()) == tasks + 1
        for _ in range(10):
            await settle()
        found = {message["type"]: message for message in client.take()}
        assert found.keys() == {"published", "message"}
        assert found["message"]["payload"] == "x"


@in_virtual_time
async def test_publication_waits_where_the_right_is_not_known():
    async with harness_of() as harness:
        client = await open_on(harness, "asked/a")
        client.connection.publish_rights.forget()
        assert answer(client, publish("x", "asked/a", id=1)) == []
        await settle()
        assert Asked.log == ["asked", "asked"]


@in_virtual_time
async def test_publication_waits_where_the_process_is_behind():
    async with harness_of() as harness:
        client = await open_on(harness, "asked/a")
        for number in range(RECEIVE_BURST):
            assert answer(client, publish(number, "asked/a", id=number)) != []
        assert answer(client, publish("last", "asked/a", id="last")) == []
        for _ in range(10):
            await settle()
        found = client.take()
        told = [message["payload"] for message in found if message["type"] == "message"]
        assert told == [*range(RECEIVE_BURST), "last"]
        assert [message["id"] for message in found if message["type"] == "published"] == ["last"]


@in_virtual_time
async def test_publication_waits_where_nobody_is_subscribed():
    """Else a client that floods such a channel would be served for whole turns of the event loop."""
    async with harness_of() as harness:
        client = await open_on(harness, "asked/a")
        assert answer(client, publish("x", "asked/nobody")) == []
        for _ in range(10):
            await settle()
        assert answer(client, publish("y", "asked/nobody", id=1)) == []
        await settle()
        assert [message["type"] for message in client.take()] == ["published"]


@in_virtual_time
async def test_publication_waits_where_somebody_else_is_in_the_group():
    layer = InMemoryChannelLayer()
    async with harness_of(layer) as harness:
        client = await open_on(harness, "asked/a")
        [group] = [name for name in layer.groups if ".n." in name]
        own = await layer.new_channel()
        await layer.group_add(group, own)
        assert answer(client, publish("x", "asked/a", id=1)) == []
        await settle()
        assert (await layer.receive(own))["type"] == "realtime.publication"
