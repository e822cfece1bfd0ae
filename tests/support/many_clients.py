"""Many WebSocket clients in one event loop, each a bare protocol: they can stop reading, vanish or stay silent.

For tests and benchmarks of how a server treats clients in numbers; ``clients`` has the one for a conversation.
"""

import asyncio
import json
import os
import socket
import struct
import time
from collections.abc import Callable, Iterable
from typing import Any

from channels_realtime.benchmark import connection, processes
from channels_realtime.benchmark.connection import TEXT, RawConnection
from tests.support.clients import JSON, TIMEOUT_S
from tests.support.servers import HOST

Message = dict[str, Any]


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    found = processes.resident(pid)
    assert found is not None, "this system does not tell"
    return found


def processor_seconds(pid: int) -> float:
    """Processor time that all the threads of a process have used."""
    found = processes.processor_seconds(pid)
    assert found is not None, "this system does not tell"
    return found


class RawClient(RawConnection):
    """One client; make it with ``join``.

    Args:
        on_frame: called with each text frame's bytes instead of keeping it as a message.
        answers: whether it answers a close, the server's pings and the protocol's.
    """

    def __init__(
        self, on_frame: Callable[["RawClient", bytes], None] | None = None, *, answers: bool = True
    ) -> None:
        super().__init__(answers=answers)
        self.on_frame = on_frame
        self.messages: list[Message] = []
        self.frames = 0
        self._lost = False
        self._news = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        super().connection_lost(exc)

    def message_received(self, data: bytes) -> None:
        self.frames += 1
        if self.on_frame is not None and data != b'{"type":"ping"}':
            self.on_frame(self, data)
            return
        message = json.loads(data)
        if message.get("type") == "ping":
            if self.answers:
                self.say({"type": "pong"})
            return
        self.messages.append(message)
        self._news.set()

    def ended(self) -> None:
        self._news.set()

    # -- what a client does ------------------------------------------------------------------------

    def say(self, message: Any) -> None:
        """Send a message, or a batch."""
        self.write_frame(TEXT, json.dumps(message).encode())

    def stop_reading(self) -> None:
        """Stop reading from the socket."""
        self.transport.pause_reading()

    def read_on(self) -> None:
        self.transport.resume_reading()

    def reset(self) -> None:
        """End the TCP connection with RST."""
        found = self.transport.get_extra_info("socket")
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.abort()

    def abort(self) -> None:
        """End the TCP connection, whatever state it is in."""
        if not self._lost:  # asyncio's transport fails where it is closed already
            self.transport.abort()

    async def expect(self, kind: str, timeout: float = TIMEOUT_S) -> Message:
        """The first message of this type, kept or to come.

        Raises:
            ConnectionError: the connection ended first.
            TimeoutError: there was none in time.
        """
        async with asyncio.timeout(timeout):
            while True:
                for message in self.messages:
                    if message["type"] == kind:
                        return message
                if self.closed.done():
                    raise ConnectionError(f"closed with {self.closed.result()}: {self.messages}")
                self._news.clear()
                await self._news.wait()

    async def subscribe(self, channel: str, **fields: Any) -> None:
        """Subscribe, and wait until that is done."""
        self.say({"type": "subscribe", "channel": channel, **fields})
        await self.expect("subscribed")


def handshake(port: int, path: str, subprotocol: str | None, headers: Iterable[str] = ()) -> bytes:
    """The bytes of an opening handshake."""
    return connection.handshake(f"{HOST}:{port}", path, subprotocol, headers)


async def join(
    port: int,
    *,
    path: str = "/ws/",
    subprotocol: str | None = JSON,
    headers: Iterable[str] = (),
    on_frame: Callable[[RawClient, bytes], None] | None = None,
    answers: bool = True,
    receive_buffer: int | None = None,
    host: str = HOST,
    welcomed: bool = True,
) -> RawClient:
    """Connect one client.

    Args:
        receive_buffer: bytes that its kernel keeps, so that one that does not read is soon noticed.
        host: the address to come from, of 127.0.0.0/8.
        welcomed: wait for the ``welcome``.

    Raises:
        ConnectionError: the handshake was refused.
    """
    loop = asyncio.get_running_loop()
    found = socket.socket()
    found.setblocking(False)
    if receive_buffer is not None:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    async with asyncio.timeout(TIMEOUT_S):
        try:
            found.bind((host, 0))
            await loop.sock_connect(found, (HOST, port))
        except BaseException:
            found.close()
            raise
        _, member = await loop.create_connection(lambda: RawClient(answers=answers), sock=found)
        member.transport.write(handshake(port, path, subprotocol, headers))
        status = await member.status
        if status != 101:
            raise ConnectionError(f"the handshake was answered {status}")
        if welcomed:
            await member.expect("welcome")
    member.on_frame = on_frame
    return member


async def join_many(port: int, count: int, *, at_once: int = 50, **options: Any) -> list[RawClient]:
    """Connect clients, some at a time."""
    turn = asyncio.Semaphore(at_once)

    async def one() -> RawClient:
        async with turn:
            return await join(port, **options)

    return list(await asyncio.gather(*(one() for _ in range(count))))


def stamped(size: int) -> Message:
    """A payload of ``size`` bytes or so that says when it was made."""
    return {"at": time.monotonic(), "pad": "x" * max(0, size - 40)}


def age(frame: bytes) -> float | None:
    """Seconds since a ``stamped`` payload was made, or None for another frame."""
    at = frame.find(b'"at":')
    if at < 0:
        return None
    end = at + 5
    while frame[end : end + 1] not in (b",", b"}", b""):
        end += 1
    return time.monotonic() - float(frame[at + 5 : end])


def percentile(values: list[float], share: float) -> float:
    """The value below which ``share`` of all are."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def descriptors(pid: int) -> int:
    """Open files of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


async def until(condition: Callable[[], Any], what: str, timeout: float = TIMEOUT_S) -> Any:
    """Ask, off the loop, until the answer is true, and return it."""
    deadline = time.monotonic() + timeout
    while not (answer := await asyncio.to_thread(condition)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:g} s: {what} (last answer: {answer!r})")
        await asyncio.sleep(0.05)
    return answer


# -- ways to come and go ---------------------------------------------------------------------------


async def visit_and_close(port: int, channel: str, **options: Any) -> None:
    """Connect, subscribe and close as a browser does."""
    member = await join(port, **options)
    await member.subscribe(channel)
    member.leave()
    async with asyncio.timeout(TIMEOUT_S):
        await member.closed
    member.transport.close()


async def visit_and_reset(port: int, channel: str, **options: Any) -> None:
    """Connect, subscribe, and end with RST while a request is being served."""
    member = await join(port, **options)
    await member.subscribe(channel)
    member.say({"type": "subscribe", "channel": channel + "-other"})
    member.reset()


async def visit_and_stop_answering(port: int, channel: str, **options: Any) -> RawClient:
    """Connect, subscribe, and answer nothing any more, as behind a cable that was pulled."""
    member = await join(port, **options)
    await member.subscribe(channel)
    member.answers = False
    return member


async def reset_in_the_handshake(port: int, number: int, **options: Any) -> None:
    """End with RST before the request is complete, or before its answer was read."""
    loop = asyncio.get_running_loop()
    _, member = await loop.create_connection(RawClient, HOST, port)
    request = handshake(port, "/ws/", JSON, options.get("headers", ()))
    member.transport.write(request if number % 2 else request[: number % len(request) or 1])
    member.reset()


async def in_turn(count: int, at_once: int, visit: Callable[[int], Any]) -> list[Any]:
    """Run ``visit(n)`` for each number, some at a time; returns what they returned."""
    turn = asyncio.Semaphore(at_once)

    async def one(number: int) -> Any:
        async with turn:
            return await visit(number)

    return list(await asyncio.gather(*(one(number) for number in range(count))))
