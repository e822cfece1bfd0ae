"""Subscriptions without a task: what they wait for is a plain ``can_subscribe``, and the layer, or nothing.

Most clients subscribe as soon as they are welcomed, and a crowd arrives at once: the tasks would cost more
than what is done in them.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..access.revocation import Revocations
from ..channels import Channel
from ..errors import ConnectionClosed
from ..nodes.node import Node
from ..protocol import messages as m
from . import subscriptions
from .resume import keep_selection
from .rights import is_yes, resolve_subscriber
from .user_reader import USER_MAX_AGE_S, UserReader

if TYPE_CHECKING:
    from .connection import Connection


def subscribe(
    node: Node, connection: Connection, command: m.Subscribe
) -> m.Subscribed | Pending | None:
    """Subscribe a connection without a task, if that can be done.

    Returns:
        the reply, or the subscription that a hook or the layer has been asked about; None where nothing was
        done, because a hook is async, or a store has to be waited for.

    Raises:
        RealtimeError: as ``subscriptions.subscribe``.
    """
    connection.receipts.fresh = False
    if command.since is not None or command.presence or command.channel in connection.turns:
        return None
    if node.broker.inbox is None:  # the layer was not reached yet
        return None
    kind = node.routes.class_of(command.channel)
    if kind is not None and not _is_light(kind):  # before a channel is made of the name
        return None
    channel = resolve_subscriber(node, connection, command.channel, command.parameters)
    if channel.name in connection.subscriptions or not _is_light(type(channel)):
        return None
    pending = Pending(node, connection, channel, command)
    if not subscriptions.asks_hooks(type(channel)):
        return pending.judged(channel.can_subscribe(connection)) or pending
    since = node.clock.time() - USER_MAX_AGE_S
    if node.service(UserReader).has_to_read(connection, since):
        return None
    hook = node.context.around(connection.scope, channel.can_subscribe)
    verdict = node.hooks.start(hook, connection)
    if verdict is None:
        return None
    pending.ask(verdict)
    return pending


def _is_light(kind: type[Channel]) -> bool:
    """Whether a channel of this class needs no more than an answer of a plain method."""
    return (
        kind.kept() is None
        and not kind.overrides("on_subscribe")
        and not _is_async(kind.can_subscribe)
    )


@functools.lru_cache(maxsize=1_024)
def _is_async(method: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(method)


class Pending:
    """A subscription that waits for a hook in a thread, or for the layer; the connection's turn meanwhile.

    Call ``go_on`` whenever ``awaited`` is done, however it ended, until it returns the reply or raises.
    """

    __slots__ = (
        "_channel",
        "_command",
        "_connection",
        "_node",
        "_proceed",
        "_rechecks",
        "_turn",
        "awaited",
    )

    awaited: asyncio.Future[Any]

    def __init__(
        self, node: Node, connection: Connection, channel: Channel, command: m.Subscribe
    ) -> None:
        self._node = node
        self._connection = connection
        self._channel = channel
        self._command = command
        self._proceed: Callable[[], m.Subscribed | None]
        self._rechecks = node.service(Revocations).rechecks
        self._turn: subscriptions.turn | None = None

    def ask(self, verdict: asyncio.Future[Any]) -> None:
        """Wait for ``can_subscribe``, which a thread was asked; see ``HookRunner.start``."""
        self._wait(verdict, self._answered)

    def go_on(self) -> m.Subscribed | None:
        """Take what was waited for, and go on.

        Returns:
            the reply; None where there is something else to wait for.

        Raises:
            ConnectionClosed: the connection has ended meanwhile.
            asyncio.CancelledError: so was what was waited for.
            Exception: what the hook raised; otherwise as ``subscriptions.subscribe``.
        """
        reply: m.Subscribed | None = None
        waits = False
        try:
            reply = self._proceed()
            waits = reply is None
        finally:
            if not waits and self._turn is not None:
                self._turn.leave()
        return reply

    def judged(self, verdict: Any) -> m.Subscribed | None:
        """Do what ``can_subscribe`` says; returns and raises as ``go_on``."""
        node, connection, channel = self._node, self._connection, self._channel
        if connection.closed:
            raise ConnectionClosed
        if not is_yes(channel, "can_subscribe", verdict):
            raise subscriptions.refused(node, connection, channel)
        subscriptions.require_room(node, connection)
        joining = node.broker.begin_join(channel.qualified_name)
        if joining is None:
            return self._enter()
        connection.reserved += 1
        self._wait(joining, self._joined)
        return None

    def _wait(
        self, awaited: asyncio.Future[Any], proceed: Callable[[], m.Subscribed | None]
    ) -> None:
        self.awaited, self._proceed = awaited, proceed
        if self._turn is None:
            self._turn = subscriptions.turn(self._connection, self._channel.name)
            self._turn.take()

    def _answered(self) -> m.Subscribed | None:
        said = self._node.hooks.outcome(self.awaited)
        if not inspect.iscoroutine(said):
            return self.judged(said)
        # An async hook in a sync wrapper: a coroutine left here would count as a true verdict.
        hook = self._node.hooks.run(lambda: said)
        self._wait(asyncio.ensure_future(hook), lambda: self.judged(self.awaited.result()))
        return None

    def _joined(self) -> m.Subscribed:
        self._connection.reserved -= 1
        try:
            self.awaited.result()
            if self._connection.closed:
                raise ConnectionClosed
        except BaseException:
            self._node.broker.leave(self._channel.qualified_name)
            raise
        return self._enter()

    def _enter(self) -> m.Subscribed:
        """The process is in the channel's group, and the connection may be on the channel."""
        node, connection, channel = self._node, self._connection, self._channel
        key = channel.qualified_name
        node.delivers(key, type(channel))
        node.hub.add(key, connection, channel.subscriber_selection())
        subscriptions.begun(node, connection, channel)
        keep_selection(node, connection, self._command)
        if self._rechecks != node.service(Revocations).rechecks:
            # Rights may have changed between the question and the subscription being found.
            node.spawn(connection.recheck(channel.name), "recheck")
        return m.Subscribed(id=self._command.id, channel=channel.name)
