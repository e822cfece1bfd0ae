"""The header that carries tokens: simplejwt's settings, other schemes, and who a connection then is."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.test import Client

from channels_realtime.auth import token_header
from channels_realtime.auth.base import Authenticated
from channels_realtime.conversation.throttling import Rate, TokenBucket
from channels_realtime.errors import TokenInvalid
from channels_realtime.identity import Identity
from channels_realtime.middleware import AuthMiddleware
from tests.support.asgi_socket import AsgiSocket
from tests.unit.auth.credentials import (
    converse,
    make_session,
    make_token,
    make_user,
    opened,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("realtime", "patient_log")]

DRF_TOKEN = "9944b09199c62bcf9418ad846dd0e4bbdfc6ee4b"
BASIC = "Basic c3RhZ2luZzpzZWNyZXQ="


@pytest.fixture
def patient_log(monkeypatch, caplog):
    """Everything is logged, however much other tests have logged lately."""
    monkeypatch.setattr(token_header, "_log_bucket", TokenBucket(Rate(1.0, 1_000.0), 0.0))
    caplog.set_level(logging.WARNING, logger="channels_realtime.auth")


@pytest.fixture
def alice():
    return make_user("alice")


@pytest.fixture
def bobs_cookie():
    session = make_session(make_user("bob"))
    return f"sessionid={session.session_key}"


def verify_drf_token(token: str) -> Authenticated:
    """A ``TOKEN_VERIFIER`` as the how-to writes it."""
    from django.contrib.auth import get_user_model

    if token != DRF_TOKEN:
        raise TokenInvalid
    user = get_user_model().objects.get(username="alice")
    identity = Identity(user_id=str(user.pk), method="token", proven_at=4e9)
    return Authenticated(identity=identity, user=user)


def handshake(*headers: tuple[str, str], **scope: Any) -> str:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    return opened(headers=raw, **scope)


def refused(*expected: str) -> str:
    named = " or ".join(f"'{text} <token>'" for text in expected)
    return f"4401 the scheme of the header is not accepted; expected {named}"


# -- simplejwt's settings --------------------------------------------------------------------------


@pytest.mark.parametrize("types", [("JWT",), ["JWT", "Bearer"], "JWT"])
@pytest.mark.parametrize("scheme", ["JWT", "jwt"])
def test_header_types_of_simplejwt_are_accepted(settings, alice, bobs_cookie, types, scheme):
    settings.SIMPLE_JWT = {"AUTH_HEADER_TYPES": types}
    token = ("authorization", f"{scheme} {make_token(alice.pk)}")
    assert handshake(token) == f"welcome {alice.pk}"
    assert handshake(token, ("cookie", bobs_cookie)) == f"welcome {alice.pk}"


def test_bearer_is_refused_where_http_refuses_it(settings, alice):
    settings.SIMPLE_JWT = {"AUTH_HEADER_TYPES": ("JWT",)}
    got = handshake(("authorization", f"Bearer {make_token(alice.pk)}"))
    assert got == refused("Authorization: JWT")


def test_header_name_of_simplejwt_is_followed(settings, alice, bobs_cookie):
    settings.SIMPLE_JWT = {"AUTH_HEADER_NAME": "HTTP_X_ACCESS_TOKEN"}
    token = f"Bearer {make_token(alice.pk)}"
    assert handshake(("x-access-token", token)) == f"welcome {alice.pk}"
    assert handshake(("x-access-token", token), ("cookie", bobs_cookie)) == f"welcome {alice.pk}"
    assert handshake(("x-access-token", "Bearer x")) == "4401 the token is not valid"
    assert handshake(("authorization", token)) == refused("X-Access-Token: Bearer")
    assert handshake(("x-access-token", token), ("authorization", BASIC)) == f"welcome {alice.pk}"


def test_setting_of_ours_comes_before_that_of_simplejwt(settings, realtime, alice):
    settings.SIMPLE_JWT = {"AUTH_HEADER_TYPES": ("JWT",)}
    realtime(TOKEN_HEADER_TYPES=["Api-Key"])
    token = make_token(alice.pk)
    assert handshake(("authorization", f"api-key {token}")) == f"welcome {alice.pk}"
    assert handshake(("authorization", f"JWT {token}")) == refused("Authorization: Api-Key")


@pytest.mark.parametrize("scheme", ["Token", "token", "Bearer"])
def test_verifier_of_the_site_is_given_tokens_of_django_rest_framework(
    realtime, alice, bobs_cookie, scheme
):
    realtime(TOKEN_VERIFIER=f"{__name__}.verify_drf_token")
    header = ("authorization", f"{scheme} {DRF_TOKEN}")
    assert handshake(header) == f"welcome {alice.pk}"
    assert handshake(header, ("cookie", bobs_cookie)) == f"welcome {alice.pk}"
    assert handshake(("authorization", f"{scheme} no")) == "4401 the token is not valid"


# -- schemes that nothing here reads ---------------------------------------------------------------

UNREAD = [
    (f"Token {DRF_TOKEN}", "the scheme 'Token'"),
    ("AWS4-HMAC-SHA256 Credential=a", "the scheme 'AWS4-HMAC-SHA256'"),
    (DRF_TOKEN, "no scheme"),
    (f"{DRF_TOKEN} x", "no scheme"),  # whatever this is, it may be a secret
    ("Foo", "no scheme"),
]


@pytest.mark.parametrize(("value", "named"), UNREAD)
@pytest.mark.parametrize("anonymous", [True, False])
def test_unread_header_is_refused_and_logged_where_nothing_else_counts(
    realtime, caplog, value, named, anonymous
):
    realtime(ALLOW_ANONYMOUS=anonymous)
    assert handshake(("authorization", value)) == refused("Authorization: Bearer")
    assert [record.getMessage() for record in caplog.records] == [
        f"A client sent credentials in a header with {named}, which is not read: the connection is"
        " refused. Expected 'Authorization: Bearer <token>'; name other schemes in"
        " CHANNELS_REALTIME['TOKEN_HEADER_TYPES']."
    ]


def test_unread_header_is_refused_beside_a_cookie_that_proves_nobody(caplog):
    stale = ("cookie", "sessionid=" + "0" * 32)
    got = handshake(("authorization", f"Token {DRF_TOKEN}"), stale)
    assert got == refused("Authorization: Bearer")


def test_cookie_beside_an_unread_header_decides_and_the_log_says_so(caplog, bobs_cookie):
    got = handshake(("authorization", f"Token {DRF_TOKEN}"), ("cookie", bobs_cookie))
    assert got.startswith("welcome ")
    assert [record.getMessage() for record in caplog.records] == [
        "A client sent credentials in a header with the scheme 'Token', which is not read: the cookie"
        " decides who connects. Expected 'Authorization: Bearer <token>'; name other schemes in"
        " CHANNELS_REALTIME['TOKEN_HEADER_TYPES']."
    ]


def test_token_among_the_subprotocols_counts_beside_an_unread_header(caplog, alice):
    offered = ["realtime.v1.json", f"access_token_{make_token(alice.pk)}"]
    got = handshake(("authorization", BASIC), subprotocols=offered)
    assert got == f"welcome {alice.pk}"
    assert not caplog.records


def test_password_of_a_proxy_beside_a_login_session_is_not_mentioned(caplog, bobs_cookie):
    assert handshake(("authorization", BASIC), ("cookie", bobs_cookie)).startswith("welcome ")
    assert not caplog.records


def test_password_of_a_proxy_from_a_browser_leaves_the_first_message_to_the_page(caplog, realtime):
    assert handshake(("authorization", BASIC)) == "auth_required"
    realtime(ALLOW_ANONYMOUS=True)
    assert handshake(("authorization", BASIC)) == "welcome None"
    assert not caplog.records


def test_password_from_a_client_that_is_no_browser_is_refused():
    got = handshake(("authorization", BASIC), with_origin=False)
    assert got == refused("Authorization: Bearer")


def test_header_counts_as_absent_where_the_site_reads_none(realtime):
    realtime(TOKEN_VERIFIER=None, ALLOW_ANONYMOUS=True)
    assert handshake(("authorization", f"Token {DRF_TOKEN}")) == "welcome None"


def test_empty_header_counts_as_absent(realtime):
    assert handshake(("authorization", " ")) == "auth_required"


def test_user_of_another_middleware_counts_beside_an_unread_header(caplog, alice):
    scope = {"user": alice}
    assert handshake(("authorization", "Site abc"), **scope) == f"welcome {alice.pk}"
    assert not caplog.records


def test_log_of_unread_headers_is_limited(monkeypatch, caplog):
    monkeypatch.setattr(token_header, "_log_bucket", TokenBucket(Rate(1e-9, 1.0), 0.0))
    for _ in range(3):
        handshake(("authorization", f"Token {DRF_TOKEN}"))
    assert len(caplog.records) == 1


def test_unread_header_of_an_http_request_is_the_views_business():
    seen = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["user"].is_anonymous)
        await send({"type": "websocket.close"})

    async def request(application: Any) -> None:
        socket = AsgiSocket(
            AuthMiddleware(inner), type="http", headers=[(b"authorization", b"Token x")]
        )
        await socket.connect()

    converse(request)
    assert seen == [True]


# -- the ticket's view -----------------------------------------------------------------------------


def post(client: Client, **headers: str) -> tuple[int, Any]:
    response = client.post("/realtime/ticket/", headers={"Origin": "http://testserver", **headers})
    return response.status_code, response.json()


def test_ticket_view_follows_the_settings_of_simplejwt(settings, alice):
    settings.SIMPLE_JWT = {"AUTH_HEADER_TYPES": ["JWT"], "AUTH_HEADER_NAME": "HTTP_X_AUTH"}
    token = make_token(alice.pk)
    assert post(Client(), **{"X-Auth": f"JWT {token}"})[0] == 200
    status, body = post(Client(), Authorization=f"Bearer {token}")
    assert (status, body) == (
        401,
        {"code": "token_invalid", "reason": refused("X-Auth: JWT").removeprefix("4401 ")},
    )


def test_preflight_allows_the_header_that_carries_tokens(settings):
    settings.SIMPLE_JWT = {"AUTH_HEADER_NAME": "HTTP_X_AUTH"}
    settings.CSRF_HEADER_NAME = "HTTP_X_XSRF_TOKEN"
    response = Client().options("/realtime/ticket/", headers={"Origin": "http://testserver"})
    assert response["Access-Control-Allow-Headers"] == (
        "authorization, content-type, x-xsrf-token, x-auth"
    )


def test_ticket_view_names_an_unread_scheme_where_there_is_no_session(caplog, alice):
    status, body = post(Client(), Authorization=f"Token {DRF_TOKEN}")
    assert (status, body["code"]) == (401, "token_invalid")
    assert "the scheme 'Token', which is not read: no ticket is issued" in caplog.text
    client = Client()
    client.force_login(alice)
    assert post(client, Authorization=BASIC)[0] == 200
