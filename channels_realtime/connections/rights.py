"""A channel's rights and hooks, asked for a connection."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..channels import Channel, UserChannel
from ..conversation.nothing import NOTHING
from ..errors import Forbidden
from ..hook_client import Client
from ..nodes.node import Node
from ..protocol.codes import ErrorCode

if TYPE_CHECKING:
    from .connection import Connection

logger = logging.getLogger(__name__)


def resolve(node: Node, connection: Connection, name: str, parameters: Any = None) -> Channel:
    channel = node.routes.resolve(name, parameters)
    channel.namespace = connection.namespace
    return channel


def resolve_subscriber(
    node: Node, connection: Connection, name: str, parameters: Any = None
) -> Channel:
    """The channel with a subscriber's parameters, of the type that its class declares.

    Raises:
        BadPayload: they are not of that type.
    """
    channel = resolve(node, connection, name, parameters)
    channel.read_parameters()
    return channel


async def run_hook(node: Node, connection: Client, hook: Callable[..., Any], *args: Any) -> Any:
    """Run a hook of a channel, in its connection's context."""
    return await node.hooks.run(node.context.around(connection.scope, hook), connection, *args)


async def allowed(node: Node, channel: Channel, right: str, connection: Client) -> bool:
    """Whether the channel's ``can_subscribe`` or ``can_publish`` lets the connection."""
    hook = getattr(channel, right)
    if not channel.overrides(right) or getattr(type(channel), right) in BUILT_IN:
        return bool(hook(connection))  # our own defaults never block: no thread for them
    return is_yes(channel, right, await run_hook(node, connection, hook))


def is_yes(channel: Channel, right: str, verdict: Any) -> bool:
    """What a hook that decides on a right has said."""
    if verdict is None:
        warn_once(channel, right, VERDICT)
    return bool(verdict)


class PublishRights:
    """Where a connection may publish without being asked about again; see ``Channel.permission_lifetime``.

    What could change the answer forgets it: new credentials, a user that was read again, a recheck, the
    end of a subscription. An answer that was on its way meanwhile is not kept either.
    """

    __slots__ = ("_until", "changes")

    def __init__(self) -> None:
        self._until: dict[str, float] = NOTHING  # in the order in which they were asked about
        self.changes = 0
        """Times that something was forgotten."""

    def holds(self, channel: str, now: float) -> bool:
        """Whether the connection may publish to the channel, as far as is known at ``now``."""
        until = self._until.get(channel)
        return until is not None and now < until

    def keep(self, channel: str, until: float, now: float) -> None:
        """Keep that it may until then, in monotonic seconds."""
        if not self._until:
            self._until = {}
        rights = self._until
        rights.pop(channel, None)
        while rights:
            oldest = next(iter(rights))
            if rights[oldest] > now and len(rights) < MAX_PUBLISH_RIGHTS:
                break
            del rights[oldest]
        rights[channel] = until

    def forget(self, channel: str | None = None) -> None:
        """Ask again about a channel, or about all."""
        self.changes += 1
        if channel in self._until:
            del self._until[channel]
        if channel is None or not self._until:
            self._until = NOTHING

    def __len__(self) -> int:
        return len(self._until)


MAX_PUBLISH_RIGHTS = 1_024
"""Channels that a connection's right to publish is kept of, some 200 bytes each."""


async def may_publish(node: Node, channel: Channel, connection: Connection) -> bool:
    """Ask whether the connection may publish to the channel; a yes is kept for as long as the class says."""
    lifetime = channel.permission_lifetime
    if not lifetime or not channel.overrides("can_publish"):
        return await allowed(node, channel, "can_publish", connection)
    rights = connection.publish_rights
    now = node.clock.monotonic()
    changes = rights.changes
    verdict = await allowed(node, channel, "can_publish", connection)
    if verdict and rights.changes == changes:
        rights.keep(channel.name, now + lifetime, now)
    return verdict


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
