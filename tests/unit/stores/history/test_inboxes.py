"""Inboxes in memory pass the contract, and stay within their bounds."""

from __future__ import annotations

import pytest

from channels_realtime.config import Config
from channels_realtime.stores.history import memory_inboxes
from channels_realtime.stores.history.base import POSITION_TTL_S
from channels_realtime.stores.history.inbox_contract import InboxStoreContract
from channels_realtime.stores.history.memory_inboxes import MemoryInboxes


class TestContract(InboxStoreContract):
    def make_store(self):
        return MemoryInboxes(None, Config())


class Clock:
    now = 0.0

    def time(self):
        return self.now

    def monotonic(self):
        return self.now


async def test_inboxes_that_are_not_used_end():
    clock = Clock()
    store = MemoryInboxes(None, Config(), clock)
    await store.open("a", "5", None)
    clock.now += POSITION_TTL_S + 1
    await store.open("b", "5", None)
    assert await store.acknowledged("a", "5") is None
    assert await store.acknowledged("b", "5") is not None


async def test_streams_and_users_are_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory_inboxes, "_MAX_STREAMS", 2)
    monkeypatch.setattr(memory_inboxes, "MAX_USERS", 2)
    store = MemoryInboxes(None, Config())
    for stream in "abc":
        for user in "567":
            await store.open(stream, user, None)
    assert set((await store.inboxes("c")).users) == {"5", "6"}
    assert (await store.inboxes("a")).users == {}


async def test_what_is_due_takes_no_more_room_than_its_streams():
    store = MemoryInboxes(None, Config())
    for number in range(1_000):
        await store.expect("a", [], 2_000.0 - number)
    assert len(store._due) <= 65
    assert await store.claim(1_002.0, 60.0, 10) == ["a"]
    assert await store.claim(1_003.0, 60.0, 10) == []
