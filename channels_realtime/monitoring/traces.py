"""Watching what one connection sends and receives, for as long as an operator looks.

In: commands and pushes, from a connection's tap, before they are encoded; viewers' requests
(``operations.read_trace``). Out: events, by which a viewer sees what was said and no credentials: no
token, ticket or session id, whatever the viewer may see otherwise. A connection without a viewer has
no tap and costs nothing.

A trace is kept by being read: it ends ten seconds after its last viewer's last request, and with its
connection, whose last messages can still be read until then.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, TypeVarTuple

import msgspec

from ..connections.connection import Connection, live_connections
from ..nodes.member import Member
from ..nodes.node import Handler, Node, Service
from ..protocol import messages as m
from ..protocol.dialects.realtime import MAX_EVENT_LENGTH
from ..protocol.dialects.realtime_objects import publication_object, push_object

logger = logging.getLogger(__name__)

_Arguments = TypeVarTuple("_Arguments")

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

_SHOWN_COMMANDS = (
    m.Subscribe,
    m.Unsubscribe,
    m.Publish,
    m.Call,
    m.GetPresence,
    m.GetHistory,
    m.Flow,
)
"""Commands that hold no credentials; of others the type and the id are shown."""

_SECRET_PUSHES = (m.AuthOk,)
"""Pushes about credentials; of these the type and the id are shown. ``Welcome`` is shown in part."""

_SHOWN_REQUESTS = frozenset(command.request for command in _SHOWN_COMMANDS)

_SECRET_REQUESTS = frozenset({m.Authenticate.request, m.Resume.request})
"""Commands with credentials; errors about these may repeat what was in them."""

_FOREIGN = "message"
"""The type of a frame between a client and the site's own consumer. A client's may be its login."""

_MASK = "(hidden)"

_TOKEN = re.compile(r"\beyJ[\w-]{5,}\.[\w-]+\.[\w-]*", re.ASCII)
"""A JSON web token."""

_SECRET_NAME = re.compile(
    r"token|passw|secret|ticket|jwt|cookie|authorization|session|^(?:access|refresh|key)$",
    re.IGNORECASE,
)
"""Fields of a consumer's frames whose values may be credentials."""

_NOTHING: Any = msgspec.UNSET
"""There is no payload."""

_HIDDEN: Any = object()
"""The message has a payload that must not be shown."""


@dataclasses.dataclass(slots=True)
class _Event:
    """Something that was sent or received.

    Args:
        number: from 1 in each trace.
        fields: what every viewer sees.
        payload: as MessagePack; None without one.
        withheld: why a payload is not kept: ``"secret"``, ``"size"`` or ``"unreadable"``.
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
    """An operator who watches.

    Args:
        start: the number before the first event that was there to be read.
        read_at: the last time, in monotonic seconds.
        payloads: whether it may have payloads.
    """

    start: int
    read_at: float
    payloads: bool = False


class Trace:
    """What one connection has sent and received lately; its tap, and called by the node's timers."""

    __slots__ = (
        "__weakref__",
        "_bytes",
        "_connection",
        "_events",
        "_keeps_payloads",
        "_node",
        "_number",
        "_saw_end",
        "_traces",
        "_viewers",
    )

    early = False

    def __init__(self, traces: Traces, connection: Connection) -> None:
        self._traces = traces
        self._node = traces.node
        self._connection = connection
        self._events: deque[_Event] = deque()
        self._bytes = 0
        self._number = 0
        self._viewers: dict[str, _Viewer] = {}
        self._keeps_payloads = False
        self._saw_end = False
        connection.tap(self)
        self._node.timers.set(self, self._node.clock.monotonic() + IDLE_S)

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
            self.end("no viewer left")

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
            self.end("no viewer left")
            return None
        return min(viewer.read_at for viewer in self._viewers.values()) + IDLE_S

    def end(self, why: str) -> None:
        """Take the tap away and forget everything; does nothing on a trace that has ended."""
        if not self._traces.forget(self._connection.id, self):
            return
        self._node.timers.remove(self)
        self._connection.tap(None)
        self._viewers.clear()
        self._events.clear()
        self._bytes = 0
        self._log(f"ended: {why}")

    # -- the tap -----------------------------------------------------------------------------------

    def received(self, command: m.Command, size: int) -> None:
        """The client sent this."""
        self._guard(self._keep_command, command, size)

    def sent(self, push: m.Push, size: int) -> None:
        """This goes to the client, in whatever form its dialect gives it."""
        self._guard(self._keep_push, push, size)

    def delivered(self, publication: m.Publication, size: int) -> None:
        """This publication goes to the client."""
        self._guard(self._keep_publication, publication, size)

    def sent_frame(self, size: int, content: str | bytes | None) -> None:
        """A frame of the site's own consumer goes to the client, in whatever form."""
        self._guard(self._keep_frame, size, content)

    def _guard(self, keep: Callable[[*_Arguments], None], *arguments: *_Arguments) -> None:
        """Keep an event; a fault of the trace must not become one of the connection."""
        if self._traces.get(self._connection.id) is not self:
            return  # it has ended
        try:
            keep(*arguments)
        except Exception as error:
            # The type alone: what failed may hold what was sent.
            logger.error(
                "The trace of connection %s failed: %s",
                self._connection.id,
                type(error).__name__,
                extra={"connection_id": self._connection.id},
            )
            self.end("it failed")

    def _keep_command(self, command: m.Command, size: int) -> None:
        if isinstance(command, m.Malformed):
            channel = command.channel if command.about in _SHOWN_REQUESTS else None
            self._keep("in", command.about or "unreadable", size, channel=channel, id=command.id)
            return
        shown = isinstance(command, _SHOWN_COMMANDS)
        payload = _payload_of(command)
        if not shown and (payload is not _NOTHING or command.request == _FOREIGN):
            payload = _HIDDEN
        self._keep(
            "in",
            command.request,
            size,
            channel=getattr(command, "channel", None),
            event=getattr(command, "method", None) or getattr(command, "event", None),
            id=command.id,
            payload=payload,
        )

    def _keep_push(self, push: m.Push, size: int) -> None:
        message = push_object(push)
        payload = message.get("payload", _NOTHING)
        if isinstance(push, m.Welcome):
            payload = {"user": push.user, "channels": sorted(push.channels)}
        elif isinstance(push, _SECRET_PUSHES) or message.get("request") in _SECRET_REQUESTS:
            payload = _HIDDEN
        self._keep_object(message, size, payload, code=getattr(push, "code", None))

    def _keep_publication(self, publication: m.Publication, size: int) -> None:
        self._keep_object(publication_object(publication), size, publication.payload)

    def _keep_frame(self, size: int, content: str | bytes | None) -> None:
        payload = _NOTHING if content is None else _HIDDEN
        if content is not None and self._keeps_payloads and size <= MAX_PAYLOAD_BYTES:
            payload = _content(content)
        self._keep("out", _FOREIGN, size, payload=payload)

    def _keep_object(
        self, message: dict[str, Any], size: int, payload: Any, code: str | int | None = None
    ) -> None:
        self._keep(
            "out",
            message["type"],
            size,
            channel=message.get("channel"),
            event=message.get("event"),
            id=message.get("id"),
            code=code,
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
                "event": None if event is None else event[:MAX_EVENT_LENGTH],
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


def _content(frame: str | bytes) -> Any:
    """What a frame of the site's own consumer says, without what looks like credentials."""
    try:
        return _masked(msgspec.json.decode(frame))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    if isinstance(frame, bytes):
        return f"<{len(frame)} bytes>"
    return _masked(frame)


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return _TOKEN.sub(_MASK, value)
    if isinstance(value, list):
        return [_masked(item) for item in value]
    if isinstance(value, dict):
        return {
            name: _MASK if _SECRET_NAME.search(name) else _masked(item)
            for name, item in value.items()
        }
    return value


def _payload_of(command: m.Command) -> Any:
    """A command's payload, its parameters, or all that it has beside the common fields."""
    if isinstance(command, (m.Subscribe, m.Unsubscribe)):
        return _NOTHING if command.parameters is None else command.parameters
    if isinstance(command, m.Flow):
        return {"paused": command.paused}
    if isinstance(command, (m.Authenticate, m.Resume)):
        return _HIDDEN
    return getattr(command, "payload", _NOTHING)


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


# -- requests of viewers ---------------------------------------------------------------------------


class Traces(Service):
    """The traces of one node."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self._by_connection: dict[str, Trace] = {}

    @property
    def node(self) -> Node:
        """The node that runs it."""
        return self._node

    def __contains__(self, connection_id: object) -> bool:
        return connection_id in self._by_connection

    def __len__(self) -> int:
        return len(self._by_connection)

    def get(self, connection_id: str) -> Trace | None:
        """The trace of a connection, where there is one."""
        return self._by_connection.get(connection_id)

    def begin(self, connection: Connection) -> Trace:
        """Trace a connection; where there are too many traces, the longest unread one ends."""
        if len(self) >= MAX_TRACES:
            min(self._by_connection.values(), key=lambda trace: trace.read_at).end(
                "too many others"
            )
        trace = self._by_connection[connection.id] = Trace(self, connection)
        return trace

    def connection_renamed(self, connection: Member, previous: str) -> None:
        """A trace goes on with the connection that has resumed the traced one; see ``Service``."""
        superseded = self._by_connection.get(connection.id)
        if superseded is not None:
            # Its viewers begin again with the next reading.
            superseded.end("its session was resumed")
        trace = self._by_connection.pop(previous, None)
        if trace is not None:
            self._by_connection[connection.id] = trace

    def forget(self, connection_id: str, trace: Trace) -> bool:
        """A trace ends; False where it has ended before."""
        if self._by_connection.get(connection_id) is not trace:
            return False
        del self._by_connection[connection_id]
        return True


def _read_trace(node: Node, arguments: dict[str, Any]) -> dict[str, Any] | None:
    connection_id, viewer = arguments["connection"], arguments["viewer"]
    connection, traces = live_connections(node).get(connection_id), node.service(Traces)
    trace = traces.get(connection_id)
    if trace is None or (connection is None and not trace.is_watched_by(viewer)):
        if connection is None:
            return None
        trace = traces.begin(connection)
    payloads = arguments["payloads"] and node.config.trace_payloads
    part = trace.read(viewer, arguments["after"], payloads=payloads)
    if connection is None and not part["events"]:
        trace.leave(viewer)  # it has had the last messages
        return None
    return part


def _stop_trace(node: Node, arguments: dict[str, Any]) -> bool | None:
    trace = node.service(Traces).get(arguments["connection"])
    if trace is None:
        return None
    trace.leave(arguments["viewer"])
    return True


HANDLERS: Mapping[str, Handler] = {"trace": _read_trace, "trace_stop": _stop_trace}
"""What a node answers, by the kind of request."""
