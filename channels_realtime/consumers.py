"""The WebSocket endpoint: from an ASGI handshake to a connection.

``RealtimeConsumer`` and ``BareConsumer`` can be placed in anyone's routing like a Channels consumer
(``as_asgi()``). They are no ``AsyncConsumer``: that one takes a layer channel and several tasks a
connection, and crosses to a thread for every message. Here the server's own task reads, and nothing
else lives as long as the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from typing import Any

from .access.client_address import client_address
from .access.origins import OriginPolicy, check_origin, refuse
from .auth import sweep  # noqa: F401  # registers itself with the guard
from .auth.base import Authenticated, Handshake
from .auth.handshake import authenticate_handshake
from .auth.tokens import takes_tokens
from .connections.connection import CLOSE_GRACE_S, UNAVAILABLE_RETRY_S, Connection
from .errors import (
    ConnectionClosed,
    RealtimeError,
    TokenExpired,
    TokenInvalid,
    Unauthenticated,
    Unavailable,
)
from .middleware import from_scope, user_from_scope
from .monitoring import inspection, traces  # noqa: F401  # their answers register themselves
from .nodes.node import Node, current_node
from .protocol.codes import CloseCode, ErrorCode
from .protocol.dialects.bare import BareDialect
from .protocol.dialects.base import VERSION, Dialect
from .protocol.dialects.realtime import ENCODINGS, RealtimeDialect
from .protocol.names import is_name
from .protocol.subprotocols import Negotiation, negotiate
from .servers.abort import abort, abort_unless_taken
from .servers.daphne import FlowControl, flow_control, offer_compression

logger = logging.getLogger(__name__)

Receive = Callable[[], Awaitable[Any]]
SendEvent = Callable[[dict[str, Any]], Awaitable[None]]


class RealtimeConsumer:
    """Serves the wire protocol over a WebSocket: an ASGI application.

    The origin is checked here unless an ``OriginMiddleware`` has done so.
    """

    @classmethod
    def as_asgi(cls, **options: Any) -> Callable[..., Awaitable[None]]:
        """An ASGI application that makes a consumer for each connection, as Channels' consumers do."""

        async def application(scope: Any, receive: Receive, send: SendEvent) -> None:
            await cls(**options)(scope, receive, send)

        application.consumer_class = cls  # type: ignore[attr-defined]
        return application

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Receive, send: SendEvent
    ) -> None:
        """Serve one WebSocket from its handshake to its end."""
        if scope["type"] != "websocket":
            raise ValueError(f"{type(self).__name__} serves websocket, got {scope['type']!r}")
        scope = dict(scope)
        node = current_node()
        refusal = self.refusal(node, scope)
        if refusal is not None:
            status, reason, body = refusal
            node.denied(scope, reason)
            await refuse(scope, receive, send, status, body)
            return
        negotiation = negotiate(scope.get("subprotocols", ()), node.config.subprotocols)
        dialect = self.dialect(node, scope, negotiation)
        if dialect is None:
            await refuse(scope, receive, send, 404, "There is no such channel.\n")
            return
        event = await receive()
        if event["type"] != "websocket.connect":
            return
        accept: dict[str, Any] = {"type": "websocket.accept"}
        if negotiation.answer is not None:
            accept["subprotocol"] = negotiation.answer
        if node.config.daphne_compression:
            offer_compression(send)
        await send(accept)
        flow = flow_control(send)
        connection = Connection(node, scope, send if flow is None else flow.send, dialect)
        task = asyncio.current_task()
        assert task is not None
        reader = _Reader(node, task, send, flow)
        connection.begin(reader.drop)
        try:
            await reader.open(self.open(node, connection, negotiation))
            await reader.read(connection, receive)
        except asyncio.CancelledError:
            if not reader.dropped:
                raise
            task.uncancel()
        finally:
            connection.finish()
            reader.end()

    def refusal(self, node: Node, scope: MutableMapping[str, Any]) -> tuple[int, str, str] | None:
        """Why a handshake is not accepted: HTTP status, reason, body; None lets it go on."""
        return (
            refuse_origin(node, scope)
            or refuse_blocked(node, scope)
            or refuse_over_capacity(node, scope)
        )

    def dialect(
        self, node: Node, scope: Mapping[str, Any], negotiation: Negotiation
    ) -> Dialect | None:
        """How this connection writes and reads; None refuses it."""
        return RealtimeDialect(
            ENCODINGS[negotiation.codec.name],
            node.config.limits,
            batches=negotiation.negotiated,
            heartbeat=negotiation.heartbeat,
        )

    async def open(self, node: Node, connection: Connection, negotiation: Negotiation) -> None:
        """Find out whose the connection is, and greet it, ask for credentials, or close it."""
        if not negotiation.served:
            connection.close(CloseCode.VERSION, f"this server speaks version {VERSION} only")
            return
        with opening(node, connection):
            await node.ready()
            if close_blocked(node, connection):
                return
            found, read_at = await self.authenticate(node, connection.scope, negotiation)
            if found is not None and not connection.authenticated(found, read_at):
                return
            if connection.identity.is_anonymous and not node.config.allow_anonymous:
                self.refuse_anonymous(connection)
            else:
                await self.greet(node, connection)

    async def authenticate(
        self, node: Node, scope: Mapping[str, Any], negotiation: Negotiation
    ) -> tuple[Authenticated | None, float]:
        """Whose connection this is, and when that began to be read, in seconds since the epoch."""
        return await identify(node, scope, negotiation.token)

    def refuse_anonymous(self, connection: Connection) -> None:
        """Nobody is proven and that is not enough: ask for a first message, where it is taken."""
        config = current_node().config
        if config.first_message_auth and takes_tokens(config):
            connection.require_auth()
        else:
            connection.close(CloseCode.UNAUTHENTICATED, "credentials are needed")

    async def greet(self, node: Node, connection: Connection) -> None:
        """The connection has its identity."""
        await connection.welcome()


class BareConsumer(RealtimeConsumer):
    """Serves one channel whose frames are payloads.

    Args:
        channel: the channel's name; by default the URL route's parameter ``channel``, or what
            ``get_realtime_application`` found in the path.
    """

    def __init__(self, channel: str | None = None) -> None:
        self._channel = channel

    def dialect(
        self, node: Node, scope: Mapping[str, Any], negotiation: Negotiation
    ) -> Dialect | None:
        """The bare dialect on the channel of the path."""
        if self._channel is None:
            self._channel = scope.get("url_route", {}).get("kwargs", {}).get("channel")
        if not is_name(self._channel):
            return None
        assert self._channel is not None
        return BareDialect(self._channel, node.config.limits)

    def refuse_anonymous(self, connection: Connection) -> None:
        """There is no message here to authenticate with."""
        connection.close(CloseCode.UNAUTHENTICATED, "credentials are needed")

    async def greet(self, node: Node, connection: Connection) -> None:
        """Subscribe to the channel; there is nothing to say."""
        assert self._channel is not None
        connection.open_bare()
        try:
            await connection.subscribe_bare(self._channel)
        except Unavailable:
            raise
        except RealtimeError as error:
            internal = error.code == ErrorCode.INTERNAL
            code = CloseCode.INTERNAL if internal else CloseCode.BLOCKED
            connection.close(code, error.reason)


# -- what the mixins for other consumers share -----------------------------------------------------


def refuse_origin(
    node: Node, scope: MutableMapping[str, Any], policy: OriginPolicy | None = None
) -> tuple[int, str, str] | None:
    """Why a handshake of this origin is not accepted: HTTP status, reason, body; None lets it go on."""
    if check_origin(scope, policy):
        return None
    node.denied_origins += 1
    return 403, "origin", "This origin may not connect.\n"


def refuse_blocked(node: Node, scope: Mapping[str, Any]) -> tuple[int, str, str] | None:
    """Why a handshake from a blocked address is not accepted, as ``refuse_origin``."""
    blocks = node.blocks
    if blocks.empty or not blocks.blocks(None, client_address(scope, node.config)):
        return None
    return 403, "blocked", "This address is blocked.\n"


def close_blocked(node: Node, connection: Connection) -> bool:
    """Whether the connection is over before it began, as its address is blocked.

    For after ``node.ready``: the blocks may have been read while the handshake was under way, as the
    first of a process always is. Who comes later is found by whatever reads the blocks.
    """
    if not connection.closed and node.blocks.blocks(None, connection.client_address):
        node.denied(connection.scope, "blocked")
        connection.close(CloseCode.BLOCKED, "blocked")
    return connection.closed


def refuse_over_capacity(node: Node, scope: Mapping[str, Any]) -> tuple[int, str, str] | None:
    """Why a node that is full or going away does not accept a handshake, as ``refuse_origin``."""
    if node.drain.begun:
        return 503, "draining", "This server is going away.\n"
    refused = node.admission.handshake(client_address(scope, node.config))
    if refused is None:
        return None
    status, reason = refused
    return status, reason, "This server is full.\n" if status == 503 else "Too many.\n"


async def identify(
    node: Node, scope: Mapping[str, Any], token: str | None
) -> tuple[Authenticated | None, float]:
    """Whose handshake this is, and when that began to be read, in seconds since the epoch.

    Args:
        token: the one among its subprotocols, or None.
    """
    known = from_scope(scope)
    if known is not None:
        return known
    read_at = node.clock.time()
    found = await authenticate_handshake(Handshake(scope, node.config, token), node.hooks)
    return (user_from_scope(scope) if found is None else found), read_at


@contextlib.contextmanager
def opening(node: Node, connection: Connection) -> Iterator[None]:
    """Close the connection where finding out whose it is, or greeting it, fails in the block."""
    try:
        yield
    except ConnectionClosed:
        return  # revoked while it was being greeted: its close is on its way
    except (TokenExpired, TokenInvalid, Unauthenticated) as error:
        node.admission.failure(connection.client_address)
        node.denied(connection.scope, "credentials")
        connection.close(CloseCode.UNAUTHENTICATED, error.reason)
    except Unavailable as error:
        connection.close(CloseCode.GOING_AWAY, error.reason, retry_after=UNAVAILABLE_RETRY_S)
    except Exception:
        connection.log_exception("Opening failed")
        connection.close(CloseCode.INTERNAL, "internal error")


class ServerTask:
    """The server's own task, in which a connection lives, and what may end it.

    Args:
        node: the connection's.
        task: the task that serves it.
        send: the server's.
    """

    def __init__(self, node: Node, task: asyncio.Task[Any], send: SendEvent) -> None:
        self._node = node
        self._task = task
        self._send = send
        self.dropped = False

    def drop(self) -> None:
        """Stop reading: the client did not answer a close."""
        self.dropped = True
        self._task.cancel()

    def end(self) -> None:
        """The application returns; nothing of the connection may stay with the server."""
        if self.dropped:
            abort(self._send)
        else:
            abort_unless_taken(self._send, CLOSE_GRACE_S)

    def resume_if_draining(self) -> None:
        """A server that cancels while the node drains is let wait for the drain.

        Daphne cancels its applications on SIGTERM, before their clients could be told.
        """
        if self.dropped or not self._node.drain.begun:
            raise
        self._task.uncancel()


class _Reader(ServerTask):
    """Reads a connection's frames, until the client or the server ends it."""

    def __init__(
        self, node: Node, task: asyncio.Task[Any], send: SendEvent, flow: FlowControl | None
    ) -> None:
        super().__init__(node, task, send)
        self._flow = flow

    async def open(self, opening: Awaitable[None]) -> None:
        """Find out whose the connection is; what it sends meanwhile waits where it comes from."""
        try:
            await self._unread(opening)
        except asyncio.CancelledError:
            self.resume_if_draining()

    async def read(self, connection: Connection, receive: Receive) -> None:
        while True:
            try:
                if connection.saturated:  # let the handlers catch up
                    await self._unread(connection.readable())
                event = await receive()
            except asyncio.CancelledError:
                self.resume_if_draining()
                continue
            kind = event["type"]
            if kind == "websocket.receive":
                if not connection.closed:
                    text = event.get("text")
                    connection.receive(event["bytes"] if text is None else text)
            elif kind == "websocket.disconnect":
                return

    async def _unread(self, waiting: Awaitable[None]) -> None:
        """Wait without reading: the client's own writes come to a stop."""
        if self._flow is None:
            await waiting
            return
        self._flow.pause_reading()
        try:
            await waiting
        finally:
            self._flow.resume_reading()
