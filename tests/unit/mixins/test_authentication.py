"""Whose a consumer's connection is, and what ends it."""

from __future__ import annotations

import asyncio
import time

import pytest
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from django.contrib.auth.models import AnonymousUser, User
from django.test import AsyncClient

from channels_realtime import arecheck, arevoke, signals
from channels_realtime.access.revocation import Revocations
from channels_realtime.mixins import (
    AuthenticationMixin,
    ChannelsMixin,
    HeartbeatMixin,
    RealtimeMixin,
)
from tests.support.asgi_socket import AsgiSocket
from tests.unit.auth.credentials import make_token, settle
from tests.unit.mixins.consumers import closing, echoed, echoing, made, nothing_left, until

KINDS = (AsyncWebsocketConsumer, WebsocketConsumer)


async def login(name: str) -> tuple[User, AsyncClient, list[tuple[bytes, bytes]]]:
    """A user, a client where it has logged in, and the headers of a browser there."""
    user = await User.objects.acreate_user(name, password="password")
    client = AsyncClient()
    await client.aforce_login(user)
    key = client.cookies["sessionid"].value
    return user, client, [(b"cookie", f"sessionid={key}".encode())]


def bearer(token: str) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", f"Bearer {token}".encode())]


@pytest.mark.parametrize("kind", KINDS)
async def test_scope_has_user_and_identity_when_connect_is_called(node, kind):
    seen: list[object] = []

    def note(self):
        seen.extend((self.scope["user"], self.scope["identity"]))
        return super(application.consumer_class, self).connect()

    application = made(AuthenticationMixin, kind, connect=note)
    user, _, headers = await login("alice")
    async with AsgiSocket(application, headers=headers):
        found, identity = seen
        assert found == user
        assert (identity.user_id, identity.method) == (str(user.pk), "session")
        (connection,) = node.connections.values()
        assert connection.user_id == str(user.pk)
    await nothing_left(node)


async def test_anonymous_connection_goes_on_as_the_setting_says(node):
    application = made(AuthenticationMixin, echoing(AsyncWebsocketConsumer))
    async with AsgiSocket(application) as socket:
        await echoed(socket, "hello")


@pytest.mark.parametrize("kind", KINDS)
async def test_anonymous_connection_is_closed_with_4401_where_the_class_says(node, kind):
    def never(self, *args):
        raise AssertionError

    application = made(RealtimeMixin, kind, allow_anonymous=False, connect=never, disconnect=never)
    async with AsgiSocket(application) as socket:
        assert socket.accepted is not None
        assert await closing(socket) == 4401
    await nothing_left(node)


async def test_class_lets_anonymous_connections_in_where_the_setting_does_not(configure, make_node):
    configure(ALLOW_ANONYMOUS=False)
    make_node()
    application = made(AuthenticationMixin, echoing(AsyncWebsocketConsumer), allow_anonymous=True)
    async with AsgiSocket(application) as socket:
        await echoed(socket, "hello")


@pytest.mark.parametrize("kind", KINDS)
async def test_bad_credentials_are_accepted_and_closed_with_4401(node, kind):
    denied: list[str] = []

    async def receiver(sender, reason, **kwargs):
        denied.append(reason)

    signals.denied.connect(receiver)
    try:
        application = made(AuthenticationMixin, echoing(kind))
        async with AsgiSocket(application, headers=bearer("rubbish")) as socket:
            assert socket.accepted is not None
            assert await closing(socket) == 4401
        await until(lambda: denied == ["credentials"])
    finally:
        signals.denied.disconnect(receiver)
    await nothing_left(node)


@pytest.mark.parametrize(
    ("offered", "answer"),
    [
        (["chat"], "chat"),
        (["chat", "access_token_rubbish"], "chat"),
        (["access_token_rubbish"], "access_token_rubbish"),
        ([], None),
    ],
)
async def test_refusal_is_accepted_with_a_name_that_a_browser_takes(node, offered, answer):
    application = made(AuthenticationMixin, AsyncWebsocketConsumer, allow_anonymous=False)
    async with AsgiSocket(application, subprotocols=offered) as socket:
        assert socket.accepted is not None
        assert socket.accepted.get("subprotocol") == answer
        assert await closing(socket) == 4401


@pytest.mark.parametrize("kind", KINDS)
async def test_revocation_closes_with_4401(node, kind):
    user, _, headers = await login("alice")
    async with AsgiSocket(made(RealtimeMixin, echoing(kind)), headers=headers) as socket:
        await echoed(socket, "hello")
        await arevoke(user=user)
        assert await closing(socket) == 4401
        assert node.statistics().metrics.revoked == 1
    await nothing_left(node)


async def test_revocation_between_authentication_and_accept_is_accepted_and_closed(node):
    user, _, headers = await login("alice")
    go_on = asyncio.Event()

    class Slow(AuthenticationMixin, AsyncWebsocketConsumer):
        async def connect(self):
            await go_on.wait()
            await self.accept()

    socket = AsgiSocket(Slow.as_asgi(), headers=headers)
    connecting = asyncio.create_task(socket.connect())
    await until(lambda: node.service(Revocations).connections(f"user:{user.pk}"))
    await arevoke(user=user)
    assert (await connecting)["type"] == "websocket.accept"
    assert await closing(socket) == 4401
    go_on.set()
    await settle()
    assert socket.from_application.empty()
    await socket.disconnect()
    await nothing_left(node)


async def test_logout_closes_with_4401(node):
    _, client, headers = await login("alice")
    async with AsgiSocket(
        made(AuthenticationMixin, AsyncWebsocketConsumer), headers=headers
    ) as socket:
        await client.alogout()
        assert await closing(socket) == 4401


async def test_end_of_a_token_closes_with_4401(node, clock):
    user, _, _ = await login("alice")
    headers = bearer(make_token(user.pk, exp=int(time.time()) + 60))
    application = made(AuthenticationMixin, AsyncWebsocketConsumer)
    async with AsgiSocket(application, headers=headers) as socket:
        for seconds in (31, 31):
            clock.pass_by(seconds)
            node.timers._fire()
            await settle()
        assert (await socket.read())["type"] == "auth_expiring"
        assert await closing(socket) == 4401


async def test_scope_has_the_user_as_it_is_after_a_recheck(node):
    user, _, headers = await login("alice")

    class Chat(AuthenticationMixin, AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            await self.send(text_data=f'"{self.scope["user"].first_name}"')

    async with AsgiSocket(Chat.as_asgi(), headers=headers) as socket:
        await User.objects.filter(pk=user.pk).aupdate(first_name="Alice")
        (connection,) = node.connections.values()
        before = connection.read_at
        await arecheck(user=user)
        await until(lambda: connection.read_at > before or connection.user.first_name)
        socket.send_text("?")
        assert await socket.read() == "Alice"


# -- without the mixin -----------------------------------------------------------------------------


async def test_other_mixins_know_the_user_of_the_sites_own_middleware(node):
    user, _, _ = await login("alice")
    application = made(HeartbeatMixin, echoing(AsyncWebsocketConsumer))
    async with AsgiSocket(application, user=user) as socket:
        await echoed(socket, "hello")
        (connection,) = node.connections.values()
        assert (connection.user, connection.identity.method) == (user, "scope")
        await arevoke(user=user)
        assert await closing(socket) == 4401
    await nothing_left(node)


async def test_user_who_came_back_after_a_revocation_is_let_in(node, clock):
    user, _, _ = await login("alice")
    await arevoke(user=user)
    clock.pass_by(60.0)
    application = made(ChannelsMixin, echoing(AsyncWebsocketConsumer))
    async with AsgiSocket(application, user=user) as socket:
        await echoed(socket, "hello")


async def test_anonymous_user_of_a_middleware_is_nobody(node):
    application = made(HeartbeatMixin, echoing(AsyncWebsocketConsumer))
    async with AsgiSocket(application, user=AnonymousUser()) as socket:
        await echoed(socket, "hello")
        (connection,) = node.connections.values()
        assert connection.identity.is_anonymous


async def test_user_with_all_connections_it_may_have_is_closed_with_4429(configure, make_node):
    configure(MAX_CONNECTIONS_PER_USER=1)
    node = make_node()
    _, _, headers = await login("alice")
    application = made(AuthenticationMixin, AsyncWebsocketConsumer)
    async with (
        AsgiSocket(application, headers=headers),
        AsgiSocket(application, headers=headers) as second,
    ):
        assert await closing(second) == 4429
    await nothing_left(node)
