"""The members of the channels that this node's clients watch, live.

In: changes of members, decided here or sent by other nodes, and what the store was read to hold. Out:
``join`` and ``leave`` to the connections that watch, and nothing to the others. A change that the
channel layer has lost is noticed by its number, or by a comparison with the store at intervals; then
the store is read again, and those who watch are told the difference.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol, cast

from ..protocol.frames import Policy
from ..protocol.messages import Members, Publication, Push, Subscribed
from ..protocol.names import split_key
from ..protocol.selection import ALL
from ..stores.presence.base import BATCH, Change, PresenceStore, Roll
from ..stores.presence.roster import Roster
from .hub import Hub, Subscriber

_MISSING_S = 0.25
"""How long a change that is missing is waited for: nodes send theirs at the same time."""

_AT_ONCE = 50
"""Channels that are read at once."""


class Watcher(Subscriber, Protocol):
    """A connection that is told who comes and goes."""

    def notify(self, push: Push) -> bool:
        """Write something else than a publication to the client; never waits, never raises."""
        ...


class Rosters:
    """Who is on the channels that are watched in this node.

    Args:
        store: gives the store of members.
        hub: of those who watch.
        now: monotonic seconds.
        settling: seconds in which all nodes put back what the store has lost.
        wake: called when ``repair`` has something to do at an earlier time.
    """

    def __init__(
        self,
        store: Callable[[], PresenceStore],
        hub: Hub,
        now: Callable[[], float],
        settling: float,
        wake: Callable[[], None],
    ) -> None:
        self._store = store
        self._hub = hub
        self._now = now
        self._settling = settling
        self._wake = wake
        self._rosters: dict[str, Roster] = {}
        self._references: dict[str, int] = {}
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._suspects: dict[str, float] = {}

    def __contains__(self, stream: str) -> bool:
        return stream in self._rosters and stream not in self._loading

    # -- watching ----------------------------------------------------------------------------------

    async def open(self, stream: str, limit: int) -> None:
        """Have the members of a channel, live; each ``open`` needs its ``close``.

        The node is in the channel's group already, so that what changes from now on arrives.

        Raises:
            Unavailable: the store is away.
        """
        self._references[stream] = self._references.get(stream, 0) + 1
        try:
            if stream not in self._rosters:
                roster = self._rosters[stream] = Roster(stream, limit, Roll(0, 0))
                roster.begin_read()
                task = self._loading[stream] = asyncio.create_task(
                    self._load(stream, roster, limit)
                )
                task.add_done_callback(_retrieve)
            loading = self._loading.get(stream)
            if loading is not None:
                # Several may wait for it; one that is cancelled must not end it for the others.
                await asyncio.shield(loading)
        except BaseException:
            self.close(stream)
            raise

    async def _load(self, stream: str, roster: Roster, limit: int) -> None:
        try:
            roster.end_read(await self._store().members(stream, limit))
        except BaseException:
            if self._rosters.get(stream) is roster:
                del self._rosters[stream]
            raise
        finally:
            del self._loading[stream]
            if stream not in self._references:  # all who wanted it are gone meanwhile
                self._rosters.pop(stream, None)

    def close(self, stream: str) -> None:
        """Take one ``open`` back."""
        references = self._references.get(stream, 0) - 1
        if references > 0:
            self._references[stream] = references
            return
        self._references.pop(stream, None)
        self._suspects.pop(stream, None)
        if stream not in self._loading:
            self._rosters.pop(stream, None)

    def members(self, stream: str) -> Members:
        """Who is on a channel that was opened."""
        return self._rosters[stream].members

    # -- changes -----------------------------------------------------------------------------------

    def take(self, changes: Iterable[Change]) -> None:
        """Take changes in, of any channel, and tell those who watch what is news."""
        for change in changes:
            roster = self._rosters.get(change.stream)
            if roster is None:
                continue
            restarted = roster.restarted(change.sequence)
            if roster.take(change):
                self._tell(change)
            if change.stream in self._loading:
                continue
            if roster.overrun or roster.thin:
                self.suspect(change.stream, 0.0)
            elif restarted:
                self.suspect(change.stream, self._settling)
            elif roster.incomplete:
                self.suspect(change.stream)

    def _tell(self, change: Change) -> None:
        namespace, channel = split_key(change.stream)
        member = change.member
        shown = {"id": member.id, "user": member.user, "info": member.info}
        publication = Publication(
            channel=channel,
            namespace=namespace,
            kind=change.kind,
            payload={"member": shown, "count": change.count},
        )
        # Never dropped for a slow client, who would have a wrong list for ever.
        self._hub.deliver(publication, ALL, Policy.CLOSE)

    # -- loss --------------------------------------------------------------------------------------

    def suspect(self, stream: str, after: float = _MISSING_S) -> None:
        """Read a channel again then, if something is still missing."""
        at = self._now() + after
        if self._suspects.get(stream, at + 1) > at:
            self._suspects[stream] = at
            self._wake()

    @property
    def next_repair(self) -> float | None:
        """When ``repair`` is to be called, in monotonic seconds; None for not."""
        return min(self._suspects.values(), default=None)

    async def check(self) -> None:
        """Compare with the store, and suspect what differs.

        Raises:
            Unavailable: the store is away.
        """
        streams = [stream for stream in self._rosters if stream not in self._loading]
        for start in range(0, len(streams), BATCH):
            batch = streams[start : start + BATCH]
            for stream, tally in zip(batch, await self._store().tallies(batch), strict=True):
                roster = self._rosters.get(stream)
                if roster is not None and tally.sequence != roster.sequence:
                    restarted = roster.restarted(tally.sequence)
                    self.suspect(stream, self._settling if restarted else _MISSING_S)

    async def repair(self) -> None:
        """Read again what is suspected and due.

        Raises:
            Unavailable: the store is away; what was not read stays suspected.
        """
        now = self._now()
        due = [stream for stream, at in self._suspects.items() if at <= now]
        for start in range(0, len(due), _AT_ONCE):
            await run_all(*map(self._read_again, due[start : start + _AT_ONCE]))

    async def _read_again(self, stream: str) -> None:
        roster = self._rosters.get(stream)
        if roster is None or stream in self._loading:
            self._suspects.pop(stream, None)
            return
        roll: Roll | None = None
        roster.begin_read()
        try:
            roll = await self._store().members(stream, roster.limit)
            self._suspects.pop(stream, None)
        finally:
            repair = roster.end_read(roll)
        if roster.incomplete:
            self.suspect(stream)
        if self._rosters.get(stream) is not roster:
            return
        for change in repair.changes:
            self._tell(change)
        if repair.whole:
            channel = split_key(stream)[1]
            push = Subscribed(channel=channel, members=roster.members)
            for watcher in self._hub.subscribers(stream):
                cast(Watcher, watcher).notify(push)


async def run_all(*calls: Awaitable[None]) -> None:
    """Run all to their ends, then raise what one of them raised."""
    for result in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


def _retrieve(task: asyncio.Task[None]) -> None:
    """Retrieve the exception, so that asyncio does not warn where none waits for it any more."""
    if not task.cancelled():
        task.exception()
