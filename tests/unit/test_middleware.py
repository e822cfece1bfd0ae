"""``AuthMiddleware`` and ``OriginMiddleware``, around any consumer and around our own."""

from __future__ import annotations

from typing import Any

import pytest
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
)

from channels_realtime import revoke, signals
from channels_realtime.access.blocks import add_block
from channels_realtime.access.client_address import FoundAddress
from channels_realtime.auth.base import Authenticated
from channels_realtime.consumers import RealtimeConsumer
from channels_realtime.endpoints import handshake as handshake_module
from channels_realtime.identity import Identity
from channels_realtime.middleware import AuthMiddleware, OriginMiddleware
from channels_realtime.nodes.node import Node
from channels_realtime.services import current_node
from tests.support.asgi_socket import AsgiSocket
from tests.unit.access.test_origins import scope
from tests.unit.auth.credentials import (
    converse,
    cookie,
    make_session,
    make_token,
    make_user,
    outcome,
)
from tests.unit.mixins.consumers import until

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("realtime")]


def who(scope) -> str:
    identity = scope["identity"]
    return f"{scope['user']} {identity.user_id} {identity.method} {identity.source}"


class Plain(AsyncWebsocketConsumer):
    async def connect(self):
        await self.accept(self.scope["subprotocols"][0] if self.scope["subprotocols"] else None)
        await self.send(text_data=f'"{who(self.scope)}"')


class Json(AsyncJsonWebsocketConsumer):
    async def connect(self):
        await self.accept()
        await self.send_json(who(self.scope))

    async def receive_json(self, content):
        await self.send_json(content)


class SyncJson(JsonWebsocketConsumer):
    def connect(self):
        self.accept()
        self.send_json(who(self.scope))


CONSUMERS = (Plain, Json, SyncJson)


def greeting(application, **scope):
    """The first thing that the consumer says, or the close."""

    async def connect(_):
        async with AsgiSocket(application, "/chat/", **scope) as socket:
            return await socket.read()

    return converse(connect)


def bearer(token: str) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", f"Bearer {token}".encode())]


CLOSED = {"type": "websocket.close", "code": 4401}


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_consumer_finds_the_user_of_a_token(consumer):
    alice = make_user()
    application = AuthMiddleware(consumer.as_asgi())
    got = greeting(application, headers=bearer(make_token(alice.pk)))
    assert got == f"alice {alice.pk} jwt header"


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_consumer_finds_the_user_of_a_login_session(consumer):
    alice = make_user()
    application = AuthMiddleware(consumer.as_asgi())
    got = greeting(application, headers=[cookie(make_session(alice).session_key)])
    assert got == f"alice {alice.pk} session session"


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_consumer_finds_the_anonymous_user_without_credentials(consumer):
    assert greeting(AuthMiddleware(consumer.as_asgi())) == "AnonymousUser None anonymous "


@pytest.mark.parametrize("consumer", CONSUMERS)
@pytest.mark.parametrize("shown", ["bad", "expired", "refresh"])
def test_bad_token_is_accepted_and_closed(consumer, shown):
    alice = make_user()
    token = {
        "bad": "bad",
        "expired": make_token(alice.pk, exp=1),
        "refresh": make_token(alice.pk, token_type="refresh"),
    }[shown]
    assert greeting(AuthMiddleware(consumer.as_asgi()), headers=bearer(token)) == CLOSED


def test_bad_token_in_a_subprotocol_is_accepted_with_an_answer_a_browser_takes():
    async def connect(_):
        subprotocols = ["chat", "access_token_bad"]
        application = AuthMiddleware(Plain.as_asgi())
        async with AsgiSocket(application, subprotocols=subprotocols) as socket:
            assert socket.accepted["subprotocol"] == "chat"
            assert await socket.read() == CLOSED

    converse(connect)


def test_bad_token_beside_a_subprotocol_is_accepted_with_that_one():
    async def connect(_):
        application = AuthMiddleware(Plain.as_asgi())
        async with AsgiSocket(application, subprotocols=["chat"], headers=bearer("bad")) as socket:
            assert socket.accepted["subprotocol"] == "chat"
            assert await socket.read() == CLOSED

    converse(connect)


def test_revoked_token_is_accepted_and_closed():
    alice = make_user()
    token = make_token(alice.pk, jti="planted")
    revoke(token="planted")
    assert greeting(AuthMiddleware(Plain.as_asgi()), headers=bearer(token)) == CLOSED


def test_blocked_user_is_accepted_and_closed():
    alice = make_user()
    add_block(
        user_pk=str(alice.pk), user_label="", address="", seconds=60, reason="", created_by=""
    )
    got = greeting(AuthMiddleware(Plain.as_asgi()), headers=bearer(make_token(alice.pk)))
    assert got == {"type": "websocket.close", "code": 4403}


def test_session_of_a_revoked_user_is_accepted_and_closed():
    alice = make_user()
    headers = [cookie(make_session(alice).session_key)]
    revoke(user=alice)
    assert greeting(AuthMiddleware(Plain.as_asgi()), headers=headers) == CLOSED


def test_client_that_leaves_before_a_bad_token_was_judged_is_let_go():
    sent = []

    async def run(_):
        async def receive():
            return {"type": "websocket.disconnect", "code": 1006}

        async def send(event):
            sent.append(event)

        scope = {"type": "websocket", "headers": bearer("bad"), "subprotocols": []}
        await AuthMiddleware(Plain.as_asgi())(scope, receive, send)

    converse(run)
    assert sent == []


def test_what_the_server_gave_is_left_as_it_was():
    alice = make_user()
    seen = []

    async def application(scope, receive, send):
        seen.append(scope)

    async def run(_):
        scope = {"type": "websocket", "headers": bearer(make_token(alice.pk)), "path": "/"}
        before = dict(scope)
        await AuthMiddleware(application)(scope, None, None)
        assert scope == before

    converse(run)
    assert seen[0]["user"] == alice
    assert seen[0]["path"] == "/"


def test_http_with_a_bad_token_goes_on_as_anonymous():
    seen = []

    async def application(scope, receive, send):
        seen.append(scope)

    async def run(_):
        scope = {"type": "http", "headers": bearer("bad"), "path": "/"}
        await AuthMiddleware(application)(scope, None, None)

    converse(run)
    assert seen[0]["identity"].is_anonymous
    assert not seen[0]["user"].is_authenticated


@pytest.mark.parametrize("kind", ["lifespan", "channel"])
def test_other_scopes_pass(kind):
    seen = []

    async def application(scope, receive, send):
        seen.append(scope)

    async def run(_):
        await AuthMiddleware(application)({"type": kind}, None, None)

    converse(run)
    assert seen == [{"type": kind}]


def test_foreign_page_does_not_get_as_far_as_its_credentials():
    headers = [*bearer("bad"), (b"origin", b"https://evil.example.com")]
    application = OriginMiddleware(AuthMiddleware(Plain.as_asgi()))

    async def connect(_):
        socket = AsgiSocket(application, headers=headers)
        return await socket.connect()

    assert converse(connect) == {"type": "websocket.close"}


# -- around our own consumer -----------------------------------------------------------------------


def first_message(application, **scope):
    async def connect(_):
        async with AsgiSocket(application, **scope) as socket:
            return await outcome(socket)

    return converse(connect)


def test_our_consumer_takes_what_the_middleware_found():
    alice = make_user()
    application = AuthMiddleware(RealtimeConsumer.as_asgi())
    got = first_message(application, headers=bearer(make_token(alice.pk)))
    assert got == f"welcome {alice.pk}"


def test_ticket_is_redeemed_once_for_middleware_and_consumer():
    from channels_realtime.auth.tickets import issue_ticket

    alice = make_user()
    found = Authenticated(identity=Identity(user_id=str(alice.pk), method="jwt"), user=alice)
    text, _ = issue_ticket(found, "http://testserver")
    application = AuthMiddleware(RealtimeConsumer.as_asgi())
    query = f"ticket={text}".encode()
    assert first_message(application, query_string=query) == f"welcome {alice.pk}"


def test_our_consumer_asks_where_the_middleware_found_nobody():
    assert first_message(AuthMiddleware(RealtimeConsumer.as_asgi())) == "auth_required"


def test_user_of_another_middleware_is_taken_where_ours_finds_no_credentials():
    alice, bob = make_user(), make_user("bob")

    async def application(scope, receive, send):
        await RealtimeConsumer.as_asgi()({**scope, "user": alice}, receive, send)

    assert first_message(application) == f"welcome {alice.pk}"
    # Credentials that this package finds itself come first.
    got = first_message(application, headers=bearer(make_token(bob.pk)))
    assert got == f"welcome {bob.pk}"
    assert first_message(application, headers=bearer("bad")) == "4401 the token is not valid"


def test_anonymous_user_of_another_middleware_is_nobody():
    from channels.auth import UserLazyObject
    from django.contrib.auth.models import AnonymousUser

    for user in (None, AnonymousUser(), UserLazyObject(), object()):

        async def application(scope, receive, send, user=user):
            await RealtimeConsumer.as_asgi()({**scope, "user": user}, receive, send)

        assert first_message(application) == "auth_required"


# -- what the middlewares count --------------------------------------------------------------------


def announced(application, times: int, **scope) -> tuple[list[str], Node, list[Any]]:
    """The reasons that ``denied`` gave, the node, and how each handshake was answered."""
    reasons: list[str] = []

    async def note(sender, signal, scope, reason):
        reasons.append(reason)

    async def run(_):
        answers = []
        for _number in range(times):
            socket = AsgiSocket(application, "/chat/", **scope)
            answers.append(await socket.connect())
            await socket.disconnect()
        node = current_node()
        await until(lambda: len(reasons) == times)
        return reasons, node, answers

    signals.denied.connect(note, weak=False)
    try:
        return converse(run)
    finally:
        signals.denied.disconnect(note)


def test_bad_credentials_count_against_their_address_and_are_announced(realtime):
    realtime(ADDRESS_FAILURES=(0.001, 2))
    application = AuthMiddleware(Plain.as_asgi())
    extensions = {"websocket.http.response": {}}
    reasons, node, answers = announced(application, 3, headers=bearer("bad"), extensions=extensions)
    assert reasons == ["credentials", "credentials", "address"]
    assert node.metrics.denials == {"credentials": 2, "address": 1}
    assert [answer["type"] for answer in answers[:2]] == ["websocket.accept"] * 2
    assert answers[2]["status"] == 429


@pytest.mark.parametrize(
    "application", [AuthMiddleware(Plain.as_asgi()), RealtimeConsumer.as_asgi()]
)
def test_bad_credentials_behind_a_proxy_that_is_not_named_lock_nobody_out(
    realtime, application, caplog
):
    realtime(ADDRESS_FAILURES=(0.001, 1))
    forwarded = [(b"x-forwarded-for", b"203.0.113.7")]
    good = [*forwarded, *bearer(make_token(make_user().pk))]

    async def run(_):
        for _number in range(5):
            async with AsgiSocket(application, headers=[*forwarded, *bearer("bad")]):
                pass
        async with AsgiSocket(application, headers=good) as socket:
            return socket.accepted is not None, current_node().metrics.denials

    assert converse(run) == (True, {"credentials": 5})
    assert [record.getMessage() for record in caplog.records if "proxy" in record.msg] == [
        "127.0.0.1 is a proxy's address, because it sends X-Forwarded-For: its clients all appear with"
        " this address, and no limit by address applies to them. Name your proxies in"
        " CHANNELS_REALTIME['TRUSTED_PROXIES'], and the header in which they pass the client's address"
        " in CLIENT_ADDRESS_HEADER."
    ]


def test_other_limits_by_address_do_not_apply_to_a_proxy_that_is_not_named_either(realtime):
    realtime(ALLOW_ANONYMOUS=True, ADDRESS_MESSAGES=(0.001, 1), MAX_CONNECTIONS_PER_ADDRESS=1)
    application = RealtimeConsumer.as_asgi()
    headers = [(b"x-forwarded-for", b"203.0.113.7")]

    async def run(_):
        async with (
            AsgiSocket(application, headers=headers) as one,
            AsgiSocket(application, headers=headers) as two,
        ):
            for socket in (one, two):
                await socket.expect("welcome")
                for _number in range(3):
                    assert await socket.ask({"type": "ping"}) == {"type": "pong"}

    converse(run)


def test_bad_credentials_over_http_count_too(realtime):
    async def application(scope, receive, send):
        assert scope["identity"].is_anonymous

    async def run(_):
        scope = {"type": "http", "headers": bearer("bad"), "client": ("192.0.2.7", 1)}
        await AuthMiddleware(application)(scope, None, None)
        node = current_node()
        assert node.metrics.denials == {"credentials": 1}

    converse(run)


@pytest.mark.parametrize("inner", [Plain, RealtimeConsumer])
def test_foreign_origin_is_announced_and_counted(inner):
    application = OriginMiddleware(inner.as_asgi())
    headers = [(b"origin", b"https://evil.example.com")]
    reasons, node, answers = announced(application, 2, headers=headers)
    assert reasons == ["origin", "origin"]
    assert node.metrics.denials == {"origin": 2}
    assert answers == [{"type": "websocket.close"}] * 2


def test_origin_is_judged_once_by_the_outermost():
    """The consumer inside would refuse what the middleware lets in."""
    application = OriginMiddleware(RealtimeConsumer.as_asgi(), ["https://a.example"])

    async def connect(_):
        headers = [(b"origin", b"https://a.example")]
        async with AsgiSocket(application, headers=headers) as socket:
            return await outcome(socket)

    assert converse(connect) == "auth_required"


def test_address_is_parsed_once_for_all_layers_of_an_application(monkeypatch):
    parsed = []

    def found_address(scope, config):
        parsed.append(scope["client"])
        return FoundAddress("192.0.2.7")

    monkeypatch.setattr(handshake_module, "find_address", found_address)
    application = OriginMiddleware(AuthMiddleware(RealtimeConsumer.as_asgi()))

    async def connect(_):
        async with AsgiSocket(application) as socket:
            await socket.read()
            (connection,) = current_node().connections.values()
            return connection.client_address

    assert converse(connect) == "192.0.2.7"
    assert len(parsed) == 1


def test_draining_process_refuses_before_it_authenticates():
    async def connect(_):
        current_node().drain.begin()
        socket = AsgiSocket(AuthMiddleware(Plain.as_asgi()), headers=bearer("bad"))
        return await socket.connect()

    assert converse(connect) == {"type": "websocket.close"}


# -- OriginMiddleware ------------------------------------------------------------------------------


class Inner:
    """An application that notes the scope it was called with."""

    scope = None

    async def __call__(self, scope, receive, send):
        self.scope = scope


async def handshake(middleware, asked) -> list[dict]:
    sent: list[dict] = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(event):
        sent.append(event)

    await middleware(asked, receive, send)
    return sent


async def test_origin_middleware_passes_an_allowed_origin_on_and_leaves_the_scope_as_it_was():
    inner = Inner()
    asked = scope("https://a.example")
    before = dict(asked)
    assert await handshake(OriginMiddleware(inner, ["https://a.example"]), asked) == []
    assert inner.scope["headers"] == asked["headers"]
    assert asked == before


async def test_origin_middleware_refuses_a_foreign_origin_with_403():
    inner = Inner()
    sent = await handshake(OriginMiddleware(inner), scope("https://evil.test"))
    assert sent == [{"type": "websocket.close"}]
    assert inner.scope is None


async def test_origin_middleware_refuses_with_a_body_where_the_server_can():
    asked = scope("https://evil.test", extensions={"websocket.http.response": {}})
    assert await handshake(OriginMiddleware(Inner()), asked) == [
        {
            "type": "websocket.http.response.start",
            "status": 403,
            "headers": [
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"content-length", b"29"),
            ],
        },
        {"type": "websocket.http.response.body", "body": b"This origin may not connect.\n"},
    ]


async def test_origin_middleware_may_refuse_a_missing_origin():
    inner = Inner()
    middleware = OriginMiddleware(inner, ["https://a.example"], allow_missing=False)
    assert await handshake(middleware, scope(None)) == [{"type": "websocket.close"}]


async def test_origin_middleware_leaves_http_alone():
    inner = Inner()
    await handshake(OriginMiddleware(inner), {**scope("https://evil.test"), "type": "http"})
    assert inner.scope["type"] == "http"


async def test_origin_middleware_sends_nothing_when_the_client_has_gone_already():
    sent = []

    async def receive():
        return {"type": "websocket.disconnect"}

    async def send(event):
        sent.append(event)

    await OriginMiddleware(Inner())(scope("https://evil.test"), receive, send)
    assert sent == []
