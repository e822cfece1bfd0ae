"""Sessions in Redis: the contract on a server and a cluster, and what an operator finds there."""

import asyncio
import secrets
from collections.abc import Iterator

import pytest
import redis

from channels_realtime.config import Config
from channels_realtime.errors import Unavailable
from channels_realtime.stores.sessions.base import Save
from channels_realtime.stores.sessions.redis import PARTITIONS, RedisSessions
from channels_realtime.testing import SessionStoreContract
from tests.support.redis_server import private_redis_cluster

USER = "=1"


def saved(key: str, body: bytes = b"x", ttl: float = 60.0) -> Save:
    return Save(key=key, owner="a", identity=USER, body=body, ttl=ttl)


@pytest.fixture(scope="module")
def cluster_url() -> Iterator[str]:
    with private_redis_cluster() as url:
        yield url


class TestContract(SessionStoreContract):
    @pytest.fixture(autouse=True)
    def _redis(self, redis_url: str, redis_prefix: str) -> None:
        self.config = Config(store_redis=redis_url, group_prefix=redis_prefix, store_timeout=20.0)

    def make_store(self) -> RedisSessions:
        return RedisSessions(None, self.config)


class TestClusterContract(SessionStoreContract):
    """A cluster refuses scripts whose keys are not all in one slot."""

    @pytest.fixture(autouse=True)
    def _redis(self, cluster_url: str, redis_prefix: str) -> None:
        host = {"address": cluster_url, "cluster": True}
        self.config = Config(store_redis=host, group_prefix=redis_prefix, store_timeout=20.0)

    def make_store(self) -> RedisSessions:
        return RedisSessions(None, self.config)

    def test_saves_many_of_all_partitions_at_once(self) -> None:
        async def main() -> None:
            store = self.make_store()
            keys = [f"{number:08x}" + secrets.token_hex(16) for number in range(10 * PARTITIONS)]
            assert await store.save([saved(key, key.encode()) for key in keys]) == frozenset()
            for key in keys[::7]:
                taken = await store.take(key, USER, ttl=60.0)
                assert taken is not None
                assert taken.body == key.encode()
            assert await store.save([saved(key) for key in keys]) == set(keys[::7])
            await store.forget([(key, "a") for key in keys])
            assert await store.take(keys[1], USER, ttl=60.0) is None
            await store.close()

        asyncio.run(main())


def test_keys_have_a_hash_tag_and_expire(redis_url: str, redis_prefix: str) -> None:
    config = Config(store_redis=redis_url, group_prefix=redis_prefix, store_timeout=20.0)

    async def main() -> None:
        store = RedisSessions(None, config)
        key = secrets.token_hex(20)
        await store.save([saved(key, ttl=60.0)])
        with redis.Redis.from_url(redis_url) as client:
            (name,) = client.scan_iter(match=f"{redis_prefix}*", count=1_000)
            assert name.decode().startswith(redis_prefix + ":{s")
            assert 30_000 < client.pttl(name) <= 60_000
            await store.take(key, USER, ttl=90.0)
            assert 60_000 < client.pttl(name) <= 90_000
            assert client.get(name) == b"-"
        await store.close()

    asyncio.run(main())


def test_server_that_is_away_is_unavailable() -> None:
    config = Config(store_redis="redis://127.0.0.1:1/0", store_timeout=1.0)

    async def main() -> None:
        store = RedisSessions(None, config)
        for request in (
            store.save([saved("0" * 40)]),
            store.take("0" * 40, USER, ttl=1.0),
            store.forget([("0" * 40, "a")]),
        ):
            with pytest.raises(Unavailable, match="the session store failed with"):
                await request

    asyncio.run(main())
