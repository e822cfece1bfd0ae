"""Which pages may connect to somebody's consumer."""

from __future__ import annotations

import pytest

from channels_realtime.mixins import HeartbeatMixin, OriginMixin
from tests.support.asgi_socket import AsgiSocket
from tests.unit.mixins.consumers import KINDS, echoed, echoing, made, nothing_left

FOREIGN = [(b"origin", b"https://evil.example")]


@pytest.mark.parametrize("kind", KINDS)
async def test_foreign_page_is_refused_before_the_consumer_hears_of_it(node, kind):
    def connect(self):
        raise AssertionError

    socket = AsgiSocket(made(OriginMixin, echoing(kind), connect=connect), headers=FOREIGN)
    assert await socket.connect() == {"type": "websocket.close"}
    assert node.statistics().metrics.denials["origin"] == 1
    await nothing_left(node)


async def test_refusal_is_403_where_the_server_can_say_so(node):
    extensions = {"websocket.http.response": {}}
    socket = AsgiSocket(made(OriginMixin, KINDS[0]), headers=FOREIGN, extensions=extensions)
    start = await socket.connect()
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 403)


async def test_client_that_is_no_browser_passes(node):
    async with AsgiSocket(made(OriginMixin, echoing(KINDS[0])), with_origin=False) as socket:
        await echoed(socket, "hello")


async def test_class_has_a_list_of_its_own(node):
    application = made(
        OriginMixin,
        echoing(KINDS[0]),
        allowed_origins=["https://evil.example"],
        allow_missing_origin=False,
    )
    async with AsgiSocket(application, headers=FOREIGN) as socket:
        await echoed(socket, "hello")
    for scope in ({}, {"with_origin": False}):
        assert await AsgiSocket(application, **scope).connect() == {"type": "websocket.close"}


async def test_class_has_a_rule_of_its_own(node):
    asked: list[str] = []

    class Chat(OriginMixin, KINDS[0]):
        @staticmethod
        def allowed_origins(origin, scope):
            asked.append(origin)
            return False

    socket = AsgiSocket(Chat.as_asgi(), headers=FOREIGN)
    assert await socket.connect() == {"type": "websocket.close"}
    assert asked == ["https://evil.example"]


async def test_origin_is_not_checked_without_the_mixin(node):
    async with AsgiSocket(made(HeartbeatMixin, echoing(KINDS[0])), headers=FOREIGN) as socket:
        await echoed(socket, "hello")
