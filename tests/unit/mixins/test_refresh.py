"""Credentials of a consumer's clients that are renewed in place, or come in a message of its own."""

from __future__ import annotations

import json
import time

import pytest
from asgiref.sync import sync_to_async
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
)
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore

from channels_realtime import apublish_to_user, arevoke, errors
from channels_realtime.middleware import AuthMiddleware
from channels_realtime.mixins import AuthenticationMixin, ChannelsMixin, RealtimeMixin
from tests.support.asgi_socket import AsgiSocket
from tests.unit.auth.credentials import make_session, make_token, pass_by
from tests.unit.mixins.consumers import KINDS, closing, echoed, echoing, made, nothing_left


async def user(name: str = "alice") -> User:
    found, _ = await User.objects.aget_or_create(username=name)
    return found


def token_of(someone: User, seconds: float = 600.0) -> str:
    return make_token(someone.pk, exp=int(time.time() + seconds))


def bearer(token: str) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", f"Bearer {token}".encode())]


# -- in place --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_token_is_renewed_in_place(node, clock, kind):
    alice = await user()
    application = made(AuthenticationMixin, echoing(kind))
    async with AsgiSocket(application, headers=bearer(token_of(alice, 60.0))) as socket:
        await pass_by(node, clock, 40.0)
        assert (await socket.read())["type"] == "auth_expiring"
        socket.send({"type": "auth", "id": 1, "token": token_of(alice)})
        reply = await socket.expect("auth_ok")
        assert (reply["id"], reply["payload"]["user"]) == (1, str(alice.pk))
        await pass_by(node, clock, 40.0)
        await echoed(socket, "still here")
    await nothing_left(node)


@pytest.mark.parametrize("kind", KINDS)
async def test_bad_token_is_an_error_and_the_old_deadline_stands(node, clock, kind):
    alice, bob = await user(), await user("bob")
    application = made(AuthenticationMixin, echoing(kind))
    async with AsgiSocket(application, headers=bearer(token_of(alice, 60.0))) as socket:
        for token, code in (("rubbish", "token_invalid"), (token_of(bob), "forbidden")):
            socket.send({"type": "auth", "token": token})
            error = await socket.expect("error")
            assert (error["request"], error["payload"]["code"]) == ("auth", code)
        await echoed(socket, "still here")
        await pass_by(node, clock, 40.0)
        assert (await socket.read())["type"] == "auth_expiring"
        await pass_by(node, clock, 40.0)
        assert await closing(socket) == 4401
    await nothing_left(node)


async def test_what_follows_an_auth_waits_for_it_and_sees_the_user(node):
    alice = await user()

    class Chat(RealtimeMixin, AsyncWebsocketConsumer):
        allow_anonymous = True

        async def receive(self, text_data=None, bytes_data=None):
            await self.send(text_data=json.dumps(str(self.scope["user"])))

    async with AsgiSocket(Chat.as_asgi()) as socket:
        socket.send({"type": "auth", "token": token_of(alice)})
        socket.send_text("who?")
        await socket.expect("auth_ok")
        assert await socket.read() == "alice"
        await apublish_to_user(alice, "hello")
        assert (await socket.read())["channel"] == f"users/{alice.pk}"
        await arevoke(user=alice)
        assert await closing(socket) == 4401
    await nothing_left(node)


@pytest.mark.parametrize("reason", ["is_auth", "setting"])
async def test_auth_is_the_consumers_where_it_says_so(configure, make_node, reason):
    configure(FIRST_MESSAGE_AUTH=reason != "setting")
    make_node()
    attributes = {"is_auth": lambda self, text: False} if reason == "is_auth" else {}
    application = made(AuthenticationMixin, echoing(KINDS[0]), allow_anonymous=True, **attributes)
    async with AsgiSocket(application) as socket:
        await echoed(socket, '{"type": "auth", "token": "mine"}')


@pytest.mark.parametrize(
    "text",
    [
        '{"type": "auth"}',
        '{"type": "auth", "user": 1}',
        '["auth"]',
        '"auth"',
        '{"a": "auth", "token": "x"}',
    ],
)
async def test_frame_that_is_no_auth_is_the_consumers(node, text):
    application = made(AuthenticationMixin, echoing(KINDS[0]), allow_anonymous=True)
    async with AsgiSocket(application) as socket:
        await echoed(socket, text)


# -- a message of the consumer's own ---------------------------------------------------------------


class OwnLogin(AuthenticationMixin, ChannelsMixin, AsyncJsonWebsocketConsumer):
    allow_anonymous = True

    async def receive_json(self, content):
        try:
            await self.authenticate(content["login"])
        except errors.RealtimeError as error:
            await self.send_json(error.code)
        else:
            await self.send_json(str(self.scope["user"]))


class SyncOwnLogin(AuthenticationMixin, ChannelsMixin, JsonWebsocketConsumer):
    allow_anonymous = True

    def receive_json(self, content):
        try:
            self.authenticate(content["login"])
        except errors.RealtimeError as error:
            self.send_json(error.code)
        else:
            self.send_json(str(self.scope["user"]))


async def said(socket: AsgiSocket, token: str) -> str:
    socket.send({"login": token})
    return str(await socket.read())


@pytest.mark.parametrize("consumer", [OwnLogin, SyncOwnLogin])
async def test_consumer_logs_in_by_its_own_first_message(node, clock, consumer):
    alice, bob = await user(), await user("bob")
    async with AsgiSocket(consumer.as_asgi()) as socket:
        assert await said(socket, "rubbish") == "token_invalid"
        assert node.metrics.denials["credentials"] == 1
        assert await said(socket, token_of(alice, 60.0)) == "alice"
        assert await said(socket, token_of(bob)) == "forbidden"
        (connection,) = node.connections.values()
        assert connection.user_id == str(alice.pk)
        await apublish_to_user(alice, "hello")
        assert (await socket.read())["payload"] == "hello"
        assert await said(socket, token_of(alice)) == "alice"
        await pass_by(node, clock, 100.0)
        assert await said(socket, token_of(alice)) == "alice"
        await arevoke(user=alice)
        assert await closing(socket) == 4401
    await nothing_left(node)


async def test_consumer_that_closes_strangers_without_a_word_of_it_is_told_once(
    configure, make_node, caplog
):
    configure(ALLOW_ANONYMOUS=False)
    make_node()

    class Chat(AuthenticationMixin, AsyncWebsocketConsumer):
        pass

    class Decided(AuthenticationMixin, AsyncWebsocketConsumer):
        allow_anonymous = False

    for consumer in (Chat, Chat, Decided):
        async with AsgiSocket(consumer.as_asgi()) as socket:
            assert await closing(socket) == 4401
    (said,) = [r.getMessage() for r in caplog.records if "allow_anonymous" in r.getMessage()]
    assert said.endswith(
        "Chat closes connections without credentials with 4401, before connect() and their first"
        " message. If its clients log in by a message, set allow_anonymous = True; if not,"
        " allow_anonymous = False says so."
    )


# -- what AuthMiddlewareStack puts into the scope --------------------------------------------------


class Cart(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        cart = await self.scope["session"].aget("cart")
        await self.send(text_data=json.dumps([cart, self.scope["cookies"].get("colour")]))


@pytest.mark.parametrize("way", ["mixin", "middleware"])
@pytest.mark.parametrize("signed_in", [True, False])
async def test_scope_has_session_and_cookies(node, way, signed_in):
    def make() -> str:
        session = (
            make_session(User.objects.get_or_create(username="alice")[0])
            if signed_in
            else SessionStore()
        )
        session["cart"] = 3
        session.save()
        return str(session.session_key)

    key = await sync_to_async(make)()
    application = (
        AuthMiddleware(Cart.as_asgi())
        if way == "middleware"
        else made(AuthenticationMixin, Cart, allow_anonymous=True)
    )
    headers = [(b"cookie", f"sessionid={key}; colour=red".encode())]
    async with AsgiSocket(application, headers=headers) as socket:
        socket.send_text("?")
        assert await socket.read() == [3, "red"]


@pytest.mark.parametrize("way", ["mixin", "middleware"])
async def test_scope_keeps_the_session_of_an_outer_middleware(node, way):
    class Outer:
        async def aget(self, name):
            return "outer"

    application = (
        AuthMiddleware(Cart.as_asgi())
        if way == "middleware"
        else made(AuthenticationMixin, Cart, allow_anonymous=True)
    )
    async with AsgiSocket(application, session=Outer()) as socket:
        socket.send_text("?")
        assert await socket.read() == ["outer", None]


async def test_scope_has_a_new_session_without_a_cookie(node):
    async with AsgiSocket(made(AuthenticationMixin, Cart, allow_anonymous=True)) as socket:
        socket.send_text("?")
        assert await socket.read() == [None, None]
