"""Reads the users of connections again, many by one query.

In: connections with hooks about to be called, from ``commands``. Out: their ``user``, as the database
has it now. Permissions are cached on a user object, so a right that was given or taken away shows only
on a new one.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model

from ..auth.users import has_row, is_plain, read_users
from ..errors import Unavailable
from ..nodes.node import Node, Service

if TYPE_CHECKING:
    from .connection import Connection

logger = logging.getLogger(__name__)

USER_MAX_AGE_S = 5.0
"""How old the user may be that decides on a new subscription."""

BATCH = 500
"""Users per query. The oldest SQLite versions allow at most 999 parameters."""


class UserReader(Service):
    """One query at a time, for all connections that wait for one when it begins."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self._waiting: dict[Connection, asyncio.Future[None]] = {}
        self._reading: dict[Connection, asyncio.Future[None]] = {}
        self._reading_at = 0.0
        self._running = False

    def has_to_read(self, connection: Connection, since: float) -> bool:
        """Whether ``refresh`` would have to wait."""
        if connection.user_read_at >= since or connection.user_id is None:
            return False
        return has_row(connection.user)

    async def refresh(self, connection: Connection, since: float) -> None:
        """Have a connection's user be one that was read at ``since`` or later.

        Does nothing for an anonymous connection and for a user that is made from a token. May close
        the connection, if its credentials no longer hold.

        Raises:
            Unavailable: the user could not be read.
        """
        if not self.has_to_read(connection, since):
            return
        done = self._reading.get(connection) if self._reading_at > since else None
        if done is None:
            done = self._waiting.get(connection)
        if done is None:
            done = self._waiting[connection] = self._node.loop.create_future()
        if not self._running:
            self._running = True
            self._node.spawn(self._run(), "reading users")
        await asyncio.shield(done)
        if not connection.closed and connection.user_read_at < since:
            raise Unavailable("the user could not be read")

    async def _run(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(0)  # others of the same turn come along
                batch = dict(list(self._waiting.items())[:BATCH])
                for connection in batch:
                    del self._waiting[connection]
                self._reading, self._reading_at = batch, self._node.clock.time()
                try:
                    await self._read(list(batch), self._reading_at)
                finally:
                    self._reading = {}
                    for done in batch.values():
                        if not done.done():
                            done.set_result(None)
        finally:
            self._running = False

    async def _read(self, connections: list[Connection], read_at: float) -> None:
        model = get_user_model()
        # Those of another class, or from a backend with its own way to read them, are read its way.
        together = [c for c in connections if c.user.__class__ is model and is_plain(c.identity)]
        ids = sorted({c.user_id for c in together if c.user_id is not None})
        users: dict[str, Any] = {}
        if ids:
            try:
                users = await self._node.authentication.run(read_users, ids)
            except Exception as error:
                logger.warning("Cannot read users again: %s", type(error).__name__)
                return
        alone = set(connections) - set(together)
        for connection in together:
            user = users.get(connection.user_id or "")
            if connection.closed:
                continue
            if user is None or _is_changed(user, connection.user):
                alone.add(connection)
            else:
                # A copy each: hooks of several connections run in several threads.
                connection.take_user(copy.copy(user), read_at)
        await asyncio.gather(*(connection.reread() for connection in alone))


def _is_changed(fresh: Any, known: Any) -> bool:
    """Whether the credentials may no longer hold, for a reason that ``reread`` judges."""
    return not getattr(fresh, "is_active", True) or fresh.password != known.password
