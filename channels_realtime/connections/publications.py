"""Publishing by a client: its right, the channel's hooks and limits.

In: a ``publish`` command. Out: the publication goes through the node, as one of the server's would.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from ..channels import RESERVED_EVENT_PREFIX, Channel
from ..errors import BadPayload, Forbidden, RateLimited, TooLarge
from ..nodes.node import Node
from ..protocol import messages as m
from ..protocol.names import channel_key
from ..publications import outgoing_of
from ..runtime.encoding import normalise_payload, payload_size
from ..stores.history.base import Condition
from .rights import may_publish, resolve, run_hook, warn_once

if TYPE_CHECKING:
    from .connection import Connection


async def publish(node: Node, connection: Connection, command: m.Publish) -> m.Push | None:
    channel = resolve(node, connection, command.channel)
    if not (
        connection.publish_rights.holds(channel.name, node.clock.monotonic())
        or await may_publish(node, channel, connection)
    ):
        raise Forbidden(f"not allowed to publish to {channel.name!r}")
    return await _publish(node, connection, channel, command)


def publish_at_once(
    node: Node, connection: Connection, command: m.Publish
) -> tuple[bool, m.Push | None]:
    """As ``publish``, where nothing has to be waited for: no hook, no history, no layer.

    Returns:
        whether that is so, and the reply; if not, nothing was done.
    """
    channel_name = command.channel
    if not (
        node.broker.sends_at_once(channel_key(connection.namespace, channel_name))
        and connection.publish_rights.holds(channel_name, node.clock.monotonic())
    ):
        return False, None
    channel = resolve(node, connection, channel_name)
    waits = channel.overrides("on_publish") or channel.overrides("sender")
    if waits or not (command.transient or channel.kept() is None):
        return False, None
    try:
        _publish(node, connection, channel, command).send(None)
    except StopIteration as returned:
        return True, returned.value
    raise RuntimeError("publishing waited, for what is known not to")


async def _publish(
    node: Node, connection: Connection, channel: Channel, command: m.Publish
) -> m.Push | None:
    """Publish to a channel where the connection may."""
    event = command.event
    _check_event(channel, command)
    _limit_publish(node, connection, channel, command)
    value = _value_of(channel, command)
    names_sender = channel.overrides("sender")
    given = m.Publication(
        channel=channel.name,
        payload=command.payload,
        event=event,
        sender=None if names_sender else channel.sender(connection),
        namespace=channel.namespace,
        version=command.version,
        state_key=command.state_key,
        removed=command.removed,
        exclude=None if command.echo else connection.id,
    )
    # Before the hooks, so that what was refused has no effect; the key is for what the client sent.
    outgoing = outgoing_of(
        channel,
        given,
        key=_key_of(connection, channel, command),
        condition=_condition(command.only_if),
        transient=command.transient,
    )
    if channel.overrides("on_publish"):
        value = await run_hook(node, connection, channel.on_publish, value, event)
        if value is None and command.payload is not None:
            warn_once(channel, "on_publish", "the payload to publish; null is published")
    payload = _payload_of(node, channel, command, value)
    if names_sender:
        sender = encodable(await run_hook(node, connection, channel.sender))
        outgoing = outgoing.with_content(payload, sender)
    elif payload is not command.payload:
        outgoing = outgoing.with_content(payload, given.sender)
    outcome = await node.publish(outgoing)
    if command.id is None:
        return None
    return m.Published(
        id=command.id,
        channel=channel.name,
        position=outcome.position,
        duplicate=outcome.duplicate,
    )


def _value_of(channel: Channel, command: m.Publish) -> Any:
    """The client's payload, converted to the type that the channel's class declares."""
    types = channel.payload_types
    if types is None or (command.removed and command.payload is None):
        return command.payload
    return types.read(command.event, command.payload)


def _payload_of(node: Node, channel: Channel, command: m.Publish, value: Any) -> Any:
    """The payload to publish, in JSON types. If its type is not declared, that is a mistake of the site."""
    payload = encodable(value) if value is not command.payload else value
    types = channel.payload_types
    if types is None or (command.removed and payload is None):
        return payload
    depth = node.config.max_payload_depth
    try:
        return types.publishable(channel.name, command.event, payload, max_depth=depth)
    except BadPayload as error:
        raise TypeError(
            f"what a client published became what is not declared: {error.reason}"
        ) from error


def _check_event(channel: Channel, command: m.Publish) -> None:
    event = command.event
    events = channel.transient_events if command.transient else channel.client_events
    if event is None and not command.transient:
        return
    if event is None or event.startswith(RESERVED_EVENT_PREFIX) or event not in events:
        what = "transient messages without an event" if event is None else f"the event {event!r}"
        how = "" if event is None or not command.transient else " as transient"
        raise Forbidden(f"clients may not publish {what}{how} to {channel.name!r}")


def _limit_publish(
    node: Node, connection: Connection, channel: Channel, command: m.Publish
) -> None:
    """The channel class's own limits on what a client publishes."""
    if channel.max_payload_bytes is not None:
        size = payload_size(command.payload)
        if size > channel.max_payload_bytes:
            raise TooLarge(
                f"a payload of {size} bytes; {channel.name!r} takes {channel.max_payload_bytes}"
            )
    bucket = connection.publish_bucket(channel, transient=command.transient)
    if bucket is not None:
        retry_after = bucket.take(1.0, node.clock.monotonic())
        if retry_after is not None:
            what = "transient messages" if command.transient else "publications"
            raise RateLimited(
                f"too many {what} to {channel.name!r}", retry_after=round(retry_after, 3)
            )


def _key_of(connection: Connection, channel: Channel, command: m.Publish) -> str | None:
    """The key with its scope; None without one.

    A channel that keeps nothing cannot know a key again. Clients may send one with every message, so
    there it is passed over, and a repetition is published again; ``publish()`` refuses it.
    """
    if command.key is None or (channel.kept() is None and not command.transient):
        return None
    return _scoped(connection, command.key)


def _scoped(connection: Connection, key: str) -> str:
    """A client's key: known again for its user, or for an anonymous connection.

    A digest, because a user's key may be any text, of any length.
    """
    user_id = connection.user_id
    kind, owner = ("connection", connection.id) if user_id is None else ("user", user_id)
    parts = "\0".join((kind, str(len(owner)), owner, key))
    return (
        "client:"
        + hashlib.blake2b(parts.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    )


def _condition(only_if: m.OnlyIf | None) -> Condition | None:
    return None if only_if is None else Condition(new=only_if.new, version=only_if.version)


def encodable(returned: Any) -> Any:
    """A hook's return value in JSON types; a value that cannot be converted is the site's mistake."""
    try:
        return normalise_payload(returned)
    except BadPayload as error:
        raise TypeError(f"a hook returned what cannot be encoded: {error.reason}") from error
