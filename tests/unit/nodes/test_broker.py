"""The live path over a channel layer, on a loop of virtual time."""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from contextlib import AsyncExitStack

import pytest
from channels.exceptions import ChannelFull
from channels_redis.serializers import JSONSerializer
from django.test import override_settings

from channels_realtime.errors import Unavailable
from channels_realtime.nodes.adapters.base import LayerAdapter
from channels_realtime.nodes.broker import Broker
from channels_realtime.nodes.envelope import send, send_control, wrap
from channels_realtime.nodes.groups import group_name
from channels_realtime.nodes.metrics import Metrics
from channels_realtime.protocol.messages import Publication
from tests.support.scripted_layer import ScriptedLayer
from tests.support.virtual_time import in_virtual_time, settle

GROUP_A, GROUP_B = group_name("test", "a"), group_name("test", "b")


class Receiver:
    """Keeps what arrives."""

    def __init__(self) -> None:
        self.publications: list[Publication] = []
        self.controls: list = []
        self.losses = 0

    def receive(self, publication: Publication, sent_at: float | None = None) -> None:
        if publication.payload == "bug":
            raise ZeroDivisionError
        self.publications.append(publication)

    def lost(self) -> None:
        self.losses += 1

    def control(self, message: dict) -> None:
        self.controls.append(message)

    @property
    def payloads(self) -> list:
        return [publication.payload for publication in self.publications]


class Running:
    """A broker over a scripted layer, stopped at the end."""

    def __init__(self, layer: ScriptedLayer | None = None, *, node_id: str = "n1", **options):
        self.layer = ScriptedLayer() if layer is None else layer
        self.receiver = Receiver()
        values = {"subscribe_timeout": 5.0, "publish_timeout": 5.0, "check_interval": 10.0}
        self.metrics = Metrics()
        self.broker = Broker(
            self.layer,
            prefix="test",
            node_id=node_id,
            receiver=self.receiver,
            metrics=self.metrics,
            **(values | options),
        )

    async def __aenter__(self) -> Running:
        return self

    async def __aexit__(self, *exception) -> None:
        self.layer.hanging.clear()
        self.layer.failing.clear()
        await self.broker.stop()

    async def publish(self, *payloads, channel: str = "a") -> None:
        for payload in payloads:
            await self.broker.publish(Publication(channel, payload))
        await settle()

    def members(self, group: str) -> int:
        return len(self.layer.groups.get(group, ()))


# -- the contract of Channels' layers, which the scripted one passes -------------------------------


@in_virtual_time
async def test_scripted_layer_sends_and_receives():
    layer = ScriptedLayer()
    channel = await layer.new_channel()
    await layer.send(channel, {"type": "test", "text": "Ahoy"})
    assert await layer.receive(channel) == {"type": "test", "text": "Ahoy"}


@in_virtual_time
async def test_scripted_layer_raises_channel_full_beyond_its_capacity():
    layer = ScriptedLayer(capacity=2)
    for _ in range(2):
        await layer.send("test", {"type": "test"})
    with pytest.raises(ChannelFull):
        await layer.send("test", {"type": "test"})


@in_virtual_time
async def test_scripted_layer_sends_to_the_members_of_a_group_in_order():
    layer = ScriptedLayer()
    one, two, three = [await layer.new_channel() for _ in range(3)]
    for channel in (one, two, three):
        await layer.group_add("g", channel)
    await layer.group_discard("g", three)
    for n in range(3):
        await layer.group_send("g", {"type": "test", "n": n})
    for channel in (one, two):
        assert [(await layer.receive(channel))["n"] for _ in range(3)] == [0, 1, 2]
    waiting = asyncio.create_task(layer.receive(three))
    await settle()
    assert not waiting.done()
    waiting.cancel()


@in_virtual_time
async def test_scripted_layer_does_not_share_what_it_delivers():
    layer, message = ScriptedLayer(), {"type": "test", "list": [1]}
    await layer.send("test", message)
    message["list"].append(2)
    assert (await layer.receive("test"))["list"] == [1]


@in_virtual_time
async def test_scripted_layer_refuses_bad_names():
    layer = ScriptedLayer()
    with pytest.raises(TypeError):
        await layer.group_add("¯\\_(ツ)_/¯", "channel")
    with pytest.raises(TypeError):
        await layer.group_send("x" * 101, {"type": "test"})


# -- joining and publishing ------------------------------------------------------------------------


@in_virtual_time
async def test_publication_comes_back_when_the_channel_was_joined():
    async with Running() as running:
        await running.broker.join("a")
        await running.publish({"n": 1, "raw": b"\xff", "big": 2**64 - 1})
        assert running.receiver.publications == [
            Publication("a", {"n": 1, "raw": b"\xff", "big": 2**64 - 1})
        ]
        assert running.metrics.received == 1


@in_virtual_time
async def test_publication_does_not_come_when_its_channel_was_not_joined():
    async with Running() as running:
        await running.broker.join("a")
        await running.publish("x", channel="b")
        assert running.receiver.publications == []


@in_virtual_time
async def test_publications_keep_their_order_in_a_burst_larger_than_the_layers_capacity():
    async with Running() as running:
        await running.broker.join("a")
        await running.publish(*range(1_000))
        assert running.receiver.payloads == list(range(1_000))


@in_virtual_time
async def test_publication_costs_one_layer_message_whatever_the_number_of_subscribers():
    async with Running() as running:
        for _ in range(200):
            await running.broker.join("a")
        before = running.layer.calls["group_send"]
        await running.publish("x")
        assert running.layer.calls["group_send"] == before + 1
        assert running.receiver.payloads == ["x"]


@in_virtual_time
async def test_publication_reaches_every_process_once():
    layer = ScriptedLayer()
    async with Running(layer) as one, Running(layer, node_id="n2") as two:
        await one.broker.join("a")
        await two.broker.join("a")
        await one.publish(1)
        await two.publish(2)
        assert (one.receiver.payloads, two.receiver.payloads) == ([1, 2], [1, 2])


@in_virtual_time
async def test_process_has_one_inbox_however_many_channels_it_joins():
    async with Running() as running:
        for n in range(50):
            await running.broker.join(f"c/{n}")
        assert running.layer.calls["new_channel"] == 1


@in_virtual_time
async def test_second_join_of_a_channel_asks_the_layer_nothing():
    async with Running() as running:
        await running.broker.join("a")
        before = dict(running.layer.calls)
        await running.broker.join("a")
        assert dict(running.layer.calls) == before


@in_virtual_time
async def test_concurrent_joins_share_one():
    async with Running() as running:
        await running.broker.start()
        before = running.layer.calls["group_add"]
        await asyncio.gather(*[running.broker.join("a") for _ in range(20)])
        assert running.layer.calls["group_add"] == before + 1
        for _ in range(19):
            running.broker.leave("a")
        await asyncio.sleep(60)
        await running.publish("still")
        assert running.receiver.payloads == ["still"]


@in_virtual_time
async def test_concurrent_first_joins_open_one_inbox():
    async with Running() as running:
        await asyncio.gather(*[running.broker.join(f"c/{n}") for n in range(10)])
        assert running.layer.calls["new_channel"] == 1


@in_virtual_time
async def test_join_waits_until_a_probe_has_come_back():
    async with Running() as running:
        await running.broker.start()
        running.layer.deaf_groups.add(GROUP_A)
        join = asyncio.create_task(running.broker.join("a"))
        await asyncio.sleep(0.3)
        assert not join.done()
        running.layer.deaf_groups.clear()
        await join
        await running.publish("x")
        assert running.receiver.payloads == ["x"]


@in_virtual_time
async def test_joiner_that_goes_away_does_not_end_the_join_of_another():
    async with Running() as running:
        await running.broker.start()
        running.layer.deaf_groups.add(GROUP_A)
        one = asyncio.create_task(running.broker.join("a"))
        two = asyncio.create_task(running.broker.join("a"))
        await asyncio.sleep(0.1)
        one.cancel()
        await asyncio.sleep(0.1)
        running.layer.deaf_groups.clear()
        await two
        assert one.cancelled()
        await asyncio.sleep(60)
        await running.publish("x")
        assert running.receiver.payloads == ["x"]


def record_bursts(monkeypatch) -> list[int]:
    """The sizes of the bursts of joins from now on."""
    bursts: list[int] = []
    join = Broker._join

    async def recording(self, burst):
        bursts.append(len(burst))
        await join(self, burst)

    monkeypatch.setattr(Broker, "_join", recording)
    return bursts


def test_joins_of_one_turn_are_one_burst_with_one_probe_where_one_proves_all(monkeypatch):
    monkeypatch.setattr(LayerAdapter, "probe_key", lambda self, group: len(group) % 2)

    @in_virtual_time
    async def scenario():
        async with Running() as running:
            await running.broker.start()
            bursts = record_bursts(monkeypatch)
            before = running.layer.calls["group_send"]
            await asyncio.gather(*[running.broker.join(f"c/{n}") for n in range(20)])
            assert bursts == [20]
            assert running.layer.calls["group_send"] == before + 2  # c/0 to c/9, and the others
            await running.publish("x", channel="c/0")
            assert running.receiver.payloads == ["x"]

    scenario()


def test_probe_is_sent_through_the_last_group_of_those_that_it_proves(monkeypatch):
    monkeypatch.setattr(LayerAdapter, "probe_key", lambda self, group: None)

    @in_virtual_time
    async def scenario():
        async with Running() as running:
            await running.broker.start()
            running.layer.deaf_groups.add(GROUP_B)
            joins = [asyncio.create_task(running.broker.join(channel)) for channel in "ab"]
            await asyncio.sleep(0.3)
            assert [join.done() for join in joins] == [False, False]
            running.layer.deaf_groups.clear()
            await asyncio.gather(*joins)

    scenario()


@in_virtual_time
async def test_joins_of_one_turn_have_a_probe_each_on_any_other_layer():
    async with Running() as running:
        await running.broker.start()
        before = running.layer.calls["group_send"]
        await asyncio.gather(*[running.broker.join(f"c/{n}") for n in range(20)])
        assert running.layer.calls["group_send"] == before + 20


def test_many_joins_of_one_turn_are_bursts_of_a_bounded_size(monkeypatch):
    @in_virtual_time
    async def scenario():
        async with Running() as running:
            await running.broker.start()
            bursts = record_bursts(monkeypatch)
            await asyncio.gather(*[running.broker.join(f"c/{n}") for n in range(120)])
            assert bursts == [50, 50, 20]

    scenario()


def test_joins_that_come_during_a_burst_are_the_next_one(monkeypatch):
    @in_virtual_time
    async def scenario():
        async with Running() as running:
            await running.broker.start()
            bursts = record_bursts(monkeypatch)
            running.layer.deaf_groups.add(GROUP_A)
            joins = [asyncio.create_task(running.broker.join("a"))]
            await settle()
            joins += [asyncio.create_task(running.broker.join(f"c/{n}")) for n in range(10)]
            await settle()
            assert bursts == [1]
            running.layer.deaf_groups.clear()
            await asyncio.gather(*joins)
            assert bursts == [1, 10]

    scenario()


@in_virtual_time
async def test_group_that_delivers_nothing_holds_up_no_other_join():
    async with Running() as running:
        await running.broker.start()
        running.layer.deaf_groups.add(GROUP_A)
        deaf = asyncio.create_task(running.broker.join("a"))
        loop = asyncio.get_running_loop()
        start = loop.time()
        await running.broker.join("b")  # of the same burst
        await running.broker.join("c")  # of the next
        assert loop.time() - start <= 0.02
        assert not deaf.done()
        with pytest.raises(Unavailable):
            await deaf


@in_virtual_time
async def test_group_that_the_layer_refuses_fails_alone():
    async with Running() as running:
        await running.broker.start()
        running.layer.fail("group_add", ConnectionError("away"))
        refused, *others = await asyncio.gather(
            *[running.broker.join(channel) for channel in "abc"], return_exceptions=True
        )
        assert str(refused) == "the channel layer did not answer: ConnectionError"
        assert others == [None, None]
        await running.publish("x", channel="c")
        assert running.receiver.payloads == ["x"]


@in_virtual_time
async def test_group_that_was_refused_may_be_joined_while_its_burst_goes_on():
    async with Running() as running:
        await running.broker.start()
        running.layer.fail("group_add", ConnectionError("away"))
        running.layer.deaf_groups.add(GROUP_B)
        refused = asyncio.create_task(running.broker.join("a"))
        deaf = asyncio.create_task(running.broker.join("b"))
        with pytest.raises(Unavailable, match="ConnectionError"):
            await refused
        await running.broker.join("a")
        await running.publish("x")
        assert running.receiver.payloads == ["x"]
        assert not deaf.done()
        running.layer.deaf_groups.clear()
        await deaf


@in_virtual_time
async def test_stop_ends_the_joins_that_wait():
    running = Running()
    await running.broker.start()
    running.layer.deaf_groups.add(GROUP_A)
    joins = [asyncio.create_task(running.broker.join("a"))]
    await settle()
    joins.append(asyncio.create_task(running.broker.join("b")))  # waits for the next burst
    await settle()
    await running.broker.stop()
    assert running.layer.groups == {}
    for join in joins:
        with pytest.raises(Unavailable, match="ConnectionError"):
            await join


# -- what the layer may do wrong -------------------------------------------------------------------


@in_virtual_time
async def test_join_is_unavailable_when_the_layer_delivers_nothing():
    async with Running() as running:
        await running.broker.start()
        running.layer.deaf_groups.add(GROUP_A)
        loop = asyncio.get_running_loop()
        start = loop.time()
        with pytest.raises(Unavailable, match=r"^the channel layer does not deliver$"):
            await running.broker.join("a")
        assert loop.time() - start <= 5.0


@in_virtual_time
async def test_join_is_unavailable_when_the_layer_fails(caplog):
    async with Running() as running:
        await running.broker.start()
        running.layer.fail("group_add", ConnectionError("away"))
        with pytest.raises(
            Unavailable, match=r"^the channel layer did not answer: ConnectionError$"
        ):
            await running.broker.join("a")
        await running.broker.join("a")
        await running.publish("x")
        assert running.receiver.payloads == ["x"]


@in_virtual_time
async def test_join_is_unavailable_in_time_when_the_layer_hangs():
    async with Running(subscribe_timeout=2.0) as running:
        await running.broker.start()
        running.layer.hanging.add("group_add")
        loop = asyncio.get_running_loop()
        start = loop.time()
        with pytest.raises(Unavailable, match=r"^the channel layer did not answer: TimeoutError$"):
            await running.broker.join("a")
        assert loop.time() - start == 2.0


@in_virtual_time
async def test_every_concurrent_join_is_unavailable_when_the_one_fails():
    async with Running() as running:
        await running.broker.start()
        running.layer.fail("group_add", ConnectionError("away"))
        results = await asyncio.gather(
            *[running.broker.join("a") for _ in range(5)], return_exceptions=True
        )
        assert [type(result) for result in results] == [Unavailable] * 5
        await asyncio.sleep(60)
        assert running.broker._memberships == {}


@in_virtual_time
async def test_failed_join_leaves_the_group_again():
    async with Running() as running:
        await running.broker.start()
        running.layer.deaf_groups.add(GROUP_A)
        with pytest.raises(Unavailable):
            await running.broker.join("a")
        await asyncio.sleep(10)
        assert running.members(GROUP_A) == 0
        assert running.broker._memberships == {}


@in_virtual_time
async def test_failed_join_that_nobody_waits_for_is_retrieved(caplog):
    async with Running() as running:
        await running.broker.start()
        running.layer.deaf_groups.add(GROUP_A)
        join = asyncio.create_task(running.broker.join("a"))
        await asyncio.sleep(0.1)
        join.cancel()
        await asyncio.sleep(60)
        del join
    import gc

    gc.collect()
    assert "never retrieved" not in caplog.text


@in_virtual_time
async def test_start_is_unavailable_when_the_layer_fails_and_may_be_tried_again():
    async with Running() as running:
        running.layer.fail("new_channel", ConnectionError("away"))
        with pytest.raises(
            Unavailable, match=r"^the channel layer did not open an inbox: ConnectionError$"
        ):
            await running.broker.join("a")
        await running.broker.join("a")
        await running.publish("x")
        assert running.receiver.payloads == ["x"]


@in_virtual_time
async def test_publish_is_unavailable_when_the_layer_fails():
    async with Running() as running:
        running.layer.fail("group_send", ConnectionError("away"))
        with pytest.raises(
            Unavailable,
            match=r"^the channel layer did not take the publication: ConnectionError$",
        ):
            await running.publish("x")


@in_virtual_time
async def test_publish_is_unavailable_in_time_when_the_layer_hangs():
    async with Running(publish_timeout=1.5) as running:
        running.layer.hanging.add("group_send")
        loop = asyncio.get_running_loop()
        start = loop.time()
        with pytest.raises(Unavailable, match="TimeoutError"):
            await running.publish("x")
        assert loop.time() - start == 1.5


@in_virtual_time
async def test_reading_goes_on_after_errors_of_the_layer(caplog):
    layer = ScriptedLayer()
    async with Running(layer) as running:
        await running.broker.join("a")
        layer.fail("receive", *[ConnectionError("away")] * 3)
        await running.publish(1)
        await asyncio.sleep(30)
        await running.publish(2)
        assert running.receiver.payloads == [1, 2]
        warnings = [r for r in caplog.records if r.getMessage().startswith("Reading from")]
        assert [r.getMessage() for r in warnings if r.levelname == "WARNING"] == [
            "Reading from the channel layer failed: ConnectionError: away"
        ]


@in_virtual_time
async def test_lost_memberships_are_noticed_and_taken_up_again():
    async with Running(check_interval=10.0) as running:
        await running.broker.join("a")
        await running.broker.join("b")
        running.layer.forget_groups()
        await running.publish("lost")
        await asyncio.sleep(30)
        await running.publish("a")
        await running.publish("b", channel="b")
        assert running.receiver.payloads == ["a", "b"]
        assert running.metrics.rejoined == 1


@pytest.mark.parametrize("lost", ["a", "b", "c"])
def test_one_lost_membership_is_noticed_in_its_turn(lost):
    @in_virtual_time
    async def scenario():
        async with Running(check_interval=10.0) as running:
            for channel in ("a", "b", "c"):
                await running.broker.join(channel)
            del running.layer.groups[group_name("test", lost)]
            await asyncio.sleep(3 * 20)
            await running.publish("x", channel=lost)
            assert running.receiver.payloads == ["x"]

    scenario()


@in_virtual_time
async def test_checks_wait_while_the_layer_is_away_and_heal_afterwards():
    async with Running(check_interval=5.0) as running:
        await running.broker.join("a")
        running.layer.fail("group_send", *[ConnectionError("away")] * 3)
        running.layer.forget_groups()
        await asyncio.sleep(60)
        await running.publish("x")
        assert running.receiver.payloads == ["x"]


@in_virtual_time
async def test_memberships_that_could_not_be_taken_up_again_are_tried_again(monkeypatch):
    monkeypatch.setattr("channels_realtime.nodes.broker._CHECKED_GROUPS", 0)
    async with Running(check_interval=10.0) as running:
        await running.broker.join("a")
        add = running.layer.group_add

        async def add_own_groups_alone(group, channel):
            if group == GROUP_A:
                running.layer.group_add = add
                raise ConnectionError("away")
            await add(group, channel)

        running.layer.group_add = add_own_groups_alone
        running.layer.forget_groups()
        await asyncio.sleep(60)
        await running.publish("x")
        assert running.receiver.payloads == ["x"]
        assert running.metrics.rejoined == 1


@in_virtual_time
async def test_memberships_are_renewed_before_the_layer_forgets_them():
    async with Running() as running:
        await running.broker.join("a")
        before = running.layer.calls["group_add"]
        await asyncio.sleep(3_700)
        assert running.layer.calls["group_add"] > before
        assert running.metrics.rejoined == 0


@pytest.mark.parametrize(
    "message",
    [
        {"type": "other"},
        {"type": "realtime.publication"},
        {"type": "realtime.publication", "body": "text"},
        {"type": "realtime.publication", "body": b"\xc1"},
        {"type": "realtime.publication", "body": b"\x91\x01"},
        {"type": "realtime.publication", "body": None},
        {"type": "realtime.probe", "nonce": "foreign"},
        {"type": "realtime.probe", "nonce": ["no", "text"]},
        {"type": "realtime.probe", "nonce": {}},
        {"type": "realtime.probe", "nonce": 7},
    ],
)
def test_foreign_message_in_the_inbox_hurts_nobody(message):
    @in_virtual_time
    async def scenario():
        async with Running() as running:
            await running.broker.join("a")
            await running.layer.group_send(GROUP_A, message)
            await settle()
            await running.publish("x")
            assert running.receiver.payloads == ["x"]

    scenario()


@in_virtual_time
async def test_message_that_the_layer_repeats_is_taken_once():
    async with Running() as running:
        await running.broker.join("a")
        inbox = running.broker.inbox
        publications = [wrap(Publication("a", n)) for n in range(3)]
        control = {"type": "realtime.control", "name": "of its own", "control": {"kind": "x"}}
        for message in (*publications[:2], publications[1], publications[0], publications[2]):
            await running.layer.send(inbox, message)
        for message in (control, control):
            await running.layer.send(inbox, message)
        await settle()
        assert running.receiver.payloads == [0, 1, 2]
        assert running.metrics.received == 3
        assert running.receiver.controls == [{"kind": "x"}]


@in_virtual_time
async def test_control_message_of_another_site_is_ignored_with_one_warning(caplog):
    async with Running() as running:
        await running.broker.start()
        for key in ("a staging site's key", "a staging site's key", "another's"):
            message = await control_of(key, {"kind": "x"})
            await running.layer.group_send("test.nodes", message)
        await send_control(running.layer, "test", {"kind": "own"}, 5.0)
        await settle()
        assert running.receiver.controls == [{"kind": "own"}]
    (record,) = caplog.records
    assert record.getMessage() == (
        "A message of another site (with another SECRET_KEY) came over the channel layer and is"
        " ignored, as are all that follow. Publications of the two sites reach each other: give each"
        " its own GROUP_PREFIX in CHANNELS_REALTIME, or its own prefix in CHANNEL_LAYERS. If there"
        " is one site only, its processes need the same SECRET_KEY."
    )


@in_virtual_time
async def test_control_message_of_a_process_with_the_key_before_is_taken(caplog):
    async with Running() as running:
        await running.broker.start()
        message = await control_of("the key before", {"kind": "old"})
        with override_settings(SECRET_KEY="the new", SECRET_KEY_FALLBACKS=["the key before"]):
            await running.layer.group_send("test.nodes", message)
            await settle()
        assert running.receiver.controls == [{"kind": "old"}]
    assert caplog.records == []


async def control_of(secret_key: str, control: dict) -> dict:
    """The layer message by which a site with this key sends a control message."""
    layer = ScriptedLayer()
    inbox = await layer.new_channel()
    await layer.group_add("test.nodes", inbox)
    with override_settings(SECRET_KEY=secret_key):
        await send_control(layer, "test", control, 5.0)
    message: dict = await layer.receive(inbox)
    return message


async def test_site_is_named_without_showing_its_key():
    message = await control_of("planted-secret", {"kind": "x"})
    assert len(message["site"]) == 16
    assert "planted" not in str(message)


class JsonLayer(ScriptedLayer):
    """Carries messages as channels-redis does with ``serializer_format: "json"``."""

    serializer = JSONSerializer()

    async def group_send(self, group: str, message: dict) -> None:
        data = self.serializer.serialize(message)
        await super().group_send(group, self.serializer.deserialize(data))


@in_virtual_time
async def test_layer_that_carries_no_bytes_carries_publications_and_control_messages():
    payload = {"text": "é", "raw": b"\x00\xff", "n": [1, None, 2.5]}
    async with Running(JsonLayer()) as running:
        await running.broker.join("a")
        await running.publish(payload, "again")
        for control in ({"kind": "x", "body": b"\xff\x00"}, {"kind": "y", "nodes": ["n1"]}):
            await send_control(running.layer, "test", control, 5.0)
        await settle()
        assert running.receiver.payloads == [payload, "again"]
        assert running.receiver.controls == [
            {"kind": "x", "body": b"\xff\x00"},
            {"kind": "y", "nodes": ["n1"]},
        ]


@in_virtual_time
async def test_same_payload_published_twice_is_heard_twice():
    async with Running() as running:
        await running.broker.join("a")
        await running.publish("again", "again")
        assert running.receiver.payloads == ["again", "again"]


@in_virtual_time
async def test_names_of_messages_are_forgotten_in_time(monkeypatch):
    monkeypatch.setattr("channels_realtime.nodes.broker._REMEMBERED", 2)
    async with Running() as running:
        await running.broker.join("a")
        first, *others = [wrap(Publication("a", n)) for n in range(3)]
        for message in (first, *others, others[0], first):
            await running.layer.send(running.broker.inbox, message)
        await settle()
        assert running.receiver.payloads == [0, 1, 2, 0]


@in_virtual_time
async def test_receiver_that_fails_does_not_end_the_reading(caplog):
    async with Running() as running:
        await running.broker.join("a")
        await running.publish("bug", "x")
        assert running.receiver.payloads == ["x"]
        assert "Delivering a publication failed" in caplog.text


# -- leaving ---------------------------------------------------------------------------------------


@in_virtual_time
async def test_group_is_left_a_little_after_the_last_subscriber():
    async with Running() as running:
        await running.broker.join("a")
        await running.broker.join("a")
        running.broker.leave("a")
        await asyncio.sleep(60)
        assert running.members(GROUP_A) == 1
        running.broker.leave("a")
        await asyncio.sleep(1.0)
        assert running.members(GROUP_A) == 1
        await asyncio.sleep(4.0)
        assert running.members(GROUP_A) == 0
        assert running.broker._memberships == {}


@in_virtual_time
async def test_group_is_kept_when_somebody_comes_back_soon():
    async with Running() as running:
        await running.broker.join("a")
        running.broker.leave("a")
        await asyncio.sleep(1.0)
        before = running.layer.calls["group_add"]
        await running.broker.join("a")
        await asyncio.sleep(60)
        assert running.layer.calls["group_add"] == before
        assert running.members(GROUP_A) == 1


@in_virtual_time
async def test_join_during_the_leaving_joins_again():
    async with Running() as running:
        await running.broker.join("a")
        gate = asyncio.Event()
        discard = running.layer.group_discard

        async def slow_discard(group, channel):
            await gate.wait()
            await discard(group, channel)

        running.layer.group_discard = slow_discard
        running.broker.leave("a")
        await asyncio.sleep(4.0)
        join = asyncio.create_task(running.broker.join("a"))
        await settle()
        gate.set()
        await join
        await asyncio.sleep(30)
        await running.publish("x")
        assert running.receiver.payloads == ["x"]


@in_virtual_time
async def test_leaving_is_tried_again_when_the_layer_fails():
    async with Running() as running:
        await running.broker.join("a")
        running.layer.fail("group_discard", ConnectionError("away"))
        running.broker.leave("a")
        await asyncio.sleep(10.0)
        assert running.members(GROUP_A) == 0


@in_virtual_time
async def test_group_that_hangs_while_it_is_left_does_not_stop_the_checks():
    async with Running(subscribe_timeout=2.0) as running:
        await running.broker.join("a")
        await running.broker.join("b")
        running.layer.hanging.add("group_discard")
        running.broker.leave("b")
        await asyncio.sleep(5.0)
        running.layer.hanging.clear()
        del running.layer.groups[GROUP_A]
        await asyncio.sleep(60.0)
        assert (running.members(GROUP_A), running.members(GROUP_B)) == (1, 0)


@in_virtual_time
async def test_leaving_what_was_not_joined_does_nothing():
    async with Running() as running:
        running.broker.leave("a")
        await running.broker.join("a")
        await running.publish("x")
        assert running.receiver.payloads == ["x"]


@in_virtual_time
async def test_stop_leaves_every_group_and_every_task():
    running = Running()
    await running.broker.join("a")
    await running.broker.join("b")
    await running.broker.stop()
    await running.broker.stop()
    assert running.layer.groups == {}


@in_virtual_time
async def test_stop_during_a_join_leaves_no_task():
    running = Running()
    await running.broker.start()
    running.layer.deaf_groups.add(GROUP_A)
    join = asyncio.create_task(running.broker.join("a"))
    await asyncio.sleep(0.1)
    await running.broker.stop()
    with pytest.raises((Unavailable, asyncio.CancelledError)):
        await join


@in_virtual_time
async def test_stop_does_not_wait_for_a_layer_that_hangs():
    async with Running(subscribe_timeout=2.0) as running:
        await running.broker.join("a")
        running.layer.hanging.add("group_discard")
        loop = asyncio.get_running_loop()
        start = loop.time()
        await running.broker.stop()
        assert loop.time() - start <= 2.0


@in_virtual_time
async def test_broker_may_start_again_after_its_stop():
    async with Running() as running:
        await running.broker.join("a")
        await running.broker.stop()
        await running.broker.join("a")
        await running.publish("x")
        assert running.receiver.payloads == ["x"]


# -- sending without a broker ----------------------------------------------------------------------


@in_virtual_time
async def test_send_reaches_a_broker_of_another_process():
    async with Running() as running:
        await running.broker.join("a")
        await send(running.layer, "test", Publication("a", "x", "event", {"user": "1"}), 1.0)
        await settle()
        assert running.receiver.publications == [Publication("a", "x", "event", {"user": "1"})]


@in_virtual_time
async def test_send_with_another_prefix_is_another_site():
    async with Running() as running:
        await running.broker.join("a")
        await send(running.layer, "other", Publication("a", "x"), 1.0)
        await settle()
        assert running.receiver.publications == []


def test_envelope_is_bytes_so_that_every_layer_can_carry_it():
    message = wrap(Publication("a", {"1": [b"\xff", 2**64 - 1]}))
    assert message["type"] == "realtime.publication"
    assert isinstance(message["body"], bytes)
    assert isinstance(message["at"], float)
    assert set(message) == {"type", "name", "body", "at"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_messages_of_a_process_and_of_its_child_have_names_of_their_own():
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, wrap(Publication("a", 1))["name"].encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    names = [os.read(reading, 100).decode()]
    os.close(reading)
    os.close(writing)
    names += [wrap(Publication("a", 1))["name"] for _ in range(2)]
    assert len(set(names)) == 3
    assert all(re.fullmatch(r"[0-9a-f]{12}\.\d+", name) for name in names)


# -- probes of many processes ----------------------------------------------------------------------


class CountingLayer(ScriptedLayer):
    """Counts what is sent to each group."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.sent = Counter()

    async def group_send(self, group, message):
        self.sent[group] += 1
        await super().group_send(group, message)


async def _probes_a_second(processes: int) -> float:
    """Of the group of all nodes and of three channels, which all processes are in."""
    layer = CountingLayer(capacity=1_000)
    async with AsyncExitStack() as stack:
        all_running = [
            await stack.enter_async_context(Running(layer, node_id=f"n{number}"))
            for number in range(processes)
        ]
        for running in all_running:
            for channel in ("a", "b", "c"):
                await running.broker.join(channel)
        layer.sent.clear()
        await asyncio.sleep(60)
        own = "test.node."
        return sum(n for group, n in layer.sent.items() if not group.startswith(own)) / 60


@in_virtual_time
async def test_of_the_processes_that_share_a_group_one_probes_it():
    """Each probe goes to all of them, so that probes of all would grow with the square."""
    groups = 4
    most = groups / (10.0 / 3)  # a proof is relied on for a third of the interval
    assert 0 < await _probes_a_second(5) <= 1.5 * most
    assert 0 < await _probes_a_second(40) <= 1.5 * most


@in_virtual_time
async def test_process_that_lost_a_group_alone_notices_although_others_probe_it():
    layer = ScriptedLayer()
    async with Running(layer, node_id="n1") as first, Running(layer, node_id="n2") as second:
        for running in (first, second):
            await running.broker.join("a")
        layer.groups[GROUP_A].pop(first.broker.inbox)
        await asyncio.sleep(30)
        await second.publish("x")
        assert first.receiver.payloads == ["x"]
