"""Connections whose clients send by HTTP requests, which may reach any process.

A session id of theirs names its node, so that a request finds it without a look-up. Between processes
a session goes by its digest, since the id is a secret of the client.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from typing import Any, cast

from ..connections.connection import Connection
from ..identity import Identity
from ..nodes.member import Member
from ..nodes.node import Handler, Node, Service
from ..stores.sessions.base import identity_key, session_key

_BUSY_WAIT_S = 3.0
"""How long messages wait for a connection with handlers that are behind."""

_NODE_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)

TAKEN = "taken"
BUSY = "busy"
UNKNOWN = "unknown"


def routed_session_id(node_id: str) -> str:
    """A session id that names the node of its connection. It has 128 random bits, as every session id."""
    return f"{secrets.token_urlsafe(16)}.{node_id}"


def node_of_session(session_id: str) -> str | None:
    """The id of the node that a session id names; None where it names none."""
    node_id = session_id.rpartition(".")[2]
    return node_id if _NODE_ID.fullmatch(node_id) else None


class RoutedConnections(Service):
    """The connections of a node that requests find by their sessions."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self._by_key: dict[str, Connection] = {}

    def add(self, connection: Connection) -> None:
        """Give a connection a session id that requests find, before it is told any."""
        connection.session_id = routed_session_id(self._node.id)
        self._by_key[session_key(connection.session_id)] = connection

    def connection_ended(self, connection: Member) -> None:
        """Forget it; see ``Service``."""
        if self._by_key:
            self._by_key.pop(session_key(cast("Connection", connection).session_id), None)

    def find(self, key: str, identity: str, *, closed: bool = False) -> Connection | None:
        """The connection with a session, if it is this identity's.

        An anonymous connection's session is all that its client has to show, whatever user it names.

        Args:
            key: of the session.
            identity: who asks for it.
            closed: whether one that was closed counts, while it is still there.
        """
        connection = self._by_key.get(key)
        if connection is None or (connection.closed and not closed):
            return None
        owner = connection.identity
        if owner.is_anonymous or identity_key(owner, connection.namespace) == identity:
            return connection
        return None


def arguments_of(session_id: str, identity: Identity, namespace: str) -> dict[str, Any]:
    """What a request says of its session and of who sends it."""
    return {"session": session_key(session_id), "identity": identity_key(identity, namespace)}


# -- requests of other processes -------------------------------------------------------------------


async def take_messages(node: Node, arguments: dict[str, Any]) -> str:
    """Take messages of a client, a JSON array, as a frame of its connection."""
    connections = node.service(RoutedConnections)
    connection = connections.find(arguments["session"], arguments["identity"])
    if connection is None:
        return UNKNOWN
    if connection.saturated:
        try:
            async with asyncio.timeout(_BUSY_WAIT_S):
                await connection.readable()
        except TimeoutError:
            return BUSY
        if connection.closed:
            return UNKNOWN
    connection.receive(arguments["messages"])
    return TAKEN


HANDLERS: dict[str, Handler] = {"take_messages": take_messages}
