"""A TCP port before another, which can refuse, break or hang: outages of a database, a Redis or a network.

A ``Proxy`` also treats HTTP as some proxies do. A ``Line`` is a forwarder for tests that are not asynchronous.
"""

import asyncio
import random
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

from tests.support.servers import free_port

Link = tuple[asyncio.StreamWriter, asyncio.StreamWriter]
"""The writers to the client and to the target."""
Filter = Callable[[bytes], bytes | None]
"""What becomes of data on its way; None ends the connection."""


class Forwarder:
    """Forwards connections to ``host`` and ``port``, on the test's event loop.

    As a context manager it runs for the block; ``start`` and ``refuse`` begin and end outages.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.port = free_port()
        self._server: asyncio.Server | None = None
        self._links: set[Link] = set()
        self._open = asyncio.Event()
        self._open.set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.refuse()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def refuse(self) -> None:
        """Break every connection, and refuse new ones."""
        assert self._server is not None
        self._server.close()
        for link in tuple(self._links):
            self._break(link)

    def cut_one(self, chance: random.Random) -> bool:
        """Break one connection in the middle of whatever it carries; False where there is none."""
        if not self._links:
            return False
        self._break(chance.choice(tuple(self._links)))
        return True

    def _break(self, link: Link) -> None:
        for writer in link:
            writer.transport.abort()

    def hang(self) -> None:
        """Keep every connection, take new ones, and let nothing through."""
        self._open.clear()

    def go_on(self) -> None:
        self._open.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        link = (writer, far_writer)
        self._links.add(link)
        up, down = self._filters(link)
        try:
            await asyncio.gather(
                self._pump(reader, far_writer, up), self._pump(far_reader, writer, down)
            )
        finally:
            self._links.discard(link)

    def _filters(self, link: Link) -> tuple[Filter, Filter]:
        """For one connection: to the target, and back."""
        return bytes, bytes

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passed: Filter
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await self._open.wait()
                if writer.is_closing() or (data := passed(data)) is None:
                    break
                writer.write(data)
                await writer.drain()
        writer.close()


class Proxy(Forwarder):
    """Refuses WebSockets (``blocks_websockets``), and holds the body of event streams back (``buffers_streams``)."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self.blocks_websockets = False
        self.buffers_streams = False
        self.refused = 0
        self.held_back = 0

    def _filters(self, link: Link) -> tuple[Filter, Filter]:
        holding = False

        def up(data: bytes) -> bytes | None:
            nonlocal holding
            head = data.partition(b"\r\n\r\n")[0].lower()
            if self.blocks_websockets and b"\r\nupgrade: websocket" in head:
                self.refused += 1
                link[0].write(
                    b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
                return None
            if self.buffers_streams and b"\r\naccept: text/event-stream" in head:
                self.held_back += 1
                holding = True
            return data

        def down(data: bytes) -> bytes:
            if not holding or not data.startswith(b"HTTP/"):
                return b"" if holding else data
            head, end, _ = data.partition(b"\r\n\r\n")
            return head + end

        return up, down


class Line:
    """A forwarder on an event loop in a thread: the way of one browser to the server."""

    def __init__(self, loop: asyncio.AbstractEventLoop, proxy: Proxy) -> None:
        self._loop = loop
        self.proxy = proxy

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.proxy.port}"

    def cut(self) -> None:
        self._run(self.proxy.refuse())

    def mend(self) -> None:
        self._run(self.proxy.start())

    def end(self) -> None:
        """Cut it, and wait until nothing of it runs."""
        self.cut()
        self._run(self._others())

    @staticmethod
    async def _others() -> None:
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)


@contextmanager
def line_to(port: int) -> Iterator[Line]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="line")
    thread.start()
    line = Line(loop, Proxy("127.0.0.1", port))
    try:
        line.mend()
        yield line
    finally:
        line.end()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
