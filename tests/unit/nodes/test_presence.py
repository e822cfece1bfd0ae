"""Presence on nodes that share a layer and a store, in virtual time."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from channels_realtime import Channel, Presence
from channels_realtime.errors import Unavailable
from channels_realtime.nodes.presence import Presences
from channels_realtime.nodes.stores import stores_of
from channels_realtime.presence.memory import MemoryPresence
from tests.support.nodes import NodeHarness, subscribe
from tests.support.scripted_layer import ScriptedLayer
from tests.support.virtual_time import in_virtual_time, settle

LEASE = 20.0


class ScriptedStore(MemoryPresence):
    """The store in memory, until told otherwise."""

    def __init__(self):
        super().__init__()
        self.away = False
        self.calls = []

    async def _script(self, call):
        self.calls.append(call)
        if self.away:
            raise Unavailable("the store is away")

    async def enter(self, node, entries, lease):
        await self._script(("enter", len(entries)))
        return await super().enter(node, entries, lease)

    async def leave(self, node, departures):
        await self._script(("leave", len(departures)))
        return await super().leave(node, departures)

    async def renew(self, node, held, lease):
        await self._script(("renew", sum(held.values())))
        return await super().renew(node, held, lease)

    async def sweep(self, partitions=range(16)):
        await self._script(("sweep",))
        return await super().sweep(partitions)

    async def members(self, stream, limit):
        await self._script(("members", stream))
        return await super().members(stream, limit)

    async def tallies(self, streams):
        await self._script(("tallies", len(streams)))
        return await super().tallies(streams)


class Room(Channel):
    public = True
    presence = Presence(grace=5)


class Devices(Channel):
    public = True
    presence = Presence(grace=5, by_user=False)


class Crowd(Channel):
    public = True
    presence = Presence(grace=0, max_members=2, announces=False)


class Named(Channel):
    public = True
    presence = Presence(grace=5)
    calls: list[list[str]] = []
    answer: object = None
    gate: asyncio.Event | None = None

    @classmethod
    async def members_info(cls, clients):
        cls.calls.append([client.id for client in clients])
        if cls.gate is not None:
            await cls.gate.wait()
        if isinstance(cls.answer, Exception):
            raise cls.answer
        return cls.answer or {
            client.user_id or client.id: {"name": f"name of {client.user_id}"} for client in clients
        }


class Site:
    """Some nodes on one layer with one store."""

    def __init__(self, nodes=2):
        self.layer = ScriptedLayer(capacity=10_000)
        self.nodes = [NodeHarness(layer=self.layer, node_lease=LEASE) for _ in range(nodes)]
        self.store = ScriptedStore()
        stores_of(self.layer, self.nodes[0].node.config)._presence = self.store
        for harness in self.nodes:
            for pattern, kind in [
                ("rooms/<str:x>", Room),
                ("devices/<str:x>", Devices),
                ("crowds/<str:x>", Crowd),
                ("named/<str:x>", Named),
            ]:
                harness.node.routes.register(pattern, kind)
        Named.calls, Named.answer, Named.gate = [], None, None

    async def __aenter__(self):
        for harness in self.nodes:
            await harness.node.ready()
        return self

    async def __aexit__(self, *exception):
        self.store.away = False
        for harness in self.nodes:
            await harness.__aexit__(*exception)

    async def client(self, node=0, user=None):
        client = await self.nodes[node].open()
        if user is not None:
            sign_in(client, user)
        return client

    async def pass_time(self, seconds):
        await asyncio.sleep(seconds)
        await settle()

    def kill(self, node):
        """The process is gone: nothing of it writes any more, and nothing was taken back."""
        killed = self.nodes[node].node
        presences = killed.service(Presences)
        presences._task.cancel()
        presences._task = None
        for task in killed.broker._tasks:
            task.cancel()


def sign_in(client, user):
    connection = client.connection
    connection.identity = SimpleNamespace(
        user_id=user, user_key=user, is_anonymous=False, expires_at=None, method="session", keys=()
    )
    client.node.connection_changed(connection.id)


def watch(channel="rooms/a", **fields):
    return subscribe(channel, presence=True, **fields)


def told(messages):
    return [
        (message["type"], message["payload"]["member"]["id"], message["payload"]["count"])
        for message in messages
        if message["type"] in ("join", "leave")
    ]


async def watching(client, channel="rooms/a"):
    """Subscribe with presence; the ids of those who are there."""
    (reply,) = await client.ask(watch(channel))
    assert reply["type"] == "subscribed", reply
    assert len(reply["payload"]["members"]) == reply["payload"]["count"]
    return [member["id"] for member in reply["payload"]["members"]]


async def leave(client):
    client.connection.finish()
    await settle()


@in_virtual_time
async def test_a_subscriber_gets_the_members_and_then_who_comes_and_goes():
    async with Site() as site:
        ann, bob = await site.client(0, "1"), await site.client(1, "2")
        assert await watching(ann) == ["user:1"]
        assert await watching(bob) == ["user:1", "user:2"]
        assert told(ann.take()) == [("join", "user:2", 2)]
        await leave(bob)
        await site.pass_time(4.0)
        assert told(ann.take()) == []
        await site.pass_time(2.5)
        assert told(ann.take()) == [("leave", "user:2", 1)]


@in_virtual_time
async def test_who_did_not_ask_is_a_member_and_is_told_nothing():
    async with Site() as site:
        ann, bob = await site.client(0, "1"), await site.client(0, "2")
        (reply,) = await ann.ask(subscribe("rooms/a"))
        assert reply["payload"] == {}
        assert await watching(bob) == ["user:1", "user:2"]
        await leave(bob)
        await site.pass_time(10.0)
        assert ann.take() == []


@in_virtual_time
async def test_a_reload_reaches_nobody():
    async with Site() as site:
        ann, bob = await site.client(0, "1"), await site.client(1, "2")
        await watching(ann)
        await watching(bob)
        ann.take()
        await leave(bob)
        await site.pass_time(2.0)
        again = await site.client(0, "2")
        assert await watching(again) == ["user:1", "user:2"]
        await site.pass_time(20.0)
        assert told(ann.take()) == []


@in_virtual_time
async def test_two_connections_of_a_user_are_one_member():
    async with Site() as site:
        ann = await site.client(0, "1")
        await watching(ann)
        tabs = [await site.client(n, "2") for n in (0, 1)]
        for tab in tabs:
            await tab.ask(subscribe("rooms/a"))
        assert told(ann.take()) == [("join", "user:2", 2)]
        await leave(tabs[0])
        await site.pass_time(20.0)
        assert told(ann.take()) == []
        await leave(tabs[1])
        await site.pass_time(7.0)
        assert told(ann.take()) == [("leave", "user:2", 1)]


@in_virtual_time
async def test_connections_may_be_members():
    async with Site() as site:
        tabs = [await site.client(n, "2") for n in (0, 1)]
        ids = [tab.connection.id for tab in tabs]
        assert await watching(tabs[0], "devices/a") == ids[:1]
        assert await watching(tabs[1], "devices/a") == ids


@in_virtual_time
async def test_nothing_is_told_after_unsubscribing():
    async with Site() as site:
        ann, bob = await site.client(0, "1"), await site.client(0, "2")
        await watching(ann)
        await ann.ask({"type": "unsubscribe", "channel": "rooms/a"})
        await watching(bob)
        await site.pass_time(10.0)
        assert ann.take() == []
        assert told(bob.take()) == [("leave", "user:1", 1)]


@in_virtual_time
async def test_members_of_a_killed_process_leave_within_the_lease():
    async with Site() as site:
        ann = await site.client(0, "1")
        await watching(ann)
        for user in ("2", "3"):
            await (await site.client(1, user)).ask(subscribe("rooms/a"))
        ann.take()
        site.kill(1)
        await site.pass_time(LEASE)
        left = told(ann.take())
        assert sorted(member for _, member, _ in left) == ["user:2", "user:3"]
        assert [(kind, count) for kind, _, count in left] == [("leave", 2), ("leave", 1)]
        (reply,) = await ann.ask({"type": "presence", "channel": "rooms/a"})
        assert reply["payload"]["count"] == 1
