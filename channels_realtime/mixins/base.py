"""The base of the mixins: serves a site's own consumer as a connection of the node.

In: the ASGI events of one connection. Out: the events for the consumer, in the order in which
Channels dispatches them. The mixins override only ``__call__`` and ``dispatch``, which are coroutines
in Channels' sync consumers too. So they work where a consumer overrides ``websocket_connect``,
``websocket_receive`` or ``websocket_disconnect``, and everything is freed at the end, also when the
server cancels the application.
"""

from __future__ import annotations

import asyncio
import dis
import inspect
import itertools
from collections.abc import Callable
from types import FunctionType
from typing import Any, ClassVar

from channels.consumer import AsyncConsumer
from channels.db import database_sync_to_async
from channels.exceptions import StopConsumer
from channels.utils import await_many_dispatch

from ..auth.base import Authenticated
from ..config import Config
from ..connections.connection import Connection
from ..conversation.throttling import Rates
from ..endpoints.handshake import (
    Receive,
    Refusal,
    Scope,
    SendEvent,
    close_if_blocked,
    enter_namespace,
    identified_outside,
    opening,
    refusal,
    refuse,
    start_behind,
    state_of,
)
from ..endpoints.language import activate_language
from ..endpoints.websocket import ServerTask
from ..errors import ConnectionClosed, ImproperUse
from ..nodes.node import Node
from ..protocol import messages as m
from ..services import current_node
from .transport import ConsumerOptions, ConsumerTransport

DELIVERY = "realtime.delivery"
"""The type of the event for a delivery that waits for the consumer; it carries nothing else."""


class ConsumerMixin:
    """The base of the mixins; by itself it counts a consumer's connections and drains them.

    A mixin stands before the consumer class: ``class Chat(HeartbeatMixin, AsyncWebsocketConsumer)``.
    The order of the mixins does not matter: the origin and the process's room are checked first, then
    the credentials before ``connect()``, and the limits before ``receive()``.
    """

    realtime: Connection
    """The connection as the node sees it: ``id``, ``user``, ``identity``, ``close(…)`` and more."""

    says_closing: ClassVar[bool] = False
    """Whether the wire's ``closing`` (reason, ``retry_after``) is sent before the server closes."""

    _realtime_needs_layer: ClassVar[bool] = False
    _realtime_stream: _Stream
    _realtime_transport: ConsumerTransport
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

    @classmethod
    def as_asgi(cls, **initkwargs: Any) -> Any:
        """As a consumer's.

        Raises:
            ImproperUse: there is no consumer behind the mixins.
        """
        if not issubclass(cls, AsyncConsumer):
            raise ImproperUse(_without_consumer(cls))
        return super().as_asgi(**initkwargs)  # type: ignore[misc]

    # -- ASGI --------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: SendEvent) -> None:
        """Serve one WebSocket from its handshake to its end.

        Raises:
            ImproperUse: this is no WebSocket, or there is no consumer behind the mixins.
        """
        if not isinstance(self, AsyncConsumer):
            raise ImproperUse(_without_consumer(type(self)))
        if scope["type"] != "websocket":
            name = type(self).__qualname__
            raise ImproperUse(f"the mixins of {name} serve websocket, got {scope['type']!r}")
        node = current_node()
        own_scope = dict(scope)
        refused = self._realtime_refusal(node, own_scope)
        if refused is not None:
            await refuse(node, own_scope, receive, send, refused)
            return
        state_of(own_scope, node.config).is_served = True
        activate_language(own_scope)
        current = asyncio.current_task()
        assert current is not None
        task = ServerTask(node, current, send)
        transport = ConsumerTransport(
            node,
            own_scope,
            send,
            task,
            self,
            self._realtime_options(node.config),
        )
        connection = transport.connect(own_scope)
        stream = _Stream(receive, transport)
        transport.read_ahead = stream.read_ahead
        self.realtime = connection
        self._realtime_transport = transport
        self._realtime_stream = stream
        connection.begin()
        try:
            await self._realtime_serve(own_scope, task, transport.send)
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
        connection, transport = self.realtime, self._realtime_transport
        transport.stop_clock()
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
            transport.start_clock()

    async def _realtime_judge(self, kind: str, message: dict[str, Any]) -> bool:
        """Whether the consumer gets this event."""
        connection = self.realtime
        if kind == "websocket.connect":
            self._realtime_connected = await self._realtime_open()
            return self._realtime_connected
        if kind == "websocket.receive":
            if connection.closed:
                return False
            text = message.get("text")
            transport = self._realtime_transport
            exceeded = transport.take(message["bytes"] if text is None else text)
            if exceeded is not None:
                await self._realtime_throttled(exceeded.limit, exceeded.retry_after)
            if transport.was_heartbeat and text is not None:
                await self._realtime_heard(text)
            await connection.served()  # an `auth`: what comes after it waits
            return transport.passed
        if kind == "websocket.disconnect" and not self._realtime_connected:
            raise StopConsumer  # its connect() was never called
        return True

    async def _realtime_open(self) -> bool:
        """Identify the connection; False where it was closed for that."""
        connection = self.realtime
        node = current_node()
        if not self._realtime_needs_layer:
            start_behind(node)
        with opening(node, connection):
            if self._realtime_needs_layer:
                await node.ready()
            if close_if_blocked(node, connection):
                return False
            await enter_namespace(node, connection.scope)
            found, read_at = await self._realtime_identify(node)
            if found is None or connection.authenticated(found, read_at):
                self._realtime_identified(node)
            if not connection.closed:
                await connection.join_own_channel()
        return not connection.closed

    # -- what the mixins decide --------------------------------------------------------------------

    def _realtime_refusal(self, node: Node, scope: Scope) -> Refusal | None:
        """Why the handshake is not accepted."""
        return refusal(node, scope)

    def _realtime_options(self, config: Config) -> ConsumerOptions:
        """How the connections of this class are used."""
        says = frozenset({m.Closing}) if self.says_closing else frozenset()
        return ConsumerOptions(says=says, rates=Rates())

    async def _realtime_identify(self, node: Node) -> tuple[Authenticated | None, float]:
        """Whose connection it is, and when that was read: here what a middleware has found."""
        return identified_outside(node, self.realtime.scope)

    def _realtime_identified(self, node: Node) -> None:
        """The connection is identified; closing it is still possible."""

    async def _realtime_throttled(self, limit: str, retry_after: float) -> None:
        """A frame was over a limit, and the class answers that itself."""

    async def _realtime_heard(self, text: str) -> None:
        """A frame was the heartbeat's."""

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
    def _realtime_expect_async(cls, mixin: type, *hooks: str) -> None:
        """Refuse a hook of the wrong kind: Channels would not await it, or wait in its thread for nothing."""
        if not issubclass(cls, AsyncConsumer):
            return
        is_sync = bool(getattr(cls, "_sync", False))
        for hook in hooks:
            function = inspect.unwrap(getattr(cls, hook))
            if not inspect.isfunction(function) or not cls._realtime_overrides(mixin, hook):
                continue
            is_async = inspect.iscoroutinefunction(function)
            if is_async if is_sync else not is_async and _returns_nothing(function):
                kind, expected = ("a sync", "def") if is_sync else ("an async", "async def")
                raise ImproperUse(
                    f"{cls.__qualname__} is {kind} consumer; expected {expected} {hook}(…)"
                )

    @classmethod
    def _realtime_refuse_in_sync(cls, mixin: type, hook: str, why: str) -> None:
        if getattr(cls, "_sync", False) and cls._realtime_overrides(mixin, hook):
            raise ImproperUse(f"{cls.__qualname__} is a sync consumer and overrides {hook}: {why}")


class _Stream:
    """What the consumer reads: the server's events, and events for deliveries that wait for it.

    A publication that the consumer takes itself comes between its other events, as Channels' own
    messages do: a consumer's handlers never run at the same time. Both sources take turns.
    """

    def __init__(self, receive: Receive, transport: ConsumerTransport) -> None:
        self._receive = receive
        self._transport = transport
        self._reading: asyncio.Future[Any] | None = None
        self._clients_turn = False
        self.disconnected = False

    async def receive(self) -> Any:
        """The next event."""
        either = self._transport.takes_deliveries or self._reading is not None
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
            self._transport.arrived()

    def _read(self) -> asyncio.Future[Any]:
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._receive())
            self._reading.add_done_callback(_retrieve)
        return self._reading

    async def _either(self) -> Any:
        transport = self._transport
        reading = self._read()
        while True:
            delivery = transport.has_delivery
            if reading.done() and (self._clients_turn or not delivery):
                self._clients_turn = False
                self._reading = None
                return reading.result()
            if delivery:
                self._clients_turn = True
                return {"type": DELIVERY}
            await asyncio.wait([reading, transport.news()], return_when=asyncio.FIRST_COMPLETED)

    def stop(self) -> None:
        """Read no more."""
        if self._reading is not None:
            self._reading.cancel()


def _retrieve(reading: asyncio.Future[Any]) -> None:
    """Retrieve the exception so that asyncio does not warn about it."""
    if not reading.cancelled():
        reading.exception()


def _returns_nothing(function: FunctionType) -> bool:
    """Whether it can return None only, and so nothing to await; ``return self.send(…)`` is as good."""
    nothing = True
    for before, instruction in itertools.pairwise(dis.get_instructions(function)):
        if instruction.opname == "RETURN_VALUE":
            nothing = nothing and before.opname == "LOAD_CONST" and before.argval is None
        elif instruction.opname == "RETURN_CONST":  # of Python 3.12 and 3.13
            nothing = nothing and instruction.argval is None
    return nothing


def _without_consumer(cls: type) -> str:
    return (
        f"{cls.__qualname__} has no consumer of Channels' behind its mixins; expected"
        f" class {cls.__name__}(SomeMixin, AsyncWebsocketConsumer)"
    )
