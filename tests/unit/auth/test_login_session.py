"""Reading Django's login sessions, whatever keeps them, and what reading costs."""

from __future__ import annotations

import time

import pytest
from django.contrib.auth import HASH_SESSION_KEY
from django.contrib.sessions.models import Session
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from channels_realtime.auth.base import Handshake
from channels_realtime.auth.handshake import load_authenticators
from channels_realtime.auth.jwt import verify_jwt
from channels_realtime.auth.login_session import LOGGED_IN_AT, read_login_session, session_hash
from channels_realtime.auth.tickets import issue_ticket, redeem_ticket
from channels_realtime.settings import get_config
from tests.unit.auth.credentials import cookie, make_session, make_token, make_user

pytestmark = pytest.mark.django_db

ENGINES = {
    "db": 2,
    "cached_db": 1,
    "cache": 1,
    "file": 1,
    "signed_cookies": 1,
}
"""Django's session engines, and the queries that a handshake costs with each."""


@pytest.fixture(params=ENGINES)
def engine(request, settings, tmp_path):
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{request.param}"
    settings.SESSION_FILE_PATH = str(tmp_path)
    return request.param


@pytest.fixture
def queries():
    from django.db import connection

    return CaptureQueriesContext(connection)


def read(key: str):
    """Whose session it is, as a handshake with its cookie finds it."""
    handshake = Handshake({"headers": [cookie(key)]}, get_config())
    (authenticator,) = load_authenticators(("channels_realtime.auth.login_session.LoginSession",))
    found = authenticator.find(handshake)
    return None if found is None else authenticator.authenticate(found, handshake)


# -- every engine ----------------------------------------------------------------------------------


def test_session_says_whose_it_is(engine):
    alice = make_user()
    before = time.time()
    session = make_session(alice)
    found = read(session.session_key)
    assert found.user == alice
    assert found.session_key == session.session_key
    identity = found.identity
    assert (identity.user_id, identity.method, identity.source) == (
        str(alice.pk),
        "session",
        "session",
    )
    assert session_hash(session.session_key) in identity.keys
    assert before <= identity.proven_at <= time.time()
    assert identity.expires_at == pytest.approx(time.time() + 1_209_600, abs=30)


def test_session_costs_as_many_queries_as_it_must(engine, queries):
    session = make_session(make_user())
    with queries:
        assert read(session.session_key) is not None
    assert len(queries) == ENGINES[engine]


def test_session_that_was_flushed_leads_to_nobody(engine):
    if engine == "signed_cookies":
        pytest.skip("a signed cookie can be shown again; its revocation ends it")
    session = make_session(make_user())
    key = session.session_key
    session.flush()
    assert read(key) is None


def test_session_of_another_password_leads_to_nobody(engine):
    alice = make_user()
    session = make_session(alice)
    alice.set_password("another")
    alice.save()
    assert read(session.session_key) is None


@pytest.mark.parametrize("key", ["0" * 32, "a", "../../etc/passwd", "x" * 5_000, "a:b:c"])
def test_key_of_no_session_leads_to_nobody(engine, key):
    assert read(key) is None


@pytest.mark.parametrize(
    "key", ["", '"\\000aaaaaaaa"', "schlüssel-schlüssel", "a\x7fb-long-enough"]
)
def test_key_that_no_engine_makes_is_not_even_looked_up(engine, queries, key):
    with queries:
        assert read(key) is None
    assert len(queries) == 0


def test_reading_changes_nothing(engine):
    session = make_session(make_user())
    rows = list(Session.objects.values())
    read(session.session_key)
    assert list(Session.objects.values()) == rows
    fresh = type(session)(session.session_key)
    assert dict(fresh.items()) == dict(session.items())


def test_session_of_a_site_without_django_sessions_counts_as_absent(monkeypatch):
    from django.apps import apps

    session = make_session(make_user())
    installed = apps.is_installed
    monkeypatch.setattr(
        apps, "is_installed", lambda name: name != "django.contrib.sessions" and installed(name)
    )
    assert read(session.session_key) is None


# -- the deadline ----------------------------------------------------------------------------------


def test_deadline_of_a_row_is_that_of_the_row_not_of_a_session_that_is_used_now():
    session = make_session(make_user())
    at = timezone.now() + timezone.timedelta(minutes=5)
    Session.objects.filter(pk=session.session_key).update(expire_date=at)
    assert read(session.session_key).identity.expires_at == pytest.approx(at.timestamp())


@pytest.mark.parametrize("seconds", [0, -1])
def test_row_that_has_expired_leads_to_nobody(seconds):
    session = make_session(make_user())
    at = timezone.now() + timezone.timedelta(seconds=seconds)
    Session.objects.filter(pk=session.session_key).update(expire_date=at)
    assert read(session.session_key) is None


def test_session_with_an_age_of_its_own_has_that_deadline(engine):
    session = make_session(make_user())
    session.set_expiry(600)
    session.save()
    expires_at = read(session.session_key).identity.expires_at
    assert expires_at == pytest.approx(time.time() + 600, abs=30)


# -- whose it is -----------------------------------------------------------------------------------


def test_hash_of_a_fallback_key_is_taken_and_never_written_anew(settings, queries):
    settings.SECRET_KEY_FALLBACKS = []
    session = make_session(make_user())
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "the new key, of more than thirty-two characters"
    # A session's row is signed too, and Django reads the signature of a fallback key.
    before = list(Session.objects.values())
    with queries:
        assert read(session.session_key) is not None
    assert list(Session.objects.values()) == before
    assert len(queries) == 2
    settings.SECRET_KEY_FALLBACKS = []
    assert read(session.session_key) is None


@pytest.mark.parametrize("stored", ["", None, "another"])
def test_session_without_the_passwords_hash_leads_to_nobody(stored):
    session = make_session(make_user())
    session[HASH_SESSION_KEY] = stored
    session.save()
    assert read(session.session_key) is None


def test_session_of_before_the_installation_was_proven_at_an_unknown_time():
    session = make_session(make_user())
    del session[LOGGED_IN_AT]
    session.save()
    assert read(session.session_key).identity.proven_at == 0.0


def test_inactive_user_is_nobody_even_for_a_backend_that_lets_them_in(settings):
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.AllowAllUsersModelBackend"]
    alice = make_user(is_active=False)
    session = make_session(alice)
    session["_auth_user_backend"] = settings.AUTHENTICATION_BACKENDS[0]
    session.save()
    assert read(session.session_key) is None


def test_backend_that_is_no_longer_configured_leads_to_nobody(settings):
    session = make_session(make_user())
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.RemoteUserBackend"]
    assert read(session.session_key) is None


def test_what_is_found_shows_no_key():
    session = make_session(make_user())
    found = read_login_session(session.session_key)
    assert session.session_key not in repr(found)


# -- what the other ways cost ----------------------------------------------------------------------


@pytest.fixture
def no_blacklist(monkeypatch):
    from django.apps import apps

    installed = apps.is_installed
    monkeypatch.setattr(
        apps, "is_installed", lambda name: "token_blacklist" not in name and installed(name)
    )


def test_token_costs_two_queries_with_the_blacklist(queries):
    token = make_token(make_user().pk)
    with queries:
        verify_jwt(token)
    assert len(queries) == 2


def test_token_costs_one_query_without_the_blacklist(queries, no_blacklist):
    token = make_token(make_user().pk)
    with queries:
        verify_jwt(token)
    assert len(queries) == 1


def test_token_that_carries_all_costs_none(queries, no_blacklist, settings):
    settings.CHANNELS_REALTIME = {"STATELESS_TOKENS": True}
    token = make_token(make_user().pk)
    with queries:
        verify_jwt(token)
    assert len(queries) == 0


def test_token_that_carries_all_is_still_looked_for_on_the_blacklist(queries, settings):
    settings.CHANNELS_REALTIME = {"STATELESS_TOKENS": True}
    token = make_token(make_user().pk)
    with queries:
        verify_jwt(token)
    assert len(queries) == 1


@pytest.mark.parametrize("bad", ["malformed", "refresh", "expired"])
def test_token_that_is_bad_costs_no_query(queries, bad):
    alice = make_user()
    token = {
        "malformed": "no-token",
        "refresh": make_token(alice.pk, token_type="refresh"),
        "expired": make_token(alice.pk, exp=1),
    }[bad]
    with queries, pytest.raises(Exception, match="token"):
        verify_jwt(token)
    assert len(queries) == 0


def test_ticket_costs_one_query(queries):
    found = verify_jwt(make_token(make_user().pk))
    text, _ = issue_ticket(found, None)
    with queries:
        redeem_ticket(text, None)
    assert len(queries) == 1
