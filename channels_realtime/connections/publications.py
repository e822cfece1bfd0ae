"""Publishing by a client: its right, the channel's hooks and limits.

In: a ``publish`` command. Out: the publication goes through the node, as one of the server's would.
"""

from __future__ import annotations

from typing import Any

from ..channels import RESERVED_EVENT_PREFIX, Channel
from ..errors import BadPayload, Forbidden, RateLimited, TooLarge
from ..nodes.node import Node
from ..nodes.outgoing import Outgoing
from ..protocol import messages as m
from ..runtime.encoding import normalise_payload, payload_size
from .requester import Requester, allowed, resolve, run_hook, warn_once


async def publish(node: Node, connection: Requester, command: m.Publish) -> m.Push | None:
    channel = resolve(node, connection, command.channel)
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
        payload = encodable(await run_hook(node, connection, channel.on_publish, given, event))
        if payload is None and given is not None:
            warn_once(channel, "on_publish", "the payload to publish; null is published")
    if channel.overrides("sender"):
        sender = encodable(await run_hook(node, connection, channel.sender))
    else:
        sender = channel.sender(connection)
    outcome = await node.publish(
        Outgoing(
            publication=m.Publication(
                channel=channel.name,
                payload=payload,
                event=event,
                sender=sender,
                namespace=channel.namespace,
            ),
            history=channel.kept(),
        )
    )
    if command.id is None:
        return None
    return m.Published(
        id=command.id,
        channel=channel.name,
        position=outcome.position,
        duplicate=outcome.duplicate,
    )


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


def encodable(returned: Any) -> Any:
    """A hook's return value in JSON types; a value that cannot be converted is the site's mistake."""
    try:
        return normalise_payload(returned)
    except BadPayload as error:
        raise TypeError(f"a hook returned what cannot be encoded: {error.reason}") from error
