"""Closes connections whose credentials were revoked.

In: revocations, from other processes at once and from the database every few seconds; connections as
they come. Out: connections closed with 4401, credentials read again, subscriptions taken away.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import Any

import msgspec
from django.apps import apps

from ..identity import Identity
from ..nodes.member import Member
from ..nodes.node import Node, Service
from ..protocol.names import channel_key, split_key
from ..runtime.database import NotMigrated
from ..runtime.moments import earliest_moment, moment_of, timestamp_of
from ..runtime.tasks import end_tasks
from .revocation_list import RECHECK, TOKENS, USER, Revocation, RevocationList

logger = logging.getLogger(__name__)

_OVERLAP_S = 60.0
"""How far back a poll looks again: rows become visible when their transaction commits, not before."""

_LATE_S = 600.0
"""How far back a poll looks at most, whatever it found last: a thousand revocations at once are not
read again for ever after. More than the clocks of a site's machines differ, and than a transaction
lasts."""

_RECHECK_SLACK_S = 60.0
"""How long before a moment a recheck may have come and not be over yet, clocks that differ included."""

_CONCURRENT_REREADS = 4
"""Proofs read again at once, so that a sweep leaves threads for the hooks."""

_CONCURRENT_RECHECKS = 4
"""Connections whose subscriptions are judged again at once; a limit of its own, because
the site's hooks may be slow."""


class Revocations(Service):
    """The revocations in force on one node, and the connections by what can revoke them."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self._rereads = asyncio.Semaphore(_CONCURRENT_REREADS)
        self._rechecks = asyncio.Semaphore(_CONCURRENT_RECHECKS)
        self._list = RevocationList()
        self._by_key: dict[str, dict[Member, None]] = {}
        self._newest: float | None = None
        self._polled_at: float | None = None
        self._loaded: asyncio.Task[None] | None = None
        self._polling: asyncio.Task[None] | None = None
        self._failing = False
        self._begun_at = node.clock.time()
        self._rechecked_at = 0.0
        self.rechecks = 0
        """Times that subscriptions were judged again; a subscription that was being made meanwhile
        on an earlier answer is judged again too."""

    # -- life --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Wait until the revocations in force have been read, or could not be."""
        if self._loaded is None:
            self._loaded = asyncio.create_task(self._poll(), name="realtime-revocations")
            self._polling = asyncio.create_task(
                self._poll_for_ever(), name="realtime-revocation-poll"
            )
        if not self._loaded.done():
            await asyncio.shield(self._loaded)

    async def stop(self) -> None:
        """End the polling."""
        await end_tasks(self._polling, self._loaded)

    # -- connections -------------------------------------------------------------------------------

    def admit(self, connection: Member) -> str | None:
        """Take a connection in, with the identity it has now.

        Returns:
            ``"revoked"`` where its proof was revoked while it was being read, ``"recheck"`` where it
            must be read again, else None. Nothing is awaited between this and the connection being
            found by later revocations, which closes the race between the two.
        """
        identity = connection.identity
        for key in _keys(identity):
            self._by_key.setdefault(key, {})[connection] = None
        if self._list.revokes(identity):
            self._node.metrics.revoked += 1
            return "revoked"
        if self._list.rechecks(identity, connection.read_at):
            return "recheck"
        return None

    def revokes(self, identity: Identity) -> bool:
        """Whether the identity's proof is over; for connections that the guard does not keep."""
        return self._list.revokes(identity)

    def changed_since(self, moment: float, identity: Identity) -> bool:
        """Whether rights of this identity may have changed since then, in seconds since the epoch.

        True also where this node cannot tell: it has not run for long enough, or is that close to a
        recheck that the one who asks about may have missed it.
        """
        moment -= _RECHECK_SLACK_S
        return moment < max(self._begun_at, self._rechecked_at) or self._list.names_since(
            identity, moment
        )

    def dismiss(self, connection: Member) -> None:
        """A connection is gone, or takes another identity."""
        for key in _keys(connection.identity):
            members = self._by_key.get(key)
            if members is not None:
                members.pop(connection, None)
                if not members:
                    del self._by_key[key]

    def connections(self, key: str) -> list[Member]:
        """The connections that a key of ``revocation`` names."""
        return list(self._by_key.get(key, ()))

    # -- revocations -------------------------------------------------------------------------------

    def take(self, revocations: Iterable[Revocation]) -> None:
        """Take revocations up and end what they end."""
        for revocation in self._list.add(revocations):
            key = revocation.key
            if key.startswith(RECHECK):
                for connection in self.connections(USER + key.removeprefix(RECHECK)):
                    if self._list.rechecks(connection.identity, connection.read_at):
                        connection.rights_changed()
                        self._node.spawn(self._reread(connection), "reread")
                continue
            if key.startswith(TOKENS):
                key = USER + key.removeprefix(TOKENS)
            for connection in self.connections(key):
                if not connection.closed and self._list.revokes(connection.identity):
                    self._node.metrics.revoked += 1
                    connection.revoke("the credentials were revoked")

    def recheck(self, channel: str | None, user: str | None) -> None:
        """Judge subscriptions again: of a channel, of a user's connections, or both.

        Args:
            channel: the channel, told apart from that of the same name in another namespace.
            user: the user's key, in the same way.
        """
        self._count_recheck()
        found: Iterable[Member] = (
            self._node.connections.values() if user is None else self.connections(USER + user)
        )
        name = None if channel is None else split_key(channel)[1]
        for connection in tuple(found):
            if name is None or channel == channel_key(connection.namespace, name):
                connection.rights_changed(name)  # at once, whatever the others take
                self._node.spawn(self._recheck(connection, name, user), "recheck")

    async def recheck_connection(self, connection: Member) -> None:
        """Read a connection's credentials again and judge its subscriptions again."""
        self._count_recheck()
        connection.rights_changed()
        await self._recheck(connection, None, connection.identity.user_key)

    def _count_recheck(self) -> None:
        self.rechecks += 1
        self._rechecked_at = self._node.clock.time()

    async def _recheck(self, connection: Member, channel: str | None, user: str | None) -> None:
        since = self._node.clock.time()
        if user is not None:
            await self._reread(connection)
        else:
            # Before the limit: those of many connections are read by one query.
            await connection.read_user(channel, since)
        async with self._rechecks:
            if not connection.closed:
                await connection.recheck(channel, since)

    async def _reread(self, connection: Member) -> None:
        async with self._rereads:
            if not connection.closed:
                await connection.reread()

    # -- the database ------------------------------------------------------------------------------

    async def _poll_for_ever(self) -> None:
        await self.start()
        while True:
            await asyncio.sleep(self._node.config.revocation_poll_interval)
            await self._poll()

    async def _poll(self) -> None:
        polled_at = time.time()
        try:
            async with asyncio.timeout(self._node.config.hook_timeout):
                found = await self._node.database.run(self._read_rows, self._since(), polled_at)
        except Exception as error:
            if not (self._failing or isinstance(error, NotMigrated)):
                logger.warning("Cannot read the revocations: %s", type(error).__name__)
            self._failing = True
            return
        self._failing = False
        self._polled_at = polled_at
        self._list.forget_expired(self._node.clock.time())
        for _, written_at in found:
            if self._newest is None or written_at > self._newest:
                self._newest = written_at
        self.take(revocation for revocation, _ in found)

    def _since(self) -> float | None:
        """From when on the next poll reads; None for all that is in force."""
        if self._polled_at is None:
            return None
        late = self._polled_at - _LATE_S
        return late if self._newest is None else max(late, self._newest - _OVERLAP_S)

    @staticmethod
    def _read_rows(since: float | None, now: float) -> list[tuple[Revocation, float]]:
        # By name: this module is imported by a site's asgi.py, before the apps are loaded.
        model = apps.get_model("channels_realtime", "RevocationRecord")
        rows = model._default_manager.filter(expires_at__gt=moment_of(now))
        if since is not None:
            rows = rows.filter(created_at__gt=earliest_moment(since, now))
        values = rows.order_by("created_at").values_list("key", "not_before", "expires_at")
        # A row is written when its revocation is made; naive times would not tell the order.
        return [
            (Revocation(key, not_before, timestamp_of(expires_at)), not_before)
            for key, not_before, expires_at in values
        ]


def _keys(identity: Identity) -> Iterable[str]:
    if identity.user_key is None:
        return identity.keys
    return (*identity.keys, USER + identity.user_key)


# -- requests of other processes -------------------------------------------------------------------


def revoke(node: Node, arguments: dict[str, Any]) -> None:
    """End credentials: ``entries`` of ``Revocation``."""
    node.service(Revocations).take(msgspec.convert(arguments["entries"], list[Revocation]))


def recheck(node: Node, arguments: dict[str, Any]) -> None:
    """Judge subscriptions again: those of ``channel``, or of ``user``."""
    node.service(Revocations).recheck(arguments.get("channel"), arguments.get("user"))
