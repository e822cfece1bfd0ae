"""A new subscriber gets the state of a channel, then what is live, with nothing between lost."""

from __future__ import annotations

import asyncio
import random

import msgspec
import pytest

from channels_realtime import Channel, History
from channels_realtime.nodes.outgoing import Outgoing
from channels_realtime.protocol.messages import Publication
from tests.support.kept_channels import keep_unreadable, register_kinds
from tests.support.nodes import FakeClient, NodeHarness, publish, subscribe
from tests.support.virtual_time import in_virtual_time, settle

LAST, KEYED = "last/1", "keyed/1"
PAUSED, GO_ON = {"paused": True}, {"paused": False}


def encode(message: dict) -> str:
    return msgspec.json.encode(message).decode()


def harness(**config) -> NodeHarness:
    made = NodeHarness(connection_messages=None, **config)
    register_kinds(made.node.routes)
    return made


async def send(site: NodeHarness, payload, channel: str = KEYED, key: str | None = None, **fields):
    """Publish from the server."""
    found = site.node.routes.resolve(channel)
    publication = Publication(channel, payload, state_key=key, **fields)
    await site.node.publish(
        Outgoing(
            publication=publication,
            history=found.kept(),
            state_key="" if found.state == "last" else key,
            state_ttl=found.state_ttl,
        )
    )


async def subscribed(client: FakeClient, channel: str = KEYED, **fields) -> tuple[dict, list]:
    """Subscribe; the reply's payload, and what came after it."""
    reply, *messages = await client.ask(subscribe(channel, **fields))
    assert reply["type"] == "subscribed", reply
    return reply["payload"], messages


def shown(messages: list) -> list:
    """The key, the payload, and whether it is state."""
    return [
        (one.get("state_key"), one["payload"], one.get("state", False))
        for one in messages
        if one["type"] == "message"
    ]


@in_virtual_time
async def test_newest_message_of_a_last_value_channel_comes_first():
    async with harness() as site:
        await send(site, 1, LAST)
        await send(site, 2, LAST)
        client = await site.open()
        payload, messages = await subscribed(client, LAST)
        [message] = messages
        assert message == {
            "type": "message",
            "channel": LAST,
            "payload": 2,
            "epoch": payload["epoch"],
            "offset": 2,
            "state": True,
        }
        assert payload["offset"] == 2
        assert "recovered" not in payload
        await send(site, 3, LAST)
        await settle()
        assert shown(client.take()) == [(None, 3, False)]


@in_virtual_time
async def test_channel_that_nothing_was_published_to_has_no_state():
    async with harness() as site:
        client = await site.open()
        for channel in (LAST, KEYED):
            payload, messages = await subscribed(client, channel)
            assert (payload["offset"], messages) == (0, [])


@in_virtual_time
async def test_whole_state_comes_once_a_key_oldest_first_then_the_changes():
    async with harness() as site:
        for key, payload in (("a", 1), ("b", 2), ("c", 3), ("a", 4)):
            await send(site, payload, key=key)
        await send(site, None, key="c", removed=True)
        await send(site, "news")
        client = await site.open()
        _, messages = await subscribed(client)
        assert shown(messages) == [("b", 2, True), ("a", 4, True)]
        await send(site, 5, key="b")
        await send(site, None, key="a", removed=True)
        await settle()
        changes = client.take()
        assert shown(changes) == [("b", 5, False), ("a", None, False)]
        assert [one.get("removed", False) for one in changes] == [False, True]


@in_virtual_time
async def test_state_that_cannot_be_read_is_left_out():
    async with harness() as site:
        await send(site, "a1", key="a")
        await keep_unreadable(site.node.history, KEYED, "b")
        client = await site.open()
        payload, messages = await subscribed(client)
        assert (payload["offset"], shown(messages)) == (2, [("a", "a1", True)])


@in_virtual_time
async def test_client_that_comes_back_gets_what_it_missed_in_place_of_the_state():
    async with harness() as site:
        await send(site, 1, key="a")
        client = await site.open()
        payload, _ = await subscribed(client)
        await send(site, 2, key="a")
        await send(site, 3, key="b")
        back = await site.open()
        since = {"epoch": payload["epoch"], "offset": payload["offset"]}
        reply, messages = await subscribed(back, since=since)
        assert reply["recovered"] is True
        assert shown(messages) == [("a", 2, False), ("b", 3, False)]
        assert all(one["recovered"] for one in messages)


@in_virtual_time
async def test_client_that_cannot_be_recovered_gets_the_state():
    async with harness() as site:
        await send(site, 1, key="a")
        client = await site.open()
        reply, messages = await subscribed(client, since={"epoch": "another", "offset": 1})
        assert reply["recovered"] is False
        assert shown(messages) == [("a", 1, True)]


@in_virtual_time
async def test_state_of_a_key_expires():
    class Brief(Channel):
        public = True
        state = "keyed"
        state_ttl = 10.0

    async with harness() as site:
        site.node.routes.register("brief", Brief)
        store, now = site.node.history, [0.0]
        store._now = lambda: now[0]
        await send(site, 1, "brief", key="a")
        now[0] = 9.0
        await send(site, 2, "brief", key="b")
        now[0] = 11.0
        _, messages = await subscribed(await site.open(), "brief")
        assert shown(messages) == [("b", 2, True)]
        now[0] = 20.0
        _, messages = await subscribed(await site.open(), "brief")
        assert shown(messages) == []


@in_virtual_time
async def test_state_that_is_selected_by_parameters_is_that_of_the_parameter():
    class Selected(Channel):
        public = True
        state = "keyed"
        select = "symbol"

    async with harness() as site:
        site.node.routes.register("selected", Selected)
        for symbol in ("AAPL", "MSFT"):
            await send(site, {"symbol": symbol}, "selected", key=symbol)
        client = await site.open()
        _, messages = await subscribed(client, "selected", payload={"symbol": "MSFT"})
        assert shown(messages) == [("MSFT", {"symbol": "MSFT"}, True)]


@in_virtual_time
async def test_large_state_of_another_selection_comes_whole_then_what_is_live():
    class Selected(Channel):
        public = True
        state = "keyed"
        select = "symbol"

    async with harness(outbox_max_messages=60) as site:
        site.node.routes.register("selected", Selected)
        for number in range(300):
            await send(site, {"symbol": "AB"[number % 2]}, "selected", key=f"k{number}")
        client = await site.open()
        await subscribed(client, "selected", payload={"symbol": "A"})
        await asyncio.sleep(1.0)
        client.take()
        _, messages = await subscribed(client, "selected", payload={"symbol": "B"})
        await send(site, {"symbol": "A"}, "selected", key="k0")
        await asyncio.sleep(1.0)
        keys = [key for key, _, _ in shown([*messages, *client.take()])]
        assert keys == [*(f"k{number}" for number in range(1, 300, 2)), "k0"]


@in_virtual_time
async def test_client_that_pauses_before_the_whole_state_has_come_gets_the_rest_afterwards():
    async with harness(outbox_max_messages=60) as site:
        for number in range(300):
            await send(site, number, key=f"k{number}")
        client = await site.open()
        client.gate.clear()
        client.connection.receive(encode(subscribe(KEYED)))
        await settle()
        client.connection.receive(encode({"type": "flow", "channel": KEYED, "payload": PAUSED}))
        await send(site, "news", key="k0")
        client.gate.set()
        await asyncio.sleep(1.0)
        first = shown(client.take())
        assert len(first) < 100
        client.connection.receive(encode({"type": "flow", "channel": KEYED, "payload": GO_ON}))
        await asyncio.sleep(1.0)
        keys = [key for key, _, _ in [*first, *shown(client.take())]]
        assert keys == [*(f"k{number}" for number in range(300)), "k0"]


@in_virtual_time
async def test_publisher_that_was_excluded_gets_its_own_state_when_it_comes_back():
    async with harness() as site:
        client = await site.open()
        await client.ask(publish(1, KEYED, state_key="a", echo=False))
        _, messages = await subscribed(client)
        assert shown(messages) == [("a", 1, True)]


@in_virtual_time
async def test_state_larger_than_a_reply_comes_whole_and_in_order_before_what_is_live():
    async with harness() as site:
        for number in range(700):
            await send(site, number, key=f"k{number}")
        client = await site.open()
        client.connection.receive('{"type": "subscribe", "channel": "keyed/1"}')
        await send(site, "live", key="k0")
        await settle()
        for _ in range(20):
            await asyncio.sleep(0.1)
        reply, *messages = client.take()
        assert reply["type"] == "subscribed"
        state = [one for one in messages if one.get("state")]
        live = [one for one in messages if not one.get("state")]
        assert [one["offset"] for one in messages] == sorted(one["offset"] for one in messages)
        assert len({one["state_key"] for one in state}) == len(state) == 700
        final = {one["state_key"]: one["payload"] for one in [*state, *live]}
        assert final == {"k0": "live"} | {f"k{number}": number for number in range(1, 700)}


def slow_down(site: NodeHarness, method: str, chance: random.Random) -> None:
    """Have the store take its time, before it looks and after."""
    answer = getattr(site.node.history, method)

    async def slowly(*args, **options):
        await asyncio.sleep(chance.random() * 0.05)
        found = await answer(*args, **options)
        await asyncio.sleep(chance.random() * 0.05)
        return found

    setattr(site.node.history, method, slowly)


@pytest.mark.parametrize("seed", range(8))
@in_virtual_time
async def test_nothing_between_the_state_and_what_is_live_is_lost(seed):
    """Subscribers come while a publisher sets and removes keys; each ends with the publisher's state."""
    chance = random.Random(seed)

    class Board(Channel):
        public = True
        state = "keyed"
        history = History(size=400, ttl=60.0)

    async with harness() as site:
        site.node.routes.register("board", Board)
        for method in ("state", "read"):
            slow_down(site, method, chance)
        truth: dict[str, int] = {}
        clients: list[FakeClient] = []

        async def change() -> None:
            for number in range(300):
                key = f"k{chance.randrange(12)}"
                removed = chance.random() < 0.2
                await send(site, number, "board", key=key, removed=removed)
                if removed:
                    truth.pop(key, None)
                else:
                    truth[key] = number
                await asyncio.sleep(chance.choice([0, 0, 0.001, 0.03]))

        async def come() -> None:
            for _ in range(10):
                await asyncio.sleep(chance.random() * 0.2)
                client = await site.open()
                clients.append(client)
                client.connection.receive('{"type": "subscribe", "channel": "board"}')

        await asyncio.gather(change(), come())
        for _ in range(30):
            await asyncio.sleep(0.1)
        for client in clients:
            reply, *messages = client.take()
            assert reply["type"] == "subscribed"
            offsets = [one["offset"] for one in messages]
            assert offsets == sorted(set(offsets))
            news = [one["offset"] for one in messages if not one.get("state")]
            assert news == list(range(reply["payload"]["offset"] + 1, 301))
            found: dict[str, int] = {}
            for one in messages:
                if one.get("removed"):
                    found.pop(one["state_key"], None)
                else:
                    found[one["state_key"]] = one["payload"]
            assert found == truth
