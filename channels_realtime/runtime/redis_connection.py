"""A connection of redis-py that is written and read in whole batches.

redis-py opens it: address, TLS, Sentinel, password, database and protocol are as the layer's pool has them. From
then on its bytes are sent and parsed here. redis-py's own way costs about 60 us a command and 40 us a message
of a subscription, for retries, time-outs, locks and log lines of each; this costs about 3 us.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import contextvars
import hashlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from .batches import BatchSender

OPEN_TIMEOUT_S = 5.0
"""How long opening a connection may take, whatever the layer's own time-outs."""


BATCH = 500
_BATCH_BYTES = 512 * 1024
"""Commands and bytes that are written at once."""


class ResponseError(Exception):
    """What a server answered instead of doing it; called as redis-py calls it, for errors and logs."""


class Script:
    """A Lua script, run by its digest."""

    __slots__ = ("digest", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class _Incomplete(Exception):
    """The rest of an answer has not arrived yet."""


def pack(*arguments: bytes | str | int | float) -> bytes:
    """A command as a server reads it."""
    packed = []
    for argument in arguments:
        data = argument if isinstance(argument, bytes) else str(argument).encode()
        packed.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"*%d\r\n%b" % (len(arguments), b"".join(packed))


def parse(data: bytes, at: int) -> tuple[Any, int]:
    """An answer that begins at a place of the data, in RESP 2 or 3, and where it ends.

    Arrays are lists, and a push, which answers nothing, is a tuple. Errors are returned.

    Raises:
        _Incomplete: it goes on beyond the data.
    """
    line_end = data.find(b"\r\n", at)
    if line_end < 0:
        raise _Incomplete
    kind, text, end = data[at], data[at + 1 : line_end], line_end + 2
    if kind in b"$=!":
        size = int(text)
        if size < 0:
            return None, end
        after = end + size
        if len(data) < after + 2:
            raise _Incomplete
        found = data[end:after]
        return ResponseError(found.decode(errors="replace")) if kind == 33 else found, after + 2
    if kind in b"*>~%|":
        items = []
        for _ in range(int(text) * (2 if kind in b"%|" else 1)):
            item, end = parse(data, end)
            items.append(item)
        return tuple(items) if kind in b">|" else items, end
    if kind == 58:
        return int(text), end
    if kind == 45:
        return ResponseError(text.decode(errors="replace")), end
    return (None if kind == 95 else text), end


class RedisConnection(asyncio.Protocol):
    """One open connection, from ``take_over`` until ``lost`` is called.

    Args:
        received: gets each answer; never waits, never raises.
        lost: is called once, when the connection has ended.
    """

    def __init__(self, received: Callable[[Any], None], lost: Callable[[], None]) -> None:
        self._received = received
        self._lost = lost
        self._rest = b""
        self._paused = False
        self._transport: asyncio.Transport | None = None
        self._streams: Any = None

    def take_over(self, connection: Any) -> None:
        """Read and write a connection of redis-py, which is open and has nothing to read.

        Raises:
            ConnectionError: it has ended meanwhile.
        """
        transport = connection._writer.transport
        self._streams = transport.get_protocol()
        self._transport = transport
        transport.set_protocol(self)
        if transport.is_closing():
            raise ConnectionError("the connection was closed")

    def write(self, data: bytes) -> None:
        """Send commands."""
        if self._transport is not None:
            self._transport.write(data)

    def abort(self) -> None:
        """End it at once; ``lost`` is called a little later."""
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        """Read nothing until ``resume``."""
        if self._transport is not None and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._transport is not None and self._paused:
            self._paused = False
            self._transport.resume_reading()

    # -- of asyncio, which calls it ------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        at = 0
        try:
            while at < len(data):
                answer, at = parse(data, at)
                self._received(answer)
        except _Incomplete:
            pass
        except ValueError:  # not RESP
            self.abort()
        self._rest = data[at:]

    def eof_received(self) -> None:
        """The server has closed it, and so does asyncio then."""
        self._streams.eof_received()

    def pause_writing(self) -> None:
        self._streams.pause_writing()

    def resume_writing(self) -> None:
        self._streams.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._streams.connection_lost(error)  # redis-py may wait for the end
        self._lost()


def can_be_taken_over(pool: Any) -> bool:
    """Whether the connections of a pool of redis-py look as they are known here."""
    get = getattr(pool, "get_connection", None)
    if get is None:
        return False
    # Some versions of redis-py want to know what for.
    name = inspect.signature(get).parameters.get("command_name")
    if name is not None and name.default is name.empty:
        return False
    return hasattr(pool.make_connection(), "_writer")


class PooledConnection:
    """One connection out of the pool of a client, opened again after its end.

    Args:
        redis: gives the client, which may be another one later: its old pool is closed then.
    """

    def __init__(self, redis: Callable[[], Any]) -> None:
        self._redis = redis
        self._used: Any = None
        self._client: Any = None
        self._connection: RedisConnection | None = None

    async def _open(self) -> None:
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            redis = self._redis()
            if self._used is redis:
                await self._client.disconnect(nowait=True)
                await self._client.connect()
            else:
                self._client = await redis.connection_pool.get_connection()
                self._used = redis
            connection = RedisConnection(self._received, self._lost)
            connection.take_over(self._client)
            self._connection = connection

    async def close(self) -> None:
        """End the connection and give it back to its pool."""
        if self._connection is not None:
            self._connection.abort()
        client, used, self._client, self._used = self._client, self._used, None, None
        if client is not None:
            await client.disconnect(nowait=True)
            with contextlib.suppress(KeyError):  # the pool was closed meanwhile
                await used.connection_pool.release(client)

    def _received(self, answer: Any) -> None:
        raise NotImplementedError

    def _lost(self) -> None:
        raise NotImplementedError


class CommandSender(PooledConnection, BatchSender):
    """Sends packed commands over one connection, in batches.

    ``send`` raises ConnectionError where the connection could not be opened or broke, in which case the command
    may have been done, and ResponseError where the server refused.
    """

    def __init__(self, redis: Callable[[], Any]) -> None:
        PooledConnection.__init__(self, redis)
        BatchSender.__init__(self, BATCH, _BATCH_BYTES)
        self._opening: asyncio.Task[None] | None = None

    async def run(
        self, script: Script, keys: Sequence[bytes | str], args: Sequence[Any], timeout: float
    ) -> Any:
        """Run a script; one that the server does not know goes again, as it is."""
        number = len(keys)
        try:
            return await self.send(pack(b"EVALSHA", script.digest, number, *keys, *args), timeout)
        except ResponseError as error:
            if not str(error).startswith("NOSCRIPT"):
                raise
        return await self.send(pack(b"EVAL", script.text, number, *keys, *args), timeout)

    def _is_ready(self) -> bool:
        if self._connection is None and self._opening is None:
            # It outlives its caller, so it has a context of its own.
            self._opening = self._loop.create_task(
                self._open_and_go_on(), context=contextvars.Context()
            )
        return self._connection is not None

    async def _open_and_go_on(self) -> None:
        try:
            await self._open()
        except Exception as error:
            failed, self._waiting = self._waiting, collections.deque()
            for sending in failed:
                # Each its own, by the name that errors and logs know.
                kind = TimeoutError if isinstance(error, TimeoutError) else ConnectionError
                sending.fail(kind(str(error)))
        finally:
            self._opening = None
        self._go_on()

    def _transmit(self) -> None:
        assert self._connection is not None
        self._connection.write(b"".join([sending.message for sending in self._in_flight]))

    def _hangs(self) -> None:
        if self._connection is not None:
            self._connection.abort()

    def _received(self, answer: Any) -> None:
        if isinstance(answer, tuple) or not self._in_flight:  # a push
            return
        sending = self._in_flight.popleft()
        if isinstance(answer, ResponseError):
            sending.fail(answer)
            if "READONLY" in str(answer):  # a master that became a replica: ask who is the master
                self._hangs()
        else:
            sending.done(answer)
        if not self._in_flight:
            self._go_on()

    def _lost(self) -> None:
        self._connection = None
        failed, self._in_flight = self._in_flight, collections.deque()
        for sending in failed:
            sending.fail(ConnectionError("the connection was lost"))
        self._go_on()
