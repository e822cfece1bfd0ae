"""Where the stores' Redis servers come from, and what a client of them does not say."""

from __future__ import annotations

import pytest
from channels.layers import InMemoryChannelLayer
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer
from redis.asyncio import Redis, SentinelConnectionPool
from redis.asyncio.cluster import RedisCluster

from channels_realtime.config import Config
from channels_realtime.errors import ImproperUse
from channels_realtime.runtime.redis_clients import RedisClients, connect, key_prefix, redis_hosts

URL = "redis://:secret@example.com:6380/3"
SENTINEL = {"sentinels": [("10.0.0.1", 26_379)], "master_name": "mymaster"}


class OwnLayer(RedisPubSubChannelLayer):
    """A subclass, as sites write them."""


@pytest.mark.parametrize("layer", [RedisChannelLayer, RedisPubSubChannelLayer, OwnLayer])
@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ([URL], {"address": URL}),
        ([("example.com", 6_380)], {"host": "example.com", "port": 6_380}),
        ([{"address": URL, "ssl": True}], {"address": URL, "ssl": True}),
        ([SENTINEL], SENTINEL),
        (None, {"address": "redis://localhost:6379"}),
    ],
)
def test_the_hosts_are_those_of_the_layer(layer, hosts, expected):
    assert redis_hosts(layer(hosts=hosts), Config()) == [expected]


def test_the_hosts_of_a_layer_may_be_its_first_argument():
    assert redis_hosts(RedisPubSubChannelLayer([URL]), Config()) == [{"address": URL}]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (URL, [{"address": URL}]),
        (SENTINEL, [SENTINEL]),
        ([URL, {"address": URL}], [{"address": URL}, {"address": URL}]),
    ],
)
def test_the_setting_comes_before_the_layer(given, expected):
    layer = RedisChannelLayer(hosts=["redis://elsewhere"])
    assert redis_hosts(layer, Config(store_redis=given)) == expected


def test_another_layer_has_no_hosts():
    assert redis_hosts(InMemoryChannelLayer(), Config()) is None


@pytest.mark.parametrize(
    ("make", "prefix"),
    [
        (lambda: RedisChannelLayer(hosts=[URL]), "asgi:realtime"),
        (lambda: RedisChannelLayer(hosts=[URL], prefix="staging"), "staging:realtime"),
        (lambda: RedisPubSubChannelLayer(hosts=[URL]), "asgi:realtime"),
        (lambda: RedisPubSubChannelLayer(hosts=[URL], prefix="staging"), "staging:realtime"),
        (lambda: RedisPubSubChannelLayer([URL], "staging"), "staging:realtime"),
        (InMemoryChannelLayer, "realtime"),
        (lambda: None, "realtime"),
    ],
)
def test_sites_whose_layers_are_apart_have_stores_apart(make, prefix):
    assert key_prefix(make(), Config()) == prefix


def test_no_hosts_are_an_error_that_names_the_setting():
    with pytest.raises(ImproperUse, match=r"the history store has no Redis.*set STORE_REDIS"):
        RedisClients(InMemoryChannelLayer(), Config(), "the history store")


def test_a_repr_shows_no_password():
    clients = RedisClients(RedisChannelLayer(hosts=[URL]), Config(), "the history store")
    assert repr(clients) == "<RedisClients of the history store: 1 servers>"


def test_servers_share_the_buckets():
    clients = RedisClients(RedisChannelLayer(hosts=[URL] * 3), Config(), "the history store")
    found = [clients.index_of(bucket) for bucket in range(256)]
    assert [found.count(index) for index in clients.servers] == [86, 85, 85]


async def test_a_client_is_made_of_an_address_with_its_options():
    client = connect({"address": URL, "health_check_interval": 7})
    assert isinstance(client, Redis)
    options = client.connection_pool.connection_kwargs
    assert (options["host"], options["port"], options["db"]) == ("example.com", 6_380, 3)
    assert options["health_check_interval"] == 7


async def test_a_client_asks_the_sentinels_for_the_master():
    client = connect(SENTINEL)
    assert isinstance(client.connection_pool, SentinelConnectionPool)
    assert client.connection_pool.service_name == "mymaster"


async def test_a_cluster_has_a_client_of_its_own_that_sends_once():
    client = connect({"address": "redis://10.0.0.1:7000", "cluster": True})
    assert isinstance(client, RedisCluster)
    assert client.retry.get_retries() == 0
