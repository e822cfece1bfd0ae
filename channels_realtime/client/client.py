"""The client on asyncio: ``async with connect("wss://www.example.com/ws/") as client``.

The decisions are the core's, and ``shell`` carries them out; this module has what a program calls.
"""

from __future__ import annotations

import asyncio
import inspect
import uuid
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Literal

from ..errors import ImproperUse, RealtimeError
from ..protocol.codecs import CODECS
from ..protocol.messages import Members, Position
from ..protocol.names import check_name
from .core import Core, Limits, State
from .dialer import Dialer, Headers, Opener, Ticket, WithoutRedirects
from .feeds import Feed
from .mistakes import check_function, check_number, check_transport_options, kind
from .shell import LoopShell, Token
from .subscriptions import Buffer, Load, Subscription
from .values import (
    History,
    Message,
    Published,
    members_from,
    message_from,
    position_in,
    position_object,
    read_since,
)


class Client:
    """A connection to the server that comes back by itself. ``connect(…)`` makes one, for ``async with``.

    It belongs to one event loop, and any number of its tasks may use it at once.

    Args:
        url: such as ``"wss://www.example.com/ws/"``; ``http`` and ``https`` are taken for ``ws`` and ``wss``.
        token: a JWT, or a function, async or not, that returns one or None. It is called before each
            connection, when the token ends soon, and once when it was refused, with the reason:
            ``"required"``, ``"expiring"``, ``"refused"`` or ``"anonymous"``. A function that is not async
            runs in a thread.
        token_in: ``"header"``, as ``Authorization: Bearer …`` of the handshake, or ``"message"``, as the first
            message, for sites that take none in the header.
        headers: of the handshake, such as a cookie; or a function that returns them for each attempt.
        ticket: a function that fetches a one-time ticket, for each attempt.
        codec: of the frames. ``"msgpack"`` carries bytes as they are.
        limits: times and bounds of the client.
        open_timeout_s: how many seconds entering the block waits for the first ``welcome``, with as many
            attempts as there is time for. 0: one attempt. None: for ever.
        on_state: is called with each new state, on the event loop; it must not block.
        on_notice: is called with each message of the staff to this connection, on the event loop.
        opener: opens the WebSocket.
        options: for ``websockets.asyncio.client.connect``: ``ssl``, ``proxy``, ``origin``, ``max_size``, ….

    Raises:
        ImproperUse: an argument is not what it says here, or there is no such option.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Token | None = None,
        token_in: Literal["header", "message"] = "header",  # noqa: S107 - a place, not a token
        headers: Headers | None = None,
        ticket: Ticket | None = None,
        codec: Literal["json", "msgpack"] = "json",
        limits: Limits | None = None,
        open_timeout_s: float | None = 20.0,
        on_state: Callable[[State], None] | None = None,
        on_notice: Callable[[Message], None] | None = None,
        opener: Opener = WithoutRedirects,
        **options: Any,
    ) -> None:
        check_transport_options(options, inspect.signature(Client).parameters)
        if codec not in CODECS:
            raise ImproperUse(f"connect(): codec is {codec!r}; expected one of {', '.join(CODECS)}")
        if token_in not in ("header", "message"):
            raise ImproperUse(
                f"connect(): token_in is {token_in!r}; expected 'header' or 'message'"
            )
        if token == "":
            raise ImproperUse("connect(): token is empty; expected a JWT, or None for none")
        if not isinstance(token, str):
            check_function("connect()", "token", token, other="a JWT or ")
        if not isinstance(headers, Mapping):
            check_function("connect()", "headers", headers, other="a dict or ")
        check_function("connect()", "ticket", ticket)
        check_function("connect()", "on_state", on_state, plain=True)
        check_function("connect()", "on_notice", on_notice, plain=True)
        if limits is not None and not isinstance(limits, Limits):
            raise ImproperUse(f"connect(): limits is {kind(limits)}; expected Limits(…)")
        if open_timeout_s is not None:
            check_number("connect()", "open_timeout_s", open_timeout_s, zero=True)
        self._open_timeout_s = open_timeout_s
        self._shell = LoopShell(
            Dialer(
                url, codec=codec, headers=headers, ticket=ticket, opener=opener, options=options
            ),
            token=token,
            in_header=token_in == "header",  # noqa: S105
            codec=CODECS[codec],
            limits=limits or Limits(),
            on_state=on_state,
            on_notice=on_notice,
        )

    # -- the connection ----------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """What the client is doing."""
        return self._shell.core.state

    @property
    def user(self) -> str | None:
        """The user's primary key as text, as the server last said it."""
        return self._shell.core.user

    @property
    def connection_id(self) -> str | None:
        """The connection's public id, for ``exclude``; it stays the same through a resume."""
        return self._shell.core.connection_id

    @property
    def attempt(self) -> int:
        """The number of the attempt since the last ``welcome``, from 1."""
        return self._shell.core.attempt

    @property
    def next_delay_s(self) -> float | None:
        """The seconds before the next attempt, while the state is WAITING."""
        return self._shell.core.next_delay_s

    @property
    def automatic_channels(self) -> tuple[str, ...]:
        """The channels that the server has subscribed this connection to. Subscribe to get their messages."""
        return tuple(self._shell.core.feeds.automatic)

    async def __aenter__(self) -> Client:
        """Connect, and wait for the first ``welcome``.

        Raises:
            Closed: the server does not want this client; ``SignedOut`` and so on say why.
            ConnectFailed: there was no connection in time.
        """
        if self.state is not State.IDLE:
            raise ImproperUse("a client is for one 'async with'; expected another connect()")
        await self._shell.start(self._open_timeout_s)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close with 1000: subscriptions end, requests that wait raise ``Closed``. No task is left."""
        await self._shell.close()

    # -- channels ----------------------------------------------------------------------------------

    def subscribe(
        self,
        channel: str,
        *,
        since: Position | Published | Message | Mapping[str, Any] | None = None,
        parameters: Any = None,
        select: str | None = None,
        presence: bool = False,
        load: Load | None = None,
        ack: bool = False,
        buffer: int = 1_000,
    ) -> Subscription:
        """Subscribe to a channel; iterate over what this returns.

        Args:
            channel: the channel's name, such as ``"orders/42"``.
            since: the position after which to begin, as a message or ``history()`` has it. None begins with
                what is published from now on, after the state where the channel has one.
            parameters: the payload of ``subscribe``; the channel may select by them.
            select: the name of the parameter by which the channel selects. Then the client may have several
                subscriptions to it, and each gets the messages with its own value in this field.
            presence: whether to keep the channel's members, and to have ``Joined`` and ``Left`` as events.
            load: a function, async or not, that fetches the state: called at the beginning without
                ``since``, and whenever messages may be missing. Messages wait meanwhile. Where it returns a
                dict with a ``position``, those up to there are dropped.
            ack: acknowledge each message when the next is asked for, where the channel has an inbox.
            buffer: how many messages may wait for the loop. Where it is full, a channel with history is
                given up until the loop has caught up, and then read on from the history; without history
                the loop raises ``TooSlow``. The state of a channel is not counted.

        Raises:
            BadChannel: no channel can have this name.
            ImproperUse: the client is subscribed to it already, without ``select`` or with these parameters,
                or an argument is not what it says here.
            Closed: the client has ended.

        Iterating raises:
            NotRecoverable: messages are missing, and there is no ``load``.
            TooSlow: the buffer was full, on a channel without history.
            RealtimeError: the server refused or ended the subscription; the class says why.
            Closed: the client has ended by the server's word.
        """
        core = self._core
        if core.ended is not None:
            raise core.ended
        check_number("subscribe()", "buffer", buffer, whole=True)
        check_function("subscribe()", "load", load)
        if select is not None and not (isinstance(parameters, dict) and select in parameters):
            raise ImproperUse(f"subscribe(): select is {select!r}, which is not in parameters")
        if select is not None and ack:
            raise ImproperUse("subscribe(): ack is for a whole channel; expected no select with it")
        sink = Buffer(buffer)
        feed = Feed(
            channel=check_name(channel),
            sink=sink,
            parameters=parameters,
            select=select,
            presence=presence,
            since=read_since(since),
        )
        core.feeds.add(feed)
        return Subscription(self, core.feeds, feed, sink, load=load, ack=ack)

    async def publish(
        self,
        channel: str,
        payload: Any,
        *,
        event: str | None = None,
        key: str | None = None,
        echo: bool = True,
        transient: bool = False,
        version: int | None = None,
        state_key: str | None = None,
        removed: bool = False,
        only_if: Mapping[str, Any] | None = None,
        resend: bool = True,
        timeout_s: float | None = None,
    ) -> Published:
        """Publish to a channel; return what the server answered.

        Without a connection it waits for one, and where the connection ends before the answer it is sent
        again, for ``Limits.queue_seconds`` at most: with a key, so that a channel with history takes it once.
        A channel without history may then get it twice.

        Args:
            channel: the channel's name.
            payload: JSON types; with MessagePack also bytes.
            event: a name for what happened.
            key: makes a repetition safe. By default a new one.
            echo: whether this connection gets it too.
            transient: it is not kept, and is not sent later: without a connection it is an error.
            version: in a channel of versions.
            state_key: in a channel with keyed state.
            removed: ends the state of ``state_key``.
            only_if: ``{"new": True}`` or ``{"version": n}``.
            resend: False: raise ``ConnectionLost`` where the connection ends before the answer, and
                ``ClientError`` without a connection.
            timeout_s: from the call to the answer.

        Raises:
            RealtimeError: the server refused it; the class says why.
            RequestTimeout: there was no answer, or no connection, in time.
            QueueFull: too many bytes wait for a connection.
            ConnectionLost, ClientError: see ``resend``.
        """
        again = resend and not transient
        message = {
            "type": "publish",
            "channel": channel,
            "payload": payload,
            "event": event,
            "key": (key or uuid.uuid4().hex) if again else key,
            "echo": None if echo else False,
            "transient": transient or None,
            "version": version,
            "state_key": state_key,
            "removed": removed or None,
            "only_if": None if only_if is None else dict(only_if),
        }
        reply = await self._ask(message, timeout_s, resend=again, wait=again)
        return Published(position=position_in(reply), duplicate=reply.get("duplicate") is True)

    async def call(
        self, channel: str, method: str, payload: Any = None, *, timeout_s: float | None = None
    ) -> Any:
        """Call an action of a channel, and return its result.

        Raises:
            RealtimeError: the server refused it; the class says why.
            ConnectionLost: it may have been carried out.
            RequestTimeout: there was no answer, or no connection, in time.
        """
        message = {"type": "call", "channel": channel, "method": method, "payload": payload}
        return await self._request(message, timeout_s)

    async def presence(self, channel: str, *, timeout_s: float | None = None) -> Members:
        """Who is on a channel; a subscription is not needed. Raises as ``call``."""
        reply = await self._ask({"type": "presence", "channel": channel}, timeout_s)
        return members_from(reply) or Members(0)

    async def history(
        self,
        channel: str,
        *,
        since: Position | Published | Message | Mapping[str, Any] | None = None,
        limit: int | None = None,
        reverse: bool = False,
        timeout_s: float | None = None,
    ) -> History:
        """What a channel keeps: after ``since``, at most ``limit``, the newest first with ``reverse``.

        Raises:
            NotRecoverable: the history does not hold what follows ``since``.
            RealtimeError: as ``call``.
        """
        at = read_since(since)
        message = {
            "type": "history",
            "channel": channel,
            "since": None if at is None else position_object(at),
            "limit": limit,
            "reverse": reverse or None,
        }
        reply = await self._ask(message, timeout_s)
        found = reply.get("messages")
        messages = found if isinstance(found, list) else []
        return History(
            messages=tuple(
                message_from({"channel": channel, **one})
                for one in messages
                if isinstance(one, dict)
            ),
            position=position_in(reply),
        )

    # -- requests ----------------------------------------------------------------------------------

    @property
    def _core(self) -> Core:
        if self.state is State.IDLE:
            raise ImproperUse(
                "the client is not connected; expected 'async with connect(…) as client'"
            )
        return self._shell.core

    async def _ask(
        self,
        message: Mapping[str, Any],
        timeout_s: float | None,
        *,
        resend: bool = False,
        wait: bool = True,
    ) -> dict[str, Any]:
        reply = await self._request(message, timeout_s, resend=resend, wait=wait)
        return reply if isinstance(reply, dict) else {}

    async def _request(
        self,
        message: Mapping[str, Any],
        timeout_s: float | None,
        *,
        resend: bool = False,
        wait: bool = True,
    ) -> Any:
        core = self._core
        if timeout_s is not None:
            check_number(f"{message['type']}()", "timeout_s", timeout_s)
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def done(payload: Any, error: RealtimeError | None) -> None:
            if reply.done():
                return
            if error is None:
                reply.set_result(payload)
            else:
                reply.set_exception(error)

        requests = core.requests
        request_id = requests.begin(message, done, timeout_s=timeout_s, resend=resend, wait=wait)
        try:
            return await reply
        finally:
            requests.forget(request_id)  # it was cancelled


connect = Client
"""``async with connect("wss://www.example.com/ws/") as client:`` makes a client and connects it."""
