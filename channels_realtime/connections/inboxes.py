"""Acknowledged delivery: what users have received, and what is done about the rest.

In: ``ack`` of clients, subscriptions to channels with an inbox, and time. Out: the position that such a
subscription begins after, and calls of ``Channel.on_unacknowledged``. Acknowledgements are written behind,
in batches: a client may send one for each message. What was not written when a process dies is delivered
once more.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import OrderedDict
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from ..channels import Channel
from ..errors import BadPayload, Forbidden, RealtimeError, Unavailable
from ..namespaces import namespace
from ..nodes.member import Member
from ..nodes.node import Node, Service
from ..nodes.outgoing import decode_entry
from ..nodes.store_requests import INBOXES, ask
from ..protocol import messages as m
from ..protocol.names import split_key
from ..runtime.surround import surround
from ..runtime.tasks import end_tasks
from ..stores.history.inboxes import Acknowledgement, Inbox, is_newer

if TYPE_CHECKING:
    from .connection import Connection

logger = logging.getLogger(__name__)

DELAY_S = 0.2
"""How long acknowledgements wait for others to be written with."""

RETRY_S = 1.0
"""Between two tries of a store that is away."""

BATCH = 500
"""Acknowledgements that are written at once."""

MAX_WAITING = 10_000
"""Acknowledgements that wait in a node; the oldest is given up first, and that much is sent again."""

SWEEP_S = 5.0
"""How often a node looks for what is due, at most."""

LEASE_S = 60.0
"""How long a node may take over a stream before another takes it."""

HOOK_RETRY_S = 60.0
"""After which a hook that failed is called again."""

MAX_PUBLICATIONS = 1_000
"""Publications that a hook is called with, at most."""

_CLAIMED_AT_ONCE = 20

_Answer = TypeVar("_Answer")


class Inboxes(Service):
    """The inboxes of one node's clients, and its part in looking after all of them."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self._waiting: OrderedDict[tuple[str, str], m.Position] = OrderedDict()
        self._in_flight: dict[tuple[str, str], m.Position] = {}
        self._writing: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._sweeping: asyncio.Task[None] | None = None

    # -- life --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to look for what is due, where a class of the site wants that."""
        interval = self._interval()
        if self._sweeping is None and interval is not None:
            self._sweeping = asyncio.create_task(
                self._sweep_for_ever(interval), name="realtime-inboxes"
            )

    async def stop(self) -> None:
        """Write what waits, once, and end."""
        await end_tasks(self._sweeping, self._writing)
        self._sweeping = self._writing = None
        try:
            while self._waiting:
                await self._write()
        except Unavailable as error:
            logger.warning("%d acknowledgements are lost: %s", len(self._waiting), error.reason)
            self._waiting.clear()

    def _interval(self) -> float | None:
        times = [
            kind.unacknowledged_after
            for _, kind in self._node.routes
            if kind.looks_after_inboxes() and kind.unacknowledged_after is not None
        ]
        return max(0.1, min(SWEEP_S, min(times) / 4)) if times else None

    # -- acknowledgements --------------------------------------------------------------------------

    def note(self, stream: str, user: str, position: m.Position) -> None:
        """A user has received everything up to a position; never waits."""
        key = (stream, user)
        if is_newer(position, self._waiting.get(key)):
            self._waiting[key] = position
            if len(self._waiting) > MAX_WAITING:
                self._waiting.popitem(last=False)
                logger.warning("Too many acknowledgements wait; the oldest is given up")
        if self._writing is None or self._writing.done():
            self._writing = self._node.loop.create_task(self._write_soon(), name="realtime-acks")

    def connection_ended(self, connection: Member) -> None:
        """Write at once what it has acknowledged: it may be back in a moment, in another process."""
        if self._waiting and connection.user_id is not None:
            self._hurry.set()

    async def _write_soon(self) -> None:
        delay = DELAY_S
        while self._waiting:
            try:
                async with asyncio.timeout(delay):
                    await self._hurry.wait()
            except TimeoutError:
                pass
            self._hurry.clear()
            try:
                await self._write()
                delay = DELAY_S
            except Unavailable as error:
                logger.debug("Acknowledgements wait: %s", error.reason)
                delay = RETRY_S
            except Exception:
                logger.exception("Acknowledgements cannot be written")
                delay = RETRY_S

    async def _write(self) -> None:
        batch = [self._waiting.popitem(last=False) for _ in range(min(BATCH, len(self._waiting)))]
        if not batch:
            return
        found = [Acknowledgement(*key, position) for key, position in batch]
        self._in_flight = dict(batch)
        try:
            await self._ask(self._node.inboxes.acknowledge(found))
        except BaseException:
            for key, position in batch:
                if key not in self._waiting:
                    self._waiting[key] = position
            raise
        finally:
            self._in_flight = {}

    def _noted(self, stream: str, user: str) -> m.Position | None:
        """What a user has acknowledged here and the store may not know yet."""
        key = (stream, user)
        return self._waiting.get(key) or self._in_flight.get(key)

    async def position(self, channel: Channel, user: str) -> Begin:
        """Where a user's subscription begins. The channel is open.

        Raises:
            Unavailable: the store is away.
        """
        stream = channel.qualified_name
        known = self._noted(stream, user)
        inbox: Inbox | None = await self._ask(self._node.inboxes.acknowledged(stream, user))
        if known is not None and (inbox is None or is_newer(known, inbox.acknowledged)):
            return Begin(known)
        if inbox is None:
            return Begin(None, is_new=True)
        if inbox.acknowledged is not None:
            return Begin(inbox.acknowledged)
        return Begin(await self._oldest(stream))

    async def _oldest(self, stream: str) -> m.Position:
        """The position before the oldest publication that is kept."""
        history = self._node.history
        page = await ask(history, history.read(stream, limit=1), self._node.config.store_timeout)
        offset = page.entries[0].offset - 1 if page.entries else page.position.offset
        return m.Position(page.position.epoch, offset)

    async def begin(self, stream: str, user: str, position: m.Position | None) -> None:
        """Begin a user's inbox."""
        try:
            await self._ask(self._node.inboxes.open(stream, user, position))
        except Unavailable as error:
            logger.warning("An inbox was not begun: %s", error.reason)

    async def end(self, stream: str, user: str) -> None:
        """End a user's inbox: the user may not have the channel any more."""
        self._waiting.pop((stream, user), None)
        try:
            await self._ask(self._node.inboxes.forget(stream, user))
        except Unavailable as error:
            logger.warning("An inbox was not ended: %s", error.reason)

    # -- what is due -------------------------------------------------------------------------------

    async def _sweep_for_ever(self, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            try:
                await self.sweep()
            except Unavailable as error:
                logger.debug("Inboxes cannot be looked after: %s", error.reason)
            except Exception:
                logger.exception("Looking after inboxes failed")

    async def sweep(self) -> None:
        """Claim what is due, and call the hooks.

        Raises:
            Unavailable: a store is away; what was claimed is due again after the lease.
        """
        claimed = self._node.clock.time()
        claim = self._node.inboxes.claim(claimed, LEASE_S, _CLAIMED_AT_ONCE)
        for stream in await self._ask(claim):
            if self._node.clock.time() - claimed > LEASE_S / 2:
                break  # hooks are slow: the others are due again after the lease
            await self._look_after(stream, claimed)

    async def _look_after(self, stream: str, claimed: float) -> None:
        store = self._node.inboxes
        found = await self._ask(store.inboxes(stream))
        channel = self._channel(stream)
        notified: dict[str, m.Position] = {}
        due_at: float | None = None
        if channel is not None and found.users:
            kept = await self._kept(stream)
            notified, due_at = await self._notify(channel, found.users, kept, claimed)
        await self._ask(store.settle(stream, found.revision, notified, due_at))

    def _channel(self, stream: str) -> Channel | None:
        of, name = split_key(stream)
        try:
            channel = self._node.routes.resolve(name)
        except RealtimeError:
            return None  # its class is gone
        channel.namespace = of
        return channel if channel.looks_after_inboxes() else None

    async def _kept(self, stream: str) -> list[m.Publication]:
        """The newest publications that are kept, oldest first."""
        history = self._node.history
        page = await ask(
            history,
            history.read(stream, limit=MAX_PUBLICATIONS, reverse=True),
            self._node.config.store_timeout,
        )
        epoch = page.position.epoch
        decoded = (decode_entry(epoch, entry) for entry in reversed(page.entries))
        return [publication for publication in decoded if publication is not None]

    async def _notify(
        self,
        channel: Channel,
        users: Mapping[str, Inbox],
        kept: list[m.Publication],
        claimed: float,
    ) -> tuple[dict[str, m.Position], float | None]:
        """Call the hook for each user who is due; returns up to where, and when to look again."""
        after = channel.unacknowledged_after
        assert after is not None
        clock = self._node.clock
        notified: dict[str, m.Position] = {}
        due: list[float] = []
        for user, inbox in users.items():
            noted = self._noted(channel.qualified_name, user)
            waiting = (noted, inbox.acknowledged, inbox.notified)
            pending = [one for one in kept if not any(_covers(at, one) for at in waiting)]
            if not pending:
                continue
            now = clock.time()
            due_at = (pending[0].kept_at or 0.0) + after
            if due_at > now:
                due.append(due_at)
            elif now - claimed > LEASE_S / 2:
                due.append(now)  # the others at the next look, before the lease is over
            elif await self._call(channel, user, pending):
                position = pending[-1].position
                assert position is not None
                notified[user] = position
            else:
                due.append(now + HOOK_RETRY_S)
        return notified, min(due, default=None)

    async def _call(self, channel: Channel, user: str, pending: list[m.Publication]) -> bool:
        hook = channel.on_unacknowledged
        if channel.namespace:
            hook = surround(hook, functools.partial(namespace, channel.namespace))
        try:
            await self._node.hooks.run(hook, user, pending)
        except Exception:
            logger.exception("on_unacknowledged of %r failed", channel.name)
            return False
        return True

    async def _ask(self, request: Coroutine[Any, Any, _Answer]) -> _Answer:
        node = self._node
        return await ask(node.inboxes, request, node.config.store_timeout, INBOXES)


class Begin(msgspec.Struct, frozen=True):
    """Where a subscription to a channel with an inbox begins.

    Args:
        since: what follows is delivered again; None begins with what is new.
        is_new: the user has no inbox yet.
    """

    since: m.Position | None
    is_new: bool = False


def _covers(position: m.Position | None, publication: m.Publication) -> bool:
    at = publication.position
    assert at is not None
    return position is not None and position.epoch == at.epoch and position.offset >= at.offset


# -- serving ---------------------------------------------------------------------------------------


async def begin(node: Node, connection: Connection, channel: Channel) -> Begin | None:
    """Where a new subscription begins whose client names no position; None without an inbox.

    Raises:
        Unavailable: the store is away, and ``STORE_FAILURES`` is not "live".
    """
    if not channel.inbox or connection.user_id is None or channel.kept() is None:
        return None
    try:
        return await node.service(Inboxes).position(channel, connection.user_id)
    except Unavailable as error:
        if node.config.store_failures != "live":
            raise
        logger.debug("A subscription begins without its inbox: %s", error.reason)
        return None


def begun(
    node: Node, connection: Connection, channel: Channel, position: m.Position | None
) -> None:
    """The first subscription of a user was made; never waits."""
    if connection.user_id is not None:
        inbox = node.service(Inboxes).begin(channel.qualified_name, connection.user_id, position)
        node.spawn(inbox, "an inbox")


def refused(node: Node, connection: Connection, channel: Channel) -> None:
    """The user may not be on the channel any more; never waits."""
    if channel.inbox and connection.user_id is not None:
        ended = node.service(Inboxes).end(channel.qualified_name, connection.user_id)
        node.spawn(ended, "an inbox")


async def acknowledge(
    node: Node, connection: Connection, channel: Channel, position: m.Position
) -> None:
    """Note what a client says to have received. A position of another epoch is ignored.

    Raises:
        Forbidden: the client is anonymous.
        BadPayload: nothing was published at this position yet.
        Unavailable: the store is away.
    """
    if connection.user_id is None:
        raise Forbidden(f"the inbox of {channel.name!r} is a user's; sign in")
    stream = channel.qualified_name
    newest = node.streams.position(stream)
    if newest is None or newest.epoch != position.epoch or newest.offset < position.offset:
        history = node.history
        page = await ask(history, history.read(stream, limit=0), node.config.store_timeout)
        newest = page.position
    if newest.epoch != position.epoch:
        return
    if position.offset > newest.offset:
        raise BadPayload(
            f"offset {position.offset} of {channel.name!r} was not published yet;"
            f" expected at most {newest.offset}"
        )
    node.service(Inboxes).note(stream, connection.user_id, position)
