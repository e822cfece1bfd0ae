"""The clients of a measurement: they connect to a server, subscribe, and leave in order.

In: a target. Out: connections. A server that does not let them in, or does not answer, ends the measurement.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from .connection import TEXT, RawConnection, handshake
from .processes import HOST, BenchmarkError

STEP_TIMEOUT_S = 30.0
"""How long a server may take for anything."""

HEARTBEAT = b'{"type":"ping"}'

_ANSWER = b'{"type":"pong"}'
_SUBPROTOCOL = "realtime.v1.json"
_AT_ONCE = 50
"""Connections that are being opened at one time."""
_PER_ADDRESS = 20_000
"""Connections from one address; there are no more ports for one server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One server.

    Args:
        port: of ``host``.
        path: of its WebSocket, with the query.
        greets: whether a ``welcome`` comes first.
        channel: begins the names of the channels.
        pid: of its process, or None where that is not known.
        host: its name or address.
        tls: for ``wss``.
        headers: more lines of the handshake.
        publisher: the variables of a process of ``publisher``, if there is one for this target.
        name: of the target, as ``publisher`` takes it.
    """

    port: int
    path: str
    greets: bool
    channel: str
    pid: int | None
    host: str = HOST
    tls: ssl.SSLContext | None = None
    headers: tuple[str, ...] = ()
    publisher: dict[str, str] | None = None
    name: str = "site"

    @property
    def authority(self) -> str:
        """The ``Host`` header: without a port that goes without saying."""
        if self.port == (443 if self.tls else 80):
            return self.host
        return f"{self.host}:{self.port}"


class Client(RawConnection):
    """A connection whose messages are counted, or waited for by what they contain."""

    def __init__(self) -> None:
        super().__init__()
        self.on_message: Callable[[bytes], None] = lambda data: None
        self.channel: str | None = None
        """Where it is subscribed."""
        self._marker = b""
        self._awaited: asyncio.Future[bytes] | None = None

    def message_received(self, data: bytes) -> None:
        """Count it, or answer the heartbeat."""
        if data == HEARTBEAT:
            self.write_frame(TEXT, _ANSWER)
        elif self._awaited is None:
            self.on_message(data)
        elif self._awaited.done():
            pass
        elif self._marker in data:
            self._awaited.set_result(data)
        elif b'"error"' in data or b'"closing"' in data or b'"auth_required"' in data:
            self._awaited.set_exception(BenchmarkError(f"The server answered {data.decode()}"))

    def ended(self) -> None:
        """What is waited for will not come."""
        if self._awaited is not None and not self._awaited.done():
            code = self.closed.result()
            self._awaited.set_exception(
                BenchmarkError(f"The server closed a connection with {code}")
            )

    def expect(self, marker: bytes) -> asyncio.Future[bytes]:
        """The next message that contains ``marker``; what comes before it is not counted."""
        self._marker = marker
        self._awaited = awaited = asyncio.get_running_loop().create_future()
        awaited.add_done_callback(self._expected)
        if self.closed.done():
            self.ended()
        return awaited

    def _expected(self, awaited: asyncio.Future[bytes]) -> None:
        if self._awaited is awaited:
            self._awaited = None

    async def ask(self, message: dict[str, object], marker: bytes) -> bytes:
        """Send a message, and wait for one that contains ``marker``."""
        answer = self.expect(marker)
        self.write_frame(TEXT, json.dumps(message).encode())
        return await answer

    async def subscribe(self, channel: str) -> None:
        """Subscribe, and wait for the confirmation."""
        await self.ask({"type": "subscribe", "channel": channel}, b'"subscribed"')
        self.channel = channel

    async def unsubscribe(self) -> None:
        """Unsubscribe where it is subscribed."""
        if self.channel is not None:
            await self.ask({"type": "unsubscribe", "channel": self.channel}, b'"unsubscribed"')


async def _connect(target: Target, number: int) -> Client:
    loop = asyncio.get_running_loop()
    # On Linux all of 127.0.0.0/8 is the machine's own.
    block = number // _PER_ADDRESS if target.host == HOST else 0
    source = (f"127.0.0.{1 + block}", 0) if block else None
    try:
        _, client = await loop.create_connection(
            Client, target.host, target.port, local_addr=source, ssl=target.tls
        )
    except OSError as error:
        raise BenchmarkError(f"The server accepts no more connections: {error}") from error
    welcome = client.expect(b'"welcome"') if target.greets else None
    client.transport.write(handshake(target.authority, target.path, _SUBPROTOCOL, target.headers))
    status = await client.status
    if status != 101:
        client.transport.abort()
        raise BenchmarkError(
            f"The handshake at {target.path} was answered with HTTP {status or 'nothing'}; expected 101"
        )
    if welcome is not None:
        await welcome
    return client


@asynccontextmanager
async def connected(
    target: Target, count: int, *channels: str, first: int = 0
) -> AsyncIterator[list[Client]]:
    """Clients; client n is on channel n of ``channels``, in turn. They leave in order."""
    turn = asyncio.Semaphore(_AT_ONCE)
    clients: list[Client] = []

    async def one(number: int) -> None:
        async with turn:
            client = await _connect(target, first + number)
            clients.append(client)
            if channels:
                await client.subscribe(channels[number % len(channels)])

    tasks = [asyncio.create_task(one(number)) for number in range(count)]
    try:
        for task in tasks:
            async with asyncio.timeout(STEP_TIMEOUT_S):
                await task
        yield clients
    except TimeoutError:
        raise BenchmarkError(
            f"The server did not answer within {STEP_TIMEOUT_S:g} s;"
            f" {len(clients)} of {count} clients are connected"
        ) from None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _close(clients)


async def _close(clients: list[Client]) -> None:
    """Unsubscribe and leave: a server that is stopped next would leave groups in the channel layer."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STEP_TIMEOUT_S):
            await asyncio.gather(
                *(client.unsubscribe() for client in clients), return_exceptions=True
            )
    for client in clients:
        client.leave()
    if clients:
        await asyncio.wait([client.closed for client in clients], timeout=STEP_TIMEOUT_S)
    for client in clients:
        client.transport.abort()
    await asyncio.sleep(0)
