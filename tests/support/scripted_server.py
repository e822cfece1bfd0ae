"""A server for the Python client that says what the test tells it to: no sockets, no time of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from websockets.exceptions import ConnectionClosedError
from websockets.frames import Close

PATIENCE_S = 300.0
"""Of virtual time."""

Message = dict[str, Any]

WELCOME: Message = {
    "session_id": "s1",
    "version": 1,
    "user": None,
    "expires_at": None,
    "heartbeat": {"interval": 25.0, "timeout": 10.0},
    "limits": {"max_frame": 1_000},
    "capabilities": [],
    "channels": {},
    "connection_id": "c1",
}


class ScriptedSocket:
    """One connection; the first half is for the client, the rest for the test."""

    def __init__(self, subprotocol: str, headers: Mapping[str, str], url: str) -> None:
        self.subprotocol = subprotocol
        self.headers = headers
        self.url = url
        self.close_code: int | None = None
        self._to_client: asyncio.Queue[str | Exception] = asyncio.Queue()
        self._from_client: asyncio.Queue[Message] = asyncio.Queue()

    async def recv(self) -> str:
        item = await self._to_client.get()
        if isinstance(item, Exception):
            self._to_client.put_nowait(item)
            raise item
        return item

    async def send(self, message: str) -> None:
        self._from_client.put_nowait(json.loads(message))

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self.close_code = code

    def say(self, kind: str, payload: Any = None, **fields: Any) -> None:
        """Send a message."""
        self._to_client.put_nowait(json.dumps({"type": kind, "payload": payload, **fields}))

    def welcome(self, **changes: Any) -> None:
        self.say("welcome", {**WELCOME, **changes})

    def publish(self, channel: str, offset: int, **fields: Any) -> None:
        """A message whose payload is its offset, in the epoch ``e``."""
        self.say("message", offset, channel=channel, epoch="e", offset=offset, **fields)

    def reply(self, request: Message, kind: str, payload: Any = None, **fields: Any) -> None:
        self.say(kind, payload, id=request["id"], **fields)

    def refuse(self, request: Message, code: str, reason: str = "no", **more: Any) -> None:
        self.reply(request, "error", {"code": code, "reason": reason, **more})

    def end(self, code: int, reason: str = "") -> None:
        """Close; the client hears of it after what was said before."""
        self._to_client.put_nowait(ConnectionClosedError(Close(code, reason), None))

    def breaks(self) -> None:
        """Lose the connection without a close."""
        self._to_client.put_nowait(ConnectionClosedError(None, None))

    async def expect(self, kind: str) -> Message:
        """The next message of the client, which must be of this type."""
        async with asyncio.timeout(PATIENCE_S):
            message = await self._from_client.get()
        assert message["type"] == kind, f"expected {kind!r}, got {message}"
        return message

    @property
    def quiet(self) -> bool:
        """Whether the client has sent nothing that was not expected."""
        return self._from_client.empty()


class ScriptedServer:
    """An ``opener`` for the client: each attempt becomes a socket, or one of ``failures``."""

    def __init__(self) -> None:
        self.failures: list[Exception] = []
        self.attempts: list[float] = []
        self._sockets: asyncio.Queue[ScriptedSocket] = asyncio.Queue()

    async def __call__(
        self, url: str, *, subprotocols: list[str], additional_headers: Mapping[str, str], **_: Any
    ) -> ScriptedSocket:
        self.attempts.append(asyncio.get_running_loop().time())
        if self.failures:
            raise self.failures.pop(0)
        socket = ScriptedSocket(subprotocols[0], additional_headers, url)
        self._sockets.put_nowait(socket)
        return socket

    async def accept(self) -> ScriptedSocket:
        """The next connection."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._sockets.get()

    async def welcomed(self, **changes: Any) -> ScriptedSocket:
        """The next connection, welcomed."""
        socket = await self.accept()
        socket.welcome(**changes)
        return socket
