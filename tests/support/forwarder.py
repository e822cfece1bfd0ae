"""A TCP port before another, which can refuse, break or hang: outages of a database or a Redis."""

import asyncio
import random
from contextlib import suppress
from typing import Self

from tests.support.servers import free_port


class Forwarder:
    """Forwards connections to ``host`` and ``port``, on the test's event loop.

    As a context manager it runs for the block; ``start`` and ``refuse`` begin and end outages.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.port = free_port()
        self._server: asyncio.Server | None = None
        self._links: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
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

    def _break(self, link: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
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
        try:
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        finally:
            self._links.discard(link)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await self._open.wait()
                if writer.is_closing():
                    return
                writer.write(data)
                await writer.drain()
        writer.close()
