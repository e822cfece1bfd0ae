"""Server-sent events: a connection over the body of an HTTP response that does not end.

The format is that of the HTML standard, section 9.2. Each message is one event. An ``id:`` is the
cursor of the stream: the positions of its channels with history after that event. A client that comes
back with it, as every ``EventSource`` does by itself, gets what it has missed.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, MutableMapping, Sequence
from typing import Any, ClassVar

import msgspec

from ..auth.base import Authenticated
from ..connections.connection import Connection
from ..connections.transport import SendEvent, Transport
from ..errors import RealtimeError
from ..nodes.node import Node
from ..protocol import messages as m
from ..protocol.codecs import JSON
from ..protocol.codes import CloseCode
from ..protocol.dialects.realtime import MAX_EPOCH_LENGTH, RealtimeDialect, RealtimeEncoding
from ..protocol.dialects.realtime_objects import push_object
from ..protocol.frames import Frame, Policy, frame_size
from ..servers.abort import abort
from ..servers.daphne import response_flow_control
from .handshake import SEND, close_if_blocked, opening
from .language import activate_language
from .routed import RoutedConnections

MAX_CURSOR_CHANNELS = 32
"""Channels with history that a cursor holds."""

_MAX_CURSOR_LENGTH = 4_096
_CLOSED = "closed."
_BUFFER_BYTES = 16_384
"""What may wait for the server beside what it holds itself; events that come together leave together."""

UNKNOWN = m.Position("", 0)
"""A position that no store can meet: the client is told that it has missed something."""

KEEP_ALIVE = b": keep-alive\n\n"


# -- the cursor ------------------------------------------------------------------------------------


class Cursor:
    """The positions up to which a stream's client has its channels.

    Args:
        came_with: the cursor that the client sent.
        channels: those that it names, which a cursor of this stream is for.
        has_state: whether a channel keeps a state. Until the state was written there is no position
            to come back to.
    """

    __slots__ = ("_came_with", "_has_state", "_positions", "_text", "_tracked")

    def __init__(
        self, came_with: ReadCursor, channels: Iterable[str], has_state: Callable[[str], bool]
    ) -> None:
        self._came_with = came_with
        self._has_state = has_state
        self._positions: dict[str, tuple[bytes, str, int]] = {}
        self._tracked: set[str] = set()
        for name in channels:
            self.track(name)
        self._text = self._encode()

    def track(self, name: str) -> None:
        """Have the cursor be for this channel too, where there is room."""
        if name in self._tracked or len(self._tracked) >= MAX_CURSOR_CHANNELS:
            return
        self._tracked.add(name)
        position = self._came_with.position(name)
        if position is not None:
            self._put(name, position)

    def begin(self, name: str, position: m.Position) -> None:
        """The client is on a channel from this position on, where it did not come with one."""
        if name not in self._tracked:
            return
        if self._has_state(name):
            self.forget(name)
        else:
            self._put(name, position)

    def advance(self, name: str, position: m.Position) -> None:
        """The client is sent a publication."""
        if name in self._tracked:
            self._put(name, position)

    def forget(self, name: str) -> None:
        """The client is no longer on a channel."""
        self._positions.pop(name, None)

    def knows(self, name: str) -> bool:
        """Whether it has a position of a channel."""
        return name in self._positions

    def _put(self, name: str, position: m.Position) -> None:
        known = self._positions.get(name)
        key = _key(name) if known is None else known[0]
        self._positions[name] = (key, position.epoch, position.offset)

    def changed(self) -> str | None:
        """The text of the cursor if it is not that of the last call."""
        text = self._encode()
        if text == self._text:
            return None
        self._text = text
        return text

    def _encode(self) -> str:
        if not self._positions:
            return ""
        data = msgspec.msgpack.encode(list(self._positions.values()))
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _key(name: str) -> bytes:
    """A channel in a cursor; short, because each event has them all."""
    return hashlib.blake2b(name.encode(), digest_size=6).digest()


_decode = msgspec.msgpack.Decoder(list[tuple[bytes, str, int]]).decode


class ReadCursor:
    """A cursor that a client has sent; anything may be in it.

    Args:
        text: as the client sent it; empty for none.
    """

    def __init__(self, text: str) -> None:
        self.closed: int | None = None
        """The close code of the stream whose end it is, if that was the last word."""
        self._positions: dict[bytes, m.Position] | None = {}
        if text.startswith(_CLOSED):
            code = text.removeprefix(_CLOSED)
            self.closed = int(code) if code in _CLOSE_CODES else int(CloseCode.BLOCKED)
        elif text:
            self._positions = _read(text)

    def position(self, name: str) -> m.Position | None:
        """Up to where the client has a channel; ``UNKNOWN`` where the cursor cannot be read."""
        if self._positions is None:
            return UNKNOWN
        return self._positions.get(_key(name))


_CLOSE_CODES = frozenset(str(int(code)) for code in CloseCode)


def _read(text: str) -> dict[bytes, m.Position] | None:
    if len(text) > _MAX_CURSOR_LENGTH or not text.isascii():
        return None
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        entries = _decode(data)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        return None
    good = all(
        len(key) == 6 and len(epoch) <= MAX_EPOCH_LENGTH and 0 <= offset <= m.MAX_ID_INTEGER
        for key, epoch, offset in entries
    )
    if not good or len(entries) > MAX_CURSOR_CHANNELS:
        return None
    return {key: m.Position(epoch, offset) for key, epoch, offset in entries}


# -- events ----------------------------------------------------------------------------------------


class Event:
    """The content of a frame: one event, without the ``id:`` that each stream has for itself."""

    __slots__ = ("channel", "position", "push", "text")

    def __init__(
        self,
        text: str,
        channel: str | None = None,
        position: m.Position | None = None,
        push: m.Push | None = None,
    ) -> None:
        self.text = text
        self.channel = channel
        self.position = position
        self.push = push
        """What it says, where that is for one client."""


class Ending:
    """The content of the last frame."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


class EventStreamEncoding(RealtimeEncoding):
    """The project's JSON objects as events."""

    __slots__ = ()

    def publication_frame(self, publication: m.Publication, policy: Policy) -> Frame:
        """The frame of a publication, with the position after it."""
        data = self.encode_publication(publication)
        assert isinstance(data, str)
        position = None if publication.state or publication.kind else publication.position
        event = Event(_data_line(data), publication.channel, position)
        return Frame(event, frame_size(data), publication.channel, policy)

    def frame(self, data: str | bytes) -> Frame:
        """The frame of a push to one client."""
        assert isinstance(data, str)
        push = data.push if isinstance(data, _PushText) else None
        return Frame(Event(_data_line(data), push=push), frame_size(data))


class _PushText(str):
    """The JSON text of a push, with the push: what it says moves the cursor when it is written."""

    __slots__ = ("push",)
    push: m.Push


class EventStreamDialect(RealtimeDialect):
    """The project's own dialect on an event stream."""

    __slots__ = ()

    def encode(self, push: m.Push) -> str | bytes | None:
        """The text of a push, which keeps the push."""
        text = _PushText(JSON.encode(push_object(push)))
        text.push = push
        return text


def _data_line(data: str) -> str:
    return f"data: {data}\n"  # JSON text has no line breaks


class EventStreamTransport(Transport):
    """A response's body, from which the server takes chunks as fast as its client reads.

    Args:
        cursor: of the stream.
        max_frame_bytes: the largest batch of messages that a client may send at once.
        drop: ends the response at once.
    """

    __slots__ = (
        "_buffer",
        "_cursor",
        "_drop",
        "_ended",
        "_pull",
        "_room",
        "_size",
        "max_frame_bytes",
    )

    name: ClassVar[str] = "sse"
    max_frame_bytes: int | None

    def __init__(
        self, cursor: Cursor, *, max_frame_bytes: int | None, drop: Callable[[], None]
    ) -> None:
        self.write = self._write
        self.max_frame_bytes = max_frame_bytes
        self._cursor = cursor
        self._drop: Callable[[], None] | None = drop
        self._buffer: list[str] = []
        self._size = 0
        self._ended = False
        self._pull: asyncio.Future[None] | None = None  # there while the server wants more
        self._room: asyncio.Future[None] | None = None  # there while the server wants nothing

    @staticmethod
    def wrap(data: str | bytes) -> Any:
        """An event that is nobody's reply."""
        assert isinstance(data, str)
        return Event(_data_line(data))

    async def _write(self, content: Event | Ending) -> None:
        """Write an event; waits while the server has not taken what was written before."""
        while self._size >= _BUFFER_BYTES and not self._ended:
            if self._room is None:
                self._room = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._room)
        if self._ended:
            return
        if isinstance(content, Ending):
            self._ended = True
            self._put(content.text)
        else:
            self._put(self._event(content))
        if self._pull is not None and not self._pull.done():
            self._pull.set_result(None)

    def _put(self, text: str) -> None:
        if text:
            self._buffer.append(text)
            self._size += len(text)

    def _event(self, event: Event) -> str:
        before = ""
        if event.push is not None:
            before = self._take_up(event.push)
        elif event.position is not None:
            assert event.channel is not None
            self._cursor.advance(event.channel, event.position)
        cursor = self._cursor.changed()
        after = "" if cursor is None else f"id: {cursor}\n"
        return f"{before}{event.text}{after}\n"

    def _take_up(self, push: m.Push) -> str:
        """What a push means for the cursor; returns lines that go with its event."""
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
        elif isinstance(push, m.Closing) and push.retry_after is not None:
            return f"retry: {max(1, round(push.retry_after * 1000))}\n"
        return ""

    def close_content(
        self, code: CloseCode, reason: str, *, rfc: bool, reconnect: bool
    ) -> tuple[int, Any]:
        """The end of the body; after it the event ``close`` where the client is to stay away.

        An ``EventSource`` cannot know when it has other credentials, so 4401 is final as well.
        """
        if reconnect and code is not CloseCode.UNAUTHENTICATED:
            return int(code), Ending("")
        return int(code), Ending(close_event(code, reason))

    def drop(self) -> None:
        """End the response at once."""
        if self._drop is not None:
            self._drop()

    def detach(self) -> None:
        """The connection is over."""
        self._drop = None
        self._ended = True
        self._release()

    def _release(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    async def chunks(self, keep_alive_s: float) -> AsyncIterator[bytes]:
        """What is to be written to the body, until its end.

        Args:
            keep_alive_s: after so many seconds without an event a comment is written.
        """
        while True:
            if self._buffer:
                text = "".join(self._buffer)
                self._buffer.clear()
                self._size = 0
                self._release()
                yield text.encode()
            elif self._ended:
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


def close_event(code: int, reason: str) -> str:
    """The last event of a stream that is not to be opened again by itself."""
    data = JSON.encode({"code": int(code), "reason": reason})
    return f"event: close\ndata: {data}\nid: {_CLOSED}{int(code)}\n\n"


def refusal_stream(closing: m.Closing) -> bytes:
    """The whole body for an ``EventSource`` that is to try again later.

    It takes any other status than 200 for final.
    """
    data = JSON.encode(push_object(closing))
    retry = max(1, round((closing.retry_after or 1.0) * 1000))
    return f"retry: {retry}\ndata: {data}\n\n".encode()


ENCODING = EventStreamEncoding(JSON, EventStreamTransport.wrap)
"""Shared by all streams."""


# -- the endpoint ----------------------------------------------------------------------------------


class EventStream:
    """One stream: makes its connection when the server begins to write the response, and ends it.

    A response that is made but never written, because its client has gone meanwhile, leaves nothing.

    Args:
        node: the node.
        scope: of the request.
        address: the client's.
        found: what its credentials prove; None for an anonymous client.
        read_at: when they began to be read, in seconds since the epoch.
        channels: to subscribe to.
        came_with: the cursor that the client sent.
    """

    def __init__(
        self,
        node: Node,
        scope: MutableMapping[str, Any],
        address: str | None,
        found: Authenticated | None,
        read_at: float,
        *,
        channels: Sequence[str],
        came_with: ReadCursor,
    ) -> None:
        self._node = node
        self._send: SendEvent | None = scope.pop(SEND, None)
        self._scope = scope
        self._address = address
        self._found = found
        self._read_at = read_at
        self._channels = channels
        self._came_with = came_with

    async def body(self) -> AsyncIterator[bytes]:
        """The response's body."""
        node, config = self._node, self._node.config
        activate_language(self._scope)
        task = asyncio.current_task()
        assert task is not None
        transport = EventStreamTransport(
            Cursor(self._came_with, self._channels, self._has_state),
            max_frame_bytes=config.limits.max_frame,
            drop=ResponseTask(task, self._send).drop,
        )
        dialect = EventStreamDialect(ENCODING, config.limits, batches=True, heartbeat=False)
        connection = Connection(node, self._scope, self._address, transport, dialect)
        node.service(RoutedConnections).add(connection)
        flow = None if self._send is None else response_flow_control(self._send)
        connection.begin()
        opened = asyncio.create_task(self._open(connection), name="realtime-open")
        try:
            async for chunk in transport.chunks(config.heartbeat_interval):
                if flow is not None:
                    await flow.room()
                yield chunk
        finally:
            opened.cancel()
            connection.finish()
            if flow is not None:
                flow.close()

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


class ResponseTask:
    """The server's task that writes a response, and what may end it.

    Args:
        task: the task.
        send: the server's; None where it is not known.
    """

    def __init__(self, task: asyncio.Task[Any], send: SendEvent | None) -> None:
        self._task = task
        self._send = send

    def drop(self) -> None:
        """End it at once: the client does not read."""
        if self._send is not None:
            abort(self._send)
        self._task.cancel()
