"""Sync publishing in a process that serves nobody: on the caller's thread, over connections of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from channels.layers import get_channel_layer
from channels_redis.core import RedisChannelLayer

from channels_realtime import publish, publish_many
from channels_realtime.config import Config
from channels_realtime.errors import Unavailable
from channels_realtime.nodes import direct
from channels_realtime.nodes.envelope import unwrap
from channels_realtime.nodes.groups import group_name
from channels_realtime.runtime import loops
from channels_realtime.settings import get_config
from tests.support.clients import TIMEOUT_S, wait_until
from tests.support.redis_server import private_redis_server

CHANNEL = "public/direct"
GROUP = group_name(Config().group_prefix, CHANNEL)
LAYERS = {
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
    "core": "channels_redis.core.RedisChannelLayer",
}


class OwnLayer(RedisChannelLayer):  # type: ignore[misc]
    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        raise AssertionError


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with private_redis_server() as found:
        yield found


@pytest.fixture(params=list(LAYERS))
def layer(request: pytest.FixtureRequest, url: str, settings: Any) -> Any:
    hosts = [{"address": url, "socket_timeout": None}]
    config = {"hosts": hosts, "prefix": request.param}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": LAYERS[request.param], "CONFIG": config}}
    return get_channel_layer()


def free(layer: Any) -> int:
    """How many connections wait for a publication."""
    sender = direct._senders.get(layer)
    return 0 if sender is None else sum(len(server.free) for server in sender._servers)


def connect(layer: Any) -> None:
    """Publish until there is a connection for the next one."""

    def published() -> bool:
        publish("public/first", 0)
        return free(layer) > 0

    wait_until(published, "a connection is open")


def no_loop(*_: object) -> None:
    raise AssertionError("sent over an event loop")


class Listener:
    """Hears a group by the layer's public API, as any process does."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._inbox = ""

    async def join(self) -> None:
        self._inbox = await self._layer.new_channel()
        await self._layer.group_add(GROUP, self._inbox)
        if "pubsub" in type(self._layer).__module__:  # which does not wait for the server
            await self._hears_itself()

    async def _hears_itself(self) -> None:
        while True:
            await self._layer.group_send(GROUP, {"type": "own"})
            try:
                async with asyncio.timeout(0.2):
                    await self._layer.receive(self._inbox)
                    return
            except TimeoutError:
                await self._layer.group_discard(GROUP, self._inbox)
                await self.join()

    async def take(self, number: int) -> list[Any]:
        async with asyncio.timeout(TIMEOUT_S):
            messages = [await self._layer.receive(self._inbox) for _ in range(number)]
        found = [unwrap(message) for message in messages]
        assert None not in found
        return [publication.payload for publication in found if publication is not None]


async def test_what_is_sent_directly_arrives_in_its_order(
    layer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener(layer)
    await listener.join()
    await asyncio.to_thread(connect, layer)
    await asyncio.to_thread(publish, CHANNEL, "first")  # the server may have to learn a script
    monkeypatch.setattr(loops, "run", no_loop)

    def work() -> None:
        for number in range(20):
            publish(CHANNEL, number)
        publish_many([(CHANNEL, number) for number in range(20, 40)])

    await asyncio.to_thread(work)
    assert await listener.take(41) == ["first", *range(40)]


def test_publication_to_nobody_is_sent_directly(
    layer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(layer)
    monkeypatch.setattr(loops, "run", no_loop)
    publish("public/nobody", 1)
    assert free(layer) == 1


async def test_publication_arrives_where_the_server_closed_the_connection(
    layer: Any, url: str
) -> None:
    listener = Listener(layer)
    await listener.join()
    await asyncio.to_thread(connect, layer)
    connection = direct._senders[layer]._servers[0].free[0]  # type: ignore[union-attr]
    local = connection._sock.getsockname()
    with redis.Redis.from_url(url) as admin:
        admin.client_kill("{}:{}".format(*local))
    await asyncio.to_thread(publish, CHANNEL, "once")
    await asyncio.to_thread(publish, CHANNEL, "more")
    assert await listener.take(2) == ["once", "more"]
    wait_until(lambda: free(layer) == 1, "another connection is open")


def test_scripts_that_the_server_forgot_are_loaded_again(layer: Any, url: str) -> None:
    connect(layer)
    with redis.Redis.from_url(url) as admin:
        admin.script_flush()
    publish(CHANNEL, 1)
    assert free(layer) >= 1


def test_threads_have_a_connection_each_up_to_the_bound(
    layer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct, "MAX_CONNECTIONS", 2)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            publish("public/nobody", 1)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: _opened(layer) == 2, "two connections are open")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert (_opened(layer), free(layer)) == (2, 2)


def _opened(layer: Any) -> int:
    sender = direct._senders.get(layer)
    return 0 if sender is None else sender._servers[0].opened


def test_server_that_does_not_answer_makes_it_unavailable_in_time(
    settings: Any,
) -> None:
    settings.CHANNELS_REALTIME = {**settings.CHANNELS_REALTIME, "PUBLISH_TIMEOUT": 0.5}
    with private_redis_server() as url:
        config = {"hosts": [{"address": url, "socket_timeout": None}]}
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": LAYERS["pubsub"], "CONFIG": config}}
        layer = get_channel_layer()
        connect(layer)
        with redis.Redis.from_url(url) as admin:
            server = admin.info("server")["process_id"]
        os.kill(server, signal.SIGSTOP)
        try:
            with pytest.raises(Unavailable) as caught:
                publish(CHANNEL, 1)
            assert caught.value.reason == (
                "the channel layer did not take the publication: TimeoutError"
            )
            with pytest.raises(Unavailable) as caught:  # at once: it is known by now
                publish(CHANNEL, 1)
            assert caught.value.reason == (
                "the channel layer does not answer; it is tried again every 2 seconds"
            )
        finally:
            os.kill(server, signal.SIGCONT)
        assert free(layer) == 0


@pytest.mark.parametrize("option", [{"ssl_ca_certs": "/ca.pem"}, {"retry": None}])
def test_hosts_with_options_of_their_own_are_left_to_the_loop(
    settings: Any, option: dict[str, Any]
) -> None:
    config = {"hosts": [{"address": "redis://127.0.0.1:1", **option}]}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": LAYERS["pubsub"], "CONFIG": config}}
    assert direct._made(get_channel_layer(), get_config()) is None


def test_layer_of_a_subclass_is_left_to_the_loop(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"{__name__}.OwnLayer"}}
    assert direct._made(get_channel_layer(), get_config()) is None
