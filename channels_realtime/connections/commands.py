"""Serves a connection's commands: checks rights, runs the channel's hooks, makes the reply.

In: a command and the connection that sent it. Out: the push that answers it, or an exception of
``errors`` that names why not. The connection turns exceptions into ``error`` messages.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ..errors import BadPayload, Forbidden, UnknownMethod, Unsupported
from ..nodes.node import Node
from ..payload_types import UNTYPED, read, type_name
from ..protocol import messages as m
from . import at_once, history, inboxes, presence, publications, resume, subscriptions
from .publications import encodable
from .rights import (
    VERDICT,
    allowed,
    require_look,
    resolve,
    run_hook,
    warn_once,
)

if TYPE_CHECKING:
    from .connection import Connection


async def serve(node: Node, connection: Connection, command: m.Command) -> m.Push | None:
    """Serve one command.

    Returns:
        the reply, or None where success is not answered.

    Raises:
        RealtimeError: it is refused.
    """
    return await _HANDLERS[type(command)](node, connection, command)


def serve_at_once(
    node: Node, connection: Connection, command: m.Command
) -> tuple[bool, m.Push | at_once.Pending | None]:
    """Serve a command that needs no task.

    Returns:
        whether that is so, and the reply, or what it is waited for with; False where ``serve`` has to, and
        nothing was done.

    Raises:
        RealtimeError: it is refused.
    """
    if type(command) is m.Publish:
        return publications.publish_at_once(node, connection, command)
    if type(command) is m.Subscribe:
        begun = at_once.subscribe(node, connection, command)
        return begun is not None, begun
    return False, None


# -- publications and calls ------------------------------------------------------------------------


async def _call(node: Node, connection: Connection, command: m.Call) -> m.Push:
    if command.channel is None:
        raise UnknownMethod(f"no method {command.method!r} without a channel")
    channel = resolve(node, connection, command.channel)
    if channel.can_call is None:
        may = await allowed(node, channel, "can_subscribe", connection)
    else:
        may = await run_hook(node, connection, channel.can_call, command.method)
        if may is None:
            warn_once(channel, "can_call", VERDICT)
    if not may:
        raise Forbidden(f"not allowed to call methods of {channel.name!r}")
    attribute = channel.actions.get(command.method)
    if attribute is None:
        raise UnknownMethod(f"{channel.name!r} has no method {command.method!r}")
    types = channel.action_types(attribute)
    payload = command.payload
    if types.argument is not UNTYPED:
        payload = read(payload, types.argument)
    result = encodable(await run_hook(node, connection, getattr(channel, attribute), payload))
    if types.result is not UNTYPED:
        try:
            result = encodable(read(result, types.result))
        except BadPayload as error:
            raise TypeError(
                f"{attribute}() of {channel.name!r} returned what it does not declare: {error.reason}"
                f" (expected {type_name(types.result)})"
            ) from error
    return m.Result(id=command.id, channel=channel.name, payload=result)


# -- what comes with history and presence ----------------------------------------------------------


async def _acknowledge(node: Node, connection: Connection, command: m.Acknowledge) -> m.Push | None:
    known = resume.acknowledged(node, connection, command)
    channel = connection.subscriptions.get(command.channel)
    if channel is None:
        channel = resolve(node, connection, command.channel)
        await require_look(node, channel, connection)
    if channel.inbox:
        await inboxes.acknowledge(node, connection, channel, command.position)
    elif not known:
        raise Unsupported(f"{channel.name!r} keeps no inbox")
    return None if command.id is None else m.Acknowledged(id=command.id, channel=channel.name)


_HANDLERS: dict[type[m.Command], Callable[[Node, Connection, Any], Awaitable[m.Push | None]]] = {
    m.Subscribe: resume.subscribe,
    m.Unsubscribe: subscriptions.unsubscribe,
    m.Publish: publications.publish,
    m.Call: _call,
    m.Flow: subscriptions.set_flow,
    m.Acknowledge: _acknowledge,
    m.GetHistory: history.history,
    m.GetPresence: presence.presence,
    m.Resume: resume.resume,
}
