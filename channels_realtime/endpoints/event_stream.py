"""Server-sent events: a connection over the body of an HTTP response that does not end.

The format is that of the HTML standard, section 9.2. Each message is one event. An ``id:`` is the
cursor of the stream after that event (``cursors``).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, MutableMapping, Sequence
from typing import Any, ClassVar

from ..access.client_address import FoundAddress
from ..auth.base import Authenticated
from ..connections.connection import Connection
from ..connections.transport import SendEvent
from ..errors import RealtimeError
from ..nodes.node import Node
from ..protocol import messages as m
from ..protocol.codecs import JSON
from ..protocol.dialects.realtime_objects import push_object
from ..runtime.request_thread import release_request_thread
from ..servers.abort import abort
from ..servers.daphne import ResponseFlowControl, response_flow_control
from ..servers.unwrap import warn_if_missing
from .cursors import Cursor, ReadCursor, closed_cursor
from .handshake import SEND, close_if_blocked, opening
from .http_transport import Ending, HttpDialect, HttpTransport, Message
from .language import activate_language
from .routed import RoutedConnections

_BUFFER_BYTES = 16_384
"""What may wait beside what the server holds itself; events that come together leave together."""

KEEP_ALIVE = b": keep-alive\n\n"


class EventStreamTransport(HttpTransport):
    """A response's body, from which the server takes chunks as fast as its client reads.

    Args:
        cursor: of the stream.
        max_frame_bytes: the largest batch of messages that a client may send at once.
        drop: ends the response at once.
    """

    __slots__ = ("_buffer", "_cursor", "_pull")

    name: ClassVar[str] = "sse"

    def __init__(
        self, cursor: Cursor, *, max_frame_bytes: int | None, drop: Callable[[], None]
    ) -> None:
        super().__init__(max_frame_bytes=max_frame_bytes, most_bytes=_BUFFER_BYTES, drop=drop)
        self._buffer: list[str] = []
        self._cursor = cursor
        self._pull: asyncio.Future[None] | None = None  # there while the server wants more

    def _put(self, message: Message) -> None:
        before = ""
        if message.push is not None:
            before = self._take_up(message.push)
        elif message.position is not None:
            assert message.channel is not None
            self._cursor.advance(message.channel, message.position)
        cursor = self._cursor.changed()
        after = "" if cursor is None else f"id: {cursor}\n"
        if message.event is not None:
            before += f"event: {message.event}\n"
        # JSON text has no line breaks.
        self._append(f"{before}data: {message.text}\n{after}\n")

    def _take_up(self, push: m.Push) -> str:
        """What a push means for the cursor; returns a line that goes with its event."""
        cursor = self._cursor
        if isinstance(push, m.Welcome):
            for name, position in push.channels.items():
                if position is not None:
                    cursor.track(name)
                    if not cursor.knows(name):
                        cursor.begin(name, position)
        elif isinstance(push, m.Subscribed):
            if push.automatic:
                cursor.track(push.channel)
            if push.position is not None and not (push.recovered and cursor.knows(push.channel)):
                cursor.begin(push.channel, push.position)
        elif isinstance(push, m.Unsubscribed):
            cursor.forget(push.channel)
        elif isinstance(push, m.Closing):
            return _retry_line(push)
        return ""

    def _end(self, ending: Ending) -> None:
        if ending.final:
            data = JSON.encode({"code": int(ending.code), "reason": ending.reason})
            self._append(f"event: close\ndata: {data}\nid: {closed_cursor(ending.code)}\n\n")
        self._wake()

    def _append(self, text: str) -> None:
        self._buffer.append(text)
        self._size += len(text)
        self._wake()

    def _clear(self) -> None:
        self._buffer.clear()
        self._size = 0

    def _wake(self) -> None:
        if self._pull is not None and not self._pull.done():
            self._pull.set_result(None)

    def detach(self) -> None:
        """The connection is over."""
        super().detach()
        self._wake()

    async def chunks(self, keep_alive_s: float) -> AsyncIterator[bytes]:
        """What is to be written to the body, until its end.

        Args:
            keep_alive_s: after so many seconds without an event a comment is written.
        """
        while True:
            if self._buffer:
                text = "".join(self._buffer)
                self._clear()
                self._has_room()
                yield text.encode()
            elif self._ending:
                return
            else:
                self._pull = asyncio.get_running_loop().create_future()
                try:
                    async with asyncio.timeout(keep_alive_s):
                        await self._pull
                except TimeoutError:
                    yield KEEP_ALIVE
                finally:
                    self._pull = None


def _retry_line(closing: m.Closing) -> str:
    after = closing.retry_after
    return "" if after is None else f"retry: {max(_LEAST_RETRY_MS, round(after * 1000))}\n"


_LEAST_RETRY_MS = 1000
"""An ``EventSource`` keeps the interval, and asks so often as long as nothing answers."""


def refusal_stream(closing: m.Closing, *, event: str | None = None) -> bytes:
    """The whole body for an ``EventSource`` that is to try again later.

    It takes any other status than 200 for final.

    Args:
        closing: what it is told.
        event: the name of the event, for clients that take one without a name for something else.
    """
    name = "" if event is None else f"event: {event}\n"
    return f"{_retry_line(closing)}{name}data: {JSON.encode(push_object(closing))}\n\n".encode()


# -- the endpoint ----------------------------------------------------------------------------------


class EventStream:
    """The body of one response: makes its connection when the server begins to write, and ends it.

    A response that is made but never written, because its client has gone meanwhile, leaves nothing.

    Args:
        node: the node.
        scope: of the request.
        address: the client's.
        found: what its credentials prove; None for an anonymous client.
        read_at: when they began to be read, in seconds since the epoch.
        channels: to subscribe to.
        came_with: the cursor that the client sent.
        dialect: of the client.
    """

    def __init__(
        self,
        node: Node,
        scope: MutableMapping[str, Any],
        address: FoundAddress,
        found: Authenticated | None,
        read_at: float,
        *,
        channels: Sequence[str],
        came_with: ReadCursor,
        dialect: HttpDialect,
    ) -> None:
        self._node = node
        self._dialect = dialect
        self._send: SendEvent | None = scope.pop(SEND, None)
        self._scope = scope
        self._address = address
        self._found = found
        self._read_at = read_at
        self._channels = channels
        self._came_with = came_with
        self._connection: Connection | None = None
        self._flow: ResponseFlowControl | None = None
        self._opened: asyncio.Task[None] | None = None
        self._task: asyncio.Task[Any] | None = None  # the server's, which writes the response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """What the server writes."""
        release_request_thread()
        transport = self._begin()
        try:
            async for chunk in transport.chunks(self._node.config.heartbeat_interval):
                if self._flow is not None:
                    await self._flow.room()
                yield chunk
        finally:
            self._finish()

    def _begin(self) -> EventStreamTransport:
        node, limits = self._node, self._node.config.limits
        activate_language(self._scope)
        transport = EventStreamTransport(
            Cursor(self._came_with, self._channels, self._has_state),
            max_frame_bytes=limits.max_frame,
            drop=self._drop,
        )
        connection = Connection(node, self._scope, self._address, transport, self._dialect)
        node.service(RoutedConnections).add(connection)
        connection.begin()
        self._connection = connection
        warn_if_missing(self._send)
        self._flow = None if self._send is None else response_flow_control(self._send)
        self._task = asyncio.current_task()
        self._opened = asyncio.create_task(self._open(connection), name="realtime-open")
        return transport

    def _drop(self) -> None:
        """End it at once: the client does not read."""
        if self._send is not None:
            abort(self._send)
        if self._task is not None:
            self._task.cancel()
        self._finish()

    def _finish(self) -> None:
        """Free everything that it holds, whatever ended it."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._opened is not None:
            self._opened.cancel()
        self._opened = self._task = None
        connection.finish()
        if self._flow is not None:
            self._flow.close()
            self._flow = None

    def close(self) -> None:
        """The response is over; Django's handler says so, in a thread.

        While the server writes, nothing else would end the body of a response that is cancelled.
        """
        loop = self._node.loop
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._finish)

    def _has_state(self, name: str) -> bool:
        try:
            return self._node.routes.resolve(name).state is not None
        except RealtimeError:
            return False

    async def _open(self, connection: Connection) -> None:
        """Greet the client, and subscribe it to the channels that it has named."""
        node, since = self._node, self._came_with.position
        with opening(node, connection):
            await node.ready()
            if close_if_blocked(node, connection):
                return
            if self._found is not None and not connection.authenticated(self._found, self._read_at):
                return
            await connection.welcome(since)
            connection.request(
                [m.Subscribe(channel=name, since=since(name)) for name in self._channels]
            )
