"""The broker over a real Redis: by the layer's public API, and by the adapter of its exact class."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

from channels_realtime.errors import Unavailable
from channels_realtime.nodes.adapters.base import LayerAdapter
from channels_realtime.nodes.adapters.choice import adapter_of
from channels_realtime.nodes.adapters.redis_core import CoreAdapter
from channels_realtime.nodes.adapters.redis_pubsub import PubSubAdapter
from channels_realtime.nodes.broker import Broker
from channels_realtime.nodes.envelope import wrap
from channels_realtime.nodes.groups import group_name
from channels_realtime.nodes.metrics import Metrics
from channels_realtime.protocol.messages import Publication
from tests.support.redis_process import MASTER, watched_redis
from tests.support.redis_server import private_redis_server

TIMEOUT_S = 20.0


class General(RedisPubSubChannelLayer):
    """The same layer, through its public API: it overrides what a message passes."""

    def serialize(self, message: dict[str, Any]) -> bytes:
        data: bytes = super().serialize(message)
        return data


class Core(RedisChannelLayer):
    """Has room for what a test sends at once, and no time-out while it waits for a message."""

    def __init__(self, hosts: list[Any], **options: Any) -> None:
        hosts = [{"address": host, "socket_timeout": None} for host in hosts]
        super().__init__(hosts, capacity=5_000, **options)


class GeneralCore(Core):
    """The same layer, through its public API."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        await super().group_send(group, message)


LAYERS = {
    "pubsub": RedisPubSubChannelLayer,
    "pubsub-general": General,
    "core": Core,
    "core-general": GeneralCore,
}
ADAPTERS = {
    "pubsub": PubSubAdapter,
    "pubsub-general": LayerAdapter,
    "core": CoreAdapter,
    "core-general": LayerAdapter,
}
PAIRS = {
    "pubsub": (RedisPubSubChannelLayer, General),
    "core": (Core, GeneralCore),
}


class Receiver:
    """Keeps what arrives."""

    def __init__(self) -> None:
        self.publications: list[Publication] = []
        self.losses = 0

    def receive(self, publication: Publication, sent_at: float | None = None) -> None:
        self.publications.append(publication)

    def lost(self) -> None:
        self.losses += 1

    def control(self, message: dict[str, Any]) -> None:
        raise AssertionError(f"unexpected control message: {message}")

    def payloads(self, channel: str = "a") -> list[Any]:
        return [one.payload for one in self.publications if one.channel == channel]


class Running:
    def __init__(self, layer: Any, **options: float) -> None:
        self.layer = layer
        self.receiver = Receiver()
        values = {"subscribe_timeout": 5.0, "publish_timeout": 5.0, "check_interval": 60.0}
        self.broker = Broker(
            layer,
            prefix="test",
            node_id=os.urandom(4).hex(),
            receiver=self.receiver,
            metrics=Metrics(),
            **(values | options),
        )

    async def publish(self, *payloads: Any, channel: str = "a") -> None:
        for payload in payloads:
            await self.broker.publish(Publication(channel, payload))


@asynccontextmanager
async def running(layer: Any, **options: float) -> AsyncIterator[Running]:
    found = Running(layer, **options)
    try:
        yield found
    finally:
        await found.broker.stop()
        await layer.flush()


async def until(holds: Any) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not holds():  # noqa: ASYNC110  # of what nothing tells
            await asyncio.sleep(0.01)


def kill(server: "redis.Redis", *, subscribed: bool) -> None:
    """Have the server close the connections that are, or are not, subscribed to something."""
    own = server.client_id()
    for client in server.client_list():
        if int(client["id"]) != own and (int(client["sub"]) > 0) is subscribed:
            server.client_kill_filter(_id=client["id"])


@pytest.fixture(scope="module")
def own_redis() -> Iterator[str]:
    with private_redis_server() as url:
        yield url


@pytest.fixture(params=LAYERS)
def way(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def layer(way: str, own_redis: str) -> Any:
    return LAYERS[way](hosts=[own_redis])


@pytest.fixture(params=[name for name in LAYERS if name != "core-general"])
def ordered_layer(request: pytest.FixtureRequest, own_redis: str) -> Any:
    """Not the core layer by itself: it sends what comes at once over as many connections."""
    return LAYERS[request.param](hosts=[own_redis])


@pytest.fixture
def server(own_redis: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(own_redis) as client:
        yield client


@contextlib.contextmanager
def hanging(server: "redis.Redis") -> Iterator[None]:
    process_id = int(server.info("server")["process_id"])
    os.kill(process_id, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process_id, signal.SIGCONT)


async def test_layer_is_reached_in_the_way_that_is_tested(way: str, layer: Any) -> None:
    assert type(adapter_of(layer)) is ADAPTERS[way]


async def test_publications_of_many_tasks_arrive_once_and_in_the_order_of_their_task(
    layer: Any,
) -> None:
    async with running(layer) as one:
        for channel in ("a", "b"):
            await one.broker.join(channel)

        async def publish(task: int) -> None:
            channel = "ab"[task % 2]
            await one.publish(*([task, n] for n in range(50)), channel=channel)

        await asyncio.gather(*[publish(task) for task in range(40)])
        await until(lambda: len(one.receiver.publications) == 2_000)
        for task in range(40):
            got = [n for who, n in one.receiver.payloads("ab"[task % 2]) if who == task]
            assert got == list(range(50))


async def test_order_of_one_turn_of_the_loop_is_kept(ordered_layer: Any) -> None:
    async with running(ordered_layer) as one:
        await one.broker.join("a")
        tasks = [asyncio.create_task(one.publish(n)) for n in range(1_200)]
        await asyncio.gather(*tasks)
        await until(lambda: len(one.receiver.publications) == 1_200)
        assert one.receiver.payloads() == list(range(1_200))


async def test_large_publications_arrive_whole_among_small_ones(ordered_layer: Any) -> None:
    sizes = [1, 400_000, 2, 700_000, 3]
    async with running(ordered_layer) as one:
        await one.broker.join("a")
        await asyncio.gather(*[one.publish("x" * size) for size in sizes])
        await until(lambda: len(one.receiver.publications) == len(sizes))
        assert [len(payload) for payload in one.receiver.payloads()] == sizes


@pytest.mark.parametrize(
    "options",
    [
        {"prefix": "other"},
        {"symmetric_encryption_keys": ["secret"]},
        {"serializer_format": "json"},
    ],
    ids=lambda options: next(iter(options)),
)
@pytest.mark.parametrize("pair", PAIRS)
async def test_both_ways_hear_each_other(
    own_redis: str, pair: str, options: dict[str, Any]
) -> None:
    first, second = (kind(hosts=[own_redis], **options) for kind in PAIRS[pair])
    async with running(first) as one, running(second) as two:
        for each in (one, two):
            await each.broker.join("a")
        await one.publish({"raw": b"\xff"})
        await until(lambda: two.receiver.publications and one.receiver.publications)
        await two.publish("back")
        await until(lambda: len(one.receiver.publications) == len(two.receiver.publications) == 2)
        for each in (one, two):
            assert each.receiver.payloads() == [{"raw": b"\xff"}, "back"]


@pytest.mark.parametrize("protocol", [2, 3])
async def test_both_versions_of_the_protocol_are_read(own_redis: str, protocol: int) -> None:
    layer = RedisPubSubChannelLayer(hosts=[f"{own_redis}?protocol={protocol}"])
    async with running(layer) as one:
        await one.broker.join("a")
        await one.publish("x")
        await until(lambda: one.receiver.payloads() == ["x"])


@pytest.mark.parametrize("pair", PAIRS)
async def test_channels_are_spread_over_the_hosts_as_the_layer_does(
    own_redis: str, pair: str
) -> None:
    channels = [f"c{n}" for n in range(20)]
    with private_redis_server() as other:
        first, second = (kind(hosts=[own_redis, other]) for kind in PAIRS[pair])
        async with running(first) as one, running(second) as two:
            for each in (one, two):
                await asyncio.gather(*map(each.broker.join, channels))
            for channel in channels:
                await one.publish("x", channel=channel)
            for each in (one, two):
                await until(lambda each=each: len(each.receiver.publications) == len(channels))
        with redis.Redis.from_url(other) as server:
            used = {"pubsub": "cmdstat_publish", "core": "cmdstat_zadd"}[pair]
            assert server.info("commandstats")[used]["calls"] > 0


async def test_message_by_the_layer_itself_arrives(layer: Any) -> None:
    async with running(layer) as one:
        await one.broker.join("a")
        await layer.group_send(group_name("test", "a"), wrap(Publication("a", "by group")))
        await layer.send(one.broker.inbox, wrap(Publication("a", "by channel")))
        await until(lambda: len(one.receiver.publications) == 2)
        assert sorted(one.receiver.payloads()) == ["by channel", "by group"]


async def test_two_nodes_of_a_loop_each_hear_a_publication_once(layer: Any) -> None:
    async with running(layer) as one, running(layer) as two:
        for each in (one, two):
            await each.broker.join("a")
        await one.publish(1)
        await until(lambda: one.receiver.publications and two.receiver.publications)
        await one.broker.stop()
        await two.publish(2)
        await until(lambda: len(two.receiver.publications) == 2)
        assert (one.receiver.payloads(), two.receiver.payloads()) == ([1], [1, 2])


async def test_message_that_cannot_be_read_hurts_no_other(
    own_redis: str, server: "redis.Redis", caplog: pytest.LogCaptureFixture
) -> None:
    layer = RedisPubSubChannelLayer(hosts=[own_redis])
    async with running(layer) as one:
        await one.broker.join("a")
        server.publish(f"asgi__group__{group_name('test', 'a')}", b"\xc1")
        await one.publish("x")
        await until(lambda: one.receiver.payloads() == ["x"])
    assert "A message of the channel layer could not be handled" in caplog.text


# -- a server that fails ---------------------------------------------------------------------------


async def test_each_publisher_gets_the_outcome_of_its_own(
    own_redis: str, server: "redis.Redis"
) -> None:
    allowed = f"asgi__group__{group_name('test', 'a')}"
    server.execute_command(
        "ACL", "SETUSER", "half", "on", ">pass", "allcommands", "resetchannels", f"&{allowed}"
    )
    address = own_redis.replace("redis://", "redis://half:pass@")
    async with running(RedisPubSubChannelLayer(hosts=[address])) as one:
        outcomes = await asyncio.gather(
            *[one.publish("x", channel=channel) for channel in ("a", "b", "a", "b")],
            return_exceptions=True,
        )
    assert [type(outcome) for outcome in outcomes] == [type(None), Unavailable] * 2
    assert "ResponseError" in str(outcomes[1])


async def test_server_that_hangs_is_unavailable_in_time_and_used_again_afterwards(
    layer: Any, server: "redis.Redis"
) -> None:
    loop = asyncio.get_running_loop()
    async with running(layer, publish_timeout=0.7) as one:
        await one.broker.join("a")
        with hanging(server):
            began = loop.time()
            outcomes = await asyncio.gather(
                *[one.publish(n) for n in range(20)], return_exceptions=True
            )
            assert loop.time() - began < 0.7 + 0.5
            assert {type(outcome) for outcome in outcomes} == {Unavailable}
            with pytest.raises(Unavailable, match="does not answer"):
                await one.publish("at once")
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                with contextlib.suppress(Unavailable):
                    await one.publish("again")
                    break
                await asyncio.sleep(0.05)
        await until(lambda: "again" in one.receiver.payloads())
        assert one.receiver.losses > 0


async def test_sender_that_gives_up_hurts_no_other(layer: Any, server: "redis.Redis") -> None:
    async with running(layer) as one:
        await one.broker.join("a")
        with hanging(server):
            tasks = [asyncio.create_task(one.publish(n)) for n in range(3)]
            await asyncio.sleep(0.05)
            tasks[1].cancel()
            await asyncio.sleep(0.05)
        await asyncio.gather(tasks[0], tasks[2])
        await one.publish("next")
        await until(lambda: "next" in one.receiver.payloads())
        assert [n for n in one.receiver.payloads() if n != 1] == [0, 2, "next"]


async def test_publishers_connection_that_broke_is_replaced(
    own_redis: str, server: "redis.Redis"
) -> None:
    async with running(RedisPubSubChannelLayer(hosts=[own_redis])) as one:
        await one.broker.join("a")
        await one.publish(1)
        kill(server, subscribed=False)
        await asyncio.sleep(0.05)
        await one.publish(2)
        await until(lambda: one.receiver.payloads() == [1, 2])


async def test_subscribers_connection_that_broke_is_replaced_and_that_is_told(
    own_redis: str, server: "redis.Redis", caplog: pytest.LogCaptureFixture
) -> None:
    async with running(RedisPubSubChannelLayer(hosts=[own_redis])) as one:
        await asyncio.gather(*[one.broker.join(channel) for channel in "abc"])
        kill(server, subscribed=True)
        await until(lambda: one.receiver.losses == 1)
        # Told when all is subscribed again: so what is published from here on arrives.
        for channel in "abc":
            await one.publish("x", channel=channel)
        await until(lambda: len(one.receiver.publications) == 3)
        assert one.receiver.losses == 1
    assert "The connection to the channel layer was lost; it is opened again" in caplog.text


async def test_subscriber_that_hangs_is_replaced_when_a_join_is_not_confirmed(
    own_redis: str, server: "redis.Redis"
) -> None:
    layer = RedisPubSubChannelLayer(hosts=[own_redis])
    async with running(layer, subscribe_timeout=1.2) as one:
        await one.broker.join("a")
        with hanging(server), pytest.raises(Unavailable, match="TimeoutError"):
            await one.broker.join("b")
        await until(lambda: one.receiver.losses > 0)
        await one.broker.join("b")
        await one.publish("x", channel="b")
        await until(lambda: one.receiver.payloads("b") == ["x"])


async def test_layer_that_was_flushed_is_used_again(own_redis: str) -> None:
    layer = RedisPubSubChannelLayer(hosts=[own_redis])
    async with running(layer) as one:
        await one.broker.join("a")
        await one.publish(1)
        await until(lambda: one.receiver.payloads() == [1])
        await layer.flush()
        await until(lambda: one.receiver.losses > 0)
        await one.publish(2)
        await until(lambda: one.receiver.payloads() == [1, 2])


async def test_left_group_is_unsubscribed_and_joined_again(
    own_redis: str, server: "redis.Redis"
) -> None:
    layer = RedisPubSubChannelLayer(hosts=[own_redis], prefix="left")
    async with running(layer) as one:
        await one.broker.join("a")
        inbox = one.broker.inbox
        adapter = adapter_of(layer)
        group = group_name("test", "a")
        for _ in range(50):
            await adapter.group_discard(group, inbox)
            await adapter.group_add(group, inbox)
            await one.publish("x")
        await until(lambda: len(one.receiver.publications) == 50)
        await one.broker.stop()
        await until(lambda: server.pubsub_channels("left*") == [])


@pytest.mark.parametrize("kind", [RedisPubSubChannelLayer, Core], ids=["pubsub", "core"])
async def test_refused_group_fails_alone_among_those_that_are_joined_together(
    own_redis: str, server: "redis.Redis", kind: Any
) -> None:
    names = {each: group_name("test", each) for each in ("a", "b")}
    server.execute_command(
        *("ACL", "SETUSER", "some", "on", ">pass", "allcommands", "resetchannels", "resetkeys"),
        *(f"&asgi__group__{names['a']}", f"~asgi:group:{names['a']}", "&asgispecific*"),
    )
    adapter = adapter_of(kind(hosts=[own_redis.replace("redis://", "redis://some:pass@")]))
    inbox = await adapter.new_channel()
    allowed, refused = [
        (await adapter.group_add_all([names[each]], inbox))[0] for each in ("a", "b")
    ]
    assert allowed is None
    assert "NoPermission" in type(refused).__name__ or "NOPERM" in str(refused)
    both = await adapter.group_add_all([names["a"], names["a"]], inbox)
    assert list(both) == [None, None]
    if kind is RedisPubSubChannelLayer:
        await adapter._layer.flush()
    else:
        await adapter._layer.close_pools()


# -- the core layer --------------------------------------------------------------------------------


async def test_what_was_taken_off_before_a_connection_broke_is_handed_out_again(
    own_redis: str, server: "redis.Redis"
) -> None:
    layer = Core(hosts=[own_redis], prefix="backup")
    async with running(layer) as one:
        await one.broker.join("a")
        assert one.broker.inbox is not None
        local = layer.non_local_name(one.broker.inbox)
        message = {**wrap(Publication("a", "kept")), "__asgi_channel__": [one.broker.inbox]}
        server.zadd(f"backup{local}$inflight", {layer.serialize(message): 1.0})
        kill(server, subscribed=False)
        await until(lambda: one.receiver.payloads() == ["kept"])
        assert one.receiver.losses > 0


async def test_code_that_receives_by_the_layer_itself_is_left_alone(own_redis: str) -> None:
    layer = Core(hosts=[own_redis], prefix="shared")
    async with running(layer) as one:
        await one.broker.join("a")
        other = await layer.new_channel()
        await layer.group_add(group_name("test", "a"), other)
        receiving = asyncio.create_task(layer.receive(other))
        for n in range(3):
            await one.publish(n)
        await until(lambda: one.receiver.payloads() == [0, 1, 2])
        found = [await receiving, await layer.receive(other), await layer.receive(other)]
        assert [message["type"] for message in found] == ["realtime.publication"] * 3


async def test_queue_that_is_full_takes_nothing_as_with_the_layer_itself(
    own_redis: str, server: "redis.Redis"
) -> None:
    layer = RedisChannelLayer(hosts=[own_redis], prefix="full", capacity=10)
    async with running(layer) as one:
        await one.broker.start()
        idle = await layer.new_channel()
        await layer.group_add(group_name("test", "idle"), idle)
        await asyncio.gather(*[one.publish(n, channel="idle") for n in range(40)])
        assert server.zcard("full" + layer.non_local_name(idle)) == 10
        first = await layer.receive(idle)
        assert first["type"] == "realtime.publication"


async def test_reader_that_ends_gives_its_connection_back(
    own_redis: str, server: "redis.Redis"
) -> None:
    layer = Core(hosts=[own_redis], prefix="back")
    async with running(layer) as one:
        for _ in range(3):
            await one.broker.join("a")
            await one.publish("x")
            await one.broker.stop()
        pool = layer.connection(0).connection_pool
        assert len(pool._in_use_connections) == 1  # the one that sends
    await until(lambda: not any("bzpop" in client["cmd"] for client in server.client_list()))


async def test_idle_reader_outlives_the_layers_socket_timeout(
    own_redis: str, server: "redis.Redis"
) -> None:
    layer = RedisChannelLayer(hosts=[{"address": own_redis, "socket_timeout": 0.2}], prefix="idle")
    async with running(layer) as one:
        await one.broker.join("a")

        def has_waited() -> bool:
            clients = [client for client in server.client_list() if "bzpop" in client["cmd"]]
            return any(int(client["idle"]) >= 1 for client in clients)

        await until(has_waited)
        await one.publish("x")
        await until(lambda: one.receiver.payloads() == ["x"])
        assert one.receiver.losses == 0


async def test_core_layer_that_looks_different_is_used_through_its_public_api(
    own_redis: str,
) -> None:
    patched, older, other = (Core(hosts=[own_redis]) for _ in range(3))
    patched.connection = patched.connection
    del older.ring_size
    other.create_pool = lambda index: object()
    for layer in (patched, older, other):
        assert type(adapter_of(layer)) is LayerAdapter


# -- Sentinel --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [RedisPubSubChannelLayer, RedisChannelLayer])
async def test_master_that_sentinel_replaces_is_left_for_the_new_one(kind: Any) -> None:
    with watched_redis() as watched:
        host = {"sentinels": [("127.0.0.1", watched.sentinel_port)], "master_name": MASTER}
        layer = kind(hosts=[host])
        async with running(layer, publish_timeout=1.0, subscribe_timeout=2.0) as one:
            assert type(adapter_of(layer)) is not LayerAdapter
            await one.broker.join("a")
            await one.publish("before")
            await until(lambda: one.receiver.payloads() == ["before"])
            watched.wait_for_replica()
            await asyncio.to_thread(watched.kill_master)
            await until(lambda: one.receiver.losses > 0)
            async with asyncio.timeout(TIMEOUT_S):
                while "after" not in one.receiver.payloads():
                    with contextlib.suppress(Unavailable):
                        await one.publish("after")
                    await asyncio.sleep(0.1)
