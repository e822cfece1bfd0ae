"""Which store a layer has: by its kind, by the settings, and one of each for all threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from channels.layers import InMemoryChannelLayer
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

from channels_realtime.config import Config
from channels_realtime.nodes.stores import Stores, stores_of
from channels_realtime.stores.history.memory import MemoryHistory
from channels_realtime.stores.history.redis import RedisHistory
from channels_realtime.stores.presence.memory import MemoryPresence
from channels_realtime.stores.presence.redis import RedisPresence
from channels_realtime.stores.sessions.memory import MemorySessions
from channels_realtime.stores.sessions.redis import RedisSessions

IN_MEMORY = (MemoryHistory, MemoryPresence, MemorySessions)
IN_REDIS = (RedisHistory, RedisPresence, RedisSessions)
MEMORY = "channels_realtime.stores.history.memory.MemoryHistory"


class OwnHistory(MemoryHistory):
    """Counts how many are made."""

    made = 0

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        type(self).made += 1


def kinds(layer, **config) -> tuple[type, ...]:
    stores = Stores(layer, Config(**config))
    return type(stores.history), type(stores.presence), type(stores.sessions)


@pytest.mark.parametrize("layer", [RedisChannelLayer, RedisPubSubChannelLayer])
def test_a_layer_of_redis_has_stores_in_redis(layer):
    assert kinds(layer()) == IN_REDIS


def test_the_layer_in_memory_has_stores_in_memory():
    assert kinds(InMemoryChannelLayer()) == IN_MEMORY


def test_another_layer_has_stores_in_redis_where_the_setting_names_one():
    assert kinds(InMemoryChannelLayer(), store_redis="redis://localhost") == IN_REDIS


def test_a_store_by_setting_comes_first():
    assert kinds(RedisChannelLayer(), history_store=MEMORY)[0] is MemoryHistory


def test_threads_that_come_first_together_get_one_store():
    layer = InMemoryChannelLayer()
    config = Config(history_store=f"{__name__}.OwnHistory")
    together = threading.Barrier(8)

    def use(_: int) -> MemoryHistory:
        together.wait()
        return stores_of(layer, config).history

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(use, range(8)))
    assert len({id(store) for store in found}) == 1
    assert OwnHistory.made == 1


def test_layers_have_stores_of_their_own():
    layers = [InMemoryChannelLayer(), InMemoryChannelLayer()]
    one, other = (stores_of(layer, Config()).history for layer in layers)
    assert one is not other
    assert stores_of(layers[0], Config()).history is one
