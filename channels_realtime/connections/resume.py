"""Resuming a session: ``resume``, the first request of a client that was here before.

In: the id of a session, and perhaps positions. Out: the connection has the subscriptions of the one that
the session was of, and its public id; that one closes with 4409, wherever it is. Every channel asks for
the right again, unless its class says otherwise and nothing was rechecked or revoked meanwhile.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from .. import signals
from ..access.revocation import Revocations
from ..errors import AlreadySubscribed, ConnectionClosed, Forbidden, RealtimeError, UnknownSession
from ..nodes.node import Node
from ..protocol import messages as m
from ..protocol.codes import ErrorCode
from ..runtime.hooks import translate
from ..stores.sessions.base import SavedSubscription, SessionRecord
from . import server_subscriptions, subscriptions
from .rights import resolve, resolve_subscriber
from .sessions import Sessions

if TYPE_CHECKING:
    from .connection import Connection

_AT_ONCE = 16
"""Channels of one session that are restored at once."""


async def resume(node: Node, connection: Connection, command: m.Resume) -> m.Push:
    """Restore a session.

    Raises:
        AlreadySubscribed: the client has subscribed, or resumed, before.
        UnknownSession: there is none with this id for this identity, it was resumed, is too old, or the
            credentials that it was made with were revoked.
        Unavailable: the store is away.
    """
    receipts = connection.receipts
    if not receipts.fresh:
        raise AlreadySubscribed("'resume' comes before any 'subscribe', and once")
    record = await node.service(Sessions).take(command.session_id, connection)
    if record is None or node.service(Revocations).revokes(record.identity):
        raise UnknownSession
    if connection.closed:
        raise ConnectionClosed
    receipts.fresh = False
    receipts.restoring = record.subscriptions
    previous = connection.id
    node.rename(connection, record.connection_id)
    node.metrics.resumed += 1
    node.announce(signals.resumed, connection=connection, replaced=previous)
    connection.hold_deliveries("resume")  # until what was missed has been written
    places = asyncio.Semaphore(_AT_ONCE)
    trusts = _trusts(node, connection, record)
    restored = await asyncio.gather(
        *(
            _restore(node, connection, saved, command.since.get(saved.channel), places, trusts)
            for saved in record.subscriptions
        )
    )
    if connection.closed:
        raise ConnectionClosed
    receipts.restoring = ()
    node.connection_changed(connection.id)
    channels = tuple(one for one in restored if isinstance(one, m.Subscribed))
    dropped = {one.channel: one.code for one in restored if isinstance(one, m.Unsubscribed)}
    known = {saved.channel for saved in record.subscriptions}
    dropped |= {name: ErrorCode.NOT_SUBSCRIBED for name in command.since if name not in known}
    return m.Resumed(
        id=command.id,
        session_id=connection.session_id,
        connection_id=connection.id,
        channels=channels,
        dropped={name: str(code) for name, code in dropped.items()},
    )


def _trusts(node: Node, connection: Connection, record: SessionRecord) -> bool:
    """Whether the rights that the record was saved with still hold, as far as this node knows."""
    revocations = node.service(Revocations)
    return record.trusted and not revocations.changed_since(record.saved_at, connection.identity)


async def _restore(
    node: Node,
    connection: Connection,
    saved: SavedSubscription,
    since: m.Position | None,
    places: asyncio.Semaphore,
    trusts: bool,
) -> m.Subscribed | m.Unsubscribed | None:
    """Restore one channel: what ``subscribed`` says of it, or why it was dropped."""
    async with places:
        try:
            return await _subscribe(node, connection, saved, since or saved.position, trusts)
        except ConnectionClosed:
            return None  # the whole connection is over
        except Exception as error:
            known = translate(error)
            if known is None:
                connection.log_exception(f"Resuming {saved.channel!r} failed")
                known = RealtimeError()
            return m.Unsubscribed(channel=saved.channel, code=known.code, reason=known.reason)


async def _subscribe(
    node: Node,
    connection: Connection,
    saved: SavedSubscription,
    since: m.Position | None,
    trusts: bool,
) -> m.Subscribed:
    name, granted_by = saved.channel, saved.granted_by
    by_operation = granted_by == server_subscriptions.OPERATION
    if granted_by and not by_operation and name not in connection.subscriptions:
        raise Forbidden(f"no longer on {name!r}")  # its class was asked at the welcome
    reply = m.Subscribed(channel=name)
    granted = by_operation
    authorise = not trusts or resolve(node, connection, name).reauthorize_on_resume
    for parameters in saved.selections:
        command = m.Subscribe(
            channel=name, parameters=parameters, since=since, presence=saved.presence
        )
        try:
            reply = await subscriptions.subscribe(
                node, connection, command, authorise=authorise and not granted
            )
        except AlreadySubscribed:  # its user's own channel, or an automatic one
            position = node.streams.position(connection.subscriptions[name].qualified_name)
            reply = m.Subscribed(channel=name, position=position)
        else:
            keep_selection(node, connection, command)
        granted = False  # only what the operation has made
    if by_operation:
        connection.subscriptions[name].granted_by = granted_by
        reply = msgspec.structs.replace(reply, automatic=True)
    return reply


# -- what a session is made of ---------------------------------------------------------------------


async def subscribe(node: Node, connection: Connection, command: m.Subscribe) -> m.Push:
    """Serve a client's ``subscribe``, and keep what its session needs of it."""
    connection.receipts.fresh = False
    reply = await subscriptions.subscribe(node, connection, command)
    keep_selection(node, connection, command)
    return reply


def keep_selection(node: Node, connection: Connection, command: m.Subscribe) -> None:
    channel = connection.subscriptions.get(command.channel)
    if channel is not None and channel.select is not None:
        asked = resolve_subscriber(node, connection, channel.name, command.parameters)
        selection = asked.subscriber_selection()
        connection.receipts.of(channel.name).selections[selection] = command.parameters
        node.connection_changed(connection.id)


def acknowledged(node: Node, connection: Connection, command: m.Acknowledge) -> bool:
    """Keep what a client says to have received, for a ``resume`` without positions.

    Returns:
        False where it is not on the channel, or the channel has no history.
    """
    channel = connection.subscriptions.get(command.channel)
    if channel is None or channel.kept() is None:
        return False
    newest = node.streams.position(channel.qualified_name)
    said = command.position
    may_be = newest is not None and said.epoch == newest.epoch and said.offset <= newest.offset
    if may_be and connection.receipts.received(channel.name, said):
        node.service(Sessions).positions_changed(connection)
    return True
