"""Daphne: its protocol object, flow control in both directions, and the way to compression.

Daphne's ``send`` never waits and its queue of received frames has no bound: a client that does not
read, or that writes faster than its handlers run, grows the process without end (measured: 300 MB
sent to such a client added 287 MiB). Twisted's transport says when its buffer is full and stops
reading when told to (``IPushProducer``, ``ITransport``), and Daphne hands ``send`` out as a partial
of its method and the protocol, which leads to the transport. So ``send`` can wait here as it does
on other servers, and the rest of the package need not know which server this is.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Awaitable, Callable
from typing import Any

SendEvent = Callable[[dict[str, Any]], Awaitable[None]]

CLOSE_HANDSHAKE_S = 10.0
"""How long a client may take to answer a close. autobahn's own 1 s is too short for one that has a
queue to read first, or for a busy machine: it then sees 1006, and not the code that says why."""


class FlowControl:
    """Both directions of one Daphne connection: a producer to Twisted, a ``send`` that waits to us.

    Args:
        send: Daphne's ``send``.
        transport: Twisted's transport beneath it.
    """

    __slots__ = ("_room", "_send", "_transport")

    def __init__(self, send: SendEvent, transport: Any) -> None:
        self._send = send
        self._transport = transport
        self._room: asyncio.Future[None] | None = None  # there is one while the buffer is full
        # Twisted's HTTP channel has registered itself and is not asked any more after the upgrade.
        transport.unregisterProducer()
        transport.registerProducer(self, True)

    # -- Twisted's IPushProducer -------------------------------------------------------------------

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
        """The connection is lost: nobody waits for room any more."""
        self.resumeProducing()

    # -- ours --------------------------------------------------------------------------------------

    async def send(self, event: dict[str, Any]) -> None:
        """Daphne's ``send``, once there is room."""
        while self._room is not None:
            await asyncio.shield(self._room)
        await self._send(event)

    def pause_reading(self) -> None:
        """Take no more bytes from the client; its own writes come to a stop."""
        self._transport.pauseProducing()

    def resume_reading(self) -> None:
        """Read on."""
        self._transport.resumeProducing()


def flow_control(send: SendEvent) -> FlowControl | None:
    """Flow control for a connection of Daphne's; None on any other server."""
    protocol = protocol_of(send)
    if protocol is not None and hasattr(protocol, "closeHandshakeTimeout"):
        protocol.closeHandshakeTimeout = CLOSE_HANDSHAKE_S
    transport = getattr(protocol, "transport", None)
    needed = ("registerProducer", "unregisterProducer", "pauseProducing", "resumeProducing")
    if transport is None or not all(hasattr(transport, name) for name in needed):
        return None
    return FlowControl(send, transport)


def protocol_of(send: SendEvent) -> Any | None:
    """Daphne's protocol object of the connection that ``send`` writes to; None on any other server."""
    module = sys.modules.get("daphne.server")
    if module is None or not isinstance(send, functools.partial):
        return None
    if not isinstance(getattr(send.func, "__self__", None), module.Server) or not send.args:
        return None
    return send.args[0]


def offer_compression(send: SendEvent) -> None:
    """Have a connection of Daphne's that is not accepted yet compressed; elsewhere the server decides."""
    protocol = protocol_of(send)
    if protocol is not None:
        from .daphne_compression import compress  # autobahn is there where Daphne is

        compress(protocol)
