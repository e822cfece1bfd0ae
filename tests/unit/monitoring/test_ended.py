"""Ended connections: what is kept of them, for how long, and what a lost database leaves."""

from __future__ import annotations

import asyncio
import datetime

import pytest
from django.db import DataError
from django.utils import timezone

from channels_realtime.conversation.throttling import LimitExceeded
from channels_realtime.models import ConnectionRecord, EndedConnectionRecord, NodeRecord
from channels_realtime.monitoring import ended
from channels_realtime.monitoring.ended import EndedConnections
from channels_realtime.monitoring.feed import CHANNEL
from channels_realtime.monitoring.registry_rows import sweep_nodes
from channels_realtime.protocol.codes import CloseCode
from channels_realtime.protocol.frames import Policy
from tests.unit.monitoring.test_registry import (
    LEASE_S,
    RegistryHarness,
    in_virtual_time,
    other_connection,
    other_node,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def on_the_loop(monkeypatch):
    """``InlineDatabase`` works where Django would not have it."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")


class Harness(RegistryHarness):
    @property
    def ended(self) -> EndedConnections:
        return self.node.service(EndedConnections)

    async def __aenter__(self):
        await self.ended.start()
        return await super().__aenter__()

    async def __aexit__(self, *error):
        await self.ended.stop()
        await super().__aexit__(*error)


def kept() -> list[str]:
    found = EndedConnectionRecord.objects.order_by("pk")
    return list(found.values_list("connection_id", flat=True))


@in_virtual_time
async def test_ended_connection_is_kept_with_its_reason():
    async with Harness() as harness:
        scope = {
            "path": "/ws/",
            "query_string": b"token=secret",
            "headers": [(b"user-agent", b"Mozilla/5.0"), (b"x-client-id", b"device-1")],
            "client": ("192.0.2.7", 50_000),
            "extensions": {},
        }
        client = await harness.open(scope=scope)
        connection = client.connection
        await asyncio.sleep(10)
        connection.close(CloseCode.BLOCKED, "disconnected by an administrator")
        connection.finish()
        assert kept() == []
        await asyncio.sleep(1.1)
        found = EndedConnectionRecord.objects.get()
        assert found.connection_id == connection.id
        assert (found.end, found.detail) == ("4403", "disconnected by an administrator")
        assert (found.path, found.address) == ("/ws/", "192.0.2.7")
        assert (found.user_agent, found.client_id) == ("Mozilla/5.0", "device-1")
        assert found.ended_at - found.connected_at >= datetime.timedelta(seconds=9.9)


@in_virtual_time
async def test_connection_that_came_and_went_between_two_batches_is_kept():
    async with Harness() as harness:
        await asyncio.sleep(0.1)
        harness.remove(*harness.add("brief"))
        await asyncio.sleep(1.1)
        assert kept() == ["brief"]


@in_virtual_time
async def test_pages_of_the_admin_are_not_kept():
    async with Harness() as harness:
        harness.remove(*harness.add("page", subscriptions={CHANNEL: None}), *harness.add("other"))
        await asyncio.sleep(1.1)
        assert kept() == ["other"]


@in_virtual_time
async def test_many_that_end_at_once_are_written_in_batches():
    async with Harness() as harness:
        names = [f"c{n}" for n in range(1_001)]
        harness.remove(*harness.add(*names))
        await asyncio.sleep(1.1)
        assert kept() == names
        assert harness.database.calls["_write"] == 3


@pytest.mark.parametrize("config", [{"ended_retention": 0}, {"connection_registry": False}])
def test_nothing_is_kept_where_that_is_off(config):
    @in_virtual_time
    async def scenario():
        async with Harness(**config) as harness:
            harness.remove(*harness.add("a"))
            await asyncio.sleep(5)
        assert kept() == []
        assert harness.database.calls["_write"] == harness.database.calls["_delete_before"] == 0

    scenario()


@in_virtual_time
async def test_what_ends_while_the_database_is_away_is_written_later_in_its_order():
    async with Harness() as harness:
        harness.database.down = True
        harness.remove(*harness.add("a"))
        await asyncio.sleep(3)
        harness.remove(*harness.add("b"))
        await asyncio.sleep(60)
        harness.database.down = False
        await asyncio.sleep(31)
        assert kept() == ["a", "b"]


def test_the_newest_are_kept_where_too_many_wait(monkeypatch):
    @in_virtual_time
    async def scenario():
        async with Harness() as harness:
            harness.database.down = True
            harness.remove(*harness.add(*"abc"))
            await asyncio.sleep(5)
            harness.remove(*harness.add("d", "e"))
            harness.database.down = False
            await asyncio.sleep(31)
            assert kept() == ["c", "d", "e"]
            assert harness.ended.dropped == 2

    monkeypatch.setattr(ended, "MAX_WAITING", 3)
    scenario()


@in_virtual_time
async def test_rows_that_the_database_refuses_are_counted_and_not_tried_again():
    async with Harness() as harness:
        await asyncio.sleep(1.1)
        harness.ended.connection_ended(harness.add("a")[0])
        harness.database.failing.append(DataError())
        await harness.ended._flush()
        await harness.ended._flush()
        assert (kept(), harness.ended.dropped) == ([], 1)


@in_virtual_time
async def test_node_that_stops_notes_those_that_it_has_just_closed():
    harness = Harness()
    async with harness:
        await asyncio.sleep(0.1)
        harness.remove(*harness.add("a"))
    assert kept() == ["a"]


@in_virtual_time
async def test_old_ones_are_deleted_after_the_retention():
    async with Harness(ended_retention=3_600.0) as harness:
        harness.remove(*harness.add("old"))
        await asyncio.sleep(1.1)
        await asyncio.sleep(3_500)
        assert kept() == ["old"]
        harness.remove(*harness.add("new"))
        await asyncio.sleep(180)
        assert kept() == ["new"]


def test_the_newest_are_kept_where_too_many_have_ended(monkeypatch):
    @in_virtual_time
    async def scenario():
        async with Harness() as harness:
            await asyncio.sleep(1.1)
            harness.remove(*harness.add(*"abcde"))
            await asyncio.sleep(120)
            assert kept() == ["c", "d", "e"]

    monkeypatch.setattr(ended, "MAX_KEPT", 3)
    scenario()


@pytest.mark.parametrize("keep", [True, False])
def test_connections_of_a_dead_process_are_ended_ones(keep):
    dead = other_node(lapsed=60)
    other_connection("theirs", "other", "public/a")
    ConnectionRecord.objects.update(user_label="alice", path="/chat/")
    sweep_nodes("own", LEASE_S, keep)
    assert not ConnectionRecord.objects.exists()
    assert kept() == (["theirs"] if keep else [])
    if keep:
        found = EndedConnectionRecord.objects.get()
        assert (found.end, found.server) == ("server", "elsewhere:7")
        assert (found.user_label, found.path, found.node_id) == ("alice", "/chat/", dead.pk)


@in_virtual_time
async def test_node_that_was_taken_for_dead_takes_its_connections_back():
    async with Harness() as harness:
        harness.add("mine")
        await asyncio.sleep(1.1)
        EndedConnectionRecord.objects.create(
            connection_id="mine",
            node_id=harness.node.id,
            end="server",
            connected_at=timezone.now(),
            ended_at=timezone.now(),
        )
        NodeRecord.objects.all().delete()
        await asyncio.sleep(LEASE_S)
        assert kept() == []


@in_virtual_time
async def test_failure_is_logged_once(caplog):
    async with Harness() as harness:
        harness.database.down = True
        harness.remove(*harness.add("a"))
        await asyncio.sleep(60)
        found = [r.getMessage() for r in caplog.records if "ended connections" in r.getMessage()]
        assert found == ["Writing ended connections failed: OperationalError"]
        harness.database.down = False


# -- trouble ---------------------------------------------------------------------------------------


@in_virtual_time
async def test_row_says_that_a_connection_is_in_trouble_and_a_minute_later_that_it_is_not():
    async with Harness() as harness:
        (connection,) = harness.add("a")
        await asyncio.sleep(1.1)
        assert ConnectionRecord.objects.get().health == ""
        connection.troubled_by = "slow"
        await asyncio.sleep(62)
        assert ConnectionRecord.objects.get().health == "slow"
        connection.troubled_by = ""
        await asyncio.sleep(62)
        assert ConnectionRecord.objects.get().health == ""
        written = harness.database.calls["write_rows"]
        await asyncio.sleep(300)
        assert harness.database.calls["write_rows"] == written


@in_virtual_time
async def test_client_is_in_trouble_for_a_minute_after_it_was_throttled_or_slow():
    async with Harness() as harness:
        connection = (await harness.open()).connection
        assert connection.troubled_by == ""
        connection._report_throttling(LimitExceeded("messages", 1.0))
        assert connection.troubled_by == "throttled"
        await asyncio.sleep(1.1)
        assert ConnectionRecord.objects.get().health == "throttled"
        connection.dropped(1, Policy.DROP_OLDEST)
        assert connection.troubled_by == "slow"
        await asyncio.sleep(61)
        assert connection.troubled_by == ""
        connection.heartbeat.round_trip = 1.5
        assert connection.troubled_by == "slow"


@in_virtual_time
async def test_end_is_the_code_with_which_the_consumer_of_the_site_closes():
    async with Harness() as harness:
        connection = (await harness.open()).connection
        connection.leave(4123)
        connection.finish()
        assert harness.node.metrics.disconnects == {"4123": 1}
