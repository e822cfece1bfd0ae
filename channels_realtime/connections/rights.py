"""A channel's rights and hooks, asked for a connection."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..channels import Channel, UserChannel
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
