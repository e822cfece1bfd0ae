"""How fast the clients of somebody's consumer may send."""

from __future__ import annotations

import threading

import pytest
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from django.contrib.auth.models import User

from channels_realtime import signals
from channels_realtime.errors import ImproperUse
from channels_realtime.mixins import FROM_SETTINGS, HeartbeatMixin, ThrottleMixin
from tests.support.asgi_socket import AsgiSocket
from tests.unit.mixins.consumers import KINDS, closing, echoed, echoing, made, nothing_left, until


def too_fast(limit: str, retry_after: float) -> dict[str, object]:
    return {
        "type": "error",
        "request": "message",
        "payload": {
            "code": "rate_limited",
            "reason": f"too fast: {limit}",
            "retry_after": retry_after,
        },
    }


@pytest.mark.parametrize("kind", KINDS)
async def test_frame_over_the_limit_does_not_reach_the_consumer(node, clock, kind):
    application = made(ThrottleMixin, echoing(kind), connection_messages=(0.5, 2))
    async with AsgiSocket(application) as socket:
        await echoed(socket, "1")
        await echoed(socket, "2")
        socket.send_text("3")
        assert await socket.read() == too_fast("CONNECTION_MESSAGES", 2.0)
        clock.pass_by(2.0)
        await echoed(socket, "4")
        assert node.statistics().metrics.throttled == 1


async def test_limit_is_the_settings_where_the_class_has_none(configure, make_node):
    configure(CONNECTION_MESSAGES=(1, 1))
    make_node()
    async with AsgiSocket(made(ThrottleMixin, echoing(AsyncWebsocketConsumer))) as socket:
        await echoed(socket, "1")
        socket.send_text("2")
        assert await socket.read() == too_fast("CONNECTION_MESSAGES", 1.0)


async def test_class_lifts_the_settings_limit(configure, make_node):
    configure(CONNECTION_MESSAGES=(1, 1))
    make_node()
    application = made(ThrottleMixin, echoing(AsyncWebsocketConsumer), connection_messages=None)
    async with AsgiSocket(application) as socket:
        for number in range(10):
            await echoed(socket, str(number))


async def test_nothing_is_limited_without_the_mixin(configure, make_node):
    configure(CONNECTION_MESSAGES=(1, 1), ADDRESS_MESSAGES=(1, 1))
    make_node()
    async with AsgiSocket(made(HeartbeatMixin, echoing(AsyncWebsocketConsumer))) as socket:
        for number in range(10):
            await echoed(socket, str(number))


async def test_bytes_are_limited(node):
    application = made(
        ThrottleMixin, echoing(AsyncWebsocketConsumer), connection_bytes=(100, 1_000)
    )
    async with AsgiSocket(application) as socket:
        await echoed(socket, "x" * 900)
        socket.send_bytes(b"x" * 200)
        assert await socket.read() == too_fast("CONNECTION_BYTES", 1.0)


async def test_address_is_limited_over_its_connections_to_the_class(node):
    limited = {"address_messages": (1, 2)}
    application = made(ThrottleMixin, echoing(AsyncWebsocketConsumer), **limited)
    other = made(ThrottleMixin, echoing(WebsocketConsumer), **limited)
    other.consumer_class.__qualname__ = "Other"
    async with (
        AsgiSocket(application) as first,
        AsgiSocket(application) as second,
        AsgiSocket(application, client=("192.0.2.1", 1)) as elsewhere,
        AsgiSocket(other) as another,
    ):
        await echoed(first, "1")
        await echoed(second, "2")
        first.send_text("3")
        assert await first.read() == too_fast("ADDRESS_MESSAGES", 1.0)
        await echoed(elsewhere, "4")
        await echoed(another, "5")


@pytest.mark.parametrize("where", ["class", "settings"])
async def test_user_is_limited_over_its_connections(configure, make_node, where):
    if where == "settings":
        configure(USER_MESSAGES=(1, 2))
    make_node()
    limited = {"user_messages": (1, 2) if where == "class" else FROM_SETTINGS}
    application = made(ThrottleMixin, echoing(AsyncWebsocketConsumer), **limited)
    alice, bob = User(pk=1), User(pk=2)
    async with (
        AsgiSocket(application, user=alice) as first,
        AsgiSocket(application, user=alice) as second,
        AsgiSocket(application, user=bob) as other,
    ):
        await echoed(first, "1")
        await echoed(second, "2")
        second.send_text("3")
        assert await second.read() == too_fast("USER_MESSAGES", 1.0)
        await echoed(other, "4")


async def test_who_goes_on_is_closed_with_4429(node):
    application = made(
        ThrottleMixin,
        echoing(AsyncWebsocketConsumer),
        connection_messages=(1, 1),
        throttle_patience=2,
    )
    async with AsgiSocket(application) as socket:
        await echoed(socket, "1")
        for _ in range(3):
            socket.send_text("more")
        for _ in range(2):
            assert (await socket.read())["payload"]["code"] == "rate_limited"
        assert await closing(socket) == 4429
    await nothing_left(node)


async def test_async_consumer_answers_itself(node):
    class Chat(ThrottleMixin, echoing(AsyncWebsocketConsumer)):  # type: ignore[misc]
        connection_messages = (1, 1)

        async def on_throttled(self, limit, retry_after):
            await self.send(text_data=f'"{limit} {retry_after}"')
            await super().on_throttled(limit, retry_after)

    async with AsgiSocket(Chat.as_asgi()) as socket:
        await echoed(socket, "1")
        socket.send_text("2")
        assert await socket.read() == "CONNECTION_MESSAGES 1.0"
        assert await socket.read() == too_fast("CONNECTION_MESSAGES", 1.0)


async def test_sync_consumer_answers_itself_in_its_thread(node):
    threads: list[str] = []

    class Chat(ThrottleMixin, WebsocketConsumer):
        connection_messages = (1, 1)

        def receive(self, text_data=None, bytes_data=None):
            threads.append(threading.current_thread().name)

        def on_throttled(self, limit, retry_after):
            threads.append(threading.current_thread().name)
            super().on_throttled(limit, retry_after)

    async with AsgiSocket(Chat.as_asgi()) as socket:
        socket.send_text("1")
        socket.send_text("2")
        assert await socket.read() == too_fast("CONNECTION_MESSAGES", 1.0)
    assert len(set(threads)) == 1
    assert threads[0] != threading.main_thread().name


async def test_signal_tells_of_an_excess_once(node):
    told: list[str] = []

    async def receiver(sender, limit, **kwargs):
        told.append(limit)

    signals.throttled.connect(receiver)
    try:
        application = made(
            ThrottleMixin, echoing(AsyncWebsocketConsumer), connection_messages=(1, 1)
        )
        async with AsgiSocket(application) as socket:
            await echoed(socket, "1")
            for _ in range(3):
                socket.send_text("more")
                await socket.read()
        await until(lambda: not node._tasks)
    finally:
        signals.throttled.disconnect(receiver)
    assert told == ["CONNECTION_MESSAGES"]


@pytest.mark.parametrize("value", [(0, 1), (1, 0.5), 5, (1, 2, 3), "10/s"])
def test_limit_that_is_none_is_refused(value):
    with pytest.raises(ImproperUse) as refused:
        type("Chat", (ThrottleMixin, WebsocketConsumer), {"connection_bytes": value})
    assert str(refused.value) == (
        f"Chat.connection_bytes is {value!r}; expected (per second, burst), such as (10, 50),"
        " None or FROM_SETTINGS"
    )
