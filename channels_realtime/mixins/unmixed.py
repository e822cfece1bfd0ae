"""The connection of a consumer without mixins, behind ``AuthMiddleware``.

In: the ASGI events of one connection, which pass through unchanged. Out: a connection of the node from
its acceptance on, so that it is counted, shown in the admin, drained, and closed when its credentials
are revoked. Where something inside serves the handshake as a connection already (a mixin, or the
package's own consumer), nothing is done here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from channels.consumer import AsyncConsumer

from ..conversation.throttling import Rates
from ..endpoints.handshake import (
    Receive,
    Scope,
    SendEvent,
    start_behind,
    state_of,
)
from ..endpoints.websocket import ServerTask
from ..nodes.node import Node
from .transport import ConsumerOptions, ConsumerTransport

_OPTIONS = ConsumerOptions(says=frozenset(), rates=Rates())


class UnmixedTransport(ConsumerTransport):
    """The transport of such a connection.

    The consumer does not know that its credentials may be renewed, so they do not end it by expiring.
    """

    __slots__ = ("_application", "_consumer")

    ends_with_credentials = False

    def __init__(
        self, node: Node, scope: Scope, send: SendEvent, task: ServerTask, application: Any
    ) -> None:
        super().__init__(node, scope, send, task, None, _OPTIONS)
        self._application = application
        self._consumer = ""

    @property
    def consumer(self) -> str:  # type: ignore[override]  # a constant in the base class
        """The class of the consumer, found among the coroutines that the application awaits."""
        if not self._consumer:
            self._consumer = _consumer_in(self._application)
        return self._consumer

    def detach(self) -> None:
        """The connection is over."""
        super().detach()
        self._application = None


class UnmixedConnection:
    """One handshake behind the middleware, and the connection that may come of it."""

    def __init__(self, node: Node, scope: Scope, receive: Receive, send: SendEvent) -> None:
        self._node = node
        self._scope = scope
        self._receive = receive
        self._send = send
        self._transport: UnmixedTransport | None = None
        self._running: Any = None
        self._task: ServerTask | None = None

    async def serve(self, application: Callable[..., Awaitable[Any]]) -> None:
        """Run the application, as the server would."""
        current = asyncio.current_task()
        assert current is not None
        task = self._task = ServerTask(self._node, current, self._send)
        self._running = application(self._scope, self.receive, self.send)
        try:
            await self._running
        except asyncio.CancelledError:
            if task.dropped:
                current.uncancel()
                return
            if self._transport is None:
                raise
            # Daphne cancels its applications on SIGTERM: this one is over, and its client is still to be
            # told by the drain.
            task.resume_if_draining()
            await self._until_disconnected()
        finally:
            if self._transport is not None:
                self._transport.connection.finish()
                task.end()

    async def _until_disconnected(self) -> None:
        try:
            while (await self._receive())["type"] != "websocket.disconnect":
                pass
        except asyncio.CancelledError:
            if self._task is None or not self._task.dropped:
                raise

    async def receive(self) -> Any:
        """The server's ``receive``; a frame is counted."""
        event = await self._receive()
        transport = self._transport
        is_frame = event["type"] == "websocket.receive"
        if is_frame and transport is not None and not transport.connection.closed:
            text = event.get("text")
            transport.take((event.get("bytes") or b"") if text is None else text)
        return event

    async def send(self, event: dict[str, Any]) -> None:
        """The server's ``send``; the acceptance makes the connection known."""
        if (
            event["type"] == "websocket.accept"
            and not state_of(self._scope, self._node.config).is_served
        ):
            self._begin()
        await (self._send if self._transport is None else self._transport.send)(event)

    def _begin(self) -> None:
        node, scope = self._node, self._scope
        state = state_of(scope, node.config)
        state.is_served = True
        assert self._task is not None
        assert state.identified is not None
        self._transport = UnmixedTransport(node, scope, self._send, self._task, self._running)
        connection = self._transport.connect(scope)
        connection.begin()
        start_behind(node)
        found, read_at = state.identified
        if found is not None:
            connection.authenticated(found, read_at)


def _consumer_in(awaited: Any) -> str:
    """The class of the first Channels consumer that serves a coroutine; empty where there is none.

    A router does not say which consumer it has chosen, and any middleware may stand before it.
    """
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None)
        owner = None if frame is None else frame.f_locals.get("self")
        if isinstance(owner, AsyncConsumer):
            return f"{type(owner).__module__}.{type(owner).__qualname__}"
        awaited = getattr(awaited, "cr_await", None)
    return ""
