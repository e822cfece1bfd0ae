"""The async shell around one conversation: performs its effects on a transport.

In: effects of the conversation, deliveries from the hub, ticks from the timers. Out: frames to the
writer. ``Connection`` adds what serves the client's commands.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, Protocol

from .. import signals
from ..conversation.effects import Close, Effect, Hold, Reread, Run, Send
from ..conversation.heartbeat import Heartbeat
from ..conversation.machine import Conversation
from ..conversation.nothing import NOTHING
from ..conversation.throttling import LimitExceeded
from ..nodes.hub import Outlet
from ..nodes.node import Node
from ..protocol import messages as m
from ..protocol.codes import CloseCode
from ..protocol.dialects.base import Dialect, Encoding
from ..protocol.frames import Frame, Policy, frame_size
from .transport import Deliveries, Transport
from .writer import Writer

if TYPE_CHECKING:
    from .catch_up import Follower

logger = logging.getLogger(__name__)


CLOSE_GRACE_S = 10.0
"""How long a client may take to answer a close before its connection is dropped."""

REPORT_INTERVAL_S = 60.0
"""How long a connection must keep within its limits, or keep up, before it is reported again."""

SLOW_ROUND_TRIP_S = 1.0
"""A client with a longer last round trip counts as slow."""

_NOTHING: frozenset[str] = frozenset()
"""Shared by all connections, most of which never need another."""


class Tap(Protocol):
    """Watches what a connection sends and receives, before it is encoded; see ``traces``."""

    def received(self, command: m.Command, size: int) -> None:
        """The client sent this; ``size`` is its share of the frame in bytes."""
        ...

    def sent(self, push: m.Push, size: int) -> None:
        """This goes to the client."""
        ...

    def delivered(self, publication: m.Publication, size: int) -> None:
        """This publication goes to the client."""
        ...

    def sent_frame(self, size: int, content: str | bytes | None) -> None:
        """A frame of the site's own consumer goes to the client."""
        ...


class Shell:
    """A connected client with a conversation, a dialect and a transport.

    Args:
        node: the runtime that it is connected to.
        scope: the ASGI scope of the handshake.
        address: the client's address; None where the server knows none.
        transport: the way to the client.
        dialect: how the client writes and reads.
        conversation: whose effects are performed.
    """

    __slots__ = (
        "_conversation",
        "_deliveries",
        "_dialect",
        "_held_for",
        "_node",
        "_paused_channels",
        "_readable",
        "_silent_channels",
        "_slow_at",
        "_tap",
        "_tasks",
        "_throttled_at",
        "_transport",
        "_writer",
        "client_address",
        "close_code",
        "closed",
        "connected_at",
        "encoding",
        "end",
        "end_detail",
        "errors",
        "followers",
        "id",
        "scope",
        "throttled",
    )

    def __init__(
        self,
        node: Node,
        scope: MutableMapping[str, Any],
        address: str | None,
        transport: Transport,
        dialect: Dialect,
        conversation: Conversation,
    ) -> None:
        config = node.config
        self.id = secrets.token_hex(8)
        self.scope = scope
        self.client_address = address
        self.connected_at = node.clock.time()
        self.closed = False
        self.close_code: int | None = None
        self.end = "client"
        """What ended it: the server's close code as text, ``"client"``, or ``"lost"``."""
        self.end_detail = ""
        """What the client was told with the server's close code."""
        self.errors = 0
        """Errors that the client was told."""
        self.throttled = 0
        """Times that the client was over a limit."""
        self.followers: dict[str, Follower] = NOTHING
        """What writes what it has missed, by channel."""
        self.encoding: Encoding = dialect.encoding
        self._node = node
        self._conversation = conversation
        self._dialect = dialect
        self._transport = transport
        self._writer = Writer(
            transport.write,
            self,
            max_messages=config.outbox_max_messages,
            max_bytes=config.outbox_max_bytes,
            try_write=transport.try_write,
        )
        self._deliveries: Deliveries = transport.deliveries(self._writer)
        self._held_for = _NOTHING
        self._paused_channels = _NOTHING
        self._silent_channels = _NOTHING  # paused, or catching up
        self._readable: asyncio.Future[None] | None = None
        self._slow_at: float | None = None
        self._tap: Tap | None = None
        self._tasks: dict[asyncio.Future[Any], None] = NOTHING  # and hooks without one
        self._throttled_at: float | None = None

    # -- the client --------------------------------------------------------------------------------

    def header(self, name: str) -> str | None:
        """A header of the handshake, such as ``"origin"``; None without it. ``name`` in lower case."""
        wanted = name.encode("latin-1")
        for key, value in self.scope.get("headers", ()):
            if key.lower() == wanted:
                text: str = value.decode("latin-1")
                return text
        return None

    @property
    def origin(self) -> str | None:
        """``Origin``, which every browser sends."""
        return self.header("origin")

    @property
    def user_agent(self) -> str | None:
        """``User-Agent``, as the client wrote it."""
        return self.header("user-agent")

    @property
    def client_id(self) -> str | None:
        """``X-Client-ID``, by which a site may tell its devices apart."""
        return self.header("x-client-id")

    # -- state -------------------------------------------------------------------------------------

    early = True
    """The timers may call it together with others; see ``timers.Timed``."""

    @property
    def transport(self) -> str:
        """The name of its transport, such as ``"websocket"``."""
        return self._transport.name

    @property
    def consumer(self) -> str:
        """The class of the site's own consumer, by its dotted name; empty without one."""
        return self._transport.consumer

    @property
    def writer(self) -> Writer:
        """The writer, for its counters."""
        return self._writer

    @property
    def paused_channels(self) -> frozenset[str]:
        """Channels whose deliveries the client has paused."""
        return self._paused_channels

    @property
    def dialect_name(self) -> str:
        """How it speaks, such as ``"realtime json"``."""
        return self._dialect.name

    @property
    def seen_at(self) -> float:
        """When the client was last heard of, in seconds since the epoch."""
        clock = self._node.clock
        seen = clock.time() - (clock.monotonic() - self._conversation.heartbeat.last_seen)
        return max(self.connected_at, seen)

    @property
    def troubled_by(self) -> str:
        """``"slow"`` or ``"throttled"`` where it is, or was within the last minute; else empty."""
        since = self._now() - REPORT_INTERVAL_S
        round_trip = self.round_trip
        if round_trip is not None and round_trip > SLOW_ROUND_TRIP_S:
            return "slow"
        if self._slow_at is not None and self._slow_at >= since:
            return "slow"
        if self._throttled_at is not None and self._throttled_at >= since:
            return "throttled"
        return ""

    @property
    def round_trips(self) -> list[float]:
        """The last round trips in seconds, oldest first."""
        return list(self._conversation.heartbeat.round_trips)

    def tap(self, tap: Tap | None) -> None:
        """Show a tap what it sends and receives from now on; None ends that."""
        self._tap = tap
        self._choose_delivery()

    @property
    def heartbeat(self) -> Heartbeat:
        """The conversation's, for a transport that stops its clock."""
        return self._conversation.heartbeat

    def reschedule(self) -> None:
        """The conversation's deadline has changed from outside."""
        if not self.closed:
            self._node.timers.set(self, self._conversation.deadline)

    @property
    def round_trip(self) -> float | None:
        """Seconds from the last ping to its pong, or None before the first."""
        return self._conversation.heartbeat.round_trip

    # -- its end -----------------------------------------------------------------------------------

    def close(
        self,
        code: CloseCode,
        reason: str,
        *,
        reconnect: bool | None = None,
        retry_after: float | None = None,
    ) -> None:
        """Say ``closing`` and close; does nothing on a connection that is closing."""
        self._perform(
            self._conversation.close(code, reason, reconnect=reconnect, retry_after=retry_after)
        )

    def drop(self) -> None:
        """End it without waiting for the client."""
        self._conversation.gone()
        self._end()
        self._transport.drop()

    def leave(self, code: int) -> None:
        """The site's own consumer closes it; nothing is said in our words."""
        self.end, self.close_code = str(code), code
        self._conversation.gone()
        self._end()

    # -- in ----------------------------------------------------------------------------------------

    @property
    def saturated(self) -> bool:
        """Whether its handlers are behind, so that it must not be read on."""
        return self._conversation.saturated and not self.closed

    async def readable(self) -> None:
        """Wait until the client may be read on: until its handlers have caught up."""
        while self._conversation.saturated and not self.closed:
            self._readable = asyncio.get_running_loop().create_future()
            await self._readable

    def due(self, now: float) -> float | None:
        """The timers' call; see ``timers.Timed``."""
        if self.closed:
            self.drop()
            return None
        self._perform(self._conversation.tick(now))
        return self._now() + CLOSE_GRACE_S if self.closed else self._conversation.deadline

    def _report_throttling(self, exceeded: LimitExceeded) -> None:
        """Count a limit that was exceeded, and announce it unless that was done lately."""
        self._node.metrics.throttled += 1
        self.throttled += 1
        now = self._now()
        if self._throttled_at is None or now - self._throttled_at > REPORT_INTERVAL_S:
            self._node.announce(signals.throttled, connection=self, limit=exceeded.limit)
            self._node.connection_changed(self.id)
        self._throttled_at = now
        self._transport.throttled(exceeded)

    # -- out ---------------------------------------------------------------------------------------

    @property
    def outlet(self) -> Outlet:
        """What takes its deliveries: for most the writer, which alone is looked at for each of them."""
        return self._writer if self._deliveries is self._writer else self

    is_free = False
    """See ``Outlet``."""

    def deliver(self, frame: Frame, publication: m.Publication) -> None:
        """Take a publication's frame; never waits, never raises."""
        self._deliver_with_care(frame, publication)

    def _choose_delivery(self) -> None:
        """Its state has changed, which is not looked at for each delivery."""
        if self.closed:
            self._writer.care = deliver_nothing
        elif self._silent_channels or self._tap is not None:
            self._writer.care = self._deliver_with_care
        else:
            self._writer.care = None

    def _deliver_with_care(self, frame: Frame, publication: m.Publication | None) -> None:
        if self.closed or frame.channel in self._silent_channels:
            return
        if self._tap is not None and publication is not None:
            self._tap.delivered(publication, frame.size)
        if not self.closed:  # the tap may have ended it
            self._take(frame)

    def _take(self, frame: Frame) -> None:
        """Write a frame among the deliveries."""
        if self._deliveries is self._writer:
            self._writer.take(frame)
        else:
            self._deliveries.deliver(frame, None)

    def started_anew(self, channel: str, position: m.Position) -> None:
        """Tell the client that it has missed something of a channel; never waits, never raises."""
        if self.closed or channel in self._silent_channels:
            return
        push = m.Subscribed(channel=channel, position=position, recovered=False)
        if self._transport.started_anew(push):
            self._show(push, 0)
            return
        data = self._dialect.encode(push)
        if data is not None:
            size = frame_size(data)
            self._show(push, size)
            # Among the channel's publications, whose order it is part of.
            self._take(Frame(self.encoding.wrap(data), size, channel))

    def notify(self, push: m.Push) -> bool:
        """Write anything that is not a reply; False where the client's dialect has no form for it."""
        return self._say(push)

    def discard_queued(self, channel: str) -> None:
        """Take back what waits of a channel that the connection has left."""
        self._writer.discard(channel)
        self._transport.discard(channel)

    def set_flow(self, channel: str, *, paused: bool) -> None:
        """Pause or resume the deliveries of a channel; what is paused is dropped."""
        if paused:
            self._paused_channels |= {channel}
        else:
            self._paused_channels -= {channel}
        # A client may let go on what goes on already, and is still catching up.
        self.silence(channel, silent=paused or channel in self.followers)

    def silence(self, channel: str, *, silent: bool) -> None:
        """Drop what is delivered live on a channel, or let it through again, unless it is paused."""
        if silent or channel in self._paused_channels:
            self._silent_channels |= {channel}
        elif self._silent_channels:
            self._silent_channels -= {channel}
        self._choose_delivery()

    def hand(self, publication: m.Publication, *, first: bool = False) -> None:
        """Write a publication that is this client's alone: one that it has missed, or of a state.

        Args:
            publication: what it has missed.
            first: before what is held back.
        """
        if self.closed:
            return
        frame = self.encoding.publication_frame(publication, Policy.CLOSE)
        if frame is None:
            return
        if self._tap is not None:
            self._tap.delivered(publication, frame.size)
        if first:
            self._writer.write(frame)
        else:
            self._take(frame)

    def overflowed(self) -> None:
        """The outbox is full: a slow consumer ends, and comes back with its positions.

        Its queue is dropped, so that the close is the next thing to be written.
        """
        if self.closed:
            return
        logger.info("A slow consumer was closed", extra=self._log_context())
        self._node.metrics.slow += 1
        self._node.announce(signals.slow, connection=self, policy="close")
        self._writer.clear()
        self.close(CloseCode.SLOW_CONSUMER, "too slow: its queue was full")

    def dropped(self, count: int, policy: Policy) -> None:
        """The client does not keep up, and its channels' policies allow the loss."""
        self._node.metrics.dropped += count
        now = self._now()
        if self._slow_at is None or now - self._slow_at > REPORT_INTERVAL_S:
            self._node.metrics.slow += 1
            self._node.announce(signals.slow, connection=self, policy=policy.value)
            self._node.connection_changed(self.id)
        self._slow_at = now

    def lost(self, error: BaseException) -> None:
        """The server could not send: the client is gone, and the disconnect event says so soon."""
        logger.debug("A send failed: %s", error, extra=self._log_context())
        if not self.closed:
            self.end = "lost"
        self._conversation.gone()
        self._end()

    # -- effects -----------------------------------------------------------------------------------

    def _perform(self, effects: list[Effect]) -> None:
        if effects and _ends_credentials(effects[-1]) and not self.closed:
            self._writer.clear()  # the client may no longer have what waits
        for effect in effects:
            if type(effect) is Send:
                self._say(effect.push)
            elif isinstance(effect, Run):
                self._run(effect)
            elif isinstance(effect, Close):
                self._order_close(effect)
            elif isinstance(effect, Hold):
                if effect.held:
                    self.hold_deliveries("credentials")
                else:
                    self.release_deliveries("credentials")
            elif isinstance(effect, Reread):
                self._node.spawn(self.reread(), "reread")
        over = self._conversation.over
        if over is not None:
            self._conversation.over = None
            self._report_throttling(over)
        if self.closed:
            return
        self._node.timers.set(self, self._conversation.deadline)
        if self._readable is not None and not self._conversation.saturated:
            self._wake_reader()

    def _run(self, run: Run) -> None:
        """Serve a command; ``Connection`` does."""
        raise NotImplementedError

    async def reread(self) -> None:
        """Read the credentials again; ``CredentialHolder`` does."""
        raise NotImplementedError

    def hold_deliveries(self, reason: str) -> None:
        """Keep deliveries back, until they are released for this and every other reason."""
        if not self._held_for:
            self._transport.hold(self._writer, True)
        self._held_for |= {reason}

    def release_deliveries(self, reason: str) -> None:
        """Let deliveries go on, unless they are kept back for another reason too."""
        if reason in self._held_for:
            self._held_for -= {reason}
            if not self._held_for:
                self._held_for = _NOTHING
                self._transport.hold(self._writer, False)

    def _say(self, push: m.Push) -> bool:
        if self.closed:
            return False
        kind = type(push)
        if kind is m.Error:
            self.errors += 1
        if self._transport.tell(push):
            self._show(push, 0)
            return True
        data = self._dialect.encode(push)
        if data is None:
            return False
        frame = self.encoding.frame(data)
        if self._tap is not None:
            self._tap.sent(push, frame.size)
        last = kind is m.Closing
        if last or self._transport.is_open:
            self._writer.write(frame, last=last)
        else:
            self._writer.take(frame)
        if type(push) is m.Subscribed:
            for publication in push.missed:
                self.hand(publication)
        elif type(push) is m.Resumed:
            for subscribed in push.channels:
                for publication in subscribed.missed:
                    self.hand(publication, first=True)
        return True

    def _show(self, push: m.Push, size: int) -> None:
        if self._tap is not None:
            self._tap.sent(push, size)

    def can_say(self, push: m.Push) -> bool:
        """Whether the client's dialect has a form for it."""
        return self._dialect.encode(push) is not None

    def show_frame(self, size: int, content: str | bytes | None = None) -> None:
        """Show the tap that a frame of the site's own consumer goes out."""
        if self._tap is not None:
            self._tap.sent_frame(size, content)

    def _order_close(self, effect: Close) -> None:
        self.end, self.end_detail = str(int(effect.code)), effect.reason
        self.close_code, content = self._transport.close_content(
            effect.code,
            effect.reason,
            rfc=self._node.config.close_codes == "rfc",
            reconnect=effect.reconnect,
        )
        self._writer.write(Frame(content, 0), last=True)
        self._end()

    def _close(self) -> None:
        self.closed = True
        self._choose_delivery()

    def _end(self) -> None:
        self._close()
        for follower in tuple(self.followers.values()):
            follower.stop()
        self._wake_reader()
        for task in self._tasks:
            task.cancel()
        self._node.timers.remove(self)  # an earlier deadline would cut the grace short
        self._node.timers.set(self, self._now() + CLOSE_GRACE_S)

    def _wake_reader(self) -> None:
        if self._readable is not None and not self._readable.done():
            self._readable.set_result(None)

    # -- logging -----------------------------------------------------------------------------------

    def log_exception(self, message: str) -> None:
        """Log the exception being handled, with the connection it hit."""
        logger.exception(  # noqa: LOG004 - called where one is handled
            "%s on connection %s", message, self.id, extra=self._log_context()
        )

    def _log_context(self) -> dict[str, Any]:
        return {
            "connection_id": self.id,
            "user_id": self.user_id,
            "transport": self.transport,
        }

    @property
    def user_id(self) -> str | None:
        """The user's primary key as text, or None; ``CredentialHolder`` knows."""
        raise NotImplementedError

    def _now(self) -> float:
        return self._node.clock.monotonic()


def deliver_nothing(frame: Frame, publication: m.Publication | None) -> None:
    """The delivery of a closed connection."""


def _ends_credentials(effect: Effect) -> bool:
    return type(effect) is Close and effect.code in _ENDS_CREDENTIALS


_ENDS_CREDENTIALS = frozenset({CloseCode.UNAUTHENTICATED, CloseCode.BLOCKED})
"""Closes after which the client may have nothing of what waits for it."""
