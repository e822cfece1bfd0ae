"""Who is on the channels of this node: enters them into the presence store, and keeps them there.

In: connections that come to channels with presence, and go. Out: what the store decides on it, to all
nodes and as signals. One task writes to the store, in batches: a thousand that come together cost as
many messages as there are batches. It renews this node's lease, compares what the store has with what
is here, and lets those leave that are over, this node's or a dead one's.

While the store is away, what was not written is kept and written later; nothing is lost but time.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

import msgspec

from .. import signals
from ..channels import Channel
from ..errors import RealtimeError, Unavailable
from ..hook_client import Client
from ..protocol.messages import Member, Members, Publication
from ..protocol.names import split_key
from ..runtime.write_behind import WriteBehind
from ..stores.presence.base import (
    BATCH,
    PARTITIONS,
    Change,
    Departure,
    Entry,
    Hold,
    Presence,
    PresenceStore,
    Sweep,
    partition_of,
)
from .breaker import breaker_of
from .hub import Hub, Subscriber
from .member_info import MemberInfo
from .node import Node, Service
from .rosters import Rosters, run_all
from .store_requests import PRESENCE, ask
from .stores import stores_of

logger = logging.getLogger(__name__)

_SWEEP_INTERVAL_S = 1.0

_ANNOUNCED = 50
"""Changes in one message over the channel layer."""

_Item = TypeVar("_Item")


class Stay:
    """One connection on one channel, from its entering to its leaving."""

    __slots__ = ("channel", "connection", "entered", "gone", "hold", "informed", "member", "sent")

    def __init__(self, connection: Client, channel: Channel, member: Member, holder: str):
        self.connection = connection
        self.channel = channel
        self.member = member
        self.hold = Hold(channel.qualified_name, member.id, holder)
        self.informed = asyncio.get_running_loop().create_future()
        self.entered = asyncio.get_running_loop().create_future()
        self.sent = False
        """Whether the store may have it."""
        self.gone = False


class Presences(Service):
    """The members that this node's connections hold, and those that they watch."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        config = node.config
        self._lease = 0.9 * config.node_lease
        self._renewal = self._lease / 4
        self._interval = min(_SWEEP_INTERVAL_S, config.node_lease / 20)
        self._info = MemberInfo(node, self._informed)
        self._hub = Hub(node.metrics, node.clock.monotonic)
        self._writer = WriteBehind(
            "members",
            self._work,
            self._pause,
            quiet=(Unavailable,),  # which is logged here
        )
        self._rosters: Rosters = Rosters(
            lambda: self._store, self._hub, self._now, self._renewal + 1.0, self._writer.wake
        )
        self._stays: dict[Client, dict[str, Stay]] = {}
        self._held: dict[Hold, Stay] = {}
        self._written: set[Hold] = set()  # what the store has, as far as is known
        self._counts: Counter[int] = Counter()  # of those, by partition
        self._entries: dict[Stay, None] = {}
        self._departures: dict[Departure, None] = {}
        self._numbers = itertools.count(1)
        self._next_renewal = self._next_sweep = self._next_check = 0.0
        node.takes_presence = self.take

    @property
    def _store(self) -> PresenceStore:
        return stores_of(self._node.layer, self._node.config).presence

    # -- life --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin at once where a channel class has presence: what a dead node left is swept."""
        if any(channel_class.presence is not None for _, channel_class in self._node.routes):
            self._writer.start()

    async def stop(self) -> None:
        """Take this node's members off, with their grace, and write no more; its lease does it otherwise."""
        await self._writer.stop(self._leave_all, "The node's members were left to its lease")

    async def _leave_all(self) -> None:
        self._info.close()
        for stay in list(self._held.values()):
            self._leave(stay)
        while self._departures:
            await self._flush()

    # -- members -----------------------------------------------------------------------------------

    def enter(self, connection: Client, channel: Channel) -> None:
        """A connection is on a channel with presence. Does nothing where it is already."""
        stream = channel.qualified_name
        stays = self._stays.setdefault(connection, {})
        if stream in stays:
            return
        presence = _presence(channel)
        member = Member(member_id(connection, presence), connection.user_id)
        stay = stays[stream] = Stay(connection, channel, member, str(next(self._numbers)))
        self._held[stay.hold] = stay
        self._writer.start()
        if presence.announces or presence.max_members:
            self._info.want(stay)
        else:
            self._informed(stay)

    async def entered(self, connection: Client, channel: Channel) -> None:
        """Wait until the connection is a member that others see.

        Raises:
            Unavailable: the store did not take it in time.
        """
        stay = self._stays[connection][channel.qualified_name]
        await asyncio.shield(stay.informed)
        try:
            async with asyncio.timeout(self._node.config.store_timeout):
                await asyncio.shield(stay.entered)
        except TimeoutError:
            raise Unavailable("the presence store does not answer") from None

    def leave(self, connection: Client, channel: Channel) -> None:
        """A connection has left a channel, or is gone. Does nothing where it is not there."""
        stays = self._stays.get(connection)
        stay = None if stays is None else stays.pop(channel.qualified_name, None)
        if not stays:
            self._stays.pop(connection, None)
        if stay is not None:
            self._leave(stay)

    def _leave(self, stay: Stay) -> None:
        stay.gone = True
        self._held.pop(stay.hold, None)
        self._entries.pop(stay, None)
        for future in (stay.informed, stay.entered):
            if not future.done():
                future.set_result(None)
        if stay.sent:
            self._departures[Departure(stay.hold, _presence(stay.channel).grace)] = None
            self._writer.wake()

    def _informed(self, stay: Stay) -> None:
        """What is known of the member is there: it may be written."""
        if stay.gone:
            return
        if not stay.informed.done():
            stay.informed.set_result(None)
        self._entries[stay] = None
        self._writer.wake()

    def connection_changed(self, connection_id: str) -> None:
        """A connection may be another member now: it has signed in, or taken up its old id."""
        if not self._stays:
            return
        connection = cast(Client, self._node.connections.get(connection_id))
        if connection is None:
            return
        for stay in list(self._stays.get(connection, {}).values()):
            if member_id(connection, _presence(stay.channel)) != stay.member.id:
                self.leave(connection, stay.channel)
                self.enter(connection, stay.channel)

    # -- watching ----------------------------------------------------------------------------------

    async def open(self, channel: Channel) -> None:
        """Have the members of a channel live, for ``watch``; see ``Rosters.open``.

        Raises:
            Unavailable: the store is away.
        """
        self._writer.start()
        await self._rosters.open(channel.qualified_name, _presence(channel).max_members)

    def close(self, channel: Channel) -> None:
        """Take one ``open`` back that no ``watch`` followed."""
        self._rosters.close(channel.qualified_name)

    def watch(self, connection: Subscriber, channel: Channel) -> Members:
        """Tell a connection of joins and leaves from now on; it takes one ``open`` over.

        Returns:
            who is there now.
        """
        stream = channel.qualified_name
        if not self._hub.add(stream, connection):
            self._rosters.close(stream)
        return self._rosters.members(stream)

    def unwatch(self, connection: Subscriber, channel: Channel) -> None:
        """Tell it nothing more. Does nothing where it does not watch."""
        if self._hub.remove(channel.qualified_name, connection):
            self._rosters.close(channel.qualified_name)

    def watches(self, connection: Subscriber, channel: Channel) -> bool:
        """Whether it is told of joins and leaves."""
        return bool(self._hub.selections(channel.qualified_name, connection))

    def watched(self, channel: Channel) -> Members:
        """Who is on a channel that is watched here."""
        return self._rosters.members(channel.qualified_name)

    async def members(self, channel: Channel) -> Members:
        """Who is on a channel, live where it is watched here, else as the store has it.

        Raises:
            Unavailable: the store is away.
        """
        stream = channel.qualified_name
        if stream in self._rosters:
            return self._rosters.members(stream)
        request = self._store.members(stream, _presence(channel).max_members)
        timeout = self._node.config.store_timeout
        roll = await ask(self._store, request, timeout, PRESENCE)
        return Members(roll.count, roll.members)

    # -- changes -----------------------------------------------------------------------------------

    def take(self, publication: Publication) -> None:
        """Changes that were decided by another node, or by this one."""
        try:
            changes = msgspec.convert(publication.payload, list[Change])
        except msgspec.ValidationError:
            logger.warning(
                "A message about members cannot be read: are all processes of one version?"
            )
            return
        self._rosters.take(changes)

    def decided(self, changes: Sequence[Change]) -> None:
        """The store has given this node these decisions: tell everybody, once."""
        if changes:
            self._rosters.take(changes)
            self._node.spawn(self._announce(changes), "announcing members")

    async def _announce(self, changes: Sequence[Change]) -> None:
        for change in changes:
            for signal, arguments in announcements(change):
                self._node.announce(signal, **arguments)
        for publication in publications(changes):
            presence = self._presence_of(publication.key)
            if presence is None or presence.announces:
                try:
                    await self._node.broker.publish(publication)
                except Unavailable as error:  # nodes that watch find it in the store
                    logger.info("Members are told late: %s", error.reason)

    def _presence_of(self, stream: str) -> Presence | None:
        try:
            found: Presence | None = self._node.routes.resolve(split_key(stream)[1]).presence
        except RealtimeError:  # of a process with other routes
            return None
        return found

    # -- the task ----------------------------------------------------------------------------------

    def _now(self) -> float:
        return self._node.clock.monotonic()

    def _pause(self) -> float:
        """Seconds until something is due."""
        due = [self._next_renewal, self._next_sweep, self._next_check]
        if self._rosters.next_repair is not None:
            due.append(self._rosters.next_repair)
        return max(0.0, min(due) - self._now())

    async def _work(self) -> None:
        """Do what is due; each step is tried, whatever became of the one before."""
        now = self._now()
        steps: list[Callable[[], Awaitable[None]]] = [self._flush]
        if now >= self._next_renewal:
            steps.append(self._renew)
        if now >= self._next_sweep:
            steps.append(self._sweep)
        if now >= self._next_check:
            steps.append(self._check)
        steps.append(self._rosters.repair)
        failure = None
        for step in steps:
            try:
                await step()
            except Exception as error:
                failure = error
        if failure is not None:
            breaker_of(self._store, PRESENCE).failing = True
            self._node.metrics.store_errors += 1
            if isinstance(failure, Unavailable) and not self._writer.failed:
                logger.warning("The presence store cannot be used: %s", failure.reason)
            raise failure
        if self._writer.failed:
            logger.info("The presence store can be used again")
            breaker_of(self._store, PRESENCE).sent()

    async def _flush(self) -> None:
        """Write who came and who went, those who came first: so a reload without grace is none."""
        stays = list(itertools.islice(self._entries, BATCH))
        if stays:
            await self._apart(stays, lambda stay: stay.hold.stream, self._enter)
        departures = list(itertools.islice(self._departures, BATCH))
        if departures:
            await self._apart(departures, lambda one: one.hold.stream, self._let_leave)
        if self._entries or self._departures:
            self._writer.wake()  # in the next round: the lease must not wait for all of them

    async def _apart(
        self,
        items: Sequence[_Item],
        stream: Callable[[_Item], str],
        call: Callable[[Sequence[_Item]], Awaitable[None]],
    ) -> None:
        """Make one call; while the store fails, one a partition: a part of it may be away."""
        groups: dict[int, list[_Item]] = defaultdict(list)
        for item in items:
            groups[partition_of(stream(item)) if self._writer.failed else 0].append(item)
        await run_all(*(call(group) for group in groups.values()))

    async def _enter(self, stays: Sequence[Stay]) -> None:
        entries = [Entry(stay.hold.stream, stay.hold.holder, stay.member) for stay in stays]
        for stay in stays:
            stay.sent = True
        changes = await self._store.enter(self._node.id, entries, self._lease)
        self.decided(changes)
        for stay in stays:
            self._entries.pop(stay, None)
            if stay.hold not in self._written:
                self._written.add(stay.hold)
                self._counts[partition_of(stay.hold.stream)] += 1
            if not stay.entered.done():
                stay.entered.set_result(None)

    async def _let_leave(self, departures: Sequence[Departure]) -> None:
        self.decided(await self._store.leave(self._node.id, departures))
        for departure in departures:
            self._departures.pop(departure, None)
            if departure.hold in self._written:
                self._written.remove(departure.hold)
                self._counts[partition_of(departure.hold.stream)] -= 1

    async def _renew(self) -> None:
        """Renew the lease, and put right what the store has lost or kept too long."""
        counts = {number: count for number, count in self._counts.items() if count > 0}
        now = self._now()
        if counts:
            for partition in await self._store.renew(self._node.id, counts, self._lease):
                await self._reconcile(partition)
        self._next_renewal = now + self._renewal

    async def _reconcile(self, partition: int) -> None:
        found = await self._store.held(self._node.id, partition)
        own = {
            hold: stay
            for hold, stay in self._held.items()
            if stay.sent and partition_of(hold.stream) == partition
        }
        self._written = {h for h in self._written if partition_of(h.stream) != partition} | found
        self._counts[partition] = len(found)
        logger.info("The presence store had lost, or kept, some of this node's members")
        for hold in own.keys() - found:
            self._entries[own[hold]] = None
        for hold in found - self._held.keys():
            presence = self._presence_of(hold.stream)
            self._departures[
                Departure(hold, Presence().grace if presence is None else presence.grace)
            ] = None
        self._writer.wake()

    async def _sweep(self) -> None:
        partitions = (
            [[n] for n in range(PARTITIONS)] if self._writer.failed else [list(range(PARTITIONS))]
        )
        await run_all(*map(self._sweep_all, partitions))
        self._next_sweep = self._now() + self._interval

    async def _sweep_all(self, partitions: list[int]) -> None:
        more = True
        while more:
            found: Sweep = await self._store.sweep(partitions)
            self.decided(found.changes)
            more = found.more and bool(found.changes)

    async def _check(self) -> None:
        await self._rosters.check()
        self._next_check = self._now() + self._node.config.sync_interval


def member_id(connection: Client, presence: Presence) -> str:
    """The id of the member that a connection holds."""
    if presence.by_user and connection.user_id is not None:
        return f"user:{connection.user_id}"
    return connection.id


def publications(changes: Sequence[Change]) -> list[Publication]:
    """What tells the nodes of changes: one message for many of a channel."""
    by_stream: dict[str, list[Change]] = defaultdict(list)
    for change in changes:
        by_stream[change.stream].append(change)
    found = []
    for stream, group in by_stream.items():
        namespace, channel = split_key(stream)
        for start in range(0, len(group), _ANNOUNCED):
            payload = msgspec.to_builtins(group[start : start + _ANNOUNCED], builtin_types=(bytes,))
            found.append(
                Publication(channel=channel, payload=payload, namespace=namespace, kind="presence")
            )
    return found


def announcements(change: Change) -> list[tuple[Any, dict[str, Any]]]:
    """The signals that a change sends, with their arguments."""
    namespace, channel = split_key(change.stream)
    where = {"channel": channel, "namespace": namespace}
    about = {**where, "member": change.member}
    if change.kind == "join":
        joined = (signals.member_joined, about)
        return [(signals.channel_occupied, where), joined] if change.occupied else [joined]
    left = (signals.member_left, about)
    return [left, (signals.channel_vacated, where)] if change.vacated else [left]


def _presence(channel: Channel) -> Presence:
    assert channel.presence is not None, "the caller has looked"
    return channel.presence
