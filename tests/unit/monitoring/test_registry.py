"""Live connections persisted in batches: what is written, when, and what a lost database leaves."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import functools
import itertools
import logging
import math
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import DataError, OperationalError, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from channels_realtime.connections.receipts import Receipts
from channels_realtime.identity import ANONYMOUS, Identity
from channels_realtime.models import ConnectionRecord, NodeRecord, SubscriptionRecord
from channels_realtime.monitoring import registry, registry_rows
from channels_realtime.monitoring.feed import Feed
from channels_realtime.monitoring.registry import Registry
from channels_realtime.nodes.groups import control_group, group_name, node_group
from channels_realtime.runtime.database import DatabaseThread
from tests.support import virtual_time
from tests.support.database import AWAY, InlineDatabase, in_thread
from tests.support.nodes import NodeHarness, subscribe
from tests.support.virtual_time import settle

pytestmark = pytest.mark.django_db

LEASE_S = 20.0


@pytest.fixture(autouse=True)
def on_the_loop(monkeypatch):
    """``InlineDatabase`` works where Django would not have it."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")


def in_virtual_time(test):
    """As ``virtual_time`` has it, with the test's own database connection on the loop."""

    @functools.wraps(test)
    def run(*arguments, **fields):
        own = connections["default"]

        @virtual_time.in_virtual_time
        async def inside():
            connections["default"] = own
            await test(*arguments, **fields)

        inside()

    return run


class RegistryHarness(NodeHarness):
    """A harness whose registry works, with connections that are no more than their rows."""

    def __init__(self, **config: Any) -> None:
        super().__init__(**{"node_lease": LEASE_S, **config})
        self.database = self.node.database = InlineDatabase()  # type: ignore[assignment]

    @property
    def records(self) -> registry.Registry:
        return self.node.service(Registry)

    async def __aenter__(self) -> RegistryHarness:
        await self.records.start()
        await settle()
        return self

    def add(self, *names: str, **fields: Any) -> list[FakeConnection]:
        added = [FakeConnection(name, **fields) for name in names]
        for connection in added:
            self.node.add(connection)  # type: ignore[arg-type]
        return added

    def remove(self, *connections: FakeConnection) -> None:
        for connection in connections:
            self.node.remove(connection)  # type: ignore[arg-type]


@dataclasses.dataclass(eq=False)
class FakeConnection:
    """As much of a connection as is written down."""

    id: str
    client_address: str | None = "192.0.2.7"
    user: Any = None
    identity: Identity = ANONYMOUS
    transport: str = "websocket"
    connected_at: float = 1_700_000_000.0
    seen_at: float = 1_700_000_000.0
    origin: str | None = None
    user_agent: str | None = None
    client_id: str | None = None
    consumer: str = ""
    troubled_by: str = ""
    end: str = "client"
    end_detail: str = ""
    scope: dict[str, Any] = dataclasses.field(default_factory=dict)
    subscriptions: dict[str, Any] = dataclasses.field(default_factory=dict)
    receipts: Receipts = dataclasses.field(default_factory=Receipts)
    closed: bool = False

    def replaced(self) -> None:
        self.receipts.replaced = True


def now() -> float:
    return asyncio.get_running_loop().time()


def written() -> set[str]:
    return set(ConnectionRecord.objects.values_list("pk", flat=True))


def row(connection_id: str) -> ConnectionRecord:
    return ConnectionRecord.objects.get(pk=connection_id)


def channels_of(connection_id: str) -> list[str]:
    rows = SubscriptionRecord.objects.filter(connection_id=connection_id)
    return sorted(rows.values_list("channel", flat=True))


def lapse(node_id: str, seconds: float) -> None:
    """The node's lease ran out so long ago."""
    over = NodeRecord.objects.now() - datetime.timedelta(seconds=seconds)
    assert NodeRecord.objects.filter(pk=node_id).update(lease_until=over) == 1


def other_node(node_id: str = "other", *, lapsed: float | None = None, **fields: Any) -> NodeRecord:
    made = NodeRecord.objects.create(
        id=node_id,
        host="elsewhere",
        pid=7,
        started_at=timezone.now(),
        lease_until=NodeRecord.objects.now() + datetime.timedelta(seconds=LEASE_S),
        **fields,
    )
    if lapsed is not None:
        lapse(node_id, lapsed)
    return made


def other_connection(connection_id: str, node_id: str = "other", *channels: str) -> None:
    ConnectionRecord.objects.create(
        connection_id=connection_id,
        node_id=node_id,
        transport="websocket",
        auth_method="anonymous",
        connected_at=timezone.now(),
        seen_at=timezone.now(),
    )
    for channel in channels:
        SubscriptionRecord.objects.create(connection_id=connection_id, channel=channel)


# -- what is written -------------------------------------------------------------------------------


@in_virtual_time
async def test_connection_is_written_within_a_second_or_so():
    async with RegistryHarness() as harness:
        headers = [
            (b"host", b"example.com"),
            (b"origin", b"https://example.com"),
            (b"user-agent", b"Mozilla/5.0"),
            (b"x-client-id", b"device-1"),
        ]
        scope = {
            "path": "/ws/",
            "headers": headers,
            "client": ("192.0.2.7", 50_000),
            "extensions": {},
        }
        client = await harness.open(scope=scope)
        await client.ask(subscribe("public/a"), subscribe("public/b"))
        assert written() == set()
        await asyncio.sleep(1.1)
        connection = client.connection
        found = row(connection.id)
        connected_at = datetime.datetime.fromtimestamp(connection.connected_at, datetime.UTC)
        assert {field.attname: getattr(found, field.attname) for field in found._meta.fields} == {
            "connection_id": connection.id,
            "node_id": harness.node.id,
            "user_pk": "",
            "user_label": "",
            "address": "192.0.2.7",
            "path": "/ws/",
            "consumer": "",
            "health": "",
            "transport": "websocket",
            "origin": "https://example.com",
            "user_agent": "Mozilla/5.0",
            "client_id": "device-1",
            "auth_method": "anonymous",
            "auth_source": "",
            "auth_expires_at": None,
            "channels": 2,
            "connected_at": connected_at,
            "seen_at": found.seen_at,
        }
        assert datetime.timedelta(0) <= found.seen_at - connected_at < datetime.timedelta(seconds=2)
        assert channels_of(connection.id) == ["public/a", "public/b"]


@in_virtual_time
async def test_connection_that_goes_is_deleted_with_its_subscriptions():
    async with RegistryHarness() as harness:
        staying, leaving = await harness.open(), await harness.open()
        await staying.ask(subscribe())
        await leaving.ask(subscribe())
        await asyncio.sleep(1.1)
        leaving.connection.finish()
        await asyncio.sleep(1.1)
        assert written() == {staying.connection.id}
        assert SubscriptionRecord.objects.count() == 1


@in_virtual_time
async def test_what_comes_at_once_is_written_in_batches():
    async with RegistryHarness() as harness:
        harness.add(*(f"c{n}" for n in range(1_201)))
        await asyncio.sleep(2.1)
        assert len(written()) == harness.records.written == 1_201
        assert harness.database.calls["write_rows"] == 3


@in_virtual_time
async def test_rows_of_a_storm_that_is_over_take_a_twentieth_of_a_processor():
    async with RegistryHarness() as harness:
        await asyncio.sleep(0.5)
        harness.database.processor_s = 0.04
        harness.add(*(f"c{n}" for n in range(2_400)))
        await asyncio.sleep(1.6)  # until it is over
        begun, counts = harness.database.used_s, []
        for _ in range(5):
            counts.append(len(written()))
            await asyncio.sleep(0.8)
        assert counts == [500, 1_000, 1_500, 2_000, 2_400]
        assert harness.database.used_s - begun == pytest.approx(4 * 0.04)


@in_virtual_time
async def test_rest_between_two_batches_is_short():
    async with RegistryHarness() as harness:
        harness.database.processor_s = 30.0  # a garbage collection, in this thread
        harness.add(*(f"c{n}" for n in range(1_200)))
        await asyncio.sleep(4.5)
        assert len(written()) == 1_200


@in_virtual_time
async def test_rows_wait_while_a_storm_comes_and_no_longer():
    async with RegistryHarness() as harness:
        for second in range(3):
            harness.add(*(f"c{second}-{n}" for n in range(registry._STORM)))
            await asyncio.sleep(1.0)
        assert written() == set()
        harness.add(*(f"d{n}" for n in range(registry._STORM - 1)))
        await asyncio.sleep(1.1)
        assert len(written()) == 4 * registry._STORM - 1


@in_virtual_time
async def test_rows_of_a_storm_without_an_end_are_written_every_few_seconds():
    async with RegistryHarness() as harness:
        counts = []
        for second in range(14):
            harness.add(*(f"c{second}-{n}" for n in range(registry._STORM)))
            await asyncio.sleep(1.0)
            counts.append(len(written()))
        assert len(set(counts)) == 3  # none, and twice more
        assert counts[6] >= 6 * registry._STORM


@in_virtual_time
async def test_changes_of_a_second_are_one_row():
    async with RegistryHarness() as harness:
        client = await harness.open()
        for _ in range(5):
            await client.ask(subscribe(), {"type": "unsubscribe", "channel": "public/a"})
        await asyncio.sleep(1.1)
        assert (harness.records.written, harness.database.calls["write_rows"]) == (1, 1)


@in_virtual_time
async def test_connection_that_came_and_went_meanwhile_is_never_written():
    async with RegistryHarness() as harness:
        harness.remove(*harness.add("a", "b"))
        await asyncio.sleep(3)
        assert (harness.records.written, harness.database.calls["write_rows"]) == (0, 0)


@in_virtual_time
async def test_nothing_is_written_where_nothing_changes():
    async with RegistryHarness() as harness:
        harness.add("a")
        await asyncio.sleep(30)
        assert harness.database.calls["write_rows"] == 1


@in_virtual_time
async def test_what_changes_while_rows_are_written_waits_for_the_next_second():
    """Else arrivals that never stop would be written one by one, for ever."""
    async with RegistryHarness() as harness:
        harness.database.seconds = 0.05

        async def arrive() -> None:
            for number in range(100):
                harness.add(f"c{number}")
                await asyncio.sleep(0.04)

        await arrive()
        await asyncio.sleep(2)
        assert len(written()) == 100
        assert harness.database.calls["write_rows"] <= 6


@in_virtual_time
async def test_other_user_is_written():
    async with RegistryHarness() as harness:
        (connection,) = harness.add("a")
        await asyncio.sleep(1.1)
        connection.user = SimpleNamespace(get_username=lambda: "alice")
        connection.identity = Identity(
            user_id="7", method="jwt", source="header", expires_at=1_800_000_000.5
        )
        harness.records.connection_changed("a")
        await asyncio.sleep(1.1)
        found = row("a")
        assert (found.user_pk, found.user_label) == ("7", "alice")
        assert (found.auth_method, found.auth_source) == ("jwt", "header")
        assert found.auth_expires_at == datetime.datetime.fromtimestamp(
            1_800_000_000.5, datetime.UTC
        )


@in_virtual_time
async def test_other_channels_are_written():
    async with RegistryHarness() as harness:
        client = await harness.open()
        await client.ask(subscribe("public/a"), subscribe("public/b"))
        await asyncio.sleep(1.1)
        await client.ask({"type": "unsubscribe", "channel": "public/a"}, subscribe("public/c"))
        await asyncio.sleep(1.1)
        assert channels_of(client.connection.id) == ["public/b", "public/c"]
        assert row(client.connection.id).channels == 2


@in_virtual_time
async def test_no_more_subscriptions_are_written_than_the_setting_says():
    async with RegistryHarness(registry_max_subscriptions=3) as harness:
        harness.add("a", subscriptions={f"public/{n}": None for n in range(10)})
        await asyncio.sleep(1.1)
        assert channels_of("a") == ["public/0", "public/1", "public/2"]
        assert row("a").channels == 10


@in_virtual_time
async def test_no_subscriptions_are_written_where_the_setting_is_0():
    async with RegistryHarness(registry_max_subscriptions=0) as harness:
        harness.add("a", subscriptions={"public/a": None})
        await asyncio.sleep(1.1)
        assert channels_of("a") == []


@pytest.mark.parametrize("share", [False, 0.0])
def test_node_alone_is_written_where_the_registry_is_off(share):
    @in_virtual_time
    async def scenario():
        async with RegistryHarness(connection_registry=share) as harness:
            harness.add("a", "b")
            await asyncio.sleep(10)
            assert written() == set()
            assert harness.records._changed == set()
            assert NodeRecord.objects.alive().get().connections == 2

    scenario()


def test_same_connections_are_always_drawn():
    @in_virtual_time
    async def scenario():
        async with RegistryHarness(connection_registry=0.25) as harness:
            harness.add(*names)
            await asyncio.sleep(1.1)
            found.append(written())
            registry.forget_nodes([harness.node.id])  # and everything is written anew
            await asyncio.sleep(LEASE_S)
            found.append(written())

    names = [f"connection-{n}" for n in range(1_000)]
    found: list[set[str]] = []
    scenario()
    scenario()
    assert found[0] == found[1] == found[2] == found[3]
    assert 200 < len(found[0]) < 300


HOSTILE = [
    ("a\x00b", "a\N{REPLACEMENT CHARACTER}b"),
    ("x" * 10_240, "x" * 255),
    ("<script>'\"", "<script>'\""),
    ("a\ud800b", "a?b"),
    ("\u202egnp.exe", "\u202egnp.exe"),
    ("\N{PILE OF POO}" * 300, "\N{PILE OF POO}" * 255),
]


@pytest.mark.parametrize(("sent", "kept"), HOSTILE)
def test_whatever_a_client_wrote_is_kept_as_text(sent, kept):
    @in_virtual_time
    async def scenario():
        async with RegistryHarness() as harness:
            identity = Identity(user_id=sent, method="session")
            user = SimpleNamespace(get_username=lambda: sent)
            harness.add(
                "a",
                origin=sent,
                user_agent=sent,
                client_id=sent,
                client_address=sent,
                identity=identity,
                user=user,
                subscriptions={sent: None},
            )
            await asyncio.sleep(1.1)
            found = row("a")
            assert (found.origin, found.client_id, found.user_pk) == (kept, kept, kept)
            assert (found.user_label, channels_of("a")) == (kept, [kept])
            assert found.address == kept[:45]
            assert found.user_agent[:255] == kept
            assert len(found.user_agent) <= 512
            assert harness.records.failures == 0

    scenario()


@pytest.mark.parametrize(
    ("expires_at", "kept"),
    [
        (1e300, "9999-12-30"),
        (1e11, "5138-11-16"),
        (math.inf, "9999-12-30"),
        (-1e300, "1970-01-02"),
        (0.0, "1970-01-02"),
        (math.nan, "1970-01-02"),
    ],
)
def test_moment_that_no_database_has_is_the_nearest_one(expires_at, kept):
    @in_virtual_time
    async def scenario():
        async with RegistryHarness() as harness:
            identity = Identity(user_id="1", method="jwt", expires_at=expires_at)
            harness.add("a", identity=identity)
            await asyncio.sleep(1.1)
            assert row("a").auth_expires_at.date().isoformat() == kept

    scenario()


def test_moments_are_naive_where_the_site_has_no_time_zones(settings):
    settings.USE_TZ = False
    settings.TIME_ZONE = "Asia/Tokyo"
    try:

        @in_virtual_time
        async def scenario():
            async with RegistryHarness() as harness:
                harness.add("a", connected_at=1_700_000_000.0)
                await asyncio.sleep(1.1)
                assert row("a").connected_at == datetime.datetime(2023, 11, 15, 7, 13, 20)
                assert harness.records.failures == 0

        scenario()
    finally:
        settings.USE_TZ = True
        settings.TIME_ZONE = "UTC"


class Unnamed:
    def get_username(self):
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("user", "label"),
    [
        (SimpleNamespace(get_username=lambda: "alice"), "alice"),
        ("a text", "a text"),
        (Unnamed(), ""),
    ],
)
def test_user_is_called_what_its_class_says(user, label):
    assert registry_rows.user_label(user) == label


@in_virtual_time
async def test_row_that_the_database_will_not_have_is_left_out_alone(monkeypatch, caplog):
    write = registry.write_rows

    def refuse(node_id, rows, *others):
        if any(row["client_id"] == "poison" for row in rows):
            raise DataError("value out of range")
        write(node_id, rows, *others)

    monkeypatch.setattr(registry, "write_rows", refuse)
    async with RegistryHarness() as harness:
        harness.add("a", "b")
        harness.add("c", client_id="poison")
        harness.add("d")
        await asyncio.sleep(1.1)
        assert written() == {"a", "b", "d"}
        await asyncio.sleep(10)
        assert harness.records.failures == 1
        assert messages(caplog) == ["Connection c could not be written: DataError"]


def messages(caplog) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name
        in ("channels_realtime.monitoring.registry", "channels_realtime.runtime.write_behind")
        and record.levelno >= logging.WARNING
    ]


# -- when a client was last heard ------------------------------------------------------------------


@in_virtual_time
async def test_last_seen_is_written_once_a_minute_for_those_who_were_heard():
    async with RegistryHarness() as harness:
        lively, silent = harness.add("lively", "silent")
        await asyncio.sleep(1.1)
        before = row("silent").seen_at
        for _ in range(61):
            await asyncio.sleep(1)
            lively.seen_at = harness.node.clock.time()
        assert harness.database.calls["write_seen"] == 1
        assert row("silent").seen_at == before
        age = harness.node.clock.time() - row("lively").seen_at.timestamp()
        assert 0 <= age < 3
        assert silent.seen_at == 1_700_000_000.0


@in_virtual_time
async def test_last_seen_is_written_where_more_are_silent_than_a_statement_names(monkeypatch):
    monkeypatch.setattr(registry, "BATCH", 2)
    async with RegistryHarness() as harness:
        lively = harness.add("a", "b", "c")
        harness.add("d", "e", "f")
        await asyncio.sleep(1.1)
        before = row("d").seen_at
        for _ in range(61):
            await asyncio.sleep(1)
            for connection in lively:
                connection.seen_at = harness.node.clock.time()
        assert harness.database.calls["write_seen"] == 2
        moved = ConnectionRecord.objects.filter(node_id=harness.node.id).exclude(seen_at=before)
        assert {each.pk for each in moved} == {"a", "b", "c"}


@in_virtual_time
async def test_last_seen_of_all_but_the_silent_is_one_statement_about_this_nodes_rows(monkeypatch):
    monkeypatch.setattr(registry, "BATCH", 2)
    async with RegistryHarness() as harness:
        *lively, _ = harness.add("a", "b", "c", "d", "silent")
        other_node(lapsed=-3600)
        other_connection("elsewhere")
        before = row("elsewhere").seen_at
        await asyncio.sleep(1.1)
        for _ in range(61):
            await asyncio.sleep(1)
            for connection in lively:
                connection.seen_at = harness.node.clock.time()
        assert harness.database.calls["write_seen"] == 1
        assert row("elsewhere").seen_at == before


# -- the lease -------------------------------------------------------------------------------------


@in_virtual_time
async def test_node_writes_itself_down_with_a_lease_by_the_databases_clock():
    async with RegistryHarness() as harness:  # whose own clock stands in November 2023
        found = NodeRecord.objects.alive().get()
        assert (found.id, found.connections, found.draining) == (harness.node.id, 0, False)
        assert found.pid > 0
        assert found.host
        assert found.version
        left = (found.lease_until - timezone.now()).total_seconds()
        assert left == pytest.approx(LEASE_S, abs=2)


@in_virtual_time
async def test_lease_is_renewed_three_times_as_often_as_it_runs_out():
    async with RegistryHarness() as harness:
        start = now()
        harness.add("a")
        await asyncio.sleep(3 * LEASE_S)
        renewals = [at - start for at in harness.database.at("renew_lease")]
        assert 8 <= len(renewals) <= 10
        assert NodeRecord.objects.get().connections == 1


@in_virtual_time
async def test_node_that_drains_says_so_with_its_next_renewal():
    async with RegistryHarness() as harness:
        await harness.node.drain.begin()
        assert not NodeRecord.objects.get().draining
        await asyncio.sleep(LEASE_S / 3 + 1)
        assert NodeRecord.objects.get().draining


@in_virtual_time
async def test_lease_is_renewed_though_a_slow_database_has_much_to_write():
    async with RegistryHarness() as harness:
        harness.database.seconds = 2.0
        harness.add(*(f"c{n}" for n in range(10_000)))  # 20 batches: twice as long as the lease
        await asyncio.sleep(90)
        assert len(written()) == 10_000
        times = harness.database.at("renew_lease")
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert max(gaps) < LEASE_S * 0.7


@in_virtual_time
async def test_node_that_was_swept_writes_everything_anew():
    async with RegistryHarness() as harness:
        clients = [await harness.open() for _ in range(3)]
        for client in clients:
            await client.ask(subscribe())
        await asyncio.sleep(1.1)
        registry.forget_nodes([harness.node.id])
        assert (written(), NodeRecord.objects.count()) == (set(), 0)
        await asyncio.sleep(LEASE_S / 3 + 1.1)
        assert written() == {client.connection.id for client in clients}
        assert SubscriptionRecord.objects.count() == 3
        assert NodeRecord.objects.alive().get().connections == 3


@in_virtual_time
async def test_node_whose_row_alone_is_gone_has_each_row_once():
    async with RegistryHarness() as harness:
        client = await harness.open()
        await client.ask(subscribe())
        await asyncio.sleep(1.1)
        NodeRecord.objects.all().delete()
        ConnectionRecord.objects.all().delete()  # the subscription's row stays behind
        await asyncio.sleep(LEASE_S / 3 + 1.1)
        assert written() == {client.connection.id}
        assert channels_of(client.connection.id) == ["public/a"]


# -- a database that is away -----------------------------------------------------------------------


@in_virtual_time
async def test_database_that_is_away_touches_no_connection_and_is_caught_up_with(caplog):
    caplog.set_level(logging.INFO)
    async with RegistryHarness(heartbeat_interval=1_000.0) as harness:
        staying, leaving = await harness.open(), await harness.open()
        await asyncio.sleep(1.1)
        harness.database.down = True
        coming = await harness.open()
        assert (await coming.ask(subscribe(id=1)))[0]["type"] == "subscribed"
        await staying.ask(subscribe())
        leaving.connection.finish()
        passing = await harness.open()
        passing.connection.finish()
        await asyncio.sleep(300)
        assert await coming.ask({"type": "ping", "id": 2}) == [{"type": "pong", "id": 2}]
        assert harness.records.failures > 10
        assert messages(caplog) == ["Writing the registry failed: OperationalError"]
        harness.database.down = False
        await asyncio.sleep(LEASE_S / 3 + 1)
        assert written() == {staying.connection.id, coming.connection.id}
        assert channels_of(staying.connection.id) == ["public/a"]
        assert messages(caplog) == ["Writing the registry failed: OperationalError"]
        assert "Writing the registry works again" in caplog.messages
        harness.database.down = True
        await asyncio.sleep(LEASE_S)
        assert len(messages(caplog)) == 2


@in_virtual_time
async def test_database_that_was_away_from_the_beginning_is_caught_up_with():
    harness = RegistryHarness()
    harness.database.down = True
    async with harness:
        client = await harness.open()
        await asyncio.sleep(LEASE_S)
        harness.database.down = False
        await asyncio.sleep(LEASE_S / 3 + 1)
        assert written() == {client.connection.id}
        assert NodeRecord.objects.alive().count() == 1


@in_virtual_time
async def test_write_whose_answer_was_lost_after_its_commit_is_written_again():
    async with RegistryHarness() as harness:
        harness.add("staying", subscriptions={"public/a": None})
        (leaving,) = harness.add("leaving", subscriptions={"public/a": None})
        harness.database.losing_answers.append(OperationalError(AWAY))
        await asyncio.sleep(1.1)
        assert written() == {"staying", "leaving"}
        harness.remove(leaving)
        await asyncio.sleep(LEASE_S / 3 + 1)
        assert written() == {"staying"}
        assert channels_of("staying") == ["public/a"]
        assert SubscriptionRecord.objects.count() == 1
        assert harness.records.failures == 1


@in_virtual_time
async def test_registration_whose_answer_was_lost_after_its_commit_is_no_trouble():
    harness = RegistryHarness()
    harness.add("a")

    async def lose(work, *arguments):
        value = work(*arguments)
        if work.__name__ == "register_node":
            harness.database.run = run  # type: ignore[method-assign]
            raise OperationalError(AWAY)
        return value

    run, harness.database.run = harness.database.run, lose  # type: ignore[method-assign]
    async with harness:
        await asyncio.sleep(LEASE_S / 3 + 2)
        assert written() == {"a"}
        assert NodeRecord.objects.count() == 1


@in_virtual_time
async def test_deletion_that_failed_is_made_up_for():
    async with RegistryHarness() as harness:
        (connection,) = harness.add("a")
        await asyncio.sleep(1.1)
        harness.remove(connection)
        harness.database.failing.append(OperationalError(AWAY))
        await asyncio.sleep(1.1)
        assert written() == {"a"}
        await asyncio.sleep(LEASE_S / 3 + 1)
        assert written() == set()


@in_virtual_time
async def test_retries_keep_the_lease_where_the_database_fails_once():
    async with RegistryHarness() as harness:
        for _ in range(10):
            harness.database.failing.append(OperationalError(AWAY))
            await asyncio.sleep(LEASE_S)
        times = harness.database.at("renew_lease")
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert max(gaps) <= LEASE_S * 2 / 3 + 2


# -- the end ---------------------------------------------------------------------------------------


@in_virtual_time
async def test_node_that_stops_takes_its_rows_away_and_no_others():
    other_node()
    other_connection("theirs", "other", "public/a")
    async with RegistryHarness() as harness:
        harness.add("ours", subscriptions={"public/a": None})
        await asyncio.sleep(1.1)
        await harness.records.stop()
        assert written() == {"theirs"}
        assert SubscriptionRecord.objects.count() == 1
        assert list(NodeRecord.objects.values_list("pk", flat=True)) == ["other"]
        harness.add("late")
        await harness.records.start()
        await asyncio.sleep(3)
        assert written() == {"theirs"}


@in_virtual_time
async def test_node_that_stops_waits_two_seconds_for_a_database_that_hangs(caplog):
    caplog.set_level(logging.INFO)
    async with RegistryHarness() as harness:
        await asyncio.sleep(1.1)
        harness.database.seconds = 1_000
        start = now()
        await harness.records.stop()
        assert now() - start == pytest.approx(2.0)
        assert "The node's rows were left to its lease: TimeoutError" in caplog.messages
        harness.database.seconds = 0


@in_virtual_time
async def test_node_that_never_served_stops_without_the_database():
    harness = NodeHarness()
    database = harness.node.database = InlineDatabase()  # type: ignore[assignment]
    async with harness:
        pass
    assert database.calls == {}


# -- the sweep -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lapsed", "alive", "swept"),
    [(None, True, False), (1.0, False, False), (LEASE_S - 2, False, False), (21.0, False, True)],
)
def test_node_is_dead_when_its_lease_is_over_and_swept_a_lease_later(lapsed, alive, swept):
    @in_virtual_time
    async def scenario():
        other_node(lapsed=lapsed)
        other_connection("theirs", "other", "public/a")
        assert NodeRecord.objects.alive().filter(pk="other").exists() is alive
        async with RegistryHarness() as harness:
            harness.add("ours")
            await asyncio.sleep(LEASE_S + 2)
            assert written() == ({"ours"} if swept else {"ours", "theirs"})
            assert SubscriptionRecord.objects.exists() is not swept
            assert NodeRecord.objects.filter(pk="other").exists() is not swept

    scenario()


@in_virtual_time
async def test_swept_node_is_taken_out_of_its_groups():
    other_node(lapsed=60, inbox="specific.inbox!dead")
    other_connection("one", "other", "public/a", "public/b")
    other_connection("two", "other", "public/b")
    async with RegistryHarness() as harness:
        groups = [
            control_group("realtime"),
            node_group("realtime", "other"),
            group_name("realtime", "public/a"),
            group_name("realtime", "public/b"),
        ]
        for group in groups:
            await harness.layer.group_add(group, "specific.inbox!dead")
            await harness.layer.group_add(group, "specific.inbox!alive")
        await asyncio.sleep(LEASE_S + 5)
        assert [list(harness.layer.groups[group]) for group in groups] == [
            ["specific.inbox!alive"]
        ] * 4


@in_virtual_time
async def test_node_that_lives_without_the_database_keeps_its_places_in_the_groups():
    async with RegistryHarness() as harness:
        other = NodeHarness(layer=harness.layer).node
        await other.broker.start()
        await harness.node.broker.start()
        other_node(other.id, lapsed=60, inbox=other.broker.inbox)
        await asyncio.sleep(LEASE_S + 5)
        assert not NodeRecord.objects.filter(pk=other.id).exists()
        assert other.broker.inbox in harness.layer.groups[control_group("realtime")]
        assert other.broker.inbox in harness.layer.groups[node_group("realtime", other.id)]
        await other.stop()


@in_virtual_time
async def test_no_node_is_taken_out_of_its_groups_while_the_layer_is_away():
    async with RegistryHarness() as harness:
        await harness.layer.group_add(control_group("realtime"), "specific.inbox!dead")
        other_node(lapsed=60, inbox="specific.inbox!dead")
        harness.layer.fail("group_send", *[OSError("away")] * 100)
        await asyncio.sleep(LEASE_S + 5)
        assert not NodeRecord.objects.filter(pk="other").exists()
        assert list(harness.layer.groups[control_group("realtime")]) == ["specific.inbox!dead"]


@in_virtual_time
async def test_after_a_failure_no_node_is_swept_before_all_could_renew():
    async with RegistryHarness() as harness:
        await asyncio.sleep(1.1)
        harness.database.down = True
        await asyncio.sleep(100)
        other_node(lapsed=60)
        harness.database.down = False
        back_at = now()
        await asyncio.sleep(LEASE_S)
        assert NodeRecord.objects.filter(pk="other").exists()
        await asyncio.sleep(2 * LEASE_S)
        assert not NodeRecord.objects.filter(pk="other").exists()
        assert (
            min(at for at in harness.database.at("sweep_nodes") if at > back_at) - back_at > LEASE_S
        )


def test_of_two_that_sweep_at_once_one_finds_the_dead_node():
    other_node(lapsed=60, inbox="inbox")
    other_connection("theirs", "other", "public/b", "public/a")
    (found,) = registry.sweep_nodes("own", LEASE_S, True)
    assert (*found[:2], sorted(found[2])) == ("other", "inbox", ["public/a", "public/b"])
    assert registry.sweep_nodes("own", LEASE_S, True) == []


def test_node_does_not_sweep_itself():
    other_node("own", lapsed=60)
    assert registry.sweep_nodes("own", LEASE_S, True) == []


@in_virtual_time
async def test_rows_of_a_node_without_a_row_are_swept_too():
    other_connection("stray", "unknown", "public/a")
    async with RegistryHarness() as harness:
        harness.add("ours")
        await asyncio.sleep(LEASE_S + 2)
        assert written() == {"ours"}
        assert channels_of("stray") == []
        other_connection("stray", "unknown")
        await asyncio.sleep(300)
        assert written() == {"ours", "stray"}  # it takes its time to look again
        await asyncio.sleep(330)
        assert written() == {"ours"}


# -- the feed is told ------------------------------------------------------------------------------


@pytest.fixture
def told(monkeypatch) -> list[tuple[str, set[str]]]:
    """For each time that the feed was told: the node, and the rows at that moment."""
    found: list[tuple[str, set[str]]] = []
    monkeypatch.setattr(Feed, "rows_changed", lambda feed: found.append((feed._node.id, written())))
    return found


def test_feed_is_told_after_rows_have_changed(told):
    @in_virtual_time
    async def scenario():
        async with RegistryHarness() as harness:
            await asyncio.sleep(2)
            assert told == []
            added = harness.add("a", "b")
            await asyncio.sleep(1.1)
            harness.remove(*added)
            await asyncio.sleep(1.1)
            assert told == [(harness.node.id, {"a", "b"}), (harness.node.id, set())]

    scenario()


def test_feed_is_not_told_where_nothing_was_written(told):
    @in_virtual_time
    async def scenario():
        async with RegistryHarness() as harness:
            harness.remove(*harness.add("a"))
            harness.database.down = True
            harness.add("b")
            await asyncio.sleep(LEASE_S)
            assert told == []

    scenario()


def test_feed_is_told_of_what_was_written_before_a_failure(told):
    @in_virtual_time
    async def scenario():
        async with RegistryHarness() as harness:
            harness.add(*(f"c{n}" for n in range(600)))
            harness.database.calls.clear()
            run, calls = harness.database.run, iter(range(100))

            async def second_fails(work, *arguments):
                if work.__name__ == "write_rows" and next(calls) == 1:
                    raise OperationalError(AWAY)
                return await run(work, *arguments)

            harness.database.run = second_fails  # type: ignore[method-assign]
            await asyncio.sleep(2.1)
            assert (len(written()), len(told)) == (500, 1)
            await asyncio.sleep(LEASE_S)
            assert (len(written()), len(told)) == (600, 2)

    scenario()


@in_virtual_time
async def test_subscriber_of_the_feed_hears_that_rows_have_changed():
    async with RegistryHarness() as harness:
        published = []

        async def publish(outgoing):
            published.append((outgoing.publication.channel, outgoing.publication.payload))

        harness.node.publish = publish  # type: ignore[method-assign]
        harness.add("a")
        await asyncio.sleep(1.1)
        assert published == [("realtime/admin/connections", {"changed": True})]


# -- resumed connections ---------------------------------------------------------------------------


@in_virtual_time
async def test_row_of_a_resumed_connection_is_of_the_node_that_it_is_on():
    async with RegistryHarness() as one, RegistryHarness() as two:
        (owner,) = one.add("a", subscriptions={"public/old": None})
        (taker,) = two.add("interim", subscriptions={"public/new": None})
        await asyncio.sleep(1.1)
        assert written() == {"a", "interim"}
        two.node.rename(taker, "a")  # type: ignore[arg-type]
        await asyncio.sleep(1.1)
        assert written() == {"a"}
        assert row("a").node_id == two.node.id
        assert channels_of("a") == ["public/new"]
        one.remove(owner)  # later than the other was written
        await asyncio.sleep(1.1)
        assert row("a").node_id == two.node.id
        assert channels_of("a") == ["public/new"]
        two.remove(taker)
        await asyncio.sleep(1.1)
        assert (written(), channels_of("a")) == (set(), [])


@in_virtual_time
async def test_owner_that_goes_before_the_resumed_one_is_written_leaves_no_trace():
    async with RegistryHarness() as one, RegistryHarness() as two:
        (owner,) = one.add("a", subscriptions={"public/old": None})
        await asyncio.sleep(1.1)
        (taker,) = two.add("interim", subscriptions={"public/new": None})
        two.node.rename(taker, "a")  # type: ignore[arg-type]
        one.remove(owner)
        await asyncio.sleep(1.1)
        assert written() == {"a"}
        assert (row("a").node_id, channels_of("a")) == (two.node.id, ["public/new"])
        two.remove(taker)
        await asyncio.sleep(1.1)


@in_virtual_time
async def test_owner_that_does_not_know_yet_takes_no_row_back():
    async with RegistryHarness() as one, RegistryHarness() as two:
        (owner,) = one.add("a")
        await asyncio.sleep(1.1)
        (taker,) = two.add("interim")
        two.node.rename(taker, "a")  # type: ignore[arg-type]
        await asyncio.sleep(1.1)
        owner.subscriptions["public/late"] = None
        one.node.connection_changed("a")
        await asyncio.sleep(1.1)
        assert (row("a").node_id, channels_of("a")) == (two.node.id, [])
        one.remove(owner)
        two.remove(taker)
        await asyncio.sleep(1.1)
        assert written() == set()


@in_virtual_time
async def test_owner_on_the_same_node_ends_and_the_row_stays():
    async with RegistryHarness() as harness:
        (owner,) = harness.add("a", subscriptions={"public/old": None})
        (taker,) = harness.add("interim", subscriptions={"public/new": None})
        await asyncio.sleep(1.1)
        harness.node.rename(taker, "a")  # type: ignore[arg-type]
        assert owner.receipts.replaced
        assert dict(harness.node.connections) == {"a": taker}
        harness.remove(owner)
        await asyncio.sleep(1.1)
        assert (written(), channels_of("a")) == ({"a"}, ["public/new"])
        harness.remove(taker)
        await asyncio.sleep(1.1)
        assert written() == set()


# -- cost and surroundings -------------------------------------------------------------------------


def test_batch_takes_a_few_statements_whatever_is_in_it(django_assert_max_num_queries):
    database = connections["default"]
    rows = [registry.row_of(FakeConnection(f"c{n}"), "node") for n in range(100)]
    subscriptions = [(f"c{n}", ["public/a", "public/b"]) for n in range(100)]
    registry.write_rows("node", rows, subscriptions, [], set())
    with CaptureQueriesContext(database) as queries:
        known = {f"c{n}" for n in range(100)}
        registry.write_rows("node", rows, subscriptions, ["gone"], known)
    # Two for the savepoint; SQLite takes 999 parameters a statement, which is 66 rows.
    assert len(queries) <= 12
    assert SubscriptionRecord.objects.count() == 200


RUNNING = SimpleNamespace(running=True)
NOT_RUNNING = SimpleNamespace(running=False)


@pytest.mark.parametrize(
    ("modules", "name"),
    [
        ({"daphne.server": None, "twisted.internet.reactor": RUNNING}, "daphne"),
        ({"daphne.server": None, "twisted.internet.reactor": NOT_RUNNING}, ""),
        ({"daphne.server": None, "uvicorn.server": None}, "uvicorn"),
        ({"uvicorn.server": None}, "uvicorn"),
        ({"hypercorn.run": None}, "hypercorn"),
        ({"granian": None}, "granian"),
        ({}, ""),
    ],
)
def test_server_is_told_by_what_runs(monkeypatch, modules, name):
    servers = ("daphne.server", "uvicorn.server", "hypercorn.run", "granian")
    for known in (*servers, "twisted.internet.reactor"):
        monkeypatch.delitem(sys.modules, known, raising=False)
    for module, value in modules.items():
        monkeypatch.setitem(sys.modules, module, value)
    assert registry_rows.server_name() == name


@pytest.mark.django_db(transaction=True)
async def test_rows_are_written_in_the_database_thread(monkeypatch):
    monkeypatch.setattr(registry, "_FLUSH_INTERVAL_S", 0.01)
    monkeypatch.delenv("DJANGO_ALLOW_ASYNC_UNSAFE")
    threads = set()
    write = registry.write_rows

    def note(*arguments):
        threads.add(threading.current_thread().name)
        write(*arguments)

    def read():
        return written(), NodeRecord.objects.count()

    monkeypatch.setattr(registry, "write_rows", note)
    harness = NodeHarness()
    harness.node.database = DatabaseThread()
    told = asyncio.Event()
    monkeypatch.setattr(Feed, "rows_changed", lambda feed: told.set())
    async with harness:
        await harness.node.service(Registry).start()
        client = await harness.open()
        async with asyncio.timeout(10):
            await told.wait()
        assert await in_thread(read) == ({client.connection.id}, 1)
    assert await in_thread(read) == (set(), 0)
    assert threads == {"realtime-database_0"}
