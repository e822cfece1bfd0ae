"""What an idle connection holds: it is what bounds how many there can be."""

from __future__ import annotations

import tracemalloc

from tests.support.nodes import NodeHarness, subscribe
from tests.support.virtual_time import in_virtual_time, settle

COUNT = 100
MOST_BYTES = 2_560
"""Of the package's own for one subscription, without the server's; some 2,000 on Python 3.11."""


@in_virtual_time
async def test_idle_connection_with_a_subscription_holds_little():
    async with NodeHarness() as harness:

        async def arrive(count):
            clients = [await harness.open() for _ in range(count)]
            for client in clients:
                await client.ask(subscribe(id=1))
            await settle()
            return clients

        first = await arrive(10)  # whatever is made once is made
        tracemalloc.start()
        try:
            clients = await arrive(COUNT)
            taken = tracemalloc.take_snapshot()
        finally:
            tracemalloc.stop()
        own = taken.filter_traces([tracemalloc.Filter(True, "*/channels_realtime/*")])
        held = sum(each.size for each in own.statistics("filename"))
        assert held / COUNT <= MOST_BYTES
        assert len(first) + len(clients) == len(harness.node.connections)


@in_virtual_time
async def test_anonymous_user_stays_the_same_once_a_hook_has_seen_it():
    async with NodeHarness() as harness:
        client = await harness.open()
        user = client.connection.user
        assert user.is_anonymous
        assert client.connection.user is user
