"""Looks up the credentials of handshakes: a bounded number at a time, in the order of their arrival.

In: handshakes with credentials. Out: whose they are. In a storm of reconnects most of them wait here, and
not on the database. One that waits costs no thread and no query, and none at all if its client goes.

Those that wait are looked up several in a thread hop, with one database connection, and by two threads only
unless these make no progress: a thread that computes takes the interpreter from the event loop for 5 ms at a
time (``sys.getswitchinterval``), and eight of them delayed every delivery by 20 ms.

Handshakes that are the same in everything that the site can see of them, such as those of the tabs of one
browser, share the look-up that has not begun yet. One that has begun is not shared: what it has read may
have been revoked since.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import dataclasses
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any

from ..errors import RequestTimeout
from ..namespaces import namespace_of
from ..nodes.node import Node, Service
from ..runtime.tasks import end_tasks
from .base import Authenticated, Authenticator, Handshake
from .handshake import judge
from .login_session import LoginSession
from .tokens import CookieToken, HeaderToken, QueryToken

_SHARED: tuple[type[Authenticator], ...] = (LoginSession, HeaderToken, CookieToken, QueryToken)
"""Those that may be asked once for several handshakes: a ticket is for one, and a site's own may be too."""

_THREADS = 2
"""Threads that look up at once, as long as they make progress."""

_NO_PROGRESS_S = 0.05
"""Where so long none has ended, and some wait, there is one thread more, up to ``HOOK_THREADS``."""

_IN_A_HOP = 4
"""Look-ups that one thread makes before it tells the event loop."""

Found = tuple[Authenticated | None, float]
"""What credentials prove, and when they began to be read, in seconds since the epoch."""


class _LookUp:
    """One look-up, and the handshakes that wait for it."""

    __slots__ = ("context", "error", "found", "key", "since", "waiting", "work")

    def __init__(
        self, key: Hashable, work: Callable[[], Authenticated | None], since: float
    ) -> None:
        self.key = key
        self.work = work
        self.found: Authenticated | None = None
        self.error: Exception | None = None
        self.since = since
        self.context = contextvars.copy_context()
        self.waiting: list[asyncio.Future[Found]] = []

    @property
    def is_wanted(self) -> bool:
        return not all(each.done() for each in self.waiting)

    def run(self) -> None:
        """Do the work; blocks."""
        try:
            self.found = self.context.copy().run(self.work)
        except Exception as error:
            self.error = error

    def succeed(self, read_at: float) -> None:
        for number, each in enumerate(each for each in self.waiting if not each.done()):
            own = self.found
            if own is not None and number:  # a hook may write to its user
                own = dataclasses.replace(own, user=copy.copy(own.user))
            each.set_result((own, read_at))

    def fail(self, error: Exception) -> None:
        for each in self.waiting:
            if not each.done():
                each.set_exception(error)


class _Hop:
    """Some look-ups that one thread makes, one after the other."""

    def __init__(self, look_ups: list[_LookUp]) -> None:
        self.look_ups = look_ups
        self.done = 0
        self.over = False

    def run(self) -> None:
        """Make them; blocks."""
        for look_up in self.look_ups:
            if self.over:  # the others have been given to another thread
                return
            look_up.run()
            self.done += 1


class LookUps(Service):
    """The look-ups of one node."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self._most = max(1, node.config.hook_threads)
        self._allowed = min(_THREADS, self._most)
        self._more: asyncio.TimerHandle | None = None
        self._queue: deque[_LookUp] = deque()
        self._by_key: dict[Hashable, _LookUp] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def stop(self) -> None:
        """End those that run; their handshakes are over."""
        await end_tasks(*self._tasks)

    async def find(
        self,
        present: list[tuple[Authenticator, str]],
        handshake: Handshake,
        around: Callable[[Callable[..., Any]], Callable[..., Any]],
    ) -> Found:
        """Find out what the credentials of a handshake prove, when its turn comes.

        Args:
            present: the credentials, with what judges each.
            handshake: that they came with.
            around: puts a function into the connection's context.

        Raises:
            TokenInvalid, TokenExpired, Unauthenticated: they are bad.
            RequestTimeout: looking took longer than ``HOOK_TIMEOUT``, or nothing moved for so long.
        """
        key = _key_of(present, handshake)
        look_up = None if key is None else self._by_key.get(key)
        if look_up is None:
            look_up = _LookUp(
                key, lambda: around(judge)(present, handshake), self._node.loop.time()
            )
            self._queue.append(look_up)
            if key is not None:
                self._by_key[key] = look_up
        found: asyncio.Future[Found] = self._node.loop.create_future()
        look_up.waiting.append(found)
        self._begin()
        return await found

    def _begin(self) -> None:
        while self._queue and len(self._tasks) < self._allowed:
            # Some a hop only where more wait than threads could take.
            most = _IN_A_HOP if len(self._queue) > self._most else 1
            look_ups: list[_LookUp] = []
            while self._queue and len(look_ups) < most:
                look_up = self._next()
                if look_up.is_wanted:
                    look_ups.append(look_up)
            if look_ups:
                # It serves several connections, so it runs in the context of none.
                task = self._node.loop.create_task(
                    self._run(_Hop(look_ups)),
                    name="realtime-credentials",
                    context=contextvars.Context(),
                )
                self._tasks.add(task)
                task.add_done_callback(self._end)
        if self._more is None and self._queue and self._allowed < self._most:
            self._more = self._node.loop.call_later(_NO_PROGRESS_S, self._allow_more)

    def _allow_more(self) -> None:
        self._more = None
        self._allowed += 1
        self._begin()

    def _next(self) -> _LookUp:
        look_up = self._queue.popleft()
        if look_up.key is not None:
            self._by_key.pop(look_up.key, None)
        return look_up

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._more is not None:
            self._more.cancel()
            self._more = None
        if not self._queue:
            self._allowed = min(_THREADS, self._most)
        if not task.cancelled():
            self._begin()

    async def _run(self, hop: _Hop) -> None:
        read_at = self._node.clock.time()
        timed_out: RequestTimeout | None = None
        try:
            await self._node.authentication.run(hop.run)
        except RequestTimeout as error:
            timed_out = error
        except Exception as error:  # there are no threads any more
            return self._fail(hop, error)
        except BaseException:
            self._fail(hop, RequestTimeout("the server stops"))
            raise
        hop.over = True
        done = hop.done
        for look_up in hop.look_ups[:done]:
            if look_up.error is not None:
                look_up.fail(look_up.error)
            else:
                look_up.succeed(read_at)
        if timed_out is not None:
            for look_up in hop.look_ups[done : done + 1]:
                look_up.fail(timed_out)
            self._queue.extendleft(reversed(hop.look_ups[done + 1 :]))
            self._give_up(timed_out)

    @staticmethod
    def _fail(hop: _Hop, error: Exception) -> None:
        hop.over = True
        for look_up in hop.look_ups:
            look_up.fail(error)

    def _give_up(self, error: RequestTimeout) -> None:
        """What a look-up waits for does not answer: those that have waited for as long wait no more."""
        long_ago = self._node.loop.time() - self._node.config.hook_timeout
        while self._queue and self._queue[0].since <= long_ago:
            self._next().fail(error)


def _key_of(present: list[tuple[Authenticator, str]], handshake: Handshake) -> Hashable | None:
    """What is equal for handshakes that differ in nothing; None for one that is looked up alone.

    All of it counts, not the credential alone: a site may tell its tenants apart by any part.
    """
    if len(present) != 1 or type(present[0][0]) not in _SHARED:
        return None
    scope = handshake.scope
    client = scope.get("client") or (None,)
    headers = tuple(
        (bytes(name), bytes(value))
        for name, value in scope.get("headers", ())
        if name.lower() != b"sec-websocket-key"
    )
    return (
        *(type(present[0][0]), present[0][1], headers, client[0], namespace_of(scope)),
        *(scope.get(part) for part in ("type", "scheme", "path", "root_path", "query_string")),
        str(scope.get("server")),
    )
