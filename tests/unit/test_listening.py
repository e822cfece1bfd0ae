"""Channels that the site's own code follows, over the node of the process or a light one."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from channels_realtime import Channel, History, apublish, namespace, publish, subscribe
from channels_realtime.channels import registry
from channels_realtime.errors import (
    ImproperUse,
    NotRecoverable,
    TooSlow,
    Unavailable,
    UnknownChannel,
)
from channels_realtime.nodes import light
from channels_realtime.nodes.node import Node, place
from channels_realtime.protocol.messages import Position
from channels_realtime.runtime import loops
from channels_realtime.settings import get_config

TIMEOUT_S = 10.0


class Plain(Channel):
    pass


class Kept(Channel):
    history = History(size=500)


class Short(Channel):
    history = History(size=3)


class Last(Channel):
    state = "last"


@pytest.fixture(autouse=True)
def routes() -> Iterator[None]:
    found = {
        "plain/<str:x>": Plain,
        "kept/<str:x>": Kept,
        "short/<str:x>": Short,
        "last/<str:x>": Last,
    }
    for pattern, channel_class in found.items():
        registry.register(pattern, channel_class)
    yield
    for pattern in found:
        registry.unregister(pattern)


@pytest.fixture(autouse=True)
def layer(settings: Any) -> Iterator[None]:
    """A layer of the test's own, in memory; whatever follows a channel has ended after it."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    yield
    deadline = time.monotonic() + TIMEOUT_S
    while light.is_running():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture(params=["light", "node here", "node elsewhere"])
async def process(request: Any, settings: Any) -> Any:
    """A process without a node, with one on the loop that listens, and with one on another loop."""
    if request.param == "light":
        yield
        return

    async def make() -> Node:
        from channels.layers import channel_layers

        node = Node(get_config(), channel_layers["default"])
        place(node)
        await node.ready()
        return node

    if request.param == "node here":
        node = await make()
        yield
        await node.stop()
    else:
        node = await asyncio.wrap_future(loops.background_loop.submit(make()))
        yield
        await asyncio.wrap_future(loops.background_loop.submit(node.stop()))


async def take(messages: Any, count: int) -> list[Any]:
    async with asyncio.timeout(TIMEOUT_S):
        return [(await anext(messages)).payload for _ in range(count)]


async def test_what_is_published_in_the_block_is_in_it(process):
    async with subscribe("plain/a") as messages:
        await apublish("plain/a", {"n": 1}, event="made")
        await apublish("plain/b", 2)
        await apublish("plain/a", 3)
        first = await anext(messages)
        assert (first.channel, first.payload, first.event) == ("plain/a", {"n": 1}, "made")
        assert await take(messages, 1) == [3]


async def test_loop_ends_with_the_subscription(process):
    found = []
    messages = subscribe("plain/a")
    async with messages:
        await apublish("plain/a", 1)
        async for message in messages:
            found.append(message.payload)
            await messages.aclose()
    assert found == [1]
    with pytest.raises(ImproperUse, match="'plain/a' was closed"):
        await messages.__aenter__()


async def test_sync_code_in_another_thread_is_heard(process):
    async with subscribe("plain/a") as messages:
        await asyncio.to_thread(publish, "plain/a", 1)
        assert await take(messages, 1) == [1]


async def test_several_loops_of_a_process_share_one_node(process):
    async def listen() -> list[Any]:
        async with subscribe("plain/a") as messages:
            ready.release()
            return await take(messages, 3)

    ready = threading.Semaphore(0)
    listeners = [asyncio.create_task(asyncio.to_thread(asyncio.run, listen())) for _ in range(3)]
    for _ in listeners:
        await asyncio.to_thread(ready.acquire, timeout=TIMEOUT_S)
    for number in range(3):
        await apublish("plain/a", number)
    assert await asyncio.gather(*listeners) == [[0, 1, 2]] * 3


async def test_time_out_of_one_message_loses_none(process):
    async with subscribe("plain/a") as messages:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(messages), 0.01)
        await apublish("plain/a", 1)
        assert await take(messages, 1) == [1]


async def test_loop_that_is_left_ends_the_subscription(process):
    async def listen() -> None:
        async for _ in subscribe("plain/a"):
            break

    listening = asyncio.create_task(listen())
    async with asyncio.timeout(TIMEOUT_S):
        while not listening.done():
            await apublish("plain/a", 1)
            await asyncio.sleep(0.001)
    gc.collect()  # and then the fixture waits for the light node's end


async def test_task_that_is_cancelled_ends_the_subscription(process):
    started = asyncio.Event()

    async def listen() -> None:
        async with subscribe("plain/a") as messages:
            started.set()
            await anext(messages)

    listening = asyncio.create_task(listen())
    await started.wait()
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening


async def test_namespace_is_that_of_the_code(process):
    with namespace("acme"):
        messages = subscribe("plain/a")
    async with messages:
        await apublish("plain/a", "not theirs")
        with namespace("acme"):
            await apublish("plain/a", "theirs")
        assert await take(messages, 1) == ["theirs"]


async def test_slow_code_is_told_after_what_waits(process):
    async with subscribe("plain/a", max_queue=2) as messages:
        for number in range(3):
            await apublish("plain/a", number)
        await asyncio.to_thread(lambda: None)
        assert await take(messages, 2) == [0, 1]
        with pytest.raises(TooSlow, match="more than 2 messages of 'plain/a' waited"):
            await take(messages, 1)
        with pytest.raises(StopAsyncIteration):
            await anext(messages)


# -- with history ----------------------------------------------------------------------------------


async def test_history_is_replayed_from_a_position_and_followed(process):
    first = (await apublish("kept/a", 0)).position
    for number in range(1, 250):
        await apublish("kept/a", number)
    async with subscribe("kept/a", since=first) as messages:
        await apublish("kept/a", 250)
        assert await take(messages, 250) == list(range(1, 251))
        assert messages.position == Position(first.epoch, 251)


async def test_position_may_be_as_a_page_has_it(process):
    first = (await apublish("kept/a", 0)).position
    await apublish("kept/a", 1)
    since = {"epoch": first.epoch, "offset": first.offset}
    async with subscribe("kept/a", since=since) as messages:
        message = await anext(messages)
        assert (message.payload, message.recovered) == (1, True)


async def test_slow_code_catches_up_where_there_is_history(process):
    async with subscribe("kept/a", max_queue=2) as messages:
        for number in range(20):
            await apublish("kept/a", number)
        assert await take(messages, 20) == list(range(20))


async def test_position_that_is_gone_is_not_recoverable(process):
    first = (await apublish("short/a", 0)).position
    for number in range(10):
        await apublish("short/a", number)
    messages = subscribe("short/a", since=first)
    with pytest.raises(NotRecoverable, match="'short/a' does not hold what follows"):
        await anext(messages)
    assert messages.position == Position(first.epoch, 11)
    with pytest.raises(NotRecoverable):
        await anext(subscribe("short/a", since=Position("another", 1)))


async def test_slow_code_that_the_history_has_left_behind_is_told(process):
    async with subscribe("short/a", max_queue=1) as messages:
        for number in range(10):
            await apublish("short/a", number)
        with pytest.raises(NotRecoverable):
            await take(messages, 10)


async def test_state_comes_first(process):
    for number in range(3):
        await apublish("last/a", number)
    async with subscribe("last/a") as messages:
        await apublish("last/a", 3)
        async with asyncio.timeout(TIMEOUT_S):
            first, second = await anext(messages), await anext(messages)
        assert [(m.payload, m.state) for m in (first, second)] == [(2, True), (3, False)]


# -- misuse ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"channel": "nothing/a"}, UnknownChannel, "matches no registered route"),
        ({"channel": "plain/a", "max_queue": 0}, ImproperUse, "max_queue is 0"),
        ({"channel": "kept/a", "since": 7}, ImproperUse, "since is 7; expected a Position"),
        ({"channel": "kept/a", "since": {"epoch": 1}}, ImproperUse, "expected a Position"),
        ({"channel": "kept/a", "since": Position(1, 1)}, ImproperUse, "expected a Position"),
        (
            {"channel": "plain/a", "since": Position("x", 1)},
            ImproperUse,
            "Plain keeps no history",
        ),
    ],
)
def test_misuse_is_refused_in_the_caller(arguments, error, text):
    with pytest.raises(error, match=text):
        subscribe(**arguments)


async def test_layer_that_is_away_is_unavailable(settings):
    settings.CHANNEL_LAYERS = {}
    with pytest.raises(Unavailable):
        await anext(subscribe("plain/a"))
