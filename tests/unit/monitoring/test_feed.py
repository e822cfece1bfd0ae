"""The channel that tells the admin's list of connections that rows have changed."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from channels_realtime.errors import Unavailable
from channels_realtime.monitoring import feed
from channels_realtime.monitoring.feed import Feed


class FakeNode:
    """Notes what is published, and owns its tasks."""

    def __init__(self) -> None:
        self.published: list = []
        self.tasks: list[asyncio.Task] = []
        self.error: Exception | None = None
        self.feed = Feed(self)

    async def publish(self, outgoing):
        publication = outgoing.publication
        self.published.append((publication.channel, publication.payload))
        if self.error is not None:
            raise self.error

    def spawn(self, coroutine, name):
        self.tasks.append(asyncio.create_task(coroutine, name=name))


@pytest.fixture
async def clock(monkeypatch):
    """Lets a test say when a second has passed."""
    passed: asyncio.Queue[None] = asyncio.Queue()
    waits: list[float] = []

    async def sleep(seconds):
        waits.append(seconds)
        await passed.get()

    monkeypatch.setattr(feed.asyncio, "sleep", sleep)
    return SimpleNamespace(pass_on=lambda: passed.put_nowait(None), waits=waits)


async def settle():
    """Let the tasks run until they wait."""
    for _turn in range(5):
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, None)
        await future


async def test_change_is_told_at_once_and_then_once_a_second(clock):
    node = FakeNode()
    told = ("realtime/admin/connections", {"changed": True})
    node.feed.rows_changed()
    await settle()
    assert node.published == [told]
    node.feed.rows_changed()
    node.feed.rows_changed()
    await settle()
    assert node.published == [told]
    clock.pass_on()
    await settle()
    assert node.published == [told, told]  # the two that came meanwhile, in one
    clock.pass_on()
    await settle()
    assert node.published == [told, told]
    assert all(task.done() for task in node.tasks)
    node.feed.rows_changed()
    await settle()
    assert node.published == [told] * 3
    assert clock.waits == [1.0, 1.0, 1.0]
    clock.pass_on()
    await asyncio.gather(*node.tasks)


async def test_each_node_tells_for_itself(clock):
    nodes = [FakeNode(), FakeNode()]
    for node in nodes:
        node.feed.rows_changed()
    await settle()
    assert [len(node.published) for node in nodes] == [1, 1]
    for _node in nodes:
        clock.pass_on()
    await asyncio.gather(*(task for node in nodes for task in node.tasks))


async def test_layer_that_is_away_is_no_error(clock):
    node = FakeNode()
    node.error = Unavailable("no layer")
    node.feed.rows_changed()
    clock.pass_on()
    await asyncio.gather(*node.tasks)
    assert len(node.published) == 1


async def test_feed_whose_task_was_cancelled_can_begin_again(clock):
    node = FakeNode()
    node.feed.rows_changed()
    await settle()
    node.tasks[0].cancel()
    await asyncio.gather(*node.tasks, return_exceptions=True)
    node.feed.rows_changed()
    await settle()
    assert len(node.published) == 2
    node.tasks[1].cancel()
    await asyncio.gather(*node.tasks, return_exceptions=True)
