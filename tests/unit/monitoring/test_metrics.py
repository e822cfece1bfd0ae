"""Samples of what a node counts, written once a minute."""

from __future__ import annotations

import asyncio
import datetime
import logging

import pytest
from django.db import OperationalError
from django.test import override_settings

from channels_realtime.config import Config
from channels_realtime.models import SampleRecord
from channels_realtime.monitoring.metrics import MetricsRecorder
from channels_realtime.nodes.metrics import MAX_KEYS, OTHER, Metrics
from tests.support.database import InlineDatabase, no_loop
from tests.support.nodes import NodeHarness, subscribe
from tests.support.virtual_time import VirtualClock, in_virtual_time, settle

pytestmark = pytest.mark.django_db


class FakeNode:
    """A node that only counts."""

    def __init__(self, **config) -> None:
        self.id = "a" * 32
        self.config = Config(**config)
        self.clock = VirtualClock()
        self.database = InlineDatabase()
        self.connections: dict = {}
        self.metrics = Metrics()
        self.recorder = MetricsRecorder(self)

    def work(self, *, connected=0, messages_in=0, messages_out=0, throttled=0, **others) -> None:
        self.metrics.connected += connected
        self.metrics.messages_in += messages_in
        self.metrics.delivered += messages_out
        self.metrics.throttled += throttled
        for name, more in others.items():
            setattr(self.metrics, name, getattr(self.metrics, name) + more)


def rows(*columns) -> list:
    with no_loop():
        return list(SampleRecord.objects.order_by("at").values_list(*columns))


# -- samples ---------------------------------------------------------------------------------------


@in_virtual_time
async def test_sample_says_what_was_counted_since_the_one_before():
    node = FakeNode(sample_interval=60.0)
    node.work(connected=3, messages_in=5, messages_out=7, throttled=1)  # the first come before it
    await node.recorder.start()
    node.connections = {"a": object(), "b": object()}
    node.metrics.count_disconnect("client")
    node.metrics.count_disconnect("4401")
    node.metrics.count_disconnect("client")
    node.metrics.count_denial("origin")
    node.metrics.observe_latency(0.004)
    begin = node.clock.time()
    await asyncio.sleep(60.5)
    node.connections = {"a": object()}
    node.work(connected=1, messages_in=2, messages_out=3, throttled=4)
    node.work(recovered=3, unrecovered=1, healed_gaps=2)
    await asyncio.sleep(60)
    columns = [field.name for field in SampleRecord._meta.fields if field.name != "id"]
    assert [dict(zip(columns, row, strict=True)) for row in rows(*columns)] == [
        {
            "node_id": "a" * 32,
            "at": datetime.datetime.fromtimestamp(begin + 60, datetime.UTC),
            "seconds": pytest.approx(60.0),
            "connections": 2,
            "connected": 3,
            "messages_in": 5,
            "messages_out": 7,
            "latency_counts": [0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            "disconnects": {"client": 2, "4401": 1},
            "denials": {"origin": 1},
            "throttled": 1,
            "recovered": 0,
            "unrecovered": 0,
            "healed_gaps": 0,
        },
        {
            "node_id": "a" * 32,
            "at": datetime.datetime.fromtimestamp(begin + 120, datetime.UTC),
            "seconds": pytest.approx(60.0),
            "connections": 1,
            "connected": 1,
            "messages_in": 2,
            "messages_out": 3,
            "latency_counts": [],
            "disconnects": {},
            "denials": {},
            "throttled": 4,
            "recovered": 3,
            "unrecovered": 1,
            "healed_gaps": 2,
        },
    ]
    await node.recorder.stop()


@in_virtual_time
async def test_sample_counts_what_a_real_node_does():
    async with NodeHarness(sample_interval=60.0, heartbeat_interval=1_000.0) as harness:
        harness.node.database = InlineDatabase()
        await harness.node.service(MetricsRecorder).start()
        leaver, stayer = [await harness.open() for _ in range(2)]
        await stayer.ask(subscribe(), subscribe("public/b"))
        leaver.connection.finish()
        harness.node.denied({}, "origin")
        await asyncio.sleep(60.5)
        assert rows("node_id", "connections", "connected", "messages_in", "throttled") == [
            (harness.node.id, 1, 2, 2, 0)
        ]
        assert rows("disconnects", "denials") == [({"client": 1}, {"origin": 1})]
        harness.clients.remove(leaver)


@in_virtual_time
async def test_time_before_the_first_connection_is_not_counted():
    node = FakeNode(sample_interval=60.0)
    await asyncio.sleep(1_000)
    await node.recorder.start()
    await asyncio.sleep(60.5)
    assert rows("seconds") == [(pytest.approx(60.0),)]
    await node.recorder.stop()


@override_settings(USE_TZ=False, TIME_ZONE="Europe/Berlin")
@in_virtual_time
async def test_sample_is_written_where_the_site_has_no_time_zones():
    node = FakeNode(sample_interval=60.0)
    await node.recorder.start()
    await asyncio.sleep(60.5)
    [(at,)] = rows("at")
    assert at == datetime.datetime(2023, 11, 14, 23, 31)  # 1,700,001,060 s, an hour east of UTC
    await node.recorder.stop()


@in_virtual_time
async def test_numbers_beyond_a_column_are_its_greatest():
    node = FakeNode(sample_interval=60.0)
    await node.recorder.start()
    node.work(connected=2**31, messages_in=2**63, throttled=2**40)
    await asyncio.sleep(60.5)
    assert rows("connected", "messages_in", "throttled") == [(2**31 - 1, 2**63 - 1, 2**31 - 1)]
    await node.recorder.stop()


# -- latencies -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [
        (-0.5, 0),  # the publisher's clock is ahead
        (0.0, 0),
        (0.001, 0),
        (0.0011, 1),
        (0.03, 5),
        (5.0, 11),
        (5.1, 12),
        (1e9, 12),
    ],
)
def test_latency_is_counted_in_the_bucket_of_the_least_bound_above_it(seconds, bucket):
    @in_virtual_time
    async def scenario():
        node = FakeNode()
        await node.recorder.start()
        node.metrics.observe_latency(seconds)
        await node.recorder.stop()
        expected = [0] * 13
        expected[bucket] = 1
        assert rows("latency_counts") == [(expected,)]

    scenario()


# -- a database that is down -----------------------------------------------------------------------


@in_virtual_time
async def test_what_the_database_did_not_take_is_in_the_next_sample(caplog):
    caplog.set_level(logging.INFO, "channels_realtime.monitoring.metrics")
    node = FakeNode(sample_interval=60.0)
    await node.recorder.start()
    node.database.down = True
    for _ in range(3):
        node.work(connected=1, messages_in=10, messages_out=100, throttled=1)
        node.metrics.count_disconnect("lost")
        node.metrics.count_denial("full")
        node.metrics.observe_latency(10.0)
        await asyncio.sleep(60)
    await asyncio.sleep(1)
    assert (node.recorder.failures >= 3, rows("pk")) == (True, [])
    node.database.down = False
    await asyncio.sleep(60)
    assert rows("seconds", "connected", "messages_in", "messages_out", "throttled") == [
        (pytest.approx(240.0), 3, 30, 300, 3)
    ]
    assert rows("disconnects", "denials", "latency_counts") == [
        ({"lost": 3}, {"full": 3}, [*[0] * 12, 3])
    ]
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "Samples could not be written: OperationalError"),
        ("INFO", "Samples are written again"),
    ]
    await asyncio.sleep(60)
    assert rows("seconds", "connected")[1:] == [(pytest.approx(60.0), 0)]
    await node.recorder.stop()


@in_virtual_time
async def test_what_happens_while_the_database_is_asked_is_counted_once():
    node = FakeNode(sample_interval=60.0)
    await node.recorder.start()
    node.metrics.count_disconnect("client")
    node.work(connected=1)
    node.database.answers.clear()
    node.database.down = True
    await asyncio.sleep(70)
    node.metrics.count_disconnect("client")
    node.metrics.count_disconnect("4503")
    node.work(connected=1)
    node.database.answers.set()  # and says no
    await asyncio.sleep(1)
    node.database.down = False
    await asyncio.sleep(60)
    assert rows("connected", "disconnects") == [(2, {"client": 2, "4503": 1})]
    await node.recorder.stop()


@in_virtual_time
async def test_reasons_are_bounded_however_many_there_are():
    node = FakeNode(sample_interval=60.0)
    await node.recorder.start()
    node.database.down = True
    for code in range(4_000, 4_500):
        node.metrics.count_disconnect(str(code))
        node.metrics.count_denial(f"reason {code}")
    await asyncio.sleep(60.5)
    node.database.down = False
    for code in range(4_500, 5_000):
        node.metrics.count_disconnect(str(code))
        node.metrics.count_denial(f"reason {code}")
    await asyncio.sleep(60)
    [(disconnects, denials)] = rows("disconnects", "denials")
    for counts in (disconnects, denials):
        assert len(counts) <= MAX_KEYS
        assert sum(counts.values()) == 1_000
        assert counts[OTHER] == 1_000 - (len(counts) - 1)
    await node.recorder.stop()


@in_virtual_time
async def test_reason_is_written_as_any_database_takes_it():
    node = FakeNode()
    await node.recorder.start()
    for _ in range(2):
        node.metrics.count_denial("a\x00b\ud800" + "c" * 100)
    await node.recorder.stop()
    assert rows("denials") == [({"ab?" + "c" * 46: 2},)]


# -- the end ---------------------------------------------------------------------------------------


@in_virtual_time
async def test_stop_writes_what_is_left():
    node = FakeNode(sample_interval=60.0)
    await node.recorder.start()
    await asyncio.sleep(10)
    node.metrics.count_disconnect("4503")
    await node.recorder.stop()
    assert rows("seconds", "disconnects") == [(pytest.approx(10.0), {"4503": 1})]


@in_virtual_time
async def test_stop_waits_a_second_for_the_database_and_no_longer(caplog):
    caplog.set_level(logging.INFO, "channels_realtime.monitoring.metrics")
    node = FakeNode(sample_interval=60.0)
    await node.recorder.start()
    node.database.answers.clear()
    await settle()
    begin = node.clock.monotonic()
    await node.recorder.stop()
    assert node.clock.monotonic() - begin == pytest.approx(1.0)
    assert caplog.messages == ["The node's last sample was not written in time"]


@in_virtual_time
async def test_stop_is_quiet_where_the_database_is_down():
    node = FakeNode()
    await node.recorder.start()
    node.database.down = True
    await node.recorder.stop()
    assert node.database.tried == 1


@in_virtual_time
async def test_nothing_is_written_before_the_start_or_after_the_stop():
    node = FakeNode()
    node.metrics.count_denial("origin")
    await node.recorder.stop()
    await node.recorder.start()
    await asyncio.sleep(1_000)
    assert (rows("pk"), node.database.tried) == ([], 0)


@in_virtual_time
async def test_second_start_does_nothing():
    node = FakeNode(sample_interval=60.0)
    await node.recorder.start()
    await node.recorder.start()
    await asyncio.sleep(60.5)
    assert len(rows("pk")) == 1
    await node.recorder.stop()


# -- retention -------------------------------------------------------------------------------------


def write_old_sample(at: float) -> None:
    numbers = ("connections", "connected", "messages_in", "messages_out")
    moment = datetime.datetime.fromtimestamp(at, datetime.UTC)
    with no_loop():
        SampleRecord.objects.create(
            node_id="b" * 32, at=moment, seconds=60, **dict.fromkeys(numbers, 0)
        )


def others() -> int:
    """How many there are of another node."""
    return rows("node_id").count(("b" * 32,))


@in_virtual_time
async def test_samples_of_any_node_are_deleted_when_their_time_is_over():
    node = FakeNode(sample_interval=60.0, sample_retention=3_600.0)
    begin = node.clock.time()
    write_old_sample(begin - 3_600)
    write_old_sample(begin - 3_000)
    write_old_sample(begin - 1_000)
    await node.recorder.start()
    await asyncio.sleep(60.5)
    assert others() == 2
    tried = node.database.tried
    await asyncio.sleep(540)  # nine samples, and no deletion
    assert (others(), node.database.tried - tried) == (2, 9)
    await asyncio.sleep(60)  # 660 s after the beginning
    assert others() == 1
    await node.recorder.stop()


@in_virtual_time
async def test_deletion_that_fails_takes_no_sample_with_it(caplog):
    class Forgetful(InlineDatabase):
        async def run(self, work, *arguments):
            if work.__name__ == "_delete_before":
                raise OperationalError("locked")
            return await super().run(work, *arguments)

    node = FakeNode(sample_interval=60.0)
    node.database = Forgetful()
    await node.recorder.start()
    await asyncio.sleep(120.5)
    assert rows("seconds") == [(pytest.approx(60.0),)] * 2
    assert caplog.messages == ["Samples could not be written: OperationalError"]
    await node.recorder.stop()
