"""What the mixins have in common: a consumer's place in the node, from its handshake to its end.

In: the ASGI events of one connection. Out: those that are the consumer's, in the order that Channels
dispatches them. Everything hangs on ``__call__`` and ``dispatch``, which are coroutines in Channels'
sync consumers as well; so nothing here is lost where a consumer overrides ``websocket_connect``,
``websocket_receive`` or ``websocket_disconnect``, and what a connection holds is freed whatever ends
it, a cancellation by the server included.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, ClassVar

from channels.consumer import AsyncConsumer
from channels.db import database_sync_to_async
from channels.exceptions import StopConsumer
from channels.utils import await_many_dispatch

from ..access.origins import refuse
from ..auth.base import Authenticated
from ..config import Config
from ..connections.consumer import ConsumerConnection, ConsumerOptions
from ..consumers import (
    ServerTask,
    close_blocked,
    opening,
    refuse_blocked,
    refuse_over_capacity,
)
from ..conversation.throttling import Rates
from ..errors import ConnectionClosed, ImproperUse, Unavailable
from ..middleware import from_scope, user_from_scope
from ..nodes.node import Node, current_node
from ..protocol import messages as m
from ..protocol.codes import CloseCode

DELIVERY = "realtime.delivery"
"""The type of the event that says that something waits for the consumer; it carries nothing."""

Receive = Callable[[], Awaitable[Any]]
SendEvent = Callable[[dict[str, Any]], Awaitable[None]]
Refusal = tuple[int, str, str]


class ConsumerMixin:
    """The base of the mixins; on its own it counts a consumer's connections and lets the node drain.

    A mixin stands before the consumer class: ``class Chat(HeartbeatMixin, AsyncWebsocketConsumer)``.
    The order of the mixins among themselves changes nothing: a handshake is refused before anything
    is looked at, credentials come before ``connect()``, limits before ``receive()``.
    """

    realtime: ConsumerConnection
    """The connection as the node knows it: ``id``, ``user``, ``identity``, ``close(…)`` and more."""

    says_closing: ClassVar[bool] = False
    """Whether the wire's ``closing`` (reason, ``retry_after``) is sent before the server closes."""

    _realtime_needs_layer: ClassVar[bool] = False
    _realtime_stream: _Stream
    _realtime_connected = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        mro = cls.__mro__
        for base in mro[: mro.index(ConsumerMixin)]:
            if issubclass(base, AsyncConsumer) and not issubclass(base, ConsumerMixin):
                raise ImproperUse(
                    f"{cls.__qualname__}: {base.__name__} stands before the mixins, which would do"
                    f" nothing; expected class {cls.__name__}(SomeMixin, {base.__name__})"
                )

    # -- ASGI --------------------------------------------------------------------------------------

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Receive, send: SendEvent
    ) -> None:
        """Serve one WebSocket from its handshake to its end.

        Raises:
            ImproperUse: this is no WebSocket, or there is no consumer behind the mixins.
        """
        name = type(self).__qualname__
        if not isinstance(self, AsyncConsumer):
            raise ImproperUse(f"{name} has no consumer of Channels' behind its mixins")
        if scope["type"] != "websocket":
            raise ImproperUse(f"the mixins of {name} serve websocket, got {scope['type']!r}")
        node = current_node()
        own_scope = dict(scope)
        refusal = self._realtime_refusal(node, own_scope)
        if refusal is not None:
            status, reason, body = refusal
            node.denied(own_scope, reason)
            await refuse(own_scope, receive, send, status, body)
            return
        connection = ConsumerConnection(
            node, own_scope, send, self, self._realtime_habits(node.config)
        )
        current = asyncio.current_task()
        assert current is not None
        task = ServerTask(node, current, send)
        stream = _Stream(receive, connection)
        connection.read_ahead = stream.read_ahead
        self.realtime = connection
        self._realtime_stream = stream
        connection.begin(task.drop)
        try:
            await self._realtime_serve(own_scope, task, connection.send)
        except asyncio.CancelledError:
            if not task.dropped:
                raise
            current.uncancel()
        finally:
            stream.stop()
            connection.finish()
            task.end()

    async def _realtime_serve(
        self, scope: dict[str, Any], task: ServerTask, send: SendEvent
    ) -> None:
        stream = self._realtime_stream
        try:
            await super().__call__(scope, stream.receive, send)  # type: ignore[misc]
            return
        except asyncio.CancelledError:
            if stream.disconnected:
                raise
            task.resume_if_draining()
        # Daphne cancelled it on SIGTERM, and the drain has not come to it yet: what Channels does.
        sources = [stream.receive]
        if hasattr(self, "channel_receive"):
            sources.append(self.channel_receive)
        try:
            await await_many_dispatch(sources, self.dispatch)
        except StopConsumer:
            return

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Channels' dispatch of one event to its handler, where the event is the consumer's."""
        connection = self.realtime
        connection.stop_clock()
        try:
            kind = message["type"]
            if kind == DELIVERY:
                await self._realtime_deliver()
            elif await self._realtime_judge(kind, message):
                await super().dispatch(message)  # type: ignore[misc]
        except ConnectionClosed:
            if not connection.closed:
                raise
        finally:
            connection.start_clock()

    async def _realtime_judge(self, kind: str, message: dict[str, Any]) -> bool:
        """Whether the consumer is to have this event."""
        connection = self.realtime
        if kind == "websocket.connect":
            self._realtime_connected = await self._realtime_open()
            return self._realtime_connected
        if kind == "websocket.receive":
            if connection.closed:
                return False
            text = message.get("text")
            over = connection.take(message["bytes"] if text is None else text)
            if over is not None:
                await self._realtime_throttled(over.limit, over.retry_after)
            return connection.passed
        if kind == "websocket.disconnect" and not self._realtime_connected:
            raise StopConsumer  # its connect() was never called
        return True

    async def _realtime_open(self) -> bool:
        """Find out whose the connection is; False where it was closed for that."""
        connection = self.realtime
        node = current_node()
        if not self._realtime_needs_layer:
            node.spawn(_start(node), "the node's start")
        with opening(node, connection):
            if self._realtime_needs_layer:
                await node.ready()
            if close_blocked(node, connection):
                return False
            found, read_at = await self._realtime_identify(node)
            if found is None or connection.authenticated(found, read_at):
                self._realtime_identified(node)
        return not connection.closed

    # -- what the mixins decide --------------------------------------------------------------------

    def _realtime_refusal(self, node: Node, scope: dict[str, Any]) -> Refusal | None:
        """Why the handshake is not accepted: HTTP status, reason, body."""
        return refuse_blocked(node, scope) or refuse_over_capacity(node, scope)

    def _realtime_habits(self, config: Config) -> ConsumerOptions:
        """How the connections of this class are used."""
        says = frozenset({m.Closing}) if self.says_closing else frozenset()
        return ConsumerOptions(says=says, rates=Rates())

    async def _realtime_identify(self, node: Node) -> tuple[Authenticated | None, float]:
        """Whose connection it is, and when that was read: here what a middleware has found."""
        scope: Mapping[str, Any] = self.realtime.scope
        known = from_scope(scope)
        if known is not None:
            return known
        read_at = node.clock.time()
        found = user_from_scope(scope)
        if found is None:
            return None, read_at
        # The site's middleware has looked at its proof just now; what was revoked before is its say.
        identity = dataclasses.replace(found.identity, proven_at=read_at)
        return dataclasses.replace(found, identity=identity), read_at

    def _realtime_identified(self, node: Node) -> None:
        """It is known whose the connection is; closing it is still possible."""

    async def _realtime_throttled(self, limit: str, retry_after: float) -> None:
        """A frame was over a limit, and the class answers that itself."""

    async def _realtime_deliver(self) -> None:
        """Something waits for the consumer."""

    async def _realtime_run(self, hook: Callable[..., Any], *args: Any) -> None:
        """Call a method of the consumer's, in its thread where it is a sync consumer."""
        if getattr(self, "_sync", False):
            await database_sync_to_async(hook)(*args)
            return
        result = hook(*args)
        if inspect.isawaitable(result):
            await result

    @classmethod
    def _realtime_overrides(cls, mixin: type, *hooks: str) -> bool:
        """Whether the class has one of these methods of its own."""
        return any(getattr(cls, hook) is not getattr(mixin, hook) for hook in hooks)

    @classmethod
    def _realtime_refuse_in_sync(cls, mixin: type, hook: str, why: str) -> None:
        if getattr(cls, "_sync", False) and cls._realtime_overrides(mixin, hook):
            raise ImproperUse(f"{cls.__qualname__} is a sync consumer and overrides {hook}: {why}")


class _Stream:
    """What the consumer reads: the server's events, and word of deliveries that wait for it.

    A publication that the consumer takes itself comes in between its other events, as Channels' own
    do: a consumer's handlers never run at the same time. Both sides get their turns.
    """

    def __init__(self, receive: Receive, connection: ConsumerConnection) -> None:
        self._receive = receive
        self._connection = connection
        self._reading: asyncio.Future[Any] | None = None
        self._clients_turn = False
        self.disconnected = False

    async def receive(self) -> Any:
        """The next event."""
        either = self._connection.takes_deliveries or self._reading is not None
        event = await (self._either() if either else self._receive())
        if event["type"] == "websocket.disconnect":
            self.disconnected = True
        return event

    def read_ahead(self) -> None:
        """Read one event while the consumer waits for its client to read: the answer to a ping.

        Channels reads nothing while a handler runs.
        """
        self._read().add_done_callback(self._arrived)

    def _arrived(self, reading: asyncio.Future[Any]) -> None:
        if reading.cancelled() or reading.exception() is not None:
            return
        if reading.result()["type"] == "websocket.receive":
            self._connection.arrived()

    def _read(self) -> asyncio.Future[Any]:
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._receive())
            self._reading.add_done_callback(_retrieve)
        return self._reading

    async def _either(self) -> Any:
        connection = self._connection
        reading = self._read()
        while True:
            delivery = connection.has_delivery
            if reading.done() and (self._clients_turn or not delivery):
                self._clients_turn = False
                self._reading = None
                return reading.result()
            if delivery:
                self._clients_turn = True
                return {"type": DELIVERY}
            await asyncio.wait([reading, connection.news()], return_when=asyncio.FIRST_COMPLETED)

    def stop(self) -> None:
        """Read no more."""
        if self._reading is not None:
            self._reading.cancel()


def _retrieve(reading: asyncio.Future[Any]) -> None:
    """Look at a read's error, though the consumer may have gone before it could."""
    if not reading.cancelled():
        reading.exception()


async def _start(node: Node) -> None:
    """Have the node hear of the server's end; a consumer without channels needs no layer for that."""
    try:
        await node.ready()
    except Unavailable:
        return  # the broker has logged it, and tries again with the next connection


def close_unauthenticated(connection: ConsumerConnection) -> None:
    """Nobody is proven, and that is not enough."""
    connection.close(CloseCode.UNAUTHENTICATED, "credentials are needed")
