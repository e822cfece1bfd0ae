"""What event streams and polls have in common: the content of frames, and a bounded buffer of them.

Over HTTP a server takes what is written when it asks for it. So a transport keeps a little, and
``write`` waits when that is full: the connection's writer then queues what follows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ..connections.transport import Transport
from ..protocol import messages as m
from ..protocol.codecs import JSON
from ..protocol.codes import CloseCode
from ..protocol.dialects.realtime import RealtimeDialect, RealtimeEncoding
from ..protocol.dialects.realtime_objects import push_object
from ..protocol.frames import Frame, Policy, frame_size
from ..protocol.limits import Limits


class Message:
    """The content of a frame: one message, as JSON text.

    Args:
        text: of the message.
        channel: of a publication.
        position: of a publication that moves its channel on; None for one of a state.
        push: what it says, where that is for one client.
        event: its name on an event stream, where it has one.
    """

    __slots__ = ("channel", "event", "position", "push", "text")

    def __init__(
        self,
        text: str,
        channel: str | None = None,
        position: m.Position | None = None,
        push: m.Push | None = None,
        event: str | None = None,
    ) -> None:
        self.text = text
        self.event = event
        self.channel = channel
        self.position = position
        self.push = push


class Ending:
    """The content of the last frame, after ``closing``.

    Args:
        code: of the close.
        reason: a few words.
        final: whether the client is to stay away; an ``EventSource`` that comes back cannot know when
            it has other credentials, so that 4401 is final as well.
    """

    __slots__ = ("code", "final", "reason")

    def __init__(self, code: CloseCode, reason: str, *, reconnect: bool) -> None:
        self.code = code
        self.reason = reason
        self.final = not reconnect or code is CloseCode.UNAUTHENTICATED


class HttpEncoding(RealtimeEncoding):
    """The project's JSON objects, with what a transport wants to know of them."""

    __slots__ = ()

    def publication_frame(self, publication: m.Publication, policy: Policy) -> Frame:
        """The frame of a publication, the same for every subscriber, with the position after it."""
        data = self.encode_publication(publication)
        assert isinstance(data, str)
        position = None if publication.state or publication.kind else publication.position
        content = Message(data, publication.channel, position)
        return Frame(content, frame_size(data), publication.channel, policy)

    def frame(self, data: str | bytes) -> Frame:
        """The frame of a push to one client."""
        assert isinstance(data, str)
        push = data.push if isinstance(data, PushText) else None
        return Frame(Message(str(data), push=push), frame_size(data))


class PushText(str):
    """The text of a push, with the push: what it says counts when it is written."""

    __slots__ = ("push",)
    push: m.Push

    def __new__(cls, text: str, push: m.Push) -> PushText:
        made = super().__new__(cls, text)
        made.push = push
        return made


class HttpDialect(RealtimeDialect):
    """The project's own dialect over HTTP: no pings, and batches in both directions."""

    __slots__ = ()

    def __init__(self, limits: Limits, encoding: HttpEncoding | None = None) -> None:
        super().__init__(encoding or ENCODING, limits, batches=True, heartbeat=False)

    def encode(self, push: m.Push) -> str | bytes | None:
        """The text of a push, which keeps the push."""
        return PushText(JSON.encode(push_object(push)), push)


class HttpTransport(Transport):
    """Keeps what was written until the server takes it, in bounded memory.

    Args:
        max_frame_bytes: the largest batch of messages that a client may send at once.
        most_bytes: may wait; beyond, ``write`` does.
        drop: ends the connection at once.
    """

    __slots__ = ("_barred", "_drop", "_ending", "_most_bytes", "_room", "_size", "max_frame_bytes")

    max_frame_bytes: int | None

    def __init__(
        self, *, max_frame_bytes: int | None, most_bytes: int, drop: Callable[[], None]
    ) -> None:
        self.write = self._write
        self.max_frame_bytes = max_frame_bytes
        self._barred = False  # only ``closing`` may be written
        self._drop: Callable[[], None] | None = drop
        self._ending = False
        self._most_bytes = most_bytes
        self._room: asyncio.Future[None] | None = None  # there while ``write`` waits
        self._size = 0

    @staticmethod
    def wrap(data: str | bytes) -> Any:
        """A message without a push."""
        assert isinstance(data, str)
        return Message(data)

    def tell(self, push: m.Push) -> bool:
        """Take back what waits, where a close says that the client may no longer have it."""
        if isinstance(push, m.Closing) and push.code in _ENDS_RIGHTS:
            self._barred = True
            self._clear()
            self._has_room()
        return False

    async def _write(self, content: Message | Ending) -> None:
        while self._size >= self._most_bytes and not self._ending:
            if self._room is None:
                self._room = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._room)
        if self._ending:
            return
        if isinstance(content, Ending):
            self._ending = True
            self._end(content)
        elif not self._barred or isinstance(content.push, m.Closing):
            self._put(content)

    def _put(self, message: Message) -> None:
        """Keep a message, and have the server know."""
        raise NotImplementedError

    def _end(self, ending: Ending) -> None:
        """Nothing follows."""
        raise NotImplementedError

    def _clear(self) -> None:
        """Forget what was not taken."""
        raise NotImplementedError

    def _has_room(self) -> None:
        """Something was taken."""
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def close_content(
        self, code: CloseCode, reason: str, *, rfc: bool, reconnect: bool
    ) -> tuple[int, Any]:
        """The end; HTTP has no close codes, so the client knows those of ``closing`` alone."""
        return int(code), Ending(code, reason, reconnect=reconnect)

    def drop(self) -> None:
        """End it at once."""
        if self._drop is not None:
            self._drop()

    def detach(self) -> None:
        """The connection is over."""
        self._drop = None
        self._ending = True
        self._has_room()


_ENDS_RIGHTS = frozenset({CloseCode.UNAUTHENTICATED, CloseCode.BLOCKED, CloseCode.REPLACED})
"""Closes after which the client may have nothing of what waits for it."""

ENCODING = HttpEncoding(JSON, HttpTransport.wrap)
"""Shared by all connections over HTTP."""
