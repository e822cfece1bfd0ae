"""A client that makes one HTTP request to an ASGI application without a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

TIMEOUT_S = 20.0


class AsgiRequest:
    """One request and its answer; as an async context manager it goes away with the block.

    Args:
        application: an ASGI application.
        path: with the query string.
        method: of HTTP.
        headers: beside ``Host``.
        body: sent as JSON unless it is bytes.
    """

    def __init__(
        self,
        application: Any,
        path: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: Any = b"",
    ) -> None:
        path, _, query = path.partition("?")
        sent = {"host": "testserver", **(headers or {})}
        self._data = body if isinstance(body, bytes) else json.dumps(body).encode()
        if self._data:
            sent["content-length"] = str(len(self._data))
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(k.lower().encode(), v.encode()) for k, v in sent.items()],
            "client": ("127.0.0.1", 50_000),
            "server": ("testserver", 80),
        }
        self._application = application
        self._received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._over = False
        self.status = 0
        self.headers: dict[str, str] = {}

    async def __aenter__(self) -> AsgiRequest:
        self._received.put_nowait({"type": "http.request", "body": self._data})
        self._task = asyncio.create_task(
            self._application(self._scope, self._received.get, self._sent.put)
        )
        start = await self._next()
        self.status = start["status"]
        self.headers = {k.decode().lower(): v.decode() for k, v in start["headers"]}
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._received.put_nowait({"type": "http.disconnect"})
        await asyncio.wait_for(self._task, TIMEOUT_S)

    async def _next(self) -> dict[str, Any]:
        getter = asyncio.ensure_future(self._sent.get())
        await asyncio.wait(
            [getter, self._task], timeout=TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED
        )
        if getter.done():
            return getter.result()
        getter.cancel()
        if self._task.done():
            self._task.result()
        raise AssertionError("nothing was sent")

    async def chunk(self) -> str:
        """The next piece of the body that is not empty; empty at the end."""
        while not self._over:
            event = await self._next()
            self._over = not event.get("more_body", False)
            body: bytes = event.get("body", b"")
            if body:
                return body.decode()
        return ""

    async def until(self, text: str) -> str:
        """The body up to the piece that has this text."""
        found = ""
        while text not in found:
            chunk = await self.chunk()
            assert chunk, f"the body has ended: {found}"
            found += chunk
        return found

    async def rest(self) -> str:
        """The body to its end."""
        found = ""
        while chunk := await self.chunk():
            found += chunk
        return found

    async def json(self) -> Any:
        """The whole body, decoded."""
        return json.loads(await self.rest())
