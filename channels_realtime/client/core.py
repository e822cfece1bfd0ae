"""One client's connection as a state machine without I/O: attempts, heartbeat, frames.

In: what the transport says (``opened`` by its first frame, ``received``, ``lost``), tokens, and the
program's requests. Out: calls of a ``Shell``, which opens, sends, drops and fetches. Time comes from a
clock that is given. The rooms beside it: ``requests`` has what is asked, ``credentials`` the
tokens, ``session`` what a reconnect resumes, and ``feeds`` the channels.

It keeps the promises of the browser's client, and the protocol's reference is the rule for both.
"""

from __future__ import annotations

import dataclasses
import enum
import random
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ..errors import BadMessage
from ..protocol.codecs import Codec
from ..protocol.codes import CloseCode
from .credentials import Credentials, TokenReason
from .errors import Closed, answered, closed
from .feeds import Feeds
from .mistakes import check_number
from .requests import Requests
from .session import Session
from .values import Message, message_from

TERMINAL_CODES = frozenset((4400, 4403, 4406, 4409, 4413, 1002, 1003, 1007, 1009))
"""Close codes after which no client reconnects (the protocol's table). RFC 6455's 1008 stands for both
kinds, so that without a ``closing`` the client does reconnect."""


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
        queue_bytes: of requests that wait for a connection; 0: none may.
        queue_seconds: how long a publication may wait for a connection and its answer, however often the
            connection is lost. Below the server's ``PUBLISH_KEY_WINDOW``.

    Raises:
        ImproperUse: one is no such number.
    """

    backoff_base_s: float = 1.0
    backoff_cap_s: float = 30.0
    connect_timeout_s: float = 20.0
    request_timeout_s: float = 35.0
    max_requests: int = 500
    queue_bytes: int = 1_048_576
    queue_seconds: float = 60.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            whole = name in ("max_requests", "queue_bytes")
            value = getattr(self, name)
            check_number("Limits()", name, value, whole=whole, zero=name == "queue_bytes")


class Handle(Protocol):
    """Of a callback at a time."""

    def cancel(self) -> None:
        """Do not call back."""
        ...


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
        """Fetch a token; ``Credentials.fetched`` gets the result."""
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


class Core:
    """The connection of one client.

    Args:
        shell: carries out what it decides.
        codec: of the frames.
        limits: times and bounds.
        has_token: whether there is a source of tokens.
        in_header: whether a token goes into the handshake's header; otherwise into the first message.
        later: calls back after so many seconds.
        clock: the time in seconds.
        chance: in [0, 1), for the jitter.
    """

    state = State.IDLE
    attempt = 0
    """Of the connection, since the last ``welcome``, from 1."""
    next_delay_s: float | None = None
    """Before the next attempt, while the state is WAITING; None while a token is fetched."""
    ready = False
    """Whether requests can be sent: welcomed, and resumed."""
    user: str | None = None
    connection_id: str | None = None
    welcome: Mapping[str, Any] | None = None
    """What this connection was welcomed with."""
    loss: Exception | None = None
    """Why the last attempt failed or the last connection ended."""
    ended: Closed | None = None

    def __init__(
        self,
        shell: Shell,
        codec: Codec,
        limits: Limits,
        *,
        has_token: bool,
        in_header: bool,
        later: Callable[[float, Callable[[], None]], Handle],
        clock: Callable[[], float],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.shell = shell
        self.codec = codec
        self.limits = limits
        self.later = later
        self.clock = clock
        self._chance = chance
        self.credentials = Credentials(self, has_token=has_token, in_header=in_header)
        self.requests = Requests(self)
        self.session = Session(self)
        self.feeds = Feeds(self)
        self._failures = 0
        self._watchdog: Handle | None = None
        self._closing: Mapping[str, Any] | None = None

    def start(self) -> None:
        """Begin to connect."""
        self._attempt()

    def close(self) -> None:
        """Close with 1000, and end everything."""
        if self.state is not State.CLOSED:
            self.feeds.acknowledge_now()
            self.end(Closed(CloseCode.NORMAL, "closed by the program"))

    def server_limit(self, name: str) -> int | None:
        """A limit that ``welcome`` has told."""
        limits = (self.welcome or {}).get("limits")
        found = limits.get(name) if isinstance(limits, dict) else None
        return found if type(found) is int else None

    # -- attempts ----------------------------------------------------------------------------------

    def _attempt(self) -> None:
        limit = self.limits.connect_timeout_s
        self.attempt = self._failures + 1
        self.next_delay_s = None
        self._watch(limit, lambda: self.give_up(f"no welcome within {limit:g} s"))
        self._change(State.CONNECTING)
        if self.state is State.CONNECTING:  # on_state may have closed the client
            self.credentials.open()

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
        self.ready = False
        self.welcome = self._closing = None
        self._unwatch()
        self.credentials.lost()
        self.feeds.disconnected()
        self.requests.lost(f"{code} {reason}".strip())
        if not comes_back:
            self.end(cause if isinstance(cause, Closed) else closed(code, reason))
        elif code == CloseCode.UNAUTHENTICATED:
            self.credentials.renew(code, reason, retry_after)
        else:
            self.retry(retry_after)

    def give_up(self, reason: str, cause: Exception | None = None) -> None:
        """End the connection or the attempt, and try again."""
        self.shell.drop(CloseCode.HEARTBEAT)
        self.lost(CloseCode.HEARTBEAT, reason, cause)

    def backoff(self, failures: int, wait_s: float = 0.0) -> float:
        """A delay in seconds, with full jitter below an exponential limit.

        After a ``retry_after`` it is once to twice that time, so that those that were closed together
        do not come back together.
        """
        limits = self.limits
        longest = min(limits.backoff_cap_s, limits.backoff_base_s * 2.0 ** min(failures, 60))
        return wait_s + self._chance() * max(longest, wait_s)

    def retry(self, retry_after: float | None) -> None:
        """Try again after the backoff."""
        delay = self.backoff(self._failures, retry_after or 0.0)
        self._failures += 1
        self.attempt = self._failures + 1
        self.next_delay_s = delay
        self._watch(delay, self._attempt)
        self._change(State.WAITING)

    def wait_for_token(self, late: Callable[[], None]) -> bool:
        """Wait for a token before it is tried again; returns whether the client still stands."""
        self.next_delay_s = None
        self._watch(self.limits.connect_timeout_s, late)
        self._change(State.WAITING)
        return self.state is State.WAITING

    def end(self, error: Closed) -> None:
        """Do not connect again."""
        self.shell.drop(CloseCode.NORMAL)
        self.ended = error
        self.ready = False
        self.session.forget()
        self.feeds.disconnected()
        self._unwatch()
        self._change(State.CLOSED)
        self.requests.end(error)
        # What the program itself closed ends its loops without an error.
        self.feeds.end(None if error.close_code == CloseCode.NORMAL else error)

    def _change(self, state: State) -> None:
        self.state = state
        self.shell.changed()

    # -- heartbeat ---------------------------------------------------------------------------------

    def _watch(self, seconds: float, callback: Callable[[], None]) -> None:
        self._unwatch()
        self._watchdog = self.later(seconds, callback)

    def _unwatch(self) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()

    def _heard(self) -> None:
        interval, timeout = self._heartbeat()
        if interval > 0:
            self._watch(interval + timeout, self._probe)

    def _heartbeat(self) -> tuple[float, float]:
        found = (self.welcome or {}).get("heartbeat")
        found = found if isinstance(found, dict) else {}
        return _seconds(found.get("interval")) or 0.0, _seconds(found.get("timeout")) or 0.0

    def _probe(self) -> None:
        _, timeout = self._heartbeat()
        if timeout > 0:
            self.requests.tell({"type": "ping"})
            self._watch(
                timeout, lambda: self.give_up(f"nothing heard for {timeout:g} s after a ping")
            )

    # -- frames ------------------------------------------------------------------------------------

    def received(self, frame: str | bytes) -> None:
        """A frame has arrived on the open connection."""
        self._heard()
        try:
            value = self.codec.decode(frame)
        except BadMessage as error:
            self.shell.warn(f"the server sent a frame that cannot be read: {error.reason}")
            return
        for message in value if isinstance(value, list) else [value]:
            if self.state is not State.CONNECTING and self.state is not State.CONNECTED:
                return  # what heard the message before has closed the client
            if isinstance(message, dict):
                self._handle(message)

    def _handle(self, message: dict[str, Any]) -> None:
        kind, payload = message.get("type"), message.get("payload")
        error = answered(payload) if kind == "error" else None
        if self.requests.settle(message.get("id"), payload, error):
            return
        if kind == "message" and "channel" not in message:
            if message.get("event") == "notice":
                self.shell.notice(message_from(message))
        elif kind == "welcome":
            self._welcomed(payload if isinstance(payload, dict) else {})
        elif kind == "ping":
            self.feeds.pinged()
            self.requests.tell({"type": "pong"})
        elif kind == "auth_required":
            self.credentials.required()
        elif kind == "auth_expiring":
            self.credentials.expiring()
        elif kind == "closing":
            self._closing = payload if isinstance(payload, dict) else None
        elif error is not None:
            self.shell.warn(f"the server says {error.code}: {error}")
        elif isinstance(message.get("channel"), str):
            self.feeds.handle(str(kind), message)

    def _welcomed(self, payload: dict[str, Any]) -> None:
        if not self.credentials.accepts(payload.get("user")):
            return
        self.welcome = payload
        self._failures = 0
        self._unwatch()
        self.feeds.welcomed(payload.get("channels"))
        self._heard()
        self.credentials.sign_in(self.session.begin)

    def connected(self) -> None:
        """The session stands."""
        if self.ready:
            self._change(State.CONNECTED)


def _seconds(value: Any) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return float(value)
    return None
