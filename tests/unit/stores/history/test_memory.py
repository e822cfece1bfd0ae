"""The memory store beyond the contract: expiry by its own clock, and its bounds."""

from __future__ import annotations

import asyncio

import pytest

from channels_realtime.config import Config
from channels_realtime.protocol.messages import Position
from channels_realtime.stores.history import memory
from channels_realtime.stores.history.base import POSITION_TTL_S, Append, History
from channels_realtime.stores.history.memory import MemoryHistory
from channels_realtime.testing import HistoryStoreContract


class FakeClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


def request(stream: str = "rooms/1", *, size: int = 10, ttl: float = 60.0, **more) -> Append:
    return Append(
        stream=stream, uid="0" * 16, body=b"x", history=History(size=size, ttl=ttl), **more
    )


class TestContract(HistoryStoreContract):
    def make_store(self) -> MemoryHistory:
        self.clock = FakeClock()
        return MemoryHistory(None, Config(), self.clock)

    async def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> MemoryHistory:
    return MemoryHistory(None, Config(), clock)


async def test_publications_of_quiet_streams_are_dropped_by_the_use_of_others(store, clock):
    for number in range(50):
        await store.append(request(f"rooms/{number}", ttl=10, key="a", key_window=5))
    clock.now += 70
    for _ in range(60):
        await store.read("rooms/0", limit=0)
    kept = [stream for stream in store._streams.values() if stream.entries or stream.keys]
    assert kept == []


async def test_the_position_of_a_quiet_stream_is_kept_and_then_forgotten(store, clock):
    appended = await store.append(request(ttl=10))
    clock.now += POSITION_TTL_S
    (newest,) = await store.newest(["rooms/1"])
    assert newest.position == appended.position
    clock.now += 10
    assert await store.newest(["rooms/1"]) == [None]
    page = await store.read("rooms/1", since=appended.position, limit=10)
    assert not page.complete
    assert page.position.offset == 0
    assert page.position.epoch != appended.position.epoch


async def test_over_the_bound_the_stream_used_longest_ago_is_dropped(store, monkeypatch):
    monkeypatch.setattr(memory, "MAX_STREAMS", 2)
    for name in ("a", "b"):
        await store.append(request(name))
    await store.read("a", limit=0)
    await store.append(request("c"))
    found = await store.newest(["a", "b", "c"])
    assert [one is None for one in found] == [False, True, False]


async def test_changes_over_the_bound_are_unknown(store, monkeypatch):
    monkeypatch.setattr(memory, "MAX_CHANGED", 2)
    monkeypatch.setattr(memory, "bucket_of", lambda stream: 0)
    for name in ("a", "b"):
        await store.append(request(name))
    seen = dict((await store.changes({0: 0})).sequences)
    for name in ("c", "d", "e"):
        await store.append(request(name))
    changes = await store.changes(seen)
    assert changes.unknown == {0}
    assert (await store.changes(changes.sequences)).unknown == frozenset()


def test_appends_of_threads_and_loops_are_numbered_without_a_gap(store):
    async def append() -> list[Position | None]:
        return [(await store.append(request(size=1_000))).position for _ in range(100)]

    async def main() -> list[int]:
        found = await asyncio.gather(
            *(asyncio.to_thread(lambda: asyncio.run(append())) for _ in range(4))
        )
        return sorted(position.offset for each in found for position in each)

    assert asyncio.run(main()) == list(range(1, 401))
