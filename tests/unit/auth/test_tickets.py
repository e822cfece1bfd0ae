"""One-time tickets: issued, redeemed once, bound to what they came from."""

from __future__ import annotations

import base64
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core import signing
from django.core.cache.backends.locmem import LocMemCache
from django.utils import timezone

from channels_realtime.auth import tickets
from channels_realtime.auth.base import Authenticated
from channels_realtime.auth.jwt import verify_jwt
from channels_realtime.auth.login_session import read_login_session
from channels_realtime.auth.tickets import issue_ticket, redeem_ticket
from channels_realtime.errors import TokenExpired, TokenInvalid
from channels_realtime.identity import ANONYMOUS, Identity
from tests.unit.auth.credentials import (
    NOBODY,
    converse,
    make_session,
    make_token,
    make_user,
    opened,
)

pytestmark = pytest.mark.django_db

ORIGIN = "https://app.example.com"


@pytest.fixture
def alice():
    return make_user()


@pytest.fixture
def identity(alice):
    return Identity(
        user_id=str(alice.pk),
        method="jwt",
        source="header",
        expires_at=time.time() + 60,
        proven_at=1_000.5,
        keys=frozenset({"token:planted", "family:planted"}),
    )


def issue(identity: Identity, origin: str | None) -> tuple[str, float]:
    """A ticket for this identity, whose user is of no account."""
    return issue_ticket(Authenticated(identity=identity, user=None), origin)


def refused(text: str, origin: str | None = ORIGIN) -> str:
    """Why a ticket is refused."""
    with pytest.raises((TokenInvalid, TokenExpired)) as caught:
        redeem_ticket(text, origin)
    return caught.value.reason


@pytest.mark.parametrize(
    ("issued_to", "used_from"),
    [(ORIGIN, "wss://app.example.com"), (None, "wss://app.example.com"), (ORIGIN, ORIGIN + ":443")],
)
def test_ticket_is_for_its_origin_by_every_name(identity, issued_to, used_from):
    text, _ = issue(identity, issued_to)
    assert redeem_ticket(text, used_from).identity.method == "ticket"


@pytest.mark.parametrize("used_from", ["ws://app.example.com", "wss://evil.example", None, ""])
def test_ticket_is_refused_from_an_origin_that_only_looks_like_its_own(identity, used_from):
    text, _ = issue(identity, ORIGIN)
    assert refused(text, used_from) == "the ticket is for another origin"


def test_ticket_stands_for_the_identity_it_was_issued_to(alice, identity):
    text, lifetime = issue(identity, ORIGIN)
    assert lifetime == 30.0
    found = redeem_ticket(text, ORIGIN)
    assert found.user == alice
    assert found.session_key is None
    assert found.identity == Identity(
        user_id=identity.user_id,
        method="ticket",
        source="jwt",
        expires_at=identity.expires_at,
        proven_at=identity.proven_at,
        keys=identity.keys,
    )
    assert found.identity.carries_token


def test_ticket_is_redeemed_once(identity):
    text, _ = issue(identity, ORIGIN)
    redeem_ticket(text, ORIGIN)
    assert refused(text) == "the ticket was used already"


def test_tickets_of_one_identity_are_independent(identity):
    first, _ = issue(identity, ORIGIN)
    second, _ = issue(identity, ORIGIN)
    assert first != second
    redeem_ticket(first, ORIGIN)
    redeem_ticket(second, ORIGIN)


@pytest.mark.parametrize(
    ("issued", "shown"),
    [
        (ORIGIN, "https://evil.example.com"),
        (ORIGIN, ORIGIN + ":444"),
        (ORIGIN, "http://app.example.com"),
        (ORIGIN, "null"),
        (ORIGIN, ""),
        (ORIGIN, None),
        (None, ORIGIN),
    ],
)
def test_ticket_of_another_origin_is_refused_and_not_spent(identity, issued, shown):
    text, _ = issue(identity, issued)
    assert refused(text, shown) == "the ticket is for another origin"
    redeem_ticket(text, issued)


def test_ticket_without_an_origin_is_for_clients_that_send_none(identity):
    text, _ = issue(identity, None)
    redeem_ticket(text, None)


def test_ticket_lives_for_its_lifetime(identity, monkeypatch, settings):
    settings.CHANNELS_REALTIME = {"TICKET_LIFETIME": 5}
    text, lifetime = issue(identity, ORIGIN)
    assert lifetime == 5
    issued_at = time.time()
    monkeypatch.setattr(signing.time, "time", lambda: issued_at + 6)
    assert refused(text) == "the ticket has expired"


def test_ticket_ends_with_its_proof(alice):
    expired = Identity(user_id=str(alice.pk), method="jwt", expires_at=time.time() - 0.001)
    text, _ = issue(expired, ORIGIN)
    assert refused(text) == "the ticket's credentials have expired"


def test_ticket_is_for_a_user():
    with pytest.raises(ValueError, match="the identity is anonymous"):
        issue(ANONYMOUS, ORIGIN)


def tampered(text: str) -> dict[str, str]:
    """The same ticket, changed in every place."""
    data, stamp, signature = text.split(":")
    values = signing.JSONSerializer().loads(base64.urlsafe_b64decode(data + "=="))
    values[2] = "2"
    other = base64.urlsafe_b64encode(signing.JSONSerializer().dumps(values)).decode().rstrip("=")
    later = signing.b62_encode(int(time.time()) + 600)
    return {
        "user": f"{other}:{stamp}:{signature}",
        "time": f"{data}:{later}:{signature}",
        "signature": f"{data}:{stamp}:{signature[::-1]}",
        "no signature": f"{data}:{stamp}:",
        "no time": f"{data}:{signature}",
        "data alone": data,
        "compressed": f".{text}",
        "twice": text + text,
        "empty": "",
        "NUL": text + "\0",
        "a lone surrogate": text + "\ud800",
        "too long": text + "x" * 5_000,
    }


@pytest.mark.parametrize(
    "how",
    ["user", "time", "signature", "no signature", "no time", "data alone", "compressed", "twice",
     "empty", "NUL", "a lone surrogate", "too long"],
)  # fmt: skip
def test_ticket_that_was_changed_is_refused(identity, how):
    text, _ = issue(identity, ORIGIN)
    assert refused(tampered(text)[how]) == "not a ticket"


@pytest.mark.parametrize(
    "value", [None, 1, [], {}, ["id"], ["id", 1, "1", "jwt", None, 0.0, []], "text"]
)
def test_what_was_signed_but_is_no_ticket_is_refused(value):
    text = signing.TimestampSigner(salt=tickets._SALT).sign_object(value)
    assert refused(text) == "not a ticket"


@pytest.mark.parametrize("user_id", [str(NOBODY), "abc", "", "1\0", "9" * 30])
def test_ticket_of_no_user_is_refused(user_id):
    text, _ = issue(Identity(user_id=user_id, method="jwt"), ORIGIN)
    assert refused(text) == "the token is not valid"


def test_ticket_of_a_user_deactivated_since_is_refused(alice, identity):
    text, _ = issue(identity, ORIGIN)
    alice.is_active = False
    alice.save()
    assert refused(text) == "the token is not valid"


def test_ticket_holds_no_secret():
    session = make_session(make_user())
    found = read_login_session(session.session_key)
    text, _ = issue_ticket(found, ORIGIN)
    data = base64.urlsafe_b64decode(text.split(":", maxsplit=1)[0] + "==").decode()
    assert session.session_key not in data
    assert found.user.password not in data
    assert found.user.get_session_auth_hash() not in data


# -- what it came from -----------------------------------------------------------------------------


def test_ticket_of_a_login_session_is_void_once_the_password_is_another(alice):
    """The session is no proof any more, and its row is still there: nothing else would tell."""
    found = read_login_session(make_session(alice).session_key)
    text, _ = issue_ticket(found, ORIGIN)
    alice.set_password("another")
    alice.save()
    assert refused(text) == "the token is not valid"


def test_ticket_of_a_login_session_outlives_a_rotation_of_the_secret_key(alice, settings):
    found = read_login_session(make_session(alice).session_key)
    text, _ = issue_ticket(found, ORIGIN)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "the new key, of more than thirty-two characters"
    assert redeem_ticket(text, ORIGIN).user == alice


def test_ticket_of_a_token_that_carries_all_needs_no_user_in_the_database(settings):
    settings.CHANNELS_REALTIME = {"STATELESS_TOKENS": True}
    found = verify_jwt(make_token(NOBODY, name="of another service"))
    text, _ = issue_ticket(found, ORIGIN)
    redeemed = redeem_ticket(text, ORIGIN)
    assert redeemed.identity.user_id == str(NOBODY)
    assert str(redeemed.user.id) == str(NOBODY)


@pytest.mark.parametrize(
    "what",
    ["session", "token", "family", "user", "another session", "another token", "another user"],
)
def test_ticket_of_a_revoked_proof_opens_nothing(alice, realtime, what):
    from channels_realtime import revoke

    session = make_session(alice)
    bob = make_user("bob")
    token = make_token(alice.pk, jti="planted", sid="planted")
    by_token = "token" in what or "family" in what
    proof = verify_jwt(token) if by_token else read_login_session(session.session_key)
    text, _ = issue_ticket(proof, "http://testserver")
    {
        "session": lambda: revoke(login_session=session.session_key),
        "token": lambda: revoke(token=token),
        "family": lambda: revoke(family="planted"),
        "user": lambda: revoke(user=alice),
        "another session": lambda: revoke(login_session=make_session(alice).session_key),
        "another token": lambda: revoke(token=make_token(alice.pk, jti="another")),
        "another user": lambda: revoke(user=bob),
    }[what]()
    expected = (
        f"welcome {alice.pk}" if what.startswith("another") else "4401 the credentials were revoked"
    )
    assert opened(query_string=f"ticket={text}".encode()) == expected


# -- two at once -----------------------------------------------------------------------------------


def test_one_of_two_threads_redeems_it(alice, identity, monkeypatch):
    """The database is no part of it: the cache alone decides who was first."""
    monkeypatch.setattr(tickets, "_user", lambda *args: alice)
    for _ in range(50):
        text, _ = issue(identity, ORIGIN)
        barrier = threading.Barrier(8)

        def redeem(text=text, barrier=barrier):
            barrier.wait()
            try:
                redeem_ticket(text, ORIGIN)
            except TokenInvalid as error:
                return error.reason
            return "redeemed"

        with ThreadPoolExecutor(8) as pool:
            results = [future.result() for future in [pool.submit(redeem) for _ in range(8)]]
        assert sorted(results) == ["redeemed"] + ["the ticket was used already"] * 7


def test_one_of_two_handshakes_at_once_opens(alice, identity, realtime):
    import asyncio

    from tests.support.asgi_socket import AsgiSocket
    from tests.unit.auth.credentials import outcome

    text, _ = issue(identity, "http://testserver")

    async def both(application):
        async def one():
            async with AsgiSocket(application, query_string=f"ticket={text}".encode()) as socket:
                return await outcome(socket)

        return await asyncio.gather(*(one() for _ in range(5)))

    assert sorted(converse(both)) == ["4401 the ticket was used already"] * 4 + [
        f"welcome {alice.pk}"
    ]


def test_spent_ticket_is_remembered_until_it_has_expired(identity, monkeypatch):
    kept = {}
    monkeypatch.setattr(
        LocMemCache, "add", lambda self, key, value, timeout: kept.update({key: timeout}) or True
    )
    text, lifetime = issue(identity, ORIGIN)
    redeem_ticket(text, ORIGIN)
    (timeout,) = kept.values()
    assert timeout > lifetime


def test_ticket_is_refused_where_the_cache_forgets_all(identity, settings):
    """Django's dummy cache says that every key is new: the ticket would serve for ever."""
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    text, _ = issue(identity, ORIGIN)
    assert refused(text) == "tickets need a cache; this site's DummyCache stores nothing"


def test_proof_of_a_ticket_ends_the_second_it_ends(alice):
    session = make_session(alice)
    type(session).get_model_class().objects.filter(pk=session.session_key).update(
        expire_date=timezone.now() + timezone.timedelta(seconds=20)
    )
    found = read_login_session(session.session_key)
    text, _ = issue_ticket(found, ORIGIN)
    assert redeem_ticket(text, ORIGIN).identity.expires_at == pytest.approx(time.time() + 20, abs=5)
