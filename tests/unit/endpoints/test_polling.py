"""Polled connections without a server: what is given, kept and given again, and when one is gone."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import msgspec
import pytest

from channels_realtime.access.client_address import FoundAddress
from channels_realtime.endpoints.polling import (
    ANSWER_BYTES,
    BAD_CURSOR,
    READY,
    PolledConnection,
    Polls,
)
from channels_realtime.protocol import messages as m
from channels_realtime.protocol.codes import CloseCode
from tests.support.nodes import NodeHarness
from tests.support.virtual_time import in_virtual_time, settle


async def ready() -> None:
    """Instead of the node's services, which read a database."""


async def begin(harness: NodeHarness, *channels: str) -> PolledConnection:
    """A connection whose client has its welcome, on these channels."""
    harness.node.ready = ready
    scope = {"type": "http", "headers": []}
    polled = PolledConnection(harness.node, scope, FoundAddress("192.0.2.1"), None, 0.0)
    await asyncio.wait([polled.opened])
    polled.connection.request([m.Subscribe(channel=name) for name in channels])
    await settle()
    polled.poll(polled.poll(None, None, 0.0)["cursor"], None, 0.0)
    return polled


def poll(polled: PolledConnection, cursor: int | None = None) -> list[dict[str, Any]]:
    """The messages of an answer that waits for nothing."""
    answer = polled.poll(cursor, None, 0.0)
    return [msgspec.json.decode(text) for text in answer["messages"]]


def waiting(harness: NodeHarness, polled: PolledConnection, token: str) -> asyncio.Future[str]:
    """A poll that waits in this process."""
    future = harness.node.service(Polls).wait(token, 30.0)
    assert polled.poll(None, (harness.node.id, token), 25.0)["messages"] == []
    return future


@in_virtual_time
async def test_messages_are_given_until_they_are_acknowledged():
    async with NodeHarness() as harness:
        polled = await begin(harness, "public/a")
        for number in range(3):
            harness.publish("public/a", number)
        assert [one["payload"] for one in poll(polled)] == [0, 1, 2]
        assert [one["payload"] for one in poll(polled)] == [0, 1, 2]
        assert [one["payload"] for one in poll(polled, 3)] == [1, 2]
        assert [one["payload"] for one in poll(polled, 2)] == [1, 2]  # late, and changes nothing
        assert poll(polled, 5) == []
        polled.finish()


@in_virtual_time
async def test_cursor_that_was_not_given_is_refused():
    async with NodeHarness() as harness:
        polled = await begin(harness, "public/a")
        harness.publish("public/a", 1)
        assert polled.poll(3, None, 0.0) == {"status": BAD_CURSOR}
        polled.finish()


@in_virtual_time
async def test_answer_is_bounded_and_the_rest_follows():
    async with NodeHarness() as harness:
        polled = await begin(harness, "public/a")
        for number in range(8):
            harness.publish("public/a", f"{number}" + "x" * (ANSWER_BYTES // 4))
        await settle()
        found, cursor = [], None
        while len(found) < 8:
            answer = polled.poll(cursor, None, 0.0)
            assert 1 <= len(answer["messages"]) <= 4
            found += answer["messages"]
            cursor = answer["cursor"]
            await settle()  # what had no room is written now
        assert [msgspec.json.decode(text)["payload"][0] for text in found] == list("01234567")
        polled.finish()


@in_virtual_time
async def test_client_that_takes_nothing_is_slow():
    async with NodeHarness(outbox_max_messages=20) as harness:
        polled = await begin(harness, "public/a")
        connection = polled.connection
        for _ in range(100):
            harness.publish("public/a", "x" * 2_000)
            await settle()
        assert connection.end == "4430"
        last: list[dict[str, Any]] = []
        cursor = None
        while not last or last[-1]["type"] != "closing":
            answer = polled.poll(cursor, None, 0.0)
            last = [msgspec.json.decode(text) for text in answer["messages"]]
            cursor = answer["cursor"]
            await settle()
        assert answer["ended"]
        assert not harness.node.connections


@in_virtual_time
async def test_waiting_poll_is_answered_when_there_is_something():
    async with NodeHarness() as harness:
        polled = await begin(harness, "public/a")
        future = waiting(harness, polled, "one")
        harness.publish("public/a", 1)
        harness.publish("public/a", 2)
        assert await future == READY
        assert [one["payload"] for one in poll(polled)] == [1, 2]  # they came together
        polled.finish()


@in_virtual_time
async def test_newer_poll_ends_an_older_one():
    async with NodeHarness() as harness:
        polled = await begin(harness)
        older = waiting(harness, polled, "older")
        newer = waiting(harness, polled, "newer")
        assert await older == ""
        assert not newer.done()
        polled.finish()
        assert await newer == ""


@in_virtual_time
async def test_connection_without_a_poll_ends_as_one_without_a_heartbeat():
    async with NodeHarness() as harness:
        polled = await begin(harness)
        connection = polled.connection
        await asyncio.sleep(34.9)
        assert not connection.closed
        await asyncio.sleep(0.2)
        assert connection.end == "4408"
        assert not harness.node.connections


@in_virtual_time
async def test_poll_that_waits_keeps_its_connection():
    async with NodeHarness() as harness:
        polled = await begin(harness)
        waiting(harness, polled, "one")
        await asyncio.sleep(59.9)  # 25 of waiting and 35 of absence
        assert not polled.connection.closed
        await asyncio.sleep(0.2)
        assert polled.connection.closed


@in_virtual_time
async def test_client_with_a_poll_that_was_cut_has_five_seconds_to_return():
    async with NodeHarness() as harness:
        polled = await begin(harness)
        waiting(harness, polled, "one")
        polled.give_up("another")
        polled.give_up("one")
        await asyncio.sleep(4.9)
        waiting(harness, polled, "two")
        await asyncio.sleep(5.0)
        assert not polled.connection.closed
        polled.give_up("two")
        await asyncio.sleep(5.1)
        assert polled.connection.end == "4408"
        assert not harness.node.connections


@in_virtual_time
async def test_close_answers_the_poll_that_waits_and_frees_the_connection():
    async with NodeHarness() as harness:
        polled = await begin(harness)
        future = waiting(harness, polled, "one")
        polled.connection.close(CloseCode.GOING_AWAY, "going away", retry_after=2.0)
        assert await future == READY
        (closing,) = poll(polled)
        assert closing["payload"]["code"] == 4503
        assert not harness.node.connections


@in_virtual_time
async def test_revoked_client_gets_nothing_of_what_waits():
    async with NodeHarness() as harness:
        polled = await begin(harness, "public/a")
        for number in range(40):
            harness.publish("public/a", f"{number}" + "x" * 5_000)
        polled.connection.revoke("the credentials were revoked")
        await settle()
        (closing,) = poll(polled)
        assert closing["payload"]["code"] == 4401


@in_virtual_time
async def test_nothing_of_a_channel_is_given_after_it_was_left():
    async with NodeHarness() as harness:
        polled = await begin(harness, "public/a", "public/b")
        harness.publish("public/a", 1)
        harness.publish("public/b", 2)
        polled.connection.request([m.Unsubscribe(channel="public/a")])
        await settle()
        assert [one["channel"] for one in poll(polled)] == ["public/b", "public/a"]
        polled.finish()


@pytest.mark.parametrize(("wait", "seconds"), [(25.0, 2.0), (0.0, 6.0)])
@in_virtual_time
async def test_client_between_two_polls_has_as_long_as_it_needs_to_be_told_of_the_end(
    wait: float, seconds: float
) -> None:
    async with NodeHarness() as harness:
        two = [await begin(harness, "public/a") for _ in range(2)]
        for polled in two:
            polled.poll(None, (harness.node.id, "one") if wait else None, wait)
            if wait:
                harness.publish("public/a", 1)
                polled.poll(None, (harness.node.id, "two"), wait)
            polled.connection.close(CloseCode.GOING_AWAY, "going away")
        await asyncio.sleep(seconds - 0.1)
        assert [one["type"] for one in poll(two[0])][-1] == "closing"
        assert len(harness.node.connections) == 1
        await asyncio.sleep(0.2)
        assert not harness.node.connections


@in_virtual_time
async def test_client_that_takes_nothing_is_waited_for_no_longer_when_it_is_closed():
    """Its `closing` cannot be kept with what waits for it already."""
    async with NodeHarness() as harness:
        polled = await begin(harness, "public/a")
        for _ in range(3):
            harness.publish("public/a", "x" * ANSWER_BYTES)
            await settle()
        polled.connection.close(CloseCode.GOING_AWAY, "going away")
        await asyncio.sleep(6.1)
        assert not harness.node.connections


@in_virtual_time
async def test_polled_connection_that_has_ended_is_freed_without_a_collector():
    async with NodeHarness() as harness:
        gc.disable()
        try:
            polled = await begin(harness, "public/a")
            gone = weakref.ref(polled.connection)
            polled.finish()
            del polled
            await settle()
            assert gone() is None
        finally:
            gc.enable()
