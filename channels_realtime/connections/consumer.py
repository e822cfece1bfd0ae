"""The connection of a consumer that is not ours: the same parts, around another's conversation.

It is the package's own ``Connection``, whose dialect knows nothing of what the client and the
consumer say to each other. A frame of theirs is one command, which is counted and judged like any
other and then handed to the consumer; heartbeats, limits, credentials, subscriptions, the drain and
the close are those of every connection.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from ..conversation.effects import Close, Run
from ..conversation.heartbeat import Heartbeat
from ..conversation.machine import Conversation
from ..conversation.outbox import Frame, Outbox
from ..conversation.throttling import LimitExceeded, Rates
from ..nodes.hub import make_frame
from ..nodes.node import Node
from ..protocol import messages as m
from ..protocol.dialects.base import frame_size
from ..protocol.dialects.realtime import ENCODINGS, RealtimeDialect
from ..protocol.limits import Limits
from ..protocol.subprotocols import negotiate
from ..servers.daphne import flow_control, offer_compression
from .connection import Connection
from .writer import SendEvent

_HEARTBEAT_MARKS = ('"ping"', '"pong"')
_HEARTBEAT_LENGTH = 256
"""Characters that a ``ping`` or ``pong`` has at most, its ``id`` and white space included."""

_WIRE = RealtimeDialect(ENCODINGS["json"], Limits(), batches=False, heartbeat=True)

LimitSharedWithOthers = Callable[["ConsumerConnection"], LimitExceeded | None]


class ForeignFrame(m.Command, frozen=True, kw_only=True):
    """A frame that the consumer is to have, whatever is in it."""

    request = "message"


class ConsumerDialect:
    """Knows ``ping`` and ``pong``, where the consumer wants it to, and leaves the rest alone.

    Args:
        is_heartbeat: whether a decoded ``ping`` or ``pong`` is the wire's; None where none is.
        says: the pushes that are written as the wire has them; others have no form here.
        decodes: whether the consumer takes publications itself, and needs each to be its own.
    """

    name = "consumer"
    heartbeat = False

    def __init__(
        self,
        is_heartbeat: Callable[[str], bool] | None,
        says: frozenset[type[m.Push]],
        *,
        decodes: bool,
    ) -> None:
        # MessagePack has raw bytes, and is one decoding away from objects of the consumer's own.
        self.encoding = ENCODINGS["msgpack" if decodes else "json"]
        self._is_heartbeat = is_heartbeat
        self._says = says

    def decode(self, frame: str | bytes) -> list[m.Command]:
        """A ``Ping``, a ``Pong``, or the frame as it is."""
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
        return _WIRE.encode(push) if type(push) in self._says else None


class ConsumerHooks(Protocol):
    """What a connection asks of the consumer it belongs to."""

    def is_heartbeat(self, text: str) -> bool: ...

    async def send_ping(self) -> None: ...


class _Nobody:
    """The consumer of a connection that has ended."""

    def is_heartbeat(self, text: str) -> bool:
        return False

    async def send_ping(self) -> None:
        pass


_NOBODY = _Nobody()

_SILENCE = ConsumerDialect(None, frozenset(), decodes=False)
"""The dialect of a connection that has ended."""


class ConsumerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How one consumer class uses its connections: the sum of its mixins and attributes.

    Args:
        says: pushes that go out as the wire's JSON.
        rates: how fast a connection may send.
        shared_limits: what its user and address may send; None for no limit.
        heartbeat: (interval, timeout) in seconds; None for no heartbeat.
        heartbeat_always: whether clients are pinged that have sent neither ``ping`` nor ``pong``.
        own_ping: whether the consumer writes its pings itself.
        own_messages: whether the consumer takes publications itself.
        own_ends: whether it takes the ends of subscriptions itself.
        own_refusals: whether it answers what is over a limit itself.
    """

    says: frozenset[type[m.Push]]
    rates: Rates
    shared_limits: LimitSharedWithOthers | None = None
    heartbeat: tuple[float, float] | None = None
    heartbeat_always: bool = False
    own_ping: bool = False
    own_messages: bool = False
    own_ends: bool = False
    own_refusals: bool = False


class _Outlet:
    """The server's ``send``, which learns to wait on Daphne once the connection is accepted."""

    __slots__ = ("_send",)

    def __init__(self, send: SendEvent) -> None:
        self._send = send

    async def __call__(self, event: dict[str, Any]) -> None:
        await self._send(event)

    def compress(self) -> None:
        """Have the connection compressed, on Daphne; before it is accepted."""
        offer_compression(self._send)

    def control_flow(self) -> None:
        """From now on ``send`` waits where the client does not read."""
        flow = flow_control(self._send)
        if flow is not None:
            self._send = flow.send


class ConsumerConnection(Connection):
    """One client of somebody else's consumer.

    Args:
        node: the runtime it belongs to.
        scope: the ASGI scope of the handshake, which the consumer has too.
        send: the server's ``send``.
        consumer: whose client it is.
        habits: of the consumer's class.
    """

    __slots__ = (
        "_accepted",
        "_consumer",
        "_deliveries",
        "_habits",
        "_held",
        "_is_beating",
        "_news",
        "_outlet",
        "_over",
        "_passed",
        "_sending",
        "_stopped_at",
        "read_ahead",
    )

    scope: dict[str, Any]

    def __init__(
        self,
        node: Node,
        scope: dict[str, Any],
        send: SendEvent,
        consumer: Any,
        habits: ConsumerOptions,
    ) -> None:
        now = node.clock.monotonic()
        beats = habits.heartbeat is not None
        interval, timeout = habits.heartbeat or (1.0, 1.0)
        outlet = _Outlet(send)
        super().__init__(
            node,
            scope,
            outlet,
            ConsumerDialect(
                consumer.is_heartbeat if beats else None, habits.says, decodes=habits.own_messages
            ),
            Conversation(
                node.config.limits,
                Heartbeat(interval, timeout, now=now, jitter=random.random()),
                now=now,
                rates=habits.rates,
            ),
        )
        self._outlet = outlet
        self._consumer: ConsumerHooks = consumer
        self._habits = habits
        self._accepted = False
        self._held = False
        self._deliveries: Outbox | None = None
        if habits.own_messages or habits.own_ends:
            config = node.config
            self._deliveries = Outbox(config.outbox_max_messages, config.outbox_max_bytes)
        self._news: asyncio.Future[None] | None = None
        self._over: LimitExceeded | None = None
        self._passed = False
        self._sending = 0
        self._stopped_at: float | None = None
        self._is_beating = False
        self.read_ahead: Callable[[], None] | None = None
        """Reads an event of the client's, though the consumer is busy."""
        self._writer.hold()  # nothing may be written before the consumer has accepted

    def _let_go(self) -> None:
        super()._let_go()
        self._dialect = _SILENCE
        self._consumer = _NOBODY
        self.read_ahead = None

    # -- in ----------------------------------------------------------------------------------------

    def take(self, frame: str | bytes) -> LimitExceeded | None:
        """Judge a frame of the client's; ``passed`` says whether the consumer is to have it.

        Returns:
            the limit that it exceeds, where the consumer answers that itself.
        """
        self._passed = False
        self._over = None
        commands = self._dialect.decode(frame)
        if self._tap is not None:
            self._tap.received(frame)
        self.received += 1
        shared = self._habits.shared_limits
        over = None if shared is None else shared(self)
        size = frame_size(frame)
        self.received_bytes += size
        self._node.messages_in += 1
        self._perform(self._conversation.receive(commands, self._now(), size=size, over=over))
        return self._over if self._habits.own_refusals and not self.closed else None

    @property
    def passed(self) -> bool:
        """Whether the last frame is the consumer's: within the limits, and no heartbeat."""
        return self._passed and not self.closed

    def arrived(self) -> None:
        """A frame came while the consumer was busy: life, if it was busy with a slow client."""
        if self._sending:
            self._conversation.heartbeat.seen(self._now())

    def stop_clock(self) -> None:
        """The consumer is busy and reads nothing: its client's silence proves nothing."""
        if self._stopped_at is None:
            heartbeat = self._conversation.heartbeat
            self._stopped_at = self._now()
            self._is_beating = heartbeat.enabled
            heartbeat.enabled = False

    def start_clock(self) -> None:
        """The consumer reads on."""
        if self._stopped_at is None:
            return
        heartbeat = self._conversation.heartbeat
        heartbeat.enabled = heartbeat.enabled or self._is_beating
        heartbeat.pause(max(0.0, self._now() - self._stopped_at))
        self._stopped_at = None
        if not self.closed:
            self._node.timers.set(self, self._conversation.deadline)

    def _run(self, run: Run) -> None:
        self._passed = True
        self._perform(self._conversation.complete(run.ticket, None, self._now()))

    def _report_throttling(self, over: LimitExceeded) -> None:
        super()._report_throttling(over)
        self._over = over

    async def reread(self) -> None:
        """Read its proof again, and show the consumer's scope the user as it is now."""
        await super().reread()
        if not self.closed and "identity" in self.scope:
            self.scope["user"] = self.user
            self.scope["identity"] = self.identity

    # -- the consumer's own events -----------------------------------------------------------------

    async def send(self, event: dict[str, Any]) -> None:
        """The ``send`` that the consumer has in place of the server's.

        It waits as the server's does, raises what that raises, and keeps the order with what the hub
        delivers. What is sent on a connection that was closed meanwhile is dropped.
        """
        if self.closed:
            return
        kind = event["type"]
        if kind == "websocket.accept":
            self._accepted = True
            if self._node.config.daphne_compression:
                self._outlet.compress()
            await self._writer.send(event)
            if not self.closed:
                self._open()
        elif kind == "websocket.close":
            await self._leave(event)
        else:
            await self._send_in_turn(event)

    async def _send_in_turn(self, event: dict[str, Any]) -> None:
        # A handler that waits for the client to read is no reason to believe in that client.
        ticking = self._stopped_at is None
        self.start_clock()
        if self._tap is not None:
            self._tap.sent(event)
        self._sending += 1
        try:
            await self._writer.send(event)
        finally:
            self._sending -= 1
            if not ticking:
                self.stop_clock()

    def _open(self) -> None:
        """The consumer has accepted."""
        self._outlet.control_flow()
        self._conversation.open_silently(signed_in=not self.identity.is_anonymous)
        if self._habits.heartbeat_always:
            if self._stopped_at is None:
                self._conversation.heartbeat.enabled = True
            else:
                self._is_beating = True
        self._hold(self._held)
        self._opened()
        self._perform([])

    async def _leave(self, event: dict[str, Any]) -> None:
        """The consumer closes, or refuses the handshake."""
        self.close_code = event.get("code", 1000)
        self._conversation.gone()
        self._end()
        if self._writer.busy:  # a client that does not read is not waited for
            self._writer.write(Frame(event, 0), last=True)
        else:
            await self._writer.send(event, last=True)

    # -- out ---------------------------------------------------------------------------------------

    def _say(self, push: m.Push) -> bool:
        if self.closed:
            return False
        if isinstance(push, m.PingPush) and self._sending and self.read_ahead is not None:
            self.read_ahead()
        if isinstance(push, m.PingPush) and self._habits.own_ping:
            self._node.spawn(self._ping(), "send_ping")
            return True
        if isinstance(push, m.Unsubscribed) and self._habits.own_ends:
            self._queue(Frame({"ended": push}, 0))
            return True
        data = self._dialect.encode(push)
        if data is None:
            return False
        if isinstance(push, m.Closing):
            self._accept_at_last()
            self._writer.write(make_frame(data), last=True)
        elif self._accepted:
            self._writer.write(make_frame(data))
        else:
            self._writer.deliver(make_frame(data))
        return True

    async def _ping(self) -> None:
        if not self.closed:
            await self._consumer.send_ping()

    def _order_close(self, effect: Close) -> None:
        self._accept_at_last()
        super()._order_close(effect)
        if self._deliveries is not None:
            self._deliveries.clear()

    def _accept_at_last(self) -> None:
        """A browser sees no HTTP status: what is closed with a reason is accepted for it."""
        if self._accepted:
            return
        self._accepted = True
        accept: dict[str, Any] = {"type": "websocket.accept"}
        offered = self.scope.get("subprotocols", ())
        answer = negotiate(offered).answer or next(iter(offered), None)
        if (
            answer is not None
        ):  # without one of those it offered, a browser sees no close code either
            accept["subprotocol"] = answer
        self._writer.write(Frame(accept, 0), last=True)

    # -- deliveries --------------------------------------------------------------------------------

    def deliver(self, frame: Frame) -> None:
        """Write a publication's frame, or keep it for the consumer; never waits, never raises."""
        if not self._habits.own_messages:
            super().deliver(frame)
        elif not self.closed and frame.channel not in self._paused_channels:
            self._queue(frame)

    def _queue(self, frame: Frame) -> None:
        box = self._deliveries
        assert box is not None
        dropped = box.dropped
        if not box.put(frame):
            self.overflowed()
            return
        if box.dropped != dropped:
            self.dropped(box.dropped - dropped, frame.policy)
        self._tell()

    def _tell(self) -> None:
        if self.has_delivery and self._news is not None and not self._news.done():
            self._news.set_result(None)

    @property
    def takes_deliveries(self) -> bool:
        """Whether the consumer takes any of what is delivered itself."""
        return self._deliveries is not None

    @property
    def has_delivery(self) -> bool:
        """Whether something waits that the consumer may have now."""
        return bool(self._deliveries) and self._accepted and not self._held and not self.closed

    def next_delivery(self) -> Frame | None:
        """The oldest thing that waits for the consumer."""
        if not self.has_delivery:
            return None
        assert self._deliveries is not None
        return self._deliveries.get()

    def news(self) -> asyncio.Future[None]:
        """A future that is done when something waits for the consumer."""
        if self._news is None or self._news.done():
            self._news = asyncio.get_running_loop().create_future()
        self._tell()
        return self._news

    def discard_queued(self, channel: str) -> None:
        """Take back what waits of a channel that the connection has left."""
        super().discard_queued(channel)
        if self._deliveries is not None:
            self._deliveries.discard(channel)

    def _hold(self, held: bool) -> None:
        self._held = held
        if not self._accepted or self.closed:
            return
        super()._hold(held)
        self._tell()
