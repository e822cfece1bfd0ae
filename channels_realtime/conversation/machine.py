"""The conversation: which command runs when, what is answered at once, when it is over.

In: commands that a dialect read, the replies of commands that were served, the time.
Out: effects. It holds no socket, starts no task and asks no clock, so its whole behaviour is
tested without waiting.

Order, as the wire protocol has it: commands of one channel run in the order sent, those of different
channels may overtake each other; an ``auth`` that signs in and a ``resume`` wait for what came
before and hold what comes after; ``ping``, ``pong`` and a refreshing ``auth`` never wait.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Sequence

from ..protocol import messages as m
from ..protocol.codes import CloseCode, ErrorCode
from ..protocol.limits import Limits
from .effects import Close, Effect, Hold, Reread, Run, Send
from .expiry import Due, Expiry
from .heartbeat import Beat, Heartbeat
from .throttling import LimitExceeded, Rates, Throttle

_BAD_MESSAGE_REFILL_S = 2.0
"""Seconds after which one bad message is forgiven."""

_UNREADABLE = frozenset({ErrorCode.BAD_MESSAGE, ErrorCode.UNKNOWN_TYPE})
"""What speaks of a client that does not know the protocol, rather than of one bad value."""


_NO_VERDICT = frozenset({ErrorCode.INTERNAL, ErrorCode.TIMEOUT, ErrorCode.UNAVAILABLE})
"""What says nothing of a token: the server's own trouble in judging it."""


class Phase(enum.Enum):
    """Where a conversation is."""

    OPENING = enum.auto()
    """The handshake's credentials are being judged; nothing is read yet."""
    AWAITING_AUTH = enum.auto()
    """``auth_required`` was sent; only ``auth``, ``ping`` and ``pong`` are judged."""
    OPEN = enum.auto()
    """``welcome`` was sent."""
    CLOSED = enum.auto()
    """A close was ordered, or the client is gone; nothing more happens."""


class Conversation:
    """The state of one connection.

    Args:
        limits: what the client may do.
        heartbeat: its heartbeat; enabled by the caller where the dialect agreed to it.
        now: monotonic seconds.
        retry_after: seconds that a client is told to wait after 4503 and 4429 without other advice.
    """

    __slots__ = (
        "_auth_deadline",
        "_auth_running",
        "_backlog",
        "_bad_messages",
        "_bad_messages_at",
        "_barrier",
        "_lanes",
        "_limits",
        "_next_ticket",
        "_paused_at",
        "_refreshing",
        "_running",
        "_throttle",
        "_unanswered",
        "expiry",
        "heartbeat",
        "over",
        "phase",
        "signed_in",
    )

    def __init__(
        self, limits: Limits, heartbeat: Heartbeat, *, now: float, rates: Rates | None = None
    ) -> None:
        self._limits = limits
        self.heartbeat = heartbeat
        self.phase = Phase.OPENING
        self.signed_in = False
        """Whether the identity is a user; an ``auth`` on such a connection refreshes."""
        self._auth_deadline: float | None = None
        self._auth_running = False
        self._backlog: deque[m.Command] = deque()
        self._bad_messages = 0.0
        self._bad_messages_at = now
        self._barrier = False
        self._lanes: dict[str, deque[m.Command]] = {}
        self._next_ticket = 0
        self._paused_at: float | None = None
        self._refreshing = False
        self._running: dict[int, m.Command] = {}
        self._unanswered: set[str | int] = set()
        self._throttle = Throttle(Rates() if rates is None else rates)
        self.expiry = Expiry()
        self.over: LimitExceeded | None = None
        """The last limit that was exceeded, for whoever reports it."""

    # -- what the shell asks -----------------------------------------------------------------------

    @property
    def saturated(self) -> bool:
        """Whether the shell must not read: too much runs, or something waits for its turn."""
        return bool(self._backlog) or self._in_flight >= self._limits.max_in_flight

    @property
    def deadline(self) -> float | None:
        """When ``tick`` is due, in monotonic seconds, or None."""
        if self.phase is Phase.CLOSED:
            return None
        beat = None if self._paused_at is not None else self.heartbeat.deadline
        deadlines = (beat, self._auth_deadline, self.expiry.deadline)
        return min((at for at in deadlines if at is not None), default=None)

    @property
    def _may_refresh(self) -> bool:
        # Not before `welcome`: an `auth` that follows the first one is judged after it.
        return self.phase is Phase.OPEN and self.signed_in and not self._refreshing

    def _is_closed(self) -> bool:
        return self.phase is Phase.CLOSED

    @property
    def _in_flight(self) -> int:
        return len(self._running) + sum(map(len, self._lanes.values()))

    # -- phases ------------------------------------------------------------------------------------

    def require_auth(self, now: float, timeout: float) -> list[Effect]:
        """No credentials came with the handshake: the client has ``timeout`` seconds to send them."""
        if self._is_closed():
            return []
        self.phase = Phase.AWAITING_AUTH
        self._auth_deadline = now + timeout
        return [Send(m.AuthRequired(timeout=timeout))]

    def welcome(self, push: m.Welcome, now: float) -> list[Effect]:
        """The connection has an identity (a user's, or the anonymous one): begin."""
        if self._is_closed():
            return []
        self.phase = Phase.OPEN
        self.signed_in = push.user is not None
        self._auth_deadline = None
        self._auth_running = False
        return [Send(push), *self._admit(now)]

    def open_silently(self, *, signed_in: bool) -> None:
        """Begin in a dialect that has no greeting."""
        if self._is_closed():
            return
        self.phase = Phase.OPEN
        self.signed_in = signed_in

    def close(
        self,
        code: CloseCode,
        reason: str,
        *,
        reconnect: bool | None = None,
        retry_after: float | None = None,
    ) -> list[Effect]:
        """Say ``closing`` and end; an empty list if that has happened.

        Args:
            code: of ``CloseCode``.
            reason: a few words for a person; no secrets.
            reconnect: whether the client comes back, by default what the code says.
            retry_after: seconds it is to wait, or None.
        """
        if self.phase is Phase.CLOSED:
            return []
        self.gone()
        closing = m.Closing(
            code=code,
            reason=reason,
            reconnect=code.reconnect if reconnect is None else reconnect,
            retry_after=retry_after,
        )
        return [Send(closing), Close(code, reason)]

    def gone(self) -> None:
        """The client has gone, or is to go: nothing that waits is served."""
        self.phase = Phase.CLOSED
        self._backlog.clear()
        self._lanes.clear()
        self._unanswered.clear()

    # -- input -------------------------------------------------------------------------------------

    def receive(
        self,
        commands: Sequence[m.Command],
        now: float,
        *,
        size: int = 0,
        over: LimitExceeded | None = None,
    ) -> list[Effect]:
        """What a frame's commands lead to.

        Args:
            commands: of the frame.
            now: monotonic seconds.
            size: of the frame in bytes.
            over: a limit that the connection's user or address has exceeded.
        """
        if self.phase is Phase.CLOSED:
            return []
        effects: list[Effect] = []
        share = size / len(commands) if commands else 0.0
        for command in commands:
            exceeded = over or self._throttle.message(share, now)
            if exceeded is None and isinstance(command, m.Publish):
                exceeded = self._throttle.publish(now)
            if exceeded is not None:
                effects += self._refuse_excess(command, exceeded, now)
            else:
                effects += self._judge(command, now)
            if self._is_closed():
                return effects
        self.heartbeat.seen(now)  # after a pong was judged, which is measured from its ping
        effects += self._admit(now)
        if self.saturated and self._paused_at is None:
            self._paused_at = now
        return effects

    def frame_too_large(self, size: int) -> list[Effect]:
        """A frame over ``max_frame`` bytes came; that ends the conversation."""
        return self.close(
            CloseCode.TOO_LARGE,
            f"a frame of {size} bytes; expected at most {self._limits.max_frame}",
        )

    def complete(self, ticket: int, reply: m.Push | None, now: float) -> list[Effect]:
        """A command that ``Run`` named was served; ``reply`` is None where it needs no answer."""
        command = self._running.pop(ticket, None)
        if command is None or self.phase is Phase.CLOSED:
            return []
        if command.id is not None:
            self._unanswered.discard(command.id)
        effects: list[Effect] = [] if reply is None else [Send(reply)]
        if isinstance(reply, m.Error):
            effects += self._count_failure(now)
            if self._is_closed():
                return effects
        if isinstance(command, m.Authenticate) and self._refreshing:
            self._refreshing = False
        elif isinstance(command, (m.Authenticate, m.Resume)):
            self._barrier = False
        elif command.lane is not None:
            effects += self._next_of_lane(command.lane)
        effects += self._admit(now)
        if not self.saturated and self._paused_at is not None:
            self.heartbeat.pause(max(0.0, now - self._paused_at))
            self._paused_at = None
        return effects

    def signed_in_as(self, ticket: int, reply: m.AuthOk, now: float) -> list[Effect]:
        """An ``auth`` was good. The caller has set the ``expiry``; before ``welcome`` it follows."""
        if self.phase is Phase.CLOSED:
            return []
        if self.expiry.is_over(now):  # the proof ended while it was being judged
            return self.close(CloseCode.UNAUTHENTICATED, "the credentials have expired")
        self.signed_in = True
        self._auth_deadline = None  # _auth_running stays: what comes before `welcome` waits for it
        return [Hold(False), *self.complete(ticket, reply, now)]

    def auth_failed(self, ticket: int, error: m.Error, now: float) -> list[Effect]:
        """An ``auth`` was bad: before ``welcome`` that is the end, later the old deadline stands."""
        if self.phase is Phase.AWAITING_AUTH:
            return self.sign_in_failed(ticket, error, now)
        effects = self.complete(ticket, error, now)
        if self.expiry.holding:
            effects += self.close(CloseCode.UNAUTHENTICATED, "the credentials have expired")
        return effects

    def renewed(self) -> list[Effect]:
        """The login session was read again and goes on; the caller has set the ``expiry``."""
        return [] if self.phase is Phase.CLOSED else [Hold(False)]

    def sign_in_failed(self, ticket: int, error: m.Error, now: float) -> list[Effect]:
        """The first ``auth`` was refused: ``error``, ``closing``, 4401.

        4500 where nobody could judge it: the client's credentials may be as good as ever.
        """
        if self.phase is Phase.CLOSED:
            return []
        self._running.pop(ticket, None)
        unjudged = error.code in _NO_VERDICT
        code = CloseCode.INTERNAL if unjudged else CloseCode.UNAUTHENTICATED
        return [Send(error), *self.close(code, error.reason)]

    def tick(self, now: float) -> list[Effect]:
        """What is due: a ping, or the end for want of credentials or of life."""
        if self.phase is Phase.CLOSED:
            return []
        if self._auth_deadline is not None and now >= self._auth_deadline:
            self._auth_deadline = None
            if not self._auth_running:
                return self.close(CloseCode.UNAUTHENTICATED, "no credentials came in time")
        effects = self._tick_expiry(now)
        if self._paused_at is not None or self._is_closed():
            return effects
        return effects + self._tick_heartbeat(now)

    def _tick_expiry(self, now: float) -> list[Effect]:
        due = self.expiry.tick(now, judging=self._refreshing)
        if due is Due.WARN:
            assert self.expiry.expires_at is not None
            return [Send(m.AuthExpiring(expires_at=self.expiry.expires_at))]
        if due is Due.REREAD:
            return [Hold(True), Reread()]
        if due is Due.HOLD:
            return [Hold(True)]
        if due is Due.END:
            return self.close(CloseCode.UNAUTHENTICATED, "the credentials have expired")
        return []

    def _tick_heartbeat(self, now: float) -> list[Effect]:
        beat = self.heartbeat.tick(now)
        if beat is Beat.PING:
            return [Send(m.PingPush())]
        if beat is Beat.DEAD:
            return self.close(CloseCode.HEARTBEAT, "no answer to a ping")
        return []

    # -- order -------------------------------------------------------------------------------------

    def _judge(self, command: m.Command, now: float) -> list[Effect]:
        """Answer at once what never waits; put the rest in the backlog."""
        if isinstance(command, m.Malformed):
            return self._refuse_malformed(command, now)
        if isinstance(command, m.Pong):
            self.heartbeat.enabled = True
            self.heartbeat.answered(now)
            return []
        if command.id is not None and command.id in self._unanswered:
            reason = f"'id' {command.id!r} is of a request that is still unanswered"
            return [_error(command, ErrorCode.BAD_MESSAGE, reason)]
        if isinstance(command, m.Ping):
            self.heartbeat.enabled = True
            return [Send(m.PongReply(id=command.id))]
        if self.phase is Phase.AWAITING_AUTH and not self._auth_running:
            if not isinstance(command, m.Authenticate):
                return [_error(command, ErrorCode.UNAUTHENTICATED, "authenticate first")]
            self._auth_running = True
            return [self._run(command)]
        if self._may_refresh and isinstance(command, m.Authenticate):
            self._refreshing = True
            return [self._run(command)]
        if command.id is not None:
            self._unanswered.add(command.id)
        self._backlog.append(command)
        return []

    def _refuse_malformed(self, command: m.Malformed, now: float) -> list[Effect]:
        if command.code in _UNREADABLE:
            forgiven = (now - self._bad_messages_at) / _BAD_MESSAGE_REFILL_S
            self._bad_messages = max(0.0, self._bad_messages - forgiven) + 1
            self._bad_messages_at = now
        error = m.Error(
            id=command.id,
            request=command.about,
            channel=command.channel,
            code=command.code,
            reason=command.reason,
        )
        if self._bad_messages > self._limits.max_bad_messages:
            return [Send(error), *self.close(CloseCode.BAD_MESSAGES, "too many bad messages")]
        return [Send(error), *self._count_failure(now)]

    def _refuse_excess(self, command: m.Command, over: LimitExceeded, now: float) -> list[Effect]:
        """Answer a command that is over a limit; close where that goes on."""
        self.over = over
        if self._throttle.refused(now):
            return self._close_throttled(over)
        if isinstance(command, m.Pong):
            return []
        request = command.about if isinstance(command, m.Malformed) else command.request
        error = m.Error(
            id=command.id,
            request=request,
            channel=getattr(command, "channel", None),
            code=ErrorCode.RATE_LIMITED,
            reason=f"too fast: {over.limit}",
            retry_after=over.retry_after,
        )
        return [Send(error)]

    def _count_failure(self, now: float) -> list[Effect]:
        over = self._throttle.failure(now)
        if over is None:
            return []
        self.over = over
        return self._close_throttled(over)

    def _close_throttled(self, over: LimitExceeded) -> list[Effect]:
        return self.close(
            CloseCode.RATE_LIMITED, f"too fast: {over.limit}", retry_after=over.retry_after
        )

    def _admit(self, now: float) -> list[Effect]:
        """Start what may run of the backlog, in its order."""
        effects: list[Effect] = []
        while self._backlog and self.phase is Phase.OPEN and not self._barrier:
            command = self._backlog[0]
            if isinstance(command, m.Authenticate) and self.signed_in:
                if self._refreshing:
                    break
                self._refreshing = True
            elif isinstance(command, (m.Authenticate, m.Resume)):
                if self._in_flight:
                    break
                self._barrier = True
            elif self._in_flight >= self._limits.max_in_flight:
                break
            self._backlog.popleft()
            lane = command.lane
            if lane is not None:
                waiting = self._lanes.get(lane)
                if waiting is not None:
                    waiting.append(command)
                    continue
                self._lanes[lane] = deque()
            effects.append(self._run(command))
        return effects

    def _next_of_lane(self, lane: str) -> list[Effect]:
        waiting = self._lanes.get(lane)
        if waiting:
            return [self._run(waiting.popleft())]
        self._lanes.pop(lane, None)
        return []

    def _run(self, command: m.Command) -> Run:
        if command.id is not None:
            self._unanswered.add(command.id)
        ticket = self._next_ticket = self._next_ticket + 1
        self._running[ticket] = command
        return Run(ticket, command)


def _error(command: m.Command, code: ErrorCode, reason: str) -> Send:
    channel = command.lane if isinstance(command, (m.ChannelCommand, m.Call)) else None
    return Send(
        m.Error(id=command.id, request=command.request, channel=channel, code=code, reason=reason)
    )
