"""Presence of a connection on its channels: it is there while it is subscribed, and may watch.

In: a subscription that begins or ends, or a ``presence`` request. Out: the node's presence service
knows of it, and the reply has the members. Every subscriber of a channel with presence is a member;
those that asked for it are told who comes and goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..channels import Channel
from ..errors import ConnectionClosed, Unsupported
from ..nodes.node import Node
from ..nodes.presence import Presences
from ..protocol import messages as m
from .rights import require_look, resolve

if TYPE_CHECKING:
    from .connection import Connection


class Arrival:
    """A subscription that asks for presence: prepared before it is live, begun with the reply.

    Args:
        node: the connection's node.
        connection: the connection.
        channel: of a class with presence.
    """

    def __init__(self, node: Node, connection: Connection, channel: Channel) -> None:
        self._presences = node.service(Presences)
        self._connection = connection
        self._channel = channel
        self._members: m.Members | None = None

    async def prepare(self, *, first: bool) -> None:
        """Be a member, and have the others; the node is in the channel's group by now.

        Args:
            first: whether the connection has no other subscription to the channel.

        Raises:
            Unavailable: the presence store is away.
            ConnectionClosed: the connection has ended meanwhile.
        """
        presences, connection, channel = self._presences, self._connection, self._channel
        presences.enter(connection, channel)
        try:
            await presences.entered(connection, channel)
            if channel.presence is not None and channel.presence.announces:
                await presences.open(channel)
            else:
                self._members = await presences.members(channel)
            if connection.closed:
                self.abandon()
                raise ConnectionClosed
        except BaseException:
            if first:
                presences.leave(connection, channel)
            raise

    def abandon(self) -> None:
        """Nothing follows a ``prepare`` that went well."""
        if self._members is None:
            self._presences.close(self._channel)

    def begin(self) -> m.Members:
        """Tell it who comes and goes from now on, if the class announces that.

        Returns:
            who is there; what comes and goes after it is told.
        """
        if self._members is not None:
            return self._members
        return self._presences.watch(self._connection, self._channel)


def arrival(node: Node, connection: Connection, channel: Channel, asked: bool) -> Arrival | None:
    """What a subscription that asked for presence does; None where it did not, or there is none."""
    return Arrival(node, connection, channel) if asked and channel.presence is not None else None


def arrive(node: Node, connection: Connection, channel: Channel) -> None:
    """A connection is subscribed to a channel: it is a member, where the channel has any."""
    if channel.presence is not None:
        node.service(Presences).enter(connection, channel)


def depart(node: Node, connection: Connection, channel: Channel) -> None:
    """A subscription is over: nothing more of the channel's members is told."""
    if channel.presence is not None:
        presences = node.service(Presences)
        presences.unwatch(connection, channel)
        presences.leave(connection, channel)


def watches(node: Node, connection: Connection, channel: Channel) -> bool:
    """Whether a connection is told who comes and goes; for a session that is to be resumed."""
    return channel.presence is not None and node.service(Presences).watches(connection, channel)


def tell_again(node: Node, connection: Connection, channel: Channel) -> None:
    """Tell a connection who is there, after a pause in which it was not told of joins and leaves."""
    if watches(node, connection, channel):
        members = node.service(Presences).watched(channel)
        connection.notify(m.Subscribed(channel=channel.name, members=members))


async def presence(node: Node, connection: Connection, command: m.GetPresence) -> m.Push:
    """The handler of ``presence``: needs the right to subscribe, and no subscription."""
    channel = resolve(node, connection, command.channel)
    await require_look(node, channel, connection)
    if channel.presence is None:
        raise Unsupported(f"{channel.name!r} has no presence")
    members = await node.service(Presences).members(channel)
    return m.PresenceReply(id=command.id, channel=channel.name, members=members)
