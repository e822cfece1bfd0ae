"""Serves a connection's commands: checks rights, runs the channel's hooks, makes the reply.

In: a command and the connection that sent it. Out: the push that answers it, or an exception of
``errors`` that names why not. The connection turns exceptions into ``error`` messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from .. import signals
from ..access.revocation import Revocations
from ..channels import RESERVED_EVENT_PREFIX, Channel, Client, UserChannel, user_channel_name
from ..conversation.throttling import TokenBucket
from ..errors import (
    AlreadySubscribed,
    BadPayload,
    ConnectionClosed,
    Forbidden,
    NotSubscribed,
    RateLimited,
    RealtimeError,
    TooLarge,
    TooManySubscriptions,
    Unavailable,
    UnknownMethod,
    Unsupported,
)
from ..nodes.hub import Subscriber
from ..nodes.node import Node
from ..protocol import messages as m
from ..protocol.codes import ErrorCode
from ..runtime.encoding import normalise_payload, payload_size
from ..runtime.hooks import translate
from .user_reader import USER_MAX_AGE_S, UserHolder, UserReader

logger = logging.getLogger(__name__)


class Requester(Client, Subscriber, UserHolder, Protocol):
    """What serving needs of a connection, in addition to what hooks and the hub need."""

    subscriptions: dict[str, Channel]
    """The channels it is on."""
    reserved: int
    """Subscriptions being made, which count towards the limit."""

    @property
    def closed(self) -> bool: ...

    @property
    def selected(self) -> int:
        """Its subscriptions, each selection counted."""
        ...

    def discard_queued(self, channel: str) -> None: ...

    def set_flow(self, channel: str, *, paused: bool) -> None: ...

    def log_exception(self, message: str) -> None: ...

    def notify(self, push: m.Push) -> bool: ...

    def publish_bucket(self, channel: Channel) -> TokenBucket | None: ...


async def serve(node: Node, connection: Requester, command: m.Command) -> m.Push | None:
    """Serve one command.

    Returns:
        the reply, or None where success is not answered.

    Raises:
        RealtimeError: it is refused.
    """
    return await _HANDLERS[type(command)](node, connection, command)


async def subscribe_automatically(
    node: Node, connection: Requester
) -> dict[str, m.Position | None]:
    """Put a user's connection on the user's own channel.

    Returns:
        the channels it is on from the start, with their positions.

    Raises:
        Unavailable: the layer did not answer.
    """
    if connection.user_id is None:
        return {}
    name = user_channel_name(connection.user_id)
    channel = _resolve(node, connection, name)
    await _join(node, connection, channel, hooks=False)
    return {name: None}


async def end_subscriptions(node: Node, connection: Requester) -> None:
    """Take a connection off all its channels at once, then run their ``on_unsubscribe`` hooks."""
    channels = list(connection.subscriptions.values())
    connection.subscriptions.clear()
    for channel in channels:
        if node.hub.remove(channel.qualified_name, connection):
            node.left(channel.qualified_name)
        node.announce(signals.unsubscribed, connection=connection, channel=channel.name)
    for channel in channels:
        await _after_unsubscribe(node, connection, channel)


def _resolve(node: Node, connection: Requester, name: str, parameters: Any = None) -> Channel:
    channel = node.routes.resolve(name, parameters)
    channel.namespace = connection.namespace
    return channel


# -- subscriptions ---------------------------------------------------------------------------------


async def _subscribe(node: Node, connection: Requester, command: m.Subscribe) -> m.Push:
    channel = _resolve(node, connection, command.channel, command.parameters)
    selection = channel.subscriber_selection()
    if selection in node.hub.selections(channel.qualified_name, connection):
        if command.since is None:
            raise AlreadySubscribed(f"already subscribed to {channel.name!r}")
    else:
        rechecks = node.service(Revocations).rechecks
        if _asks_hooks(channel):
            since = node.clock.time() - USER_MAX_AGE_S
            await node.service(UserReader).refresh(connection, since)
        await _require_subscribe(node, connection, channel)
        await _join(node, connection, channel, hooks=True)
        if rechecks != node.service(Revocations).rechecks:
            # Rights may have changed between the question and the subscription being found.
            node.spawn(recheck(node, connection, channel.name), "recheck")
    return m.Subscribed(
        id=command.id,
        channel=channel.name,
        recovered=None if command.since is None else False,
    )


async def _require_subscribe(node: Node, connection: Requester, channel: Channel) -> None:
    if not await allowed(node, channel, "can_subscribe", connection):
        raise Forbidden(f"not allowed to subscribe to {channel.name!r}")


async def _join(node: Node, connection: Requester, channel: Channel, *, hooks: bool) -> None:
    name = channel.name
    limit = node.config.max_subscriptions
    # Whoever signs in on a full connection still gets the channel that is the user's own.
    if hooks and connection.selected + connection.reserved >= limit:
        raise TooManySubscriptions(f"this connection holds all the {limit} subscriptions it may")
    selection = channel.subscriber_selection()
    first = name not in connection.subscriptions
    connection.reserved += 1
    try:
        if first:
            await node.broker.join(channel.qualified_name)
        try:
            if hooks and first and channel.overrides("on_subscribe"):
                await _run_on_subscribe(node, connection, channel)
            if connection.closed:
                raise ConnectionClosed
        except BaseException:
            if first:
                node.broker.leave(channel.qualified_name)
            raise
    finally:
        connection.reserved -= 1
    # No await from here to the reply: what is delivered from now on follows it.
    node.delivers(channel.qualified_name, type(channel))
    node.hub.add(channel.qualified_name, connection, selection)
    if first:
        connection.subscriptions[name] = channel
        node.connection_changed(connection.id)
        node.announce(signals.subscribed, connection=connection, channel=name)
        if channel.recheck_interval is not None:
            at = node.clock.monotonic() + channel.recheck_interval
            node.timers.set(_Recheck(node, connection, channel), at)


async def _run_on_subscribe(node: Node, connection: Requester, channel: Channel) -> None:
    """Run the hook to its end; if the connection ends meanwhile, run ``on_unsubscribe`` after it."""
    running = asyncio.ensure_future(_run(node, connection, channel.on_subscribe))

    async def undo() -> None:
        try:
            await running
        except Exception:
            connection.log_exception(f"on_subscribe of {channel.name!r} failed")
            return
        await _after_unsubscribe(node, connection, channel)

    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        node.spawn(undo(), "on_unsubscribe")
        raise
    if connection.closed:
        node.spawn(undo(), "on_unsubscribe")


async def _unsubscribe(node: Node, connection: Requester, command: m.Unsubscribe) -> m.Push:
    name = command.channel
    channel = connection.subscriptions.get(name)
    if channel is None:
        raise NotSubscribed(f"not subscribed to {name!r}")
    if command.parameters is not None and channel.select is not None:
        selection = _resolve(node, connection, name, command.parameters).subscriber_selection()
        if selection not in node.hub.selections(channel.qualified_name, connection):
            raise NotSubscribed(f"not subscribed to {name!r} with these parameters")
        last = node.hub.remove_selection(channel.qualified_name, connection, selection)
    else:
        node.hub.remove(channel.qualified_name, connection)
        last = True
    if last:
        _forget_subscription(node, connection, channel)
    return m.Unsubscribed(id=command.id, channel=name)


async def _after_unsubscribe(node: Node, connection: Requester, channel: Channel) -> None:
    if channel.overrides("on_unsubscribe"):
        try:
            await _run(node, connection, channel.on_unsubscribe)
        except asyncio.CancelledError:
            raise
        except Exception:
            connection.log_exception(f"on_unsubscribe of {channel.name!r} failed")


def _asks_hooks(channel: Channel) -> bool:
    """Whether the site's code decides on a subscription, or is told of it."""
    decides = channel.overrides("can_subscribe") and type(channel).can_subscribe not in _BUILT_IN
    return decides or channel.overrides("on_subscribe")


async def read_user(node: Node, connection: Requester, name: str | None, since: float) -> None:
    """Read the connection's user again, if a hook is to be asked about its channels, or about ``name``.

    Where it cannot be read, nothing is raised: ``recheck`` tries again, and ends nothing.
    """
    names = connection.subscriptions if name is None else (name,)
    channels = [connection.subscriptions.get(name) for name in names]
    if any(channel is not None and _asks_hooks(channel) for channel in channels):
        connection.user_read_at = 0.0
        with contextlib.suppress(Unavailable):
            await node.service(UserReader).refresh(connection, since)


async def recheck(
    node: Node, connection: Requester, name: str | None = None, since: float | None = None
) -> None:
    """Check again whether the connection may be on its channels, or on ``name``; end what it may not.

    A hook that fails for a reason of its own, such as a database that is away, ends nothing.

    Args:
        node: the connection's node.
        connection: the connection.
        name: check this channel only.
        since: how old the connection's user may be; by default it is read again.
    """
    if since is None:
        since = node.clock.time()
        connection.user_read_at = 0.0
    names = list(connection.subscriptions) if name is None else [name]
    for name in names:
        channel = connection.subscriptions.get(name)
        if channel is None:
            continue
        try:
            if _asks_hooks(channel):
                await node.service(UserReader).refresh(connection, since)
            if await allowed(node, channel, "can_subscribe", connection):
                continue
            refusal: RealtimeError = Forbidden(f"no longer allowed on {name!r}")
        except asyncio.CancelledError:
            raise
        except Exception as error:
            known = translate(error)
            if known is None or known.code in _NO_VERDICT:
                connection.log_exception(f"can_subscribe of {name!r} failed")
                continue
            refusal = known
        if connection.subscriptions.get(name) is channel:
            take_away(node, connection, channel, refusal)


def take_away(node: Node, connection: Requester, channel: Channel, refusal: RealtimeError) -> None:
    """End a subscription from the server's side; nothing of the channel is sent after it."""
    node.hub.remove(channel.qualified_name, connection)
    _forget_subscription(node, connection, channel)
    connection.notify(
        m.Unsubscribed(channel=channel.name, code=refusal.code, reason=refusal.reason)
    )


def _forget_subscription(node: Node, connection: Requester, channel: Channel) -> None:
    del connection.subscriptions[channel.name]
    node.connection_changed(connection.id)
    connection.set_flow(channel.name, paused=False)
    connection.discard_queued(channel.name)
    node.left(channel.qualified_name)
    node.announce(signals.unsubscribed, connection=connection, channel=channel.name)
    if channel.overrides("on_unsubscribe"):
        # The subscription is over whatever the hook does, and the client need not wait for it.
        node.spawn(_after_unsubscribe(node, connection, channel), "on_unsubscribe")


_SHARED_S = 1.0


class _Recheck:
    """Checks a subscription's right again at the interval that its channel class sets."""

    def __init__(self, node: Node, connection: Requester, channel: Channel) -> None:
        self._node = node
        self._connection = connection
        self._channel = channel

    def due(self, now: float) -> float | None:
        """The timers' call; see ``timers.Timed``."""
        name = self._channel.name
        interval = self._channel.recheck_interval
        if interval is None or self._connection.subscriptions.get(name) is not self._channel:
            return None
        # Those of a connection that are due together share one reading of its user.
        since = self._node.clock.time() - min(_SHARED_S, interval / 2)
        self._node.spawn(recheck(self._node, self._connection, name, since), "recheck")
        return now + interval


async def _flow(node: Node, connection: Requester, command: m.Flow) -> m.Push:
    if command.channel not in connection.subscriptions:
        raise NotSubscribed(f"not subscribed to {command.channel!r}")
    connection.set_flow(command.channel, paused=command.paused)
    return m.FlowChanged(id=command.id, channel=command.channel, paused=command.paused)


# -- publications and calls ------------------------------------------------------------------------


async def _publish(node: Node, connection: Requester, command: m.Publish) -> m.Push | None:
    channel = _resolve(node, connection, command.channel)
    event = command.event
    if not await allowed(node, channel, "can_publish", connection):
        raise Forbidden(f"not allowed to publish to {channel.name!r}")
    if event is not None and (
        event.startswith(RESERVED_EVENT_PREFIX) or event not in channel.client_events
    ):
        raise Forbidden(f"clients may not publish the event {event!r} to {channel.name!r}")
    _limit_publish(node, connection, channel, command.payload)
    payload = command.payload
    if channel.overrides("on_publish"):
        given = payload
        payload = _encodable(await _run(node, connection, channel.on_publish, given, event))
        if payload is None and given is not None:
            _warn_once(channel, "on_publish", "the payload to publish; null is published")
    if channel.overrides("sender"):
        sender = _encodable(await _run(node, connection, channel.sender))
    else:
        sender = channel.sender(connection)
    await node.publish(
        m.Publication(
            channel=channel.name,
            payload=payload,
            event=event,
            sender=sender,
            namespace=channel.namespace,
        )
    )
    return None if command.id is None else m.Published(id=command.id, channel=channel.name)


def _limit_publish(node: Node, connection: Requester, channel: Channel, payload: Any) -> None:
    """The channel class's own limits on what a client publishes."""
    if channel.max_payload_bytes is not None:
        size = payload_size(payload)
        if size > channel.max_payload_bytes:
            raise TooLarge(
                f"a payload of {size} bytes; {channel.name!r} takes {channel.max_payload_bytes}"
            )
    bucket = connection.publish_bucket(channel)
    if bucket is not None:
        retry_after = bucket.take(1.0, node.clock.monotonic())
        if retry_after is not None:
            raise RateLimited(
                f"too many publications to {channel.name!r}", retry_after=round(retry_after, 3)
            )


async def _call(node: Node, connection: Requester, command: m.Call) -> m.Push:
    if command.channel is None:
        raise UnknownMethod(f"no method {command.method!r} without a channel")
    channel = _resolve(node, connection, command.channel)
    if channel.can_call is None:
        may = await allowed(node, channel, "can_subscribe", connection)
    else:
        may = await _run(node, connection, channel.can_call, command.method)
        if may is None:
            _warn_once(channel, "can_call", _VERDICT)
    if not may:
        raise Forbidden(f"not allowed to call methods of {channel.name!r}")
    attribute = channel.actions.get(command.method)
    if attribute is None:
        raise UnknownMethod(f"{channel.name!r} has no method {command.method!r}")
    result = await _run(node, connection, getattr(channel, attribute), command.payload)
    return m.Result(id=command.id, channel=channel.name, payload=_encodable(result))


def _encodable(returned: Any) -> Any:
    """A hook's return value in JSON types; a value that cannot be converted is the site's mistake."""
    try:
        return normalise_payload(returned)
    except BadPayload as error:
        raise TypeError(f"a hook returned what cannot be encoded: {error.reason}") from error


# -- what comes with history and presence ----------------------------------------------------------


async def _history(node: Node, connection: Requester, command: m.GetHistory) -> m.Push:
    channel = _resolve(node, connection, command.channel)
    await _may_look(node, channel, connection)
    raise Unsupported(f"{channel.name!r} keeps no history")


async def _presence(node: Node, connection: Requester, command: m.GetPresence) -> m.Push:
    channel = _resolve(node, connection, command.channel)
    await _may_look(node, channel, connection)
    raise Unsupported(f"{channel.name!r} has no presence")


async def _may_look(node: Node, channel: Channel, connection: Requester) -> None:
    if not await allowed(node, channel, "can_subscribe", connection):
        raise Forbidden(f"not allowed on {channel.name!r}")


async def _resume(node: Node, connection: Requester, command: m.Resume) -> m.Push:
    raise RealtimeError("no such session; subscribe anew", code=ErrorCode.UNKNOWN_SESSION)


async def _run(node: Node, connection: Client, hook: Callable[..., Any], *args: Any) -> Any:
    """Run a hook of a channel, in its connection's context."""
    return await node.hooks.run(node.context.around(connection.scope, hook), connection, *args)


async def allowed(node: Node, channel: Channel, right: str, connection: Client) -> bool:
    """Whether the channel's ``can_subscribe`` or ``can_publish`` lets the connection."""
    hook = getattr(channel, right)
    if not channel.overrides(right) or getattr(type(channel), right) in _BUILT_IN:
        return bool(hook(connection))  # our own defaults never block: no thread for them
    verdict = await _run(node, connection, hook)
    if verdict is None:
        _warn_once(channel, right, _VERDICT)
    return bool(verdict)


_VERDICT = "True or False; the client is refused"

_warned: set[tuple[type[Channel], str]] = set()


def _warn_once(channel: Channel, hook: str, expected: str) -> None:
    """Log that a hook returned None where it has to return something: probably by mistake."""
    key = (type(channel), hook)
    if key not in _warned:
        _warned.add(key)
        name = f"{key[0].__module__}.{key[0].__qualname__}.{hook}"
        logger.warning("%s returned None; expected %s", name, expected)


_NO_VERDICT = frozenset({ErrorCode.TIMEOUT, ErrorCode.UNAVAILABLE, ErrorCode.INTERNAL})
"""Failures of a hook itself, which say nothing about the right."""

_BUILT_IN = frozenset({UserChannel.can_subscribe})

_HANDLERS: dict[type[m.Command], Callable[[Node, Requester, Any], Awaitable[m.Push | None]]] = {
    m.Subscribe: _subscribe,
    m.Unsubscribe: _unsubscribe,
    m.Publish: _publish,
    m.Call: _call,
    m.Flow: _flow,
    m.GetHistory: _history,
    m.GetPresence: _presence,
    m.Resume: _resume,
}
