"""What happens to a subscription while it is being made."""

from __future__ import annotations

import asyncio

from channels_realtime import Channel, History, Presence, UserChannel
from channels_realtime.auth.base import Authenticated
from channels_realtime.connections import server_subscriptions, subscriptions
from channels_realtime.errors import Forbidden
from channels_realtime.identity import Identity
from channels_realtime.nodes.outgoing import Outgoing
from channels_realtime.nodes.presence import Presences
from channels_realtime.protocol.messages import Publication
from tests.support.histories import HistoryHarness, past
from tests.support.nodes import FakeClient, subscribe
from tests.support.virtual_time import in_virtual_time, settle

LONG = "long/a"


class Stocks(Channel):
    public = True
    select = "symbol"
    presence = Presence()


def take_away(client: FakeClient, name: str) -> None:
    channel = client.connection.subscriptions[name]
    subscriptions.take_away(client.node, client.connection, channel, Forbidden("no more"))


def assert_refused(client: FakeClient, channel: str) -> None:
    """The last request was answered by an error, and left nothing."""
    *_, reply = client.take()
    assert (reply["type"], reply["request"]) == ("error", "subscribe")
    assert reply["payload"]["code"] == "forbidden"
    assert client.connection.subscriptions == {}
    assert client.connection not in client.node.hub.subscribers(channel)


@in_virtual_time
async def test_selection_is_refused_when_the_channel_is_taken_away_while_it_is_read():
    async with HistoryHarness() as harness:
        await harness.subscribed(LONG)  # another one stays
        client = await harness.open()
        await harness.publish({"symbol": "B"}, channel=LONG)
        (reply,) = await client.ask(subscribe(LONG, payload={"symbol": "A"}))
        harness.store.late.clear()
        since = reply["payload"] | {"offset": 0}
        await client.ask(subscribe(LONG, payload={"symbol": "B"}, since=since))
        take_away(client, LONG)
        harness.store.late.set()
        await past(0.1)
        assert_refused(client, LONG)


@in_virtual_time
async def test_selection_is_refused_when_the_channel_is_taken_away_while_presence_is_read(
    monkeypatch,
):
    async with HistoryHarness() as harness:
        harness.node.routes.register("stocks/<str:x>", Stocks)
        presences, read = harness.node.service(Presences), asyncio.Event()
        open_now = presences.open

        async def open_late(channel):
            await read.wait()
            await open_now(channel)

        monkeypatch.setattr(presences, "open", open_late)
        client = await harness.open()
        await client.ask(subscribe("stocks/a", payload={"symbol": "A"}))
        await past(1.0)
        await client.ask(subscribe("stocks/a", payload={"symbol": "B"}, presence=True))
        await past(1.0)
        take_away(client, "stocks/a")
        read.set()
        await past(0.1)
        assert_refused(client, "stocks/a")
        channel = harness.node.routes.resolve("stocks/a")
        assert channel.qualified_name not in presences._rosters
        assert presences._stays == {}


@in_virtual_time
async def test_selections_that_were_given_up_are_not_held():
    async with HistoryHarness() as harness:
        client = await harness.open()
        await client.ask(subscribe(LONG, payload={"symbol": "kept"}))
        for number in range(5):
            await client.ask(subscribe(LONG, payload={"symbol": f"S{number}"}))
            await client.ask(
                {"type": "unsubscribe", "channel": LONG, "payload": {"symbol": f"S{number}"}}
            )
        connection = client.connection
        receipt = connection.receipts.get(LONG)
        assert (len(connection.live_from), len(receipt.selections)) == (1, 1)


class Own(UserChannel):
    history = History(size=20, ttl=60.0)


async def signed_in(harness: HistoryHarness) -> FakeClient:
    """A client that was welcomed, and then proved to be a user; it is on no channel yet."""
    client = await harness.open()
    found = Authenticated(identity=Identity(user_id="5", method="session"), user=None)
    assert client.connection.authenticated(found, harness.node.clock.time())
    return client


@in_virtual_time
async def test_own_channel_that_is_made_twice_at_once_is_left_once(monkeypatch):
    async with HistoryHarness() as harness:
        monkeypatch.setattr(harness.node.routes, "user_class", Own)
        client = await signed_in(harness)
        ask = server_subscriptions.HANDLERS["subscribe"](
            harness.node, {"user": "5", "channel": "users/5", "parameters": None}
        )
        await asyncio.gather(client.connection.join_own_channel(), ask)
        assert list(client.connection.subscriptions) == ["users/5"]
        client.connection.finish()
        await past(1.0)
        assert "users/5" not in harness.node.streams


class Board(Channel):
    """Everybody is on it; each has its state."""

    public = True
    state = "keyed"

    @classmethod
    def automatic(cls, connection):
        return ["board/a"] if connection.user_id else []


class Slow(Channel):
    public = True

    @classmethod
    def automatic(cls, connection):
        return ["slow/a"] if connection.user_id else []

    async def on_subscribe(self, connection):
        await asyncio.sleep(1.0)


async def publish(harness: HistoryHarness, payload) -> None:
    channel = harness.node.routes.resolve("board/a")
    await harness.node.publish(
        Outgoing(
            publication=Publication("board/a", payload, state_key="k"),
            history=channel.kept(),
            state_key="k",
        )
    )
    await settle()


@in_virtual_time
async def test_state_comes_before_what_is_live_to_a_client_that_signs_in():
    async with HistoryHarness() as harness:
        harness.node.routes.register("board/<str:x>", Board)
        harness.node.routes.register("slow/<str:x>", Slow)
        await publish(harness, "old")
        client = await signed_in(harness)
        joining = asyncio.create_task(client.connection.join_own_channel())
        await asyncio.sleep(0.5)
        await publish(harness, "new")
        await joining
        await past(1.0)
        told = [one for one in client.take() if one["channel"] == "board/a"]
        assert [one["type"] for one in told] == ["subscribed", "message", "message"]
        assert [one["payload"] for one in told[1:]] == ["old", "new"]
