"""Revocations on one node, when the database or a cache hangs."""

from __future__ import annotations

import asyncio

from channels_realtime.access.revocation import Revocations
from channels_realtime.access.revocation_list import Revocation
from channels_realtime.auth.base import Authenticated
from channels_realtime.auth.sweep import CredentialSweep
from channels_realtime.identity import Identity
from tests.support.nodes import NodeHarness
from tests.support.virtual_time import in_virtual_time, settle

POLL_S = 2.0


class HangingThread:
    """Never does what it is given."""

    def __init__(self) -> None:
        self.given = 0

    async def run(self, work, *arguments):
        self.given += 1
        await asyncio.get_running_loop().create_future()

    def close(self) -> None:
        pass


class RowsThread:
    """Has the rows of the table, and nothing else to do."""

    def __init__(self) -> None:
        self.rows: list = []

    async def run(self, work, *arguments):
        return list(self.rows)

    def close(self) -> None:
        pass


@in_virtual_time
async def test_database_that_hangs_keeps_no_connection_waiting_for_longer_than_a_hook_may_take(
    caplog,
):
    async with NodeHarness(hook_timeout=30.0) as harness:
        harness.node.database = HangingThread()  # type: ignore[assignment]
        start = harness.node.clock.monotonic()
        await harness.node.service(Revocations).start()
        assert harness.node.clock.monotonic() == start + 30.0
        assert "Cannot read the revocations: TimeoutError" in caplog.text


@in_virtual_time
async def test_sweep_and_shared_limits_that_hang_delay_no_revocation():
    async with NodeHarness(revocation_poll_interval=POLL_S, sweep_interval=1.0) as harness:
        node = harness.node
        node.database, node.background = RowsThread(), HangingThread()  # type: ignore[assignment]
        await node.service(Revocations).start()
        await node.service(CredentialSweep).start()
        client = await harness.open()
        identity = Identity(user_id="1", method="jwt", keys=frozenset({"token:a"}))
        assert client.connection.authenticated(Authenticated(identity=identity, user=None), 0.0)
        await asyncio.sleep(POLL_S)
        assert node.background.given == 1
        revocation = Revocation("token:a", node.clock.time(), node.clock.time() + 600.0)
        node.database.rows.append((revocation, node.clock.time()))
        await asyncio.sleep(POLL_S)
        await settle()
        assert client.connection.close_code == 4401
