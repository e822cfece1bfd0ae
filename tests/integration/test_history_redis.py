"""Histories in Redis: the contract, what it costs, and what happens when Redis does not respond."""

from __future__ import annotations

import pytest

from channels_realtime.config import Config
from channels_realtime.history.redis import RedisHistory
from channels_realtime.testing import HistoryStoreContract


class TestContract(HistoryStoreContract):
    @pytest.fixture(autouse=True)
    def _redis(self, redis_url: str, redis_prefix: str) -> None:
        self.config = Config(store_redis=redis_url, group_prefix=redis_prefix, store_timeout=20.0)

    def make_store(self) -> RedisHistory:
        return RedisHistory(None, self.config)
