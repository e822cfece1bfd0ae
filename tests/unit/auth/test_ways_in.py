"""Every way in, and every credential that may be shown there: the table.

``welcome alice`` is a ``welcome`` as that user, ``auth_required`` that nothing counted as present,
anything else the code and the reason of ``closing`` and the close after it.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import hashlib
import hmac
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from django.core import signing
from django.utils import timezone

from channels_realtime.auth.base import Authenticated
from channels_realtime.auth.tickets import issue_ticket
from channels_realtime.auth.tokens import MAX_TOKEN_LENGTH
from channels_realtime.consumers import RealtimeConsumer
from channels_realtime.identity import Identity
from channels_realtime.middleware import AuthMiddleware
from tests.support.asgi_socket import AsgiSocket
from tests.support.servers import ROOT
from tests.unit.auth.credentials import (
    NOBODY,
    OMIT,
    KeyPair,
    claims_of,
    converse,
    cookie,
    make_session,
    make_token,
    make_user,
    opened,
    outcome,
    sign,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("realtime")]

WELCOME = "welcome alice"
ASKED = "auth_required"
INVALID = "4401 the token is not valid"
EXPIRED = "4401 the token has expired"


# -- the ways that a token may take ----------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Way:
    """How a token travels: settings, and the handshake's scope or a first message."""

    scope: Callable[[str], dict[str, Any]]
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    answer: Callable[[str], str | None] = lambda token: "realtime.v1.json"
    """The subprotocol that the handshake is answered with."""
    first_message: bool = False


TOKEN_WAYS = {
    "header": Way(lambda token: {"headers": [(b"authorization", b"Bearer " + token.encode())]}),
    "subprotocol with a version": Way(
        lambda token: {"subprotocols": ["realtime.v1.json", f"access_token_{token}"]},
        answer=lambda token: "realtime.v1.json",
    ),
    "subprotocol jwt": Way(
        lambda token: {"subprotocols": ["jwt", token]}, answer=lambda token: "jwt"
    ),
    "subprotocol alone": Way(
        lambda token: {"subprotocols": [f"access_token_{token}"]},
        answer=lambda token: f"access_token_{token}",
    ),
    "query": Way(
        lambda token: {"query_string": f"token={token}".encode()}, settings={"QUERY_TOKEN": True}
    ),
    "cookie": Way(
        lambda token: {"headers": [(b"cookie", f"access={token}".encode())]},
        settings={"JWT_COOKIE": "access"},
    ),
    "first message": Way(lambda token: {}, first_message=True),
}


def enter(way: Way, token: str) -> str:
    """Show a token in this way; what came of it."""
    return str(converse(_enter, way, token))


async def _enter(application: Any, way: Way, token: str) -> str:
    async with AsgiSocket(application, **way.scope(token)) as socket:
        assert socket.accepted is not None
        assert socket.accepted.get("subprotocol") == way.answer(token)
        if not way.first_message:
            return await outcome(socket)
        await socket.expect("auth_required")
        socket.send({"type": "auth", "token": token, "id": 1})
        message = await socket.read()
        if message["type"] == "error":
            assert (message["request"], message["id"]) == ("auth", 1)
            result = await outcome(socket)
            assert message["payload"]["reason"] == result.removeprefix("4401 ")
            return result
        assert message["type"] == "auth_ok", message
        return await outcome(socket)


# -- the tokens ------------------------------------------------------------------------------------


class Maker:
    """Makes the tokens of one test."""

    def __init__(
        self, alice: Any, keys: KeyPair, other_keys: KeyPair, simple_jwt: Callable[..., None]
    ) -> None:
        self.alice = alice
        self.keys = keys
        self.other_keys = other_keys
        self.configure = simple_jwt

    def make(self, **changes: Any) -> str:
        return make_token(self.alice.pk, **changes)

    def rs256(self) -> None:
        """RS256 from now on, with the keys of ``keys``."""
        self.configure(
            ALGORITHM="RS256", SIGNING_KEY=self.keys.private, VERIFYING_KEY=self.keys.public
        )


@pytest.fixture
def maker(db, key_pair, other_key_pair, simple_jwt):
    return Maker(make_user(), key_pair, other_key_pair, simple_jwt)


def unsigned(maker: Maker) -> str:
    return jwt.encode(claims_of(maker.alice.pk), None, algorithm="none")


def none_in_another_case(maker: Maker) -> str:
    header = _part({"alg": "nOnE", "typ": "JWT"})
    return f"{header}.{_part(claims_of(maker.alice.pk))}."


def without_signature(maker: Maker) -> str:
    return maker.make().rpartition(".")[0] + "."


def changed_claims(maker: Maker) -> str:
    header, _, signature = maker.make().split(".")
    return f"{header}.{_part(claims_of(maker.alice.pk, is_staff=True))}.{signature}"


def hmac_with_the_public_key(maker: Maker) -> str:
    """Algorithm confusion: the public key, which anyone has, taken for a shared secret."""
    maker.rs256()
    signed = f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part(claims_of(maker.alice.pk))}"
    digest = hmac.new(maker.keys.public.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def signed_with_rsa(maker: Maker) -> str:
    maker.rs256()
    return sign(claims_of(maker.alice.pk), maker.keys.private, "RS256")


def signed_with_a_key_that_was_replaced(maker: Maker) -> str:
    maker.rs256()
    return sign(claims_of(maker.alice.pk), maker.other_keys.private, "RS256")


def signed_with_its_own_key(maker: Maker) -> str:
    """The header brings the key that it wants to be verified with."""
    maker.rs256()
    own = maker.other_keys
    return sign(claims_of(maker.alice.pk), own.private, "RS256", headers={"jwk": own.jwk("own")})


def of_an_inactive_user(maker: Maker) -> str:
    return make_token(make_user("inactive", is_active=False).pk)


def of_a_deleted_user(maker: Maker) -> str:
    user = make_user("deleted")
    token = make_token(user.pk)
    user.delete()
    return token


def of_a_user_deactivated_since(maker: Maker) -> str:
    token = maker.make()
    type(maker.alice)._default_manager.filter(pk=maker.alice.pk).update(is_active=False)
    return token


def blacklisted(maker: Maker) -> str:
    from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

    token = maker.make(jti="on-the-blacklist")
    outstanding = OutstandingToken.objects.create(
        jti="on-the-blacklist", token=token, expires_at=timezone.now()
    )
    BlacklistedToken.objects.create(token=outstanding)
    return token


def stock_pair(maker: Maker) -> Any:
    from rest_framework_simplejwt.tokens import RefreshToken

    return RefreshToken.for_user(maker.alice)


def _part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def now() -> int:
    return int(time.time())


TOKENS: dict[str, tuple[Callable[[Maker], str], str]] = {
    # good
    "good": (Maker.make, WELCOME),
    "user id as a number": (lambda t: t.make(user_id=t.alice.pk), WELCOME),
    "good, of simplejwt": (lambda t: str(stock_pair(t).access_token), WELCOME),
    "good, RS256": (signed_with_rsa, WELCOME),
    "nbf in the past": (lambda t: t.make(nbf=now() - 5), WELCOME),
    "no iat": (lambda t: t.make(iat=OMIT), WELCOME),
    "further claims": (lambda t: t.make(roles=["a"], deep={"er": 1}), WELCOME),
    "a family that is no text": (lambda t: t.make(sid=["x"]), WELCOME),
    # no token at all
    "malformed": (lambda t: "no-token-at-all", INVALID),
    "three dots": (lambda t: "...", INVALID),
    "no JSON": (lambda t: "YQ.YQ.YQ", INVALID),
    "claims are a list": (lambda t: f"{_part({'alg': 'HS256'})}.{_part([1])}.YQ", INVALID),
    # time
    "expired": (lambda t: t.make(exp=now() - 1), EXPIRED),
    "expires now": (lambda t: t.make(exp=now()), EXPIRED),
    "exp negative": (lambda t: t.make(exp=-1), EXPIRED),
    "exp true": (lambda t: t.make(exp=True), EXPIRED),  # read as the number 1
    "no exp": (lambda t: t.make(exp=OMIT), INVALID),
    "exp null": (lambda t: t.make(exp=None), INVALID),
    "exp 1e20": (lambda t: t.make(exp=1e20), INVALID),
    "exp beyond the calendar": (lambda t: t.make(exp=10**15), INVALID),
    "exp NaN": (lambda t: t.make(exp=math.nan), INVALID),
    "exp infinite": (lambda t: t.make(exp=math.inf), INVALID),
    "exp text": (lambda t: t.make(exp=str(now() + 300)), INVALID),
    "exp a list": (lambda t: t.make(exp=[now() + 300]), INVALID),
    "not valid yet (nbf)": (lambda t: t.make(nbf=now() + 60), INVALID),
    "issued in the future (iat)": (lambda t: t.make(iat=now() + 60), INVALID),
    "iat true": (lambda t: t.make(iat=True), INVALID),
    "iat NaN": (lambda t: t.make(iat=math.nan), INVALID),
    "iat text": (lambda t: t.make(iat="soon"), INVALID),
    "iat negative": (lambda t: t.make(iat=-1), INVALID),
    # signature
    "wrong signature": (lambda t: sign(claims_of(t.alice.pk), "x" * 32), INVALID),
    "claims changed after signing": (changed_claims, INVALID),
    "signature cut off": (without_signature, INVALID),
    "alg none": (unsigned, INVALID),
    "alg nOnE": (none_in_another_case, INVALID),
    "another HMAC": (lambda t: sign(claims_of(t.alice.pk), None, "HS384"), INVALID),
    "HMAC with the public key": (hmac_with_the_public_key, INVALID),
    "brings its own key": (signed_with_its_own_key, INVALID),
    "rotated key": (signed_with_a_key_that_was_replaced, INVALID),
    # kind
    "refresh": (lambda t: str(stock_pair(t)), INVALID),
    "refresh by its type": (lambda t: t.make(token_type="refresh"), INVALID),
    "sliding": (lambda t: t.make(token_type="sliding"), INVALID),
    "no type": (lambda t: t.make(token_type=OMIT), INVALID),
    "type a list": (lambda t: t.make(token_type=["access"]), INVALID),
    "blacklisted": (blacklisted, INVALID),
    "no jti": (lambda t: t.make(jti=OMIT), INVALID),
    "jti a list": (lambda t: t.make(jti=["x"]), INVALID),
    "jti a number": (lambda t: t.make(jti=1), INVALID),
    "jti with NUL": (lambda t: t.make(jti="a\0b"), INVALID),
    # user
    "unknown user": (lambda t: make_token(NOBODY), INVALID),
    "inactive user": (of_an_inactive_user, INVALID),
    "user deactivated since": (of_a_user_deactivated_since, INVALID),
    "deleted user": (of_a_deleted_user, INVALID),
    "no user id": (lambda t: t.make(user_id=OMIT), INVALID),
    "user id null": (lambda t: t.make(user_id=None), INVALID),
    "user id abc": (lambda t: t.make(user_id="abc"), INVALID),
    "user id empty": (lambda t: t.make(user_id=""), INVALID),
    "user id a list": (lambda t: t.make(user_id=[t.alice.pk]), INVALID),
    "user id a dict": (lambda t: t.make(user_id={"pk": t.alice.pk}), INVALID),
    "user id NUL": (lambda t: t.make(user_id=f"{t.alice.pk}\0"), INVALID),
    "user id true": (lambda t: t.make(user_id=True), INVALID),
    "user id 1.0": (lambda t: t.make(user_id=float(t.alice.pk)), INVALID),
    "user id with a space": (lambda t: t.make(user_id=f" {t.alice.pk}"), INVALID),
    "user id with a zero": (lambda t: t.make(user_id=f"0{t.alice.pk}"), INVALID),
    "user id with a plus": (lambda t: t.make(user_id=f"+{t.alice.pk}"), INVALID),
    "user id in other digits": (
        lambda t: t.make(user_id=str(t.alice.pk).translate({48 + n: 0x660 + n for n in range(10)})),
        INVALID,
    ),
    "user id beyond 64 bits": (lambda t: t.make(user_id=10**30), INVALID),
    "user id of 5,000 digits": (lambda t: t.make(user_id="1" * 5_000), INVALID),
    "user id a lone surrogate": (lambda t: t.make(user_id="\ud800"), INVALID),
}


@pytest.mark.parametrize("token", TOKENS)
def test_token_in_a_first_message(maker, token):
    """Every token there is: what is right of it is right of all ways, as the next test shows."""
    check(maker, "first message", token)


CRITICAL = (
    "good",
    "malformed",
    "expired",
    "not valid yet (nbf)",
    "issued in the future (iat)",
    "wrong signature",
    "alg none",
    "HMAC with the public key",
    "refresh",
    "unknown user",
    "inactive user",
    "deleted user",
    "blacklisted",
    "rotated key",
    "user id abc",
    "exp 1e20",
)


@pytest.mark.parametrize("token", CRITICAL)
@pytest.mark.parametrize("way", [way for way in TOKEN_WAYS if way != "first message"])
def test_token_in_the_handshake(realtime, maker, way, token):
    realtime(**TOKEN_WAYS[way].settings)
    check(maker, way, token)


def check(maker, way, token):
    make, expected = TOKENS[token]
    got = enter(TOKEN_WAYS[way], make(maker))
    assert got == expected.replace("alice", str(maker.alice.pk))


@pytest.mark.parametrize("way", TOKEN_WAYS)
def test_nothing_is_present(realtime, way):
    realtime(**TOKEN_WAYS[way].settings)
    assert opened() == ASKED


NOT_A_TOKEN: dict[str, tuple[dict[str, Any], str]] = {
    "header, empty": ({"headers": [(b"authorization", b"Bearer ")]}, INVALID),
    "header, not ASCII": ({"headers": [(b"authorization", b"Bearer \xc3\xa9\xff")]}, INVALID),
    "header, two of them": (
        {"headers": [(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")]},
        INVALID,
    ),
    "header, of another scheme": ({"headers": [(b"authorization", b"Basic YTpi")]}, ASKED),
    "header, without a scheme": ({"headers": [(b"authorization", b"Bearer")]}, INVALID),
    "header, longer than a token may be": (
        {"headers": [(b"authorization", b"Bearer " + b"a" * (MAX_TOKEN_LENGTH + 1))]},
        INVALID,
    ),
    "subprotocol, empty": ({"subprotocols": ["access_token_"]}, INVALID),
    "subprotocol, jwt without a token": ({"subprotocols": ["jwt"]}, ASKED),
    "subprotocol, version alone": ({"subprotocols": ["realtime.v1.json"]}, ASKED),
    "subprotocol, not ASCII": ({"subprotocols": ["access_token_é"]}, INVALID),
    "query, empty": ({"query_string": b"token="}, INVALID),
    "query, not ASCII": ({"query_string": b"token=%C3%A9%ff%00"}, INVALID),
    "query, raw bytes": ({"query_string": b"token=\xff\xfe"}, INVALID),
    "cookie, empty": ({"headers": [(b"cookie", b"access=")]}, ASKED),
    "cookie, not ASCII": ({"headers": [(b"cookie", b"access=\xc3\xa9")]}, INVALID),
    "ticket, empty": ({"query_string": b"ticket="}, "4401 not a ticket"),
    "a hundred parameters and a token": (
        {"query_string": b"a=1&" * 100 + b"token=x"},
        ASKED,  # nobody reads on that far
    ),
}


OTHER_FORMS: dict[str, Callable[[str], list[str]]] = {
    "Bearer": lambda token: ["Bearer", token],
    "access_token": lambda token: ["access_token", token],
    "token": lambda token: ["token", token],
    "alone": lambda token: [token],
    "beside ours": lambda token: ["Bearer", token, "realtime.v1.json"],
}


@pytest.mark.parametrize("form", OTHER_FORMS)
def test_token_in_another_librarys_subprotocols_is_judged_like_any_other(form):
    alice = make_user()
    for token, expected in [
        (make_token(alice.pk), f"welcome {alice.pk}"),
        (make_token(alice.pk)[:-4] + "AAAA", INVALID),
        ("a1" * 20, INVALID),
    ]:
        assert opened(subprotocols=OTHER_FORMS[form](token)) == expected


@pytest.mark.parametrize(
    ("application", "offered", "shape"),
    [
        (None, ["Bearer"], "'Bearer'"),
        (
            None,
            ["token", "eyJhbGciOi.eyJh.c2ln", "a1" * 20],
            "'token', <20 characters>, <40 characters>",
        ),
        (AuthMiddleware(RealtimeConsumer.as_asgi()), ["Bearer"], "'Bearer'"),
    ],
)
def test_offer_without_one_token_is_closed_and_logged_by_its_shape(
    caplog, application, offered, shape
):
    async def connect(default):
        async with AsgiSocket(application or default, subprotocols=offered) as socket:
            assert socket.accepted["subprotocol"] == offered[0]
            event = await socket.read()
            return event["payload"] if "payload" in event else event["code"]

    refused = converse(connect)
    reason = "the subprotocols carry no one token; expected 'jwt' and the token"
    assert refused == 4401 or (refused["code"], refused["reason"]) == (4401, reason)
    (message,) = [record.getMessage() for record in caplog.records]
    assert message == (
        f"A client offered the subprotocols [{shape}], which carry no one token. Expected"
        " 'realtime.v1.json' or another that is served, and for a token 'jwt' and the token after it."
    )


def test_offer_of_unknown_names_is_accepted_and_logged_by_its_shape(caplog):
    assert opened(subprotocols=["chat", "s3cret"]) == ASKED
    assert caplog.messages == [
        "A client offered the subprotocols [<4 characters>, <6 characters>], which are not served: a"
        " browser closes its connection. Expected 'realtime.v1.json' or another that is served, and"
        " for a token 'jwt' and the token after it."
    ]


@pytest.mark.parametrize("shown", NOT_A_TOKEN)
def test_what_is_no_token_at_all(realtime, shown):
    realtime(QUERY_TOKEN=True, JWT_COOKIE="access")
    scope, expected = NOT_A_TOKEN[shown]
    assert opened(**scope) == expected


# -- keys from a JWKS endpoint ---------------------------------------------------------------------


@pytest.fixture
def key_set(simple_jwt, monkeypatch):
    """What the endpoint answers from now on: keys, or an exception."""
    answer: dict[str, Any] = {"keys": []}

    def fetch(client: Any) -> dict[str, Any]:
        if isinstance(answer["keys"], Exception):
            raise answer["keys"]
        return answer

    monkeypatch.setattr(jwt.PyJWKClient, "fetch_data", fetch)
    simple_jwt(ALGORITHM="RS256", JWK_URL="https://keys.invalid/jwks.json")
    return answer


@pytest.mark.parametrize(
    ("served", "expected"),
    [
        (("first",), WELCOME),
        (("second", "first"), WELCOME),  # while both are served, both are good
        (("second",), INVALID),
        ((), INVALID),
        (jwt.PyJWKClientConnectionError("away"), INVALID),
    ],
    ids=["its key", "both keys", "another key", "no key", "endpoint away"],
)
def test_rotated_key_of_a_key_set(key_set, key_pair, other_key_pair, served, expected):
    alice = make_user()
    token = sign(claims_of(alice.pk), key_pair.private, "RS256", headers={"kid": "first"})
    pairs = {"first": key_pair, "second": other_key_pair}
    key_set["keys"] = (
        served if isinstance(served, Exception) else [pairs[kid].jwk(kid) for kid in served]
    )
    got = enter(TOKEN_WAYS["header"], token)
    assert got == expected.replace("alice", str(alice.pk))


def test_key_of_the_set_under_another_ones_name_is_refused(key_set, key_pair, other_key_pair):
    alice = make_user()
    key_set["keys"] = [key_pair.jwk("first"), other_key_pair.jwk("second")]
    token = sign(claims_of(alice.pk), key_pair.private, "RS256", headers={"kid": "second"})
    assert enter(TOKEN_WAYS["header"], token) == INVALID


# -- simplejwt's settings --------------------------------------------------------------------------

SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "within the leeway": ({"LEEWAY": 30}, {"exp": -10}, WELCOME),
    "within a leeway that is a timedelta": (
        {"LEEWAY": datetime.timedelta(seconds=30)},
        {"exp": -10},
        WELCOME,
    ),
    "beyond the leeway": ({"LEEWAY": 5}, {"exp": -10}, EXPIRED),
    "its audience": ({"AUDIENCE": "us"}, {"aud": "us"}, WELCOME),
    "another audience": ({"AUDIENCE": "us"}, {"aud": "them"}, INVALID),
    "no audience": ({"AUDIENCE": "us"}, {}, INVALID),
    "its issuer": ({"ISSUER": "us"}, {"iss": "us"}, WELCOME),
    "another issuer": ({"ISSUER": "us"}, {"iss": "them"}, INVALID),
    "no password claim": ({"CHECK_REVOKE_TOKEN": True}, {}, INVALID),
    "another password claim": ({"CHECK_REVOKE_TOKEN": True}, {"hash_password": "x"}, INVALID),
    "another claim for the user": ({"USER_ID_CLAIM": "sub"}, {}, INVALID),
    "a rule of the site's": ({"USER_AUTHENTICATION_RULE": lambda user: False}, {}, INVALID),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_simplejwt(simple_jwt, name):
    configured, changes, expected = SETTINGS[name]
    simple_jwt(**configured)
    alice = make_user()
    if "exp" in changes:
        changes = {**changes, "exp": now() + changes["exp"]}
    got = enter(TOKEN_WAYS["header"], make_token(alice.pk, **changes))
    assert got == expected.replace("alice", str(alice.pk))


def test_user_is_looked_up_by_the_configured_field(simple_jwt):
    simple_jwt(USER_ID_FIELD="username")
    alice = make_user()
    good = enter(TOKEN_WAYS["header"], make_token("alice"))
    assert good == f"welcome {alice.pk}"
    assert enter(TOKEN_WAYS["header"], make_token("Alice")) == INVALID


def test_sliding_token_opens_where_the_site_says_so(simple_jwt):
    from rest_framework_simplejwt.tokens import SlidingToken

    simple_jwt(AUTH_TOKEN_CLASSES=(SlidingToken,))
    alice = make_user()
    way = TOKEN_WAYS["header"]
    assert enter(way, str(SlidingToken.for_user(alice))) == f"welcome {alice.pk}"
    assert enter(way, make_token(alice.pk)) == INVALID


def test_refresh_token_opens_nothing_even_where_every_type_is_taken(simple_jwt):
    from rest_framework_simplejwt.tokens import UntypedToken

    simple_jwt(AUTH_TOKEN_CLASSES=(UntypedToken,))
    alice = make_user()
    way = TOKEN_WAYS["header"]
    assert enter(way, make_token(alice.pk, token_type="refresh")) == INVALID
    assert enter(way, make_token(alice.pk)) == f"welcome {alice.pk}"


def test_stateless_token_asks_for_no_user(realtime):
    realtime(STATELESS_TOKENS=True)
    way = TOKEN_WAYS["header"]
    assert enter(way, make_token(NOBODY)) == f"welcome {NOBODY}"
    assert enter(way, make_token("of another service")) == ("welcome of another service")
    assert enter(way, make_token(NOBODY, user_id=[1])) == INVALID


# -- tickets ---------------------------------------------------------------------------------------


@dataclasses.dataclass
class TicketMaker:
    """Makes the tickets of one test."""

    alice: Any
    settings: Any
    monkeypatch: pytest.MonkeyPatch
    origin: str | None = "http://testserver"

    def make(self, **changes: Any) -> str:
        identity = Identity(
            **{"user_id": str(self.alice.pk), "method": "jwt", "keys": frozenset({"token:planted"})}
            | changes
        )
        return issue_ticket(Authenticated(identity=identity, user=None), self.origin)[0]

    def of_long_ago(self) -> str:
        with self.monkeypatch.context() as patch:
            earlier = time.time() - 31
            patch.setattr(signing.time, "time", lambda: earlier)
            return self.make()

    def from_elsewhere(self, origin: str | None) -> str:
        self.origin = origin
        return self.make()

    def inactive(self) -> str:
        return self.make(user_id=str(make_user("inactive", is_active=False).pk))

    def deleted(self) -> str:
        user = make_user("deleted")
        ticket = self.make(user_id=str(user.pk))
        user.delete()
        return ticket

    def rotated(self) -> str:
        ticket = self.make()
        self.settings.SECRET_KEY = "another key, of more than thirty-two characters"
        return ticket

    def rotated_gently(self) -> str:
        self.settings.SECRET_KEY_FALLBACKS = [self.settings.SECRET_KEY]
        return self.rotated()

    def changed(self) -> str:
        data, _, rest = self.make().partition(":")
        values = signing.JSONSerializer().loads(base64.urlsafe_b64decode(data + "=="))
        values[2] = "1"
        return f"{_part(values)}:{rest}"

    def of_another_salt(self) -> str:
        values = ["id", self.origin, str(self.alice.pk), "jwt", None, 0.0, []]
        return signing.TimestampSigner(salt="another").sign_object(values)


TICKETS: dict[str, tuple[Callable[[TicketMaker], str], str]] = {
    "good": (TicketMaker.make, WELCOME),
    "malformed": (lambda t: "no-ticket", "4401 not a ticket"),
    "too long": (lambda t: "a" * 5_000, "4401 not a ticket"),
    "not ASCII": (lambda t: "é\0", "4401 not a ticket"),
    "a token": (lambda t: make_token(t.alice.pk), "4401 not a ticket"),
    "expired": (TicketMaker.of_long_ago, "4401 the ticket has expired"),
    "changed after signing": (TicketMaker.changed, "4401 not a ticket"),
    "signed for another purpose": (TicketMaker.of_another_salt, "4401 not a ticket"),
    "rotated key": (TicketMaker.rotated, "4401 not a ticket"),
    "rotated key, kept as a fallback": (TicketMaker.rotated_gently, WELCOME),
    "of another origin": (
        lambda t: t.from_elsewhere("http://elsewhere"),
        "4401 the ticket is for another origin",
    ),
    "of no origin": (
        lambda t: t.from_elsewhere(None),
        "4401 the ticket is for another origin",
    ),
    "proof expired": (
        lambda t: t.make(expires_at=time.time() - 1),
        "4401 the ticket's credentials have expired",
    ),
    "unknown user": (lambda t: t.make(user_id=str(NOBODY)), INVALID),
    "user id abc": (lambda t: t.make(user_id="abc"), INVALID),
    "inactive user": (TicketMaker.inactive, INVALID),
    "deleted user": (TicketMaker.deleted, INVALID),
}


@pytest.mark.parametrize("name", TICKETS)
def test_ticket(settings, monkeypatch, name):
    make, expected = TICKETS[name]
    alice = make_user()
    text = make(TicketMaker(alice, settings, monkeypatch))
    from urllib.parse import quote

    assert opened(query_string=f"ticket={quote(text)}".encode()) == expected.replace(
        "alice", str(alice.pk)
    )


# -- login sessions --------------------------------------------------------------------------------


def good_session(alice: Any) -> str:
    return str(make_session(alice).session_key)


def expired_session(alice: Any) -> str:
    from django.contrib.sessions.models import Session

    key = good_session(alice)
    Session.objects.filter(pk=key).update(expire_date=timezone.now())
    return key


def ended_session(alice: Any) -> str:
    session = make_session(alice)
    key = str(session.session_key)
    session.flush()
    return key


def session_of_another_password(alice: Any) -> str:
    key = good_session(alice)
    alice.set_password("another")
    alice.save()
    return key


def session_of_an_inactive_user(alice: Any) -> str:
    key = good_session(alice)
    type(alice)._default_manager.filter(pk=alice.pk).update(is_active=False)
    return key


def session_of_a_deleted_user(alice: Any) -> str:
    key = good_session(alice)
    alice.delete()
    return key


def session_of_nobody(alice: Any) -> str:
    from django.contrib.sessions.backends.db import SessionStore

    session = SessionStore()
    session["cart"] = [1]
    session.save()
    return str(session.session_key)


def session_having(**changes: Any) -> Callable[[Any], str]:
    def make(alice: Any) -> str:
        session = make_session(alice)
        for name, value in changes.items():
            session[f"_auth_user_{name}"] = value
        session.save()
        return str(session.session_key)

    return make


def session_that_was_tampered_with(alice: Any) -> str:
    from django.contrib.sessions.models import Session

    key = good_session(alice)
    Session.objects.filter(pk=key).update(session_data="e30:tampered")
    return key


SESSIONS: dict[str, tuple[Callable[[Any], str], str]] = {
    "good": (good_session, WELCOME),
    "empty": (lambda alice: "", ASKED),
    "unknown": (lambda alice: "0" * 32, ASKED),
    "too short": (lambda alice: "abc", ASKED),
    "too long": (lambda alice: "a" * 5_000, ASKED),
    "NUL, as cookies quote it": (lambda alice: '"\\000aaaaaaaaaaaa"', ASKED),
    "not ASCII": (lambda alice: "schlüssel-schlüssel", ASKED),
    "a path": (lambda alice: "../../../../etc/passwd", ASKED),
    "expired": (expired_session, ASKED),
    "logged out": (ended_session, ASKED),
    "of another password": (session_of_another_password, ASKED),
    "inactive user": (session_of_an_inactive_user, ASKED),
    "deleted user": (session_of_a_deleted_user, ASKED),
    "of nobody": (session_of_nobody, ASKED),
    "unknown user": (session_having(id=str(NOBODY)), ASKED),
    "user id abc": (session_having(id="abc"), ASKED),
    "unknown backend": (session_having(backend="os.path.Backend"), ASKED),
    "without a password's hash": (session_having(hash=""), ASKED),
    "tampered with": (session_that_was_tampered_with, ASKED),
}


@pytest.mark.parametrize("name", SESSIONS)
def test_login_session(name):
    make, expected = SESSIONS[name]
    alice = make_user()
    expected = expected.replace("alice", str(alice.pk))
    headers = [(b"cookie", f"sessionid={make(alice)}".encode())]
    assert opened(headers=headers) == expected


# -- which of them decides -------------------------------------------------------------------------

ORDER = ("header", "subprotocol", "ticket", "query", "cookie", "session")
ALL_ON = {"QUERY_TOKEN": True, "JWT_COOKIE": "access"}


def combine(shown: dict[str, str]) -> dict[str, Any]:
    """The scope of a handshake that shows all these at once."""
    headers: list[tuple[bytes, bytes]] = []
    scope: dict[str, Any] = {"headers": headers}
    query, cookies = [], []
    for way, value in shown.items():
        if way == "header":
            headers.append((b"authorization", b"Bearer " + value.encode()))
        elif way == "subprotocol":
            scope["subprotocols"] = ["realtime.v1.json", f"access_token_{value}"]
        elif way in ("ticket", "query"):
            query.append(f"{'token' if way == 'query' else way}={value}")
        else:
            cookies.append(f"{'access' if way == 'cookie' else 'sessionid'}={value}")
    scope["query_string"] = "&".join(query).encode()
    if cookies:
        headers.append((b"cookie", "; ".join(cookies).encode()))
    return scope


def show(way: str, user: Any) -> str:
    """A good credential of this user."""
    if way == "session":
        return str(make_session(user).session_key)
    if way == "ticket":
        identity = Identity(user_id=str(user.pk), method="jwt")
        found = Authenticated(identity=identity, user=user)
        return issue_ticket(found, "http://testserver")[0]
    return make_token(user.pk)


@pytest.mark.parametrize("position", range(len(ORDER)))
def test_first_that_is_present_decides(realtime, position):
    realtime(**ALL_ON)
    users = {way: make_user(way) for way in ORDER}
    shown = {way: show(way, users[way]) for way in ORDER[position:]}
    assert opened(**combine(shown)) == f"welcome {users[ORDER[position]].pk}"


@pytest.mark.parametrize("position", range(len(ORDER) - 1))
def test_bad_one_is_never_rescued_by_a_later_one(realtime, position):
    realtime(**ALL_ON)
    alice = make_user()
    shown = {way: show(way, alice) for way in ORDER[position + 1 :]}
    bad = {ORDER[position]: "no-credential"}
    expected = "4401 not a ticket" if ORDER[position] == "ticket" else INVALID
    assert opened(**combine({**bad, **shown})) == expected


def test_bad_one_after_a_good_one_is_not_looked_at(realtime):
    realtime(**ALL_ON)
    alice = make_user()
    shown = {"header": make_token(alice.pk), "ticket": "bad", "cookie": "bad", "session": "bad"}
    assert opened(**combine(shown)) == f"welcome {alice.pk}"


def test_order_is_a_setting(realtime, settings):
    from channels_realtime.config import Config

    realtime(AUTHENTICATORS=list(reversed(Config().authenticators)), **ALL_ON)
    users = {way: make_user(way) for way in ORDER}
    shown = {way: show(way, users[way]) for way in ORDER}
    assert opened(**combine(shown)) == f"welcome {users['session'].pk}"


OFF: dict[str, dict[str, Any]] = {
    "query": {"QUERY_TOKEN": False, "JWT_COOKIE": "access"},
    "cookie": {"QUERY_TOKEN": True, "JWT_COOKIE": None},
    "header": {"AUTHENTICATORS": ["channels_realtime.auth.login_session.LoginSession"]},
    "subprotocol": {"AUTHENTICATORS": ["channels_realtime.auth.login_session.LoginSession"]},
    "ticket": {"AUTHENTICATORS": ["channels_realtime.auth.login_session.LoginSession"]},
}


@pytest.mark.parametrize("good", [True, False], ids=["good", "bad"])
@pytest.mark.parametrize("way", OFF)
def test_source_that_is_switched_off_counts_as_absent(realtime, way, good):
    realtime(**OFF[way])
    alice, bob = make_user(), make_user("bob")
    shown = {way: show(way, alice) if good else "bad"}
    assert opened(**combine(shown)) == ASKED
    shown["session"] = show("session", bob)
    assert opened(**combine(shown)) == f"welcome {bob.pk}"


@pytest.mark.parametrize("way", ["header", "subprotocol", "query", "cookie"])
def test_token_counts_as_absent_on_a_site_without_tokens(realtime, way):
    realtime(TOKEN_VERIFIER=None, **ALL_ON)
    alice = make_user()
    shown = {way: make_token(alice.pk), "session": show("session", alice)}
    assert opened(**combine(shown)) == f"welcome {alice.pk}"


@pytest.mark.parametrize("dead", ["0" * 32, "abc", ""])
def test_dead_session_cookie_counts_as_absent(realtime, dead):
    realtime(ALLOW_ANONYMOUS=True)
    assert opened(headers=[cookie(dead)]) == "welcome None"


def test_bad_token_is_not_welcome_even_where_the_anonymous_are(realtime):
    realtime(ALLOW_ANONYMOUS=True)
    assert enter(TOKEN_WAYS["header"], "bad") == INVALID


@pytest.mark.parametrize(
    "off",
    [{"FIRST_MESSAGE_AUTH": False}, {"TOKEN_VERIFIER": None}],
    ids=["first message off", "no tokens"],
)
def test_nobody_is_asked_for_a_message_that_is_not_taken(realtime, off):
    realtime(**off)
    assert opened() == "4401 credentials are needed"


def test_first_message_is_refused_where_it_is_off_for_the_anonymous(realtime):
    realtime(FIRST_MESSAGE_AUTH=False, ALLOW_ANONYMOUS=True)
    token = make_token(make_user().pk)

    async def talk(application):
        async with AsgiSocket(application) as socket:
            await socket.expect("welcome")
            reply = await socket.ask({"type": "auth", "token": token, "id": 1})
            assert (reply["type"], reply["payload"]["code"]) == ("error", "unsupported")
            await socket.quiet()

    converse(talk)


def test_before_welcome_only_auth_ping_and_pong_are_judged():
    token = make_token(make_user().pk)

    async def talk(application):
        async with AsgiSocket(application) as socket:
            await socket.expect("auth_required")
            reply = await socket.ask({"type": "subscribe", "channel": "public/a", "id": 1})
            assert (reply["type"], reply["payload"]["code"]) == ("error", "unauthenticated")
            await socket.quiet()
            socket.send({"type": "auth", "token": token, "id": 2})
            socket.send({"type": "subscribe", "channel": "public/a", "id": 3})
            await socket.expect("auth_ok")
            await socket.expect("welcome")
            await socket.expect("subscribed")

    converse(talk)


@pytest.mark.parametrize(
    "message",
    [{}, {"token": 1}, {"token": None}, {"token": ["a"]}, {"token": "a" * (MAX_TOKEN_LENGTH + 1)}],
    ids=["none", "a number", "null", "a list", "too long"],
)
def test_first_message_without_a_token_leaves_the_time_to_send_one(message):
    alice = make_user()
    token = make_token(alice.pk)

    async def talk(application):
        async with AsgiSocket(application) as socket:
            await socket.expect("auth_required")
            reply = await socket.ask({"type": "auth", "id": 1, **message})
            assert (reply["type"], reply["payload"]["code"]) == ("error", "bad_message")
            socket.send({"type": "auth", "token": token})
            await socket.expect("auth_ok")
            assert await outcome(socket) == f"welcome {alice.pk}"

    converse(talk)


def test_auth_error_says_expired_by_its_code():
    token = make_token(make_user().pk, exp=1)

    async def talk(application):
        async with AsgiSocket(application) as socket:
            await socket.expect("auth_required")
            reply = await socket.ask({"type": "auth", "token": token, "id": 1})
            assert reply["payload"] == {
                "code": "token_expired",
                "reason": "the token has expired",
            }
            assert await outcome(socket) == EXPIRED

    converse(talk)


def test_bare_endpoint_takes_the_same_credentials():
    token = make_token(make_user().pk)

    async def talk(application):
        path = "/ws/bare/public/a"
        headers = [(b"authorization", b"Bearer " + token.encode())]
        async with AsgiSocket(application, path, headers=headers) as socket:
            socket.send_text('{"n": 1}')
            assert await socket.read() == {"n": 1}
        for shown in ([], [(b"authorization", b"Bearer bad")]):
            async with AsgiSocket(application, path, headers=shown) as socket:
                assert (await socket.read())["code"] == 1008

    converse(talk)


# -- what a site without tokens imports ------------------------------------------------------------

SESSION_ONLY = """
import asyncio, sys

class NoTokens:
    \"\"\"As where djangorestframework-simplejwt is not installed.\"\"\"
    def find_spec(self, name, path=None, target=None):
        if {absent} and name.partition(".")[0] in ("rest_framework", "rest_framework_simplejwt"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NoTokens())
from django.conf import settings
settings.configure(
    SECRET_KEY="a" * 50,
    ALLOWED_HOSTS=["testserver"],
    INSTALLED_APPS=[
        "django.contrib.auth", "django.contrib.contenttypes", {sessions} "channels_realtime",
    ],
    DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": {database!r}}}}},
    CHANNEL_LAYERS={{"default": {{"BACKEND": "channels.layers.InMemoryChannelLayer"}}}},
    CHANNELS_REALTIME={{"QUERY_TOKEN": True}},
    MIGRATION_MODULES=dict.fromkeys(["auth", "contenttypes", "sessions"]),
    USE_TZ=True,
)
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0, run_syncdb=True)
from channels_realtime.asgi import get_realtime_application
from channels_realtime.auth.revoking import revoke
from channels_realtime.services import current_node
from tests.support.asgi_socket import AsgiSocket

async def main():
    application = get_realtime_application(None)
    async with AsgiSocket(application, headers=[(b"cookie", b"sessionid=" + b"0" * 32)]) as socket:
        print((await socket.read())["type"])
    await current_node().stop()

asyncio.run(main())
revoke(user=1)
print(sorted(name for name in sys.modules if name.startswith(("rest_framework", "jwt"))))
"""


@pytest.mark.parametrize("absent", [True, False], ids=["not installed", "installed, not used"])
def test_site_of_login_sessions_imports_nothing_of_drf(tmp_path, absent):
    kind, imported = run_site(tmp_path, absent=absent, sessions='"django.contrib.sessions",')
    assert kind == ("closing" if absent else "auth_required")
    assert imported == "[]"


def test_site_of_tokens_needs_no_session_app(tmp_path):
    """A session cookie, of another site on the same host, leads to no user there."""
    kind, _ = run_site(tmp_path, absent=False, sessions="")
    assert kind == "auth_required"


def run_site(tmp_path, *, absent: bool, sessions: str) -> list[str]:
    script = SESSION_ONLY.format(
        absent=absent, sessions=sessions, database=str(tmp_path / "site.sqlite3")
    )
    environment = {
        name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"
    }
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    kind, imported = result.stdout.splitlines()
    return [kind, imported]
