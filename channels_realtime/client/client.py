"""The client on asyncio: ``async with connect("wss://www.example.com/ws/") as client``.

The decisions are the core's; this module has the tasks, the timer and the futures.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Literal
from urllib.parse import quote, urlsplit, urlunsplit

from websockets.asyncio.client import connect as websockets_connect
from websockets.typing import Subprotocol

from ..errors import ImproperUse, RealtimeError
from ..protocol.codecs import CODECS
from ..protocol.dialects.base import VERSION
from ..protocol.messages import Members, Position
from ..protocol.names import check_name
from .callbacks import result_of
from .core import Core, Limits, State, TokenReason
from .errors import ConnectFailed, VersionRefused
from .feeds import Feed
from .link import Link, Socket
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

logger = logging.getLogger("channels_realtime.client")

Token = str | Callable[[TokenReason], Awaitable[str | None] | str | None]
Headers = Mapping[str, str] | Callable[[], Awaitable[Mapping[str, str]] | Mapping[str, str]]
Ticket = Callable[[], Awaitable[str] | str]

MAX_FRAME_BYTES = 16 * 1_048_576
"""Of the server, by default: replies to ``history`` may be long."""


class WithoutRedirects(websockets_connect):
    """Opens a WebSocket. Like a browser's it follows no redirect, which may lead a token to another host."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


Opener = Callable[..., Awaitable[Any]]
"""Opens a WebSocket, as ``websockets.asyncio.client.connect`` does."""


def connect(
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
) -> Client:
    """Return a client for ``async with``, which connects and stays connected.

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
        open_timeout_s: how long entering the block waits for the first ``welcome``, with as many attempts as
            there is time for. 0: one attempt. None: for ever.
        on_state: is called with each new state, on the event loop.
        on_notice: is called with each message of the staff to this connection.
        opener: opens the WebSocket.
        options: for ``websockets.asyncio.client.connect``: ``ssl``, ``proxy``, ``origin``, ``max_size``, ….

    Raises:
        ImproperUse: an argument is not what it says here.
    """
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not parts.netloc:
        raise ImproperUse(
            f"connect(): the url is {url!r:.200}; expected one as wss://www.example.com/ws/"
        )
    if codec not in CODECS:
        raise ImproperUse(f"connect(): codec is {codec!r}; expected one of {', '.join(CODECS)}")
    if token_in not in ("header", "message"):
        raise ImproperUse(f"connect(): token_in is {token_in!r}; expected 'header' or 'message'")
    if token is not None and not isinstance(token, str) and not callable(token):
        raise ImproperUse("connect(): token is neither text nor a function")
    return Client(
        urlunsplit(parts._replace(scheme=scheme, fragment="")),
        token=token,
        token_in=token_in,
        headers=headers,
        ticket=ticket,
        codec=codec,
        limits=limits or Limits(),
        open_timeout_s=open_timeout_s,
        on_state=on_state,
        on_notice=on_notice,
        opener=opener,
        options=options,
    )


class Client:
    """A connection to the server that comes back by itself; made by ``connect``.

    It belongs to one event loop, and any number of its tasks may use it at once.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Token | None,
        token_in: str,
        headers: Headers | None,
        ticket: Ticket | None,
        codec: str,
        limits: Limits,
        open_timeout_s: float | None,
        on_state: Callable[[State], None] | None,
        on_notice: Callable[[Message], None] | None,
        opener: Opener,
        options: Mapping[str, Any],
    ) -> None:
        self._url = url
        self._token = token
        self._in_header = token_in == "header"  # noqa: S105
        self._headers = headers
        self._ticket = ticket
        self._codec = CODECS[codec]
        self._limits = limits
        self._open_timeout_s = open_timeout_s
        self._on_state = on_state
        self._on_notice = on_notice
        self._opener = opener
        self._options = {
            "max_size": MAX_FRAME_BYTES,
            "open_timeout": None,  # the core's timer is the one that counts
            "close_timeout": 3.0,
            **options,
        }
        self._core_: Core | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._link: Link | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self._entered: asyncio.Future[None] | None = None

    # -- the connection ----------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """What the client is doing."""
        return State.IDLE if self._core_ is None else self._core_.state

    @property
    def user(self) -> str | None:
        """The user's primary key as text, as the server last said it."""
        return None if self._core_ is None else self._core_.user

    @property
    def connection_id(self) -> str | None:
        """The connection's public id, for ``exclude``; it stays the same through a resume."""
        return None if self._core_ is None else self._core_.connection_id

    @property
    def attempt(self) -> int:
        """The number of the attempt since the last ``welcome``, from 1."""
        return 0 if self._core_ is None else self._core_.attempt

    @property
    def next_delay_s(self) -> float | None:
        """The seconds before the next attempt, while the state is WAITING."""
        return None if self._core_ is None else self._core_.next_delay_s

    @property
    def automatic_channels(self) -> tuple[str, ...]:
        """The channels that the server has subscribed this connection to. Subscribe to get their messages."""
        return () if self._core_ is None else tuple(self._core_.feeds.automatic)

    async def __aenter__(self) -> Client:
        """Connect, and wait for the first ``welcome``.

        Raises:
            Closed: the server does not want this client; ``SignedOut`` and so on say why.
            ConnectFailed: there was no connection in time.
        """
        if self._core_ is not None:
            raise ImproperUse("a client is for one `async with`; expected another connect()")
        self._loop = asyncio.get_running_loop()
        self._core_ = core = Core(
            _Shell(self),
            self._codec,
            self._limits,
            has_token=self._token is not None,
            in_header=self._in_header,
            clock=self._loop.time,
        )
        self._entered = self._loop.create_future()
        try:
            core.start()
            self._arm()
            async with asyncio.timeout(self._open_timeout_s or None):
                await self._entered
        except TimeoutError:
            await self.aclose()
            raise self._not_connected(f"within {self._open_timeout_s:g} s") from core.loss
        except BaseException:
            await self.aclose()
            raise
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
        if self._core_ is not None:
            self._core_.close()
        if self._alarm is not None:
            self._alarm.cancel()
        while leaving := tuple(self._leaving):
            await asyncio.gather(*leaving, return_exceptions=True)
            # Since Python 3.12, gather() does not wait if all are done: their callbacks have not run then.
            self._leaving.difference_update(leaving)

    # -- channels ----------------------------------------------------------------------------------

    def subscribe(
        self,
        channel: str,
        *,
        since: Position | Published | Message | Mapping[str, Any] | None = None,
        parameters: Any = None,
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
            ImproperUse: the client is subscribed to it already, or an argument is not what it says here.
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
        if type(buffer) is not int or buffer < 1:
            raise ImproperUse(f"subscribe(): buffer is {buffer!r}; expected at least 1")
        sink = Buffer(buffer)
        feed = Feed(
            channel=check_name(channel),
            sink=sink,
            parameters=parameters,
            presence=presence,
            since=read_since(since),
        )
        core.feeds.add(feed)
        self._arm()
        return Subscription(_Owner(self), feed, sink, load=load, ack=ack)

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

        Without a connection it waits for one, at most ``Limits.queue_seconds``, and where the connection
        ends before the answer it is sent again: with a key, so that a channel with history takes it once. A
        channel without history may then get it twice.

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
        if self._core_ is None:
            raise ImproperUse(
                "the client is not connected; expected `async with connect(…) as client`"
            )
        return self._core_

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
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def done(payload: Any, error: RealtimeError | None) -> None:
            if reply.done():
                return
            if error is None:
                reply.set_result(payload)
            else:
                reply.set_exception(error)

        request_id = core.request(message, done, timeout_s=timeout_s, resend=resend, wait=wait)
        self._arm()
        try:
            return await reply
        finally:
            core.forget(request_id)  # it was cancelled

    # -- the core's timer --------------------------------------------------------------------------

    def _arm(self) -> None:
        """Set the alarm to when the core has something to do; after every call of it."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        at = self._core.timers.next_at
        if at is not None and self._loop is not None:
            self._alarm = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._core.timers.run()
        self._arm()

    # -- the connection's own tasks ----------------------------------------------------------------

    def _open(self, token: str | None) -> None:
        self._link = link = Link(lambda: self._dial(token), self._received, self._lost)
        self._own(link.task)

    def _own(self, task: asyncio.Task[None]) -> None:
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _dial(self, token: str | None) -> Socket:
        headers: dict[str, str] = {}
        if callable(self._headers):
            headers.update(await result_of(self._headers))
        elif self._headers is not None:
            headers.update(self._headers)
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        url = self._url
        if self._ticket is not None:
            ticket = quote(await result_of(self._ticket), safe="")
            parts = urlsplit(url)
            query = f"{parts.query}&ticket={ticket}" if parts.query else f"ticket={ticket}"
            url = urlunsplit(parts._replace(query=query))
        name = f"realtime.v{VERSION}.{self._codec.name}"
        socket = await self._opener(
            url, subprotocols=[Subprotocol(name)], additional_headers=headers, **self._options
        )
        if socket.subprotocol != name:
            await socket.close()
            raise VersionRefused(
                4406, f"the server does not speak {name}: is this the address of channels_realtime?"
            )
        return socket  # type: ignore[no-any-return]

    def _received(self, frame: str | bytes) -> None:
        self._core.received(frame)
        self._arm()

    def _lost(
        self, code: int, reason: str, error: Exception | None, retry_after: float | None
    ) -> None:
        self._link = None
        self._stop_fetching()
        if isinstance(error, VersionRefused):
            code = error.close_code
        self._core.lost(code, reason, error, retry_after)
        self._arm()

    def _stop_fetching(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            self._fetching = None

    def _fetch_token(self, reason: TokenReason) -> None:
        self._fetching = asyncio.create_task(self._fetch(reason))
        self._own(self._fetching)

    async def _fetch(self, reason: TokenReason) -> None:
        token = self._token
        try:
            if token is not None and not isinstance(token, str):
                token = await result_of(token, reason)
        except Exception as error:
            self._fetching = None
            self._core.token_failed(error)
        else:
            self._fetching = None
            self._core.token(token)
        self._arm()

    def _changed(self) -> None:
        core = self._core
        if core.state is State.WAITING and core.next_delay_s is not None:
            logger.info("Not connected: %s. Next attempt in %.1f s.", core.loss, core.next_delay_s)
        entered = self._entered
        if entered is not None and not entered.done():
            if core.state is State.CONNECTED:
                entered.set_result(None)
            elif core.ended is not None:
                entered.set_exception(core.ended)
            elif self._open_timeout_s == 0 and core.next_delay_s is not None:
                failed = self._not_connected("at the first attempt")
                failed.__cause__ = core.loss
                entered.set_exception(failed)
        if self._on_state is not None:
            try:
                self._on_state(core.state)
            except Exception:
                logger.exception("on_state failed.")

    def _not_connected(self, when: str) -> ConnectFailed:
        loss = self._core.loss
        why = "no attempt has ended" if loss is None else f"{loss}" or type(loss).__name__
        return ConnectFailed(f"no connection {when}: {why}")


class _Shell:
    """What the core asks of its client."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def open(self, token: str | None) -> None:
        self._client._open(token)

    def send(self, frame: str | bytes) -> None:
        if self._client._link is not None:
            self._client._link.send(frame)

    def drop(self, code: int) -> None:
        client = self._client
        client._stop_fetching()
        link, client._link = client._link, None
        if link is not None:
            link.drop(code)

    def fetch_token(self, reason: TokenReason) -> None:
        self._client._fetch_token(reason)

    def changed(self) -> None:
        self._client._changed()

    def notice(self, message: Message) -> None:
        if self._client._on_notice is None:
            return
        try:
            self._client._on_notice(message)
        except Exception:
            logger.exception("on_notice failed.")

    def warn(self, text: str) -> None:
        logger.warning("%s", text[:1].upper() + text[1:] + ".")


class _Owner:
    """What subscriptions ask of their client."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def leave(self, feed: Feed) -> None:
        self._client._core.feeds.remove(feed)
        self._client._arm()

    def drained(self, feed: Feed) -> None:
        self._client._core.feeds.drained(feed)
        self._client._arm()

    def acknowledge(self, channel: str, position: Position) -> None:
        self._client._core.feeds.acknowledge(channel, position)
        self._client._arm()

    def abandon(self, feed: Feed) -> None:
        loop = self._client._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self.leave, feed)
