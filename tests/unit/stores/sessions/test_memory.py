"""The sessions in memory: the contract, and its bound."""

import asyncio

import pytest

from channels_realtime.config import Config
from channels_realtime.stores.sessions import memory
from channels_realtime.stores.sessions.base import Save
from channels_realtime.stores.sessions.memory import MemorySessions
from channels_realtime.testing import SessionStoreContract

USER = "=1"


def saved(key: str, ttl: float = 60.0) -> Save:
    return Save(key=key, owner="a", identity=USER, body=b"x", ttl=ttl)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class TestMemorySessions(SessionStoreContract):
    @pytest.fixture(autouse=True)
    def _make(self):
        self.clock = Clock()

    def make_store(self):
        return MemorySessions(None, Config(), self.clock)

    async def advance(self, seconds):
        self.clock.now += seconds


def test_forgets_those_saved_longest_ago_beyond_its_bound(monkeypatch):
    monkeypatch.setattr(memory, "MAX_SESSIONS", 2)
    store = MemorySessions(None, Config(), Clock())

    async def test():
        await store.save([saved("1"), saved("2")])
        await store.save([saved("1"), saved("3")])
        assert await store.take("2", USER, ttl=60.0) is None
        assert await store.take("1", USER, ttl=60.0) is not None

    asyncio.run(test())


def test_holds_nothing_that_is_too_old():
    clock = Clock()
    store = MemorySessions(None, Config(), clock)

    async def test():
        await store.save([saved(str(number), ttl=5.0) for number in range(10)])
        clock.now += 20.0
        await store.save([saved("new", ttl=5.0)])

    asyncio.run(test())
    assert len(store) == 1
