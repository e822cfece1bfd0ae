"""Presence on nodes that share a layer and a store, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from channels_realtime import Channel, Presence, signals
from channels_realtime.errors import ImproperUse, Unavailable
from channels_realtime.identity import Identity
from channels_realtime.namespaces import SCOPE_KEY
from channels_realtime.nodes.groups import group_name
from channels_realtime.nodes.presence import Presences
from channels_realtime.nodes.stores import stores_of
from channels_realtime.stores.presence.memory import MemoryPresence
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
        end_writing(killed.service(Presences))
        killed.broker._tender.cancel()
        killed.broker._layer.stop_listening(killed.broker.inbox)


def end_writing(presences):
    presences._writer._task.cancel()
    presences._writer._task = None


def sign_in(client, user):
    connection = client.connection
    connection.identity = Identity(user_id=user, method="session")
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


# -- what members are ------------------------------------------------------------------------------


@in_virtual_time
async def test_who_signs_in_becomes_a_member_by_user():
    async with Site() as site:
        ann, bob = await site.client(0, "1"), await site.client(1)
        await watching(ann)
        await bob.ask(subscribe("rooms/a"))
        assert told(ann.take()) == [("join", bob.connection.id, 2)]
        sign_in(bob, "2")
        await settle()
        assert told(ann.take()) == [("join", "user:2", 3)]
        await site.pass_time(7.0)
        assert told(ann.take()) == [("leave", bob.connection.id, 2)]


@in_virtual_time
async def test_information_is_asked_for_many_at_once():
    async with Site() as site:
        ann = await site.client(0, "1")
        (reply,) = await ann.ask(watch("named/a"))
        assert reply["payload"]["members"] == [
            {"id": "user:1", "user": "1", "info": {"name": "name of 1"}}
        ]
        Named.calls.clear()
        others = [await site.client(0, str(n)) for n in range(2, 12)]
        for client in others:
            client.connection.receive('{"type": "subscribe", "channel": "named/a"}')
        await settle()
        assert [len(call) for call in Named.calls] == [10]
        joins = [message["payload"]["member"] for message in ann.take()]
        assert {each["info"]["name"] for each in joins} == {f"name of {n}" for n in range(2, 12)}


@in_virtual_time
async def test_those_who_come_while_a_class_is_asked_are_asked_for_together():
    async with Site() as site:
        Named.gate = asyncio.Event()
        clients = [await site.client(0, str(n)) for n in range(1, 6)]
        for client in clients:
            await client.ask(subscribe("named/a"))
        assert [len(call) for call in Named.calls] == [1]
        Named.gate.set()
        await settle()
        assert [len(call) for call in Named.calls] == [1, 4]


@pytest.mark.parametrize(
    "answer", [ValueError("no table"), "text", {"1": object()}, {"1": "x" * 5_000}, {"9": "other"}]
)
def test_a_member_without_information_is_a_member_all_the_same(answer, caplog):
    @in_virtual_time
    async def run():
        async with Site() as site:
            Named.answer = answer
            ann = await site.client(0, "1")
            (reply,) = await ann.ask(watch("named/a"))
            assert reply["payload"]["members"] == [{"id": "user:1", "user": "1", "info": None}]

    run()
    assert ("members_info" in caplog.text) == (answer != {"9": "other"})


def test_information_is_of_a_classmethod():
    with pytest.raises(ImproperUse, match="members_info is no classmethod"):

        class Wrong(Channel):
            def members_info(self, clients):
                return {}


@in_virtual_time
async def test_who_is_gone_before_it_was_asked_about_was_never_there():
    async with Site() as site:
        ann = await site.client(0, "1")
        await watching(ann, "named/a")
        Named.gate = asyncio.Event()
        bob = await site.client(0, "2")
        await bob.ask(subscribe("named/a"))
        await leave(bob)
        Named.gate.set()
        await site.pass_time(10.0)
        assert ann.take() == []


@in_virtual_time
async def test_crowds_are_counted_and_not_announced():
    async with Site() as site:
        clients = [await site.client(n % 2, str(n)) for n in range(1, 5)]
        for client in clients[:3]:
            await client.ask(subscribe("crowds/a"))
        (reply,) = await clients[3].ask(watch("crowds/a"))
        assert reply["payload"]["count"] == 4
        assert [member["id"] for member in reply["payload"]["members"]] == ["user:1", "user:2"]
        await leave(clients[0])
        await site.pass_time(2.0)
        assert clients[3].take() == []
        (reply,) = await clients[3].ask({"type": "presence", "channel": "crowds/a"})
        assert reply["payload"]["count"] == 3


@in_virtual_time
async def test_namespaces_are_apart():
    async with Site() as site:
        ann, bob = await site.client(0, "1"), await site.client(0, "2")
        bob.connection.scope[SCOPE_KEY] = "acme"
        assert await watching(ann) == ["user:1"]
        assert await watching(bob) == ["user:2"]
        assert ann.take() == []


# -- requests --------------------------------------------------------------------------------------


@in_virtual_time
async def test_the_request_needs_no_subscription():
    async with Site() as site:
        ann, bob = await site.client(0, "1"), await site.client(1, "2")
        await ann.ask(subscribe("rooms/a"))
        (reply,) = await bob.ask({"type": "presence", "channel": "rooms/a", "id": 7})
        assert reply == {
            "type": "presence",
            "id": 7,
            "channel": "rooms/a",
            "payload": {"members": [{"id": "user:1", "user": "1", "info": None}], "count": 1},
        }


@in_virtual_time
async def test_a_class_without_presence_says_so():
    async with Site() as site:
        ann = await site.client(0, "1")
        (reply,) = await ann.ask({"type": "presence", "channel": "public/a", "id": 1})
        assert reply["payload"]["code"] == "unsupported"
        (reply,) = await ann.ask(watch("public/a"))
        assert (reply["type"], reply["payload"]) == ("subscribed", {})


@in_virtual_time
async def test_the_request_needs_the_right_to_subscribe():
    class Closed(Channel):
        presence = Presence()

    async with Site() as site:
        site.nodes[0].node.routes.register("closed/<str:x>", Closed)
        ann = await site.client(0, "1")
        (reply,) = await ann.ask({"type": "presence", "channel": "closed/a"})
        assert reply["payload"]["code"] == "forbidden"


@in_virtual_time
async def test_after_a_pause_the_members_are_told_anew():
    async with Site() as site:
        ann, bob = await site.client(0, "1"), await site.client(1, "2")
        await watching(ann)
        await ann.ask({"type": "flow", "channel": "rooms/a", "payload": {"paused": True}})
        await bob.ask(subscribe("rooms/a"))
        assert ann.take() == []
        found = await ann.ask({"type": "flow", "channel": "rooms/a", "payload": {"paused": False}})
        members = next(message for message in found if message["type"] == "subscribed")
        assert members["payload"]["count"] == 2


# -- loss ------------------------------------------------------------------------------------------


async def lose(site, *, node):
    """What a node sends to the room is lost, while it lasts."""
    group = group_name(site.nodes[node].node.config.group_prefix, "rooms/a")
    site.layer.deaf_groups.add(group)
    return group


@in_virtual_time
async def test_a_change_that_the_layer_lost_is_told_when_the_next_one_comes():
    async with Site() as site:
        ann = await site.client(0, "1")
        await watching(ann)
        group = await lose(site, node=1)
        bob, eve = await site.client(1, "2"), await site.client(1, "3")
        presences = site.nodes[1].node.service(Presences)
        room = site.nodes[1].node.routes.resolve("rooms/a")
        presences.enter(bob.connection, room)
        await settle()
        site.layer.deaf_groups.remove(group)
        presences.enter(eve.connection, room)
        await settle()
        assert told(ann.take()) == [("join", "user:3", 3)]
        await site.pass_time(0.5)
        assert told(ann.take()) == [("join", "user:2", 3)]
        for client in (bob, eve):
            presences.leave(client.connection, room)


@in_virtual_time
async def test_a_last_change_that_the_layer_lost_is_found_by_comparing():
    async with Site() as site:
        ann = await site.client(0, "1")
        await watching(ann)
        group = await lose(site, node=1)
        bob = await site.client(1, "2")
        presences = site.nodes[1].node.service(Presences)
        room = site.nodes[1].node.routes.resolve("rooms/a")
        presences.enter(bob.connection, room)
        await settle()
        site.layer.deaf_groups.remove(group)
        assert ann.take() == []
        await site.pass_time(6.0)
        assert told(ann.take()) == [("join", "user:2", 2)]
        presences.leave(bob.connection, room)


@in_virtual_time
async def test_a_node_that_was_swept_enters_its_members_again():
    async with Site() as site:
        ann, bob = await site.client(0, "1"), await site.client(1, "2")
        await watching(ann)
        await watching(bob)
        ann.take()
        stalled = site.nodes[1].node.service(Presences)
        end_writing(stalled)  # the process hangs
        await site.pass_time(LEASE)
        assert told(ann.take()) == [("leave", "user:2", 1)]
        stalled._writer.start()
        await site.pass_time(6.0)
        assert told(ann.take()) == [("join", "user:2", 2)]
        bob.take()
        assert (await site.store.members("rooms/a", 9)).count == 2


@in_virtual_time
async def test_a_store_that_lost_everything_gets_it_again_and_nobody_is_told():
    async with Site() as site:
        ann, bob = await site.client(0, "1"), await site.client(1, "2")
        await watching(ann)
        await watching(bob)
        ann.take()
        site.store._partitions[:] = MemoryPresence()._partitions
        await site.pass_time(7.0)
        assert (await site.store.members("rooms/a", 9)).count == 2
        eve = await site.client(1, "3")
        await eve.ask(subscribe("rooms/a"))
        await site.pass_time(20.0)
        assert told(ann.take()) == told(bob.take()) == [("join", "user:3", 3)]


@in_virtual_time
async def test_while_the_store_is_away_a_subscription_is_live_and_presence_unavailable():
    async with Site() as site:
        ann, bob = await site.client(0, "1"), await site.client(0, "2")
        site.store.away = True
        (reply,) = await ann.ask(subscribe("rooms/a"))
        assert reply["type"] == "subscribed"
        bob.connection.receive('{"type": "subscribe", "channel": "rooms/a", "presence": true}')
        await site.pass_time(3.0)
        (reply,) = bob.take()
        assert (reply["type"], reply["payload"]["code"]) == ("error", "unavailable")
        assert "rooms/a" not in bob.connection.subscriptions
        site.store.away = False
        await site.pass_time(6.0)
        assert await watching(bob) == ["user:1", "user:2"]


@in_virtual_time
async def test_those_who_left_while_the_store_was_away_leave():
    async with Site() as site:
        ann, bob = await site.client(0, "1"), await site.client(1, "2")
        await watching(ann)
        await bob.ask(subscribe("rooms/a"))
        ann.take()
        site.store.away = True
        await leave(bob)
        await site.pass_time(3.0)
        site.store.away = False
        await site.pass_time(12.0)
        assert told(ann.take()) == [("leave", "user:2", 1)]


# -- life ------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_node_that_stops_takes_its_members_off_after_their_grace():
    async with Site() as site:
        ann, bob = await site.client(0, "1"), await site.client(1, "2")
        await watching(ann)
        await bob.ask(subscribe("rooms/a"))
        ann.take()
        await site.nodes[1].node.service(Presences).stop()
        await site.pass_time(4.0)
        assert ann.take() == []
        await site.pass_time(3.0)
        assert told(ann.take()) == [("leave", "user:2", 1)]


@in_virtual_time
async def test_a_subscription_that_ends_while_it_is_made_is_no_member():
    async with Site() as site:
        ann, bob = await site.client(0, "1"), await site.client(1, "2")
        await watching(ann, "named/a")
        Named.gate = asyncio.Event()
        bob.connection.receive('{"type": "subscribe", "channel": "named/a", "presence": true}')
        await settle()
        await leave(bob)
        Named.gate.set()
        await site.pass_time(10.0)
        assert ann.take() == []
        presences = site.nodes[1].node.service(Presences)
        assert not presences._stays
        assert not presences._rosters._rosters


@in_virtual_time
async def test_a_storm_of_reloads_is_silent_and_cheap():
    async with Site() as site:
        ann = await site.client(0, "1")
        await watching(ann)
        crowd = [await site.client(n % 2, str(n)) for n in range(100, 400)]
        for client in crowd:
            await client.ask(subscribe("rooms/a"))
        ann.take()
        site.store.calls.clear()
        for client in crowd:
            client.connection.finish()
        await settle()
        again = [await site.client(n % 2, str(n)) for n in range(100, 400)]
        for client in again:
            client.connection.receive('{"type": "subscribe", "channel": "rooms/a"}')
        await site.pass_time(10.0)
        assert ann.take() == []
        written = [call for call in site.store.calls if call[0] in ("enter", "leave")]
        assert sum(count for _, count in written) == 600
        assert len(written) < 30
        assert (await site.store.members("rooms/a", 0)).count == 301


@in_virtual_time
async def test_each_decision_sends_one_signal():
    heard = []

    def hear(name):
        def receiver(channel, namespace, member=None, **_):
            heard.append((name, channel, namespace, member and member.id))

        getattr(signals, name).connect(receiver)
        return receiver

    names = ("channel_occupied", "member_joined", "member_left", "channel_vacated")
    receivers = {name: hear(name) for name in names}
    try:
        async with Site() as site:
            ann, bob = await site.client(0, "1"), await site.client(1, "2")
            await ann.ask(subscribe("rooms/a"))
            await bob.ask(subscribe("rooms/a"))
            await site.pass_time(1.0)
            assert heard == [
                ("channel_occupied", "rooms/a", "", None),
                ("member_joined", "rooms/a", "", "user:1"),
                ("member_joined", "rooms/a", "", "user:2"),
            ]
            heard.clear()
            await leave(ann)
            await leave(bob)
            await site.pass_time(10.0)
            assert sorted(heard[:2]) == [
                ("member_left", "rooms/a", "", "user:1"),
                ("member_left", "rooms/a", "", "user:2"),
            ]
            assert heard[2:] == [("channel_vacated", "rooms/a", "", None)]
    finally:
        for name, receiver in receivers.items():
            getattr(signals, name).disconnect(receiver)


@in_virtual_time
async def test_a_server_that_stops_waits_for_the_signals_of_its_members():
    heard = []

    async def slow(channel, member, **_):
        await asyncio.sleep(0.5)
        heard.append((channel, member.id))

    signals.member_left.connect(slow)
    try:
        async with Site() as site:
            ann = await site.client(0, "1")
            await ann.ask(subscribe("crowds/a"))
            await site.nodes[0].node._begin_leaving()
            assert heard == [("crowds/a", "user:1")]
    finally:
        signals.member_left.disconnect(slow)


@in_virtual_time
async def test_a_site_without_presence_does_not_ask_the_store():
    async with NodeHarness() as harness:
        await harness.node.ready()
        store = ScriptedStore()
        stores_of(harness.layer, harness.node.config)._presence = store
        await asyncio.sleep(60)
        assert store.calls == []


async def resume(client, session_id):
    replies = await client.ask({"type": "resume", "session_id": session_id, "id": "r"})
    while not replies:  # joining a group waits for the layer
        await asyncio.sleep(0.01)
        replies = client.take()
    assert replies[0]["type"] == "resumed", replies
    return replies[0]["payload"]["channels"]


@pytest.mark.parametrize("node", [0, 1])
@pytest.mark.parametrize("ended", [True, False])
def test_a_resumed_session_watches_on_and_its_member_never_left(node, ended):
    @in_virtual_time
    async def run():
        async with Site() as site:
            ann, bob = await site.client(0), await site.client(0)
            await watching(ann, "devices/a")
            both = await watching(bob, "devices/a")
            ann.take()
            await site.pass_time(2.0)
            if ended:
                await leave(bob)
            again = await site.client(node)
            found = await resume(again, bob.connection.session_id)
            members = [member["id"] for member in found["devices/a"]["members"]]
            assert members == both == [ann.connection.id, again.connection.id]
            await site.pass_time(20.0)
            assert told(ann.take()) == []
            eve = await site.client(1)
            await eve.ask(subscribe("devices/a"))
            assert told(again.take()) == told(ann.take()) == [("join", eve.connection.id, 3)]

    run()


@in_virtual_time
async def test_a_store_that_is_away_is_known_to_be():
    async with Site() as site:
        stores = stores_of(site.layer, site.nodes[0].node.config)
        ann = await site.client(0, "1")
        assert stores.failing == []
        site.store.away = True
        await ann.ask(subscribe("rooms/a"))
        assert stores.failing == ["presence"]
        site.store.away = False
        await site.pass_time(6.0)
        assert stores.failing == []


@in_virtual_time
async def test_information_is_the_same_in_every_process():
    async with Site() as site:
        Named.answer = {"1": {"raw": b"\x00\xff"}, "2": {"raw": b"\x01"}}
        ann, bob = await site.client(0, "1"), await site.client(1, "2")
        await watching(ann, "named/a")
        await watching(bob, "named/a")
        (joined,) = ann.take()
        assert joined["payload"]["member"]["info"] == {"raw": "AQ=="}
        (reply,) = await ann.ask({"type": "presence", "channel": "named/a"})
        assert [member["info"]["raw"] for member in reply["payload"]["members"]] == ["AP8=", "AQ=="]
        presences = site.nodes[0].node.service(Presences)
        members = presences._rosters.members("named/a").members
        assert [member.info["raw"] for member in members] == [b"\x00\xff", b"\x01"]


@in_virtual_time
async def test_members_that_nobody_waits_for_any_more_are_not_kept():
    async with Site(nodes=1) as site:
        gate = asyncio.Event()
        read = site.store.members

        async def slow(stream, limit):
            await gate.wait()
            return await read(stream, limit)

        site.store.members = slow
        ann = await site.client(0, "1")
        ann.connection.receive('{"type": "subscribe", "channel": "rooms/a", "presence": true}')
        await settle()
        rosters = site.nodes[0].node.service(Presences)._rosters
        assert list(rosters._rosters) == ["rooms/a"]
        await leave(ann)
        gate.set()
        await settle()
        assert not rosters._rosters
        assert not rosters._references
