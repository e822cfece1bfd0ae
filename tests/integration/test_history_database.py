"""A store in the site's own database passes the contract, and its nodes hear of a commit."""

from __future__ import annotations

import asyncio
import json

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import transaction

from channels_realtime.config import Config
from channels_realtime.nodes.groups import group_name
from channels_realtime.nodes.outgoing import Outgoing, keep_in_transaction
from channels_realtime.protocol.messages import Publication
from channels_realtime.testing import HistoryStoreContract
from tests.support.database_history import DatabaseHistory
from tests.support.nodes import FakeClient, Kept, NodeHarness, subscribe
from tests.support.virtual_time import settle


class LateHistory(DatabaseHistory):
    """Positions are known only at the commit."""

    tells_positions = False


@pytest.mark.django_db(transaction=True)
class TestContract(HistoryStoreContract):
    store_class = DatabaseHistory

    @pytest.fixture(autouse=True)
    def _clock(self, monkeypatch) -> None:
        monkeypatch.setattr(DatabaseHistory, "time_shift", 0.0)

    def make_store(self) -> DatabaseHistory:
        return self.store_class()

    async def pass_time(self, seconds: float) -> None:
        DatabaseHistory.time_shift += seconds


class TestLateContract(TestContract):
    store_class = LateHistory


CHANNEL = "stored/a"


def _publish(*payloads: int, roll_back: bool = False) -> None:
    """As ``publish()`` in a transaction; the nodes hear of it from the store alone."""
    with transaction.atomic():
        for payload in payloads:
            outgoing = Outgoing(publication=Publication(CHANNEL, payload), history=Kept.history)
            kept = keep_in_transaction(outgoing, DatabaseHistory(), "default", Config())
            assert kept.to_tell is None
        transaction.set_rollback(roll_back)


@pytest.mark.django_db(transaction=True)
def test_subscribers_get_what_was_committed_and_nothing_else():
    store = "tests.support.database_history.DatabaseHistory"

    async def main() -> list[tuple[int, int]]:
        async with NodeHarness(history_store=store) as harness:
            client = await harness.open()
            client.connection.receive(json.dumps(subscribe(CHANNEL)))
            await arrived(client, 1)
            assert [event["type"] for event in client.take()] == ["subscribed"]
            harness.layer.deaf_groups.add(group_name("realtime", CHANNEL))
            for payloads, roll_back in (((1, 2), False), ((7,), True), ((3,), False)):
                await sync_to_async(_publish)(*payloads, roll_back=roll_back)
            await harness.node.publish(
                Outgoing(publication=Publication(CHANNEL, 4), history=Kept.history)
            )
            await arrived(client, 4)
            assert harness.node.metrics.healed_gaps == 0
            return [(message["offset"], message["payload"]) for message in client.take()]

    async def arrived(client: FakeClient, count: int) -> None:
        async with asyncio.timeout(20):
            while len(client.events) < count:
                await settle()

    assert async_to_sync(main)() == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert DatabaseHistory._watchers == []
