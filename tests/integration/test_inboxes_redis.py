"""Inboxes in Redis: the contract on a server and on a cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from channels_realtime.config import Config
from channels_realtime.stores.history.inbox_contract import InboxStoreContract
from channels_realtime.stores.history.redis_inboxes import RedisInboxes
from tests.support.redis_server import private_redis_cluster


class TestContract(InboxStoreContract):
    @pytest.fixture(autouse=True)
    def _redis(self, redis_url: str, redis_prefix: str) -> None:
        self.config = Config(store_redis=redis_url, group_prefix=redis_prefix, store_timeout=20.0)

    def make_store(self) -> RedisInboxes:
        return RedisInboxes(None, self.config)


@pytest.fixture(scope="module")
def cluster_url() -> Iterator[str]:
    with private_redis_cluster() as url:
        yield url


class TestClusterContract(InboxStoreContract):
    """A cluster refuses commands and scripts whose keys are not all in one slot."""

    @pytest.fixture(autouse=True)
    def _redis(self, cluster_url: str, redis_prefix: str) -> None:
        host = {"address": cluster_url, "cluster": True}
        self.config = Config(store_redis=host, group_prefix=redis_prefix, store_timeout=20.0)

    def make_store(self) -> RedisInboxes:
        return RedisInboxes(None, self.config)
