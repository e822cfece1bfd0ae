"""What a channel keeps, from Python: its history, its position, and the end of both.

In: a channel's name, from code of the site in any process, with a node or without one. Out: publications
and positions from the history store, of the namespace of the running code.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from .channels import Channel
from .errors import BadPayload, NotRecoverable, Unsupported
from .namespaces import current_namespace
from .nodes.layers import configured_layer
from .nodes.node import running_node
from .nodes.outgoing import decode_entry
from .nodes.store_requests import ask
from .nodes.stores import Stores, stores_of
from .protocol.dialects.realtime import MAX_HISTORY_LIMIT
from .protocol.messages import Position, Publication
from .publications import Published, as_position, check_channel
from .runtime import loops
from .runtime.loops import refuse_event_loop
from .settings import get_config
from .stores.history.base import HistoryStore, Page, Usage

_Answer = TypeVar("_Answer")

Since = Position | Published | Mapping[str, Any]
"""A position: as it was returned, or as a client has it: ``{"epoch": …, "offset": …}``."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPage:
    """Publications that a channel keeps; to be iterated.

    Args:
        publications: in the order that was asked for, each with its ``position``.
        position: where to go on from: a client that subscribes with it as ``since`` gets what follows.
            The position of the last publication, where ``limit`` left newer ones out; otherwise the
            channel's newest.
    """

    publications: tuple[Publication, ...]
    position: Position

    def __iter__(self) -> Iterator[Publication]:
        return iter(self.publications)

    def __len__(self) -> int:
        return len(self.publications)


def history(
    channel: str, *, since: Since | None = None, limit: int = 100, reverse: bool = False
) -> HistoryPage:
    """Read what a channel keeps; from sync code.

    Args:
        channel: the channel's name.
        since: begin after this position, or with ``reverse`` before it; by default with the oldest
            publication that is kept, or with the newest.
        limit: how many publications at most, 0 to 1,000.
        reverse: the newest first.

    Raises:
        BadChannel, UnknownChannel: no such name, or no route for it.
        BadPayload: ``since`` or ``limit`` is malformed.
        NotRecoverable: what follows ``since`` is no longer kept.
        Unsupported: the channel's class keeps no history.
        Unavailable: the store does not answer.
        ImproperUse: called on a running event loop; ``await ahistory(…)`` there.
    """
    refuse_event_loop("history", "ahistory")
    request = _reading(_kept_channel(channel), since, limit, reverse)
    return _history_page(channel, _wait(request), reverse=reverse)


async def ahistory(
    channel: str, *, since: Since | None = None, limit: int = 100, reverse: bool = False
) -> HistoryPage:
    """Read what a channel keeps; from async code. Args, returns and raises as ``history``."""
    request = _reading(_kept_channel(channel), since, limit, reverse)
    return _history_page(channel, await _await(request), reverse=reverse)


def position(channel: str) -> Position:
    """The position of a channel's newest publication; from sync code.

    Read it before the data of a page: a client that subscribes with it as ``since`` then gets all that
    was published after.

    Raises:
        BadChannel, UnknownChannel: no such name, or no route for it.
        Unsupported: the channel's class keeps no history.
        Unavailable: the store does not answer.
        ImproperUse: called on a running event loop; ``await aposition(…)`` there.
    """
    refuse_event_loop("position", "aposition")
    return _wait(_reading(_kept_channel(channel), None, 0, reverse=False)).position


async def aposition(channel: str) -> Position:
    """The position of a channel's newest publication; from async code. Raises as ``position``."""
    return (await _await(_reading(_kept_channel(channel), None, 0, reverse=False))).position


def purge(channel: str) -> None:
    """Drop what a channel keeps, its state too; from sync code. Its offsets go on.

    It does not wait for a commit. Clients are not told: those that come back with an older position
    learn ``recovered: false``.

    Raises:
        BadChannel, UnknownChannel: no such name, or no route for it.
        Unsupported: the channel's class keeps no history.
        Unavailable: the store does not answer; it may have been done.
        ImproperUse: called on a running event loop; ``await apurge(…)`` there.
    """
    refuse_event_loop("purge", "apurge")
    _wait(_purging(_kept_channel(channel)))


async def apurge(channel: str) -> None:
    """Drop what a channel keeps; from async code. Raises as ``purge``."""
    await _await(_purging(_kept_channel(channel)))


def usages(streams: Sequence[str]) -> list[Usage | None]:
    """What the store holds of streams, by their qualified names; for operators.

    Raises:
        Unavailable: the store does not answer.
    """
    return _wait(lambda store: store.usage(streams))


def ping_history() -> None:
    """Ask the history store for a sign of life; for operators.

    Raises:
        Unavailable: the store does not answer.
    """
    _wait(lambda store: store.ping())


# -- requests to the store -------------------------------------------------------------------------

_Request = Callable[[HistoryStore], Coroutine[Any, Any, _Answer]]


def _reading(channel: Channel, since: Since | None, limit: int, reverse: bool) -> _Request[Page]:
    if type(limit) is not int or not 0 <= limit <= MAX_HISTORY_LIMIT:
        raise BadPayload(f"limit is {limit!r:.100}; expected 0 to {MAX_HISTORY_LIMIT} publications")
    start = None if since is None else as_position(since)
    if since is not None and start is None:
        raise BadPayload(
            f"since is {since!r:.100}; expected a Position, or {{'epoch': <text>, 'offset': <integer>}}"
        )
    stream = channel.qualified_name
    return lambda store: store.read(stream, start, limit=limit, reverse=reverse)


def _purging(channel: Channel) -> _Request[None]:
    return lambda store: store.purge(channel.qualified_name)


def _kept_channel(name: str) -> Channel:
    channel = check_channel(name)
    if channel.kept() is None:
        raise Unsupported(
            f"{name!r} keeps no history; expected history = History(…) on {type(channel).__name__}"
        )
    channel.namespace = current_namespace()
    return channel


def _history_page(channel: str, page: Page, *, reverse: bool) -> HistoryPage:
    if not page.complete:
        raise NotRecoverable(
            f"{channel!r} no longer keeps what follows this position; expected a newer one, or none"
        )
    epoch, newest = page.position.epoch, page.position
    decoded = (decode_entry(epoch, entry) for entry in page.entries)
    found = tuple(publication for publication in decoded if publication is not None)
    # Without a limit that left newer ones out, the last one is the newest.
    last = newest if reverse or not page.entries else Position(epoch, page.entries[-1].offset)
    return HistoryPage(publications=found, position=last)


def _wait(request: _Request[_Answer]) -> _Answer:
    return from_sync(_of_history(request))


async def _await(request: _Request[_Answer]) -> _Answer:
    return await from_async(_of_history(request))


def _of_history(request: _Request[_Answer]) -> StoresRequest[_Answer]:
    async def of_history(stores: Stores) -> _Answer:
        return await ask(stores.history, request(stores.history), get_config().store_timeout)

    return of_history


# -- from anywhere ---------------------------------------------------------------------------------

StoresRequest = Callable[[Stores], Coroutine[Any, Any, _Answer]]
"""A request to the stores, which is bounded in time itself."""


def from_sync(request: StoresRequest[_Answer], *, calls: int = 1) -> _Answer:
    """Ask the stores from sync code, and wait for the answer at most so long as it may take.

    Args:
        request: what is asked.
        calls: how many times in turn it asks a store, each of which may take ``STORE_TIMEOUT``.

    Raises:
        Unavailable: a store does not answer.
    """
    return loops.run(_ask(request), calls * get_config().store_timeout)


async def from_async(request: StoresRequest[_Answer]) -> _Answer:
    """Ask the stores from async code, as ``from_sync``."""
    if running_node() is not None:
        return await _ask(request)
    return await asyncio.wrap_future(loops.submit(_ask(request)))


async def _ask(request: StoresRequest[_Answer]) -> _Answer:
    """Ask from the loop that this runs on."""
    node = running_node()
    config = get_config()
    layer = configured_layer(config.channel_layer) if node is None else node.layer
    return await request(stores_of(layer, config))
