"""The async shell around one conversation.

In: frames from the consumer, deliveries from the hub, ticks from the timers, verdicts from the
guard. Out: frames to the writer. It owns what one connection holds and frees all of it in
``finish``.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from django.contrib.auth.models import AnonymousUser

from .. import signals
from ..access.client_address import client_address
from ..auth.base import Authenticated
from ..auth.login_session import read_login_session
from ..auth.tokens import verify_token
from ..auth.users import read_user
from ..channels import Channel
from ..conversation.effects import Close, Effect, Hold, Reread, Run, Send
from ..conversation.heartbeat import Heartbeat
from ..conversation.machine import Conversation, Phase
from ..conversation.outbox import Frame, Policy
from ..conversation.throttling import LimitExceeded, Rate, TokenBucket
from ..errors import ConnectionClosed, Forbidden, RealtimeError, Unavailable, Unsupported
from ..identity import ANONYMOUS, Identity
from ..nodes.hub import make_frame
from ..nodes.node import Node
from ..protocol import messages as m
from ..protocol.codes import CloseCode, ErrorCode
from ..protocol.dialects.base import Dialect, Encoding, frame_size
from ..runtime.hooks import translate
from . import commands
from .writer import SendEvent, Writer

logger = logging.getLogger(__name__)

CLOSE_GRACE_S = 10.0
"""How long a client may take to answer a close before its connection is dropped."""

NEWS_S = 60.0
"""How long a connection must keep within its limits, or keep up, for the next excess to be news."""

MAX_PUBLISH_BUCKETS = 100
"""Channels whose publish rate is remembered for a connection; the oldest is forgotten first."""

USER_FULL_RETRY_S = 30.0
"""How long a client waits whose user holds all the connections it may."""

UNAVAILABLE_RETRY_S = 5.0
"""How long a client waits after the channel layer was away; it adds jitter of its own."""


class Tap(Protocol):
    """Watches a connection; see ``traces``."""

    def received(self, frame: str | bytes) -> None:
        """The client sent this."""
        ...

    def sent(self, event: dict[str, Any]) -> None:
        """This ASGI event goes to the client."""
        ...


class Connection:
    """One client on one transport.

    Args:
        node: the runtime it belongs to.
        scope: the ASGI scope of the handshake.
        send: the server's ``send``.
        dialect: how the client writes and reads.
        conversation: by default one of the node's settings.
    """

    transport = "websocket"

    __slots__ = (
        "__weakref__",
        "_conversation",
        "_dialect",
        "_drop",
        "_node",
        "_paused_channels",
        "_publish_buckets",
        "_readable",
        "_session_key",
        "_slow_at",
        "_tap",
        "_tasks",
        "_throttled_at",
        "_writer",
        "client_address",
        "close_code",
        "closed",
        "connected_at",
        "encoding",
        "end",
        "errors",
        "id",
        "identity",
        "read_at",
        "received",
        "received_bytes",
        "reserved",
        "scope",
        "session_id",
        "subscriptions",
        "throttled",
        "user",
        "welcomed",
    )

    def __init__(
        self,
        node: Node,
        scope: Mapping[str, Any],
        send: SendEvent,
        dialect: Dialect,
        conversation: Conversation | None = None,
    ) -> None:
        config = node.config
        now = node.clock.monotonic()
        self.id = secrets.token_hex(8)
        self.session_id = secrets.token_hex(16)  # a secret of the client: 128 bits, never logged
        self.scope = scope
        self.client_address = client_address(scope, config)
        self.user: Any = AnonymousUser()
        self.identity: Identity = ANONYMOUS
        self.read_at = 0.0
        self.connected_at = node.clock.time()
        self.received = 0
        """Messages that the client sent."""
        self.received_bytes = 0
        self.errors = 0
        """Errors that the client was told."""
        self.throttled = 0
        """Times that the client was over a limit."""
        self.end = "client"
        """What ended it: the server's close code as text, ``"client"``, or ``"lost"``."""
        self.closed = False
        self.close_code: int | None = None
        self.welcomed = False
        self.encoding: Encoding = dialect.encoding
        self.subscriptions: dict[str, Channel] = {}
        self.reserved = 0
        self._node = node
        self._dialect = dialect
        self._writer = Writer(
            send,
            self,
            max_messages=config.outbox_max_messages,
            max_bytes=config.outbox_max_bytes,
        )
        if conversation is None:
            heartbeat = Heartbeat(
                config.heartbeat_interval,
                config.heartbeat_timeout,
                now=now,
                jitter=random.random(),
            )
            heartbeat.enabled = dialect.heartbeat
            conversation = Conversation(config.limits, heartbeat, now=now, rates=config.rates)
        self._conversation = conversation
        self._drop: Callable[[], None] | None = None
        self._paused_channels: set[str] = set()
        self._readable: asyncio.Future[None] | None = None
        self._session_key: str | None = None  # a secret: to read the login session again
        self._publish_buckets: dict[str, TokenBucket] = {}
        self._slow_at: float | None = None
        self._tap: Tap | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._throttled_at: float | None = None

    def __repr__(self) -> str:
        return f"<Connection {self.id} user={self.user_id}>"

    # -- for hooks ---------------------------------------------------------------------------------

    @property
    def user_id(self) -> str | None:
        """The user's primary key as text, or None."""
        return self.identity.user_id

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

    @property
    def session_key(self) -> str | None:
        """The key of the login session that proves it, or None; a secret, never shown or logged."""
        return self._session_key

    @property
    def writer(self) -> Writer:
        """Its way out, for what it counts."""
        return self._writer

    @property
    def paused_channels(self) -> frozenset[str]:
        """Channels whose deliveries the client has paused."""
        return frozenset(self._paused_channels)

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
    def round_trips(self) -> list[float]:
        """The last round trips in seconds, oldest first."""
        return list(self._conversation.heartbeat.round_trips)

    def tap(self, tap: Tap | None) -> None:
        """Show somebody what it sends and receives from now on, or no more."""
        self._tap = tap

    @property
    def round_trip(self) -> float | None:
        """Seconds from the last ping to its pong, or None before the first."""
        return self._conversation.heartbeat.round_trip

    # -- life --------------------------------------------------------------------------------------

    def begin(self, drop: Callable[[], None]) -> None:
        """The transport was accepted. ``drop`` ends it when the client does not answer a close."""
        self._drop = drop
        self._node.add(self)
        self._node.admission.count_address(self.client_address, 1)

    def drop(self) -> None:
        """End it without waiting for the client."""
        self._conversation.gone()
        self._end()
        if self._drop is not None:
            self._drop()

    async def welcome(self) -> None:
        """Join the user's own channel and tell the client that it may begin.

        Raises:
            Unavailable: the channel layer is away.
        """
        channels = await commands.subscribe_automatically(self._node, self)
        config = self._node.config
        self._perform(
            self._conversation.welcome(
                m.Welcome(
                    session_id=self.session_id,
                    user=self.user_id,
                    expires_at=self.identity.expires_at,
                    heartbeat_interval=config.heartbeat_interval,
                    heartbeat_timeout=config.heartbeat_timeout,
                    limits=config.limits.advertised(),
                    capabilities=("flow",),
                    channels=channels,
                ),
                self._now(),
            )
        )
        self._opened()

    def _opened(self) -> None:
        if not self.closed and not self.welcomed:
            self.welcomed = True
            self._node.announce(signals.connected, connection=self)

    def require_auth(self) -> None:
        """No credentials came with the handshake: wait for the first message to bring them."""
        timeout = self._node.config.auth_timeout
        self._perform(self._conversation.require_auth(self._now(), timeout))

    def open_bare(self) -> None:
        """The connection speaks a dialect without greeting: it may publish from now on."""
        self._conversation.open_silently(signed_in=not self.identity.is_anonymous)
        self._opened()

    async def subscribe_bare(self, channel: str) -> None:
        """Put a bare connection on its channel.

        Raises:
            RealtimeError: it may neither subscribe nor publish there, or the layer is away.
        """
        command = m.Subscribe(channel=channel)
        try:
            await commands.serve(self._node, self, command)
        except RealtimeError as error:
            resolved = self._node.routes.resolve(channel)
            if error.code != ErrorCode.FORBIDDEN or not await commands.allowed(
                self._node, resolved, "can_publish", self
            ):
                raise

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

    def finish(self) -> None:
        """Free everything the connection holds, whatever ended it."""
        self.closed = True
        self._conversation.gone()
        self._node.timers.remove(self)
        self._node.guard.dismiss(self)
        self._node.remove(self)
        self._node.admission.count_address(self.client_address, -1)
        self._node.admission.count_user(self.user_id, -1)
        self._node.samples.count_disconnect(self.end)
        if self.welcomed:
            self._node.announce(signals.disconnected, connection=self, code=self.close_code)
        tasks = [*self._tasks, *self._writer.stop()]
        for task in tasks:
            task.cancel()
        self._node.spawn(self._release(tasks), f"release of {self.id}")

    async def _release(self, tasks: list[asyncio.Task[None]]) -> None:
        # In a task of the node's: hooks may be slow, and a server kills an application that lingers.
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
            await commands.end_subscriptions(self._node, self)
        finally:
            self._let_go()

    def _let_go(self) -> None:
        """Hold nothing that holds the connection: its memory is free at once, not at some collection.

        A collection of garbage stops everybody, the longer the more connections there are.
        """
        self._drop = None
        self._writer.detach()

    # -- who it is ---------------------------------------------------------------------------------

    def authenticated(self, found: Authenticated, read_at: float) -> bool:
        """Whose connection this is, from now on.

        Args:
            found: what the credentials prove.
            read_at: when they began to be read, in seconds since the epoch.

        Returns:
            False where they were revoked meanwhile: the connection is closed.
        """
        guard = self._node.guard
        fresh = found.identity
        guard.dismiss(self)
        admission = self._node.admission
        if self.user_id != fresh.user_id:
            if admission.user_is_full(fresh.user_id):
                self.close(
                    CloseCode.RATE_LIMITED,
                    "this user has all the connections it may",
                    retry_after=USER_FULL_RETRY_S,
                )
                return False
            admission.count_user(self.user_id, -1)
            admission.count_user(fresh.user_id, 1)
        same = self.user_id is not None and fresh.user_id == self.user_id
        self.identity = self.identity.joined_by(fresh) if same else fresh
        self.user = found.user
        self.read_at = read_at
        if found.session_key is not None:
            self._session_key = found.session_key
        verdict = guard.admit(self)
        if verdict == "revoked":
            self.revoke("the credentials were revoked")
            return False
        if self._node.blocks.blocks(self.user_id, self.client_address):
            self._node.denied(self.scope, "blocked")
            self.close(CloseCode.BLOCKED, "blocked")
            return False
        self._node.registry.changed(self.id)
        if verdict == "recheck":
            self._node.spawn(self.reread(), "reread")
        self._set_expiry()
        return True

    def revoke(self, reason: str) -> None:
        """Its credentials are over: close it with 4401."""
        if self.closed:  # its close may be among what waits
            return
        self._writer.clear()
        self.close(CloseCode.UNAUTHENTICATED, reason)

    async def reread(self) -> None:
        """Read its proof again, and close it where that no longer holds."""
        read_at = self._node.clock.time()
        hooks = self._node.hooks
        try:
            if self._session_key is not None:
                found = await hooks.run(read_login_session, self._session_key)
                user = None if found is None else found.user
            else:
                found = None
                user = await hooks.run(read_user, self.identity, self.user)
        except Exception:
            self.log_exception("Reading the credentials again failed")
            return
        if self.closed:
            return
        if user is None or (found is not None and found.identity.user_id != self.user_id):
            self.revoke("the credentials are no longer valid")
            return
        self.user = user
        self.read_at = read_at
        if found is not None and self.identity.method == "session":
            self._renew(found)

    def _renew(self, found: Authenticated) -> None:
        """The login session goes on, perhaps for longer than was known, or shorter.

        One whose end has not moved keeps its deadline: reckoned anew by a wall clock that was set
        back, it would keep its user in.
        """
        guard = self._node.guard
        known = self.identity.expires_at
        guard.dismiss(self)
        self.identity = found.identity
        guard.admit(self)
        if found.identity.expires_at != known:
            self._set_expiry()
        elif self._conversation.expiry.is_over(self._now()):
            self.revoke("the credentials have expired")
            return
        self._perform(self._conversation.renewed())

    async def recheck(self, channel: str | None = None) -> None:
        """Ask again whether it may be on its channels, or on this one."""
        await commands.recheck(self._node, self, channel)

    async def ask_for_credentials(self, seconds: float) -> None:
        """Have the client prove itself anew within ``seconds``."""
        expires_at = self._node.clock.time() + seconds
        self._conversation.expiry.end_soon(self._now(), seconds, expires_at=expires_at)
        self._perform(self._conversation.tick(self._now()))

    def _set_expiry(self) -> None:
        config = self._node.config
        now = self._now()
        expires_at = self.identity.expires_at
        at = None
        if expires_at is not None:
            at = now + (expires_at - self._node.clock.time()) + config.auth_leeway
        self._conversation.expiry.set(
            at,
            now=now,
            expires_at=expires_at,
            lead=config.auth_expiring_lead,
            rereads=self.identity.method == "session",
        )
        self._node.timers.set(self, self._conversation.deadline)

    async def _authenticate(self, run: Run, command: m.Authenticate) -> None:
        """Judge an ``auth``: it signs in, refreshes in place, or is refused."""
        read_at = self._node.clock.time()
        was_anonymous = self.identity.is_anonymous
        try:
            found = await self._verify(command.token)
        except Exception as error:
            refusal = self._refusal(command, error)
            self._node.admission.failure(self.client_address)
            self._node.denied(self.scope, "credentials")
            self._perform(self._conversation.auth_failed(run.ticket, refusal, self._now()))
            return
        if self.closed or not self.authenticated(found, read_at):
            return
        welcomed = self._conversation.phase is Phase.OPEN
        try:
            if welcomed and was_anonymous:
                await commands.subscribe_automatically(self._node, self)
            reply = m.AuthOk(id=command.id, user=self.user_id, expires_at=self.identity.expires_at)
            self._perform(self._conversation.signed_in_as(run.ticket, reply, self._now()))
            if not welcomed:
                await self.welcome()
        except Unavailable as error:
            self.close(CloseCode.GOING_AWAY, error.reason, retry_after=UNAVAILABLE_RETRY_S)
        except ConnectionClosed:
            return  # its credentials were revoked meanwhile, or the client has gone

    async def _verify(self, token: str) -> Authenticated:
        config = self._node.config
        if not config.first_message_auth:
            raise Unsupported("tokens are not taken as messages here")
        found: Authenticated = await self._node.hooks.run(verify_token, token, config, "message")
        if self.user_id is not None and found.identity.user_id != self.user_id:
            raise Forbidden("the token is another user's")
        return found

    # -- in ----------------------------------------------------------------------------------------

    def receive(self, frame: str | bytes) -> None:
        """Take a frame of the client's."""
        size = frame_size(frame)
        if size > self._node.config.max_frame_bytes:
            self._perform(self._conversation.frame_too_large(size))
            return
        commands = self._dialect.decode(frame)
        if self._tap is not None:
            self._tap.received(frame)
        count = len(commands)
        self.received += count
        self.received_bytes += size
        self._node.messages_in += count
        over = self._node.admission.messages(self.user_id, self.client_address, count)
        self._perform(self._conversation.receive(commands, self._now(), size=size, over=over))

    def _report_throttling(self, over: LimitExceeded) -> None:
        """Count a limit that was exceeded, and announce it where that is news."""
        self._node.throttled += 1
        self.throttled += 1
        now = self._now()
        if self._throttled_at is None or now - self._throttled_at > NEWS_S:
            self._node.announce(signals.throttled, connection=self, limit=over.limit)
        self._throttled_at = now

    def publish_bucket(self, channel: Channel) -> TokenBucket | None:
        """The bucket of a channel that limits its publishers, or None."""
        rate = Rate.of(channel.publish_rate)
        if rate is None:
            return None
        bucket = self._publish_buckets.get(channel.name)
        if bucket is None:
            if len(self._publish_buckets) >= MAX_PUBLISH_BUCKETS:
                self._publish_buckets.pop(next(iter(self._publish_buckets)))
            bucket = self._publish_buckets[channel.name] = TokenBucket(rate, self._now())
        return bucket

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

    # -- out ---------------------------------------------------------------------------------------

    def deliver(self, frame: Frame) -> None:
        """Write a publication's frame; never waits, never raises."""
        if self.closed or (self._paused_channels and frame.channel in self._paused_channels):
            return
        if self._tap is not None:
            self._tap.sent(frame.event)
        self._writer.deliver(frame)

    def notify(self, push: m.Push) -> bool:
        """Write anything that is not a reply; False where its client's dialect has no word for it."""
        return self._say(push)

    def discard_queued(self, channel: str) -> None:
        """Take back what waits of a channel that the connection has left."""
        self._writer.discard(channel)

    def set_flow(self, channel: str, *, paused: bool) -> None:
        """Pause or resume the deliveries of a channel; what is paused is dropped."""
        if paused:
            self._paused_channels.add(channel)
        else:
            self._paused_channels.discard(channel)

    @property
    def selected(self) -> int:
        """Its subscriptions, each selection of a channel counted."""
        hub = self._node.hub
        return sum(len(hub.selections(name, self)) for name in self.subscriptions)

    def overflowed(self) -> None:
        """The outbox is full: a slow consumer ends, and comes back with its positions.

        Its queue is dropped, so that the close is the next thing to be written.
        """
        if self.closed:
            return
        logger.info("A slow consumer was closed", extra=self._log_context())
        self._node.slow += 1
        self._node.announce(signals.slow, connection=self, policy="close")
        self._writer.clear()
        self.close(CloseCode.SLOW_CONSUMER, "too slow: its queue was full")

    def dropped(self, count: int, policy: Policy) -> None:
        """The client does not keep up, and its channels put up with the loss."""
        self._node.dropped += count
        now = self._now()
        if self._slow_at is None or now - self._slow_at > NEWS_S:
            self._node.slow += 1
            self._node.announce(signals.slow, connection=self, policy=policy.value)
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
        if effects and not self.closed and _ends_credentials(effects[-1]):
            self._writer.clear()  # what waits is for somebody who may not have it any more
        for effect in effects:
            if isinstance(effect, Send):
                self._say(effect.push)
            elif isinstance(effect, Run):
                self._run(effect)
            elif isinstance(effect, Close):
                self._order_close(effect)
            elif isinstance(effect, Hold):
                self._hold(effect.held)
            elif isinstance(effect, Reread):
                self._node.spawn(self.reread(), "reread")
        over = self._conversation.over
        if over is not None:
            self._conversation.over = None
            self._report_throttling(over)
        if self.closed:
            return
        self._node.timers.set(self, self._conversation.deadline)
        if not self._conversation.saturated:
            self._wake_reader()

    def _run(self, run: Run) -> None:
        task = asyncio.create_task(self._serve(run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _hold(self, held: bool) -> None:
        if held:
            self._writer.hold()
        else:
            self._writer.release()

    def _say(self, push: m.Push) -> bool:
        if self.closed:
            return False
        if isinstance(push, m.Error):
            self.errors += 1
        data = self._dialect.encode(push)
        if data is not None:
            frame = make_frame(data)
            if self._tap is not None:
                self._tap.sent(frame.event)
            self._writer.write(frame, last=isinstance(push, m.Closing))
        return data is not None

    def _order_close(self, effect: Close) -> None:
        self.end = str(int(effect.code))
        rfc = self._node.config.close_codes == "rfc" and self._server_takes_rfc_codes()
        self.close_code = effect.code.rfc if rfc else int(effect.code)
        event: dict[str, Any] = {"type": "websocket.close", "code": self.close_code}
        if self._server_takes_reasons():
            event["reason"] = effect.reason[:100]
        self._writer.write(Frame(event, 0), last=True)
        self._end()

    def _end(self) -> None:
        self.closed = True
        self._wake_reader()
        for task in self._tasks:
            task.cancel()
        self._node.timers.remove(self)  # an earlier deadline would cut the grace short
        self._node.timers.set(self, self._now() + CLOSE_GRACE_S)

    def _wake_reader(self) -> None:
        if self._readable is not None and not self._readable.done():
            self._readable.set_result(None)

    async def _serve(self, run: Run) -> None:
        command = run.command
        if isinstance(command, m.Authenticate):
            await self._authenticate(run, command)
            return
        reply: m.Push | None
        try:
            reply = await commands.serve(self._node, self, command)
        except ConnectionClosed:
            return
        except Exception as error:
            reply = self._refusal(command, error)
        self._perform(self._conversation.complete(run.ticket, reply, self._now()))

    def _refusal(self, command: m.Command, error: Exception) -> m.Error:
        known = translate(error)
        if known is None:
            self.log_exception(f"{command.request!r} failed")
            known = RealtimeError()
        if known.code == ErrorCode.RATE_LIMITED:
            self._report_throttling(LimitExceeded("publish_rate", known.retry_after or 0.0))
        return m.Error(
            id=command.id,
            request=command.request,
            channel=getattr(command, "channel", None),
            code=known.code,
            reason=known.reason,
            retry_after=known.retry_after,
        )

    # -- small things ------------------------------------------------------------------------------

    def log_exception(self, message: str) -> None:
        """Log the exception being handled, with the connection it hit."""
        logger.exception(  # noqa: LOG004 - called where one is handled
            "%s on connection %s", message, self.id, extra=self._log_context()
        )

    def _log_context(self) -> dict[str, Any]:
        return {"connection_id": self.id, "user_id": self.user_id, "transport": self.transport}

    def _now(self) -> float:
        return self._node.clock.monotonic()

    def _server_takes_rfc_codes(self) -> bool:
        # autobahn, and so Daphne, raises on any code of an application's but 1000 and 3000 to 4999;
        # Daphne is also the one server here that announces no extensions at all.
        return "extensions" in self.scope

    def _server_takes_reasons(self) -> bool:
        # "reason" came with version 2.3 of the ASGI WebSocket specification.
        version = self.scope.get("asgi", {}).get("spec_version", "2.0")
        return "extensions" in self.scope and _version(version) >= (2, 3)


def _ends_credentials(effect: Effect) -> bool:
    return isinstance(effect, Close) and effect.code in _FOR_NOBODY


_FOR_NOBODY = frozenset({CloseCode.UNAUTHENTICATED, CloseCode.BLOCKED})
"""Closes after which the client may have nothing of what waits for it."""


def _version(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split("."))
    except ValueError:
        return (2, 0)
