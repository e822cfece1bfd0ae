"""A client reads what a channel keeps.

In: a ``history`` command. Out: publications, as many as were asked for and fit into a frame, and the
position to go on from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..channels import Channel
from ..errors import NotRecoverable, Unsupported
from ..nodes.node import Node
from ..nodes.outgoing import decode_entry
from ..nodes.store_requests import ask
from ..protocol import messages as m
from ..protocol.codecs import JSON
from ..protocol.dialects.realtime_objects import publication_object
from ..stores.history.base import HistoryStore
from .rights import require_look, resolve

if TYPE_CHECKING:
    from .connection import Connection

DEFAULT_LIMIT = 100
"""Messages of a reply whose request names no limit."""

_PAGE = 64
"""Read at once; a client may ask for many that are large."""

_ENVELOPE_BYTES = 512
"""The most that a reply has besides its messages; a channel's name is at most 200."""


async def history(node: Node, connection: Connection, command: m.GetHistory) -> m.Push:
    """Serve one ``history``; the right is that of subscribing."""
    channel = resolve(node, connection, command.channel)
    await require_look(node, channel, connection)
    if channel.kept() is None:
        raise Unsupported(f"{channel.name!r} keeps no history")
    publications, position = await _read(node, channel, command)
    return m.HistoryReply(
        id=command.id, channel=channel.name, publications=tuple(publications), position=position
    )


async def _read(
    node: Node, channel: Channel, command: m.GetHistory
) -> tuple[list[m.Publication], m.Position]:
    """Read page after page, until there are enough, or as much as a frame holds."""
    store: HistoryStore = node.history
    limit = DEFAULT_LIMIT if command.limit is None else command.limit
    room = node.config.max_frame_bytes - _ENVELOPE_BYTES
    since = command.since
    found: list[m.Publication] = []
    newest: m.Position | None = None
    full = False
    while True:
        wanted = min(_PAGE, limit - len(found))
        request = store.read(channel.qualified_name, since, limit=wanted, reverse=command.reverse)
        page = await ask(store, request, node.config.store_timeout)
        if not page.complete:
            if not found:
                raise NotRecoverable(
                    f"{channel.name!r} no longer keeps what follows this position; read the current"
                    " state, and begin without 'since'"
                )
            break  # trimmed meanwhile: what was read is whole
        newest = newest or page.position
        for entry in page.entries:
            since = m.Position(page.position.epoch, entry.offset)
            publication = decode_entry(page.position.epoch, entry)
            if publication is None:
                continue
            room -= len(JSON.encode(publication_object(publication)).encode()) + 1
            if room < 0 and found:
                full = True
                break
            found.append(publication)
        if full or len(found) >= limit or len(page.entries) < wanted:
            break
    assert newest is not None
    if command.reverse or not found:
        return found, newest
    return found, found[-1].position or newest
