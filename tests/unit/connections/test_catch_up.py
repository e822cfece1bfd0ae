"""A client that comes back with a position gets what it has missed, once and in order, or is told."""

import asyncio
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from channels_realtime.nodes.groups import group_name
from channels_realtime.nodes.streams import GIVE_UP_S
from channels_realtime.protocol.messages import Position
from tests.support.histories import CHANNEL, HistoryHarness, past, told
from tests.support.nodes import FakeClient, subscribe
from tests.support.virtual_time import in_virtual_time, settle

LONG = "long/a"


def since(position: Position | dict, **fields) -> dict:
    if isinstance(position, Position):
        position = {"epoch": position.epoch, "offset": position.offset}
    return {"since": position, **fields}


def offsets(messages: list[dict]) -> list[int]:
    return [one["offset"] for one in messages if one["type"] == "message"]


async def ask(client: FakeClient, message: dict) -> list[dict]:
    """What is written soon after a request."""
    return [*(await client.ask(message)), *(await past(0.1) or client.take())]


async def start(harness: HistoryHarness, channel: str = CHANNEL) -> dict:
    """The position of a channel as a client knows it that has just subscribed, and left."""
    client = await harness.open()
    (reply,) = await client.ask(subscribe(channel))
    client.connection.finish()
    await settle()
    return reply["payload"]


# -- what was missed -------------------------------------------------------------------------------


@in_virtual_time
async def test_missed_messages_follow_the_reply_and_then_what_is_live():
    async with HistoryHarness() as harness:
        known = await start(harness)
        await harness.publish("a", "b")
        client = await harness.open()
        reply, *missed = await client.ask(subscribe(CHANNEL, id=1, **since(known)))
        assert reply == {
            "type": "subscribed",
            "id": 1,
            "channel": CHANNEL,
            "payload": {"epoch": known["epoch"], "offset": 2, "recovered": True},
        }
        assert missed == [
            {
                "type": "message",
                "channel": CHANNEL,
                "payload": payload,
                "epoch": known["epoch"],
                "offset": offset,
                "recovered": True,
            }
            for offset, payload in ((1, "a"), (2, "b"))
        ]
        await harness.publish("c")
        (live,) = client.take()
        assert (live["offset"], live.get("recovered")) == (3, None)
        assert harness.node.metrics.recovered == 1


@in_virtual_time
async def test_client_that_missed_nothing_is_told_so_without_a_read():
    async with HistoryHarness() as harness:
        other = await harness.subscribed()
        await harness.publish("a")
        (message,) = other.take()
        harness.store.calls.clear()
        client = await harness.open()
        (reply,) = await client.ask(
            subscribe(CHANNEL, **since({"epoch": message["epoch"], "offset": 1}))
        )
        assert reply["payload"]["recovered"] is True
        assert harness.store.calls == []


@pytest.mark.parametrize("known", [{"epoch": "another", "offset": 1}, {"offset": 99}])
@in_virtual_time
async def test_position_that_the_history_does_not_have_is_not_recovered(known):
    async with HistoryHarness() as harness:
        position = await start(harness)
        await harness.publish("a", "b")
        client = await harness.open()
        (reply,) = await client.ask(subscribe(CHANNEL, **since(position | known)))
        assert reply["payload"] == position | {"offset": 2, "recovered": False}
        await harness.publish("c")
        assert told(client) == ["c"]
        assert harness.node.metrics.unrecovered == 1


@in_virtual_time
async def test_range_that_is_gone_is_not_recovered_in_part():
    async with HistoryHarness() as harness:
        known = await start(harness)
        await harness.publish(*range(21))  # 20 are kept
        client = await harness.open()
        (reply,) = await client.ask(subscribe(CHANNEL, **since(known)))
        assert reply["payload"] == known | {"offset": 21, "recovered": False}


@pytest.mark.parametrize("channel", [CHANNEL, "public/a"])
@in_virtual_time
async def test_recovery_that_is_required_and_impossible_makes_no_subscription(channel):
    async with HistoryHarness() as harness:
        client = await harness.open()
        known = {"epoch": "another", "offset": 1}
        (error,) = await ask(client, subscribe(channel, require_recovery=True, **since(known)))
        assert error["type"] == "error"
        assert error["payload"]["code"] == "not_recoverable"
        assert client.connection.subscriptions == {}
        assert channel not in harness.node.hub
        assert channel not in harness.node.streams
        group = group_name(harness.node.config.group_prefix, channel)
        assert harness.node.broker._memberships[group].references == 0


@in_virtual_time
async def test_channel_without_history_recovers_nothing():
    async with HistoryHarness() as harness:
        client = await harness.open()
        (reply,) = await client.ask(subscribe("public/a", **since({"epoch": "any", "offset": 0})))
        assert reply["payload"] == {"recovered": False}


@in_virtual_time
async def test_what_this_node_has_not_seen_yet_is_recovered_from_the_store():
    async with HistoryHarness(sync_interval=600.0) as harness:
        other = await harness.subscribed()
        known = harness.node.streams.position(CHANNEL)
        await harness.publish("a", "b", lost=True)
        client = await harness.open()
        # It was at `b`, on another node.
        ahead = {"epoch": known.epoch, "offset": 2}
        reply = (await client.ask(subscribe(CHANNEL, **since(ahead))))[0]
        assert reply["payload"] == {**ahead, "recovered": True}
        await harness.publish("c")
        assert told(client) == ["c"]
        assert told(other) == ["a", "b", "c"]


@in_virtual_time
async def test_epoch_that_this_node_has_not_seen_yet_is_recovered_from_the_store():
    async with HistoryHarness(sync_interval=600.0) as harness:
        await harness.subscribed()
        harness.store._streams.clear()
        (first, _) = await harness.publish("a", "b", lost=True)
        client = await harness.open()
        reply, *missed = await client.ask(subscribe(CHANNEL, **since(first.position)))
        assert reply["payload"]["recovered"] is True
        assert [one["payload"] for one in missed] == ["b"]


@in_virtual_time
async def test_reply_after_a_loss_that_this_node_has_not_seen_yet_has_the_new_epoch():
    async with HistoryHarness(sync_interval=600.0) as harness:
        known = await start(harness)
        await harness.subscribed()
        await harness.publish("a", "b")
        harness.store._streams.clear()
        (first, _) = await harness.publish("c", "d", lost=True)
        client = await harness.open()
        (reply,) = await client.ask(subscribe(CHANNEL, **since(known)))
        epoch = first.position.epoch
        assert reply["payload"] == {"epoch": epoch, "offset": 2, "recovered": False}


@in_virtual_time
async def test_selection_and_exclusion_hold_for_what_was_missed():
    async with HistoryHarness() as harness:
        known = await start(harness, LONG)
        client = await harness.open()
        for symbol in ("A", "B", "A"):
            await harness.publish({"symbol": symbol}, channel=LONG)
        await harness.publish({"symbol": "A"}, channel=LONG, exclude=client.connection.id)
        reply, *missed = await client.ask(subscribe(LONG, payload={"symbol": "A"}, **since(known)))
        assert reply["payload"]["offset"] == 4
        assert offsets(missed) == [1, 3]
        # Another selection: what it adds, and nothing twice.
        await harness.publish({"symbol": "B"}, channel=LONG)
        client.take()
        reply, *missed = await client.ask(subscribe(LONG, payload={"symbol": "B"}, **since(known)))
        assert reply["payload"]["recovered"] is True
        assert offsets(missed) == [2, 5]
        reply, *missed = await client.ask(subscribe(LONG, **since(known)))
        assert offsets(missed) == []
        await harness.publish({"symbol": "C"}, channel=LONG)
        assert offsets(client.take()) == [6]


@in_virtual_time
async def test_client_that_is_subscribed_gets_what_is_older_than_its_subscription():
    async with HistoryHarness() as harness:
        known = await start(harness)
        await harness.publish("a", "b")
        client = await harness.subscribed()
        await harness.publish("live")
        client.take()
        (error,) = await client.ask(subscribe(CHANNEL))
        assert error["payload"]["code"] == "already_subscribed"
        assert error["payload"]["offset"] == 3
        reply, *missed = await client.ask(subscribe(CHANNEL, **since(known)))
        assert reply["payload"] == known | {"offset": 3, "recovered": True}
        assert offsets(missed) == [1, 2]
        (reply,) = await client.ask(subscribe(CHANNEL, **since(known | {"offset": 3})))
        assert reply["payload"]["recovered"] is True
        (reply,) = await client.ask(subscribe(CHANNEL, **since(known | {"epoch": "other"})))
        assert reply["payload"]["recovered"] is False
        (error,) = await client.ask(
            subscribe(CHANNEL, require_recovery=True, **since(known | {"epoch": "other"}))
        )
        assert error["payload"]["code"] == "not_recoverable"
        await harness.publish("on")
        assert told(client) == ["on"]


@in_virtual_time
async def test_subscribed_client_that_reads_slowly_gets_much_that_is_older_than_its_subscription():
    async with HistoryHarness(outbox_max_messages=60) as harness:
        known = await start(harness, LONG)
        await harness.publish(*range(300), channel=LONG)
        client = await harness.subscribed(LONG)
        await harness.publish("live", channel=LONG)
        client.gate.clear()
        client.connection.receive(_text(subscribe(LONG, **since(known))))
        await past(0.1)
        await harness.publish("later", channel=LONG)
        client.gate.set()
        await past(1.0)
        live, reply, *missed = client.take()
        assert (live["payload"], reply["payload"]["recovered"]) == ("live", True)
        assert offsets(missed) == [*range(1, 301), 302]
        assert not client.connection.closed


@in_virtual_time
async def test_position_of_a_channel_without_history_is_not_recovered_for_a_subscribed_client():
    async with HistoryHarness() as harness:
        client = await harness.subscribed("public/a")
        (reply,) = await client.ask(subscribe("public/a", **since(Position("e", 1))))
        assert reply["payload"] == {"recovered": False}


@in_virtual_time
async def test_position_that_was_not_reached_yet_is_not_recovered_for_a_subscribed_client():
    async with HistoryHarness() as harness:
        client = await harness.subscribed()
        await harness.publish("a")
        (message,) = client.take()
        (reply,) = await client.ask(
            subscribe(CHANNEL, **since({"epoch": message["epoch"], "offset": 99}))
        )
        assert reply["payload"]["recovered"] is False


@in_virtual_time
async def test_store_that_is_away_refuses_a_position_and_leaves_nothing():
    async with HistoryHarness() as harness:
        known = await start(harness)
        await harness.subscribed()
        await harness.publish("a")
        harness.store.away = True
        client = await harness.open()
        (error,) = await client.ask(subscribe(CHANNEL, **since(known)))
        assert error["payload"]["code"] == "unavailable"
        assert client.connection.subscriptions == {}
        assert harness.node.hub.count(CHANNEL) == 1
        harness.store.away = False
        missed = await client.ask(subscribe(CHANNEL, **since(known)))
        assert offsets(missed) == [1]


@in_virtual_time
async def test_many_that_come_back_at_once_share_their_reads():
    async with HistoryHarness() as harness:
        known = await start(harness)
        await harness.publish(*range(10))
        clients = [await harness.open() for _ in range(200)]
        harness.store.calls.clear()
        await asyncio.gather(*(one.ask(subscribe(CHANNEL, **since(known))) for one in clients))
        assert harness.store.calls.count("read") <= 3
        assert harness.node.hub.count(CHANNEL) == 200
        await harness.publish("on")
        for client in clients:
            assert told(client) == ["on"]


# -- much of it ------------------------------------------------------------------------------------


async def far_behind(harness: HistoryHarness, count: int = 500) -> tuple[FakeClient, dict]:
    """A client that reads nothing for now, and has missed much."""
    known = await start(harness, LONG)
    await harness.publish(*range(1, count + 1), channel=LONG)
    client = await harness.open()
    client.gate.clear()
    await client.ask(subscribe(LONG, **since(known)))
    return client, known


@in_virtual_time
async def test_much_is_written_as_fast_as_the_client_reads():
    async with HistoryHarness(outbox_max_messages=60) as harness:
        client, _ = await far_behind(harness)
        assert client.connection.writer.queued <= 30
        await harness.publish("live 1", channel=LONG)
        client.gate.set()
        await settle()
        await harness.publish("live 2", channel=LONG)
        await past(1.0)
        messages = client.take()
        assert messages[0]["payload"]["recovered"] is True
        assert offsets(messages) == list(range(1, 503))
        assert client.connection.followers == {}
        assert not client.connection.closed
        await harness.publish("on", channel=LONG)
        assert told(client) == ["on"]


@in_virtual_time
async def test_large_messages_are_written_within_the_bytes_that_may_wait():
    async with HistoryHarness(outbox_max_bytes=100_000) as harness:
        known = await start(harness, LONG)
        await harness.publish(*(["x" * 30_000] * 20), channel=LONG)
        client = await harness.open()
        client.gate.clear()
        await client.ask(subscribe(LONG, **since(known)))
        assert client.connection.writer.queued_bytes <= 100_000
        client.gate.set()
        await past(1.0)
        assert offsets(client.take()) == list(range(1, 21))
        assert not client.connection.closed


@in_virtual_time
async def test_what_is_trimmed_while_a_slow_client_reads_closes_it():
    async with HistoryHarness(outbox_max_messages=60) as harness:
        client, _ = await far_behind(harness)
        await harness.store.purge(LONG)
        client.gate.set()
        await past(1.0)
        *messages, closing, close = client.take()
        assert offsets(messages) == list(range(1, len(offsets(messages)) + 1))
        assert closing["payload"]["code"] == 4430
        assert close["code"] == 4430


@in_virtual_time
async def test_store_that_is_away_while_a_slow_client_reads_is_waited_for_and_then_closes_it():
    async with HistoryHarness(outbox_max_messages=60) as harness:
        client, _ = await far_behind(harness)
        harness.store.away = True
        client.gate.set()
        await past(GIVE_UP_S / 2)
        assert not client.connection.closed
        harness.store.away = False
        await past(3.0)
        assert len(offsets(client.take())) == 500
        second = await harness.open()
        second.gate.clear()
        await second.ask(subscribe(LONG, **since({"epoch": _epoch(harness), "offset": 0})))
        harness.store.away = True
        second.gate.set()
        await past(GIVE_UP_S + 3.0)
        assert second.connection.close_code == 4430


def _epoch(harness: HistoryHarness) -> str:
    return harness.node.streams.position(LONG).epoch


@in_virtual_time
async def test_nothing_follows_an_unsubscribe_while_catching_up():
    async with HistoryHarness(outbox_max_messages=60) as harness:
        client, _ = await far_behind(harness)
        await client.ask({"type": "unsubscribe", "channel": LONG})
        client.gate.set()
        await past(1.0)
        messages = client.take()
        assert messages[-1] == {"type": "unsubscribed", "channel": LONG}
        assert len(offsets(messages)) <= 1
        assert client.connection.followers == {}
        assert LONG not in harness.node.streams


@in_virtual_time
async def test_connection_that_ends_while_catching_up_leaves_nothing():
    async with HistoryHarness(outbox_max_messages=60) as harness:
        client, _ = await far_behind(harness)
        client.connection.finish()
        await settle()
        assert client.connection.followers == {}
        assert LONG not in harness.node.streams
        assert LONG not in harness.node.hub


@in_virtual_time
async def test_selections_that_are_made_while_catching_up_miss_nothing():
    async with HistoryHarness(outbox_max_messages=60) as harness:
        known = await start(harness, LONG)
        for number in range(150):
            await harness.publish({"symbol": "AB"[number % 2]}, channel=LONG)
        client = await harness.open()
        client.connection.hold_deliveries("resume")  # as while a session is resumed
        for symbol in "AB":
            (reply,) = await client.ask(subscribe(LONG, payload={"symbol": symbol}, **since(known)))
            assert reply["payload"]["recovered"] is True
        client.connection.release_deliveries("resume")
        await past(1.0)
        assert offsets(client.take()) == list(range(1, 151))


# -- flow ------------------------------------------------------------------------------------------


def flow(paused: bool, channel: str = CHANNEL) -> dict:
    return {"type": "flow", "channel": channel, "payload": {"paused": paused}}


@in_virtual_time
async def test_what_was_published_while_paused_follows():
    async with HistoryHarness() as harness:
        client = await harness.subscribed()
        await client.ask(flow(True))
        await harness.publish("a", "b")
        assert client.take() == []
        reply, *missed = await client.ask(flow(False))
        assert reply["type"] == "flow"
        assert offsets(missed) == [1, 2]
        assert all(one["recovered"] for one in missed)
        await harness.publish("c")
        assert offsets(client.take()) == [3]
        await client.ask(flow(True))
        assert len(await client.ask(flow(False))) == 1


@in_virtual_time
async def test_pause_that_was_longer_than_the_history_is_said():
    async with HistoryHarness() as harness:
        client = await harness.subscribed()
        await client.ask(flow(True))
        await harness.publish(*range(21))
        _, anew = await client.ask(flow(False))
        assert anew["type"] == "subscribed"
        assert (anew["payload"]["offset"], anew["payload"]["recovered"]) == (21, False)
        await harness.publish("on")
        assert told(client) == ["on"]


@in_virtual_time
async def test_client_that_pauses_while_it_catches_up_goes_on_there():
    async with HistoryHarness(outbox_max_messages=60) as harness:
        client, _ = await far_behind(harness)
        await client.ask(flow(True, LONG))
        client.gate.set()
        await past(1.0)
        first = offsets(client.take())
        assert first == list(range(1, len(first) + 1))
        assert len(first) < 100
        rest = await ask(client, flow(False, LONG))
        assert first + offsets(rest) == list(range(1, 501))


@in_virtual_time
async def test_selection_that_is_read_while_paused_does_not_repeat_what_was_delivered():
    async with HistoryHarness(outbox_max_messages=60) as harness:
        known = await start(harness, LONG)
        for number in range(300):
            await harness.publish({"symbol": "AB"[number % 2]}, channel=LONG)
        client = await harness.open()
        payload = {"symbol": "A"}
        await ask(client, subscribe(LONG, payload=payload, **since(known)))
        await past(1.0)
        client.take()
        client.gate.clear()
        client.connection.receive(_text(subscribe(LONG, payload={"symbol": "B"}, **since(known))))
        await past(0.1)
        client.connection.receive(_text(flow(True, LONG)))
        await harness.publish({"symbol": "A"}, channel=LONG)
        client.gate.set()
        await past(1.0)
        client.connection.receive(_text(flow(False, LONG)))
        await past(1.0)
        assert offsets(client.take()) == [*range(2, 301, 2), 301]


# -- state -----------------------------------------------------------------------------------------


@in_virtual_time
async def test_state_comes_first_to_whoever_has_no_position():
    async with HistoryHarness() as harness:
        for key, value in (("x", 1), ("y", 1), ("x", 2)):
            await harness.publish(value, channel="states/a", state_key=key)
        client = await harness.open()
        reply, *state = await ask(client, subscribe("states/a"))
        assert reply["payload"]["offset"] == 3
        assert [(one["state_key"], one["payload"], one["state"]) for one in state] == [
            ("y", 1, True),
            ("x", 2, True),
        ]
        await harness.publish(3, channel="states/a", state_key="x")
        (live,) = client.take()
        assert (live["offset"], live.get("state"), live.get("recovered")) == (4, None, None)
        known = {"epoch": live["epoch"], "offset": 3}
        second = await harness.open()
        reply, *missed = await second.ask(subscribe("states/a", **since(known)))
        assert offsets(missed) == [4]
        assert "state" not in missed[0]
        third = await harness.open()
        reply, *state = await third.ask(subscribe("states/a", **since(known | {"offset": 99})))
        assert reply["payload"]["recovered"] is False
        assert [one["state_key"] for one in state] == ["y", "x"]
        assert all(one["state"] for one in state)


# -- whatever happens meanwhile --------------------------------------------------------------------


@settings(max_examples=settings.default.max_examples * 2 // 5)
@given(
    steps=st.lists(
        st.sampled_from(
            ["publish", "lose", "subscribe", "leave", "wait", "turn", "slow", "fast", "pause", "go"]
        ),
        max_size=50,
    )
)
@example(steps=["subscribe", "pause", "publish", "go"])  # and "go" once more, while it catches up
def test_client_that_comes_and_goes_gets_everything_once_and_in_order(steps):
    asked_in_virtual_time(steps)


@in_virtual_time
async def asked_in_virtual_time(steps) -> None:
    async with HistoryHarness(outbox_max_messages=40, sync_interval=3.0) as harness:
        await harness.subscribed(LONG)  # keeps the channel open on this node
        known = {"epoch": _epoch(harness), "offset": 0}
        client = await harness.open()
        subscribed = False
        received: list[int] = []

        def note() -> None:
            nonlocal known
            for one in client.take():
                assert one["type"] in ("subscribed", "unsubscribed", "message", "flow")
                if one["type"] == "message":
                    received.append(one["offset"])
                    known = {"epoch": one["epoch"], "offset": one["offset"]}
                elif one["type"] == "subscribed":
                    assert one["payload"].get("recovered") is True

        for step in [*steps, "fast", "go", "subscribe", "publish", "wait"]:
            if step in ("publish", "lose"):
                await harness.publish(*range(7), channel=LONG, lost=step == "lose")
            elif step == "subscribe" and not subscribed:
                note()
                client.connection.receive(_text(subscribe(LONG, **since(known))))
                subscribed = True
            elif step == "leave":
                client.connection.finish()
                await settle()
                note()
                client = await harness.open()
                subscribed = False
            elif step == "wait":
                await past(5.0)
            elif step == "turn":
                await asyncio.sleep(0)
            elif step == "slow":
                client.gate.clear()
            elif step == "fast":
                client.gate.set()
            elif step in ("pause", "go") and subscribed:
                client.connection.receive(_text(flow(step == "pause", LONG)))
        note()
        top = harness.node.streams.position(LONG).offset
        assert received == list(range(1, top + 1))


def _text(message: dict) -> str:
    return json.dumps(message)
