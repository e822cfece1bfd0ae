"""The transport of a site's own consumer, which reads and writes the same WebSocket.

The connection is the package's own, with a dialect that does not read what the client and the
consumer send to each other. A frame of the client's is one command, which is counted and judged like
any other and then handed to the consumer; heartbeats, limits, credentials, subscriptions, the drain
and the close are those of every connection.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import msgspec

from ..connections.connection import Connection, SharedLimits
from ..connections.transport import Deliveries, SendEvent
from ..connections.writer import Writer
from ..conversation.heartbeat import Heartbeat
from ..conversation.machine import Conversation
from ..conversation.outbox import Outbox
from ..conversation.throttling import LimitExceeded, Rates
from ..endpoints.handshake import Scope, answer_offer, state_of
from ..endpoints.websocket import ENCODINGS, ServerTask, WebSocketTransport
from ..nodes.node import Node
from ..protocol import messages as m
from ..protocol.codes import CloseCode, ErrorCode
from ..protocol.dialects.realtime import RealtimeDialect
from ..protocol.frames import Frame, frame_size
from ..protocol.limits import Limits
from ..protocol.subprotocols import negotiate
from ..servers.daphne import flow_control, offer_compression

_HEARTBEAT_MARKS = ('"ping"', '"pong"')
_HEARTBEAT_LENGTH = 256
"""Characters that a ``ping`` or ``pong`` has at most, its ``id`` and white space included."""

_AUTH_LENGTH = 16_384 + _HEARTBEAT_LENGTH
"""Characters that an ``auth`` has at most: a token, and the rest."""

_WIRE = RealtimeDialect(ENCODINGS["json"], Limits(), batches=False, heartbeat=True)


class ForeignFrame(m.Command, frozen=True, kw_only=True):
    """A frame for the consumer, whatever its content, which a trace does not show."""

    request = "message"


class ConsumerDialect:
    """Reads ``ping``, ``pong`` and ``auth``, where the consumer wants that, and nothing else.

    Args:
        is_heartbeat: whether a decoded ``ping`` or ``pong`` is the wire's; None where none is.
        says: the pushes that are sent, in the wire's JSON; others are not sent.
        decodes: whether the consumer takes publications itself, and needs a copy of each.
        is_auth: whether a decoded ``auth`` is the wire's; None where none is.
    """

    name = "consumer"
    heartbeat = False

    def __init__(
        self,
        is_heartbeat: Callable[[str], bool] | None,
        says: frozenset[type[m.Push]],
        *,
        decodes: bool,
        is_auth: Callable[[str], bool] | None = None,
    ) -> None:
        # MessagePack has raw bytes, and one decoding makes objects of the consumer's own.
        self.encoding = ENCODINGS["msgpack" if decodes else "json"]
        self._is_heartbeat = is_heartbeat
        self._is_auth = is_auth
        self._says = says

    def decode(self, frame: str | bytes) -> list[m.Command]:
        """A ``Ping``, a ``Pong``, an ``Authenticate``, or the frame as it is."""
        if (
            self._is_auth is not None
            and isinstance(frame, str)
            and len(frame) <= _AUTH_LENGTH
            and '"auth"' in frame
        ):
            commands = _WIRE.decode(frame)
            if isinstance(commands[0], m.Authenticate) and self._is_auth(frame):
                return commands
        if (
            self._is_heartbeat is not None
            and isinstance(frame, str)
            and len(frame) <= _HEARTBEAT_LENGTH
            and any(mark in frame for mark in _HEARTBEAT_MARKS)
        ):
            commands = _WIRE.decode(frame)
            if isinstance(commands[0], (m.Ping, m.Pong)) and self._is_heartbeat(frame):
                return commands
        return [ForeignFrame()]

    def encode(self, push: m.Push) -> str | bytes | None:
        """The wire's JSON, of what this consumer's clients are told."""
        if type(push) in self._says or (self._is_auth is not None and _is_of_auth(push)):
            return _WIRE.encode(push)
        return None


def _is_of_auth(push: m.Push) -> bool:
    """Whether it is about credentials; a rate limit is said, or not, as of any other frame."""
    if isinstance(push, m.Error):
        return push.request == m.Authenticate.request and push.code != ErrorCode.RATE_LIMITED
    return isinstance(push, (m.AuthOk, m.AuthExpiring))


class NoLimits:
    """The shared limits of consumers without ``ThrottleMixin``."""

    def messages(
        self, user_id: str | None, address: str | None, count: int
    ) -> LimitExceeded | None:
        """Nothing is limited."""
        return None


NO_LIMITS = NoLimits()


class ConsumerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How one consumer class uses its connections: the sum of its mixins and attributes.

    Args:
        says: pushes that go out as the wire's JSON.
        rates: how fast a connection may send.
        limits: what its user and address may send.
        heartbeat: (interval, timeout) in seconds; None for no heartbeat.
        heartbeat_always: whether clients are pinged that have sent neither ``ping`` nor ``pong``.
        own_ping: whether the consumer writes its pings itself.
        own_messages: whether the consumer takes publications itself.
        own_ends: whether it takes the ends of subscriptions itself.
        own_refusals: whether it answers what is over a limit itself.
        auths: whether clients renew their credentials by the wire's ``auth``.
        channels: whether the consumer has channels.
    """

    says: frozenset[type[m.Push]]
    rates: Rates
    limits: SharedLimits = NO_LIMITS
    heartbeat: tuple[float, float] | None = None
    heartbeat_always: bool = False
    own_ping: bool = False
    own_messages: bool = False
    own_ends: bool = False
    own_refusals: bool = False
    auths: bool = False
    channels: bool = False


class ConsumerTransport(WebSocketTransport):
    """One WebSocket that a consumer of the site's reads and writes too.

    Args:
        node: the runtime that it belongs to.
        scope: the ASGI scope of the handshake, which the consumer has too.
        send: the server's.
        task: in which the consumer runs.
        hooks: the consumer, whose mixins answer heartbeats and ``auth``; None of one without mixins.
        options: of the consumer's class.
    """

    __slots__ = (
        "_connection",
        "_exceeded",
        "_held",
        "_hooks",
        "_is_accepted",
        "_is_beat",
        "_is_beating",
        "_news",
        "_node",
        "_options",
        "_passed",
        "_queue",
        "_send",
        "_sending",
        "_stopped_at",
        "read_ahead",
    )

    def __init__(
        self,
        node: Node,
        scope: Scope,
        send: SendEvent,
        task: ServerTask,
        hooks: Any,
        options: ConsumerOptions,
    ) -> None:
        super().__init__(scope, self._write, task, max_frame_bytes=None)
        self._connection: Connection | None = None
        self._node = node
        self._send = send
        self._hooks = hooks
        self._options = options
        self._queue: Outbox | None = None
        if options.own_messages or options.own_ends:
            config = node.config
            self._queue = Outbox(config.outbox_max_messages, config.outbox_max_bytes)
        self._is_accepted = False
        self._held = False
        self._news: asyncio.Future[None] | None = None
        self._exceeded: LimitExceeded | None = None
        self._passed = False
        self._sending = 0
        self._stopped_at: float | None = None
        self._is_beating = False
        self._is_beat = False
        self.read_ahead: Callable[[], None] | None = None
        """Reads an event of the client's, though the consumer is busy."""

    def connect(self, scope: Scope) -> Connection:
        """The connection on this transport; nothing is written before the consumer accepts."""
        node, options = self._node, self._options
        now = node.clock.monotonic()
        beats = options.heartbeat is not None
        interval, timeout = options.heartbeat or (1.0, 1.0)
        connection = self._connection = Connection(
            node,
            scope,
            state_of(scope, node.config).address,
            self,
            ConsumerDialect(
                self._is_heartbeat if beats else None,
                options.says,
                decodes=options.own_messages,
                is_auth=self._is_auth if options.auths else None,
            ),
            Conversation(
                node.config.limits,
                Heartbeat(interval, timeout, now=now, jitter=random.random()),
                now=now,
                rates=options.rates,
            ),
            options.limits,
        )
        connection.writer.hold()
        return connection

    def _is_heartbeat(self, text: str) -> bool:
        self._is_beat = bool(self._hooks is not None and self._hooks.is_heartbeat(text))
        return self._is_beat

    def _is_auth(self, text: str) -> bool:
        return bool(self._hooks is not None and self._hooks.is_auth(text))

    @property
    def has_channels(self) -> bool:  # type: ignore[override]  # a constant in the base class
        """Whether the consumer has them."""
        return self._options.channels

    async def _write(self, event: dict[str, Any]) -> None:
        await self._send(event)

    @property
    def connection(self) -> Connection:
        """The connection on this transport, until it has ended."""
        assert self._connection is not None
        return self._connection

    def detach(self) -> None:
        """The connection is over."""
        super().detach()
        self.write = _write_nothing  # its own method, which would keep it in memory
        self._connection = None
        self._hooks = None
        self.read_ahead = None

    # -- from the client ---------------------------------------------------------------------------

    def take(self, frame: str | bytes) -> LimitExceeded | None:
        """Judge a frame of the client's; ``passed`` says whether the consumer is to have it.

        Returns:
            the limit that it exceeds, where the consumer answers that itself.
        """
        self._passed = self._is_beat = False
        self._exceeded = None
        connection = self.connection
        connection.receive(frame)
        own = self._options.own_refusals and not connection.closed
        return self._exceeded if own else None

    def serve(self, command: m.Command) -> bool:
        """Every command but a heartbeat and an ``auth`` is a frame for the consumer."""
        if isinstance(command, m.Authenticate):
            return False
        self._passed = True
        return True

    def throttled(self, exceeded: LimitExceeded) -> None:
        """Remember it for ``take``."""
        self._exceeded = exceeded

    @property
    def passed(self) -> bool:
        """Whether the last frame is the consumer's: within the limits, and no heartbeat."""
        return self._passed and not self.connection.closed

    @property
    def was_heartbeat(self) -> bool:
        """Whether the last frame was the heartbeat's, and within the limits."""
        return self._is_beat and self._exceeded is None and not self.connection.closed

    def arrived(self) -> None:
        """A frame came while the consumer was busy sending: the client is alive."""
        if self._sending and self._connection is not None:
            self._connection.heartbeat.seen(self._node.clock.monotonic())

    def stop_clock(self) -> None:
        """The consumer is busy and reads nothing: the client's silence means nothing."""
        if self._stopped_at is None and self._connection is not None:
            heartbeat = self._connection.heartbeat
            self._stopped_at = self._node.clock.monotonic()
            self._is_beating = heartbeat.enabled
            heartbeat.enabled = False

    def start_clock(self) -> None:
        """The consumer reads on."""
        if self._stopped_at is None or self._connection is None:
            return
        heartbeat = self._connection.heartbeat
        heartbeat.enabled = heartbeat.enabled or self._is_beating
        heartbeat.pause(max(0.0, self._node.clock.monotonic() - self._stopped_at))
        self._stopped_at = None
        self._connection.reschedule()

    # -- from the consumer -------------------------------------------------------------------------

    async def send(self, event: dict[str, Any]) -> None:
        """The ``send`` that the consumer has in place of the server's.

        It waits as the server's does, raises what that raises, and keeps the order with what the hub
        delivers. What is sent on a connection that was closed meanwhile is dropped.
        """
        connection = self._connection
        if connection is None or connection.closed:
            return
        kind = event["type"]
        if kind == "websocket.accept":
            self._is_accepted = True
            if self._node.config.daphne_compression:
                offer_compression(self._send)
            await connection.writer.send(
                answer_offer(event, self._scope, self._node.config, self.consumer)
            )
            if not connection.closed:
                self._open(connection)
        elif kind == "websocket.close":
            connection.leave(event.get("code", 1000))
            if connection.writer.busy:  # a client that does not read is not waited for
                connection.writer.write(Frame(event, 0), last=True)
            else:
                await connection.writer.send(event, last=True)
        else:
            await self._send_in_turn(connection, event)

    async def _send_in_turn(self, connection: Connection, event: dict[str, Any]) -> None:
        # A handler that waits for the client to read does not prove that the client is alive.
        ticking = self._stopped_at is None
        self.start_clock()
        text = event.get("text")
        content = event.get("bytes") or b"" if text is None else text
        size = frame_size(content)
        connection.show_frame(size, content)
        self._sending += 1
        try:
            await connection.writer.send(event, size=size)
        finally:
            self._sending -= 1
            if not ticking:
                self.stop_clock()

    def _open(self, connection: Connection) -> None:
        """The consumer has accepted."""
        flow = flow_control(self._send)
        if flow is not None:  # from now on `send` waits where the client does not read
            self._send = flow.send
        if self._options.heartbeat_always:
            if self._stopped_at is None:
                connection.heartbeat.enabled = True
            else:
                self._is_beating = True
        self.hold(connection.writer, self._held)
        connection.open_silently()
        connection.reschedule()

    # -- to the client -----------------------------------------------------------------------------

    @property
    def consumer(self) -> str:  # type: ignore[override]  # a constant in the base class
        """The class of the consumer."""
        hooks = type(self._hooks)
        return f"{hooks.__module__}.{hooks.__qualname__}"

    @property
    def is_open(self) -> bool:
        """Whether the consumer has accepted."""
        return self._is_accepted

    def tell(self, push: m.Push) -> bool:
        """Leave to the consumer what it sends itself."""
        if isinstance(push, m.PingPush):
            if self._sending and self.read_ahead is not None:
                self.read_ahead()
            if self._options.own_ping:
                self._node.spawn(self._ping(), "send_ping")
                return True
        elif isinstance(push, m.Unsubscribed) and self._options.own_ends:
            self._put(Frame({"ended": push}, 0))
            return True
        elif isinstance(push, m.Closing):
            self._accept_at_last()
        return False

    def started_anew(self, push: m.Subscribed) -> bool:
        """Leave it to a consumer that takes publications itself, in their order."""
        if not self._options.own_messages:
            return False
        self._put(Frame({"missed": push}, 0, push.channel))
        return True

    async def _ping(self) -> None:
        connection, hooks = self._connection, self._hooks
        if hooks is not None and connection is not None and not connection.closed:
            await hooks.send_ping()

    def close_content(
        self, code: CloseCode, reason: str, *, rfc: bool, reconnect: bool
    ) -> tuple[int, Any]:
        """Close it, accepted if need be; what waits for the consumer is dropped."""
        self._accept_at_last()
        if self._queue is not None:
            self._queue.clear()
        return super().close_content(code, reason, rfc=rfc, reconnect=reconnect)

    def _accept_at_last(self) -> None:
        """Accept the handshake in order to close it: a browser sees no HTTP status."""
        if self._is_accepted:
            return
        self._is_accepted = True
        accept: dict[str, Any] = {"type": "websocket.accept"}
        offered = self._scope.get("subprotocols", ())
        answer = negotiate(offered).answer_or_any(offered)
        if answer is not None:
            accept["subprotocol"] = answer
        self.connection.writer.write(Frame(accept, 0), last=True)

    def credentials_read(self) -> None:
        """Show the consumer's scope the user as it is now."""
        connection = self.connection
        scope = connection.scope
        if "identity" in scope:
            scope["user"] = connection.user
            scope["identity"] = connection.identity

    # -- publications ------------------------------------------------------------------------------

    def deliveries(self, writer: Writer) -> Deliveries:
        """The consumer's own queue, where it takes publications itself."""
        return self if self._options.own_messages else writer

    def deliver(self, frame: Frame, publication: m.Publication | None = None) -> None:
        """Keep a publication's frame for the consumer; never waits, never raises."""
        self._put(frame)

    def _put(self, frame: Frame) -> None:
        queue, connection = self._queue, self.connection
        assert queue is not None
        dropped = queue.dropped
        if not queue.put(frame):
            connection.overflowed()
            return
        if queue.dropped != dropped:
            connection.dropped(queue.dropped - dropped, frame.policy)
        self._wake()

    def _wake(self) -> None:
        if self.has_delivery and self._news is not None and not self._news.done():
            self._news.set_result(None)

    @property
    def takes_deliveries(self) -> bool:
        """Whether the consumer takes any of what is delivered itself."""
        return self._queue is not None

    @property
    def has_delivery(self) -> bool:
        """Whether something waits that the consumer may have now."""
        return (
            bool(self._queue)
            and self._is_accepted
            and not self._held
            and self._connection is not None
            and not self._connection.closed
        )

    def next_delivery(self) -> Frame | None:
        """The oldest thing that waits for the consumer."""
        if not self.has_delivery:
            return None
        assert self._queue is not None
        return self._queue.get()

    def news(self) -> asyncio.Future[None]:
        """A future that is done when something waits for the consumer."""
        if self._news is None or self._news.done():
            self._news = asyncio.get_running_loop().create_future()
        self._wake()
        return self._news

    def discard(self, channel: str) -> None:
        """Take back what waits of a channel."""
        if self._queue is not None:
            self._queue.discard(channel)

    def hold(self, writer: Writer, held: bool) -> None:
        """Keep deliveries back, in the writer and here; all are kept until the consumer accepts."""
        self._held = held
        if self._is_accepted and not self.connection.closed:
            super().hold(writer, held)
            self._wake()


async def _write_nothing(event: dict[str, Any]) -> None:
    pass
