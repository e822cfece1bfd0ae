"""What the layer loses, repeats or reorders of a channel with history, the node makes good."""

import asyncio
import contextlib

import pytest

from channels_realtime.errors import Unavailable
from channels_realtime.nodes.groups import group_name
from channels_realtime.nodes.streams import GIVE_UP_S, REORDER_GRACE_S, LiveStream
from channels_realtime.protocol.messages import Position, Publication
from tests.support.histories import CHANNEL, HistoryHarness, past, told
from tests.support.nodes import subscribe
from tests.support.virtual_time import in_virtual_time, settle


@in_virtual_time
async def test_subscribed_has_the_position_and_messages_are_numbered():
    async with HistoryHarness() as harness:
        await harness.publish("before")
        client = await harness.open()
        (reply,) = await client.ask(subscribe(CHANNEL))
        epoch = reply["payload"]["epoch"]
        assert reply["payload"] == {"epoch": epoch, "offset": 1}
        await harness.publish("after")
        (message,) = client.take()
        assert (message["epoch"], message["offset"], message["payload"]) == (epoch, 2, "after")
        assert harness.node.streams.position(CHANNEL) == Position(epoch, 2)


@in_virtual_time
async def test_gap_is_filled_from_the_store_after_a_moment():
    async with HistoryHarness() as harness:
        client = await harness.subscribed()
        await harness.publish(1)
        await harness.publish(2, 3, lost=True)
        await harness.publish(4)
        assert told(client) == [1]
        await past(REORDER_GRACE_S)
        assert told(client) == [2, 3, 4]
        metrics = harness.node.metrics
        assert (metrics.healed_gaps, metrics.healed, metrics.resets) == (1, 2, 0)


@in_virtual_time
async def test_reordered_publications_need_no_store():
    async with HistoryHarness() as harness:
        client = await harness.subscribed()
        epoch = harness.node.streams.position(CHANNEL).epoch
        reads = harness.store.calls.count("read")
        for offset in (3, 1, 2, 2, 1):
            publication = Publication(
                CHANNEL, offset, position=Position(epoch, offset), uid=f"{offset:016x}"
            )
            harness.node.receive(publication)
        assert told(client) == [1, 2, 3]
        await past(1.0)
        assert harness.store.calls.count("read") == reads
        assert harness.node.metrics.healed_gaps == 0


@in_virtual_time
async def test_lost_tail_is_found_by_the_next_comparison():
    async with HistoryHarness(sync_interval=5.0) as harness:
        client = await harness.subscribed()
        await past(5.0)  # the first comparison of these buckets
        await harness.publish(1, 2, lost=True)
        await past(4.0)
        assert told(client) == []
        await past(1.0)
        assert told(client) == [1, 2]


@in_virtual_time
async def test_error_of_the_layer_brings_the_comparison_forward():
    async with HistoryHarness(sync_interval=600.0) as harness:
        client = await harness.subscribed()
        await harness.publish(1, lost=True)
        harness.layer.fail("receive", OSError("reset"))
        await harness.publish(2, lost=True)
        harness.node.broker._receiver.receive(Publication("public/x", 0))
        await harness.layer.group_send(group_name("realtime", CHANNEL), {"type": "x", "nonce": "x"})
        await past(1.0)
        assert told(client) == [1, 2]


@in_virtual_time
async def test_layer_that_takes_messages_again_brings_the_comparison_forward():
    async with HistoryHarness(sync_interval=600.0) as harness:
        client = await harness.subscribed()
        await harness.publish(1, lost=True)
        harness.layer.fail("group_send", OSError("refused"))
        await harness.publish(2)  # kept, and not sent
        await harness.publish("another", channel="public/a")
        await past(1.0)
        assert told(client) == [1, 2]


@in_virtual_time
async def test_gap_of_one_channel_brings_the_comparison_of_all_forward():
    async with HistoryHarness(sync_interval=600.0) as harness:
        client = await harness.subscribed()
        await client.ask(subscribe("stored/b"))
        client.take()
        await harness.publish("tail", channel="stored/b", lost=True)
        await harness.publish(1, lost=True)
        await harness.publish(2)
        await past(1.0)
        assert sorted(map(str, told(client))) == ["1", "2", "tail"]


@in_virtual_time
async def test_publication_that_is_lost_while_a_channel_opens_is_found():
    async with HistoryHarness(sync_interval=600.0) as harness:
        await harness.subscribed("stored/b")
        client = await harness.open()
        await harness.node.streams.sync()
        harness.store.late.clear()
        await client.ask(subscribe(CHANNEL))
        await past(0.1)  # its position was read, and is not here yet
        assert client.take() == []
        await harness.publish("lost", lost=True)
        await harness.node.streams.sync()  # which does not know of the channel
        harness.store.late.set()
        await past(0.1)
        assert [one["type"] for one in client.take()] == ["subscribed", "message"]


@in_virtual_time
async def test_groups_that_the_layer_had_forgotten_bring_the_comparison_forward():
    async with HistoryHarness(sync_interval=600.0, layer_check_interval=10.0) as harness:
        client = await harness.subscribed()
        harness.layer.forget_groups()
        await harness.publish(1)
        await past(60.0)
        assert told(client) == [1]
        await harness.publish(2)
        assert told(client) == [2]


@in_virtual_time
async def test_comparison_asks_for_what_has_changed_alone():
    async with HistoryHarness(sync_interval=5.0) as harness:
        await harness.subscribed()
        await past(5.5)
        harness.store.calls.clear()
        await past(5.0)
        assert harness.store.calls == ["changes"]
        await harness.publish(1)
        harness.store.calls.clear()
        await past(5.0)
        assert harness.store.calls == ["changes"]


@in_virtual_time
async def test_range_that_is_gone_is_said():
    async with HistoryHarness(sync_interval=5.0) as harness:
        client = await harness.subscribed()
        await harness.publish(0)
        told(client)
        await harness.publish(*range(1, 31), lost=True)  # 20 are kept
        await past(6.0)
        position = harness.node.streams.position(CHANNEL)
        assert position.offset == 31
        assert told(client) == [
            ("subscribed", {"epoch": position.epoch, "offset": 31, "recovered": False})
        ]
        await harness.publish("on")
        assert told(client) == ["on"]
        assert harness.node.metrics.resets == 1


@in_virtual_time
async def test_store_that_was_lost_begins_an_epoch_whose_publications_all_arrive():
    async with HistoryHarness(sync_interval=5.0) as harness:
        client = await harness.subscribed()
        await harness.publish(1, 2, 3)
        told(client)
        before = harness.node.streams.position(CHANNEL)
        harness.store._streams.clear()
        await harness.publish("new")
        await past(1.0)
        after = harness.node.streams.position(CHANNEL)
        assert after.epoch != before.epoch
        assert told(client) == [
            ("subscribed", {"epoch": after.epoch, "offset": 0, "recovered": False}),
            "new",
        ]


@in_virtual_time
async def test_store_that_lost_its_newest_begins_an_epoch():
    async with HistoryHarness(sync_interval=5.0) as harness:
        client = await harness.subscribed()
        await harness.publish(1, 2, 3)
        told(client)
        before = harness.node.streams.position(CHANNEL)
        lose_newest(harness.store._streams[CHANNEL])
        await harness.publish("another third")
        await past(1.0)
        after = harness.node.streams.position(CHANNEL)
        assert after.epoch != before.epoch
        assert told(client) == [
            ("subscribed", {"epoch": after.epoch, "offset": after.offset, "recovered": False})
        ]
        await harness.publish("on")
        assert told(client) == ["on"]


def lose_newest(stream, count: int = 1) -> None:
    """As a replica that was so many publications behind."""
    for _ in range(count):
        stream.entries.popitem()
        stream.top -= 1
    stream.uid = stream.entries[stream.top][1].uid if stream.entries else ""


@pytest.mark.parametrize("again", [3, 4])
@in_virtual_time
async def test_numbers_that_are_given_again_while_the_layer_loses_them_begin_an_epoch(again):
    async with HistoryHarness(sync_interval=5.0) as harness:
        client = await harness.subscribed()
        await past(5.0)
        await harness.publish(1, 2, 3, 4)
        told(client)
        before = harness.node.streams.position(CHANNEL)
        lose_newest(harness.store._streams[CHANNEL], 3)
        # This node gets none of them, and the next number is that which it expects.
        await harness.publish(*range(3), lost=True)
        if again == 4:
            await harness.publish("the fifth")
        await past(6.0)
        after = harness.node.streams.position(CHANNEL)
        assert after.epoch != before.epoch
        (word,) = told(client)
        assert word[1]["recovered"] is False
        await harness.publish("on")
        assert told(client) == ["on"]


@in_virtual_time
async def test_doubt_waits_for_the_store_no_longer_than_a_gap():
    async with HistoryHarness() as harness:
        client = await harness.subscribed()
        await harness.publish(1)
        epoch = harness.node.streams.position(CHANNEL).epoch
        told(client)
        harness.store.away = True
        harness.node.receive(Publication(CHANNEL, "?", position=Position("other", 1), uid="x"))
        harness.node.receive(Publication(CHANNEL, 2, position=Position(epoch, 2), uid="y"))
        assert told(client) == []
        await past(GIVE_UP_S + 3.0)
        assert told(client) == [2]
        assert harness.node.metrics.resets == 0


@in_virtual_time
async def test_live_delivery_goes_on_while_the_store_is_away():
    async with HistoryHarness() as harness:
        client = await harness.subscribed()
        epoch = harness.node.streams.position(CHANNEL).epoch
        harness.store.away = True
        for offset in (1, 2):
            harness.node.receive(
                Publication(CHANNEL, offset, position=Position(epoch, offset), uid="u")
            )
        assert told(client) == [1, 2]


@in_virtual_time
async def test_gap_waits_for_a_store_that_comes_back():
    async with HistoryHarness() as harness:
        client = await harness.subscribed()
        await harness.publish(1, lost=True)
        await harness.publish(2)
        harness.store.away = True
        await past(GIVE_UP_S - 2.0)
        assert told(client) == []
        harness.store.away = False
        await past(3.0)
        assert told(client) == [1, 2]
        assert harness.node.metrics.store_errors > 0


@in_virtual_time
async def test_gap_is_given_up_and_said_when_the_store_stays_away():
    async with HistoryHarness() as harness:
        client = await harness.subscribed()
        await harness.publish(1)
        epoch = harness.node.streams.position(CHANNEL).epoch
        await harness.publish(2, lost=True)
        await harness.publish(3)
        harness.store.away = True
        await past(GIVE_UP_S + 3.0)
        assert told(client) == [
            1,
            ("subscribed", {"epoch": epoch, "offset": 2, "recovered": False}),
            3,
        ]
        harness.store.away = False
        await past(5.0)
        await harness.publish(4)
        assert told(client) == [4]


@in_virtual_time
async def test_several_gaps_of_a_channel_wait_together():
    async with HistoryHarness() as harness:
        client = await harness.subscribed()
        epoch = harness.node.streams.position(CHANNEL).epoch
        harness.store.away = True
        for offset in range(2, 42, 2):  # every other one is lost
            publication = Publication(CHANNEL, offset, position=Position(epoch, offset), uid="u")
            harness.node.receive(publication)
        await past(GIVE_UP_S + 3.0)
        found = told(client)
        assert [one for one in found if isinstance(one, int)] == list(range(2, 42, 2))
        assert [one[1]["offset"] for one in found[::2]] == list(range(1, 41, 2))


@in_virtual_time
async def test_subscribing_needs_the_store_unless_the_channel_is_open():
    async with HistoryHarness() as harness:
        await harness.subscribed()
        harness.store.away = True
        second = await harness.open()
        (reply,) = await second.ask(subscribe(CHANNEL))
        assert reply["type"] == "subscribed"
        (error,) = await second.ask(subscribe("stored/b"))
        assert error["payload"]["code"] == "unavailable"
        assert "stored/b" not in harness.node.streams


@in_virtual_time
async def test_live_setting_serves_a_new_channel_without_the_store():
    async with HistoryHarness(store_failures="live") as harness:
        await harness.publish("before")
        harness.store.away = True
        client = await harness.open()
        (reply,) = await client.ask(subscribe(CHANNEL))
        assert reply["payload"] == {}
        await harness.publish("live")
        assert told(client) == ["live"]
        harness.store.away = False
        await past(5.0)
        (word,) = told(client)
        assert word[1]["offset"] == 1
        assert word[1]["recovered"] is False
        await harness.publish("on")
        assert told(client) == ["on"]


@in_virtual_time
async def test_live_publication_that_was_kept_after_all_is_delivered_once():
    async with HistoryHarness(store_failures="live", sync_interval=5.0) as harness:
        client = await harness.subscribed()
        harness.store.deaf = True
        (outcome,) = await harness.publish("once")
        assert outcome.position is None
        harness.store.deaf = False
        await harness.publish("next")
        await past(6.0)
        assert told(client) == ["once", "next"]
        assert harness.node.streams.position(CHANNEL).offset == 2


@in_virtual_time
async def test_live_publication_that_was_kept_after_all_is_known_after_a_long_outage():
    async with HistoryHarness(store_failures="live", sync_interval=5.0) as harness:
        client = await harness.subscribed()
        harness.store.deaf = True
        await harness.publish("once")
        harness.store.deaf, harness.store.away = False, True
        for number in range(1_500):
            harness.node.receive(Publication(CHANNEL, number, uid=f"{number:016x}"))
            if number % 100 == 0:
                await settle()
        harness.store.away = False
        await harness.publish("next")
        await past(6.0)
        assert told(client) == ["once", *range(1_500), "next"]


@in_virtual_time
async def test_stream_closes_with_its_last_subscriber():
    async with HistoryHarness() as harness:
        first, second = await harness.subscribed(), await harness.subscribed()
        await first.ask({"type": "unsubscribe", "channel": CHANNEL})
        assert CHANNEL in harness.node.streams
        second.connection.finish()
        await settle()
        assert CHANNEL not in harness.node.streams
        assert len(harness.node.streams) == 0


@in_virtual_time
async def test_many_that_open_at_once_read_once():
    async with HistoryHarness() as harness:
        streams = harness.node.streams
        await asyncio.gather(*(streams.open(CHANNEL) for _ in range(50)))
        assert harness.store.calls.count("read") == 1
        for _ in range(49):
            streams.close(CHANNEL)
        assert CHANNEL in streams
        streams.close(CHANNEL)
        assert CHANNEL not in streams


@in_virtual_time
async def test_caller_that_is_cancelled_while_a_channel_opens_leaves_nothing():
    async with HistoryHarness() as harness:
        streams = harness.node.streams
        tasks = [asyncio.ensure_future(streams.open(CHANNEL)) for _ in range(2)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await settle()
        assert CHANNEL not in streams
        kept, ended = (asyncio.ensure_future(streams.open(CHANNEL)) for _ in range(2))
        await asyncio.sleep(0)
        ended.cancel()
        await kept
        await settle()
        assert CHANNEL in streams
        streams.close(CHANNEL)
        assert CHANNEL not in streams


@in_virtual_time
async def test_identical_reads_in_flight_are_one():
    async with HistoryHarness() as harness:
        await harness.publish(1, 2)
        streams = harness.node.streams
        await streams.open(CHANNEL)
        since = Position(streams.position(CHANNEL).epoch, 0)
        harness.store.calls.clear()
        found = await asyncio.gather(*(streams.read(CHANNEL, since) for _ in range(5_000)))
        assert harness.store.calls == ["read"]
        assert {tuple(p.payload for p in missed.publications) for missed in found} == {(1, 2)}
        assert all(p.recovered for p in found[0].publications)
        harness.store.away = True
        results = await asyncio.gather(
            *(streams.read(CHANNEL, since) for _ in range(3)), return_exceptions=True
        )
        assert [type(result) for result in results] == [Unavailable] * 3
        streams.close(CHANNEL)


def test_stream_is_small():
    stream = LiveStream("0123456789abcdef", 12_345, "0123456789abcdef")
    sizes = [stream.__sizeof__(), stream._uids.__sizeof__()]
    assert sum(sizes) + 4 * 65 + 65 + 32 < 600


@pytest.mark.parametrize("count", [1, 2])
@in_virtual_time
async def test_publication_that_comes_while_the_channel_opens_is_not_missed(count):
    async with HistoryHarness() as harness:
        client = await harness.open()
        asked = asyncio.ensure_future(client.ask(subscribe(CHANNEL)))
        await settle()
        await harness.publish(*range(count))
        await past(1.0)
        (reply, *messages) = [*(await asked), *client.take()]
        offset = reply["payload"]["offset"]
        assert [one["offset"] for one in messages] == list(range(offset + 1, count + 1))
        with contextlib.suppress(KeyError):
            assert harness.node.streams.position(CHANNEL).offset == count
