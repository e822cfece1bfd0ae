"""The answer to a token among the subprotocols, for a consumer that calls plain ``accept()``."""

from __future__ import annotations

import logging

import pytest
from asgiref.sync import sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer

from channels_realtime.endpoints import handshake
from channels_realtime.middleware import AuthMiddleware
from channels_realtime.mixins import AuthenticationMixin, HeartbeatMixin
from tests.support.asgi_socket import AsgiSocket
from tests.unit.auth.credentials import make_token, make_user
from tests.unit.mixins.consumers import KINDS, echoed, echoing, made

WAYS = ("mixin", "another mixin", "middleware")


@pytest.fixture(autouse=True)
def _say_again():
    handshake._warn_of_answer.cache_clear()


def application(way: str, consumer: type):
    if way == "middleware":
        return AuthMiddleware(consumer.as_asgi())  # type: ignore[attr-defined]
    mixin = AuthenticationMixin if way == "mixin" else HeartbeatMixin
    return made(mixin, consumer)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("names", "answer"),
    [
        (["access_token_{}"], "access_token_{}"),
        (["jwt", "{}"], "jwt"),
        (["chat", "access_token_{}"], "chat"),
        (["realtime.v1.json", "access_token_{}"], "realtime.v1.json"),
        (["realtime.v9.json", "access_token_{}"], "realtime.v9.json"),
    ],
)
async def test_token_is_answered_where_the_consumer_calls_plain_accept(
    node, caplog, way, kind, names, answer
):
    alice = await sync_to_async(make_user)()
    token = make_token(alice.pk)
    offered = [name.format(token) for name in names]
    async with AsgiSocket(application(way, echoing(kind)), subprotocols=offered) as socket:
        assert socket.accepted is not None
        assert socket.accepted["subprotocol"] == answer.format(token)
        await echoed(socket, "1")
    assert token not in caplog.text


@pytest.mark.parametrize("way", WAYS)
async def test_answer_of_the_consumer_stands(node, caplog, way):
    class Chooses(AsyncWebsocketConsumer):
        async def connect(self):
            await self.accept("chat")

    alice = await sync_to_async(make_user)()
    offered = ["other", "chat", f"access_token_{make_token(alice.pk)}"]
    async with AsgiSocket(application(way, Chooses), subprotocols=offered) as socket:
        assert socket.accepted is not None
        assert socket.accepted["subprotocol"] == "chat"
    assert "1006" not in caplog.text


@pytest.mark.parametrize("way", WAYS)
async def test_offer_without_a_token_is_the_consumers_and_its_silence_is_said_once(
    node, caplog, way
):
    consumer = echoing(AsyncWebsocketConsumer)
    for _ in range(2):
        async with AsgiSocket(application(way, consumer), subprotocols=["secret-name"]) as socket:
            assert socket.accepted is not None
            assert socket.accepted.get("subprotocol") is None
    (said,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert said.getMessage().endswith(
        " accepts without any of the subprotocols that the client offers: browsers fail such a"
        " connection (1006). Accept with one of scope['subprotocols']."
    )
    assert "secret-name" not in caplog.text


@pytest.mark.parametrize("way", WAYS)
async def test_answer_that_was_not_offered_is_said(node, caplog, way):
    class Chooses(AsyncWebsocketConsumer):
        async def connect(self):
            await self.accept("chat")

    alice = await sync_to_async(make_user)()
    token = make_token(alice.pk)
    socket = AsgiSocket(application(way, Chooses), subprotocols=[f"access_token_{token}"])
    async with socket:
        pass
    (said,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert " accepts with the subprotocol 'chat', which the client did not offer" in said.message
    assert token not in caplog.text


async def test_handshake_without_an_offer_is_accepted_as_it_was(node, caplog):
    async with AsgiSocket(application("mixin", echoing(AsyncWebsocketConsumer)), subprotocols=[]):
        pass
    assert "1006" not in caplog.text
