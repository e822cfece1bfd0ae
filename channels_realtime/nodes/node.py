"""The runtime of one process's event loop: hub, broker, hooks, timers and the connections.

In: connections that come and go, publications from the broker. Out: deliveries. There is one node for
each loop; ``services`` makes it when the first connection arrives and lists the parts that it runs.
Code in other threads finds it by ``serving_node``.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import functools
import logging
import os
import uuid
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

from django.dispatch import Signal

from .. import signals
from ..channels import Channel, ChannelRegistry
from ..channels import registry as default_routes
from ..config import Config
from ..errors import Unavailable
from ..namespaces import ConnectionContext
from ..protocol.frames import Policy
from ..protocol.messages import Position, Publication
from ..protocol.names import split_key
from ..protocol.selection import ALL
from ..runtime import loops
from ..runtime.clock import Clock
from ..runtime.database import DatabaseThread
from ..runtime.hooks import HookRunner
from ..runtime.tasks import end_tasks
from ..runtime.timers import Timers
from ..servers.shutdown import on_stop
from ..stores.history.base import HistoryStore
from ..stores.history.inboxes import InboxStore
from .breaker import is_failing
from .broker import Broker
from .deliveries import Deliveries
from .drain import Drain
from .hub import Hub
from .member import Member
from .metrics import Metrics
from .outgoing import SENT, Outcome, Outgoing, send
from .requests import Requests
from .stores import stores_of
from .streams import Streams

logger = logging.getLogger(__name__)

_STOP_TIMEOUT_S = 2.0
"""How long a server that stops waits for the node's last tasks."""


class Service:
    """A part that a node runs; ``services.SERVICES`` lists them in the order of their start.

    A service is made with its node, started before the first connection is let in, and stopped with
    the node, after a drain or for a test. Its database work runs in ``node.database``, or in
    ``node.background`` where it may take long.

    Args:
        node: the node that runs it.
    """

    def __init__(self, node: Node) -> None:
        self._node = node

    async def start(self) -> None:
        """Begin; connections wait for it. Does nothing where it has begun; raises nothing."""

    async def stop(self) -> None:
        """End its tasks. Does nothing where it was stopped or never started; raises nothing."""

    def connection_changed(self, connection_id: str) -> None:
        """A connection came, went, has another identity or other channels. Never waits."""

    def connection_ended(self, connection: Member) -> None:
        """A connection that was accepted has ended; all of it can still be read. Never waits."""

    def connection_renamed(self, connection: Member, previous: str) -> None:
        """A connection has resumed another, and has taken on its public id. Never waits.

        The other one, which may still be open on this node or another, has the same id until it ends.

        Args:
            connection: has its new id.
            previous: the id that it had until now.
        """


_Service = TypeVar("_Service", bound=Service)

Handler = Callable[["Node", dict[str, Any]], Any]
"""Serves one kind of request between nodes, on the node's loop: takes the node and the arguments,
returns what MessagePack can hold. A request may come twice, so doing it twice must do it once. A
normal function must not block; a coroutine function is awaited."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """A node's state and counters at one moment."""

    node_id: str
    connections: int
    channels: int
    draining: bool
    metrics: Metrics


class Node:
    """Wires the parts of one process together.

    Args:
        config: the settings in force when the node was made.
        layer: the Channels layer.
        services: the classes of the parts that it runs, in the order of their start.
        handlers: what it does when another process requests it, by the request's kind.
        routes: to channel classes; by default those that the apps registered.
        clock: where the time comes from.
        serves: False where it holds no connections, and does nothing at the request of others.
    """

    def __init__(
        self,
        config: Config,
        layer: Any,
        *,
        services: Iterable[type[Service]] = (),
        handlers: Mapping[str, Handler] | None = None,
        routes: ChannelRegistry | None = None,
        clock: Clock | None = None,
        serves: bool = True,
    ) -> None:
        self.id = uuid.uuid4().hex
        self.config = config
        self.layer = layer
        self.loop = asyncio.get_running_loop()
        self.routes = default_routes if routes is None else routes
        self.clock = Clock() if clock is None else clock
        self.metrics = Metrics()
        self.hub = Hub(self.metrics, self.clock.monotonic)
        self.deliveries = Deliveries()
        self.timers = Timers(self.clock)
        self.context = ConnectionContext(config)
        self.hooks = HookRunner(
            threads=config.hook_threads,
            timeout=config.hook_timeout,
            max_concurrent=config.max_concurrent_hooks,
        )
        # Of the same size and apart: hooks that are slow must not keep clients from being let in.
        self.authentication = HookRunner(
            threads=config.hook_threads,
            timeout=config.hook_timeout,
            max_concurrent=config.max_concurrent_hooks,
            name="authentication",
        )
        own_thread = config.hook_threads > 0
        self.database = DatabaseThread(own_thread=own_thread)
        # For what may take its time, as a cache that hangs: revocations are not to wait for it.
        self.background = DatabaseThread("background", own_thread=own_thread)
        self.broker = Broker(
            layer,
            prefix=config.group_prefix,
            node_id=self.id,
            receiver=self,
            metrics=self.metrics,
            subscribe_timeout=config.subscribe_timeout,
            publish_timeout=config.publish_timeout,
            check_interval=config.layer_check_interval,
        )
        self.streams = Streams(
            lambda: self.history,
            config,
            self.metrics,
            deliver=self._deliver,
            started_anew=self._started_anew,
        )
        self.connections: dict[str, Member] = {}
        self.drain = Drain(config, self.connections)
        self.requests = Requests(
            {kind: functools.partial(handler, self) for kind, handler in (handlers or {}).items()},
            node_id=self.id,
            layer=layer,
            config=config,
            spawn=self.spawn,
            serves=serves,
        )
        self.takes_presence: Callable[[Publication], None] | None = None
        """Takes changes of channels' members; the presence service sets it."""
        self.stopped = False
        self.started_at = self.clock.monotonic()
        self._special: dict[str, type[Channel]] = {}
        self._policy = Policy(config.slow_policy)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._starting: asyncio.Task[None] | None = None
        self._layer_failed = False
        self._forget_stop: Any = None
        self._services: dict[type[Service], Service] = {kind: kind(self) for kind in services}
        self._observers = self._services_with("connection_changed")
        self._end_observers = self._services_with("connection_ended")
        self._rename_observers = self._services_with("connection_renamed")
        self._superseded: set[Member] = set()  # their ids are others' now

    def _services_with(self, method: str) -> list[Service]:
        return [
            service
            for kind, service in self._services.items()
            if getattr(kind, method) is not getattr(Service, method)
        ]

    def service(self, kind: type[_Service]) -> _Service:
        """The node's one instance of a service class.

        Raises:
            KeyError: the node does not run it.
        """
        return cast(_Service, self._services[kind])

    async def ready(self) -> None:
        """Be on the layer, with every service started, before the first connection is let in.

        Raises:
            Unavailable: the layer did not answer.
        """
        starting = self._starting
        if starting is not None and starting.done() and self.broker.inbox is not None:
            return
        if self._forget_stop is None and self.config.drain_on_stop:
            self._forget_stop = on_stop(self._begin_leaving)
        await self._open_inbox()
        if self._starting is None:
            # The services outlive the connection that happens to be the first, so they run in a context
            # of their own: not in that client's trace, language or tenant.
            self._starting = self.loop.create_task(
                self._start(), name="realtime-start", context=contextvars.Context()
            )
        if not self._starting.done():
            await asyncio.shield(self._starting)

    async def _open_inbox(self) -> None:
        try:
            await self.broker.start()
        except Unavailable as error:
            if not self._layer_failed:
                self._layer_failed = True
                logger.error(
                    "The channel layer %r (%s) cannot be used: %s. Clients are told to try again"
                    " later. Check that its server runs, and its address in CHANNEL_LAYERS.",
                    self.config.channel_layer,
                    type(self.layer).__name__,
                    _cause_of(error),
                )
            raise
        if self._layer_failed:
            self._layer_failed = False
            logger.info("The channel layer can be used again")

    async def _start(self) -> None:
        for service in self._services.values():
            await service.start()

    def _begin_leaving(self) -> asyncio.Task[None]:
        """The server is to stop: drain, end the services, which clear what they wrote, and leave the layer."""
        # Begun at once: Daphne cancels its applications before a task would have its turn.
        return self.loop.create_task(self._leave(self.drain.begin()), name="realtime-leave")

    async def _leave(self, drained: asyncio.Task[None]) -> None:
        await drained
        await self._stop_services()
        try:  # what has begun, such as the receivers of signals, may end
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        except TimeoutError:
            logger.info("The node stops with %d tasks that have not ended", len(self._tasks))
        await self.broker.stop()  # a server without a lifespan ends now

    async def _stop_services(self) -> None:
        for service in reversed(self._services.values()):
            await service.stop()

    # -- connections -------------------------------------------------------------------------------

    def add(self, connection: Member) -> None:
        """A connection was accepted."""
        self.connections[connection.id] = connection
        self.metrics.connected += 1
        self.connection_changed(connection.id)

    def remove(self, connection: Member) -> None:
        """A connection is gone."""
        if self.connections.get(connection.id) is connection:
            del self.connections[connection.id]
        elif connection in self._superseded:
            self._superseded.discard(connection)
        else:
            return
        for service in self._end_observers:
            service.connection_ended(connection)
        self.connection_changed(connection.id)

    def rename(self, connection: Member, connection_id: str) -> None:
        """A connection takes on the public id of the one that it has resumed.

        The other one closes with 4409 where it is still open on this node; it keeps its id until then,
        and is no longer found by it.
        """
        previous = connection.id
        if previous == connection_id or self.connections.get(previous) is not connection:
            return
        superseded = self.connections.get(connection_id)
        if superseded is not None:
            self._superseded.add(superseded)
            superseded.replaced()
        del self.connections[previous]
        self.connections[connection_id] = connection
        connection.id = connection_id
        for service in self._rename_observers:
            service.connection_renamed(connection, previous)
        self.connection_changed(previous)
        self.connection_changed(connection_id)

    def connection_changed(self, connection_id: str) -> None:
        """Tell the services that a connection came, went, or is different now."""
        for service in self._observers:
            service.connection_changed(connection_id)

    def denied(self, scope: Any, reason: str) -> None:
        """A handshake or credentials were refused; ``reason`` as the signal has it."""
        self.metrics.count_denial(reason)
        self.announce(signals.denied, scope=scope, reason=reason)

    def announce(self, signal: Signal, **arguments: Any) -> None:
        """Send one of ``signals`` to its receivers, in a task of the node's."""
        if signal.receivers:
            self.spawn(self._announce(signal, arguments), "a signal's receivers")

    async def _announce(self, signal: Signal, arguments: dict[str, Any]) -> None:
        async def send() -> Any:
            return await signal.asend_robust(sender=self, **arguments)

        connection = arguments.get("connection")
        around = send if connection is None else self.context.around(connection.scope, send)
        # With a context, as an async hook: in a thread that no other receiver's schema is set on.
        sent = await (send() if around is send else self.hooks.run(around))
        for receiver, result in sent:
            if isinstance(result, Exception):
                logger.error("%r failed", receiver, exc_info=result)

    def spawn(self, coroutine: Any, name: str) -> None:
        """Run something that outlives a connection; the node owns the task and logs its failure."""
        task = self.loop.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("%s failed", task.get_name(), exc_info=task.exception())

    # -- publications ------------------------------------------------------------------------------

    async def publish(self, outgoing: Outgoing, *, timeout: float | None = None) -> Outcome:
        """Keep a publication where its channel has a history, and send it to every process.

        Args:
            outgoing: what to send.
            timeout: seconds that it may take; by default ``PUBLISH_TIMEOUT``.

        Raises:
            Conflict: its key or condition.
            Unavailable: the layer or the store failed, or did not take it in time.
        """
        limit = self.config.publish_timeout if timeout is None else timeout
        if outgoing.history is None:
            await self.broker.publish(outgoing.publication, limit)
            self.metrics.published += 1
            return SENT
        store = self.history
        try:
            outcome = await send(
                outgoing,
                store=store,
                config=self.config,
                forward=self.broker.publish,
                inboxes=None if outgoing.expectation is None else self.inboxes,
                timeout=limit,
            )
        except Unavailable:
            if is_failing(store):
                self.metrics.store_errors += 1
            raise
        if not outcome.duplicate:
            self.metrics.published += 1
        return outcome

    @property
    def history(self) -> HistoryStore:
        """The store of publications of its layer."""
        return stores_of(self.layer, self.config).history

    @property
    def inboxes(self) -> InboxStore:
        """The store of what users have acknowledged, of its layer."""
        return stores_of(self.layer, self.config).inboxes

    def receive(self, publication: Publication, sent_at: float | None = None) -> None:
        """The broker's publications go to the local subscribers."""
        if publication.kind:
            if self.takes_presence is not None:
                self.takes_presence(publication)
            return
        position = publication.position
        if position is None:
            self.streams.pass_on(publication)
        else:
            self.streams.take(publication, position)
        if isinstance(sent_at, float):
            self.metrics.observe_latency(max(0.0, self.clock.time() - sent_at))

    def _deliver(self, publication: Publication) -> None:
        special = self._special.get(publication.key)
        if special is None:
            self.hub.deliver(publication, ALL, self._policy)
            return
        policy = self._policy if special.slow_policy is None else Policy(special.slow_policy)
        selection = special.publication_selection(publication.payload)
        told = self.hub.deliver(publication, selection, policy)
        if special.count_deliveries:
            self.deliveries.note(publication.uid, told)

    def lost(self) -> None:
        """The broker may have lost publications."""
        self.streams.sync_soon()

    def _started_anew(self, key: str, position: Position) -> None:
        """Subscribers of a channel have missed something that cannot be had any more."""
        for subscriber in self.hub.subscribers(key):
            subscriber.started_anew(split_key(key)[1], position)

    def control(self, message: dict[str, Any]) -> None:
        """The broker's requests and answers, from any process."""
        self.requests.take(message)

    def delivers(self, name: str, channel_class: type[Channel]) -> None:
        """Remember what is special about delivering the channel ``name``."""
        if (
            channel_class.select is not None
            or channel_class.slow_policy is not None
            or channel_class.count_deliveries
        ):
            self._special[name] = channel_class

    def left(self, name: str) -> None:
        """A subscription of the channel ``name`` ended; forget what is not needed any more."""
        if name not in self.hub:
            self._special.pop(name, None)
        self.streams.close(name)
        self.broker.leave(name)

    # -- state and end -----------------------------------------------------------------------------

    def statistics(self) -> Statistics:
        """The state and the counters now."""
        return Statistics(
            node_id=self.id,
            connections=len(self.connections),
            channels=len(self.hub),
            draining=self.drain.begun,
            metrics=self.metrics.copy(),
        )

    async def stop(self) -> None:
        """Leave the layer and end the node's own tasks; for a server's shutdown and for tests."""
        self.stopped = True
        if self._forget_stop is not None:
            self._forget_stop()
        await end_tasks(self._starting)
        await self._stop_services()
        await end_tasks(*self._tasks)
        self.timers.close()
        await self.streams.stop()
        await self.broker.stop()
        self.hooks.close()
        self.authentication.close()
        self.database.close()
        self.background.close()
        self.requests.remove()
        if _nodes.get(self.loop) is self:
            loops.remove_serving_loop(self.loop)
            del _nodes[self.loop]


def _cause_of(error: Unavailable) -> str:
    """What an operator is told of a layer's failure; clients get the reason alone."""
    cause = error.__cause__
    if cause is None:
        return error.reason
    text = str(cause).rstrip(".")
    return f"{type(cause).__name__}: {text}" if text else type(cause).__name__


_nodes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Node] = weakref.WeakKeyDictionary()


def place(node: Node) -> None:
    """Make this the node of its loop: publications and requests of this process go through it."""
    _nodes[node.loop] = node
    node.requests.place()
    loops.add_serving_loop(node.loop)


def running_node() -> Node | None:
    """The node of the running event loop; None on a loop that serves no connections."""
    return _nodes.get(asyncio.get_running_loop())


def serving_node() -> Node | None:
    """The node of this process, from any thread; None where nothing is served."""
    loop = loops.serving_loop()
    return None if loop is None else _nodes.get(loop)


if hasattr(os, "register_at_fork"):  # a child's event loops are not its parent's
    os.register_at_fork(after_in_child=_nodes.clear)
