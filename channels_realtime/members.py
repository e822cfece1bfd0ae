"""Who is on a channel, from Python: ``presence()`` and ``apresence()``.

In: a channel's name, from code of the site in any process, with a node or without one. Out: its members,
from the presence store, of the namespace of the running code.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from .errors import ImproperUse, Unavailable, Unsupported
from .namespaces import current_namespace
from .nodes import envelope
from .nodes.layers import configured_layer
from .nodes.node import running_node
from .nodes.presence import Presences, announcements, publications
from .nodes.store_requests import PRESENCE, ask
from .nodes.stores import Stores
from .protocol.messages import Members
from .publications import check_channel
from .runtime.loops import refuse_event_loop
from .settings import get_config
from .stored import StoresRequest, from_async, from_sync
from .stores.presence.base import MAX_MEMBERS, Change, partition_of

logger = logging.getLogger(__name__)


def presence(channel: str, *, limit: int | None = None) -> Members:
    """Who is on a channel; from sync code, such as the view that renders its page.

    Args:
        channel: the channel's name.
        limit: how many members at most, 0 to 10,000; by default as many as clients are sent
            (``Presence.max_members``).

    Returns:
        ``count``, the number of all, and ``members``: those who joined first, each with its ``id``,
        ``user`` (the primary key as text, or None) and ``info``.

    Raises:
        BadChannel, UnknownChannel: no such name, or no route for it.
        Unsupported: the channel's class has no presence.
        Unavailable: the store does not answer.
        ImproperUse: the limit is none; or called on a running event loop: ``await apresence(…)`` there.
    """
    refuse_event_loop("presence", "apresence")
    return from_sync(_reading(channel, limit), calls=3)


async def apresence(channel: str, *, limit: int | None = None) -> Members:
    """Who is on a channel; from async code. Args, returns and raises as ``presence``."""
    return await from_async(_reading(channel, limit))


def member_counts(streams: Sequence[str]) -> list[int]:
    """How many members channels have, by their qualified names; for operators.

    Raises:
        Unavailable: the store does not answer.
    """
    timeout = get_config().store_timeout

    async def read(stores: Stores) -> list[int]:
        store = stores.presence
        found = await ask(store, store.tallies(streams), timeout, PRESENCE)
        return [tally.count for tally in found]

    return from_sync(read)


def _reading(name: str, limit: int | None) -> StoresRequest[Members]:
    channel = check_channel(name)
    presence = channel.presence
    if presence is None:
        raise Unsupported(
            f"{name!r} has no presence; expected presence = Presence(…) on {type(channel).__name__}"
        )
    if limit is not None and not (type(limit) is int and 0 <= limit <= MAX_MEMBERS):
        raise ImproperUse(f"limit is {limit!r}; expected 0 to {MAX_MEMBERS} members, or None")
    most = presence.max_members if limit is None else limit
    channel.namespace = current_namespace()
    stream = channel.qualified_name
    timeout = get_config().store_timeout

    async def read(stores: Stores) -> Members:
        store = stores.presence
        roll = await ask(store, store.members(stream, most), timeout, PRESENCE)
        if roll.overdue:  # no node has swept yet, and perhaps there is none
            sweep = await ask(store, store.sweep([partition_of(stream)]), timeout, PRESENCE)
            await _decided(sweep.changes)
            roll = await ask(store, store.members(stream, most), timeout, PRESENCE)
        return Members(roll.count, roll.members)

    return read


async def _decided(changes: list[Change]) -> None:
    """Tell everybody what the store gave this process to decide."""
    node = running_node()
    if node is not None:
        node.service(Presences).decided(changes)
        return
    for change in changes:
        for signal, arguments in announcements(change):
            for receiver, result in await signal.asend_robust(sender=None, **arguments):
                if isinstance(result, Exception):
                    logger.error("%r failed", receiver, exc_info=result)
    config = get_config()
    layer = configured_layer(config.channel_layer)
    for publication in publications(changes):
        try:
            await envelope.send(layer, config.group_prefix, publication, config.publish_timeout)
        except Unavailable as error:  # nodes that watch find it in the store
            logger.info("Members are told late: %s", error.reason)
