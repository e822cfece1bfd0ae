"""Resuming sessions, in one process and over two nodes of one layer."""

import asyncio
import dataclasses

import msgspec
import pytest

from channels_realtime import Channel, Presence, signals
from channels_realtime.access.revocation import Revocations
from channels_realtime.access.revocation_list import Revocation
from channels_realtime.auth.base import Authenticated
from channels_realtime.channels import UserChannel
from channels_realtime.connections import server_subscriptions, sessions
from channels_realtime.connections.sessions import Sessions
from channels_realtime.errors import Forbidden, Unavailable
from channels_realtime.identity import Identity
from channels_realtime.nodes.outgoing import Outgoing
from channels_realtime.nodes.presence import Presences
from channels_realtime.nodes.stores import stores_of
from channels_realtime.protocol.codes import CloseCode
from channels_realtime.protocol.messages import Position, Publication
from channels_realtime.stores.history.base import History
from channels_realtime.stores.sessions.base import decode_record, session_key
from channels_realtime.stores.sessions.memory import MemorySessions
from tests.support.nodes import FakeClient, NodeHarness, subscribe
from tests.support.scripted_layer import ScriptedLayer
from tests.support.virtual_time import in_virtual_time, settle

UNKNOWN = {"code": "unknown_session", "reason": "no such session; subscribe anew"}
REPLACED = "the session was resumed on another connection"


class Stocks(Channel):
    public = True
    select = "symbol"


class Guarded(Channel):
    allows = True
    asked: list[str]

    async def can_subscribe(self, connection):
        self.asked.append(self.name)
        return self.allows


class Trusting(Guarded):
    reauthorize_on_resume = False


class Kept(Channel):
    public = True
    history = History(size=500, ttl=3_600.0)


class KeptStocks(Stocks):
    history = History(size=500, ttl=3_600.0)


class User:
    is_authenticated = True
    is_active = True

    def __init__(self, pk):
        self.pk = pk

    def get_username(self):
        return f"user {self.pk}"


class Harness(NodeHarness):
    def __init__(self, **options) -> None:
        super().__init__(**{"heartbeat_interval": 1e6} | options)
        Guarded.asked, Guarded.allows = [], True
        for route, kind in (
            ("stocks", Stocks),
            ("guarded/<str:x>", Guarded),
            ("trusting/<str:x>", Trusting),
            ("history/<str:x>", Kept),
            ("kept_stocks", KeptStocks),
        ):
            self.node.routes.register(route, kind)

    @property
    def sessions(self) -> Sessions:
        return self.node.service(Sessions)

    async def open_as(self, user_id: str, **identity) -> FakeClient:
        """A client of a user with credentials of its own."""
        client = FakeClient(self.node)
        self.clients.append(client)
        found = Identity(user_id=user_id, method="ticket", proven_at=1.0, **identity)
        client.connection.authenticated(
            Authenticated(user=User(user_id), identity=found), self.node.clock.time()
        )
        return await client.open()

    def end(self, client: FakeClient) -> None:
        """The client was lost."""
        self.clients.remove(client)
        client.connection.finish()


async def resumed(client: FakeClient, session_id: str, **fields) -> dict:
    """The reply to a ``resume``, which is the first that comes."""
    replies = await client.ask({"type": "resume", "id": "r", "session_id": session_id, **fields})
    while not replies:  # joining a group waits for the layer
        await asyncio.sleep(0.01)
        replies = client.take()
    assert replies[0]["id"] == "r", replies
    return replies[0]


async def refused(client: FakeClient, session_id: str, **fields) -> dict:
    reply = await resumed(client, session_id, **fields)
    assert (reply["type"], reply["request"]) == ("error", "resume"), reply
    return reply["payload"]


def channels(reply: dict) -> list[str]:
    assert reply["type"] == "resumed", reply
    return list(reply["payload"]["channels"])


@in_virtual_time
async def test_lost_connection_is_resumed_with_its_channels_and_its_id():
    async with Harness() as harness:
        first = await harness.open()
        await first.ask(subscribe("public/a"), subscribe("public/b"))
        session, name = first.connection.session_id, first.connection.id
        harness.end(first)
        second = await harness.open()
        assert second.connection.id != name
        reply = await resumed(second, session)
        assert reply["payload"] == {
            "session_id": second.connection.session_id,
            "connection_id": name,
            "channels": {"public/a": {}, "public/b": {}},
            "dropped": {},
        }
        assert second.connection.session_id != session
        assert list(harness.node.connections) == [second.connection.id] == [name]
        assert harness.node.metrics.resumed == 1
        assert harness.node.hub.count("public/a") == 1


@in_virtual_time
async def test_resumed_session_can_be_resumed_again_by_its_new_id():
    async with Harness() as harness:
        client = await harness.open()
        await client.ask(subscribe("public/a"))
        name = client.connection.id
        for _ in range(3):
            session = client.connection.session_id
            harness.end(client)
            client = await harness.open()
            assert channels(await resumed(client, session)) == ["public/a"]
            assert client.connection.id == name


@in_virtual_time
async def test_one_of_two_that_race_resumes_it():
    async with Harness() as harness:
        first = await harness.open()
        await first.ask(subscribe())
        session = first.connection.session_id
        harness.end(first)
        rivals = [await harness.open() for _ in range(5)]
        replies = await asyncio.gather(*(resumed(rival, session) for rival in rivals))
        assert sorted(reply["type"] for reply in replies) == ["error"] * 4 + ["resumed"]
        assert {r["payload"].get("code") for r in replies} == {None, "unknown_session"}


@in_virtual_time
async def test_owner_that_is_still_open_closes_and_gets_nothing_more():
    async with Harness() as harness:
        first = await harness.open()
        await first.ask(subscribe())
        first.gate.clear()  # half-open: it takes nothing any more
        for number in range(3):
            harness.publish("public/a", number)
        await settle()
        second = await harness.open()
        assert channels(await resumed(second, first.connection.session_id)) == ["public/a"]
        harness.publish("public/a", "after")
        await settle()
        first.gate.set()
        await settle()
        taken = first.take()
        assert [m["payload"] for m in taken if m["type"] == "message"] == [0]  # was under way
        assert taken[-2:] == [
            {
                "type": "closing",
                "payload": {"code": 4409, "reason": REPLACED, "reconnect": False},
            },
            {"type": "websocket.close", "code": 4409, "reason": REPLACED},
        ]
        assert [m["payload"] for m in second.take()] == ["after"]


@in_virtual_time
async def test_owner_on_another_node_is_told():
    layer = ScriptedLayer()
    async with Harness(layer=layer) as one, Harness(layer=layer) as two:
        await one.node.ready()
        first = await one.open()
        await first.ask(subscribe())
        await asyncio.sleep(sessions.FLUSH_INTERVAL_S + 0.1)
        second = await two.open()
        assert channels(await resumed(second, first.connection.session_id)) == ["public/a"]
        await asyncio.sleep(0.1)
        assert first.take()[-1]["code"] == 4409
        assert second.connection.id == first.connection.id
        one.end(first)
        assert list(two.node.connections) == [second.connection.id]


@in_virtual_time
async def test_owner_that_was_not_told_is_refused_by_the_store():
    layer = ScriptedLayer()
    async with Harness(layer=layer) as one, Harness(layer=layer) as two:
        await one.node.ready()
        first = await one.open()
        await first.ask(subscribe())
        await asyncio.sleep(sessions.FLUSH_INTERVAL_S + 0.1)
        layer.fail("group_send", *[ConnectionError("away")] * 20)
        second = await two.open()
        store = one.sessions._store
        taken = await two.sessions.take(first.connection.session_id, second.connection)
        assert taken is not None
        assert first.take() == []
        layer.failing.clear()
        told = await first.ask(subscribe("public/b"))
        await asyncio.sleep(sessions.FLUSH_INTERVAL_S + 0.1)
        assert [*told, *first.take()][-1]["code"] == 4409
        assert len(store) == 1  # that it was taken


@pytest.mark.parametrize(
    ("owner", "taker"), [("1", "2"), ("1", None), (None, "1"), ("1", "01"), ("1", "1 ")]
)
@in_virtual_time
async def test_session_is_unknown_to_another_identity(owner, taker):
    async with Harness() as harness:

        async def open_as(user_id):
            return await (harness.open() if user_id is None else harness.open_as(user_id))

        first = await open_as(owner)
        await first.ask(subscribe())
        session = first.connection.session_id
        harness.end(first)
        assert await refused(await open_as(taker), session) == UNKNOWN
        assert "public/a" in channels(await resumed(await open_as(owner), session))


@in_virtual_time
async def test_user_resumes_with_other_credentials():
    async with Harness() as harness:
        first = await harness.open_as("1", keys=frozenset({"token:a"}))
        await first.ask(subscribe())
        session = first.connection.session_id
        harness.end(first)
        second = await harness.open_as("1", keys=frozenset({"token:b"}))
        assert channels(await resumed(second, session)) == ["users/1", "public/a"]


@in_virtual_time
async def test_session_of_revoked_credentials_is_unknown():
    async with Harness() as harness:
        first = await harness.open_as("1", keys=frozenset({"session:a"}))
        await first.ask(subscribe())
        session = first.connection.session_id
        harness.end(first)
        now = harness.node.clock.time()
        harness.node.service(Revocations).take([Revocation("session:a", now, now + 600.0)])
        second = await harness.open_as("1", keys=frozenset({"session:b"}))
        assert await refused(second, session) == UNKNOWN


@in_virtual_time
async def test_resume_comes_first_and_once():
    async with Harness() as harness:
        first = await harness.open()
        await first.ask(subscribe())
        session = first.connection.session_id
        harness.end(first)
        late = {
            "code": "already_subscribed",
            "reason": "'resume' comes before any 'subscribe', and once",
        }
        second = await harness.open()
        await second.ask(subscribe("public/b"), {"type": "unsubscribe", "channel": "public/b"})
        assert await refused(second, session) == late
        third = await harness.open()
        assert await refused(third, "f" * 32) == UNKNOWN  # may try another
        assert channels(await resumed(third, session)) == ["public/a"]
        assert await refused(third, session) == late


@in_virtual_time
async def test_own_session_is_unknown():
    async with Harness() as harness:
        client = await harness.open_as("1")
        await asyncio.sleep(sessions.FLUSH_INTERVAL_S + 0.1)
        assert await refused(client, client.connection.session_id) == UNKNOWN
        assert not client.connection.closed


@in_virtual_time
async def test_session_that_its_client_closed_is_unknown():
    async with Harness() as harness:
        first = await harness.open()
        await first.ask(subscribe())
        await asyncio.sleep(sessions.FLUSH_INTERVAL_S + 0.1)
        first.connection.receipts.ended_by_client = True
        harness.end(first)
        assert await refused(await harness.open(), first.connection.session_id) == UNKNOWN
        await asyncio.sleep(sessions.FLUSH_INTERVAL_S + 0.1)
        assert len(harness.sessions._store) == 0


@in_virtual_time
async def test_session_is_too_old_after_the_window():
    async with Harness(resume_window=60.0) as harness:
        store = harness.sessions._store
        store._clock = harness.node.clock.monotonic
        lost = []
        for _ in range(2):
            client = await harness.open()
            await client.ask(subscribe())
            lost.append(client.connection.session_id)
            harness.end(client)
        await asyncio.sleep(59.0)
        assert channels(await resumed(await harness.open(), lost[0])) == ["public/a"]
        await asyncio.sleep(2.0)
        assert await refused(await harness.open(), lost[1]) == UNKNOWN


@in_virtual_time
async def test_session_of_a_process_that_was_killed_outlives_it_by_the_window():
    layer = ScriptedLayer()
    async with Harness(layer=layer) as two:
        one = Harness(layer=layer)
        store = one.sessions._store
        store._clock = one.node.clock.monotonic
        await one.node.ready()
        first = await one.open()
        await first.ask(subscribe())
        await asyncio.sleep(5 * one.node.config.resume_window)  # refreshed all the time
        first.connection.receipts.replaced = True  # so that it writes nothing more
        await one.__aexit__()
        await asyncio.sleep(two.node.config.resume_window - 1.0)
        assert channels(await resumed(await two.open(), first.connection.session_id)) == [
            "public/a"
        ]


@in_virtual_time
async def test_nothing_is_kept_where_the_window_is_0():
    async with Harness(resume_window=0.0) as harness:
        await harness.node.ready()
        first = await harness.open()
        await first.ask(subscribe())
        await asyncio.sleep(5.0)
        harness.end(first)
        assert await refused(await harness.open(), first.connection.session_id) == UNKNOWN
        assert len(harness.sessions._store) == 0


@in_virtual_time
async def test_each_channel_is_asked_again():
    async with Harness() as harness:
        first = await harness.open()
        await first.ask(subscribe("guarded/a"), subscribe("guarded/b"), subscribe("public/a"))
        harness.end(first)
        Guarded.allows = False
        Guarded.asked.clear()
        reply = await resumed(await harness.open(), first.connection.session_id)
        assert channels(reply) == ["public/a"]
        assert reply["payload"]["dropped"] == {"guarded/a": "forbidden", "guarded/b": "forbidden"}
        assert sorted(Guarded.asked) == ["guarded/a", "guarded/b"]


LONG_S = 100.0
"""Longer than a recheck may have been under way."""


@pytest.mark.parametrize("close_codes", ["application", "rfc"])
@pytest.mark.parametrize("meanwhile", ["nothing", "a recheck", "a young node", "a closed login"])
@in_virtual_time
async def test_channel_that_trusts_is_asked_only_where_rights_may_have_changed(
    meanwhile, close_codes
):
    async with Harness(close_codes=close_codes) as harness:
        await harness.node.ready()
        if meanwhile != "a young node":
            await asyncio.sleep(LONG_S)
        first = await harness.open()
        await first.ask(subscribe("trusting/a"), subscribe("guarded/a"))
        if meanwhile == "a closed login":
            first.connection.close(CloseCode.UNAUTHENTICATED, "expired")
        harness.end(first)
        if meanwhile == "a recheck":
            harness.node.service(Revocations).recheck("other", None)
        Guarded.asked.clear()
        reply = await resumed(await harness.open(), first.connection.session_id)
        assert sorted(channels(reply)) == ["guarded/a", "trusting/a"]
        expected = ["guarded/a"] if meanwhile == "nothing" else ["guarded/a", "trusting/a"]
        assert sorted(Guarded.asked) == expected


@in_virtual_time
async def test_selections_are_restored_with_their_parameters():
    async with Harness() as harness:
        first = await harness.open()
        wanted = [{"symbol": "A", "more": 1}, {"symbol": "B"}, {"symbol": True}]
        for parameters in wanted:
            await first.ask(subscribe("stocks", payload=parameters))
        await first.ask({"type": "unsubscribe", "channel": "stocks", "payload": {"symbol": "B"}})
        harness.end(first)
        second = await harness.open()
        assert channels(await resumed(second, first.connection.session_id)) == ["stocks"]
        held = harness.node.hub.selections("stocks", second.connection)
        assert held == {(False, "A"), (True, True)}
        kept = second.connection.receipts.get("stocks")
        assert kept.selections == {(False, "A"): wanted[0], (True, True): wanted[2]}


@in_virtual_time
async def test_what_the_site_subscribed_is_restored_and_nothing_is_asked():
    async with Harness() as harness:
        first = await harness.open()
        for name in ("guarded/a", KEPT):
            channel = harness.node.routes.resolve(name)
            channel.granted_by = server_subscriptions.OPERATION
            await server_subscriptions.make(harness.node, first.connection, channel)
        await keep(harness, 2)
        harness.end(first)
        Guarded.allows = False
        Guarded.asked.clear()
        second = await harness.open()
        payload, missed = await after_resume(second, first.connection.session_id)
        assert sorted(payload["channels"]) == ["guarded/a", KEPT]
        assert payload["dropped"] == {}
        assert offsets(missed, KEPT) == [1, 2]
        assert Guarded.asked == []
        held = second.connection.subscriptions
        assert {channel.granted_by for channel in held.values()} == {"operation"}


@in_virtual_time
async def test_presence_of_a_channel_that_the_site_subscribed_as_well_is_restored():
    class Room(Channel):
        public = True
        presence = Presence()

    async with Harness() as harness:
        harness.node.routes.register("rooms/<str:name>", Room)
        first = await harness.open()
        first.connection.receive(msgspec.json.encode(subscribe("rooms/a", presence=True)).decode())
        await asyncio.sleep(1.0)
        channel = harness.node.routes.resolve("rooms/a")
        channel.granted_by = server_subscriptions.OPERATION
        await server_subscriptions.make(harness.node, first.connection, channel)
        harness.end(first)
        second = await harness.open()
        payload, _ = await after_resume(second, first.connection.session_id)
        assert payload["channels"]["rooms/a"]["count"] == 1
        assert harness.node.service(Presences).watches(second.connection, channel)
        assert second.connection.subscriptions["rooms/a"].granted_by == "operation"


@in_virtual_time
async def test_automatic_channel_is_there_as_long_as_its_class_says():
    class Team(Channel):
        names = ["teams/red", "teams/blue"]
        history = Kept.history

        @classmethod
        async def automatic(cls, connection):
            return cls.names

    async with Harness() as harness:
        harness.node.routes.register("teams/<str:name>", Team)
        first = await harness.open()
        (red,) = (await first.ask(subscribe("public/a")))[-1:]
        assert red["type"] == "subscribed"
        await keep(harness, 3, "teams/red")
        session = first.connection.session_id
        harness.end(first)
        Team.names = ["teams/red", "teams/green"]
        second = await harness.open()
        payload, missed = await after_resume(second, session)
        assert set(payload["channels"]) == {"teams/red", "public/a"}
        assert payload["channels"]["teams/red"]["recovered"] is True
        assert payload["dropped"] == {"teams/blue": "forbidden"}
        assert offsets(missed, "teams/red") == [1, 2, 3]


@in_virtual_time
async def test_channel_that_the_session_does_not_have_is_named():
    async with Harness() as harness:
        first = await harness.open()
        await first.ask(subscribe())
        harness.end(first)
        since = {"public/other": {"epoch": "e", "offset": 4}}
        reply = await resumed(await harness.open(), first.connection.session_id, since=since)
        assert channels(reply) == ["public/a"]
        assert reply["payload"]["dropped"] == {"public/other": "not_subscribed"}


@in_virtual_time
async def test_nothing_is_delivered_before_the_reply():
    async with Harness() as harness:
        first = await harness.open()
        await first.ask(subscribe("public/a"), subscribe("gated/a"))
        gated = harness.node.routes.resolve("gated/a")
        type(gated).gate.set()
        await settle()
        harness.end(first)
        type(gated).gate.clear()
        second = await harness.open()
        assert await second.ask({"type": "resume", "session_id": first.connection.session_id}) == []
        harness.publish("public/a", "early")
        await settle()
        assert second.take() == []
        type(gated).gate.set()
        await settle()
        assert [message["type"] for message in second.take()] == ["resumed", "message"]


@in_virtual_time
async def test_what_was_not_restored_when_the_connection_was_lost_is_resumed_by_the_next():
    async with Harness() as harness:
        first = await harness.open()
        await first.ask(subscribe("public/a"), subscribe("gated/a"))
        gate = type(harness.node.routes.resolve("gated/a")).gate
        gate.set()
        await settle()
        harness.end(first)
        gate.clear()
        second = await harness.open()
        await second.ask({"type": "resume", "session_id": first.connection.session_id})
        harness.end(second)
        gate.set()
        await settle()
        third = await harness.open()
        reply = await resumed(third, second.connection.session_id)
        assert sorted(channels(reply)) == ["gated/a", "public/a"]


@in_virtual_time
async def test_signals_are_about_connections_and_resumed_links_two():
    heard = []

    async def receive(signal, sender, connection, **arguments):
        arguments.pop("channel", None)
        heard.append((names[id(signal)], connection.id, arguments))

    names = {id(getattr(signals, name)): name for name in ("connected", "disconnected", "resumed")}
    for name in names.values():
        getattr(signals, name).connect(receive)
    try:
        async with Harness() as harness:
            first = await harness.open()
            await first.ask(subscribe())
            name = first.connection.id
            second = await harness.open()
            interim = second.connection.id
            await resumed(second, first.connection.session_id)
            harness.end(first)
            await settle()
            harness.end(second)
            await settle()
    finally:
        for each in names.values():
            getattr(signals, each).disconnect(receive)
    assert heard == [
        ("connected", name, {}),
        ("connected", interim, {}),
        ("resumed", name, {"replaced": interim}),
        ("disconnected", name, {"code": 4409}),
        ("disconnected", name, {"code": None}),
    ]


# -- the store -------------------------------------------------------------------------------------


class Away(MemorySessions):
    """A store that is away, until it is not."""

    away = True

    async def _fail(self):
        raise Unavailable("the session store is away")

    async def save(self, saves):
        return await (self._fail() if self.away else super().save(saves))

    async def take(self, key, identity, *, ttl):
        return await (self._fail() if self.away else super().take(key, identity, ttl=ttl))


@in_virtual_time
async def test_store_that_is_away_is_logged_once_and_breaks_nothing_else(caplog):
    async with Harness() as harness:
        store = Away(None, harness.node.config)
        stores_of(harness.layer, harness.node.config)._sessions = store
        await harness.node.ready()
        first = await harness.open()
        for number in range(20):
            assert (await first.ask(subscribe(f"public/{number}")))[0]["type"] == "subscribed"
            await asyncio.sleep(1.0)
        harness.end(first)
        second = await harness.open()
        assert (await refused(second, first.connection.session_id))["code"] == "unavailable"
        told = [r for r in caplog.records if "session" in r.getMessage()]
        assert [r.levelname for r in told] == ["ERROR"]
        store.away = False
        await asyncio.sleep(30.0)
        reply = await resumed(second, first.connection.session_id)
        assert len(channels(reply)) == 20


@in_virtual_time
async def test_identity_that_cannot_be_stored_costs_its_own_session_alone(caplog):
    async with Harness() as harness:
        odd = await harness.open_as("1", source=object())
        sound = await harness.open()
        for client in (odd, sound):
            await client.ask(subscribe())
        await harness.sessions.flush()
        harness.end(odd)
        harness.end(sound)
        assert channels(await resumed(await harness.open(), sound.connection.session_id))
        session = odd.connection.session_id
        assert await refused(await harness.open_as("1"), session) == UNKNOWN
        assert "Its session cannot be kept on connection" in caplog.text


@in_virtual_time
async def test_sessions_of_ended_connections_that_wait_are_bounded(monkeypatch):
    monkeypatch.setattr(sessions, "MAX_ENDED", 3)
    async with Harness() as harness:
        store = Away(None, harness.node.config)
        stores_of(harness.layer, harness.node.config)._sessions = store
        lost = []
        for _ in range(5):
            client = await harness.open()
            await client.ask(subscribe())
            lost.append(client.connection.session_id)
            harness.end(client)
        assert (len(harness.sessions._ended), harness.sessions.lost) == (3, 2)
        store.away = False
        await harness.sessions.flush()
        assert len(store) == 3


@in_virtual_time
async def test_many_are_written_in_batches_and_only_when_they_change(monkeypatch):
    monkeypatch.setattr(sessions, "BATCH", 10)
    sizes = []

    class Counting(MemorySessions):
        async def save(self, saves):
            sizes.append(len(saves))
            return await super().save(saves)

    async with Harness() as harness:
        stores_of(harness.layer, harness.node.config)._sessions = Counting(
            None, harness.node.config
        )
        await harness.node.ready()
        clients = [await harness.open() for _ in range(25)]
        for client in clients:
            await client.ask(subscribe())
        await asyncio.sleep(1.1)
        assert sorted(sizes) == [5, 10, 10]
        await asyncio.sleep(50.0)
        assert len(sizes) == 3
        await clients[0].ask(subscribe("public/b"))
        await asyncio.sleep(1.1)
        assert sizes[3:] == [1]
        await asyncio.sleep(15.0)
        assert sorted(sizes[4:]) == [4, 10, 10]  # refreshed


@in_virtual_time
async def test_automatic_channels_are_written_though_the_welcome_takes_long():
    class Slow(Channel):
        @classmethod
        async def automatic(cls, connection):
            return ["slow/a", "slow/b"]

        async def on_subscribe(self, connection):
            if self.name == "slow/b":
                await asyncio.sleep(1.5)
                raise Forbidden("not here")

    async with Harness() as harness:
        harness.node.routes.register("slow/<str:name>", Slow)
        await harness.node.ready()
        await harness.open()
        await asyncio.sleep(1.1)
        assert len(harness.sessions._store) == 1


@in_virtual_time
async def test_connections_without_subscriptions_are_not_written():
    async with Harness() as harness:
        await harness.node.ready()
        client = await harness.open()
        await asyncio.sleep(5.0)
        harness.end(client)
        await asyncio.sleep(5.0)
        assert len(harness.sessions._store) == 0
        assert harness.sessions.saved == 0


@in_virtual_time
async def test_nothing_of_ended_connections_is_held():
    async with Harness() as harness:
        await harness.node.ready()
        for _ in range(3):
            client = await harness.open()
            await client.ask(subscribe())
            await asyncio.sleep(1.1)
            harness.end(client)
        await asyncio.sleep(1.1)
        held = harness.sessions
        kept = ("changed", "owners", "moved", "ended", "given_up")
        assert {name: len(getattr(held, f"_{name}")) for name in kept} == dict.fromkeys(kept, 0)
        assert len(harness.node._superseded) == 0
        await asyncio.sleep(sessions.REFRESH_INTERVAL_S + 1.1)
        assert len(held._written) == 0


@in_virtual_time
async def test_record_holds_no_session_id():
    async with Harness() as harness:
        client = await harness.open()
        await client.ask(subscribe())
        await harness.sessions.flush()
        secret = client.connection.session_id
        stored = harness.sessions._store._sessions
        assert stored
        for key, session in stored.items():
            assert secret not in key
            assert secret.encode() not in session.body
            assert secret not in repr(dataclasses.asdict(session))


@pytest.mark.parametrize("ends", [True, False])
@in_virtual_time
async def test_newest_is_resumed_on_the_same_node_though_the_store_has_an_older_one(ends):
    async with Harness() as harness:
        first = await harness.open()
        await first.ask(subscribe("public/a"), subscribe("public/b"))
        await harness.sessions.flush()
        await first.ask({"type": "unsubscribe", "channel": "public/a"}, subscribe("public/c"))
        if ends:
            harness.end(first)
        reply = await resumed(await harness.open(), first.connection.session_id)
        assert channels(reply) == ["public/b", "public/c"]


@in_virtual_time
async def test_session_that_is_too_large_is_unknown():
    async with Harness() as harness:
        first = await harness.open()
        await first.ask(subscribe("public/a", payload="x" * 40_000))
        await harness.sessions.flush()
        await first.ask(subscribe("public/b", payload="x" * 40_000))
        harness.end(first)
        assert await refused(await harness.open(), first.connection.session_id) == UNKNOWN


# -- proof of what was received --------------------------------------------------------------------

KEPT = "history/a"


async def keep(harness: Harness, count: int, channel: str = KEPT) -> None:
    """Publish to a channel with history."""
    for number in range(count):
        publication = Publication(channel=channel, payload=number)
        await harness.node.publish(Outgoing(publication=publication, history=Kept.history))
    await asyncio.sleep(0.1)


async def saved_position(harness: Harness, client: FakeClient) -> Position | None:
    """What the client's session has of the channel."""
    await harness.sessions.flush()
    stored = harness.sessions._store._sessions[session_key(client.connection.session_id)]
    (found,) = decode_record(stored.body).subscriptions
    assert found.channel == KEPT
    return found.position


@in_virtual_time
async def test_answered_ping_proves_what_was_written_before_it():
    async with Harness(heartbeat_interval=25.0, heartbeat_timeout=10.0) as harness:
        await harness.node.ready()
        client = await harness.open()
        (reply,) = await client.ask(subscribe(KEPT))
        assert reply["type"] == "subscribed", reply
        epoch = reply["payload"]["epoch"]
        await keep(harness, 3)
        assert await saved_position(harness, client) == Position(epoch, 0)
        client.take()
        await asyncio.sleep(26.0)
        assert client.take() == [{"type": "ping"}]
        await keep(harness, 2)  # after the ping: not proven by its answer
        await client.ask({"type": "pong"})
        await asyncio.sleep(sessions.POSITIONS_INTERVAL_S + 0.1)
        assert await saved_position(harness, client) == Position(epoch, 3)


@in_virtual_time
async def test_answer_to_an_earlier_ping_proves_no_more_than_that():
    async with Harness(heartbeat_interval=25.0, heartbeat_timeout=10.0) as harness:
        await harness.node.ready()
        client = await harness.open()
        (reply,) = await client.ask(subscribe(KEPT))
        assert reply["type"] == "subscribed", reply
        epoch = reply["payload"]["epoch"]
        await keep(harness, 1)
        await asyncio.sleep(26.0)
        await client.ask({"type": "ping"})  # shows life, and is no answer
        await keep(harness, 1)
        await asyncio.sleep(26.0)
        assert [one["type"] for one in client.take()].count("ping") == 1
        await client.ask({"type": "pong"})
        await asyncio.sleep(0)
        assert client.connection.receipts.get(KEPT).position == Position(epoch, 1)
        await client.ask({"type": "pong"})
        assert client.connection.receipts.get(KEPT).position == Position(epoch, 1)


@in_virtual_time
async def test_acknowledgement_proves_what_it_names_and_nothing_that_cannot_be():
    async with Harness() as harness:
        client = await harness.open()
        (reply,) = await client.ask(subscribe(KEPT))
        assert reply["type"] == "subscribed", reply
        epoch = reply["payload"]["epoch"]
        await keep(harness, 3)
        client.take()
        for payload, expected in (
            ({"epoch": epoch, "offset": 2}, 2),
            ({"epoch": epoch, "offset": 1}, 2),
            ({"epoch": "other", "offset": 3}, 2),
            ({"epoch": epoch, "offset": 4}, 2),  # there is no such publication
            ({"epoch": epoch, "offset": 3}, 3),
        ):
            asked = {"type": "ack", "channel": KEPT, "payload": payload}
            assert await client.ask(asked) == []
            assert client.connection.receipts.get(KEPT).position == Position(epoch, expected)
        assert await client.ask({**asked, "id": 1}) == [{"type": "ack", "channel": KEPT, "id": 1}]


@in_virtual_time
async def test_positions_are_written_at_most_every_ten_seconds_and_at_the_end(monkeypatch):
    sizes = []

    class Counting(MemorySessions):
        async def save(self, saves):
            sizes.append(len(saves))
            return await super().save(saves)

    async with Harness() as harness:
        stores_of(harness.layer, harness.node.config)._sessions = Counting(
            None, harness.node.config
        )
        await harness.node.ready()
        client = await harness.open()
        (reply,) = await client.ask(subscribe(KEPT))
        assert reply["type"] == "subscribed", reply
        epoch = reply["payload"]["epoch"]
        await asyncio.sleep(1.5)
        assert sizes == [1]
        for number in range(1, 20):
            await keep(harness, 1)
            payload = {"epoch": epoch, "offset": number}
            await client.ask({"type": "ack", "channel": KEPT, "payload": payload})
            await asyncio.sleep(0.9)
        assert len(sizes) == 2
        harness.end(client)
        await asyncio.sleep(0.1)
        assert await saved_position(harness, client) == Position(epoch, 19)


# -- what was missed -------------------------------------------------------------------------------


def offsets(messages: list, channel: str) -> list[int]:
    """Of the recovered messages of a channel."""
    found = [one for one in messages if one["type"] == "message" and one["channel"] == channel]
    assert all(one["recovered"] for one in found), found
    return [one["offset"] for one in found]


async def after_resume(client: FakeClient, session_id: str, **fields) -> tuple[dict, list]:
    """The reply to a ``resume``, and what followed it."""
    messages = await client.ask({"type": "resume", "session_id": session_id, **fields})
    await asyncio.sleep(0.5)
    messages += client.take()
    assert messages[0]["type"] == "resumed", messages
    return messages[0]["payload"], messages[1:]


@in_virtual_time
async def test_missed_messages_follow_the_reply_channel_by_channel_and_then_what_is_live():
    names = [f"history/{number}" for number in range(5)]
    async with Harness() as harness:
        first = await harness.open()
        positions = {}
        for name in names:
            (reply,) = await first.ask(subscribe(name))
            positions[name] = reply["payload"]
        harness.end(first)
        for name in names:
            await keep(harness, 7, name)
        second = await harness.open()
        since = {name: {**at, "offset": 3} for name, at in positions.items()}
        payload, missed = await after_resume(second, first.connection.session_id, since=since)
        assert payload["channels"] == {
            name: {**positions[name], "offset": 7, "recovered": True} for name in names
        }
        assert {name: offsets(missed, name) for name in names} == {
            name: [4, 5, 6, 7] for name in names
        }
        blocks = [one["channel"] for one in missed]
        assert blocks == [name for name in dict.fromkeys(blocks) for _ in range(4)]
        await keep(harness, 1, names[0])
        (live,) = second.take()
        assert (live["offset"], "recovered" in live) == (8, False)


@in_virtual_time
async def test_without_positions_it_goes_on_after_what_was_proven():
    async with Harness() as harness:
        first = await harness.open()
        (reply,) = await first.ask(subscribe(KEPT))
        epoch = reply["payload"]["epoch"]
        await keep(harness, 5)
        await first.ask({"type": "ack", "channel": KEPT, "payload": {"epoch": epoch, "offset": 2}})
        await keep(harness, 1)
        harness.end(first)
        second = await harness.open()
        payload, missed = await after_resume(second, first.connection.session_id)
        assert payload["channels"] == {KEPT: {"epoch": epoch, "offset": 6, "recovered": True}}
        assert offsets(missed, KEPT) == [3, 4, 5, 6]  # at least once


@in_virtual_time
async def test_what_was_recovered_is_not_taken_for_received():
    async with Harness() as harness:
        client = await harness.open()
        await client.ask(subscribe(KEPT))
        await keep(harness, 4)
        for _ in range(3):  # lost again and again, before anything is proven
            session = client.connection.session_id
            harness.end(client)
            client = await harness.open()
            _, missed = await after_resume(client, session)
            assert offsets(missed, KEPT) == [1, 2, 3, 4]
        assert harness.node.metrics.recovered == 3


@pytest.mark.parametrize("why", ["epoch", "ahead", "gone"])
@in_virtual_time
async def test_position_that_cannot_be_met_is_said_and_the_channel_is_live(why):
    async with Harness() as harness:
        first = await harness.open()
        (reply,) = await first.ask(subscribe(KEPT))
        epoch = reply["payload"]["epoch"]
        await keep(harness, 600 if why == "gone" else 3)
        harness.end(first)
        at = {
            "epoch": {"epoch": "other", "offset": 1},
            "ahead": {"epoch": epoch, "offset": 1_000},
            "gone": {"epoch": epoch, "offset": 1},
        }[why]
        second = await harness.open()
        payload, missed = await after_resume(second, first.connection.session_id, since={KEPT: at})
        assert payload["channels"][KEPT]["recovered"] is False
        assert missed == []
        await keep(harness, 1)
        (live,) = second.take()
        assert live["offset"] == payload["channels"][KEPT]["offset"] + 1


@in_virtual_time
async def test_much_that_was_missed_comes_in_order_and_once_while_more_is_published():
    async with Harness() as harness:
        first = await harness.open()
        (reply,) = await first.ask(subscribe(KEPT))
        epoch = reply["payload"]["epoch"]
        harness.end(first)
        await keep(harness, 400)
        second = await harness.open()
        asked = {"type": "resume", "session_id": first.connection.session_id}
        messages = await second.ask({**asked, "since": {KEPT: {"epoch": epoch, "offset": 0}}})
        await keep(harness, 50)
        messages += second.take()
        assert messages[0]["type"] == "resumed"
        assert [one["offset"] for one in messages[1:]] == list(range(1, 451))


@in_virtual_time
async def test_selections_share_one_replay_in_order():
    async with Harness() as harness:
        first = await harness.open()
        for symbol in "AB":
            (reply,) = await first.ask(subscribe("kept_stocks", payload={"symbol": symbol}))
        epoch = reply["payload"]["epoch"]
        harness.end(first)
        for symbol in "ABCABC":
            publication = Publication(channel="kept_stocks", payload={"symbol": symbol})
            await harness.node.publish(Outgoing(publication=publication, history=Kept.history))
        second = await harness.open()
        since = {"kept_stocks": {"epoch": epoch, "offset": 0}}
        payload, missed = await after_resume(second, first.connection.session_id, since=since)
        assert payload["channels"]["kept_stocks"]["recovered"] is True
        assert offsets(missed, "kept_stocks") == [1, 2, 4, 5]


@in_virtual_time
async def test_own_channel_with_a_position_is_replayed(monkeypatch):
    monkeypatch.setattr(UserChannel, "history", Kept.history)
    async with Harness() as harness:
        first = await harness.open_as("1")
        await keep(harness, 1, "users/1")
        (sent,) = first.take()
        harness.end(first)
        await keep(harness, 2, "users/1")
        second = await harness.open_as("1")
        since = {"users/1": {"epoch": sent["epoch"], "offset": 1}}
        payload, missed = await after_resume(second, first.connection.session_id, since=since)
        assert payload["channels"]["users/1"]["recovered"] is True
        assert offsets(missed, "users/1") == [2, 3]


class Newest(Kept):
    state = "last"


class Inbox(Kept):
    inbox = True


@in_virtual_time
async def test_state_comes_again_until_it_is_proven_to_have_arrived():
    name = "newest/a"
    async with Harness(heartbeat_interval=25.0, heartbeat_timeout=10.0) as harness:
        harness.node.routes.register("newest/<str:x>", Newest)
        for number in range(2):
            publication = Publication(channel=name, payload=number)
            await harness.node.publish(
                Outgoing(publication=publication, history=Kept.history, state_key="")
            )
        client = await harness.open()
        await client.ask(subscribe(name))
        for proven in (False, False, True):
            if proven:
                await asyncio.sleep(26.0)
                await client.ask({"type": "pong"})
            session = client.connection.session_id
            harness.end(client)
            client = await harness.open()
            payload, missed = await after_resume(client, session)
            assert payload["channels"][name]["offset"] == 2
            assert payload["channels"][name].get("recovered") is (True if proven else None)
            expected = [] if proven else [(1, 2, True)]
            assert [(one["payload"], one["offset"], one["state"]) for one in missed] == expected


@in_virtual_time
async def test_inbox_begins_after_what_its_user_has_acknowledged():
    name = "inbox/a"
    async with Harness() as harness:
        harness.node.routes.register("inbox/<str:x>", Inbox)
        first = await harness.open_as("1")
        (reply,) = await first.ask(subscribe(name))
        epoch = reply["payload"]["epoch"]
        await keep(harness, 3, name)
        payload = {"epoch": epoch, "offset": 1}
        await first.ask({"type": "ack", "channel": name, "payload": payload})
        harness.end(first)
        second = await harness.open_as("1")
        _, missed = await after_resume(second, first.connection.session_id)
        assert offsets(missed, name) == [2, 3]
