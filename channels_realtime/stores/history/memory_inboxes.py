"""Inboxes kept in the memory of one process."""

from __future__ import annotations

import heapq
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ...config import Config
from ...protocol.messages import Position
from ...runtime.clock import Clock
from .base import POSITION_TTL_S
from .inboxes import MAX_USERS, Acknowledgement, Inbox, InboxStore, StreamInboxes, is_newer

_MAX_STREAMS = 1_000_000


class _Stream:
    __slots__ = ("claimed_at", "due_at", "expected", "expires", "revision", "users")

    def __init__(self) -> None:
        self.claimed_at: float | None = None
        self.due_at: float | None = None  # while it is claimed, the end of the lease
        self.expected = 0.0  # when the last that is expected is due
        self.expires = 0.0
        self.revision = 0
        self.users: dict[str, Inbox] = {}


class MemoryInboxes(InboxStore):
    """See the module's documentation; safe to use from any thread.

    Args:
        layer: not used.
        config: not used.
        clock: where the time comes from.
    """

    shared: ClassVar[bool] = False

    def __init__(self, layer: Any, config: Config, clock: Clock | None = None) -> None:
        self._clock = Clock() if clock is None else clock
        self._lock = threading.Lock()
        self._streams: OrderedDict[str, _Stream] = OrderedDict()  # the longest unused first
        self._due: list[
            tuple[float, str]
        ] = []  # a heap; entries that do not hold any more are passed over

    async def open(self, stream: str, user: str, position: Position | None) -> None:
        with self._lock:
            self._open(self._use(stream), user, position)

    async def acknowledged(self, stream: str, user: str) -> Inbox | None:
        with self._lock:
            found = self._streams.get(stream)
            return None if found is None else found.users.get(user)

    async def acknowledge(self, acknowledgements: Sequence[Acknowledgement]) -> None:
        with self._lock:
            for each in acknowledgements:
                users = self._use(each.stream).users
                inbox = users.get(each.user)
                if inbox is None:
                    self._open(self._use(each.stream), each.user, each.position)
                elif is_newer(each.position, inbox.acknowledged):
                    users[each.user] = Inbox(each.position, inbox.notified)

    async def expect(self, stream: str, users: Sequence[str], due_at: float) -> None:
        with self._lock:
            found = self._use(stream)
            for user in users:
                self._open(found, user, None)
            found.revision += 1
            found.expected = due_at
            earlier = found.due_at is None or due_at < found.due_at
            if earlier and found.claimed_at is None:
                self._set_due(stream, found, due_at)

    async def claim(self, now: float, lease_s: float, limit: int) -> list[str]:
        claimed: list[str] = []
        with self._lock:
            while self._due and self._due[0][0] <= now and len(claimed) < limit:
                due_at, name = heapq.heappop(self._due)
                stream = self._streams.get(name)
                if stream is not None and stream.due_at == due_at:
                    stream.claimed_at = now
                    self._set_due(name, stream, now + lease_s)
                    claimed.append(name)
        return claimed

    async def inboxes(self, stream: str) -> StreamInboxes:
        with self._lock:
            found = self._streams.get(stream)
            if found is None:
                return StreamInboxes(0, {})
            return StreamInboxes(found.revision, dict(found.users))

    async def settle(
        self, stream: str, revision: int, notified: Mapping[str, Position], due_at: float | None
    ) -> None:
        with self._lock:
            found = self._streams.get(stream)
            if found is None:
                return
            for user, position in notified.items():
                inbox = found.users.get(user)
                if inbox is not None:
                    found.users[user] = Inbox(inbox.acknowledged, position)
            claimed_at, found.claimed_at = found.claimed_at or 0.0, None
            if found.revision != revision:
                due_at = 0.0
            elif found.expected > claimed_at and (due_at is None or found.expected < due_at):
                due_at = found.expected  # it may be published only now
            self._set_due(stream, found, due_at)

    async def forget(self, stream: str, user: str) -> None:
        with self._lock:
            found = self._streams.get(stream)
            if found is not None:
                found.users.pop(user, None)

    def _set_due(self, name: str, stream: _Stream, due_at: float | None) -> None:
        stream.due_at = due_at
        if due_at is not None:
            heapq.heappush(self._due, (due_at, name))
        if len(self._due) > 64 and len(self._due) > 4 * len(self._streams):
            due = ((each.due_at, name) for name, each in self._streams.items())
            self._due = [(at, name) for at, name in due if at is not None]
            heapq.heapify(self._due)

    def _open(self, stream: _Stream, user: str, position: Position | None) -> None:
        if user not in stream.users and len(stream.users) < MAX_USERS:
            stream.users[user] = Inbox(position)

    def _use(self, name: str) -> _Stream:
        now = self._clock.time()
        stream = self._streams.get(name)
        if stream is None:
            stream = self._streams[name] = _Stream()
        stream.expires = now + POSITION_TTL_S
        self._streams.move_to_end(name)
        oldest = next(iter(self._streams))
        if self._streams[oldest].expires < now or len(self._streams) > _MAX_STREAMS:
            del self._streams[oldest]
        return stream
