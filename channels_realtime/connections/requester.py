"""What serving a command needs of its connection, and the channel's hooks run for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from ..channels import Channel, UserChannel
from ..client import Client
from ..conversation.throttling import TokenBucket
from ..errors import Forbidden
from ..nodes.hub import Subscriber
from ..nodes.node import Node
from ..protocol import messages as m
from ..protocol.codes import CloseCode, ErrorCode
from ..protocol.selection import Selection
from .receipts import Receipts
from .user_reader import UserHolder
from .writer import Writer

if TYPE_CHECKING:
    from .catch_up import CatchUp, Follower

logger = logging.getLogger(__name__)


class Requester(Client, Subscriber, UserHolder, Protocol):
    """What serving needs of a connection, in addition to what hooks and the hub need."""

    subscriptions: dict[str, Channel]
    """The channels it is on."""
    live_from: dict[tuple[str, Selection], m.Position]
    """Positions from which it is live on channels with history, by name and selection."""
    paused: dict[str, CatchUp]
    """What its client has not been written of the channels with history that it has paused."""
    followers: dict[str, Follower]
    """What writes what it has missed, by channel; it is silent there."""
    reserved: int
    """Subscriptions being made, which count towards the limit."""
    turns: dict[str, asyncio.Future[None]]
    """Channels that are being subscribed to; see ``subscriptions.turn``."""
    receipts: Receipts
    """What is kept for its session."""
    session_id: str
    """A secret of the client."""
    welcomed: bool
    """Whether it is open: its user is known, and its client may send."""

    @property
    def closed(self) -> bool: ...

    @property
    def takes_subscriptions(self) -> bool:
        """Whether the server can put it on channels."""
        ...

    async def recheck(self, channel: str | None = None, since: float | None = None) -> None: ...

    @property
    def selected(self) -> int:
        """Its subscriptions, each selection counted."""
        ...

    def hold_deliveries(self, reason: str) -> None:
        """Keep deliveries back, until they are released for this and every other reason."""
        ...

    def discard_queued(self, channel: str) -> None: ...

    def set_flow(self, channel: str, *, paused: bool) -> None: ...

    def silence(self, channel: str, *, silent: bool) -> None: ...

    def hand(self, publication: m.Publication) -> None: ...

    @property
    def writer(self) -> Writer: ...

    def close(self, code: CloseCode, reason: str) -> None: ...

    def log_exception(self, message: str) -> None: ...

    def notify(self, push: m.Push) -> bool: ...

    def publish_bucket(
        self, channel: Channel, *, transient: bool = False
    ) -> TokenBucket | None: ...


def resolve(node: Node, connection: Requester, name: str, parameters: Any = None) -> Channel:
    channel = node.routes.resolve(name, parameters)
    channel.namespace = connection.namespace
    return channel


async def run_hook(node: Node, connection: Client, hook: Callable[..., Any], *args: Any) -> Any:
    """Run a hook of a channel, in its connection's context."""
    return await node.hooks.run(node.context.around(connection.scope, hook), connection, *args)


async def allowed(node: Node, channel: Channel, right: str, connection: Client) -> bool:
    """Whether the channel's ``can_subscribe`` or ``can_publish`` lets the connection."""
    hook = getattr(channel, right)
    if not channel.overrides(right) or getattr(type(channel), right) in BUILT_IN:
        return bool(hook(connection))  # our own defaults never block: no thread for them
    verdict = await run_hook(node, connection, hook)
    if verdict is None:
        warn_once(channel, right, VERDICT)
    return bool(verdict)


async def require_look(node: Node, channel: Channel, connection: Client) -> None:
    """Refuse a client that may not subscribe what is read of a channel without a subscription.

    Raises:
        Forbidden: it may not subscribe.
    """
    if not await allowed(node, channel, "can_subscribe", connection):
        raise Forbidden(f"not allowed on {channel.name!r}")


VERDICT = "True or False; the client is refused"

_warned: set[tuple[type[Channel], str]] = set()


def warn_once(channel: Channel, hook: str, expected: str) -> None:
    """Log that a hook returned None where it has to return something: probably by mistake."""
    key = (type(channel), hook)
    if key not in _warned:
        _warned.add(key)
        name = f"{key[0].__module__}.{key[0].__qualname__}.{hook}"
        logger.warning("%s returned None; expected %s", name, expected)


NO_VERDICT = frozenset({ErrorCode.TIMEOUT, ErrorCode.UNAVAILABLE, ErrorCode.INTERNAL})
"""Failures of a hook itself, which say nothing about the right."""

BUILT_IN = frozenset({UserChannel.can_subscribe})
