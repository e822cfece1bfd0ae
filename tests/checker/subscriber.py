"""A client that subscribes, is cut off, comes back, and writes down all that it sees."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from typing import Any

from tests.checker.record import Cursor, Received, Record, Started
from tests.support.clients import JSON, TIMEOUT_S
from tests.support.many_clients import RawClient, handshake
from tests.support.servers import HOST

Message = dict[str, Any]


def cursor_of(fields: Any) -> Cursor | None:
    """The position in a payload, a message or a ``since``."""
    return Cursor(fields["epoch"], fields["offset"]) if "epoch" in fields else None


def since(cursor: Cursor) -> Message:
    return {"epoch": cursor.epoch, "offset": cursor.offset}


class Subscriber:
    """One client with its records.

    Args:
        name: for the faults.
        port: of a server, or of what stands before it.
        channels: what it subscribes to.
        resumes: it returns with ``resume``, which names its positions; otherwise it subscribes anew,
            with ``since``.
        pause: seconds that it stays away after a connection has ended, given a random number of 0 to 1.
    """

    def __init__(
        self,
        name: str,
        port: int,
        channels: list[str],
        *,
        resumes: bool,
        pause: Any = lambda chance: 0.5 * chance,
    ) -> None:
        self.name = name
        self.port = port
        self.resumes = resumes
        self.records = {channel: Record(name, channel) for channel in channels}
        self.counts: Counter[str] = Counter()
        self.connected = asyncio.Event()
        """Whether it is on all its channels."""
        self._pause = pause
        self._called = asyncio.Event()
        self._random = random.Random(name)
        self._session: str | None = None
        self._client: RawClient | None = None
        self._waiting: set[str] = set()
        self._asked: dict[str, Cursor | None] = {}

    async def run(self) -> None:
        """Come and go until cancelled."""
        while True:
            try:
                await self._connect()
            except (OSError, TimeoutError) as error:
                self.counts[f"no connection: {type(error).__name__}"] += 1
            self.connected.clear()
            self._called.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause(self._random.random())):
                    await self._called.wait()

    def come_back(self) -> None:
        """End the absence that there may be."""
        self._called.set()

    def leave(self) -> None:
        """End the connection as a cable that is pulled."""
        if self._client is not None:
            self._client.abort()

    def close(self) -> None:
        """End the connection as a page that is left."""
        if self._client is not None:
            self._client.leave()

    def behind(self, ends: dict[str, Cursor]) -> list[str]:
        """The channels of which it has not seen the end."""
        return [
            channel
            for channel, record in self.records.items()
            if channel in ends and record.cursor != ends[channel]
        ]

    # -- one connection ----------------------------------------------------------------------------

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(TIMEOUT_S):
            _, client = await loop.create_connection(
                lambda: RawClient(on_frame=self._take_frame), HOST, self.port
            )
            client.transport.write(handshake(self.port, "/ws/", JSON))
            if await client.status != 101:
                client.abort()
                self.counts["refused"] += 1
                return
        self._client = client
        self.counts["connections"] += 1
        try:
            code = await client.closed
            self.counts[f"closed {code}"] += 1
        finally:
            client.abort()
            self._client = None

    def _take_frame(self, client: RawClient, frame: bytes) -> None:
        if client is not self._client and self._client is not None:
            return  # what still comes from a connection that was given up
        messages = json.loads(frame)
        for message in messages if isinstance(messages, list) else [messages]:
            handler = getattr(self, f"_on_{message['type']}", None)
            if handler is not None:
                handler(client, message)

    def _on_ping(self, client: RawClient, message: Message) -> None:
        client.say({"type": "pong"})

    def _on_welcome(self, client: RawClient, message: Message) -> None:
        before, self._session = self._session, message["payload"]["session_id"]
        self._waiting = set(self.records)
        known = {name: record.cursor for name, record in self.records.items()}
        if self.resumes and before is not None and all(known.values()):
            self._asked = known
            positions = {name: since(cursor) for name, cursor in known.items() if cursor}
            client.say({"type": "resume", "id": "r", "session_id": before, "since": positions})
        else:
            for name in self.records:
                self._subscribe(client, name)

    def _subscribe(self, client: RawClient, name: str) -> None:
        cursor = self._asked[name] = self.records[name].cursor
        message: Message = {"type": "subscribe", "id": name, "channel": name}
        if cursor is not None:
            message["since"] = since(cursor)
        client.say(message)

    def _on_subscribed(self, client: RawClient, message: Message) -> None:
        name = message["channel"]
        self._start(name, message["payload"], pushed="id" not in message)
        self._is_on(name)

    def _on_resumed(self, client: RawClient, message: Message) -> None:
        self.counts["resumed"] += 1
        payload = message["payload"]
        self._session = payload["session_id"]
        for name, fields in payload["channels"].items():
            self._start(name, fields, pushed=False)
            self._is_on(name)
        # One that the old connection had not yet subscribed to again, or that was refused for a moment.
        for name in self.records:
            if name not in payload["channels"]:
                code = payload["dropped"].get(name, "not in its session")
                self.counts[f"not resumed: {code}"] += 1
                self._subscribe(client, name)

    def _start(self, name: str, payload: Message, *, pushed: bool) -> None:
        position = cursor_of(payload)
        assert position is not None, f"{name} has no position: {payload}"
        asked = None if pushed else self._asked.get(name)
        recovered = payload.get("recovered")
        started = Started(time.monotonic(), position, asked, recovered, pushed)
        self.records[name].begin(started)

    def _is_on(self, name: str) -> None:
        self._waiting.discard(name)
        if not self._waiting:
            self.connected.set()

    def _on_message(self, client: RawClient, message: Message) -> None:
        position = cursor_of(message)
        assert position is not None, f"a message without a position: {message}"
        recovered = message.get("recovered", False)
        received = Received(time.monotonic(), position, message["payload"], recovered)
        self.records[message["channel"]].receive(received)

    def _on_error(self, client: RawClient, message: Message) -> None:
        code = message["payload"]["code"]
        self.counts[f"error {code}"] += 1
        if message.get("request") == "resume":
            for name in self.records:
                self._subscribe(client, name)
        elif message.get("request") == "subscribe":
            loop = asyncio.get_running_loop()
            loop.call_later(0.1, self._subscribe_again, client, message["channel"])

    def _subscribe_again(self, client: RawClient, name: str) -> None:
        if client is self._client:
            self._subscribe(client, name)

    def _on_unsubscribed(self, client: RawClient, message: Message) -> None:
        self.counts["unsubscribed by the server"] += 1
        self._subscribe(client, message["channel"])
