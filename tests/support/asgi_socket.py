"""A WebSocket client that talks to an ASGI application without a server."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

TIMEOUT_S = 20.0


class AsgiSocket:
    """One handshake and what follows it.

    Use as an async context manager; ``scope`` entries override the defaults of a same-origin browser.
    """

    def __init__(self, application: Any, path: str = "/ws/", **scope: Any) -> None:
        self.application = application
        headers = [(b"host", b"testserver"), *scope.pop("headers", [])]
        if not any(name == b"origin" for name, _ in headers) and scope.pop("with_origin", True):
            headers.append((b"origin", b"http://testserver"))
        self.scope: dict[str, Any] = {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 50000),
            "server": ("testserver", 80),
            "subprotocols": ["realtime.v1.json"],
            "extensions": {},
            **scope,
        }
        self.to_application: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.from_application: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.accepted: dict[str, Any] | None = None
        self.task: asyncio.Task[None] | None = None
        self.gate: asyncio.Event | None = None
        """Set it to an event that is not set, and the server's ``send`` suspends."""

    async def __aenter__(self) -> AsgiSocket:
        await self.connect()
        return self

    async def __aexit__(self, *exception: Any) -> None:
        await self.disconnect()

    async def connect(self) -> dict[str, Any]:
        """Make the handshake; returns the application's answer."""
        self.task = asyncio.create_task(
            self.application(self.scope, self.to_application.get, self._send)
        )
        self.to_application.put_nowait({"type": "websocket.connect"})
        answer = await self.event()
        if answer["type"] == "websocket.accept":
            self.accepted = answer
        return answer

    async def _send(self, event: dict[str, Any]) -> None:
        if self.gate is not None:
            await self.gate.wait()
        self.from_application.put_nowait(event)

    async def event(self) -> dict[str, Any]:
        """The next ASGI event; fails when the application does."""
        assert self.task is not None
        getter = asyncio.ensure_future(self.from_application.get())
        done, _ = await asyncio.wait(
            [getter, self.task], timeout=TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED
        )
        if getter in done:
            return getter.result()
        getter.cancel()
        if self.task in done:
            if self.from_application.qsize():
                return self.from_application.get_nowait()
            self.task.result()
            raise AssertionError("the application has ended")
        raise AssertionError(f"nothing was sent within {TIMEOUT_S} s")

    async def read(self) -> Any:
        """The next frame, decoded; a close event as it is."""
        event = await self.event()
        if event["type"] != "websocket.send":
            return event
        if "bytes" in event:
            return msgspec.msgpack.decode(event["bytes"])
        return msgspec.json.decode(event["text"])

    async def expect(self, kind: str) -> dict[str, Any]:
        """The next message, which must be of this type."""
        message = await self.read()
        assert message["type"] == kind, message
        assert isinstance(message, dict)
        return message

    def send(self, message: Any) -> None:
        """Send a message as JSON text."""
        self.send_text(msgspec.json.encode(message).decode())

    def send_text(self, text: str) -> None:
        """Send a text frame."""
        self.to_application.put_nowait({"type": "websocket.receive", "text": text})

    def send_bytes(self, data: bytes) -> None:
        """Send a binary frame."""
        self.to_application.put_nowait({"type": "websocket.receive", "bytes": data})

    async def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a message and return the next one that comes."""
        self.send(message)
        reply = await self.read()
        assert isinstance(reply, dict)
        return reply

    async def quiet(self) -> None:
        """Nothing has been sent: a ping's pong is the very next message."""
        self.send({"type": "ping", "id": "quiet"})
        assert await self.read() == {"type": "pong", "id": "quiet"}

    async def disconnect(self, code: int = 1001) -> None:
        """Go away, and wait until the application has ended."""
        assert self.task is not None
        self.to_application.put_nowait({"type": "websocket.disconnect", "code": code})
        await asyncio.wait_for(self.task, TIMEOUT_S)
