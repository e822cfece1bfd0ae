"""One client: its state, what it sends and what it is sent.

In: frames from the endpoint, deliveries from the hub, ticks from the timers, verdicts of the
services. Out: frames to the writer. It owns what one connection holds and frees all of it in
``finish``.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import secrets
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from .. import signals
from ..access.client_address import FoundAddress
from ..access.headers import share_headers
from ..access.limits import AccessLimits
from ..access.revocation import Revocations
from ..channels import SESSION_CHANNEL_PREFIX, Channel, user_channel_name
from ..conversation.effects import Run
from ..conversation.heartbeat import Heartbeat
from ..conversation.machine import Conversation, Phase
from ..conversation.nothing import NOTHING
from ..conversation.throttling import LimitExceeded, Rate, TokenBucket
from ..errors import AlreadySubscribed, ConnectionClosed, RealtimeError, Unavailable, Unsupported
from ..nodes.node import Node
from ..protocol import messages as m
from ..protocol.codes import CloseCode, ErrorCode
from ..protocol.dialects.base import Dialect
from ..protocol.frames import frame_size
from ..protocol.names import channel_key
from ..protocol.selection import Selection
from ..runtime.hooks import translate
from . import commands, server_subscriptions, subscriptions
from .at_once import Pending
from .credentials import CredentialHolder
from .receipts import Receipts
from .rights import allowed
from .server_subscriptions import Since
from .sessions import Sessions, received_positions
from .transport import Transport

if TYPE_CHECKING:
    from .catch_up import CatchUp

logger = logging.getLogger(__name__)

MAX_PUBLISH_BUCKETS = 100
"""Channels whose publish rate is remembered for a connection; the oldest is forgotten first."""

_CAPABILITIES = ("flow", "history", "presence", "state", "resume")
"""The optional parts of the protocol; the last one where sessions are kept."""

UNAVAILABLE_RETRY_S = 5.0
"""How long a client waits after the channel layer was away; it adds jitter of its own."""


class SharedLimits(Protocol):
    """The limits that a connection shares with others; a node's ``AccessLimits``."""

    def messages(
        self, user_id: str | None, address: str | None, count: int
    ) -> LimitExceeded | None:
        """Take this many messages of a user's connection into account."""
        ...


class Connection(CredentialHolder):
    """One client on one transport.

    Args:
        node: the runtime that it belongs to.
        scope: the ASGI scope of the handshake.
        address: the client's.
        transport: the way to the client.
        dialect: how the client writes and reads.
        conversation: by default one of the node's settings.
        limits: shared with other connections; by default the node's.
    """

    __slots__ = (
        "__weakref__",
        "_limits",
        "_publish_buckets",
        "counted_address",
        "live_from",
        "paused",
        "receipts",
        "received",
        "received_bytes",
        "reserved",
        "session_id",
        "subscriptions",
        "turns",
        "welcomed",
    )

    def __init__(
        self,
        node: Node,
        scope: MutableMapping[str, Any],
        address: FoundAddress,
        transport: Transport,
        dialect: Dialect,
        conversation: Conversation | None = None,
        limits: SharedLimits | None = None,
    ) -> None:
        if conversation is None:
            config, now = node.config, node.clock.monotonic()
            heartbeat = Heartbeat(
                config.heartbeat_interval,
                config.heartbeat_timeout,
                now=now,
                jitter=random.random(),
            )
            heartbeat.enabled = dialect.heartbeat
            conversation = Conversation(config.limits, heartbeat, now=now, rates=config.rates)
        super().__init__(node, scope, address.text, transport, dialect, conversation)
        share_headers(scope)
        self.counted_address = node.service(AccessLimits).counted_address(address)
        """The address that limits count; None for a proxy's, which all its clients share."""
        self._begin_anonymous()
        self.session_id = secrets.token_hex(16)  # a secret of the client: 128 bits, never logged
        self.received = 0
        """Messages that the client sent."""
        self.received_bytes = 0
        self.welcomed = False
        self.receipts = Receipts()
        self.subscriptions: dict[str, Channel] = {}
        self.live_from: dict[tuple[str, Selection], m.Position] = NOTHING
        """From where it is live on channels with history, by name and selection."""
        self.paused: dict[str, CatchUp] = NOTHING
        """What it has not been written of the channels with history that its client has paused."""
        self.reserved = 0
        """Subscriptions being made, which count towards the limit."""
        self.turns: dict[str, asyncio.Future[None]] = NOTHING
        """Channels that are being subscribed to; see ``subscriptions.turn``."""
        self._limits: SharedLimits = node.service(AccessLimits) if limits is None else limits
        self._publish_buckets: dict[tuple[str, bool], TokenBucket] = NOTHING

    # -- life --------------------------------------------------------------------------------------

    def begin(self) -> None:
        """The transport was accepted."""
        self._node.add(self)
        self._node.service(AccessLimits).count_address(self.counted_address, 1)

    async def welcome(self, since: Since | None = None) -> None:
        """Join the channels that it is on from the start, and tell the client that it may begin.

        Args:
            since: the client's positions in channels; by default it has none.

        Raises:
            Unavailable: the channel layer is away.
        """
        waits = server_subscriptions.may_deliver_at_start(self._node)
        if waits:
            self.hold_deliveries("welcome")  # what is published there follows the welcome
        made = await server_subscriptions.subscribe_at_start(self._node, self, since)
        channels = {name: subscribed.position for name, subscribed in made.items()}
        config = self._node.config
        self.receipts.greeted = True
        if made:
            self._node.connection_changed(self.id)  # from now on its session is kept
        self._perform(
            self._conversation.welcome(
                m.Welcome(
                    session_id=self.session_id,
                    user=self.user_id,
                    expires_at=self.identity.expires_at,
                    heartbeat_interval=config.heartbeat_interval,
                    heartbeat_timeout=config.heartbeat_timeout,
                    limits=config.limits.advertised(),
                    capabilities=_CAPABILITIES if config.resume_window else _CAPABILITIES[:-1],
                    channels=channels,
                    connection_id=self.id,
                ),
                self._now(),
            )
        )
        for name, subscribed in made.items():
            if subscribed.recovered is False:  # which the welcome does not say
                self.notify(
                    m.Subscribed(channel=name, position=subscribed.position, recovered=False)
                )
        self.release_deliveries("welcome")
        self._opened()

    def _opened(self) -> None:
        if not self.closed and not self.welcomed:
            self.welcomed = True
            self._node.announce(signals.connected, connection=self)

    def require_auth(self) -> None:
        """No credentials came with the handshake: wait for the first message to bring them."""
        timeout = self._node.config.auth_timeout
        self._perform(self._conversation.require_auth(self._now(), timeout))

    def open_silently(self) -> None:
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
            resolved.namespace = self.namespace
            if error.code != ErrorCode.FORBIDDEN or not await allowed(
                self._node, resolved, "can_publish", self
            ):
                raise

    def finish(self) -> None:
        """Free everything the connection holds, whatever ended it."""
        self._close()
        for follower in tuple(self.followers.values()):
            follower.stop()
        self._conversation.gone()
        node, limits = self._node, self._node.service(AccessLimits)
        node.timers.remove(self)
        node.service(Revocations).dismiss(self)
        node.remove(self)
        limits.count_address(self.counted_address, -1)
        limits.count_user(self.identity.user_key, -1)
        node.metrics.count_disconnect(self.end)
        if self.welcomed:
            node.announce(signals.disconnected, connection=self, code=self.close_code)
        tasks: list[asyncio.Future[Any]] = [*self._tasks, *self._writer.stop()]
        for task in tasks:
            task.cancel()
        node.spawn(self._release(tasks), f"release of {self.id}")

    async def _release(self, tasks: list[asyncio.Future[Any]]) -> None:
        # In a task of the node's: hooks may be slow, and a server kills an application that lingers.
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
            await subscriptions.end_subscriptions(self._node, self)
        finally:
            self._detach()

    def replaced(self) -> None:
        """Its session was resumed on another connection: close with 4409, and write nothing more.

        What waits for the client is dropped: the other connection gets it.
        """
        self.receipts.replaced = True
        if not self.closed:
            self._writer.clear()
            self.close(CloseCode.REPLACED, "the session was resumed on another connection")

    def _detach(self) -> None:
        """Hold nothing that holds the connection, so that its memory is free at once.

        A collection of garbage stops the whole process, the longer the more connections there are.
        """
        self._writer.detach()
        self._transport.detach()

    # -- credentials -------------------------------------------------------------------------------

    @property
    def session_key(self) -> str | None:
        """The key of the session that the sweep looks for, or None; from any thread.

        That of its login, or of a visitor's session if the connection is on that session's channel.
        """
        if self._session_key is None and any(
            name.startswith(SESSION_CHANNEL_PREFIX) for name in list(self.subscriptions)
        ):
            return self._cookie_key
        return self._session_key

    async def read_user(self, channel: str | None, since: float) -> None:
        """Have its user be one that was read at ``since`` or later, if a hook is to be asked again."""
        await subscriptions.read_user(self._node, self, channel, since)

    async def recheck(self, channel: str | None = None, since: float | None = None) -> None:
        """Ask again whether it may be on its channels, or on this one."""
        self.rights_changed(channel)
        await subscriptions.recheck(self._node, self, channel, since)
        await server_subscriptions.recheck(self._node, self, channel, since)

    async def _authenticate(self, run: Run, command: m.Authenticate) -> None:
        """Judge an ``auth``: it signs in, refreshes in place, or is refused."""
        read_at = self._node.clock.time()
        was_anonymous = self.identity.is_anonymous
        try:
            if not self._node.config.first_message_auth:
                raise Unsupported("tokens are not taken as messages here")
            found = await self._verify(command.token)
        except Exception as error:
            refusal = self._refusal(command, error)
            self._node.service(AccessLimits).failure(self.counted_address)
            self._node.denied(self.scope, "credentials")
            self._perform(self._conversation.auth_failed(run.ticket, refusal, self._now()))
            return
        if self.closed or not self.authenticated(found, read_at):
            return
        welcomed = self._conversation.phase is Phase.OPEN
        try:
            if welcomed and was_anonymous:
                await self.join_own_channel()
            reply = m.AuthOk(id=command.id, user=self.user_id, expires_at=self.identity.expires_at)
            self._perform(self._conversation.signed_in_as(run.ticket, reply, self._now()))
            self._transport.credentials_read()
            if not welcomed:
                await self.welcome()
        except Unavailable as error:
            self.close(CloseCode.GOING_AWAY, error.reason, retry_after=UNAVAILABLE_RETRY_S)
        except ConnectionClosed:
            return  # its credentials were revoked meanwhile, or the client has gone

    async def join_own_channel(self) -> None:
        """Be on the user's own channel and the automatic ones, where the transport has channels.

        Raises:
            Unavailable: the layer is away.
            ConnectionClosed: it has ended meanwhile.
        """
        if not self._transport.has_channels:
            return
        self.hold_deliveries("sign-in")  # what is published there follows what is told here
        try:
            made = await server_subscriptions.subscribe_at_start(self._node, self)
            own = user_channel_name(self.user_id) if self.user_id is not None else None
            for name, subscribed in made.items():
                # Every client knows of its user's own channel; of its position only if it is told.
                if name != own or subscribed.position is not None:
                    server_subscriptions.tell(self, subscribed)
        finally:
            self.release_deliveries("sign-in")

    async def sign_in(self, token: str) -> None:
        """Take up a token that the site's own consumer was sent in a message of its own.

        Raises:
            TokenInvalid, TokenExpired, Unauthenticated: it proves nothing; counts against the address.
            Forbidden: it is another user's.
            Unavailable: the layer is away.
            ConnectionClosed: the connection has ended, or the token's user may not have it.
        """
        read_at = self._node.clock.time()
        was_anonymous = self.identity.is_anonymous
        try:
            found = await self._verify(token)
        except RealtimeError:
            self._node.service(AccessLimits).failure(self.counted_address)
            self._node.denied(self.scope, "credentials")
            raise
        if self.closed or not self.authenticated(found, read_at):
            raise ConnectionClosed
        if was_anonymous:
            await self.join_own_channel()
        self._perform(self._conversation.signed_in_elsewhere(self._now()))
        self._transport.credentials_read()

    async def served(self) -> None:
        """Wait until no command is being served."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    # -- in ----------------------------------------------------------------------------------------

    def request(self, commands: Sequence[m.Command]) -> None:
        """Handle requests that the endpoint has taken from the handshake as if the client had sent them."""
        self._perform(self._conversation.receive(commands, self._now()))

    def receive(self, frame: str | bytes) -> None:
        """Take a frame of the client's."""
        size = frame_size(frame)
        max_bytes = self._transport.max_frame_bytes
        if max_bytes is not None and size > max_bytes:
            self._perform(self._conversation.frame_too_large(size))
            return
        received = self._dialect.decode(frame)
        count = len(received)
        tap = self._tap  # which may end itself at any of them
        if tap is not None:
            for command in received:
                tap.received(command, size // count)
        self.received += count
        self.received_bytes += size
        self._node.metrics.messages_in += count
        if self.receipts.awaits_answer and any(isinstance(one, m.Pong) for one in received):
            self._answered()
        over = self._limits.messages(self.identity.user_key, self.counted_address, count)
        conversation = self._conversation
        waited = conversation.heartbeat.waits
        self._perform(conversation.receive(received, self._now(), size=size, over=over))
        if waited and not self.closed and not conversation.heartbeat.waits:
            # Most are idle until the next ping: the time-out of this one would be looked at in vain.
            self._node.timers.postpone(self, conversation.deadline)

    def due(self, now: float) -> float | None:
        """The timers' call: remember what a ping was written after, which its answer proves."""
        waited = self._conversation.heartbeat.waits
        next_due = super().due(now)
        if self._conversation.heartbeat.waits and not waited and not self._writer.holds:
            self.receipts.pinged(received_positions(self._node, self))
        return next_due

    def _answered(self) -> None:
        if self.receipts.answered():
            self._node.service(Sessions).positions_changed(self)

    def publish_bucket(self, channel: Channel, *, transient: bool = False) -> TokenBucket | None:
        """The bucket of a channel that limits its publishers, or None."""
        rate = Rate.of(channel.transient_rate if transient else channel.publish_rate)
        if rate is None:
            return None
        key = (channel.name, transient)
        bucket = self._publish_buckets.get(key)
        if bucket is None:
            if not self._publish_buckets:
                self._publish_buckets = {}
            elif len(self._publish_buckets) >= MAX_PUBLISH_BUCKETS:
                self._publish_buckets.pop(next(iter(self._publish_buckets)))
            bucket = self._publish_buckets[key] = TokenBucket(rate, self._now())
        return bucket

    @property
    def takes_subscriptions(self) -> bool:
        """Whether the server can put it on channels: it has them, and they are told or a consumer's."""
        if not self._transport.has_channels:
            return False
        return bool(self.consumer) or self.can_say(m.Subscribed(channel="", automatic=True))

    @property
    def selected(self) -> int:
        """Its subscriptions, each selection of a channel counted."""
        hub = self._node.hub
        return sum(
            len(hub.selections(channel_key(self.namespace, name), self))
            for name in self.subscriptions
        )

    def keep_paused(self, channel: str, catch_up: CatchUp) -> None:
        """Keep what is not written of a channel until its client lets it go on."""
        if not self.paused:
            self.paused = {}
        self.paused[channel] = catch_up

    def take_paused(self, channel: str) -> CatchUp | None:
        """Take what was not written of a channel; None where it was not paused."""
        if channel not in self.paused:
            return None
        taken = self.paused.pop(channel)
        if not self.paused:
            self.paused = NOTHING
        return taken

    # -- serving -----------------------------------------------------------------------------------

    def _run(self, run: Run) -> None:
        if self._transport.serve(run.command):
            self._perform(self._conversation.complete(run.ticket, None, self._now()))
            return
        reply: m.Push | Pending | None
        try:
            served, reply = commands.serve_at_once(self._node, self, run.command)
        except Exception as error:
            served, reply = True, self._refusal(run.command, error)
        if isinstance(reply, Pending):
            self._await(reply.awaited, functools.partial(self._go_on, run, reply))
        elif served:
            self._perform(self._conversation.complete(run.ticket, reply, self._now()))
        else:
            self._await(asyncio.create_task(self._serve(run)), self._served)

    def _await(
        self, ending: asyncio.Future[Any], ended: Callable[[asyncio.Future[Any]], object]
    ) -> None:
        """Call ``ended`` afterwards, which calls ``_served``; it is cancelled if the connection ends."""
        if not self._tasks:
            self._tasks = {}
        self._tasks[ending] = None
        ending.add_done_callback(ended)

    def _served(self, ended: asyncio.Future[Any]) -> None:
        del self._tasks[ended]
        if not self._tasks:
            self._tasks = NOTHING

    def _go_on(self, run: Run, pending: Pending, awaited: asyncio.Future[Any]) -> None:
        """A command without a task has what it has waited for."""
        self._served(awaited)
        reply: m.Push | None
        try:
            reply = pending.go_on()
        except (ConnectionClosed, asyncio.CancelledError):
            return
        except Exception as error:
            reply = self._refusal(run.command, error)
        if reply is None:
            self._await(pending.awaited, functools.partial(self._go_on, run, pending))
        else:
            self._perform(self._conversation.complete(run.ticket, reply, self._now()))

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
        if isinstance(command, m.Resume):
            self.release_deliveries("resume")

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
            position=known.position if isinstance(known, AlreadySubscribed) else None,
        )


def live_connections(node: Node) -> Mapping[str, Connection]:
    """The connections of a node, by id."""
    return cast(Mapping[str, Connection], node.connections)
