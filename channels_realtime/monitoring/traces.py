"""Watching what one connection sends and receives, for as long as somebody looks.

In: frames, from a connection's tap; viewers' questions (``operations.read_trace``). Out: events, by
which a viewer sees what was said and nothing that proves who said it: no token, ticket or session
id, whatever the viewer may see otherwise. A connection that nobody watches has no tap and costs
nothing.

A trace is kept by being read: it ends ten seconds after its last viewer's last question, and with
its connection, whose last words can still be read until then.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import deque
from typing import Any, Protocol

import msgspec

from ..errors import BadMessage
from ..nodes.node import Node
from ..nodes.requests import answers
from ..protocol.codecs import Codec
from ..protocol.dialects.base import Encoding, frame_size
from ..protocol.dialects.realtime import MAX_EVENT_LENGTH, RealtimeEncoding
from ..protocol.messages import MAX_ID_INTEGER, MAX_ID_LENGTH
from ..protocol.names import MAX_NAME_LENGTH

logger = logging.getLogger(__name__)

MAX_EVENTS = 500
"""Events that a trace keeps; the oldest give way."""

MAX_BYTES = 524_288
"""Payloads that it keeps, in sum; events give way for them too."""

MAX_PAYLOAD_BYTES = MAX_BYTES // 4
"""Longest payload that is kept; of a longer one the size is told."""

IDLE_S = 10.0
"""How long a viewer may be silent and still be one."""

MAX_VIEWERS = 20
"""Viewers of one connection; who has been silent longest gives way."""

MAX_TRACES = 50
"""Traces of one node, likewise; about 25 MB."""

_MAX_WORD = 64

_SECRET = frozenset({"auth", "auth_ok", "welcome", "resume", "resumed"})
"""Messages whose payloads hold credentials, session ids or what else is between the two."""

_SHOWN_OF_CLIENT = frozenset(
    {"subscribe", "unsubscribe", "publish", "call", "presence", "history", "flow"}
)
"""Messages of a client of which more than the type is shown; in any other may be anything."""

_WITH_CODE = frozenset({"error", "closing", "unsubscribed"})

_NOTHING: Any = msgspec.UNSET
"""There is no payload."""

_HIDDEN: Any = object()
"""There is one that is nobody's to see."""


class Traced(Protocol):
    """What a trace asks of its connection."""

    id: str
    closed: bool
    end: str
    encoding: Encoding

    @property
    def dialect_name(self) -> str: ...

    def tap(self, tap: Any) -> None: ...


@dataclasses.dataclass(slots=True)
class _Event:
    """Something that was sent or received.

    Args:
        number: from 1 in each trace.
        fields: what every viewer sees.
        payload: as MessagePack; None without one.
        withheld: why there is none though there was one to keep: ``"secret"``, ``"size"`` or
            ``"unreadable"``.
    """

    number: int
    fields: dict[str, Any]
    payload: bytes | None = None
    withheld: str | None = None

    def shown(self, *, payloads: bool) -> dict[str, Any]:
        shown = {"number": self.number, **self.fields}
        if payloads and self.payload is not None:
            shown["payload"] = msgspec.Raw(self.payload)
        elif payloads and self.withheld is not None:
            shown["withheld"] = self.withheld
        return shown


@dataclasses.dataclass(slots=True)
class _Viewer:
    """Somebody who watches.

    Args:
        start: the number before the first event that was there to be read.
        read_at: the last time, in monotonic seconds.
        payloads: whether it may have payloads.
    """

    start: int
    read_at: float
    payloads: bool = False


class Trace:
    """What one connection has sent and received lately; a tap of the connection's, and a timer's.

    Args:
        node: the connection's.
        connection: tapped from now on.
    """

    __slots__ = (
        "__weakref__",
        "_bytes",
        "_codec",
        "_connection",
        "_events",
        "_is_bare",
        "_keeps_payloads",
        "_node",
        "_number",
        "_saw_end",
        "_viewers",
    )

    def __init__(self, node: Node, connection: Traced) -> None:
        self._node = node
        self._connection = connection
        self._codec = _codec_of(connection)
        self._is_bare = connection.dialect_name == "bare"
        self._events: deque[_Event] = deque()
        self._bytes = 0
        self._number = 0
        self._viewers: dict[str, _Viewer] = {}
        self._keeps_payloads = False
        self._saw_end = False
        node.traces[connection.id] = self
        connection.tap(self)
        node.timers.set(self, node.clock.monotonic() + IDLE_S)

    # -- viewers -----------------------------------------------------------------------------------

    def read(self, name: str, after: int, *, payloads: bool) -> dict[str, Any]:
        """The events after number ``after``, for a viewer who may have payloads or not."""
        if self._connection.closed and not self._saw_end:
            self._saw_end = True
            end = self._connection.end
            self._keep("out" if end.isdecimal() else "in", "closed", 0, code=end)
        first = self._events[0].number if self._events else self._number + 1
        viewer = self._seen(name, first - 1, payloads=payloads)
        if not 0 <= after <= self._number:
            after = 0  # a number of an earlier trace
        return {
            "events": [
                event.shown(payloads=payloads) for event in self._events if event.number > after
            ],
            "next": self._number,
            "lost": max(0, first - 1 - max(after, viewer.start)),
        }

    def _seen(self, name: str, start: int, *, payloads: bool) -> _Viewer:
        now = self._node.clock.monotonic()
        viewer = self._viewers.get(name)
        if viewer is None:
            if len(self._viewers) >= MAX_VIEWERS:
                self._forget(min(self._viewers, key=lambda name: self._viewers[name].read_at))
            viewer = self._viewers[name] = _Viewer(start, now)
            self._log(f"{name!r} watches, {'with' if payloads else 'without'} payloads")
        elif payloads and not viewer.payloads:
            self._log(f"{name!r} watches, with payloads")
        viewer.read_at = now
        viewer.payloads = payloads
        self._keep_what_may_be_seen()
        return viewer

    def is_watched_by(self, name: str) -> bool:
        """Whether this viewer has read it lately."""
        return name in self._viewers

    def leave(self, name: str) -> None:
        """A viewer watches no longer; with the last one the trace ends."""
        if name in self._viewers:
            self._forget(name)
        if not self._viewers:
            self.end("nobody watches")

    def _forget(self, name: str) -> None:
        del self._viewers[name]
        self._log(f"{name!r} has stopped")
        self._keep_what_may_be_seen()

    def _keep_what_may_be_seen(self) -> None:
        self._keeps_payloads = any(viewer.payloads for viewer in self._viewers.values())
        if not self._keeps_payloads and self._bytes:
            self._bytes = 0
            for event in self._events:
                event.payload = None

    @property
    def read_at(self) -> float:
        """When it was last read, in monotonic seconds."""
        return max((viewer.read_at for viewer in self._viewers.values()), default=0.0)

    def due(self, now: float) -> float | None:
        """The timers' call: who has been silent for too long watches no longer."""
        for name, viewer in tuple(self._viewers.items()):
            if now - viewer.read_at >= IDLE_S:
                self._forget(name)
        if not self._viewers:
            self.end("nobody watches")
            return None
        return min(viewer.read_at for viewer in self._viewers.values()) + IDLE_S

    def end(self, why: str) -> None:
        """Take the tap away and forget everything; does nothing on a trace that has ended."""
        if self._node.traces.get(self._connection.id) is not self:
            return
        del self._node.traces[self._connection.id]
        self._node.timers.remove(self)
        self._connection.tap(None)
        self._viewers.clear()
        self._events.clear()
        self._bytes = 0
        self._log(f"ended: {why}")

    # -- the tap -----------------------------------------------------------------------------------

    def received(self, frame: str | bytes) -> None:
        """The client sent this."""
        self._take("in", frame)

    def sent(self, event: dict[str, Any]) -> None:
        """This ASGI event goes to the client."""
        frame = event.get("text")
        if frame is None:
            frame = event.get("bytes")
        if frame is not None:
            self._take("out", frame)

    def _take(self, direction: str, frame: str | bytes) -> None:
        try:
            self._read_frame(direction, frame)
        except Exception as error:  # our own fault, which is not to be the connection's
            # The type alone: what failed may hold what was sent.
            logger.error(
                "The trace of connection %s failed: %s",
                self._connection.id,
                type(error).__name__,
                extra={"connection_id": self._connection.id},
            )
            self.end("it failed")

    def _read_frame(self, direction: str, frame: str | bytes) -> None:
        size = frame_size(frame)
        codec = self._codec
        if codec is None:  # of a consumer that is not ours a frame may be anything, and nobody's
            payload = frame if self._is_bare else _NOTHING
            self._keep(direction, "frame", size, payload=payload)
            return
        try:
            if isinstance(frame, bytes) is not codec.binary:
                raise BadMessage
            value = codec.decode(frame)
        except BadMessage:
            self._keep(direction, "unreadable", size)
            return
        if not isinstance(value, list):
            self._keep_message(direction, value, size)
        elif 1 <= len(value) <= self._node.config.max_batch:
            for item in value:
                self._keep_message(direction, item, _size_of(codec, item))
        else:
            self._keep(direction, "unreadable", size)

    def _keep_message(self, direction: str, message: Any, size: int) -> None:
        kind = message.get("type") if isinstance(message, dict) else None
        if not isinstance(kind, str):
            self._keep(direction, "unreadable", size)
            return
        request_id = _word(message.get("id"), MAX_ID_LENGTH)
        payload = _payload_shown(direction, kind, message)
        if kind in _SECRET or (direction == "in" and kind not in _SHOWN_OF_CLIENT):
            self._keep(direction, kind[:_MAX_WORD], size, id=request_id, payload=payload)
            return
        event = message.get("event")
        self._keep(
            direction,
            kind[:_MAX_WORD],
            size,
            channel=_text(message.get("channel"), MAX_NAME_LENGTH),
            event=_text(message.get("method") if event is None else event, MAX_EVENT_LENGTH),
            id=request_id,
            code=_code(kind, message.get("payload")) if direction == "out" else None,
            payload=payload,
        )

    def _keep(
        self,
        direction: str,
        kind: str,
        size: int,
        *,
        channel: str | None = None,
        event: str | None = None,
        id: str | int | None = None,  # noqa: A002 - the wire's word
        code: str | int | None = None,
        payload: Any = _NOTHING,
    ) -> None:
        self._number += 1
        kept = _Event(
            self._number,
            {
                "at": self._node.clock.time(),
                "direction": direction,
                "type": kind,
                "channel": channel,
                "event": event,
                "id": id,
                "code": code,
                "size": size,
            },
        )
        if self._keeps_payloads:
            _put_payload(kept, payload)
        self._events.append(kept)
        self._bytes += _length(kept)
        while len(self._events) > MAX_EVENTS or self._bytes > MAX_BYTES:
            self._bytes -= _length(self._events.popleft())

    def _log(self, text: str) -> None:
        connection_id = self._connection.id
        extra = {"connection_id": connection_id}
        logger.info("Trace of connection %s: %s", connection_id, text, extra=extra)


def _codec_of(connection: Traced) -> Codec | None:
    """How a connection's messages are written; None where its frames are none of our messages."""
    encoding = connection.encoding
    # A consumer that is not ours has an encoding too, for what the hub delivers.
    if isinstance(encoding, RealtimeEncoding) and encoding.name == connection.dialect_name:
        return encoding.codec
    return None


def _payload_shown(direction: str, kind: str, message: dict[str, Any]) -> Any:
    """What may be seen of a message's payload."""
    payload = message.get("payload", _NOTHING)
    if direction == "in":
        hidden = kind in _SECRET or (payload is not _NOTHING and kind not in _SHOWN_OF_CLIENT)
    elif kind == "welcome":
        return {"user": payload["user"], "channels": sorted(payload["channels"])}
    else:
        hidden = kind in _SECRET or message.get("request") in _SECRET
    return _HIDDEN if hidden else payload


def _code(kind: str, payload: Any) -> str | int | None:
    if kind in _WITH_CODE and isinstance(payload, dict):
        return _word(payload.get("code"), _MAX_WORD)
    return None


def _put_payload(event: _Event, payload: Any) -> None:
    if payload is _NOTHING:
        return
    if payload is _HIDDEN:
        event.withheld = "secret"
        return
    try:
        # By way of JSON, so that what comes out can be shown: no bytes, moments or NaN.
        data = msgspec.msgpack.encode(
            msgspec.json.decode(msgspec.json.encode(payload, enc_hook=_name_type))
        )
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError):
        event.withheld = "unreadable"
        return
    if len(data) > MAX_PAYLOAD_BYTES:
        event.withheld = "size"
    else:
        event.payload = data


def _name_type(value: Any) -> str:
    return f"<{type(value).__name__}>"


def _length(event: _Event) -> int:
    return 0 if event.payload is None else len(event.payload)


def _size_of(codec: Codec, item: Any) -> int:
    """The bytes of one message of a batch, as the server would write it."""
    try:
        return frame_size(codec.encode(item))
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError):
        return 0


def _text(value: Any, longest: int) -> str | None:
    """What a client may have written, cut; None where it is no text."""
    return value[:longest] if isinstance(value, str) else None


def _word(value: Any, longest: int) -> str | int | None:
    if type(value) is int:
        return value if abs(value) <= MAX_ID_INTEGER else None
    return _text(value, longest)


# -- questions -------------------------------------------------------------------------------------


@answers("trace")
def _read_trace(node: Node, arguments: dict[str, Any]) -> dict[str, Any] | None:
    connection_id, viewer = arguments["connection"], arguments["viewer"]
    connection: Any = node.connections.get(connection_id)
    trace: Trace | None = node.traces.get(connection_id)
    if connection is None and (trace is None or not trace.is_watched_by(viewer)):
        return None
    if trace is None:
        if len(node.traces) >= MAX_TRACES:
            min(node.traces.values(), key=lambda trace: trace.read_at).end("too many others")
        trace = Trace(node, connection)
    payloads = arguments["payloads"] and node.config.trace_payloads
    part = trace.read(viewer, arguments["after"], payloads=payloads)
    if connection is None and not part["events"]:
        trace.leave(viewer)  # it has had the last words
        return None
    return part


@answers("trace_stop")
def _stop_trace(node: Node, arguments: dict[str, Any]) -> bool | None:
    trace: Trace | None = node.traces.get(arguments["connection"])
    if trace is None:
        return None
    trace.leave(arguments["viewer"])
    return True
