"""Keeps connections that have ended, with the reason, for the admin: for a time, off the message path.

In: each connection at its end, from the node. Out: rows, about once a second, in batches, in the node's
database thread. What waits is bounded, in memory and in the database: the newest are kept.
"""

from __future__ import annotations

import datetime
import logging
import os
import socket
from collections import deque
from typing import Any, cast

from django.apps import apps
from django.db import DataError, router

from ..connections.connection import Connection
from ..nodes.member import Member
from ..nodes.node import Node, Service
from ..runtime.database import QUIET, own_transaction
from ..runtime.moments import moment_of
from ..runtime.write_behind import WriteBehind
from .feed import CHANNEL
from .registry_rows import BATCH, insert_rows, is_drawn, path_of, storable, user_label

logger = logging.getLogger(__name__)

MAX_WAITING = 5_000
"""Ended connections that wait to be written, about a kilobyte each; beyond, the oldest are dropped."""

MAX_KEPT = 100_000
"""Ended connections that are kept in the database."""

_FLUSH_INTERVAL_S = 1.0
_PRUNE_INTERVAL_S = 60.0


class EndedConnections(Service):
    """The ended connections of one node."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        config = node.config
        self._retention = config.ended_retention
        self._share = float(config.connection_registry) if self._retention else 0.0
        self._waiting: deque[dict[str, Any]] = deque(maxlen=MAX_WAITING)
        self._writer = WriteBehind(
            "ended connections",
            self._flush_and_prune,
            lambda: _FLUSH_INTERVAL_S,
            quiet=QUIET,
        )
        self._next_prune = 0.0
        self._server = f"{socket.gethostname()}:{os.getpid()}"[:300]
        self.dropped = 0
        """Ended connections that were not written: too many waited, or the database refused them."""

    def connection_ended(self, connection: Member) -> None:
        """Take down what is kept, and hold nothing of the connection."""
        if not is_drawn(connection.id, self._share):
            return
        ended = cast(Connection, connection)
        if CHANNEL in ended.subscriptions:
            return  # a page of the admin, which opens one each time that it is shown
        if len(self._waiting) == MAX_WAITING:
            self.dropped += 1
        self._waiting.append(self._row(ended))

    async def start(self) -> None:
        """Begin to write."""
        if self._share:
            self._writer.start()

    async def stop(self) -> None:
        """Write those that wait, if the database takes them in time."""
        await self._writer.stop(self._flush, "The last connections were not noted")

    def _row(self, connection: Connection) -> dict[str, Any]:
        identity = connection.identity
        label = "" if identity.user_id is None else user_label(connection.user)
        return {
            "connection_id": connection.id,
            "node_id": self._node.id,
            "server": self._server,
            "user_pk": storable(identity.user_id, 255),
            "user_label": storable(label, 255),
            "address": storable(connection.client_address, 45),
            "path": storable(path_of(connection), 255),
            "user_agent": storable(connection.user_agent, 512),
            "client_id": storable(connection.client_id, 255),
            "auth_method": storable(identity.method, 30),
            "connected_at": connection.connected_at,
            "ended_at": self._node.clock.time(),
            "end": storable(connection.end, 20),
            "detail": storable(connection.end_detail, 125),
        }

    async def _flush_and_prune(self) -> None:
        await self._flush()
        await self._prune()

    async def _flush(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            try:
                await self._node.database.run(_write, batch)
            except DataError as error:
                self.dropped += len(batch)
                logger.warning("Ended connections were refused: %s", type(error).__name__)
            except BaseException:
                room = MAX_WAITING - len(self._waiting)
                self.dropped += max(0, len(batch) - room)
                self._waiting.extendleft(reversed(batch[len(batch) - min(room, len(batch)) :]))
                raise

    async def _prune(self) -> None:
        now = self._node.clock.monotonic()
        if now >= self._next_prune:
            self._next_prune = now + _PRUNE_INTERVAL_S
            before = moment_of(self._node.clock.time() - self._retention)
            await self._node.database.run(_delete_before, before)


# -- in the database's thread -------------------------------------------------------------------------
# The model by name: this module is imported by a site's asgi.py, before the apps are loaded.


def _model() -> Any:
    return apps.get_model("channels_realtime", "EndedConnectionRecord")


def _write(rows: list[dict[str, Any]]) -> None:
    model = _model()
    using = router.db_for_write(model)
    stored = [
        row | {name: moment_of(row[name]) for name in ("connected_at", "ended_at")} for row in rows
    ]
    with own_transaction(using):
        insert_rows(model, using, stored)


def _delete_before(moment: datetime.datetime) -> None:
    """Delete those that are too old, and the oldest of too many."""
    model = _model()
    using = router.db_for_write(model)
    kept = model._base_manager.using(using)
    # Raw: the collector would read every row first, to find what refers to it.
    with own_transaction(using):
        kept.filter(ended_at__lt=moment)._raw_delete(using)
        newest_first = kept.order_by("-pk").values_list("pk", flat=True)
        for last in newest_first[MAX_KEPT : MAX_KEPT + 1]:
            kept.filter(pk__lte=last)._raw_delete(using)
