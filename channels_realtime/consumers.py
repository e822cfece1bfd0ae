"""The consumers that serve the wire protocol, for a site's routing.

``RealtimeConsumer`` and ``BareConsumer`` can be placed in any routing like a Channels consumer
(``as_asgi()``); ``asgi.get_realtime_application`` places them by the settings.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from .auth.base import Handshake
from .auth.tokens import log_offer, takes_tokens
from .connections.connection import Connection
from .endpoints.handshake import (
    Receive,
    Refusal,
    SendEvent,
    begin,
    close_if_blocked,
    identify,
    opening,
    origin_refusal,
    refusal,
    refuse,
)
from .endpoints.language import activate_language
from .endpoints.websocket import (
    BARE_ENCODING,
    ENCODINGS,
    HTML_BARE_ENCODING,
    Reader,
    WebSocketApplication,
    WebSocketTransport,
)
from .errors import RealtimeError, Unavailable
from .nodes.node import Node
from .protocol.codes import CloseCode, ErrorCode
from .protocol.dialects.bare import BareDialect
from .protocol.dialects.base import VERSION, Dialect
from .protocol.dialects.realtime import RealtimeDialect
from .protocol.limits import Limits
from .protocol.names import is_name
from .protocol.subprotocols import Negotiation, negotiate
from .servers.daphne import flow_control, offer_compression
from .servers.frames import direct_write
from .services import current_node


class RealtimeConsumer(WebSocketApplication):
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

    async def _begin(
        self, scope: MutableMapping[str, Any], receive: Receive, send: SendEvent
    ) -> Reader | None:
        """Accept the handshake; None where it was refused."""
        if scope["type"] != "websocket":
            raise ValueError(f"{type(self).__name__} serves websocket, got {scope['type']!r}")
        given, scope = scope, dict(scope)
        node = current_node()
        state = begin(scope, node.config)
        refused = origin_refusal(node, scope) or refusal(node, scope)
        if refused is not None:
            await refuse(node, scope, receive, send, refused)
            return None
        activate_language(scope)
        offered = scope.get("subprotocols", ())
        negotiation = negotiate(offered, node.config.subprotocols)
        dialect = self.dialect(node, scope, negotiation)
        if dialect is None:
            await refuse(None, scope, receive, send, _NO_CHANNEL)
            return None
        state.is_served = True
        event = await receive()
        if event["type"] != "websocket.connect":
            return None
        accept: dict[str, Any] = {"type": "websocket.accept"}
        if negotiation.answer is not None:
            accept["subprotocol"] = negotiation.answer
        elif offered:
            log_offer(offered, node.config, "are not served: a browser closes its connection")
        if node.config.daphne_compression:
            offer_compression(send)
        await send(accept)
        flow = flow_control(send)
        task = asyncio.current_task()
        assert task is not None
        reader = Reader(node, task, send, flow)
        plain, limits = self.is_plain(negotiation), node.config.limits
        transport = WebSocketTransport(
            given,
            send if flow is None else flow.send,
            reader,
            max_frame_bytes=limits.max_plain_frame if plain else limits.max_frame,
            plain=plain,
            try_write=direct_write(scope, send),
        )
        connection = Connection(node, scope, state.address, transport, dialect)
        reader.begin(connection, self.open(node, connection, negotiation))
        return reader

    def is_plain(self, negotiation: Negotiation) -> bool:
        """Whether the client knows the RFC's close codes alone: it offered no protocol of ours."""
        return negotiation.served and not negotiation.negotiated

    def dialect(
        self, node: Node, scope: Mapping[str, Any], negotiation: Negotiation
    ) -> Dialect | None:
        """How this connection writes and reads; None refuses it."""
        return _dialect(
            negotiation.codec.name,
            node.config.limits,
            batches=negotiation.negotiated,
            heartbeat=negotiation.heartbeat,
        )

    async def open(self, node: Node, connection: Connection, negotiation: Negotiation) -> None:
        """Identify the connection, then greet it, ask for credentials, or close it."""
        if not negotiation.served:
            connection.close(CloseCode.VERSION, f"this server speaks version {VERSION} only")
            return
        scope = connection.scope
        with opening(node, connection):
            await node.ready()
            if close_if_blocked(node, connection):
                return
            found, read_at = await identify(node, scope, negotiation.token)
            if found is not None and not connection.authenticated(found, read_at):
                return
            if connection.identity.is_anonymous and not node.config.allow_anonymous:
                self.refuse_anonymous(connection)
            else:
                await self.greet(node, connection)

    def refuse_anonymous(self, connection: Connection) -> None:
        """The connection is anonymous and may not be: ask for a first message, where it is taken."""
        config = current_node().config
        if config.first_message_auth and takes_tokens(config):
            connection.require_auth()
        else:
            connection.close(CloseCode.UNAUTHENTICATED, "credentials are needed")

    async def greet(self, node: Node, connection: Connection) -> None:
        """The connection has its identity."""
        await connection.welcome()


@functools.cache
def _dialect(codec: str, limits: Limits, *, batches: bool, heartbeat: bool) -> RealtimeDialect:
    """One for all clients that speak alike: it has no state."""
    return RealtimeDialect(ENCODINGS[codec], limits, batches=batches, heartbeat=heartbeat)


class BareConsumer(RealtimeConsumer):
    """Serves one channel whose frames are payloads; with ``?format=html``, only its server-rendered HTML.

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
        encoding = BARE_ENCODING
        if Handshake(scope, node.config).query.get("format") == "html":
            encoding = HTML_BARE_ENCODING
        return BareDialect(encoding, self._channel, node.config.limits)

    def is_plain(self, negotiation: Negotiation) -> bool:
        """Every client is: nothing but payloads is sent here."""
        return True

    def refuse_anonymous(self, connection: Connection) -> None:
        """There is no message here to authenticate with."""
        connection.close(CloseCode.UNAUTHENTICATED, "credentials are needed")

    async def greet(self, node: Node, connection: Connection) -> None:
        """Subscribe to the channel; there is nothing to say."""
        assert self._channel is not None
        connection.open_silently()
        try:
            await connection.subscribe_bare(self._channel)
        except Unavailable:
            raise
        except RealtimeError as error:
            internal = error.code == ErrorCode.INTERNAL
            code = CloseCode.INTERNAL if internal else CloseCode.BLOCKED
            connection.close(code, error.reason)


_NO_CHANNEL = Refusal(404, "", "There is no such channel.\n")
