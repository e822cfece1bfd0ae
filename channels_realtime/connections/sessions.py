"""Keeps the sessions of a node's connections, so that a later connection can resume them.

In: connections that came, changed or went, from the node. Out: records in the session store, written
behind about once a second, in batches. Nothing waits for it, but a ``resume`` for the store. While the
store is away, what has not been written stays marked, within bounds.

A session has one owner, the connection that was told its id. Once another connection has taken it, the
store refuses the owner's next record, and the taker's node tells the owner's: either way the owner
closes with 4409.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Coroutine, Iterable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from ..channels import Channel
from ..errors import Unavailable
from ..nodes.member import Member
from ..nodes.node import Node, Service
from ..nodes.store_requests import ask
from ..nodes.stores import stores_of
from ..protocol import messages as m
from ..protocol.codes import CloseCode
from ..runtime.write_behind import WriteBehind
from ..stores.sessions.base import (
    Save,
    SavedSubscription,
    SessionRecord,
    SessionStore,
    decode_record,
    encode_record,
    identity_key,
    session_key,
)
from . import presence

if TYPE_CHECKING:
    from .connection import Connection

logger = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")

BATCH = 200
"""Sessions in one request to the store."""

MAX_RECORD_BYTES = 65_536
"""Of a session that is kept; a client with more, for example in parameters, subscribes again."""

MAX_ENDED = 20_000
"""Sessions of ended connections that wait for the store; beyond, the oldest are given up."""

FLUSH_INTERVAL_S = 1.0
"""How often changes are written. The end of a connection is written at once."""

POSITIONS_INTERVAL_S = 10.0
"""How often the positions of a connection are written, at most."""

REFRESH_INTERVAL_S = 60.0
"""How often a session without changes is written again, so that it outlives its process by
``RESUME_WINDOW``."""

LATE_S = 0.25
"""How long a ``resume`` waits for a session that is not there: the end of its connection may be on its
way to the store."""

STORE = "the session store"
"""What errors and logs call it."""

_TELL_WAIT_S = 1.0
"""How long the owner's node is asked to answer. If it does not, the store refuses the owner."""


class Sessions(Service):
    """The sessions of one node's connections."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self._window = node.config.resume_window
        self._changed: set[str] = set()
        self._owners: dict[str, Connection] = {}  # whose sessions were written, by their tokens
        self._moved: dict[Connection, float] = {}  # when to write their positions; in that order
        self._written: deque[tuple[float, list[str]]] = deque()  # when to write owners again
        self._ended: OrderedDict[str, tuple[Save, float]] = OrderedDict()  # with when each is over
        self._given_up: list[tuple[str, str]] = []
        self._owners_to_tell: dict[str, list[str]] = {}
        self._lock = asyncio.Lock()
        self._writer = WriteBehind(
            "sessions",
            self.flush,
            lambda: FLUSH_INTERVAL_S,
            quiet=(Unavailable,),  # which was logged
        )
        self.saved = 0
        """Records written."""
        self.lost = 0
        """Records of ended connections that were given up: too many waited."""

    @property
    def is_on(self) -> bool:
        """Whether sessions are kept at all: ``RESUME_WINDOW``."""
        return self._window > 0

    @property
    def _store(self) -> SessionStore:
        return stores_of(self._node.layer, self._node.config).sessions

    # -- from the node -----------------------------------------------------------------------------

    def connection_changed(self, connection_id: str) -> None:
        """Mark a connection to be written; see ``Service``."""
        if self._window > 0:
            self._changed.add(connection_id)

    def positions_changed(self, connection: Connection) -> None:
        """The client has received more than is written; never waits."""
        if self._window > 0 and connection not in self._moved:
            self._moved[connection] = self._node.clock.monotonic() + POSITIONS_INTERVAL_S

    def connection_ended(self, connection: Member) -> None:
        """Take down what is kept, and hold nothing of the connection; see ``Service``."""
        ended = cast("Connection", connection)
        written = self._drop(ended)
        receipts = ended.receipts
        if receipts.replaced or not self._is_kept(ended):
            return
        if receipts.ended_by_client:
            if written:
                key = session_key(ended.session_id)
                self._given_up.append((key, owner_of(key)))
                del self._given_up[:-MAX_ENDED]  # their time runs out as well
        elif written or ended.subscriptions or receipts.restoring:
            save = self._save(ended, live=False)
            self._ended[save.key] = save, self._node.clock.monotonic() + self._window
            while len(self._ended) > MAX_ENDED:
                self._ended.popitem(last=False)
                self.lost += 1
        self._writer.wake()

    def _drop(self, connection: Connection) -> bool:
        """Hold nothing of a connection; returns whether its session was written."""
        self._moved.pop(connection, None)
        owner, connection.receipts.owner = connection.receipts.owner, None
        if owner is None:
            return False
        del self._owners[owner]
        return True

    async def start(self) -> None:
        """Begin to write."""
        if self.is_on:
            self._writer.start()

    async def stop(self) -> None:
        """Write what the end of the node has closed, if the store takes it in time."""
        await self._writer.stop(self.flush, "The last sessions were not kept")

    # -- the record --------------------------------------------------------------------------------

    def _is_kept(self, connection: Connection) -> bool:
        return self._window > 0 and connection.receipts.greeted

    def _save(self, connection: Connection, *, live: bool) -> Save:
        node = self._node
        key = session_key(connection.session_id)
        record = SessionRecord(
            connection_id=connection.id,
            node_id=node.id,
            live=live,
            saved_at=node.clock.time(),
            trusted=connection.end not in _UNTRUSTED,
            identity=connection.identity,
            subscriptions=saved_subscriptions(node, connection),
        )
        try:
            body = encode_record(record)
        except (TypeError, ValueError):  # of an identity that an authenticator of the site made
            connection.log_exception("Its session cannot be kept")
            body = b""
        return Save(
            key=key,
            owner=owner_of(key),
            identity=identity_key(connection.identity, connection.namespace),
            # Nothing in place of too much: an earlier record would restore what is no longer so.
            body=body if len(body) <= MAX_RECORD_BYTES else b"",
            # A process that is killed writes nothing any more, and its clients come back all the same.
            ttl=self._window + (2 * REFRESH_INTERVAL_S if live else 0.0),
        )

    # -- writing -----------------------------------------------------------------------------------

    async def flush(self) -> None:
        """Write what has changed by now.

        Raises:
            Unavailable: the store is away; what was not written is written later.
        """
        async with self._lock:
            await self._write_live()
            await self._write_ended()
            while self._given_up:
                batch = self._given_up[:BATCH]
                await self._ask(self._store.forget(batch))
                del self._given_up[: len(batch)]

    async def _ask(self, request: Coroutine[Any, Any, _Answer]) -> _Answer:
        try:
            return await ask(self._store, request, self._node.config.store_timeout, STORE)
        except Unavailable:
            self._node.metrics.store_errors += 1
            raise

    async def _write_live(self) -> None:
        pending = self._due()
        try:
            while pending:
                batch = [pending.popitem()[0] for _ in range(min(BATCH, len(pending)))]
                try:
                    await self._write(batch)
                except BaseException:
                    pending.update(dict.fromkeys(batch))
                    raise
                await asyncio.sleep(0)
        finally:
            self._changed.update(connection.id for connection in pending if not connection.closed)

    def _due(self) -> dict[Connection, None]:
        """The connections to be written, in no order."""
        now = self._node.clock.monotonic()
        changed, self._changed = self._changed, set()
        live = cast("dict[str, Connection]", self._node.connections)
        due = {
            connection: None
            for connection in map(live.get, changed)
            if connection is not None
            and not connection.closed
            and self._is_kept(connection)
            and (connection.subscriptions or connection.receipts.owner is not None)
            and not connection.receipts.restoring
        }
        while self._moved:
            connection = next(iter(self._moved))
            if self._moved[connection] > now:
                break
            del self._moved[connection]
            due[connection] = None
        while self._written and self._written[0][0] <= now:
            at, owners = self._written.popleft()
            for written in map(self._owners.get, owners):
                if written is not None and written.receipts.write_again_at == at:
                    due[written] = None
        return due

    async def _write(self, batch: list[Connection]) -> None:
        saves: dict[str, tuple[Connection, Save]] = {}
        for connection in batch:
            if connection.closed:  # its end is written, or it was replaced
                continue
            save = self._save(connection, live=True)
            saves[save.key] = connection, save
            if connection.receipts.owner is None:
                connection.receipts.owner = save.owner
                self._owners[save.owner] = connection
        if not saves:
            return
        refused = await self._ask(self._store.save([save for _, save in saves.values()]))
        again = self._node.clock.monotonic() + REFRESH_INTERVAL_S
        written: list[str] = []
        for key, (connection, _) in saves.items():
            if key in refused:
                self._replace(connection)
            elif connection.receipts.owner is not None:
                connection.receipts.write_again_at = again
                written.append(connection.receipts.owner)
                self._moved.pop(connection, None)
        if written:
            self._written.append((again, written))
        self.saved += len(saves) - len(refused)

    async def _write_ended(self) -> None:
        while self._ended:
            now = self._node.clock.monotonic()
            batch: list[tuple[str, Save, float]] = []
            while self._ended and len(batch) < BATCH:
                key, (save, until) = self._ended.popitem(last=False)
                if until > now:  # else nobody could resume it any more
                    batch.append((key, msgspec.structs.replace(save, ttl=until - now), until))
            try:
                await self._ask(self._store.save([save for _, save, _ in batch]))
            except BaseException:
                for key, save, until in reversed(batch):
                    self._ended[key] = save, until
                    self._ended.move_to_end(key, last=False)
                raise
            self.saved += len(batch)

    # -- taking ------------------------------------------------------------------------------------

    async def take(self, session_id: str, connection: Connection) -> SessionRecord | None:
        """Take a session for a connection that resumes it.

        Returns:
            None where there is no such session, it is another identity's, or it was resumed before.

        Raises:
            Unavailable: the store is away.
        """
        if not self.is_on or session_id == connection.session_id:
            return None
        key = session_key(session_id)
        identity = identity_key(connection.identity, connection.namespace)
        ttl = self._window + 2 * REFRESH_INTERVAL_S
        if self._is_behind(session_id, key):
            await self.flush()
        taken = await self._ask(self._store.take(key, identity, ttl=ttl))
        if taken is None and self._store.shared:
            await asyncio.sleep(LATE_S)
            taken = await self._ask(self._store.take(key, identity, ttl=ttl))
        if taken is None:
            return None
        record = decode_record(taken.body)
        if record is not None and record.live:
            self._tell(record.node_id, taken.owner)
        return record

    def _is_behind(self, session_id: str, key: str) -> bool:
        """Whether the store does not have the newest of a session of this node."""
        if key in self._ended:
            return True
        owner = self._owners.get(owner_of(key))
        if owner is not None:
            return owner.id in self._changed
        live = cast("dict[str, Connection]", self._node.connections)
        found = (live.get(connection_id) for connection_id in self._changed)
        return any(one is not None and one.session_id == session_id for one in found)

    def _tell(self, node_id: str, owner: str) -> None:
        """Have the owner close, on whichever node it is; nobody waits for it."""
        if node_id == self._node.id:
            self.replace(owner)
            return
        waiting = self._owners_to_tell.setdefault(node_id, [])
        waiting.append(owner)
        if len(waiting) == 1:
            self._node.spawn(self._tell_node(node_id), "telling owners of sessions")

    async def _tell_node(self, node_id: str) -> None:
        await asyncio.sleep(0)  # those that are resumed together are told together
        owners = self._owners_to_tell.pop(node_id)
        try:
            await self._node.requests.request(
                "replace", {"owners": owners}, {node_id}, wait=_TELL_WAIT_S
            )
        except Unavailable as error:  # the store refuses them
            logger.info("Owners of resumed sessions were not told: %s", error.reason)

    def replace(self, owner: str) -> None:
        """Close the connection with this token: its session was taken."""
        connection = self._owners.get(owner)
        if connection is not None:
            self._replace(connection)

    def _replace(self, connection: Connection) -> None:
        self._drop(connection)
        connection.replaced()


def owner_of(key: str) -> str:
    """The token of the connection that was told a session's id; it never owns another session."""
    return key[:16]


_UNTRUSTED = frozenset(str(int(code)) for code in (CloseCode.UNAUTHENTICATED, CloseCode.BLOCKED))
"""Ends after which rights are asked for again, whatever the channel's class says."""


def saved_subscriptions(node: Node, connection: Connection) -> tuple[SavedSubscription, ...]:
    """The subscriptions of a connection, as its session keeps them."""
    saved = []
    for name, channel in connection.subscriptions.items():
        receipt = connection.receipts.get(name)
        saved.append(
            SavedSubscription(
                channel=name,
                selections=_selections(node, connection, channel),
                position=None if receipt is None else receipt.position,
                presence=presence.watches(node, connection, channel),
                granted_by=channel.granted_by,
            )
        )
    restoring = connection.receipts.restoring
    saved += [one for one in restoring if one.channel not in connection.subscriptions]
    return tuple(saved)


_NO_PARAMETERS = (None,)


def _selections(node: Node, connection: Connection, channel: Channel) -> tuple[Any, ...]:
    """The parameters of each of the connection's selections of a channel, the first one's first."""
    if channel.select is not None:
        return tuple(_parameters(node, connection, channel))
    parameters = channel.plain_parameters
    return _NO_PARAMETERS if parameters is None else (parameters,)


def _parameters(node: Node, connection: Connection, channel: Channel) -> Iterable[Any]:
    receipt = connection.receipts.get(channel.name)
    known = {} if receipt is None else receipt.selections
    first = channel.subscriber_selection()
    held = node.hub.selections(channel.qualified_name, connection)
    for selection in sorted(held, key=lambda each: each != first):
        yield known.get(selection, channel.plain_parameters)


def received_positions(node: Node, connection: Connection) -> dict[str, m.Position]:
    """Up to where each channel with history was written to the client by now."""
    if connection.paused_channels or not connection.subscriptions:
        return {}
    found = {}
    for name, channel in connection.subscriptions.items():
        if type(channel).kept() is not None and name not in connection.followers:
            position = node.streams.position(channel.qualified_name)
            if position is not None:
                found[name] = position
    return found


# -- requests of other processes -------------------------------------------------------------------


def replace(node: Node, arguments: dict[str, Any]) -> None:
    """Close the connections that had these sessions: others have resumed them."""
    sessions = node.service(Sessions)
    for owner in arguments["owners"]:
        sessions.replace(owner)
