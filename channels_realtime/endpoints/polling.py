"""Long polling: the client of a connection requests its messages again and again.

A connection stays on the node where it began. A poll that reaches another process is handed to it: the
node answers at once with what there is, and tells the asking process when there is something later. So
nothing is sent while a poll waits, and a message of a client costs two between processes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, MutableMapping
from typing import Any, ClassVar, cast

from ..access.client_address import FoundAddress
from ..auth.base import Authenticated
from ..connections.connection import Connection
from ..errors import Unavailable
from ..nodes.member import Member
from ..nodes.node import Handler, Node, Service
from ..protocol import messages as m
from ..protocol.codes import CloseCode
from .handshake import SEND, close_if_blocked, opening
from .http_transport import Ending, HttpDialect, HttpTransport, Message
from .language import activate_language
from .routed import TAKEN, UNKNOWN, RoutedConnections, take_messages

MAX_WAIT_S = 60.0
"""The longest that a poll may wait: proxies end what is silent for longer."""

ANSWER_BYTES = 65_536
"""The most bytes of an answer with several messages, which may cross the channel layer."""

BAD_CURSOR = "bad_cursor"

_GATHER_S = 0.01
"""How long to wait for more messages before a poll is answered."""

_WAKE_WAIT_S = 1.0

_RETURN_S = 5.0
"""How long a client with a poll that was cut may take to ask again. Ours takes 3 s for two attempts; one
that has closed its connection cannot say so, and does not come back."""

_LAST_RETURN_S = 2.0
"""How long one that holds polls may take to ask for its ``closing``. Without it, it reconnects as well."""

_LAST_INTERVAL_S = 6.0
"""The same where polls are not held. Ours asks every 5 s at the latest."""


class PollTransport(HttpTransport):
    """Keeps messages until the client has acknowledged them.

    Args:
        written: called when there is something new.
        closing: called when the connection closes.
        max_frame_bytes: the largest batch of messages that a client may send at once.
        drop: ends the connection at once.
    """

    __slots__ = ("_closing", "_given", "_messages", "_next", "_written", "ended")

    name: ClassVar[str] = "poll"

    def __init__(
        self,
        written: Callable[[], None],
        closing: Callable[[], None],
        *,
        max_frame_bytes: int | None,
        drop: Callable[[], None],
    ) -> None:
        super().__init__(max_frame_bytes=max_frame_bytes, most_bytes=ANSWER_BYTES, drop=drop)
        self._closing: Callable[[], None] | None = closing
        self._given = 0
        self._messages: deque[tuple[int, Message]] = deque()
        self._next = 1
        self._written: Callable[[], None] | None = written
        self.ended = False
        """Whether nothing follows what is kept."""

    def tell(self, push: m.Push) -> bool:
        """Note that the connection closes; see ``HttpTransport``."""
        if isinstance(push, m.Closing) and self._closing is not None:
            self._closing()
        return super().tell(push)

    def _put(self, message: Message) -> None:
        self._messages.append((self._next, message))
        self._next += 1
        self._size += len(message.text)
        self._tell_of_it()

    def _end(self, ending: Ending) -> None:
        self.ended = True
        self._tell_of_it()

    def _tell_of_it(self) -> None:
        if self._written is not None:
            self._written()

    def _clear(self) -> None:
        self._messages.clear()
        self._size = 0

    def discard(self, channel: str) -> None:
        """Take back what the client was not given yet of a channel that it has left."""
        kept = [
            (number, message)
            for number, message in self._messages
            if number <= self._given or message.channel != channel
        ]
        self._messages = deque(kept)
        self._size = sum(len(message.text) for _, message in kept)

    def detach(self) -> None:
        """The connection is over."""
        super().detach()
        self._closing = self._written = None

    def acknowledge(self, cursor: int) -> bool:
        """The client has what it was given up to there; False where it was given nothing like it."""
        if cursor > self._given:
            return False
        while self._messages and self._messages[0][0] <= cursor:
            _, message = self._messages.popleft()
            self._size -= len(message.text)
        self._has_room()
        return True

    def give(self, cursor: int) -> tuple[list[str], int, bool]:
        """What was not acknowledged, a bounded part of it.

        Returns:
            the messages, the cursor that acknowledges them, and whether there are more.
        """
        texts: list[str] = []
        size = 0
        for number, message in self._messages:
            size += len(message.text)
            if texts and size > ANSWER_BYTES:
                return texts, cursor, True
            texts.append(message.text)
            cursor = number
            self._given = max(self._given, number)
        return texts, cursor, False


class PolledConnection:
    """One connection, between two polls and during one.

    Args:
        node: the node.
        scope: of the request that begins it.
        address: the client's.
        found: what its credentials prove; None for an anonymous client.
        read_at: when they began to be read, in seconds since the epoch.
    """

    def __init__(
        self,
        node: Node,
        scope: MutableMapping[str, Any],
        address: FoundAddress,
        found: Authenticated | None,
        read_at: float,
    ) -> None:
        scope.pop(SEND, None)
        config = node.config
        self._node = node
        self._absence_s = config.heartbeat_interval + config.heartbeat_timeout
        self._waiting: tuple[str, str] | None = None  # the node that asks, and its poll's token
        self._gathering: asyncio.TimerHandle | None = None
        self._closing = False
        self._holds = False  # whether the client's last poll could wait
        self._over = False
        self._cursor = 0
        self._transport = PollTransport(
            self._written,
            self._closes,
            max_frame_bytes=config.limits.max_frame,
            drop=self.finish,
        )
        self.connection = Connection(
            node, scope, address, self._transport, HttpDialect(config.limits)
        )
        node.service(RoutedConnections).add(self.connection)
        node.service(Polls).add(self)
        self.connection.begin()
        self._absent: asyncio.TimerHandle | None = None
        self._expect_within(self._absence_s)
        self.opened = asyncio.create_task(self._open(found, read_at), name="realtime-open")

    async def _open(self, found: Authenticated | None, read_at: float) -> None:
        node, connection = self._node, self.connection
        activate_language(connection.scope)
        with opening(node, connection):
            await node.ready()
            if close_if_blocked(node, connection):
                return
            if found is None or connection.authenticated(found, read_at):
                await connection.welcome()

    # -- its polls ---------------------------------------------------------------------------------

    def poll(
        self, cursor: int | None, waiting: tuple[str, str] | None, wait: float
    ) -> dict[str, Any]:
        """Answer a poll with what there is; where that is nothing, note who waits.

        Args:
            cursor: what the client has; None where it does not say.
            waiting: the node that asks, and the token by which it knows the poll; None if it does not
                wait.
            wait: for how many seconds it does.
        """
        connection = self.connection
        if cursor is not None and not self._transport.acknowledge(cursor):
            return {"status": BAD_CURSOR}
        self._cursor = max(self._cursor, cursor or 0)
        self._wake()  # an older poll, which this one ends
        connection.heartbeat.seen(self._node.clock.monotonic())
        messages, reached, more = self._transport.give(self._cursor)
        ended = self._transport.ended and not more
        if ended:
            self.finish()
        else:
            self._holds = waiting is not None
            waits = not messages and self._holds
            self._waiting = waiting if waits else None
            self._expect_within(self._absence_s + (wait if waits else 0.0))
        return {"status": TAKEN, "messages": messages, "cursor": reached, "ended": ended}

    def give_up(self, token: str) -> None:
        """The client of a poll that waits has gone."""
        if self._waiting is not None and self._waiting[1] == token:
            self._waiting = None
            self._expect_within(min(_RETURN_S, self._absence_s))

    def _closes(self) -> None:
        self._closing = True
        self._expect_within(self._absence_s)

    def _written(self) -> None:
        if self._waiting is not None and self._gathering is None:
            loop = asyncio.get_running_loop()
            self._gathering = loop.call_later(_GATHER_S, self._gathered)

    def _gathered(self) -> None:
        self._gathering = None
        self._wake(READY)

    def _wake(self, why: str = "") -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return
        node_id, token = waiting
        arguments = {"token": token, "why": why}
        if node_id == self._node.id:
            poll_answered(self._node, arguments)
        else:
            self._node.spawn(_tell(self._node, node_id, arguments), "waking a poll")

    # -- its end -----------------------------------------------------------------------------------

    def _expect_within(self, seconds: float) -> None:
        """Expect the next poll; sooner where all that it can bring is ``closing``."""
        if self._absent is not None:
            self._absent.cancel()
        if self._closing:
            seconds = min(seconds, _LAST_RETURN_S if self._holds else _LAST_INTERVAL_S)
        self._absent = asyncio.get_running_loop().call_later(seconds, self._gone)

    def _gone(self) -> None:
        self.connection.close(CloseCode.HEARTBEAT, "no poll came in time")
        self.finish()

    def finish(self) -> None:
        """Free everything that it holds."""
        if self._over:
            return
        self._over = True
        if self._absent is not None:
            self._absent.cancel()
        if self._gathering is not None:
            self._gathering.cancel()
        self.opened.cancel()
        self._wake()
        self.connection.finish()


READY = "ready"


async def _tell(node: Node, node_id: str, arguments: dict[str, Any]) -> None:
    try:
        await node.requests.request("poll_answered", arguments, {node_id}, wait=_WAKE_WAIT_S)
    except Unavailable:
        return  # the poll ends by itself, and the next one gets what there is


class Polls(Service):
    """The connections of a node that are polled, and the polls that wait in its process."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self._polled: dict[Connection, PolledConnection] = {}
        self._waiting: dict[str, asyncio.Future[str]] = {}

    def add(self, polled: PolledConnection) -> None:
        """A connection has begun."""
        self._polled[polled.connection] = polled

    def connection_ended(self, connection: Member) -> None:
        """Forget it; see ``Service``."""
        self._polled.pop(cast("Connection", connection), None)

    def of(self, connection: Connection) -> PolledConnection | None:
        """How a connection is polled."""
        return self._polled.get(connection)

    def wait(self, token: str, seconds: float) -> asyncio.Future[str]:
        """What becomes of a poll that waits: done with ``READY``, or with nothing where it has ended.

        Args:
            token: of the poll.
            seconds: after which nothing more is expected.
        """
        loop = asyncio.get_running_loop()
        future = self._waiting[token] = loop.create_future()
        loop.call_later(seconds, self.answered, token, "")
        return future

    def answered(self, token: str, why: str) -> None:
        """A poll that waits is to be answered."""
        future = self._waiting.pop(token, None)
        if future is not None and not future.done():
            future.set_result(why)


# -- requests of other processes -------------------------------------------------------------------


async def poll(node: Node, arguments: dict[str, Any]) -> dict[str, Any]:
    """Serve a poll; see ``PolledConnection.poll``."""
    connection = node.service(RoutedConnections).find(
        arguments["session"], arguments["identity"], closed=True
    )
    polled = None if connection is None else node.service(Polls).of(connection)
    if connection is None or polled is None:
        return {"status": UNKNOWN}
    if arguments["messages"] is not None and not connection.closed:
        taken = await take_messages(node, arguments)
        if taken != TAKEN and not connection.closed:
            return {"status": taken}
    waiting = arguments["waiting"]
    return polled.poll(
        arguments["cursor"],
        None if waiting is None else (waiting[0], waiting[1]),
        arguments["wait"],
    )


def poll_answered(node: Node, arguments: dict[str, Any]) -> None:
    """Answer a poll that waits in this process: its connection has something, or another poll."""
    node.service(Polls).answered(arguments["token"], arguments["why"])


def poll_given_up(node: Node, arguments: dict[str, Any]) -> None:
    """The client of a poll has gone while it waited."""
    connection = node.service(RoutedConnections).find(
        arguments["session"], arguments["identity"], closed=True
    )
    polled = None if connection is None else node.service(Polls).of(connection)
    if polled is not None:
        polled.give_up(arguments["token"])


HANDLERS: dict[str, Handler] = {
    "poll": poll,
    "poll_answered": poll_answered,
    "poll_given_up": poll_given_up,
}
