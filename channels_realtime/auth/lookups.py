"""Looks up the credentials of handshakes: a bounded number at a time, in the order of their arrival.

In: handshakes with credentials. Out: whose they are. In a storm of reconnects most of them wait here, and
not on the database. One that waits costs no thread and no query, and none at all if its client goes.

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

Found = tuple[Authenticated | None, float]
"""What credentials prove, and when they began to be read, in seconds since the epoch."""


class _LookUp:
    """One look-up, and the handshakes that wait for it."""

    __slots__ = ("context", "key", "since", "waiting", "work")

    def __init__(self, key: Hashable, work: Callable[[], Any], since: float) -> None:
        self.key = key
        self.work = work
        self.since = since
        self.context = contextvars.copy_context()
        self.waiting: list[asyncio.Future[Found]] = []

    @property
    def is_wanted(self) -> bool:
        return not all(each.done() for each in self.waiting)

    def succeed(self, found: Authenticated | None, read_at: float) -> None:
        for number, each in enumerate(each for each in self.waiting if not each.done()):
            own = found
            if found is not None and number:  # a hook may write to its user
                own = dataclasses.replace(found, user=copy.copy(found.user))
            each.set_result((own, read_at))

    def fail(self, error: Exception) -> None:
        for each in self.waiting:
            if not each.done():
                each.set_exception(error)


class LookUps(Service):
    """The look-ups of one node."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self._free = max(1, node.config.hook_threads)
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
            run = self._node.authentication.run
            look_up = _LookUp(
                key, lambda: run(around(judge), present, handshake), self._node.loop.time()
            )
            self._queue.append(look_up)
            if key is not None:
                self._by_key[key] = look_up
        found: asyncio.Future[Found] = self._node.loop.create_future()
        look_up.waiting.append(found)
        self._begin()
        return await found

    def _begin(self) -> None:
        while self._free and self._queue:
            look_up = self._next()
            if not look_up.is_wanted:
                continue
            self._free -= 1
            task = self._node.loop.create_task(
                self._run(look_up), name="realtime-credentials", context=look_up.context
            )
            self._tasks.add(task)
            task.add_done_callback(self._end)

    def _next(self) -> _LookUp:
        look_up = self._queue.popleft()
        if look_up.key is not None:
            del self._by_key[look_up.key]
        return look_up

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._free += 1
        if not task.cancelled():
            self._begin()

    async def _run(self, look_up: _LookUp) -> None:
        read_at = self._node.clock.time()
        try:
            found = await look_up.work()
        except Exception as error:
            look_up.fail(error)
            if isinstance(error, RequestTimeout):
                self._give_up(error)
        except BaseException:
            look_up.fail(RequestTimeout("the server stops"))
            raise
        else:
            look_up.succeed(found, read_at)

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
