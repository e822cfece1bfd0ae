"""The sessions in Redis: the contract, over both layers' hosts, and what an operator finds there."""

import asyncio
import secrets

import pytest

from channels_realtime.config import Config
from channels_realtime.errors import Unavailable
from channels_realtime.sessions.redis import PARTITIONS, RedisSessions
from tests.unit.sessions.contract import USER, SessionStoreContract, saved

pytest.importorskip("redis")


def store_on(url: str, prefix: str, **config) -> RedisSessions:
    return RedisSessions(None, Config(group_prefix=prefix, store_redis=url, **config))


class TestRedisSessions(SessionStoreContract):
    @pytest.fixture(autouse=True)
    def _make(self, redis_url, redis_prefix):
        self.url, self.prefix = redis_url, redis_prefix

    def run(self, test):
        asyncio.run(test(store_on(self.url, self.prefix)))

    async def pass_time(self, store, seconds):
        await asyncio.sleep(seconds)  # the server's own time

    def test_saves_many_of_all_partitions_at_once(self):
        async def test(store):
            keys = [f"{number:08x}" + secrets.token_hex(16) for number in range(10 * PARTITIONS)]
            await store.save([saved(key, body=key.encode()) for key in keys])
            for key in keys[::7]:
                taken = await store.take(key, USER, ttl=60.0)
                assert taken.body == key.encode()
            assert await store.save([saved(key) for key in keys]) == set(keys[::7])

        self.run(test)

    def test_keys_have_a_hash_tag_and_expire(self):
        import redis

        async def test(store):
            key = secrets.token_hex(20)
            await store.save([saved(key, ttl=60.0)])
            with redis.Redis.from_url(self.url) as client:
                (name,) = client.scan_iter(match=f"{self.prefix}*", count=1_000)
                assert name.decode().startswith(self.prefix + ":{s")
                assert 50_000 < client.pttl(name) <= 60_000
                await store.take(key, USER, ttl=90.0)
                assert 80_000 < client.pttl(name) <= 90_000
                assert client.get(name) == b"-"

        self.run(test)


def test_server_that_is_away_is_unavailable():
    store = store_on("redis://127.0.0.1:1/0", "test", store_timeout=1.0)

    async def test():
        for request in (
            store.save([saved("0" * 40)]),
            store.take("0" * 40, USER, ttl=1.0),
            store.forget([("0" * 40, "a")]),
        ):
            with pytest.raises(Unavailable, match="the session store failed with"):
                await request

    asyncio.run(test())
