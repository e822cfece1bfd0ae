"""The keys of the Redis store, without a Redis."""

from __future__ import annotations

from typing import Any

import pytest
from redis.crc import key_slot

from channels_realtime.config import Config
from channels_realtime.stores.history import scripts
from channels_realtime.stores.history.base import Append, Condition, History
from channels_realtime.stores.history.redis import RedisHistory


class FakeClients:
    """Records the keys of scripts, and answers like an empty server."""

    servers = range(1)

    def __init__(self) -> None:
        self.calls: list[tuple[Any, list[str]]] = []

    def index_of(self, bucket: int) -> int:
        return 0

    async def run_in_batch(self, *call: Any) -> Any:
        return await self.run(*call)

    async def run(self, index: int, script: Any, keys: list[str], args: Any) -> Any:
        self.calls.append((script, list(keys)))
        return {
            scripts.APPEND: [b"ok", b"epoch", 1, b""],
            scripts.READ: [b"epoch", 1, 1, []],
            scripts.STATE: [b"epoch", 1, []],
            scripts.RENEW: [b"epoch", 0],
            scripts.PURGE: None,
        }[script]


@pytest.fixture
def store() -> RedisHistory:
    store = RedisHistory(None, Config(store_redis="redis://localhost", group_prefix="site"))
    store._clients = FakeClients()
    return store


@pytest.mark.parametrize("stream", ["rooms/1", "acme|rooms/1", "a/{b}", "a/{}", "x" * 200])
async def test_all_keys_of_a_script_are_in_one_slot_of_a_cluster(store, stream):
    history = History()
    await store.append(
        Append(
            stream=stream,
            uid="0" * 16,
            body=b"x",
            history=history,
            key="u:7 {k}",
            state_key="{a}",
            condition=Condition(new=True),
        )
    )
    await store.read(stream, limit=1)
    await store.state(stream)
    await store.renew_epoch(stream, "epoch")
    await store.purge(stream)
    calls = store._clients.calls
    assert [script for script, _ in calls] == [
        scripts.APPEND,
        scripts.READ,
        scripts.STATE,
        scripts.RENEW,
        scripts.PURGE,
    ]
    assert len({key_slot(key.encode()) for _, keys in calls for key in keys}) == 1
    assert all(key.startswith("site:{") for _, keys in calls for key in keys)


async def test_no_two_keys_of_streams_are_the_same(store):
    history = History()
    pairs = [("rooms/1", "2 3"), ("rooms/1", "2"), ("rooms/12", ""), ("rooms/1", "")]
    for stream, key in pairs:
        await store.append(Append(stream=stream, uid="0" * 16, body=b"x", history=history, key=key))
    assert len({keys[6] for _, keys in store._clients.calls}) == len(pairs)
