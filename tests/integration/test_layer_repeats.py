"""``RedisChannelLayer`` delivers a message again when it could not remove it from its queue."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from channels_redis.core import RedisChannelLayer

from channels_realtime.nodes.broker import Broker
from channels_realtime.nodes.metrics import Metrics
from channels_realtime.protocol.messages import Publication

TIMEOUT_S = 10.0


class Receiver:
    """Keeps the payloads that arrive, and waits for one of them."""

    def __init__(self, awaited: Any) -> None:
        self.payloads: list[Any] = []
        self.arrived = asyncio.Event()
        self._awaited = awaited

    def receive(self, publication: Publication, sent_at: float | None = None) -> None:
        self.payloads.append(publication.payload)
        if publication.payload == self._awaited:
            self.arrived.set()

    def lost(self) -> None:
        raise AssertionError("the layer did not fail")

    def control(self, message: dict[str, Any]) -> None:
        raise AssertionError(f"unexpected control message: {message}")


def leaving_the_first(
    real: Callable[..., Awaitable[None]], left: asyncio.Event
) -> Callable[..., Awaitable[None]]:
    """Removes messages as the layer does, but not the first: as if Redis had closed that connection."""

    async def take_off(*arguments: Any) -> None:
        if left.is_set():
            await real(*arguments)
        else:
            left.set()

    return take_off


async def test_message_that_the_layer_repeats_is_delivered_once(
    redis_url: str, redis_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = RedisChannelLayer(hosts=[redis_url], prefix=redis_prefix)
    handed_out: list[dict[str, Any]] = []
    receive = layer.receive

    async def noted(channel: str) -> dict[str, Any]:
        message: dict[str, Any] = await receive(channel)
        handed_out.append(message)
        return message

    monkeypatch.setattr(layer, "receive", noted)
    receiver = Receiver(awaited="last")
    broker = Broker(
        layer,
        prefix="test",
        node_id="n1",
        receiver=receiver,
        metrics=Metrics(),
        subscribe_timeout=TIMEOUT_S,
        publish_timeout=TIMEOUT_S,
        check_interval=3_600.0,
    )
    try:
        await broker.join("a")
        handed_out.clear()
        left = asyncio.Event()
        monkeypatch.setattr(
            layer, "_clean_receive_backup", leaving_the_first(layer._clean_receive_backup, left)
        )
        await broker.publish(Publication("a", "repeated"))
        async with asyncio.timeout(TIMEOUT_S):
            await left.wait()
            await broker.publish(Publication("a", "last"))
            await receiver.arrived.wait()
    finally:
        await broker.stop()
        await layer.close_pools()
    names = [message.get("name") for message in handed_out]
    assert (len(names), len(set(names))) == (3, 2), "the layer did not repeat a message"
    assert receiver.payloads == ["repeated", "last"]
