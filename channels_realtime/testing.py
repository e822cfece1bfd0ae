"""Test support for sites: captured publications, a fake connection, and a client without a server.

``capture_publications`` shows what code publishes. ``FakeConnection`` stands for a connection when a
test calls the hooks of a channel class. ``RealtimeClient`` connects to the site's channels within the
test's process: its hooks run in the test's thread, so they see the rows of a ``TestCase``, whose
transaction no other thread sees.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import dataclasses
import json
import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar, TypeVarTuple

import msgspec
from asgiref.sync import SyncToAsync, ThreadSensitiveContext
from channels.layers import InMemoryChannelLayer

from .auth.login_session import SessionView
from .auth.users import anonymous_user
from .capture import Captured, capture_publications, captures
from .config import Config
from .consumers import RealtimeConsumer
from .errors import RealtimeError
from .identity import ANONYMOUS, Identity
from .monitoring.ended import EndedConnections
from .monitoring.feed import Feed
from .monitoring.metrics import MetricsRecorder
from .monitoring.registry import Registry
from .nodes.node import Node, place
from .nodes.outgoing import Outgoing, send
from .protocol.codes import ErrorCode
from .protocol.messages import Publication
from .runtime.database import DatabaseThread
from .runtime.hooks import HookRunner
from .runtime.tasks import end_tasks
from .services import HANDLERS, SERVICES
from .settings import get_config
from .stores.history.contract import HistoryStoreContract
from .stores.presence.contract import PresenceStoreContract
from .stores.sessions.contract import SessionStoreContract

__all__ = [
    "Captured",
    "Closed",
    "FakeConnection",
    "HistoryStoreContract",
    "PresenceStoreContract",
    "RealtimeClient",
    "SessionStoreContract",
    "capture_publications",
]

_TIMEOUT_S = 5.0

_LEFT_OUT = frozenset({EndedConnections, Feed, MetricsRecorder, Registry})
"""Services that write what the admin shows: queries that a test would count and not expect."""

_Value = TypeVar("_Value")
_Arguments = TypeVarTuple("_Arguments")


class FakeConnection:
    """A connection for calling hooks: ``channel.can_subscribe(FakeConnection(user))``.

    Args:
        user: by default an anonymous visitor.
        scope: what the hook reads of the ASGI scope.
        client_address: the client's.
        session_key: of a session that the test has saved, for ``connection.session``.
        namespace: of the connection's tenant.
    """

    def __init__(
        self,
        user: Any = None,
        *,
        scope: Mapping[str, Any] | None = None,
        client_address: str | None = "127.0.0.1",
        session_key: str | None = None,
        namespace: str = "",
    ) -> None:
        self.id = uuid.uuid4().hex
        self.user = anonymous_user() if user is None else user
        self.user_id = None if self.user.pk is None else str(self.user.pk)
        self.identity = (
            ANONYMOUS if self.user_id is None else Identity(user_id=self.user_id, method="session")
        )
        self.scope: Mapping[str, Any] = {"type": "websocket", **(scope or {}), "user": self.user}
        self.transport = "websocket"
        self.client_address = client_address
        self.namespace = namespace
        self._session_key = session_key

    @property
    def session(self) -> SessionView:
        """The Django session, read again each time."""
        return SessionView(self._session_key, self.user_id)


class Closed(AssertionError):
    """The server has closed the connection.

    Args:
        code: the close code, such as 4401.
        reason: what the client was told.
    """

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"the connection was closed with {code} ({reason or 'no reason'})")


class RealtimeClient:
    """A client of the site's channels in the test's own process, for synchronous tests.

    Use it in a ``with`` block, which connects and, at its end, closes the connection and stops what
    the first client started. No server, channel layer or Redis is used. Code of the test
    that publishes reaches it, also within the transaction of a ``TestCase``, once it has left its
    own ``atomic()`` blocks.

    Example::

        with RealtimeClient(user) as client:
            client.subscribe("orders/42")
            order.pay()
            self.assertEqual(client.receive()["payload"], {"status": "paid"})

    Args:
        user: who is connected, as by a login session; None connects without a user.
        cookies: of the handshake, such as ``self.client.cookies``.
        headers: of the handshake, such as ``{"Authorization": "Bearer …"}``.
        timeout: seconds to wait for an answer.
    """

    def __init__(
        self,
        user: Any = None,
        *,
        cookies: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = _TIMEOUT_S,
    ) -> None:
        fields = dict(headers or {})
        if cookies:
            pairs = [(name, getattr(each, "value", each)) for name, each in cookies.items()]
            fields["Cookie"] = "; ".join(f"{name}={value}" for name, value in pairs)
        self._scope: dict[str, Any] = {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": "/" + get_config().websocket_path,
            "root_path": "",
            "query_string": b"",
            "headers": [
                (b"host", b"testserver"),
                *((name.lower().encode(), value.encode()) for name, value in fields.items()),
            ],
            "client": ("127.0.0.1", 50_000),
            "server": ("testserver", 80),
            "subprotocols": ["realtime.v1.json"],
            "extensions": {},
        }
        if user is not None:
            self._scope["user"] = user
        self._timeout = timeout
        self._messages: deque[dict[str, Any]] = deque()
        self._numbers = 0

    def __enter__(self) -> RealtimeClient:
        self._site = _enter_site()
        try:
            self._inbound, self._outbound, self._task = self._site.run(self._open(), self._timeout)
            self.welcome: dict[str, Any] = self._next("welcome")["payload"]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            if hasattr(self, "_task"):
                self._site.run(self._leave(), self._timeout)
        finally:
            _leave_site(self._site)

    # -- requests ----------------------------------------------------------------------------------

    def subscribe(self, channel: str, parameters: Any = None, **fields: Any) -> dict[str, Any]:
        """Subscribe to a channel.

        Args:
            channel: the channel's name.
            parameters: what the channel class selects by, or reads.
            fields: others of the protocol, such as ``since={"epoch": …, "offset": …}``.

        Returns:
            the payload of ``subscribed``.

        Raises:
            RealtimeError: it is refused; ``code`` and ``reason`` are those that the client gets.
        """
        if parameters is not None:
            fields["payload"] = parameters
        found: dict[str, Any] = self._request({**fields, "type": "subscribe", "channel": channel})
        return found

    def presence(self, channel: str) -> dict[str, Any]:
        """Ask who is on a channel: ``members`` and ``count``. Raises as ``subscribe``."""
        found: dict[str, Any] = self._request({"type": "presence", "channel": channel})
        return found

    def unsubscribe(self, channel: str) -> dict[str, Any]:
        """End a subscription."""
        found: dict[str, Any] = self._request({"type": "unsubscribe", "channel": channel})
        return found

    def publish(
        self, channel: str, payload: Any, *, event: str | None = None, **fields: Any
    ) -> dict[str, Any]:
        """Publish as a client. Raises as ``subscribe``.

        Args:
            channel: the channel's name.
            payload: in JSON types.
            event: a name that the channel lets clients use.
            fields: others of the protocol, such as ``key="a"``, ``echo=False`` or ``transient=True``.
        """
        if event is not None:
            fields["event"] = event
        message = {**fields, "type": "publish", "channel": channel, "payload": payload}
        found: dict[str, Any] = self._request(message)
        return found

    def history(self, channel: str, **fields: Any) -> dict[str, Any]:
        """Read what a channel keeps, as a client: ``messages`` and the position. Raises as ``subscribe``.

        Args:
            channel: the channel's name.
            fields: ``since``, ``limit`` and ``reverse``.
        """
        found: dict[str, Any] = self._request({**fields, "type": "history", "channel": channel})
        return found

    def call(self, channel: str, method: str, payload: Any = None) -> Any:
        """Call a method of the channel and return its result. Raises as ``subscribe``."""
        message = {"type": "call", "channel": channel, "method": method, "payload": payload}
        return self._request(message)

    # -- what arrives ------------------------------------------------------------------------------

    def receive(self) -> dict[str, Any]:
        """Return the next message that is no answer: a publication, ``unsubscribed`` and so on.

        Raises:
            Closed: the connection was closed instead.
            AssertionError: nothing came in time.
        """
        self._site.deliver(self._timeout)
        return self._messages.popleft() if self._messages else self._read()

    def received(self) -> list[dict[str, Any]]:
        """Return all messages that have arrived by now and were not received yet."""
        self._site.deliver(self._timeout)
        self._request({"type": "ping"})
        found = list(self._messages)
        self._messages.clear()
        return found

    def wait_closed(self) -> int:
        """Wait until the server closes the connection, and return the close code."""
        self._site.deliver(self._timeout)
        try:
            while True:
                self._messages.append(self._read())
        except Closed as closed:
            return closed.code

    # -- the wire ----------------------------------------------------------------------------------

    def _request(self, message: dict[str, Any]) -> Any:
        self._site.deliver(self._timeout)
        self._numbers += 1
        text = json.dumps({**message, "id": self._numbers})
        self._site.post(self._inbound, {"type": "websocket.receive", "text": text})
        while True:
            answer = self._read()
            if answer.get("id") != self._numbers:
                self._messages.append(answer)
            elif answer["type"] == "error":
                error = answer["payload"]
                raise RealtimeError(error["reason"], code=ErrorCode(error["code"]))
            else:
                return answer.get("payload")

    def _next(self, kind: str) -> dict[str, Any]:
        while True:
            message = self._read()
            if message["type"] == kind:
                return message
            self._messages.append(message)

    def _read(self) -> dict[str, Any]:
        while True:
            if self._batch:
                return self._batch.popleft()
            event = self._site.run(self._event(), self._timeout)
            if event["type"] == "websocket.send":
                decoded = msgspec.json.decode(event["text"])
                self._batch.extend(decoded if isinstance(decoded, list) else [decoded])
            elif event["type"] == "websocket.close":
                self._closed = Closed(event.get("code", 1000), event.get("reason", ""))
                raise self._closed

    _batch: deque[dict[str, Any]]
    _closed: Closed | None = None

    # -- on the site's loop ------------------------------------------------------------------------

    async def _open(self) -> tuple[asyncio.Queue[Any], asyncio.Queue[Any], asyncio.Task[None]]:
        self._batch = deque()
        inbound: asyncio.Queue[Any] = asyncio.Queue()
        outbound: asyncio.Queue[Any] = asyncio.Queue()
        inbound.put_nowait({"type": "websocket.connect"})
        serve = RealtimeConsumer.as_asgi()(self._scope, inbound.get, outbound.put)
        return inbound, outbound, asyncio.ensure_future(serve)

    async def _event(self) -> dict[str, Any]:
        if self._closed is not None:
            raise self._closed
        getter = asyncio.ensure_future(self._outbound.get())
        try:
            await asyncio.wait([getter, self._task], return_when=asyncio.FIRST_COMPLETED)
            if getter.done():
                event: dict[str, Any] = getter.result()
                return event
        finally:
            getter.cancel()
        self._task.result()
        raise AssertionError("the server has ended the connection without a close")

    async def _leave(self) -> None:
        self._inbound.put_nowait({"type": "websocket.disconnect", "code": 1001})
        await asyncio.wait([self._task])


# -- the site, in the test's process ---------------------------------------------------------------


class _Site:
    """A node on a loop in a thread of its own; what blocks runs in the thread that waits for it."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="realtime-test")
        self._captured = Captured()
        self.clients = 0

    def start(self) -> None:
        self._thread.start()
        # No store of the site's either: what a test publishes is kept for that test.
        config = dataclasses.replace(
            get_config(),
            history_store=None,
            presence_store=None,
            session_store=None,
            store_redis=None,
        )
        self._node = self.run(self._make(config), _TIMEOUT_S)
        captures.push(self._captured)

    def stop(self) -> None:
        captures.pop(self._captured)
        try:
            self.run(self._stop(), _TIMEOUT_S)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _stop(self) -> None:
        await self._node.stop()
        await end_tasks(*asyncio.all_tasks() - {asyncio.current_task()})

    async def _make(self, config: Config) -> Node:
        # Its own layer: the tests of a site must not reach other processes, nor need a Redis.
        services = [service for service in SERVICES if service not in _LEFT_OUT]
        node = Node(config, InMemoryChannelLayer(), services=services, handlers=HANDLERS)
        caller = _Caller(self._work)
        node.hooks = _CallersHooks(caller, config)
        node.authentication = _CallersHooks(caller, config)
        node.database = _CallersDatabase(caller)
        node.background = _CallersDatabase(caller)
        place(node)
        return node

    def run(self, coroutine: Coroutine[Any, Any, _Value], timeout: float) -> _Value:
        """Wait for a coroutine on the loop, and meanwhile do the work that blocks, here."""
        future = contextvars.Context().run(asyncio.run_coroutine_threadsafe, coroutine, self._loop)
        future.add_done_callback(lambda _: self._work.put(None))
        deadline = time.monotonic() + timeout
        while not future.done():
            try:
                work = self._work.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                future.cancel()
                raise AssertionError(f"nothing came within {timeout:g} seconds") from None
            if work is not None:
                work()
        return future.result()

    def post(self, inbound: asyncio.Queue[Any], event: dict[str, Any]) -> None:
        """Hand an event of the client to the server."""
        self._loop.call_soon_threadsafe(inbound.put_nowait, event)

    def deliver(self, timeout: float) -> None:
        """Deliver what the test has published since the last time, unless it was rolled back."""
        outgoing = self._captured.take()
        if outgoing:
            self.run(self._deliver(outgoing), timeout)

    async def _deliver(self, outgoing: list[Outgoing]) -> None:
        node = self._node

        async def forward(publication: Publication, timeout: float) -> None:
            node.receive(publication)

        for one in outgoing:
            store = None if one.history is None else node.history
            await send(one, store=store, config=node.config, forward=forward, timeout=_TIMEOUT_S)


class _Caller(concurrent.futures.Executor):
    """Hands work to the thread that waits: the test's, whose transaction it must see."""

    def __init__(self, work: queue.SimpleQueue[Callable[[], object] | None]) -> None:
        self._work = work

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        self._work.put(work)
        return future


class _CallersHooks(HookRunner):
    """Runs hooks in the test's thread, and the ORM of ``async`` hooks too."""

    def __init__(self, caller: _Caller, config: Config) -> None:
        super().__init__(
            threads=0, timeout=config.hook_timeout, max_concurrent=config.max_concurrent_hooks
        )
        self._caller = caller

    async def _run_sync(self, hook: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._caller, hook, *args)

    async def _run_async(self, hook: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        async with ThreadSensitiveContext() as context:
            SyncToAsync.context_to_thread_executor[context] = self._caller
            try:
                return await hook(*args)
            finally:
                SyncToAsync.context_to_thread_executor.pop(context, None)


class _CallersDatabase(DatabaseThread):
    """Does the node's database work in the test's thread, and closes no connection."""

    def __init__(self, caller: _Caller) -> None:
        super().__init__(own_thread=False)
        self._caller = caller

    async def run(self, work: Callable[[*_Arguments], _Value], *arguments: *_Arguments) -> _Value:
        return await asyncio.get_running_loop().run_in_executor(self._caller, work, *arguments)

    def close(self) -> None:
        """There is nothing to close."""


_site: _Site | None = None


def _enter_site() -> _Site:
    global _site
    if _site is None:
        site = _Site()
        site.start()
        _site = site
    _site.clients += 1
    return _site


def _leave_site(site: _Site) -> None:
    global _site
    site.clients -= 1
    if site.clients == 0:
        _site = None
        site.stop()
