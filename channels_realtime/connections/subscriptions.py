"""Subscriptions of a connection: made, taken away, checked again.

In: a connection and a channel's name. Out: the connection is in the hub under that channel, or not,
and the channel's hooks have been told.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec

from .. import signals
from ..access.revocation import Revocations
from ..channels import Channel
from ..conversation.nothing import NOTHING
from ..errors import (
    AlreadySubscribed,
    ConnectionClosed,
    Forbidden,
    NotRecoverable,
    NotSubscribed,
    RealtimeError,
    TooManySubscriptions,
    Unavailable,
)
from ..nodes.node import Node
from ..protocol import messages as m
from ..runtime.hooks import translate
from . import catch_up, inboxes, presence
from .rights import BUILT_IN, NO_VERDICT, allowed, resolve_subscriber, run_hook
from .user_reader import USER_MAX_AGE_S, UserReader

if TYPE_CHECKING:
    from .connection import Connection


class turn:
    """One at a time subscribes a connection to a channel.

    The client's own requests are in order; those of the server are not among them.
    """

    __slots__ = ("_connection", "_mine", "_name")

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._name = name

    async def __aenter__(self) -> None:
        connection, name = self._connection, self._name
        while (ahead := connection.turns.get(name)) is not None:
            await asyncio.wait([ahead])
        self.take()

    async def __aexit__(self, *raised: object) -> None:
        self.leave()

    def take(self) -> None:
        """Begin it, where none is under way; it has to be left."""
        connection = self._connection
        if not connection.turns:
            connection.turns = {}
        self._mine = connection.turns[self._name] = asyncio.get_running_loop().create_future()

    def leave(self) -> None:
        """End it."""
        connection = self._connection
        del connection.turns[self._name]
        if not connection.turns:
            connection.turns = NOTHING
        self._mine.set_result(None)


async def end_subscriptions(node: Node, connection: Connection) -> None:
    """Take a connection off all its channels at once, then run their ``on_unsubscribe`` hooks."""
    channels = list(connection.subscriptions.values())
    connection.subscriptions.clear()
    for channel in channels:
        presence.depart(node, connection, channel)
        if node.hub.remove(channel.qualified_name, connection):
            node.left(channel.qualified_name)
        node.announce(signals.unsubscribed, connection=connection, channel=channel.name)
    for channel in channels:
        await _after_unsubscribe(node, connection, channel)


async def subscribe(
    node: Node, connection: Connection, command: m.Subscribe, *, authorise: bool = True
) -> m.Subscribed:
    """Subscribe a connection.

    Args:
        node: the connection's node.
        connection: the connection.
        command: what it asks for.
        authorise: False where ``can_subscribe`` need not be asked: a session is resumed.
    """
    async with turn(connection, command.channel):
        return await _subscribe(node, connection, command, authorise)


def begun(node: Node, connection: Connection, channel: Channel) -> None:
    """A connection is on a channel that it was not on before."""
    connection.subscriptions[channel.name] = channel
    presence.arrive(node, connection, channel)
    node.connection_changed(connection.id)
    node.announce(signals.subscribed, connection=connection, channel=channel.name)
    if channel.recheck_interval is not None:
        at = node.clock.monotonic() + channel.recheck_interval
        node.timers.set(_Recheck(node, connection, channel), at)


async def _subscribe(
    node: Node, connection: Connection, command: m.Subscribe, authorise: bool
) -> m.Subscribed:
    channel = resolve_subscriber(node, connection, command.channel, command.parameters)
    selection = channel.subscriber_selection()
    arrival = presence.arrival(node, connection, channel, command.presence)
    if selection in node.hub.selections(channel.qualified_name, connection):
        if command.since is None:
            raise AlreadySubscribed(
                f"already subscribed to {channel.name!r}",
                position=node.streams.position(channel.qualified_name),
            )
        return await _replay(node, connection, channel, command)
    rechecks = node.service(Revocations).rechecks
    if asks_hooks(type(channel)):
        since = node.clock.time() - USER_MAX_AGE_S
        await node.service(UserReader).refresh(connection, since)
    if authorise:
        await _require_subscribe(node, connection, channel)
    subscribed = await join(
        node,
        connection,
        channel,
        hooks=True,
        since=command.since,
        require_recovery=command.require_recovery,
        arrival=arrival,
    )
    members = None if arrival is None else arrival.begin()
    if rechecks != node.service(Revocations).rechecks:
        # Rights may have changed between the question and the subscription being found.
        node.spawn(connection.recheck(channel.name), "recheck")
    return msgspec.structs.replace(subscribed, id=command.id, members=members)


async def _replay(
    node: Node, connection: Connection, channel: Channel, command: m.Subscribe
) -> m.Subscribed:
    """Answer a client that is on the channel already and names a position."""
    assert command.since is not None
    missed = await catch_up.replay(node, connection, channel, command.since)
    if missed is None and command.require_recovery:
        raise NotRecoverable(catch_up.GONE)
    _count_recovery(node, missed is not None)
    return m.Subscribed(
        id=command.id,
        channel=channel.name,
        position=node.streams.position(channel.qualified_name),
        recovered=missed is not None,
        missed=missed or (),
    )


def _count_recovery(node: Node, recovered: bool) -> None:
    if recovered:
        node.metrics.recovered += 1
    else:
        node.metrics.unrecovered += 1


async def _require_subscribe(node: Node, connection: Connection, channel: Channel) -> None:
    if not await allowed(node, channel, "can_subscribe", connection):
        raise refused(node, connection, channel)


def refused(node: Node, connection: Connection, channel: Channel) -> Forbidden:
    inboxes.refused(node, connection, channel)
    return Forbidden(f"not allowed to subscribe to {channel.name!r}")


def require_room(node: Node, connection: Connection) -> None:
    limit = node.config.max_subscriptions
    if connection.selected + connection.reserved >= limit:
        raise TooManySubscriptions(f"this connection holds all the {limit} subscriptions it may")


async def join(
    node: Node,
    connection: Connection,
    channel: Channel,
    *,
    hooks: bool,
    since: m.Position | None = None,
    require_recovery: bool = False,
    arrival: presence.Arrival | None = None,
) -> m.Subscribed:
    """Put a connection on a channel, live from now on.

    What comes before that, because it was missed after ``since`` or is the channel's state, is in
    the result; where it is much, it is written afterwards by itself.

    Args:
        node: the connection's node.
        connection: the connection.
        channel: what it is to be on.
        hooks: False for the user's own channel, which counts towards no limit.
        since: up to where the client knows the channel; None where it does not.
        require_recovery: whether a ``since`` that cannot be met is an error.
        arrival: where presence was asked for; prepared here, and begun by the caller with the reply.

    Returns:
        what to tell the client, with nothing awaited since it is live.

    Raises:
        TooManySubscriptions: it has all that it may have.
        Forbidden: it had another selection of the channel, and lost it meanwhile.
        NotRecoverable: ``since`` cannot be met, and ``require_recovery``.
        Unavailable: the layer or the store did not answer.
        ConnectionClosed: it has ended meanwhile.
        Exception: what ``on_subscribe`` raises.
    """
    name = channel.name
    # A user who signs in on a full connection still gets their own channel.
    if hooks:
        require_room(node, connection)
    selection = channel.subscriber_selection()
    held = connection.subscriptions.get(name)
    first = held is None
    opened = covered = False
    missing: catch_up.CatchUp | None = None
    inbox: inboxes.Begin | None = None
    connection.reserved += 1
    try:
        if first:
            await node.broker.join(channel.qualified_name)
        try:
            if first and channel.kept() is not None:
                await node.streams.open(channel.qualified_name)
                opened = True
            if first and since is None:
                inbox = await inboxes.begin(node, connection, channel)
                since = None if inbox is None else inbox.since
            covered = not first and await _covered(connection, name, since)
            if not covered:
                missing = await catch_up.begin(
                    node, connection, channel, since, required=require_recovery
                )
            if hooks and first and channel.overrides("on_subscribe"):
                await _run_on_subscribe(node, connection, channel)
            if connection.closed:
                raise ConnectionClosed
            catch_up.require_held(connection, name, held)
            if arrival is not None:
                await _prepare(node, connection, channel, arrival, first=first)
                try:
                    catch_up.require_held(connection, name, held)
                except Forbidden:
                    arrival.abandon()
                    raise
        except BaseException:
            if missing is not None:
                missing.close()
            if opened:
                node.streams.close(channel.qualified_name)
            if first:
                node.broker.leave(channel.qualified_name)
            raise
    finally:
        connection.reserved -= 1
    # No await from here to the reply: what is delivered from now on follows it.
    node.delivers(channel.qualified_name, type(channel))
    before = node.hub.selections(channel.qualified_name, connection)
    node.hub.add(channel.qualified_name, connection, selection)
    position = node.streams.position(channel.qualified_name)
    if position is not None:
        if not connection.live_from:
            connection.live_from = {}
        connection.live_from[name, selection] = position
    recovered = covered
    known = told = position
    missed: tuple[m.Publication, ...] | None = None
    if missing is not None:
        if not first:
            missing.only(selection, until=missing.live, besides=before)
        missed = catch_up.finish(node, connection, missing, live=not first)
        recovered = missing.recovered and missed is not None
        if missed is not None:
            known = missing.since
            if not missing.recovered:  # after the state comes what is newer than the state
                told = missing.since
                known = None  # until it is proven that the state has arrived
    if since is not None:
        _count_recovery(node, recovered)
    if first:
        begun(node, connection, channel)
    if first and position is not None:
        connection.receipts.of(name).position = known
    if inbox is not None and inbox.is_new:
        inboxes.begun(node, connection, channel, position)
    return m.Subscribed(
        channel=name,
        position=told,
        recovered=None if since is None else recovered,
        missed=missed or (),
    )


async def _covered(connection: Connection, name: str, since: m.Position | None) -> bool:
    """Whether what follows ``since`` will be written anyway; else that is not being written now."""
    follower = connection.followers.get(name)
    if follower is None:
        return False
    if follower.covers(since) or connection.writer.holds:
        return follower.covers(since)
    await follower.wait()
    return False


async def _prepare(
    node: Node,
    connection: Connection,
    channel: Channel,
    arrival: presence.Arrival,
    *,
    first: bool,
) -> None:
    try:
        await arrival.prepare(first=first)
    except BaseException:
        if first:  # ``on_subscribe`` has run
            node.spawn(_after_unsubscribe(node, connection, channel), "on_unsubscribe")
        raise


async def _run_on_subscribe(node: Node, connection: Connection, channel: Channel) -> None:
    """Run the hook to its end; if the connection ends meanwhile, run ``on_unsubscribe`` after it."""
    running = asyncio.ensure_future(run_hook(node, connection, channel.on_subscribe))

    async def undo() -> None:
        try:
            await running
        except Exception:
            connection.log_exception(f"on_subscribe of {channel.name!r} failed")
            return
        await _after_unsubscribe(node, connection, channel)

    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        node.spawn(undo(), "on_unsubscribe")
        raise
    if connection.closed:
        node.spawn(undo(), "on_unsubscribe")


async def unsubscribe(node: Node, connection: Connection, command: m.Unsubscribe) -> m.Push:
    name = command.channel
    channel = connection.subscriptions.get(name)
    if channel is None:
        raise NotSubscribed(f"not subscribed to {name!r}")
    if command.parameters is not None and channel.select is not None:
        asked = resolve_subscriber(node, connection, name, command.parameters)
        selection = asked.subscriber_selection()
        if selection not in node.hub.selections(channel.qualified_name, connection):
            raise NotSubscribed(f"not subscribed to {name!r} with these parameters")
        last = node.hub.remove_selection(channel.qualified_name, connection, selection)
        if (name, selection) in connection.live_from:
            del connection.live_from[name, selection]
        connection.receipts.of(name).selections.pop(selection, None)
        node.connection_changed(connection.id)
    else:
        node.hub.remove(channel.qualified_name, connection)
        last = True
    if last:
        _forget_subscription(node, connection, channel)
    return m.Unsubscribed(id=command.id, channel=name)


async def _after_unsubscribe(node: Node, connection: Connection, channel: Channel) -> None:
    if channel.overrides("on_unsubscribe"):
        try:
            await run_hook(node, connection, channel.on_unsubscribe)
        except asyncio.CancelledError:
            raise
        except Exception:
            connection.log_exception(f"on_unsubscribe of {channel.name!r} failed")


def asks_hooks(kind: type[Channel]) -> bool:
    """Whether the site's code decides on a subscription, or is told of it."""
    decides = kind.overrides("can_subscribe") and kind.can_subscribe not in BUILT_IN
    return decides or kind.overrides("on_subscribe")


async def read_user(node: Node, connection: Connection, name: str | None, since: float) -> None:
    """Read the connection's user again, if a hook is to be asked about its channels, or about ``name``.

    Where it cannot be read, nothing is raised: ``recheck`` tries again, and ends nothing.
    """
    names = connection.subscriptions if name is None else (name,)
    channels = [connection.subscriptions.get(name) for name in names]
    if any(channel is not None and asks_hooks(type(channel)) for channel in channels):
        connection.user_read_at = 0.0
        with contextlib.suppress(Unavailable):
            await node.service(UserReader).refresh(connection, since)


async def recheck(
    node: Node, connection: Connection, name: str | None = None, since: float | None = None
) -> None:
    """Check again whether the connection may be on its channels, or on ``name``; end what it may not.

    A hook that fails for a reason of its own, such as a database that is away, ends nothing.

    Args:
        node: the connection's node.
        connection: the connection.
        name: check this channel only.
        since: how old the connection's user may be; by default it is read again.
    """
    if since is None:
        since = node.clock.time()
        connection.user_read_at = 0.0
    names = list(connection.subscriptions) if name is None else [name]
    for name in names:
        channel = connection.subscriptions.get(name)
        if (
            channel is None or channel.granted_by
        ):  # the server has decided; see server_subscriptions
            continue
        try:
            if asks_hooks(type(channel)):
                await node.service(UserReader).refresh(connection, since)
            if await allowed(node, channel, "can_subscribe", connection):
                continue
            refusal: RealtimeError = Forbidden(f"no longer allowed on {name!r}")
        except asyncio.CancelledError:
            raise
        except Exception as error:
            known = translate(error)
            if known is None or known.code in NO_VERDICT:
                connection.log_exception(f"can_subscribe of {name!r} failed")
                continue
            refusal = known
        if connection.subscriptions.get(name) is channel:
            take_away(node, connection, channel, refusal)
            inboxes.refused(node, connection, channel)


def take_away(node: Node, connection: Connection, channel: Channel, refusal: RealtimeError) -> None:
    """End a subscription from the server's side; nothing of the channel is sent after it."""
    node.hub.remove(channel.qualified_name, connection)
    _forget_subscription(node, connection, channel)
    connection.notify(
        m.Unsubscribed(channel=channel.name, code=refusal.code, reason=refusal.reason)
    )


def _forget_subscription(node: Node, connection: Connection, channel: Channel) -> None:
    del connection.subscriptions[channel.name]
    connection.rights_changed(channel.name)
    presence.depart(node, connection, channel)
    connection.receipts.forget(channel.name)
    node.connection_changed(connection.id)
    follower = connection.followers.get(channel.name)
    if follower is not None:
        follower.stop()
    for kept in [kept for kept in connection.live_from if kept[0] == channel.name]:
        del connection.live_from[kept]
    connection.take_paused(channel.name)
    connection.set_flow(channel.name, paused=False)
    connection.discard_queued(channel.name)
    node.left(channel.qualified_name)
    node.announce(signals.unsubscribed, connection=connection, channel=channel.name)
    if channel.overrides("on_unsubscribe"):
        # The subscription is over whatever the hook does, and the client need not wait for it.
        node.spawn(_after_unsubscribe(node, connection, channel), "on_unsubscribe")


_SHARED_S = 1.0


class _Recheck:
    """Checks a subscription's right again at the interval that its channel class sets."""

    early = False

    def __init__(self, node: Node, connection: Connection, channel: Channel) -> None:
        self._node = node
        self._connection = connection
        self._channel = channel

    def due(self, now: float) -> float | None:
        """The timers' call; see ``timers.Timed``."""
        name = self._channel.name
        interval = self._channel.recheck_interval
        if interval is None or self._connection.subscriptions.get(name) is not self._channel:
            return None
        # Those of a connection that are due together share one reading of its user.
        since = self._node.clock.time() - min(_SHARED_S, interval / 2)
        self._node.spawn(self._connection.recheck(name, since), "recheck")
        return now + interval


async def set_flow(node: Node, connection: Connection, command: m.Flow) -> m.Push:
    """Pause or resume a channel's deliveries; where it has history, what was paused follows."""
    name = command.channel
    channel = connection.subscriptions.get(name)
    if channel is None:
        raise NotSubscribed(f"not subscribed to {name!r}")
    position = node.streams.position(channel.qualified_name)
    follower = connection.followers.get(name)
    if command.paused:
        if follower is not None:
            connection.keep_paused(name, follower.stop())
        elif position is not None and name not in connection.paused:
            missing = catch_up.CatchUp(node, connection, channel, position)
            missing.close()
            connection.keep_paused(name, missing)
        connection.set_flow(name, paused=True)
    else:
        waiting = connection.take_paused(name)
        connection.set_flow(name, paused=False)
        if waiting is not None and (len(waiting) or waiting.cursor != position):
            catch_up.Follower(node, connection, waiting, promised=False).start()
        presence.tell_again(node, connection, channel)
    return m.FlowChanged(id=command.id, channel=name, paused=command.paused)
