"""Event streams without a server: what is written, when, and what a stream leaves behind."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextlib import aclosing
from typing import Any

import msgspec
import pytest

from channels_realtime.access.client_address import FoundAddress
from channels_realtime.connections.connection import Connection
from channels_realtime.endpoints.cursors import ReadCursor
from channels_realtime.endpoints.event_stream import EventStream
from channels_realtime.endpoints.http_transport import HttpDialect
from channels_realtime.protocol import messages as m
from channels_realtime.protocol.codes import CloseCode
from tests.support.nodes import NodeHarness
from tests.support.virtual_time import in_virtual_time, settle


async def ready() -> None:
    """Instead of the node's services, which read a database."""


class Reader:
    """Reads a stream's body as a server does."""

    def __init__(self, harness: NodeHarness, *channels: str, cursor: str = "") -> None:
        scope = {"type": "http", "headers": [], "client": ("192.0.2.1", 1)}
        stream = EventStream(
            harness.node,
            scope,
            FoundAddress("192.0.2.1"),
            None,
            0.0,
            channels=channels,
            came_with=ReadCursor(cursor),
            dialect=HttpDialect(harness.node.config.limits),
        )
        self.node = harness.node
        self.node.ready = ready
        self.chunks: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.task = asyncio.create_task(self._read(aiter(stream)))

    async def _read(self, body: Any) -> None:
        async with aclosing(body) as content:
            async for chunk in content:
                await self.gate.wait()
                self.chunks.append(chunk.decode())

    @property
    def connection(self) -> Connection:
        (connection,) = self.node.connections.values()
        return connection

    async def take(self) -> list[dict[str, str]]:
        """The events since the last time, each with its fields."""
        await settle()
        text = "".join(self.chunks)
        self.chunks.clear()
        events = [event for event in text.split("\n\n") if event]
        return [dict(line.split(": ", 1) for line in event.split("\n")) for event in events]

    async def messages(self) -> list[dict[str, Any]]:
        """The messages since the last time."""
        return [msgspec.json.decode(event["data"]) for event in await self.take()]

    async def close(self) -> None:
        """The client goes away, as Django's handler has it."""
        self.task.cancel()
        await asyncio.wait([self.task])
        await settle()


@in_virtual_time
async def test_stream_begins_with_a_welcome_and_its_subscriptions():
    async with NodeHarness() as harness:
        reader = Reader(harness, "public/a", "unknown/a")
        welcome, *others = await reader.messages()
        assert welcome["type"] == "welcome"
        assert len(welcome["payload"]["session_id"]) <= 64
        by_type = {one["type"]: one for one in others}
        assert by_type["subscribed"] == {
            "type": "subscribed",
            "channel": "public/a",
            "payload": {},
        }
        assert by_type["error"]["channel"] == "unknown/a"
        assert by_type["error"]["payload"]["code"] == "unknown_channel"
        await reader.close()


@in_virtual_time
async def test_comment_comes_after_silence():
    async with NodeHarness() as harness:
        reader = Reader(harness)
        await reader.take()
        await asyncio.sleep(25.1)
        assert reader.chunks == [": keep-alive\n\n"]
        await reader.close()


@in_virtual_time
async def test_position_is_said_with_the_message_that_moves_it():
    async with NodeHarness() as harness:
        reader = Reader(harness, "stored/a", "public/a")
        events = await reader.take()
        assert [("id" in event) for event in events] == [
            "stored/a" in event["data"] and "subscribed" in event["data"] for event in events
        ]
        harness.publish("public/a", 1)
        (event,) = await reader.take()
        assert "id" not in event
        await reader.close()


@in_virtual_time
async def test_retry_is_never_so_short_that_an_event_source_asks_all_the_time():
    async with NodeHarness() as harness:
        reader = Reader(harness)
        await reader.take()
        reader.connection.close(CloseCode.GOING_AWAY, "going away", retry_after=0.001)
        (event,) = await reader.take()
        assert event["retry"] == "1000"


@in_virtual_time
async def test_close_after_which_a_client_comes_back_ends_the_stream_with_a_retry():
    async with NodeHarness() as harness:
        reader = Reader(harness)
        await reader.take()
        reader.connection.close(CloseCode.GOING_AWAY, "going away", retry_after=1.5)
        (event,) = await reader.take()
        assert event["retry"] == "1500"
        assert msgspec.json.decode(event["data"])["payload"] == {
            "code": 4503,
            "reason": "going away",
            "reconnect": True,
            "retry_after": 1.5,
        }
        assert reader.task.done()
        assert not harness.node.connections


@pytest.mark.parametrize("code", [CloseCode.UNAUTHENTICATED, CloseCode.BLOCKED])
def test_final_close_is_an_event_of_its_own(code):
    @in_virtual_time
    async def check():
        async with NodeHarness() as harness:
            reader = Reader(harness)
            await reader.take()
            reader.connection.close(code, "over")
            closing, close = await reader.take()
            assert "retry" not in closing
            assert close == {
                "event": "close",
                "data": f'{{"code":{int(code)},"reason":"over"}}',
                "id": f"closed.{int(code)}",
            }
            assert reader.task.done()

    check()


@in_virtual_time
async def test_revoked_client_gets_nothing_of_what_waits():
    async with NodeHarness() as harness:
        reader = Reader(harness, "public/a")
        await reader.take()
        reader.gate.clear()
        for number in range(50):
            harness.publish("public/a", f"{number}:" + "x" * 1_000)
            await settle()
        reader.connection.revoke("the credentials were revoked")
        reader.gate.set()
        found = await reader.messages()
        # One chunk was at the server already.
        assert len(found) < 20
        assert found[-2]["payload"]["code"] == 4401
        assert found[-1] == {"code": 4401, "reason": "the credentials were revoked"}


@in_virtual_time
async def test_slow_client_is_closed_and_dropped_in_bounded_memory():
    async with NodeHarness(outbox_max_messages=20) as harness:
        reader = Reader(harness, "public/a")
        await reader.take()
        connection = reader.connection
        reader.gate.clear()
        for number in range(100):
            harness.publish("public/a", f"{number}:" + "x" * 1_000)
            await settle()
        assert connection.closed
        assert connection.end == "4430"
        assert connection.writer.queued_bytes < 30_000
        await asyncio.sleep(11)  # it does not read its close either
        assert reader.task.done()
        assert not harness.node.connections


@in_virtual_time
async def test_response_that_is_never_written_leaves_nothing():
    async with NodeHarness() as harness:
        reader = Reader(harness, "public/a")
        await reader.close()  # before the first step
        assert not harness.node.connections


@in_virtual_time
async def test_stream_that_has_ended_is_freed_without_a_collector():
    async with NodeHarness() as harness:
        gc.disable()
        try:
            reader = Reader(harness, "stored/a")
            await reader.take()
            gone = weakref.ref(reader.connection)
            await reader.close()
            del reader
            await settle()
            assert gone() is None
        finally:
            gc.enable()


@in_virtual_time
async def test_reader_of_other_channels_is_not_moved_by_what_it_subscribes_to_later():
    async with NodeHarness() as harness:
        reader = Reader(harness, "public/a")
        await reader.take()
        reader.connection.request([m.Subscribe(id=1, channel="stored/a")])
        (event,) = await reader.take()
        assert "subscribed" in event["data"]
        assert "id" not in event
        await reader.close()
