"""Persists live connections in batches, off the message path, for the admin.

In: ids of connections that came, went or changed, from the node. Out: rows, about once a second, in
the node's database thread. While the database is slow or down, what has not been written stays
marked, and is written later as it is then.

A node's rows are true as long as its lease. It renews the lease by the database's own clock, and
where its row is gone (the lease had run out, and another node swept it) it writes everything again.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterable
from typing import Any

from django.db import DataError, IntegrityError

from ..connections.connection import live_connections
from ..namespaces import namespace_of
from ..nodes.member import Member
from ..nodes.node import Node, Service
from ..protocol.names import channel_key
from ..runtime.database import QUIET
from ..runtime.moments import moment_of
from ..runtime.write_behind import WriteBehind
from .feed import Feed
from .registry_rows import (
    BATCH,
    SLICE,
    delete_strays,
    forget_nodes,
    is_drawn,
    register_node,
    renew_lease,
    row_of,
    sweep_nodes,
    write_rows,
    write_seen,
)

logger = logging.getLogger(__name__)

_FLUSH_INTERVAL_S = 1.0
_SEEN_INTERVAL_S = 60.0

_STORM = 500
"""Connections that change in a second, and make all rows wait."""

_GIVE_WAY_S = 5.0
"""How long they wait for a storm that goes on."""

_PROCESSOR_SHARE = 0.05
"""How much of a processor the rows of a storm take, once it is over: deliveries need it more."""

_LONGEST_REST_S = 1.0
"""Between two batches. A garbage collection in the database's thread may have made one seem dear."""

_STRAY_INTERVAL_S = 600.0
"""How often to look for rows of unknown nodes."""


class Registry(Service):
    """Persists the live connections of one node."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self._share = float(node.config.connection_registry)  # of the connections: 0.0 to 1.0
        self._changed: set[str] = set()
        self._left = 0  # of them, the last time
        self._giving_way_since: float | None = None
        self._written: set[str] = set()
        self._adopted: set[str] = (
            set()
        )  # ids of connections that were resumed, not yet written here
        self._troubled: dict[str, str] = {}  # as written, where there is trouble
        self._writer = WriteBehind(
            "the registry",
            self._write_due,
            lambda: _FLUSH_INTERVAL_S,
            quiet=QUIET,
        )
        self._next_renewal = self._next_seen = self._next_strays = 0.0
        self._next_sweep = node.loop.time() + node.config.node_lease
        self.written = 0
        """Rows of connections written or deleted."""
        self.failures = 0
        """Attempts that the database did not take."""

    # -- from the node -----------------------------------------------------------------------------

    def connection_changed(self, connection_id: str) -> None:
        """Mark a connection to be written; see ``Service``."""
        if is_drawn(connection_id, self._share):
            self._changed.add(connection_id)

    def connection_renamed(self, connection: Member, previous: str) -> None:
        """Replace the row of the connection that was resumed; see ``Service``."""
        if is_drawn(connection.id, self._share):
            self._adopted.add(connection.id)

    async def start(self) -> None:
        """Begin to write."""
        self._writer.start()

    async def stop(self) -> None:
        """Take this node's rows away and write no more; its lease does it otherwise."""
        await self._writer.stop(self._forget, "The node's rows were left to its lease")

    async def _forget(self) -> None:
        await self._node.database.run(forget_nodes, [self._node.id])

    # -- the task ----------------------------------------------------------------------------------

    async def _write_due(self) -> None:
        lease = self._node.config.node_lease
        try:
            now = self._node.loop.time()
            if now >= self._next_renewal:
                await self._renew()
                self._next_renewal = now + lease / 3
            if not self._gives_way(now):
                await self._flush(self._next_renewal)
            self._left = len(self._changed)
            if now >= self._next_seen:
                self._next_seen = now + _SEEN_INTERVAL_S
                await self._write_seen()
            if now >= self._next_sweep:
                self._next_sweep = now + lease
                await self._sweep()
        except Exception:
            self.failures += 1
            # The others were without the database too, perhaps, and are to renew theirs first.
            self._next_sweep = max(self._next_sweep, self._node.loop.time() + 2 * lease)
            raise

    async def _renew(self) -> None:
        node = self._node
        row = {
            "connections": len(node.connections),
            "draining": bool(node.drain.begun),
            "inbox": node.broker.inbox or "",
        }
        renewed = await node.database.run(renew_lease, node.id, node.config.node_lease, row)
        if not renewed:
            # New, or swept: whatever was written, or is being deleted just now, is replaced.
            live = self._sampled(node.connections)
            self._written.update(live)
            self._changed.update(live)
            await node.database.run(register_node, node.id, node.config.node_lease, row)

    def _gives_way(self, now: float) -> bool:
        """Whether so many have come or gone since the last time that what they need goes first."""
        if len(self._changed) - self._left < _STORM:
            self._giving_way_since = None
        elif self._giving_way_since is None:
            self._giving_way_since = now
        elif now - self._giving_way_since >= _GIVE_WAY_S:
            self._giving_way_since = None
        return self._giving_way_since is not None

    async def _flush(self, until: float) -> None:
        """Write what has changed by now, in batches, as it is by then; for ``until`` at most.

        What changes meanwhile waits for the next time: many that come at once are one batch.
        """
        loop, database = asyncio.get_running_loop(), self._node.database
        pending, self._changed = self._changed, set()
        told = False
        try:
            while pending and loop.time() < until:
                batch = [pending.pop() for _ in range(min(BATCH, len(pending)))]
                used_s = database.used_s
                try:
                    told = await self._write_or_split(batch) or told
                except BaseException:
                    pending.update(batch)
                    raise
                if pending:
                    rest_s = (database.used_s - used_s) * (1.0 / _PROCESSOR_SHARE - 1.0)
                    await asyncio.sleep(min(rest_s, _LONGEST_REST_S))
        finally:
            self._changed |= pending
            if told:
                self._node.service(Feed).rows_changed()

    async def _write_or_split(self, batch: list[str]) -> bool:
        """Write a batch; a row that the database will not have is left out alone."""
        try:
            return await self._write(batch)
        except (DataError, IntegrityError) as error:
            if len(batch) == 1:
                self.failures += 1
                logger.warning(
                    "Connection %s could not be written: %s", batch[0], type(error).__name__
                )
                return False
        told = False
        for connection_id in batch:
            told = await self._write_or_split([connection_id]) or told
        return told

    async def _write(self, batch: list[str]) -> bool:
        rows: list[dict[str, Any]] = []
        subscriptions: list[tuple[str, list[str]]] = []
        gone: list[str] = []
        most = self._node.config.registry_max_subscriptions
        for number, connection_id in enumerate(batch, 1):
            if not number % SLICE:
                await asyncio.sleep(0)
            connection = live_connections(self._node).get(connection_id)
            if connection is not None:
                rows.append(row_of(connection, self._node.id))
                names = itertools.islice(connection.subscriptions, most)
                keys = [channel_key(namespace_of(connection.scope), name) for name in names]
                subscriptions.append((connection_id, keys))
            elif connection_id in self._written:
                gone.append(connection_id)
        if not rows and not gone:
            return False  # came and went between two batches
        known = self._written.intersection(row["connection_id"] for row in rows)
        # Before the outcome is known: a transaction may have been committed though its answer was lost.
        self._written.update(row["connection_id"] for row in rows)
        adopted = frozenset(self._adopted.intersection(self._written, batch))
        await self._node.database.run(
            write_rows, self._node.id, rows, subscriptions, gone, known, adopted
        )
        self._adopted.difference_update(batch)
        self._written.difference_update(gone)
        for row in rows:
            if row["health"]:
                self._troubled[row["connection_id"]] = row["health"]
            else:
                self._troubled.pop(row["connection_id"], None)
        for connection_id in gone:
            self._troubled.pop(connection_id, None)
        self.written += len(rows) + len(gone)
        return True

    async def _write_seen(self) -> None:
        """Note who was heard of since the last time; one moment for all of them.

        And have those written again that are no longer, or newly, in trouble.
        """
        since = self._node.clock.time() - _SEEN_INTERVAL_S
        heard: list[str] = []
        silent: list[str] = []
        for number, connection in enumerate(tuple(live_connections(self._node).values()), 1):
            if not number % BATCH:
                await asyncio.sleep(0)
            if connection.id not in self._written:
                continue
            (heard if connection.seen_at >= since else silent).append(connection.id)
            if connection.troubled_by != self._troubled.get(connection.id, ""):
                self._changed.add(connection.id)
        at = moment_of(self._node.clock.time())
        run, node_id = self._node.database.run, self._node.id
        if heard and len(silent) <= BATCH:
            await run(write_seen, node_id, at, None, silent)
            return
        for start in range(0, len(heard), BATCH):
            await run(write_seen, node_id, at, heard[start : start + BATCH], [])

    async def _sweep(self) -> None:
        """Forget nodes that are gone: their rows, and their places in the layer's groups."""
        node = self._node
        for node_id, inbox, channels in await node.database.run(
            sweep_nodes, node.id, node.config.node_lease, node.config.ended_retention > 0
        ):
            logger.info("Node %s is gone: its lease has run out", node_id)
            if inbox:
                node.spawn(self._forget_inbox(node_id, inbox, channels), "forgetting a node")
        now = asyncio.get_running_loop().time()
        if now >= self._next_strays:
            self._next_strays = now + _STRAY_INTERVAL_S
            await node.database.run(delete_strays)

    async def _forget_inbox(self, node_id: str, inbox: str, channels: list[str]) -> None:
        # It may only be without the database: then its rows go, and it keeps its groups.
        if not await self._node.requests.is_alive(node_id):
            await self._node.broker.forget_inbox(node_id, inbox, channels)

    def _sampled(self, ids: Iterable[str]) -> list[str]:
        return [i for i in ids if is_drawn(i, self._share)]
