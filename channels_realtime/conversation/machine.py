"""The state machine of one connection: which command runs when, and when the connection closes.

In: commands that a dialect decoded, the replies of served commands, and the time.
Out: effects. It has no socket, no task and no clock, so all of it is tested without waiting.

Order, by the wire protocol: commands of one channel run in the order sent; commands of different
channels may overtake each other. The first ``auth`` and a ``resume`` wait until earlier commands are
served, and later commands wait for them. ``ping``, ``pong`` and a refreshing ``auth`` never wait.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

from ..protocol import messages as m
from ..protocol.codes import CloseCode, ErrorCode
from ..protocol.limits import Limits
from .effects import Close, Effect, Hold, Reread, Run, Send
from .expiry import Due, Expiry
from .heartbeat import Beat, Heartbeat
from .nothing import NOTHING
from .throttling import LimitExceeded, Rates, Throttle

_BAD_MESSAGE_REFILL_S = 2.0
"""Seconds after which one bad message no longer counts."""

_UNREADABLE = frozenset({ErrorCode.BAD_MESSAGE, ErrorCode.UNKNOWN_TYPE})
"""Errors of a client that does not know the protocol, unlike a single bad value."""

_NO_VERDICT = frozenset({ErrorCode.INTERNAL, ErrorCode.TIMEOUT, ErrorCode.UNAVAILABLE})
"""Errors that say nothing about a token, because the server failed to verify it."""


_PING = Send(m.PingPush())
_PONG = Send(m.PongReply())
_TEXT_PONG = Send(m.PongReply(as_text=True))


class Phase(enum.Enum):
    """The phase of a conversation."""

    OPENING = enum.auto()
    """The handshake's credentials are being verified; nothing is read yet."""
    AWAITING_AUTH = enum.auto()
    """``auth_required`` was sent; only ``auth``, ``ping`` and ``pong`` are accepted."""
    OPEN = enum.auto()
    """``welcome`` was sent."""
    CLOSED = enum.auto()
    """The connection was closed, by either side or by a loss; nothing more happens."""


class Conversation:
    """The state of one connection.

    Args:
        limits: the limits on what the client may send.
        heartbeat: its heartbeat. The caller enables it if the dialect has one.
        now: monotonic seconds.
        rates: its rate limits; None is no limit.
    """

    __slots__ = (
        "_auth_deadline",
        "_auth_running",
        "_backlog",
        "_bad_messages",
        "_bad_messages_at",
        "_barrier",
        "_expiry",
        "_lanes",
        "_limits",
        "_next_ticket",
        "_paused_at",
        "_queued",
        "_refreshing",
        "_running",
        "_throttle",
        "_unanswered",
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
        """Whether the identity is a user; a further ``auth`` then refreshes it."""
        self._auth_deadline: float | None = None
        self._auth_running = False
        self._backlog: Sequence[m.Command] = ()
        self._bad_messages = 0.0
        self._bad_messages_at = now
        self._barrier = False
        self._lanes: dict[str, list[m.Command]] = NOTHING
        self._queued = 0  # in the lanes
        self._next_ticket = 0
        self._paused_at: float | None = None
        self._refreshing = False
        self._running: dict[int, m.Command] = NOTHING
        self._unanswered: dict[str | int, None] = NOTHING
        self._throttle = Throttle(Rates() if rates is None else rates)
        self._expiry: Expiry | None = None
        self.over: LimitExceeded | None = None
        """The last limit that was exceeded, to be reported."""

    # -- state for the caller ----------------------------------------------------------------------

    @property
    def expiry(self) -> Expiry:
        """That of its credentials; an anonymous connection needs none."""
        if self._expiry is None:
            self._expiry = Expiry()
        return self._expiry

    @property
    def saturated(self) -> bool:
        """Whether the caller must stop reading: too many commands run, or one waits for its turn."""
        if self._backlog:
            return True
        return bool(self._running) and self._in_flight >= self._limits.max_in_flight

    @property
    def deadline(self) -> float | None:
        """When to call ``tick`` next, in monotonic seconds, or None."""
        if self.phase is Phase.CLOSED:
            return None
        earliest = None if self._paused_at is not None else self.heartbeat.deadline
        at = None if self._expiry is None else self._expiry.deadline
        if at is not None and (earliest is None or at < earliest):
            earliest = at
        at = self._auth_deadline
        if at is not None and (earliest is None or at < earliest):
            earliest = at
        return earliest

    @property
    def _may_refresh(self) -> bool:
        # Not before `welcome`: a second `auth` waits for the first.
        return self.phase is Phase.OPEN and self.signed_in and not self._refreshing

    def _is_closed(self) -> bool:
        return self.phase is Phase.CLOSED

    @property
    def _in_flight(self) -> int:
        return len(self._running) + self._queued

    # -- phases ------------------------------------------------------------------------------------

    def require_auth(self, now: float, timeout: float) -> list[Effect]:
        """Ask for credentials: the handshake had none, and the client has ``timeout`` seconds to send them."""
        if self._is_closed():
            return []
        self.phase = Phase.AWAITING_AUTH
        self._auth_deadline = now + timeout
        return [Send(m.AuthRequired(timeout=timeout))]

    def welcome(self, push: m.Welcome, now: float) -> list[Effect]:
        """Open the connection: it has an identity, a user's or the anonymous one."""
        if self._is_closed():
            return []
        self.phase = Phase.OPEN
        self.signed_in = push.user is not None
        self._auth_deadline = None
        self._auth_running = False
        return [Send(push), *self._admit(now)]

    def open_silently(self, *, signed_in: bool) -> None:
        """Open the connection without a push, for dialects without a greeting."""
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
        """Send ``closing`` and close; no effects if the connection is closed already.

        Args:
            code: the close code.
            reason: a few words for people; no secrets.
            reconnect: whether the client should reconnect; by default, the code decides.
            retry_after: how many seconds the client should wait before that, or None.
        """
        if self.phase is Phase.CLOSED:
            return []
        self.gone()
        back = code.reconnect if reconnect is None else reconnect
        closing = m.Closing(code=code, reason=reason, reconnect=back, retry_after=retry_after)
        return [Send(closing), Close(code, reason, back)]

    def gone(self) -> None:
        """Note that the connection ends: waiting commands are not served."""
        self.phase = Phase.CLOSED
        self._backlog = ()
        self._lanes = self._unanswered = NOTHING
        self._queued = 0

    # -- input -------------------------------------------------------------------------------------

    def receive(
        self,
        commands: Sequence[m.Command],
        now: float,
        *,
        size: int = 0,
        over: LimitExceeded | None = None,
    ) -> list[Effect]:
        """Take the commands of a frame.

        Args:
            commands: the commands.
            now: monotonic seconds.
            size: the frame's size in bytes.
            over: a limit that the connection's user or address has exceeded, or None.
        """
        if self.phase is Phase.CLOSED:
            return []
        effects: list[Effect] = []
        share = size / len(commands) if commands else 0.0
        for command in commands:
            exceeded = over or self._throttle.message(share, now)
            if exceeded is None and type(command) is m.Publish:
                exceeded = self._throttle.publish(now)
            if exceeded is not None:
                effects += self._refuse_excess(command, exceeded, now)
            else:
                effects += self._judge(command, now)
            if self._is_closed():
                return effects
        self.heartbeat.seen(now)  # after a pong was handled, which measures the time since its ping
        if self._backlog:
            effects += self._admit(now)
        if self._paused_at is None and self.saturated:
            self._paused_at = now
        return effects

    def frame_too_large(self, size: int) -> list[Effect]:
        """Close the connection: a frame was larger than ``max_frame``, or ``max_plain_frame``, bytes."""
        return self.close(
            CloseCode.TOO_LARGE,
            f"a frame of {size} bytes; expected at most {self._limits.max_frame}",
        )

    def complete(self, ticket: int, reply: m.Push | None, now: float) -> list[Effect]:
        """Take the reply to a command that ``Run`` started; None if it needs no reply."""
        command = self._end_run(ticket)
        if command is None or self.phase is Phase.CLOSED:
            return []
        if command.id in self._unanswered:
            del self._unanswered[command.id]
            if not self._unanswered:
                self._unanswered = NOTHING
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
        """Take a successful ``auth``. The caller has set ``expiry``, and calls ``welcome`` next if needed."""
        if self.phase is Phase.CLOSED:
            return []
        if self.expiry.is_over(now):  # the credentials expired while they were verified
            return self.close(CloseCode.UNAUTHENTICATED, "the credentials have expired")
        self.signed_in = True
        self._auth_deadline = None  # _auth_running stays set: commands wait for `welcome`
        return [Hold(False), *self.complete(ticket, reply, now)]

    def signed_in_elsewhere(self, now: float) -> list[Effect]:
        """Go on as a user: the site's own consumer took a token. The caller has set ``expiry``."""
        if self.phase is Phase.CLOSED:
            return []
        if self.expiry.is_over(now):
            return self.close(CloseCode.UNAUTHENTICATED, "the credentials have expired")
        self.signed_in = True
        return [Hold(False)]

    def auth_failed(self, ticket: int, error: m.Error, now: float) -> list[Effect]:
        """Take a failed ``auth``: it closes the connection before ``welcome``; later the old deadline stays."""
        if self.phase is Phase.AWAITING_AUTH:
            return self.sign_in_failed(ticket, error, now)
        effects = self.complete(ticket, error, now)
        if self.expiry.holding:
            effects += self.close(CloseCode.UNAUTHENTICATED, "the credentials have expired")
        return effects

    def renewed(self) -> list[Effect]:
        """Go on: the login session was read again and is valid. The caller has set ``expiry``."""
        return [] if self.phase is Phase.CLOSED else [Hold(False)]

    def sign_in_failed(self, ticket: int, error: m.Error, now: float) -> list[Effect]:
        """Close the connection because the first ``auth`` failed: ``error``, ``closing``, 4401.

        The code is 4500 if the server failed to verify it, because the credentials may be valid.
        """
        if self.phase is Phase.CLOSED:
            return []
        self._end_run(ticket)
        unjudged = error.code in _NO_VERDICT
        code = CloseCode.INTERNAL if unjudged else CloseCode.UNAUTHENTICATED
        return [Send(error), *self.close(code, error.reason)]

    def tick(self, now: float) -> list[Effect]:
        """Return what is due: a ping, or a close without credentials or heartbeat."""
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
        expiry = self._expiry
        if expiry is None:
            return []
        due = expiry.tick(now, judging=self._refreshing)
        if due is Due.WARN:
            assert expiry.expires_at is not None
            return [Send(m.AuthExpiring(expires_at=expiry.expires_at))]
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
            return [_PING]
        if beat is Beat.DEAD:
            return self.close(CloseCode.HEARTBEAT, "no answer to a ping")
        return []

    # -- order -------------------------------------------------------------------------------------

    def _judge(self, command: m.Command, now: float) -> list[Effect]:
        """Handle at once what never waits; put the rest in the backlog."""
        if isinstance(command, m.Malformed):
            return self._refuse_malformed(command, now)
        if type(command) is m.Pong:
            self.heartbeat.enabled = True
            self.heartbeat.answered(now)
            return []
        if command.id is not None and command.id in self._unanswered:
            reason = f"'id' {command.id!r} is of a request that is still unanswered"
            return [_error(command, ErrorCode.BAD_MESSAGE, reason)]
        if type(command) is m.Ping:
            return [self._pong(command)]
        if self.phase is Phase.AWAITING_AUTH and not self._auth_running:
            if not isinstance(command, m.Authenticate):
                return [_error(command, ErrorCode.UNAUTHENTICATED, "authenticate first")]
            self._auth_running = True
            return [self._run(command)]
        if self._may_refresh and isinstance(command, m.Authenticate):
            self._refreshing = True
            return [self._run(command)]
        self._note_unanswered(command)
        self._backlog = (*self._backlog, command)
        return []

    def _pong(self, ping: m.Ping) -> Effect:
        if ping.as_text:  # that client answers no ping of ours
            return _TEXT_PONG
        self.heartbeat.enabled = True
        return _PONG if ping.id is None else Send(m.PongReply(id=ping.id))

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
        if isinstance(command, m.Pong) or (isinstance(command, m.Ping) and command.as_text):
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
        """Start the commands of the backlog that may run, in order."""
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
            # A frame's commands at most: nothing is read while any waits.
            self._backlog = self._backlog[1:]
            lane = command.lane
            if lane is not None:
                waiting = self._lanes.get(lane)
                if waiting is not None:
                    waiting.append(command)
                    self._queued += 1
                    continue
                if self._lanes is NOTHING:
                    self._lanes = {}
                self._lanes[lane] = []
            effects.append(self._run(command))
        return effects

    def _next_of_lane(self, lane: str) -> list[Effect]:
        waiting = self._lanes.get(lane)
        if waiting:
            self._queued -= 1
            return [self._run(waiting.pop(0))]
        if waiting is not None:
            del self._lanes[lane]
            if not self._lanes:
                self._lanes = NOTHING
        return []

    def _run(self, command: m.Command) -> Run:
        self._note_unanswered(command)
        ticket = self._next_ticket = self._next_ticket + 1
        if self._running is NOTHING:
            self._running = {}
        self._running[ticket] = command
        return Run(ticket, command)

    def _end_run(self, ticket: int) -> m.Command | None:
        if ticket not in self._running:
            return None
        command = self._running.pop(ticket)
        if not self._running:
            self._running = NOTHING
        return command

    def _note_unanswered(self, command: m.Command) -> None:
        if command.id is not None:
            if self._unanswered is NOTHING:
                self._unanswered = {}
            self._unanswered[command.id] = None


def _error(command: m.Command, code: ErrorCode, reason: str) -> Send:
    channel = command.lane if isinstance(command, (m.ChannelCommand, m.Call)) else None
    return Send(
        m.Error(id=command.id, request=command.request, channel=channel, code=code, reason=reason)
    )
