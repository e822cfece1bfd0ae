"""One attempt to connect: its socket, and the tasks that read and write it. On ``websockets``."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

from websockets.exceptions import ConnectionClosed, InvalidStatus

from .errors import HandshakeRefused

logger = logging.getLogger("channels_realtime.client")

FLUSH_S = 3.0
"""How long a normal close waits for what was sent before it."""

CLOSE_NORMAL = 1000
CLOSE_ABNORMAL = 1006
UNAUTHORIZED = 401
CLOSE_UNAUTHENTICATED = 4401


class Socket(Protocol):
    """An open WebSocket, as ``websockets.asyncio.client.ClientConnection`` is one."""

    @property
    def subprotocol(self) -> str | None: ...

    async def recv(self) -> str | bytes: ...

    async def send(self, message: str | bytes) -> None: ...

    async def close(self, code: int = 1000, reason: str = "") -> None: ...


Dial = Callable[[], Awaitable[Socket]]
"""Opens a socket, or raises."""


class Link:
    """One connection of a client, from its attempt to its end.

    Args:
        dial: opens the socket.
        received: takes each frame.
        lost: is told once of an end that ``drop`` did not ask for: code, reason, error, seconds to wait.
    """

    def __init__(
        self,
        dial: Dial,
        received: Callable[[str | bytes], None],
        lost: Callable[[int, str, Exception | None, float | None], None],
    ) -> None:
        self._dial = dial
        self._received = received
        self._lost = lost
        self._frames: deque[str | bytes] = deque()
        self._awake = asyncio.Event()
        self._dropped: int | None = None
        self._writing = False
        self.task = asyncio.create_task(self._run(), name="channels_realtime client connection")

    def send(self, frame: str | bytes) -> None:
        """Send a frame after those before it."""
        self._frames.append(frame)
        self._awake.set()

    def drop(self, code: int) -> None:
        """Close; ``lost`` is not told. What was sent before a normal close still goes out, if it can."""
        self._dropped = code
        self._awake.set()
        if code != CLOSE_NORMAL or not self._writing:
            self.task.cancel()
        else:
            asyncio.get_running_loop().call_later(FLUSH_S, self._hurry)

    def _hurry(self) -> None:
        if self._writing:
            self.task.cancel()

    async def _run(self) -> None:
        try:
            socket = await self._dial()
        except Exception as failure:
            self._report(*_read_failure(failure))
            return
        reader = asyncio.create_task(self._read(socket))
        reader.add_done_callback(lambda _: self._awake.set())
        error: Exception | None = None
        self._writing = True
        try:
            error = await self._write(socket, reader)
        finally:
            self._writing = False
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            await socket.close(CLOSE_NORMAL if self._dropped is None else self._dropped)
        self._report(*_read_end(error))

    async def _write(self, socket: Socket, reader: asyncio.Task[Exception]) -> Exception | None:
        """Send what there is to send; returns why the connection ended, or None where it is dropped."""
        while True:
            self._awake.clear()
            try:
                while self._frames:
                    await socket.send(self._frames.popleft())
            except ConnectionClosed:
                await asyncio.wait([reader])  # what came before the end is read first
            if self._dropped is not None:
                return None
            if reader.done():
                failure = reader.exception()
                if isinstance(failure, Exception):
                    logger.error("The client failed on a frame.", exc_info=failure)
                    return failure
                return reader.result()
            await self._awake.wait()

    async def _read(self, socket: Socket) -> Exception:
        while True:
            try:
                frame = await socket.recv()
            except ConnectionClosed as error:
                return error
            if self._dropped is None:
                self._received(frame)

    def _report(
        self, code: int, reason: str, error: Exception | None, retry_after: float | None
    ) -> None:
        if self._dropped is None:
            self._dropped = code
            self._lost(code, reason, error, retry_after)


Ending = tuple[int, str, Exception | None, float | None]


def _read_end(error: Exception | None) -> Ending:
    if isinstance(error, ConnectionClosed) and error.rcvd is not None:
        return error.rcvd.code, error.rcvd.reason, None, None
    return CLOSE_ABNORMAL, "the connection broke", error, None


def _read_failure(error: Exception) -> Ending:
    """Why no connection was made."""
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        after = error.response.headers.get("Retry-After", "")
        retry_after = float(after) if after.isascii() and after.isdigit() else None
        refused = HandshakeRefused(status)
        refused.__cause__ = error
        code = CLOSE_UNAUTHENTICATED if status == UNAUTHORIZED else CLOSE_ABNORMAL
        return code, refused.reason, refused, retry_after
    return CLOSE_ABNORMAL, f"no connection: {type(error).__name__}", error, None
