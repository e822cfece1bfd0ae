"""The ways to a channel layer: the same behaviour over its public API and over the faster ways."""

from __future__ import annotations

import asyncio
import threading

import pytest
from channels.layers import InMemoryChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

from channels_realtime.errors import Unavailable
from channels_realtime.nodes.adapters.base import RECEIVE_BURST, LayerAdapter
from channels_realtime.nodes.adapters.choice import adapter_of
from channels_realtime.nodes.adapters.memory import MemoryAdapter
from channels_realtime.nodes.adapters.redis_pubsub import PubSubAdapter
from channels_realtime.nodes.envelope import send_control, wrap
from channels_realtime.nodes.groups import group_name
from channels_realtime.protocol.messages import Publication
from tests.support.virtual_time import in_virtual_time, settle
from tests.unit.nodes.test_broker import Running

GROUP_A = group_name("test", "a")


class Subclass(InMemoryChannelLayer):
    """Overrides what a message passes, so it is used through its public API."""

    async def group_send(self, group, message):
        await super().group_send(group, message)


LAYERS = {"general": (Subclass, LayerAdapter), "memory": (InMemoryChannelLayer, MemoryAdapter)}


@pytest.fixture(params=LAYERS)
def layer(request):
    kind, adapter = LAYERS[request.param]
    found = kind()
    found.expected = adapter
    return found


class Broker(Running):
    """A broker over a layer that no test scripts."""

    async def __aexit__(self, *exception):
        await self.broker.stop()


# -- the choice ------------------------------------------------------------------------------------


@in_virtual_time
async def test_layer_has_one_adapter_on_a_loop(layer):
    assert type(adapter_of(layer)) is layer.expected
    assert adapter_of(layer) is adapter_of(layer)


@in_virtual_time
async def test_in_memory_layer_that_was_patched_is_used_through_its_public_api():
    layer = InMemoryChannelLayer()
    layer.group_send = layer.group_send
    assert type(adapter_of(layer)) is LayerAdapter


@in_virtual_time
async def test_in_memory_layer_without_its_dict_of_groups_is_used_through_its_public_api():
    layer = InMemoryChannelLayer()
    del layer.groups
    assert type(adapter_of(layer)) is LayerAdapter


def touched(layer, change):
    """What a version of channels_redis may look like that has changed inside."""
    own = layer._get_layer()
    shard = own._shards[0]
    match change:
        case "patched":
            layer.serialize = layer.serialize
        case "loop layer patched":
            own.group_send = own.group_send
        case "no shards":
            del own._shards
        case "another shard":
            own._shards = [object()]
        case "patched shard":
            shard.publish = shard.publish
        case "no prefix":
            own.prefix = None
        case "another client":
            shard._ensure_redis = lambda: None
        case "another pool":
            shard._ensure_redis()
            shard._redis.connection_pool = object()
        case "another connection":
            shard._ensure_redis()
            shard._redis.connection_pool.make_connection = object
        case "older pool":
            shard._ensure_redis()

            async def get_connection(command_name):
                raise AssertionError

            shard._redis.connection_pool.get_connection = get_connection


CHANGES = [
    "patched",
    "loop layer patched",
    "no shards",
    "another shard",
    "patched shard",
    "no prefix",
    "another client",
    "another pool",
    "another connection",
    "older pool",
]


@pytest.mark.parametrize("change", CHANGES)
async def test_pubsub_layer_that_looks_different_is_used_through_its_public_api(change):
    layer = RedisPubSubChannelLayer(hosts=["redis://127.0.0.1:1"])
    touched(layer, change)
    assert type(adapter_of(layer)) is LayerAdapter
    layer._layers.clear()  # what is left of it cannot be closed with the loop


async def test_pubsub_layer_as_it_is_known_has_its_own_adapter():
    layer = RedisPubSubChannelLayer(hosts=["redis://127.0.0.1:1", ("127.0.0.1", 2)])
    assert type(adapter_of(layer)) is PubSubAdapter


async def test_subclass_of_the_pubsub_layer_keeps_the_adapter_unless_it_overrides_its_work():
    class Named(RedisPubSubChannelLayer):
        name = "mine"

    class Sealed(RedisPubSubChannelLayer):
        def serialize(self, message):
            return super().serialize(message)

    hosts = ["redis://127.0.0.1:1"]
    assert type(adapter_of(Named(hosts=hosts))) is PubSubAdapter
    assert type(adapter_of(Sealed(hosts=hosts))) is LayerAdapter


@pytest.mark.parametrize("method", ["new_channel", "receive", "group_add", "group_send"])
async def test_pubsub_layer_that_does_what_it_forwards_by_itself_keeps_doing_it(method):
    async def own(self, *arguments):
        raise AssertionError

    kind = type("Own", (RedisPubSubChannelLayer,), {method: own})
    assert type(adapter_of(kind(hosts=["redis://127.0.0.1:1"]))) is LayerAdapter
    patched = RedisPubSubChannelLayer(hosts=["redis://127.0.0.1:1"])
    setattr(patched, method, own)
    assert type(adapter_of(patched)) is LayerAdapter


async def test_redis_that_cannot_be_reached_is_unavailable_at_once():
    async with Broker(RedisPubSubChannelLayer(hosts=[("127.0.0.1", 1)])) as running:
        with pytest.raises(Unavailable, match=r"did not open an inbox: ConnectionError$"):
            await running.broker.join("a")
        with pytest.raises(Unavailable, match=r"did not take the publication: ConnectionError$"):
            await running.publish("x")


def test_adapters_of_closed_loops_are_forgotten(layer):
    from channels_realtime.nodes.adapters import choice

    for _ in range(2):
        asyncio.run(_adapter(layer))
    assert [loop for loop in choice._adapters if loop.is_closed()] != []
    asyncio.run(_adapter(layer))
    assert len([loop for loop in choice._adapters if loop.is_closed()]) == 1


async def _adapter(layer):
    return adapter_of(layer)


# -- the same over each ----------------------------------------------------------------------------


@in_virtual_time
async def test_publications_keep_their_order_beyond_the_layers_capacity(layer):
    async with Broker(layer) as running:
        await running.broker.join("a")
        await running.publish(*range(1_000))
        assert running.receiver.payloads == list(range(1_000))


@in_virtual_time
async def test_publications_of_many_tasks_arrive_each_once_and_in_the_order_of_their_task(layer):
    async with Broker(layer) as running:
        await running.broker.join("a")

        async def publish(task):
            for n in range(20):
                await running.broker.publish(Publication("a", [task, n]))

        # As many as the in-memory layer holds: by its public API it drops what comes at once beyond.
        await asyncio.gather(*[publish(task) for task in range(4)])
        await settle()
        for task in range(4):
            own = [n for sender, n in running.receiver.payloads if sender == task]
            assert own == list(range(20))


@in_virtual_time
async def test_publication_reaches_every_node_of_the_process_once(layer):
    async with Broker(layer) as one, Broker(layer, node_id="n2") as two:
        await one.broker.join("a")
        await two.broker.join("a")
        await one.publish(1)
        await two.publish(2)
        assert (one.receiver.payloads, two.receiver.payloads) == ([1, 2], [1, 2])


@in_virtual_time
async def test_receivers_share_nothing_that_can_be_changed(layer):
    control = {"kind": "x", "ids": ["1"]}
    async with Broker(layer) as one, Broker(layer, node_id="n2") as two:
        payload = {"list": [1]}
        for running in (one, two):
            await running.broker.join("a")
        await one.broker.publish(Publication("a", payload))
        await send_control(layer, "test", control, 5.0)
        payload["list"].append(2)
        control["ids"].append("2")
        await settle()
        assert one.receiver.payloads == two.receiver.payloads == [{"list": [1]}]
        assert one.receiver.payloads[0] is not two.receiver.payloads[0]
        one.receiver.controls[0]["ids"].append("3")
        assert two.receiver.controls == [{"kind": "x", "ids": ["1"]}]


@in_virtual_time
async def test_what_others_send_through_the_layer_itself_arrives(layer):
    async with Broker(layer) as running:
        await running.broker.join("a")
        await layer.group_send(GROUP_A, wrap(Publication("a", "by group")))
        await layer.send(running.broker.inbox, wrap(Publication("a", "by channel")))
        await settle()
        assert running.receiver.payloads == ["by group", "by channel"]


@in_virtual_time
async def test_channels_of_others_in_a_group_get_what_is_sent_to_it(layer):
    async with Broker(layer) as running:
        other = await layer.new_channel()
        await layer.group_add(GROUP_A, other)
        await running.publish("x")
        assert (await layer.receive(other))["type"] == "realtime.publication"
        for _ in range(200):
            await running.publish("more than it holds")


@in_virtual_time
async def test_lost_memberships_are_noticed_and_taken_up_again(layer):
    async with Broker(layer, check_interval=10.0) as running:
        await running.broker.join("a")
        layer.groups.clear()
        await running.publish("lost")
        await asyncio.sleep(30)
        await running.publish("x")
        assert running.receiver.payloads == ["x"]
        assert running.metrics.rejoined == 1


@in_virtual_time
async def test_other_tasks_get_their_turn_while_many_messages_wait(layer):
    async with Broker(layer) as running:
        await running.broker.join("a")
        seen = []
        receive = running.receiver.receive

        def count(publication, sent_at=None):
            receive(publication, sent_at)
            if len(running.receiver.payloads) == 1:
                asyncio.get_running_loop().call_soon(
                    lambda: seen.append(len(running.receiver.payloads))
                )

        running.receiver.receive = count
        for n in range(90):
            asyncio.get_running_loop().create_task(running.broker.publish(Publication("a", n)))
        await settle()
        assert len(running.receiver.payloads) == 90
        assert seen[0] <= RECEIVE_BURST


@in_virtual_time
async def test_stopped_broker_gets_nothing_more(layer):
    async with Broker(layer) as running, Broker(layer, node_id="n2") as other:
        await running.broker.join("a")
        await running.broker.stop()
        await other.publish("x")
        assert running.receiver.payloads == []


# -- inside the process ----------------------------------------------------------------------------


@in_virtual_time
async def test_sender_inside_the_process_waits_while_an_inbox_is_behind():
    layer = InMemoryChannelLayer()
    async with Broker(layer) as running:
        await running.broker.join("a")
        sent = 0

        async def publish():
            nonlocal sent
            for n in range(1_000):
                await running.broker.publish(Publication("a", n))
                sent += 1
                behind.append(sent - len(running.receiver.payloads))

        behind: list[int] = []
        await publish()
        await settle()
        assert running.receiver.payloads == list(range(1_000))
        assert max(behind) <= RECEIVE_BURST


@in_virtual_time
async def test_sender_that_waits_for_an_inbox_goes_on_when_its_broker_stops():
    layer = InMemoryChannelLayer()
    async with Broker(layer) as running:
        await running.broker.join("a")
        tasks = [
            asyncio.create_task(running.broker.publish(Publication("a", n)))
            for n in range(3 * RECEIVE_BURST)
        ]
        await asyncio.sleep(0)
        await running.broker.stop()
        await asyncio.gather(*tasks)


async def test_message_from_another_loop_of_the_process_arrives():
    layer = InMemoryChannelLayer()
    async with Broker(layer) as running:
        await running.broker.join("a")
        arrived = asyncio.Event()
        running.receiver.receive = lambda publication, sent_at=None: arrived.set()

        def other_loop():
            asyncio.run(adapter_of_send(layer))

        thread = threading.Thread(target=other_loop)
        thread.start()
        async with asyncio.timeout(10):
            await arrived.wait()
        thread.join()


async def adapter_of_send(layer):
    await adapter_of(layer).group_send(GROUP_A, wrap(Publication("a", "x")))
