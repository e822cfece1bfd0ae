"""Daphne: its protocol object, flow control in both directions, and compression.

Daphne's ``send`` never waits, and its queue of received frames has no limit. A client that does not
read, or writes faster than its handlers run, lets the process grow without limit (measured: 300 MB
sent to such a client added 287 MiB). Twisted's transport reports a full buffer and can stop reading
(``IPushProducer``, ``ITransport``). Daphne's ``send`` is a partial of a method and the protocol
object, which has the transport. So ``send`` waits here as on other servers, and the rest of the
package does not depend on the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from ..unwrap import SendEvent, is_daphne, servers_send, warn_if_hidden

CLOSE_HANDSHAKE_S = 10.0
"""How long a client may take to answer a close. autobahn's default of 1 s is too short for a client
that must read a queue first, or on a busy machine: it would see 1006 instead of the close code."""


LOSE_CONNECTION: dict[str, Any] = {"type": "websocket.close", "code": 1012}
"""In place of a close event for ``FlowControl.send``: end the TCP connection, after what was written.

Daphne may not send 1012, and many clients come back only after it or after a close without a code.
"""


class _Producer:
    """What Twisted tells of a full buffer, as its ``IPushProducer``."""

    __slots__ = ("_room",)

    def __init__(self) -> None:
        self._room: asyncio.Future[None] | None = None  # not None while the buffer is full

    def pauseProducing(self) -> None:
        """The transport's buffer is over its 64 KiB."""
        if self._room is None:
            self._room = asyncio.get_running_loop().create_future()

    def resumeProducing(self) -> None:
        """The transport's buffer is empty."""
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def stopProducing(self) -> None:
        """The connection is lost: stop waiting."""
        self.resumeProducing()

    async def room(self) -> None:
        """Wait until the buffer has room."""
        while self._room is not None:
            await asyncio.shield(self._room)


class FlowControl(_Producer):
    """Flow control of one Daphne connection: Twisted calls it as a producer; its ``send`` waits."""

    __slots__ = ("_send", "_transport")

    def __init__(self, send: SendEvent, transport: Any) -> None:
        super().__init__()
        self._send = send
        self._transport = transport
        # Twisted's HTTP channel has registered itself, but is not used after the upgrade.
        transport.unregisterProducer()
        transport.registerProducer(self, True)

    def send(self, event: dict[str, Any]) -> Awaitable[None]:
        """Call Daphne's ``send`` when the buffer has room."""
        if self._room is None and event is not LOSE_CONNECTION:
            return self._send(event)  # no coroutine around it, at each delivery
        return self._send_in_turn(event)

    async def _send_in_turn(self, event: dict[str, Any]) -> None:
        while self._room is not None:
            await asyncio.shield(self._room)
        if event is LOSE_CONNECTION:
            self._transport.loseConnection()
        else:
            await self._send(event)

    def pause_reading(self) -> None:
        """Stop reading from the client, so that TCP stops its writes."""
        self._transport.pauseProducing()

    def resume_reading(self) -> None:
        """Read from the client again."""
        self._transport.resumeProducing()


def flow_control(send: SendEvent) -> FlowControl | None:
    """Return flow control for a Daphne connection, or None on any other server.

    Its ``send`` calls the one given here, so that a wrapper sees what is sent.
    """
    warn_if_hidden(send)
    protocol = protocol_of(send)
    if protocol is not None and hasattr(protocol, "closeHandshakeTimeout"):
        protocol.closeHandshakeTimeout = CLOSE_HANDSHAKE_S
    transport = getattr(protocol, "transport", None)
    needed = ("registerProducer", "unregisterProducer", "pauseProducing", "resumeProducing")
    if transport is None or not all(hasattr(transport, name) for name in needed):
        return None
    return FlowControl(send, transport)


class ResponseFlowControl(_Producer):
    """Flow control of one response of Daphne's: Twisted calls it as a producer.

    Args:
        request: Twisted's, which writes the response.
    """

    __slots__ = ("_request",)

    def __init__(self, request: Any) -> None:
        super().__init__()
        self._request = request
        request.registerProducer(self, True)

    def close(self) -> None:
        """The body is over; Twisted wants to be told before the response ends."""
        self.resumeProducing()
        if self._request.channel is not None:  # else the client has gone
            self._request.unregisterProducer()


def response_flow_control(send: SendEvent) -> ResponseFlowControl | None:
    """Return flow control for a response of Daphne's, or None on any other server."""
    warn_if_hidden(send)
    request = protocol_of(send)
    needed = ("registerProducer", "unregisterProducer", "channel")
    if request is None or not all(hasattr(request, name) for name in needed):
        return None
    return None if request.producer is not None else ResponseFlowControl(request)


def may_lose_connection(send: SendEvent) -> bool:
    """Whether ``send`` takes ``LOSE_CONNECTION``."""
    return isinstance(getattr(send, "__self__", None), FlowControl)


def lifetime_of(send: SendEvent) -> float | None:
    """Seconds after which Daphne closes the connection with a bare 1000; None on any other server.

    Daphne's option ``--websocket_timeout``, by default a day; negative for never.
    """
    lifetime: float | None = getattr(
        getattr(protocol_of(send), "server", None), "websocket_timeout", None
    )
    return None if lifetime is None or lifetime < 0 else lifetime


def protocol_of(send: SendEvent) -> Any | None:
    """Return Daphne's protocol object behind ``send``, or None on any other server."""
    found = servers_send(send)
    return found.args[0] if is_daphne(found) else None  # type: ignore[union-attr]


def offer_compression(send: SendEvent) -> None:
    """Compress a Daphne connection that is not accepted yet. Other servers decide by themselves."""
    protocol = protocol_of(send)
    if protocol is not None:
        from .compression import compress  # Daphne installs autobahn

        compress(protocol)
