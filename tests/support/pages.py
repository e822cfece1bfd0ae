"""A WebSocket client for asynchronous tests: it reads all the time and notes when each message came."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.clients import JSON
from tests.support.servers import Server

TIMEOUT_S = 20.0
"""How long anything may take; a machine under load is slow and still right."""

Message = dict[str, Any]


class Page:
    """One connection, read all the time; it notes when each message came.

    Args:
        connection: open.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.messages: list[Message] = []
        self.times: list[float] = []
        self.closed_at: float | None = None
        self.close_code: int | None = None
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for frame in self.connection:
                message = json.loads(frame)
                now = time.time()
                if message["type"] == "ping":
                    await self.connection.send('{"type": "pong"}')
                    continue
                self.messages.append(message)
                self.times.append(now)
                self._changed.set()
        except ConnectionClosed:
            pass
        finally:
            self.closed_at = time.time()
            self.close_code = self.connection.close_code
            self._changed.set()

    async def send(self, **message: Any) -> None:
        await self.connection.send(json.dumps(message))

    async def until(
        self,
        condition: Callable[[Message], Any],
        what: str,
        timeout: float = TIMEOUT_S,
        start: int = 0,
    ) -> Message:
        """The first message, from number ``start`` on, for which the condition holds."""
        seen = start
        try:
            async with asyncio.timeout(timeout):
                while True:
                    self._changed.clear()
                    for message in self.messages[seen:]:
                        if condition(message):
                            return message
                    seen = len(self.messages)
                    if self.closed_at is not None:
                        raise AssertionError(
                            f"closed with {self.close_code} before {what}: {self.messages[-3:]}"
                        )
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(
                f"not within {timeout:g} s: {what}; last: {self.messages[-3:]}"
            ) from None

    async def first(self) -> str:
        """The type of the first message; empty where it was closed without one."""
        async with asyncio.timeout(TIMEOUT_S):
            while not self.messages and self.closed_at is None:
                self._changed.clear()
                await self._changed.wait()
        return self.messages[0]["type"] if self.messages else ""

    async def of_type(self, kind: str, timeout: float = TIMEOUT_S) -> Message:
        return await self.until(lambda message: message["type"] == kind, kind, timeout)

    async def closed(self, timeout: float = TIMEOUT_S) -> int:
        """The close code, once it is closed."""
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(self._task)
        except TimeoutError:
            raise TimeoutError(
                f"still open after {timeout:g} s; last: {self.messages[-3:]}"
            ) from None
        assert self.close_code is not None
        return self.close_code

    async def round_trip(self) -> None:
        """Raises unless the connection is served."""
        mark = len(self.messages)
        await self.send(type="ping", id=f"r{mark}")
        await self.until(lambda message: message.get("id") == f"r{mark}", "a pong", start=mark)

    async def subscribe(self, channel: str) -> None:
        mark = len(self.messages)
        await self.send(type="subscribe", channel=channel, id=channel)
        reply = await self.until(
            lambda m: m.get("id") == channel, f"a reply for {channel}", start=mark
        )
        assert reply["type"] == "subscribed", reply

    def payloads(self, channel: str) -> list[Any]:
        return [
            m["payload"]
            for m in self.messages
            if m["type"] == "message" and m["channel"] == channel
        ]

    async def end(self) -> None:
        await self.connection.close()
        with suppress(Exception):
            await self._task


async def open_page(
    server: Server,
    *,
    cookie: str | None = None,
    token: str | None = None,
    query: str = "",
    first: str = "welcome",
) -> Page:
    """A connection, after its first message: ``welcome``, ``auth_required``, or any for ''."""
    headers = []
    if cookie is not None:
        headers.append(("Cookie", cookie))
    if token is not None:
        headers.append(("Authorization", f"Bearer {token}"))
    connection = await connect(
        server.websocket_url(f"/ws/?{query}"),
        subprotocols=[JSON],  # type: ignore[list-item]
        additional_headers=headers,
        proxy=None,
        open_timeout=TIMEOUT_S,
        close_timeout=1.0,
        ping_interval=None,
        compression=None,
        max_queue=None,
    )
    page = Page(connection)
    if first:
        await page.of_type(first)
    return page


@asynccontextmanager
async def pages() -> AsyncIterator[Callable[..., Any]]:
    """``open_page``; its connections end with the block."""
    opened: list[Page] = []

    async def open_one(*args: Any, **kwargs: Any) -> Page:
        page = await open_page(*args, **kwargs)
        opened.append(page)
        return page

    try:
        yield open_one
    finally:
        await asyncio.gather(*(page.end() for page in opened), return_exceptions=True)


async def wait_until(
    condition: Callable[[], Any], what: str, timeout: float = TIMEOUT_S, every: float = 0.05
) -> Any:
    """Ask (a coroutine function) until the answer is true, and return it."""
    deadline = time.monotonic() + timeout
    while not (answer := await condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:g} s: {what} (last answer: {answer!r})")
        await asyncio.sleep(every)
    return answer
