"""What a connection has missed of a channel, before it is on the channel live.

In: the position up to which its client knows a channel, or the channel's state. Out: what follows, oldest
first, and then the live stream, at the moment at which the two meet. A little is the reply's
``missed``. More is written page by page, as fast as the client reads, by a ``Follower``; meanwhile the
connection is silent on that channel, because what is live comes after it.

Pages of the store that many ask for at once are read once (``nodes.streams``).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from ..channels import Channel
from ..conversation.nothing import NOTHING
from ..errors import Forbidden, NotRecoverable, Unavailable
from ..nodes.node import Node
from ..nodes.outgoing import decode_entry
from ..nodes.streams import GIVE_UP_S, PAGE
from ..protocol import messages as m
from ..protocol.codes import CloseCode
from ..protocol.selection import ALL, Selection
from ..recovery.catch_up import up_to
from ..stores.history.base import Page

if TYPE_CHECKING:
    from .connection import Connection

_RETRY_S = 0.5
"""Between two tries of a store that is away."""

_ROUNDS = 20
"""How often pages are read without coming closer to the live stream."""

_STATE_ROUNDS = 3
"""How often the state is read, where the history does not reach from it to the live stream."""

GONE = "what follows this position is no longer kept; read the current state, and start from there"


class CatchUp:
    """What one subscription has missed, read until it meets the live stream.

    Args:
        node: the connection's node; it has the channel open.
        connection: the connection.
        channel: the channel.
        since: up to where the client knows it.
        recovered: whether what follows was missed, and is marked so.
    """

    def __init__(
        self,
        node: Node,
        connection: Connection,
        channel: Channel,
        since: m.Position,
        *,
        recovered: bool = True,
    ) -> None:
        self._node = node
        self._connection = connection
        self._key = channel.qualified_name
        self._tail = node.streams.watch(self._key)
        self._closed = False
        self._only: _Only | None = None
        self._waiting: deque[tuple[m.Publication, int]] = deque()  # with their sizes
        self.channel = channel
        self.since = since
        self.recovered = recovered
        self.cursor = since
        """Everything up to here was read."""
        self.bytes = 0
        """About how many bytes wait to be written."""

    def __len__(self) -> int:
        """How many publications wait to be written."""
        return len(self._waiting)

    @property
    def live(self) -> m.Position:
        """Up to where the channel was delivered here.

        Raises:
            Unavailable: the store has not said it yet.
        """
        live = self._node.streams.position(self._key)
        if live is None:
            raise Unavailable("the history store is away")
        return live

    def open(self) -> None:
        """Go on, after a ``close``."""
        if self._closed:
            self._closed = False
            self._tail = self._node.streams.watch(self._key)

    def close(self) -> None:
        """It is over, or has met the live stream, or waits for an ``open``."""
        if not self._closed:
            self._closed = True
            self._node.streams.unwatch(self._key, self._tail)

    # -- reading -----------------------------------------------------------------------------------

    async def advance(self, *, most: int = PAGE) -> None:
        """Read until it can meet the live stream, or has this many publications to write.

        Raises:
            NotRecoverable: what follows is no longer kept, or the position is of another epoch.
            Unavailable: the store is away.
        """
        rounds = 0
        while len(self._waiting) < most and self._tail.after(self.cursor, self.live) is None:
            before = self.cursor
            await self._read()
            rounds = 0 if self.cursor != before else rounds + 1
            if rounds > _ROUNDS:
                raise Unavailable("the channel is not in step with its history")

    async def _read(self) -> None:
        streams = self._node.streams
        missed = await streams.read(self._key, self.cursor)
        top, live = missed.position, self.live
        if not missed.complete:
            if top.epoch != live.epoch:  # so that the reply has a position that can be used
                await streams.reach(self._key, top)
            raise NotRecoverable(GONE)
        if top.epoch != live.epoch or live.offset < self.cursor.offset:
            # This node has not seen yet what the store, and the client, know.
            await streams.reach(self._key, top)
            live = self.live
            if top.epoch != live.epoch:
                return
        for publication, size in zip(up_to(missed.publications, live), missed.sizes, strict=False):
            self._put(publication, size)
        reached = min(self.cursor.offset + missed.entries, live.offset)
        if reached > self.cursor.offset:
            self.cursor = m.Position(top.epoch, reached)

    def put_state(self, page: Page) -> None:
        """Write the channel's state first."""
        for entry in page.entries:
            publication = decode_entry(page.position.epoch, entry, state=True)
            if publication is not None:
                self._put(publication, len(entry.body))

    def _put(self, publication: m.Publication, size: int) -> None:
        if publication.recovered is not self.recovered:
            publication = msgspec.structs.replace(publication, recovered=self.recovered)
        self._waiting.append((publication, size))
        self.bytes += size

    def only(
        self, selection: Selection, *, until: m.Position, besides: Collection[Selection] = ()
    ) -> None:
        """Write what one selection adds; what was delivered to the connection before is not written.

        Args:
            selection: that was added.
            until: from here on the connection is live with it.
            besides: those that it had before.
        """
        self._only = _Only(selection, besides, until.offset, self.live.offset)

    # -- the meeting -------------------------------------------------------------------------------

    def meet(self) -> bool:
        """Take the rest from what is delivered live; whether nothing is missing now.

        Nothing may be awaited until the connection is on the channel live.
        """
        rest = self._tail.after(self.cursor, self.live)
        if rest is None:
            return False
        for publication in rest:
            self._put(publication, len(_encode(publication)))
        self.cursor = self.live
        return True

    def take(self) -> tuple[m.Publication, ...]:
        """What waits to be written, all of it, as far as it is for this client."""
        taken = tuple(one for one, _ in self._waiting if self._wants(one))
        self._waiting.clear()
        self.bytes = 0
        return taken

    def next(self) -> m.Publication | None:
        """Take the next one to be written; None where that one is not for this client."""
        publication, size = self._waiting.popleft()
        self.bytes -= size
        return publication if self._wants(publication) else None

    def _wants(self, publication: m.Publication) -> bool:
        connection, channel = self._connection, self.channel
        if not publication.state and publication.excludes(connection.id, connection.user_id):
            return False
        only, at = self._only, publication.position
        of = ALL if channel.select is None else channel.publication_selection(publication.payload)
        if only is not None and at is not None and at.offset <= only.delivered:
            before = publication.state or at.offset <= only.until
            return before and _matches(of, {only.selection}) and not _matches(of, only.besides)
        return _matches(of, self._node.hub.selections(self._key, connection))


class _Only(NamedTuple):
    """What of a channel was not delivered to a connection that is on it."""

    selection: Selection
    besides: Collection[Selection]
    until: int
    delivered: int


def _matches(selection: Selection, selections: Collection[Selection]) -> bool:
    return ALL in selections or selection in selections


_encode = msgspec.msgpack.Encoder().encode


async def begin(
    node: Node,
    connection: Connection,
    channel: Channel,
    since: m.Position | None,
    *,
    required: bool = False,
) -> CatchUp | None:
    """Read what a new subscriber is to have before what is live.

    That is what follows ``since``; or, where that is not asked for or cannot be had, the channel's state
    (``Channel.state``). The channel is open.

    Args:
        node: the connection's node.
        connection: the connection.
        channel: the channel.
        since: up to where the client knows it.
        required: whether a position that cannot be met is an error.

    Returns:
        what was read, so far; None where nothing is to be written.

    Raises:
        NotRecoverable: the position cannot be met, and that is ``required``.
        Unavailable: the store is away.
    """
    if channel.kept() is None:
        if since is not None and required:
            raise NotRecoverable(f"{channel.name!r} keeps no history")
        return None
    if since is not None:
        catch_up = CatchUp(node, connection, channel, since)
        try:
            await catch_up.advance()
        except NotRecoverable:
            catch_up.close()
            if required:
                raise
        except BaseException:
            catch_up.close()
            raise
        else:
            return catch_up
    return None if channel.state is None else await _begin_with_state(node, connection, channel)


async def _begin_with_state(node: Node, connection: Connection, channel: Channel) -> CatchUp:
    for _round in range(_STATE_ROUNDS):
        page = await node.streams.state(channel.qualified_name)
        catch_up = CatchUp(node, connection, channel, page.position, recovered=False)
        catch_up.put_state(page)
        try:
            await catch_up.advance(most=len(catch_up) + PAGE)
        except NotRecoverable:  # a short history, and much was published meanwhile
            catch_up.close()
        except BaseException:
            catch_up.close()
            raise
        else:
            return catch_up
    raise Unavailable(f"the history of {channel.name!r} is too short for its state")


def finish(
    node: Node, connection: Connection, catch_up: CatchUp, *, live: bool
) -> tuple[m.Publication, ...] | None:
    """Join what was read to the live stream; the connection was put into the hub just now.

    Args:
        node: the connection's node.
        connection: the connection.
        catch_up: what was read so far.
        live: whether the connection was on the channel before, and has now another selection too.

    Returns:
        what the reply has as ``missed``. Where it is much, or the connection writes nothing at present, that
        is nothing: a follower writes it after the reply. None where another one will, or the client has
        paused the channel.
    """
    config = node.config
    if (
        not connection.writer.holds
        and catch_up.meet()
        and len(catch_up) <= min(PAGE, config.outbox_max_messages // 4)
        and catch_up.bytes <= config.outbox_max_bytes // 4
    ):
        catch_up.close()
        return catch_up.take()
    name = catch_up.channel.name
    if live and (name in connection.followers or name in connection.paused):
        catch_up.close()
        return None
    Follower(node, connection, catch_up).start()
    return ()


async def replay(
    node: Node, connection: Connection, channel: Channel, since: m.Position
) -> tuple[m.Publication, ...] | None:
    """What follows a position, for a connection that is on the channel: up to where it is live from.

    Returns:
        what the reply has as ``missed``, see ``finish``; None where it cannot be had.

    Raises:
        Unavailable: the store is away.
        Forbidden: the connection lost the channel meanwhile.
    """
    name = channel.name
    held = connection.subscriptions.get(name)
    follower = connection.followers.get(name)
    if follower is not None:
        if connection.writer.holds:
            return () if follower.covers(since) else None
        await follower.wait()
        require_held(connection, name, held)
    if node.streams.position(channel.qualified_name) is None:  # it keeps no history
        return None
    catch_up = CatchUp(node, connection, channel, since)
    try:
        await catch_up.advance()
        require_held(connection, name, held)
    except NotRecoverable:
        catch_up.close()
        return None
    except BaseException:
        catch_up.close()
        raise
    now = catch_up.live
    selection = channel.subscriber_selection()
    until = connection.live_from.get((name, selection), now)
    catch_up.only(selection, until=until if until.epoch == now.epoch else now)
    return finish(node, connection, catch_up, live=True)


def require_held(connection: Connection, name: str, held: Channel | None) -> None:
    """Refuse what was asked for a channel that was taken away from the connection meanwhile.

    Raises:
        Forbidden: it was.
    """
    if held is not None and connection.subscriptions.get(name) is not held:
        raise Forbidden(f"no longer on {name!r}")


class Follower:
    """Writes what a connection has missed as fast as its client reads, then lets it be live.

    Args:
        node: the connection's node.
        connection: the connection; it is silent on the channel until then.
        catch_up: what it has missed.
        promised: whether the client was told that it gets all of it. Where that cannot be kept, the
            connection is closed with 4430, and comes back with its positions; else it is told.
    """

    def __init__(
        self, node: Node, connection: Connection, catch_up: CatchUp, *, promised: bool = True
    ) -> None:
        self._node = node
        self._connection = connection
        self._channel = catch_up.channel
        self._catch_up = catch_up
        self._promised = promised
        self._begun = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, after what is being written now."""
        name = self._channel.name
        self._catch_up.open()
        if not self._connection.followers:
            self._connection.followers = {}
        self._connection.followers[name] = self
        self._connection.silence(name, silent=True)
        self._task = asyncio.get_running_loop().create_task(self._run(), name="realtime-catch-up")

    def covers(self, since: m.Position | None) -> bool:
        """Whether it will write all that follows a position, whatever is selected by then."""
        begins = self._catch_up.since
        return (
            since is not None
            and not self._begun
            and self._catch_up.recovered
            and since.epoch == begins.epoch
            and since.offset >= begins.offset
        )

    def stop(self) -> CatchUp:
        """End; returns what has not been written."""
        if self._task is not None:
            self._task.cancel()
        self._release()
        return self._catch_up

    async def wait(self) -> None:
        """Wait until it has ended, one way or another."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def _release(self) -> None:
        self._catch_up.close()
        name = self._channel.name
        if self._connection.followers.get(name) is self:
            del self._connection.followers[name]
            if not self._connection.followers:
                self._connection.followers = NOTHING
            self._connection.silence(name, silent=False)

    async def _run(self) -> None:
        try:
            await self._follow()
        except NotRecoverable:
            self._give_up("what it missed is no longer kept")
        except Unavailable as error:
            self._give_up(error.reason)
        except asyncio.CancelledError:
            raise
        except Exception:
            self._connection.log_exception(f"Catching up on {self._channel.name!r} failed")
            self._connection.close(CloseCode.INTERNAL, "catching up failed")
        finally:
            self._release()

    async def _follow(self) -> None:
        connection, catch_up = self._connection, self._catch_up
        now = asyncio.get_running_loop().time
        give_up_at: float | None = None
        while True:
            await connection.writer.drained()
            if connection.closed:
                return
            self._begun = True
            if not len(catch_up):
                try:
                    await catch_up.advance()
                    give_up_at = None
                except Unavailable:
                    give_up_at = now() + GIVE_UP_S if give_up_at is None else give_up_at
                    if now() >= give_up_at:
                        raise
                    await asyncio.sleep(_RETRY_S)
                    continue
            met = catch_up.meet()
            while len(catch_up) and not self._is_full():
                publication = catch_up.next()
                if publication is not None:
                    connection.hand(publication)
            if met and not len(catch_up):
                self._release()  # at once: what is delivered from now on is live
                return

    def _is_full(self) -> bool:
        """Whether what is queued is to be written first; what is live needs room as well."""
        writer, config = self._connection.writer, self._node.config
        return (
            writer.queued >= config.outbox_max_messages // 2
            or writer.queued_bytes >= config.outbox_max_bytes // 2
        )

    def _give_up(self, reason: str) -> None:
        if self._promised:
            self._connection.close(CloseCode.SLOW_CONSUMER, reason)
            return
        self._release()
        position = self._node.streams.position(self._channel.qualified_name)
        if position is not None:
            self._connection.started_anew(self._channel.name, position)
