"""The runtime of one process's event loop: hub, broker, hooks, timers and the connections.

In: connections that come and go, publications from the broker. Out: deliveries. There is one node a
loop, made when the first connection arrives and found by ``current_node``; code in other threads
finds it by ``serving_node``.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import threading
import uuid
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from channels.layers import get_channel_layer
from django.core.exceptions import ImproperlyConfigured
from django.dispatch import Signal

from .. import signals
from ..access.blocks import Blocks
from ..access.limits import AccessLimits
from ..access.revocation import Revocations
from ..channels import Channel, ChannelRegistry
from ..channels import registry as default_registry
from ..config import Config
from ..conversation.outbox import Policy
from ..monitoring.metrics import MetricsRecorder
from ..monitoring.registry import Registry
from ..protocol.codes import CloseCode
from ..protocol.messages import Publication
from ..protocol.selection import ALL
from ..runtime.clock import Clock, SystemClock
from ..runtime.database import DatabaseThread
from ..runtime.hooks import HookRunner
from ..runtime.timers import Timers
from ..servers.shutdown import on_stop
from ..settings import get_config
from .broker import Broker
from .drain import Drain
from .hub import Hub

logger = logging.getLogger(__name__)


class Member(Protocol):
    """What the node knows of a connection."""

    id: str
    closed: bool

    def close(self, code: CloseCode, reason: str, *, retry_after: float | None = None) -> None: ...

    def drop(self) -> None: ...


ControlTaker = Callable[["Node", dict[str, Any]], None]
"""Takes the control messages of one kind that a node gets; must not block."""

_control_takers: dict[str, ControlTaker] = {}


_start_hooks: list[Callable[[Node], None]] = []


def at_start(hook: Callable[[Node], None]) -> Callable[[Node], None]:
    """Have ``hook(node)`` called when a node begins its work; for higher floors."""
    _start_hooks.append(hook)
    return hook


def takes_control(kind: str) -> Callable[[ControlTaker], ControlTaker]:
    """Have control messages of this kind taken by the decorated function; for higher floors."""

    def register(taker: ControlTaker) -> ControlTaker:
        _control_takers[kind] = taker
        return taker

    return register


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """A node's counters at one moment."""

    node_id: str
    connections: int
    channels: int
    published: int
    received: int
    delivered: int
    messages_in: int
    connected_total: int
    denied_origins: int
    rejoined: int
    refused: int
    revoked: int
    dropped: int
    slow: int
    throttled: int
    draining: bool


class Node:
    """Wires the parts of one process together.

    Args:
        config: the settings in force when the node was made.
        layer: the Channels layer.
        routes: to channel classes.
        clock: where the time comes from.
    """

    def __init__(
        self,
        config: Config,
        layer: Any,
        *,
        routes: ChannelRegistry | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.id = uuid.uuid4().hex
        self.config = config
        self.layer = layer
        self.loop = asyncio.get_running_loop()
        self.routes = default_registry if routes is None else routes
        self.clock = SystemClock() if clock is None else clock
        self.hub = Hub(self.clock.monotonic)
        self.timers = Timers(self.clock)
        self.hooks = HookRunner(
            threads=config.hook_threads,
            timeout=config.hook_timeout,
            max_concurrent=config.max_concurrent_hooks,
        )
        self.broker = Broker(
            layer,
            prefix=config.group_prefix,
            node_id=self.id,
            receiver=self,
            subscribe_timeout=config.subscribe_timeout,
            publish_timeout=config.publish_timeout,
            check_interval=config.layer_check_interval,
        )
        self.connections: dict[str, Member] = {}
        self.guard = Revocations(self)
        self.admission = AccessLimits(self)
        self.drain = Drain(config, self.connections)
        self.database = DatabaseThread(own_thread=config.hook_threads > 0)
        self.blocks = Blocks(self)
        self.registry = Registry(self)
        self.samples = MetricsRecorder(self)
        self._started = False
        self._forget_stop: Callable[[], None] | None = None
        self.published = 0
        self.connected_total = 0
        self.denied_origins = 0
        self.dropped = 0
        self.slow = 0
        self.throttled = 0
        self.messages_in = 0
        self.stopped = False
        self.started_at = self.clock.monotonic()
        self.pulse: Any = None  # of ``inspection``
        self.answerer: Any = None  # of ``questions``, once there is one
        self.traces: dict[str, Any] = {}  # of ``traces``, by connection
        self._special: dict[str, type[Channel]] = {}
        self._policy = Policy(config.slow_policy)
        self._tasks: set[asyncio.Task[Any]] = set()

    async def ready(self) -> None:
        """Be on the layer, with the revocations in force, before the first connection is let in.

        Raises:
            Unavailable: the layer did not answer.
        """
        if self._forget_stop is None and self.config.drain_on_stop:
            self._forget_stop = on_stop(self._begin_leaving)
        await self.broker.start()
        if not self._started:
            self._started = True
            for hook in _start_hooks:
                hook(self)
        await self.guard.ready()
        await self.blocks.ready()
        self.registry.start()
        self.samples.start()

    def _begin_leaving(self) -> asyncio.Task[None]:
        """The server is to stop: drain, and take the node's rows out of the registry."""
        # Begun at once: Daphne cancels its applications before a task would have its turn.
        return self.loop.create_task(self._leave(self.drain.begin()), name="realtime-leave")

    async def _leave(self, drained: asyncio.Task[None]) -> None:
        await drained
        await self.registry.stop()
        await self.samples.stop()

    # -- connections -------------------------------------------------------------------------------

    def add(self, connection: Member) -> None:
        """A connection was accepted."""
        self.connections[connection.id] = connection
        self.connected_total += 1
        self.registry.changed(connection.id)

    def remove(self, connection: Member) -> None:
        """A connection is gone."""
        self.connections.pop(connection.id, None)
        self.registry.changed(connection.id)

    def denied(self, scope: Any, reason: str) -> None:
        """A handshake or a credential was refused; ``reason`` as the signal has it."""
        self.samples.count_denial(reason)
        self.announce(signals.denied, scope=scope, reason=reason)

    def announce(self, signal: Signal, **arguments: Any) -> None:
        """Send one of ``signals`` to whoever listens, apart from the connection."""
        if signal.receivers:
            self.spawn(self._announce(signal, arguments), "a signal's receivers")

    async def _announce(self, signal: Signal, arguments: dict[str, Any]) -> None:
        for receiver, result in await signal.asend_robust(sender=self, **arguments):
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

    async def publish(self, publication: Publication) -> None:
        """Send a publication to every process that has a subscriber.

        Raises:
            Unavailable: the layer failed or did not take it in time.
        """
        await self.broker.publish(publication)
        self.published += 1

    def receive(self, publication: Publication, sent_at: float | None = None) -> None:
        """The broker's publications go to the local subscribers."""
        self._deliver(publication)
        if isinstance(sent_at, float):
            self.samples.observe_latency(max(0.0, self.clock.time() - sent_at))

    def _deliver(self, publication: Publication) -> None:
        special = self._special.get(publication.channel)
        if special is None:
            self.hub.deliver(publication, ALL, self._policy)
            return
        policy = self._policy if special.slow_policy is None else Policy(special.slow_policy)
        self.hub.deliver(publication, special.publication_selection(publication.payload), policy)

    def control(self, message: dict[str, Any]) -> None:
        """The broker's control messages, from any process."""
        kind = message.get("kind")
        if kind == "drain":
            if message.get("node") in (self.id, "all"):
                self.drain.begin()
        elif kind == "blocks":
            self.blocks.reload()
        elif kind in _control_takers:
            _control_takers[kind](self, message)
        else:
            self.guard.control(message)

    def delivers(self, name: str, channel_class: type[Channel]) -> None:
        """Remember what is special about delivering the channel ``name``."""
        if channel_class.select is not None or channel_class.slow_policy is not None:
            self._special[name] = channel_class

    def left(self, name: str) -> None:
        """A subscription of the channel ``name`` ended; forget what nobody needs."""
        if name not in self.hub:
            self._special.pop(name, None)
        self.broker.leave(name)

    # -- state and end -----------------------------------------------------------------------------

    def statistics(self) -> Statistics:
        """The counters now."""
        return Statistics(
            node_id=self.id,
            connections=len(self.connections),
            channels=len(self.hub),
            published=self.published,
            received=self.broker.received,
            delivered=self.hub.delivered,
            messages_in=self.messages_in,
            connected_total=self.connected_total,
            denied_origins=self.denied_origins,
            rejoined=self.broker.rejoined,
            refused=self.admission.refused,
            revoked=self.guard.revoked,
            dropped=self.dropped,
            slow=self.slow,
            throttled=self.throttled,
            draining=self.drain.begun,
        )

    async def stop(self) -> None:
        """Leave the layer and end the node's own tasks; for a server's shutdown and for tests."""
        self.stopped = True
        if self._forget_stop is not None:
            self._forget_stop()
        await self.registry.stop()
        await self.samples.stop()
        await self.blocks.stop()
        await self.guard.stop()
        await self.admission.stop()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.timers.close()
        await self.broker.stop()
        self.hooks.close()
        self.database.close()
        _nodes.pop(self.loop, None)


_nodes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Node] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def current_node() -> Node:
    """The node of the running event loop, made at its first use.

    Raises:
        ImproperlyConfigured: there is no such channel layer, or the settings are wrong.
    """
    loop = asyncio.get_running_loop()
    node = _nodes.get(loop)
    if node is None:
        config = get_config()
        layer = get_channel_layer(config.channel_layer)
        if layer is None:
            raise ImproperlyConfigured(
                f"CHANNEL_LAYERS has no {config.channel_layer!r}; events need a channel layer."
            )
        node = Node(config, layer)
        with _lock:
            _nodes[loop] = node
    return node


def serving_node() -> Node | None:
    """The node of a running loop of this process, from any thread; None where nothing is served."""
    with _lock:
        for loop, node in _nodes.items():
            if loop.is_running():
                return node
    return None


def _forget_nodes() -> None:
    global _lock
    _lock = threading.Lock()
    _nodes.clear()


if hasattr(os, "register_at_fork"):  # a child's event loops are not its parent's
    os.register_at_fork(after_in_child=_forget_nodes)
