"""One client's connection as a state machine without I/O: attempts, credentials, heartbeat, requests.

In: what the transport says (``opened`` by its first frame, ``received``, ``lost``), tokens, and the
program's requests. Out: calls of a ``Shell``, which opens, sends, drops and fetches. Time comes from a
clock that is given. What concerns channels is in ``feeds``.

It keeps the promises of the browser's client, and the protocol's reference is the rule for both.
"""

from __future__ import annotations

import dataclasses
import enum
import itertools
import random
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from ..errors import BadMessage, RealtimeError, RequestTimeout, TooLarge
from ..protocol.codecs import Codec
from ..protocol.codes import CloseCode
from ..protocol.frames import frame_size
from ..protocol.payloads import normalise
from .errors import ClientError, Closed, ConnectionLost, QueueFull, SignedOut, answered, closed
from .feeds import Feeds
from .timers import Timers
from .values import Message, message_from

TERMINAL_CODES = frozenset((4400, 4403, 4406, 4409, 4413, 1002, 1003, 1007, 1009))
"""Close codes after which no client reconnects (the protocol's table). RFC 6455's 1008 stands for both
kinds, so that without a ``closing`` the client does reconnect."""

CLOSE_ABNORMAL = 1006

SETTLED_S = 10.0
"""How long a connection must have stood for a 4401 not to count as the second in a row. A token that is
refused a moment after the welcome is then not fetched for ever."""

TokenReason = Literal["required", "expiring", "refused", "anonymous"]
"""Why a token is wanted: for a connection, because the last one ends soon, because it was refused, or
because the server took the client for an anonymous visitor."""

Done = Callable[[Any, RealtimeError | None], None]
"""Takes a reply's payload, or an error."""


class State(enum.StrEnum):
    """What a client is doing."""

    IDLE = "idle"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    WAITING = "waiting"
    """For its next attempt."""
    CLOSED = "closed"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The client's own times and bounds.

    Args:
        backoff_base_s: the longest first delay before an attempt; it doubles with each that fails.
        backoff_cap_s: the longest delay.
        connect_timeout_s: from the beginning of an attempt to ``welcome``.
        request_timeout_s: from a request to its reply. Longer than the server's ``HOOK_TIMEOUT``.
        max_requests: how many requests may be unanswered.
        queue_bytes: of publications that wait for a connection.
        queue_seconds: how long a publication may wait for a connection, each time it has none.
    """

    backoff_base_s: float = 1.0
    backoff_cap_s: float = 30.0
    connect_timeout_s: float = 20.0
    request_timeout_s: float = 35.0
    max_requests: int = 500
    queue_bytes: int = 1_048_576
    queue_seconds: float = 60.0


class Shell(Protocol):
    """What the core asks of the world around it. Nothing here waits."""

    def open(self, token: str | None) -> None:
        """Begin an attempt; with a token for the handshake's header, or None."""
        ...

    def send(self, frame: str | bytes) -> None:
        """Send a frame on the open connection."""
        ...

    def drop(self, code: int) -> None:
        """Close the connection, or give up its attempt, and what fetches a token. It is not heard of again."""
        ...

    def fetch_token(self, reason: TokenReason) -> None:
        """Fetch a token; ``Core.token`` or ``Core.token_failed`` gets the result."""
        ...

    def changed(self) -> None:
        """The state is another."""
        ...

    def notice(self, message: Message) -> None:
        """The staff say something to this connection."""
        ...

    def warn(self, text: str) -> None:
        """Something went wrong that no caller waits for."""
        ...


@dataclasses.dataclass(slots=True)
class _Request:
    kind: str
    frame: str | bytes
    size: int
    done: Done
    begun_at: float
    resend: bool
    timeout_s: float | None
    """From its beginning, where the caller gave one; it then holds whatever happens."""
    sent: bool = False
    timer: int | None = None


class Core:
    """The connection of one client.

    Args:
        shell: carries out what it decides.
        codec: of the frames.
        limits: times and bounds.
        has_token: whether there is a source of tokens.
        in_header: whether a token goes into the handshake's header; otherwise into the first message.
        clock: the time in seconds.
        chance: in [0, 1), for the jitter.
    """

    def __init__(
        self,
        shell: Shell,
        codec: Codec,
        limits: Limits,
        *,
        has_token: bool,
        in_header: bool,
        clock: Callable[[], float],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._shell = shell
        self._codec = codec
        self.limits = limits
        self._has_token = has_token
        self._in_header = in_header
        self._clock = clock
        self._chance = chance
        self.timers = Timers(clock)
        self.feeds = Feeds(self)
        self._ids = itertools.count(1)
        self._requests: dict[int, _Request] = {}
        self._failures = 0
        self._watchdog: int | None = None
        self._retry_timer: int | None = None
        self._token_then: Callable[[str | None, Exception | None], None] | None = None
        self._sent_token: str | None = None
        self._fresh_token: str | None = None
        self._renewed = False
        self._welcomed_at: float | None = None
        self._welcome: Mapping[str, Any] | None = None
        self._closing: Mapping[str, Any] | None = None
        self._session: str | None = None

    state = State.IDLE
    attempt = 0
    """Of the connection, since the last ``welcome``, from 1."""
    next_delay_s: float | None = None
    """Before the next attempt, while the state is WAITING; None while a token is fetched."""
    ready = False
    """Whether requests can be sent: welcomed, and resumed."""
    user: str | None = None
    connection_id: str | None = None
    loss: Exception | None = None
    """Why the last attempt failed or the last connection ended."""
    ended: Closed | None = None

    # -- the program's side ------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to connect."""
        self._attempt()

    def close(self) -> None:
        """Close with 1000, and end everything."""
        if self.state is not State.CLOSED:
            self.feeds.acknowledge_now()
            self._end(Closed(CloseCode.NORMAL, "closed by the program"), CloseCode.NORMAL)

    def request(
        self,
        message: Mapping[str, Any],
        done: Done,
        *,
        timeout_s: float | None = None,
        resend: bool = False,
        wait: bool = True,
    ) -> int:
        """Send a request, or keep it until there is a connection.

        Args:
            message: without its ``id``.
            done: is called once.
            timeout_s: from now to the reply. Default: of the limits.
            resend: send it again on a new connection, where this one ends before the answer.
            wait: False: only where there is a connection.

        Returns:
            its id, for ``forget``.

        Raises:
            ClientError: the client has ended, or too much waits.
            BadPayload: it cannot be encoded.
        """
        if self.ended is not None:
            raise self.ended
        if not wait and not self.ready:
            raise ClientError(f"{message['type']!r} was not sent: the client is {self.state}")
        if len(self._requests) >= self.limits.max_requests:
            raise QueueFull(f"{len(self._requests)} requests are unanswered")
        return self._ask(message, done, timeout_s=timeout_s, resend=resend, now=self.ready)

    def forget(self, request_id: int) -> None:
        """Nobody waits for the reply any more. What was not sent yet is not sent."""
        request = self._requests.pop(request_id, None)
        if request is not None:
            self.timers.cancel(request.timer)

    # -- requests ----------------------------------------------------------------------------------

    def ask(self, message: Mapping[str, Any], done: Done) -> None:
        """Send a request of the client's own on this connection."""
        self._ask(message, done, timeout_s=None, resend=False, now=True)

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send a message that has no reply."""
        self._shell.send(self._codec.encode(dict(message)))

    def _ask(
        self,
        message: Mapping[str, Any],
        done: Done,
        *,
        timeout_s: float | None,
        resend: bool,
        now: bool,
    ) -> int:
        request_id = next(self._ids)
        present = {key: value for key, value in message.items() if value is not None}
        if "payload" in message:
            present["payload"] = normalise(message["payload"])
        frame = self._codec.encode({**present, "id": request_id})
        size = frame_size(frame)
        request = _Request(message["type"], frame, size, done, self._clock(), resend, timeout_s)
        if resend and not now:
            waiting = sum(one.size for one in self._requests.values() if not one.sent)
            if waiting + size > self.limits.queue_bytes:
                raise QueueFull(
                    f"{waiting} bytes wait for a connection; with {size} more they are over"
                    f" the {self.limits.queue_bytes} of queue_bytes"
                )
        self._requests[request_id] = request
        queued = resend and not now
        self._time(
            request_id,
            request,
            self.limits.queue_seconds if queued else self.limits.request_timeout_s,
        )
        if now:
            self._transmit(request_id, request)
        return request_id

    def _time(self, request_id: int, request: _Request, longest_s: float) -> None:
        """Let a request fail so many seconds after now, or when its own time is over."""
        seconds, waits = longest_s, longest_s
        if request.timeout_s is not None:
            seconds = request.timeout_s
            waits = max(request.begun_at + seconds - self._clock(), 0.0)

        def over() -> None:
            what = "was not answered" if request.sent else "found no connection"
            self._settle(
                request_id, None, RequestTimeout(f"{request.kind!r} {what} within {seconds:g} s")
            )

        self.timers.cancel(request.timer)
        request.timer = self.timers.later(waits, over)

    def _transmit(self, request_id: int, request: _Request) -> None:
        longest = self._server_limit("max_frame")
        if longest is not None and request.size > longest:  # the server would close with 4413
            size = request.size
            reason = f"{request.kind!r} is {size} bytes long; the server takes at most {longest}"
            self._settle(request_id, None, TooLarge(reason))
            return
        request.sent = True
        self._shell.send(request.frame)

    def _settle(self, request_id: int, payload: Any, error: RealtimeError | None) -> None:
        request = self._requests.pop(request_id, None)
        if request is not None:
            self.timers.cancel(request.timer)
            request.done(payload, error)

    def _server_limit(self, name: str) -> int | None:
        limits = (self._welcome or {}).get("limits")
        found = limits.get(name) if isinstance(limits, dict) else None
        return found if type(found) is int else None

    # -- attempts ----------------------------------------------------------------------------------

    def _attempt(self) -> None:
        limit = self.limits.connect_timeout_s
        self.attempt = self._failures + 1
        self.next_delay_s = None
        self._watch(limit, lambda: self._give_up(f"no welcome within {limit:g} s"))
        self._change(State.CONNECTING)
        if self.state is not State.CONNECTING:  # it was closed by who heard of it
            return
        if self._has_token and self._in_header:
            self._want_token("required", self._open_with)
        else:
            self._shell.open(None)

    def _open_with(self, token: str | None, error: Exception | None) -> None:
        if error is not None:
            self._token_missing(error)
            return
        self._sent_token = token
        self._shell.open(token)

    def lost(
        self,
        code: int,
        reason: str,
        cause: Exception | None = None,
        retry_after: float | None = None,
    ) -> None:
        """The connection has ended, or the attempt has failed.

        Args:
            code: the close code; 1006 where there was none.
            reason: what the server said.
            cause: the error, where there was one.
            retry_after: what an HTTP answer said, in seconds.
        """
        closing = self._closing or {}
        said = closing.get("code")
        code = said if type(said) is int else code
        reason = str(closing.get("reason") or reason)
        retry_after = _seconds(closing.get("retry_after")) or retry_after
        comes_back = closing.get("reconnect")
        if not isinstance(comes_back, bool):
            comes_back = code not in TERMINAL_CODES
        self.loss = cause or closed(code, reason)
        self._leave(f"{code} {reason}".strip())
        if not comes_back:
            self._end(cause if isinstance(cause, Closed) else closed(code, reason))
        elif code == CloseCode.UNAUTHENTICATED:
            self._renew(code, reason, retry_after)
        else:
            self._retry(retry_after)

    def _give_up(self, reason: str) -> None:
        self._shell.drop(CloseCode.HEARTBEAT)
        self.lost(CloseCode.HEARTBEAT, reason)

    def _leave(self, why: str) -> None:
        """Forget what belongs to the connection."""
        if self._welcomed_at is not None and self._clock() - self._welcomed_at >= SETTLED_S:
            self._renewed = False
        self.ready = False
        self._welcome = self._closing = self._welcomed_at = self._token_then = None
        self.timers.cancel(self._watchdog)
        self.feeds.disconnected()
        for request_id, request in list(self._requests.items()):
            if not request.sent:
                continue
            if request.resend:
                request.sent = False
                self._time(request_id, request, self.limits.queue_seconds)
            else:
                reason = f"the connection ended before {request.kind!r} was answered ({why})"
                self._settle(request_id, None, ConnectionLost(reason))

    def backoff(self, failures: int, wait_s: float = 0.0) -> float:
        """A delay with full jitter below an exponential limit.

        After a ``retry_after`` it is once to twice that time, so that those that were closed together
        do not come back together.
        """
        limits = self.limits
        longest = min(limits.backoff_cap_s, limits.backoff_base_s * 2.0 ** min(failures, 60))
        return wait_s + self._chance() * max(longest, wait_s)

    def _retry(self, retry_after: float | None) -> None:
        delay = self.backoff(self._failures, retry_after or 0.0)
        self._failures += 1
        self.attempt = self._failures + 1
        self.next_delay_s = delay
        self._retry_timer = self.timers.later(delay, self._attempt)
        self._change(State.WAITING)

    def _end(self, error: Closed, code: int = CloseCode.NORMAL) -> None:
        self._shell.drop(code)
        self.ended = error
        self.ready = False
        self._session = None
        self.feeds.disconnected()
        requests, self._requests = self._requests, {}
        self.timers.cancel_all()
        self._change(State.CLOSED)
        for request in requests.values():
            request.done(None, error)
        # What the program itself closed ends its loops without an error.
        self.feeds.end(None if error.close_code == CloseCode.NORMAL else error)

    def _change(self, state: State) -> None:
        self.state = state
        self._shell.changed()

    # -- heartbeat ---------------------------------------------------------------------------------

    def _watch(self, seconds: float, callback: Callable[[], None]) -> None:
        self.timers.cancel(self._watchdog)
        self._watchdog = self.timers.later(seconds, callback)

    def _heard(self) -> None:
        if self._welcome is None:
            return
        interval, timeout = self._heartbeat()
        if interval > 0:
            self._watch(interval + timeout, self._probe)

    def _heartbeat(self) -> tuple[float, float]:
        found = (self._welcome or {}).get("heartbeat")
        found = found if isinstance(found, dict) else {}
        return _seconds(found.get("interval")) or 0.0, _seconds(found.get("timeout")) or 0.0

    def _probe(self) -> None:
        _, timeout = self._heartbeat()
        if timeout > 0:
            self.tell({"type": "ping"})
            self._watch(
                timeout, lambda: self._give_up(f"nothing heard for {timeout:g} s after a ping")
            )

    # -- credentials -------------------------------------------------------------------------------

    def token(self, token: str | None) -> None:
        """The token that was wanted; None: there is none."""
        then, self._token_then = self._token_then, None
        if then is not None:
            then(token, None)

    def token_failed(self, error: Exception) -> None:
        """The token could not be fetched."""
        then, self._token_then = self._token_then, None
        if then is not None:
            then(None, error)

    def _want_token(
        self, reason: TokenReason, then: Callable[[str | None, Exception | None], None]
    ) -> None:
        if self._fresh_token is not None:
            token, self._fresh_token = self._fresh_token, None
            then(token, None)
            return
        self._token_then = then
        self._shell.fetch_token(reason)

    def _token_missing(self, error: Exception) -> None:
        self._shell.warn(f"the token could not be fetched: {type(error).__name__}")
        self._shell.drop(CloseCode.NORMAL)
        self.lost(CLOSE_ABNORMAL, "the token could not be fetched", error)

    def _authenticate(self, token: str, then: Callable[[], None] | None = None) -> None:
        def done(payload: Any, error: RealtimeError | None) -> None:
            if error is None and isinstance(payload, dict):
                self.user = payload.get("user")
            elif error is not None and not isinstance(error, ClientError):
                self._shell.warn(f"the server did not accept the token: {error.code}")
            if then is not None and not isinstance(error, ClientError):
                then()

        self._sent_token = token
        self.ask({"type": "auth", "token": token}, done)

    def _auth_required(self) -> None:
        def proceed(token: str | None, error: Exception | None) -> None:
            if error is not None:
                self._token_missing(error)
            elif token is None:
                self._signed_out("the server wants credentials, and the client has none")
            else:
                self._authenticate(token)  # `welcome` follows, or `closing` and 4401

        if not self._has_token:
            self._signed_out("the server wants credentials, and the client has none")
        elif self._in_header and self._sent_token is not None:
            self._authenticate(self._sent_token)  # this server takes none in the header
        else:
            self._want_token("required", proceed)

    def _signed_out(self, reason: str) -> None:
        self._end(SignedOut(CloseCode.UNAUTHENTICATED, reason))

    def _auth_expiring(self) -> None:
        def proceed(token: str | None, error: Exception | None) -> None:
            if error is not None:
                self._shell.warn(f"the token could not be renewed: {type(error).__name__}")
            elif token is not None and token != self._sent_token:
                self._authenticate(token)

        if self._has_token and self._token_then is None:
            self._want_token("expiring", proceed)

    def _renew(self, code: int, reason: str, retry_after: float | None) -> None:
        """After 4401: one new attempt with new credentials. The second in a row is the end."""

        def proceed(token: str | None, error: Exception | None) -> None:
            self.timers.cancel(self._watchdog)
            if error is not None:
                self._shell.warn(f"the token could not be fetched: {type(error).__name__}")
                self._retry(retry_after)  # its source may recover; the backoff bounds the attempts
            elif token is None or token == self._sent_token:
                self._end(closed(code, reason))
            else:
                self._renewed = True
                self._fresh_token = token
                self._retry(retry_after)

        if self._renewed:
            self._end(closed(code, reason))
        elif self._has_token:
            self._fresh_token = None
            self.next_delay_s = None
            self._watch(self.limits.connect_timeout_s, self._token_late)
            self._change(State.WAITING)
            if self.state is State.WAITING:
                self._want_token("refused", proceed)
        else:  # headers, a cookie among them, may be others by now
            self._renewed = True
            self._retry(max(retry_after or 0.0, self.limits.backoff_base_s))

    def _token_late(self) -> None:
        self._shell.drop(CloseCode.NORMAL)
        self.token_failed(TimeoutError("the token was not fetched in time"))

    # -- frames ------------------------------------------------------------------------------------

    def received(self, frame: str | bytes) -> None:
        """A frame has arrived on the open connection."""
        self._heard()
        try:
            value = self._codec.decode(frame)
        except BadMessage as error:
            self._shell.warn(f"the server sent a frame that cannot be read: {error.reason}")
            return
        for message in value if isinstance(value, list) else [value]:
            if self.state is not State.CONNECTING and self.state is not State.CONNECTED:
                return  # who heard of the message before has closed the client
            if isinstance(message, dict):
                self._handle(message)

    def _handle(self, message: dict[str, Any]) -> None:
        kind, request_id, payload = message.get("type"), message.get("id"), message.get("payload")
        if type(request_id) is int and request_id in self._requests:
            error = answered(payload) if kind == "error" else None
            self._settle(request_id, payload, error)
            return
        if kind == "message" and "channel" not in message:
            if message.get("event") == "notice":
                self._shell.notice(message_from(message))
        elif kind == "welcome":
            self._welcomed(payload if isinstance(payload, dict) else {})
        elif kind == "ping":
            self.feeds.pinged()
            self.tell({"type": "pong"})
        elif kind == "auth_required":
            self._auth_required()
        elif kind == "auth_expiring":
            self._auth_expiring()
        elif kind == "closing":
            self._closing = payload if isinstance(payload, dict) else None
        elif kind == "error":
            self._shell.warn(f"the server says {answered(payload).code}: {answered(payload)}")
        elif isinstance(message.get("channel"), str):
            self.feeds.handle(str(kind), message)

    # -- the beginning of a connection -------------------------------------------------------------

    def _welcomed(self, payload: dict[str, Any]) -> None:
        user = payload.get("user")
        if self._renewed and not self._has_token and user is None and self.user is not None:
            # It would go on as a visitor, and nothing would say so.
            self._signed_out("the login that the client had has ended")
            return
        self._welcome = payload
        self._welcomed_at = self._clock()
        self._failures = 0
        self._fresh_token = None
        self.timers.cancel(self._watchdog)
        self.user = user
        self.feeds.welcomed(payload.get("channels"))
        self._heard()
        if user is not None or not self._has_token or self._in_header:
            self._begin()
            return

        def proceed(token: str | None, error: Exception | None) -> None:
            if error is not None:
                self._token_missing(error)
            elif token is None:
                self._begin()
            else:
                self._authenticate(token, self._begin)

        self._want_token("anonymous", proceed)

    def _begin(self) -> None:
        """Resume the last session, or subscribe again."""
        welcome = self._welcome or {}
        session, connection_id = welcome.get("session_id"), welcome.get("connection_id")
        if self._session is None:
            self._go_on(session, connection_id, None)
            return

        def done(payload: Any, error: RealtimeError | None) -> None:
            if isinstance(error, ConnectionLost | Closed):
                return
            if isinstance(error, RequestTimeout):
                self._session = None
                self._give_up(
                    "no answer to 'resume'"
                )  # it may still take effect on this connection
            elif error is not None or not isinstance(payload, dict):
                self._go_on(session, connection_id, None)
            else:
                channels = payload.get("channels")
                self._go_on(
                    payload.get("session_id") or session,
                    payload.get("connection_id") or self.connection_id or connection_id,
                    channels if isinstance(channels, dict) else {},
                )

        since = self.feeds.positions()
        self.ask({"type": "resume", "session_id": self._session, "since": since}, done)

    def _go_on(
        self, session: str | None, connection_id: str | None, resumed: dict[str, Any] | None
    ) -> None:
        self._session, self.connection_id = session, connection_id
        self.ready = True
        waiting = [(key, one) for key, one in self._requests.items() if not one.sent]
        self.feeds.connected(resumed)
        for request_id, request in waiting:
            if request.resend:
                self._time(request_id, request, self.limits.request_timeout_s)
            self._transmit(request_id, request)
        if self.ready:
            self._change(State.CONNECTED)

    def forget_session(self) -> None:
        """Do not resume: subscribe again."""
        self._session = None


def _seconds(value: Any) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return float(value)
    return None
