"""Consumers without mixins behind ``AuthMiddleware``: connections of the node all the same."""

from __future__ import annotations

import asyncio
import dataclasses

import msgspec
import pytest
from asgiref.sync import sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import URLRouter
from django.urls import path

from channels_realtime import arevoke
from channels_realtime.consumers import RealtimeConsumer
from channels_realtime.middleware import AuthMiddleware
from channels_realtime.mixins import ConsumerMixin
from channels_realtime.monitoring import inspection, traces
from channels_realtime.monitoring.registry_rows import row_of
from channels_realtime.protocol.codes import CloseCode
from tests.support.asgi_socket import AsgiSocket
from tests.unit.auth.credentials import make_token, make_user, pass_by
from tests.unit.mixins.consumers import KINDS, closing, echoed, echoing, ended, nothing_left


def behind_a_router(consumer) -> AuthMiddleware:
    return AuthMiddleware(URLRouter([path("chat/", consumer.as_asgi())]))


def inspect(node, connection):
    return inspection.HANDLERS["inspect"](node, {"connection": connection.id})


@pytest.mark.parametrize("kind", KINDS)
async def test_connection_behind_the_middleware_is_known_with_what_it_sends(node, kind):
    alice = await sync_to_async(make_user)()
    token = make_token(alice.pk)
    application = behind_a_router(accepting(echoing(kind)))
    headers = [(b"authorization", f"Bearer {token}".encode())]
    async with AsgiSocket(application, "/chat/", headers=headers) as socket:
        (connection,) = node.connections.values()
        await echoed(socket, "1")
        await asyncio.sleep(0)
        row = row_of(connection, node.id)
        assert (row["user_pk"], row["user_label"]) == (str(alice.pk), "alice")
        assert (row["path"], row["address"]) == ("/chat/", "127.0.0.1")
        assert row["consumer"] == f"{__name__}.accepting.<locals>.Accepting"
        assert row["auth_method"] == "jwt"
        found = inspect(node, connection)
        assert (found["received"], found["received_bytes"]) == (1, 1)
        assert (found["sent"], found["sent_bytes"]) == (1, len('{"echo": "1"}'))
    await nothing_left(node)


def accepting(consumer):
    class Accepting(consumer):
        """Accepts and echoes."""

    return Accepting


@pytest.mark.parametrize("mixins", [(), (ConsumerMixin,)])
@pytest.mark.parametrize("kind", KINDS)
async def test_trace_shows_what_a_consumer_sends(node, kind, mixins):
    consumer = type("Echo", (*mixins, echoing(kind)), {})
    async with AsgiSocket(AuthMiddleware(consumer.as_asgi()), "/chat/") as socket:
        (connection,) = node.connections.values()
        arguments = {"connection": connection.id, "viewer": "maria", "payloads": True}
        node.config = dataclasses.replace(node.config, trace_payloads=True)
        traces.HANDLERS["trace"](node, {**arguments, "after": 0})
        await echoed(socket, "hi")
        part = traces.HANDLERS["trace"](node, {**arguments, "after": 0})
        assert [
            (
                event["direction"],
                event["size"],
                event.get("withheld") or msgspec.msgpack.decode(event["payload"]),
            )
            for event in part["events"]
        ] == [("in", 2, "secret"), ("out", 14, {"echo": "hi"})]
        assert inspect(node, connection)["sent"] == 1


async def test_handshake_that_is_not_accepted_is_no_connection(node):
    class Refusing(AsyncWebsocketConsumer):
        async def connect(self):
            await self.close()

    socket = AsgiSocket(behind_a_router(Refusing), "/chat/")
    assert (await socket.connect())["type"] == "websocket.close"
    assert node.metrics.connected == 0
    await socket.disconnect()


@pytest.mark.parametrize("inner", ["mixin", "own", "middleware"])
async def test_connection_is_known_once_whatever_serves_it_inside(node, inner):
    echo = echoing(AsyncWebsocketConsumer)
    applications = {
        "mixin": type("Mixed", (ConsumerMixin, echo), {}).as_asgi,
        "own": RealtimeConsumer.as_asgi,
        "middleware": lambda: AuthMiddleware(echo.as_asgi()),
    }
    alice = await sync_to_async(make_user)()
    headers = [(b"authorization", f"Bearer {make_token(alice.pk)}".encode())]
    application = AuthMiddleware(applications[inner]())
    async with AsgiSocket(application, headers=headers) as socket:
        if inner == "own":
            await socket.expect("welcome")
        assert [c.user_id for c in node.connections.values()] == [str(alice.pk)]
    assert node.metrics.connected == 1
    await nothing_left(node)


async def test_application_without_a_consumer_is_known_without_a_class(node):
    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await receive()

    async with AsgiSocket(AuthMiddleware(application)):
        (connection,) = node.connections.values()
        assert row_of(connection, node.id)["consumer"] == ""
    await nothing_left(node)


async def test_staff_disconnect_it(node):
    async with AsgiSocket(behind_a_router(echoing(AsyncWebsocketConsumer)), "/chat/") as socket:
        (connection,) = node.connections.values()
        arguments = {"code": 4403, "reason": "out", "retry_after": None}
        done = inspection.HANDLERS["disconnect"](
            node, {"connections": [connection.id], **arguments}
        )
        assert done == [connection.id]
        assert await closing(socket) == 4403
    await nothing_left(node)


async def test_notice_and_new_credentials_are_not_possible_for_it(node):
    alice = await sync_to_async(make_user)()
    headers = [(b"authorization", f"Bearer {make_token(alice.pk)}".encode())]
    application = behind_a_router(echoing(AsyncWebsocketConsumer))
    async with AsgiSocket(application, "/chat/", headers=headers) as socket:
        (connection,) = node.connections.values()
        ids = {"connections": [connection.id]}
        neither = {"done": [], "impossible": [connection.id]}
        assert inspection.HANDLERS["notice"](node, {**ids, "payload": 1}) == neither
        assert await inspection.HANDLERS["credentials"](node, {**ids, "within": 9.0}) == neither
        await echoed(socket, "still here")


async def test_revoked_user_is_closed(node):
    alice = await sync_to_async(make_user)()
    headers = [(b"authorization", f"Bearer {make_token(alice.pk)}".encode())]
    application = behind_a_router(echoing(AsyncWebsocketConsumer))
    async with AsgiSocket(application, "/chat/", headers=headers) as socket:
        await arevoke(user=alice)
        assert await closing(socket) == 4401
    await nothing_left(node)


async def test_expired_token_ends_nothing_because_its_page_could_not_renew_it(node, clock):
    alice = await sync_to_async(make_user)()
    headers = [(b"authorization", f"Bearer {make_token(alice.pk)}".encode())]
    application = behind_a_router(echoing(AsyncWebsocketConsumer))
    async with AsgiSocket(application, "/chat/", headers=headers) as socket:
        (connection,) = node.connections.values()
        assert connection.identity.expires_at is not None
        await pass_by(node, clock, 100_000.0)
        await echoed(socket, "still here")


@pytest.mark.parametrize("kind", KINDS)
async def test_user_with_all_connections_it_may_have_is_closed_with_4429(
    configure, make_node, kind
):
    configure(MAX_CONNECTIONS_PER_USER=1)
    node = make_node()
    alice = await sync_to_async(make_user)()
    token = make_token(alice.pk)
    application = behind_a_router(echoing(kind))
    offer = {"subprotocols": [f"access_token_{token}"]}
    async with (
        AsgiSocket(application, "/chat/", **offer) as first,
        AsgiSocket(application, "/chat/", **offer) as second,
    ):
        assert second.accepted is not None
        assert second.accepted["subprotocol"] == f"access_token_{token}"
        assert await closing(second) == 4429
        await echoed(first, "still here")
    await nothing_left(node)


async def test_client_is_told_by_the_drain_though_the_server_has_cancelled(node):
    socket = AsgiSocket(behind_a_router(echoing(AsyncWebsocketConsumer)), "/chat/")
    await socket.connect()
    drained = node.drain.begin()
    assert socket.task is not None
    socket.task.cancel()
    assert await closing(socket) == 4503
    await socket.disconnect()
    await drained
    await nothing_left(node)


async def test_cancellation_is_the_applications(node):
    socket = AsgiSocket(behind_a_router(echoing(AsyncWebsocketConsumer)), "/chat/")
    await socket.connect()
    assert socket.task is not None
    socket.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await socket.task
    await nothing_left(node)


async def test_client_that_does_not_answer_the_close_is_dropped(node, clock):
    socket = AsgiSocket(behind_a_router(echoing(AsyncWebsocketConsumer)), "/chat/")
    await socket.connect()
    (connection,) = node.connections.values()
    connection.close(CloseCode.GOING_AWAY, "going away")
    assert await closing(socket) == 4503
    await pass_by(node, clock, 10.1)
    await ended(socket)
    await nothing_left(node)
