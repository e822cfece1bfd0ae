"""Sessions in the memory of one process: for the in-memory layer, for development and for tests."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from ...config import Config
from .base import Save, SessionStore, Taken

MAX_SESSIONS = 100_000
"""Sessions that are kept, about a kilobyte each; beyond, those saved longest ago are forgotten."""

_SWEEP_INTERVAL_S = 10.0


@dataclasses.dataclass(slots=True)
class _Session:
    owner: str | None  # None: it was taken
    identity: str
    body: bytes
    expires_at: float  # monotonic seconds


class MemorySessions(SessionStore):
    """See ``SessionStore``; for the event loops and threads of one process.

    Args:
        layer: the channel layer that it is beside; unused.
        config: the settings; unused.
        clock: monotonic seconds.
    """

    shared: ClassVar[bool] = False

    def __init__(
        self, layer: Any, config: Config, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._next_sweep = 0.0

    def __len__(self) -> int:
        return len(self._sessions)

    async def save(self, saves: Sequence[Save]) -> frozenset[str]:
        """See ``SessionStore``."""
        refused = set()
        with self._lock:
            now = self._clock()
            self._sweep(now)
            for one in saves:
                known = self._found(one.key, now)
                if known is not None and known.owner != one.owner:
                    refused.add(one.key)
                    continue
                self._keep(one.key, _Session(one.owner, one.identity, one.body, now + one.ttl))
        return frozenset(refused)

    async def take(self, key: str, identity: str, *, ttl: float) -> Taken | None:
        """See ``SessionStore``."""
        with self._lock:
            now = self._clock()
            known = self._found(key, now)
            if known is None or known.owner is None or known.identity != identity:
                return None
            self._keep(key, _Session(None, "", b"", now + ttl))
        return Taken(known.owner, known.body)

    async def forget(self, owned: Sequence[tuple[str, str]]) -> None:
        """See ``SessionStore``."""
        with self._lock:
            for key, owner in owned:
                known = self._sessions.get(key)
                if known is not None and known.owner == owner:
                    del self._sessions[key]

    def _found(self, key: str, now: float) -> _Session | None:
        known = self._sessions.get(key)
        return None if known is None or known.expires_at <= now else known

    def _keep(self, key: str, session: _Session) -> None:
        self._sessions[key] = session
        self._sessions.move_to_end(key)
        while len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)

    def _sweep(self, now: float) -> None:
        if now < self._next_sweep:
            return
        self._next_sweep = now + _SWEEP_INTERVAL_S
        over = [key for key, session in self._sessions.items() if session.expires_at <= now]
        for key in over:
            del self._sessions[key]
