"""Django's signals that end credentials: which of them end what, and when."""

from __future__ import annotations

import contextlib
import logging
import time

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model, logout, update_session_auth_hash
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.models import Session
from django.db import transaction
from django.http import HttpRequest
from django.test import Client
from django.utils import timezone

from channels_realtime.auth import receivers, revoking
from channels_realtime.auth.login_session import (
    LOGGED_IN_AT,
    LOGIN,
    LOGIN_ID,
    read_login_session,
    session_hash,
)
from channels_realtime.models import RevocationRecord
from tests.unit.auth.credentials import make_session, make_user

pytestmark = pytest.mark.django_db


class Told(list):
    """The keys that the nodes are told of, in order; those of a commit when it has happened."""

    def __init__(self, capture):
        super().__init__()
        self._capture = capture

    def after(self, act) -> set[str]:
        """What they are told of because of ``act``, once it is committed."""
        with self._capture(execute=True):
            act()
            assert self == [], "told before the commit"
        found = set(self)
        self.clear()
        return found


@pytest.fixture
def told(monkeypatch, django_capture_on_commit_callbacks):
    heard = Told(django_capture_on_commit_callbacks)

    def notify(kind, arguments, *, wait):
        assert kind == "revoke"
        heard.extend(key for key, _, _ in arguments["entries"])

    monkeypatch.setattr(revoking, "notify", notify)
    return heard


def written() -> set[str]:
    return set(RevocationRecord.objects.values_list("key", flat=True))


def request_of(session, user) -> HttpRequest:
    request = HttpRequest()
    request.session, request.user = session, user
    return request


@pytest.fixture
def alice():
    return make_user()


# -- login sessions --------------------------------------------------------------------------------


def test_logout_ends_that_login_session_alone(told, alice):
    session, other = make_session(alice), make_session(alice)
    key = session.session_key
    assert told.after(lambda: logout(request_of(session, alice))) == {session_hash(key)}
    assert written() == {session_hash(key)}
    assert read_login_session(other.session_key) is not None


@pytest.mark.parametrize("engine", ["cache", "file", "cached_db", "db", "signed_cookies"])
def test_logout_ends_the_session_of_every_engine(told, alice, settings, tmp_path, engine):
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    settings.SESSION_FILE_PATH = str(tmp_path)
    session = make_session(alice)
    known = read_login_session(session.session_key).identity
    ended = told.after(lambda: logout(request_of(session, alice)))
    assert known.keys & ended


def test_logout_ends_a_signed_cookie_that_was_written_anew_since(told, alice, settings):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    session = make_session(alice)
    known = read_login_session(session.session_key).identity
    later = type(session)(session.session_key)
    later["cart"] = [1]
    later.save()
    assert later.session_key != session.session_key
    latest = read_login_session(later.session_key).identity
    ended = told.after(lambda: logout(request_of(later, alice)))
    assert known.keys & ended
    assert latest.keys & ended


def test_logout_ends_a_signed_cookie_for_as_long_as_it_could_be_shown(told, alice, settings):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    session = make_session(alice)
    told.after(lambda: logout(request_of(session, alice)))
    for record in RevocationRecord.objects.all():
        assert (record.expires_at - timezone.now()).days >= 13


def test_other_logins_of_signed_cookies_stay(told, alice, settings):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    session, other = make_session(alice), make_session(alice)
    ended = told.after(lambda: logout(request_of(session, alice)))
    assert not read_login_session(other.session_key).identity.keys & ended


def test_logout_of_the_anonymous_ends_nothing(told):
    from django.contrib.sessions.backends.db import SessionStore

    session = SessionStore()
    session["cart"] = [1]
    session.save()
    assert told.after(lambda: logout(request_of(session, AnonymousUser()))) == set()


def test_logout_over_http(told, alice):
    client = Client()
    client.force_login(alice)
    key = client.session.session_key
    assert told.after(client.logout) == {session_hash(key)}


@pytest.mark.parametrize(
    "how",
    ["flush", "delete", "row", "queryset", "cycle_key"],
)
def test_login_session_that_is_deleted_ends(told, alice, how):
    session = make_session(alice)
    key = session.session_key
    act = {
        "flush": session.flush,
        "delete": session.delete,
        "row": lambda: Session.objects.get(pk=key).delete(),
        "queryset": lambda: Session.objects.filter(pk=key).delete(),
        "cycle_key": session.cycle_key,
    }[how]
    assert told.after(act) == {session_hash(key)}


def test_session_deleted_by_its_key_ends_after_a_model_was_registered(told, alice):
    apps.clear_cache()  # as Django does then
    key = make_session(alice).session_key
    assert told.after(Session.objects.filter(pk=key).delete) == {session_hash(key)}


def test_session_of_nobody_that_is_deleted_ends_nothing(told):
    from django.contrib.sessions.backends.db import SessionStore

    session = SessionStore()
    session["cart"] = [1]
    session.save()
    assert told.after(session.flush) == set()


def test_sessions_that_have_expired_are_cleared_without_a_word(told, alice):
    session = make_session(alice)
    Session.objects.update(expire_date=timezone.now())
    assert told.after(type(session).clear_expired) == set()
    assert not Session.objects.exists()


def test_login_itself_ends_nothing(told, alice):
    from django.contrib.sessions.backends.db import SessionStore

    anonymous = SessionStore()
    anonymous["cart"] = [1]
    anonymous.save()
    client = Client()
    client.cookies["sessionid"] = anonymous.session_key
    assert told.after(lambda: client.force_login(alice)) == set()


def test_login_is_dated(alice, settings):
    before = time.time()
    session = make_session(alice)
    assert before <= session[LOGGED_IN_AT] <= time.time()
    assert LOGIN_ID not in session  # its key tells it from others
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    session = make_session(alice)
    keys = read_login_session(session.session_key).identity.keys
    assert LOGIN + session[LOGIN_ID] in keys


def test_login_without_a_session_is_no_trouble(alice):
    receivers.stamp_login(sender=None, request=None, user=alice)
    receivers.on_logout(sender=None, request=None, user=alice)


# -- users -----------------------------------------------------------------------------------------


def test_password_change_ends_tokens_and_has_sessions_read_again(told, alice):
    def act():
        alice.set_password("another")
        alice.save()

    assert told.after(act) == {f"tokens:{alice.pk}", f"recheck:{alice.pk}"}


def test_password_change_by_its_own_session_leaves_that_one_a_new_key(told, alice):
    session = make_session(alice)
    key = session.session_key

    def act():
        alice.set_password("another")
        alice.save()
        update_session_auth_hash(request_of(session, alice), alice)

    assert told.after(act) == {
        f"tokens:{alice.pk}",
        f"recheck:{alice.pk}",
        session_hash(key),
    }
    session.save()
    assert read_login_session(session.session_key) is not None


def test_password_that_is_hashed_anew_at_a_login_ends_nothing(told, alice, settings):
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.ScryptPasswordHasher",
        "django.contrib.auth.hashers.MD5PasswordHasher",
    ]
    assert told.after(lambda: alice.check_password("secret")) == set()
    assert alice.password.startswith("scrypt")


@pytest.mark.parametrize("fields", [None, ["is_active"]])
def test_deactivation_ends_all_of_the_user(told, alice, fields):
    def act():
        alice.is_active = False
        alice.save(update_fields=fields)

    assert told.after(act) == {f"user:{alice.pk}"}


def test_deletion_ends_all_of_the_user(told, alice):
    pk = alice.pk
    assert told.after(alice.delete) == {f"user:{pk}"}


def test_deletion_of_many_ends_all_of_each(told, alice):
    bob = make_user("bob")
    ended = told.after(lambda: get_user_model().objects.all().delete())
    assert ended == {f"user:{alice.pk}", f"user:{bob.pk}"}


@pytest.mark.parametrize(
    "change", [{}, {"first_name": "A"}, {"is_staff": True}, {"last_login": timezone.now()}]
)
def test_other_changes_of_a_user_end_nothing(told, alice, change):
    def act():
        for name, value in change.items():
            setattr(alice, name, value)
        alice.save()

    assert told.after(act) == set()


def test_new_user_ends_nothing(told):
    assert told.after(lambda: make_user("new", is_active=False)) == set()


# -- tokens ----------------------------------------------------------------------------------------


@pytest.fixture
def rotating(simple_jwt):
    simple_jwt(ROTATE_REFRESH_TOKENS=True, BLACKLIST_AFTER_ROTATION=True)


def stock(user):
    """A refresh token as simplejwt's own view issues it."""
    from rest_framework_simplejwt.serializers import TokenObtainPairSerializer

    return TokenObtainPairSerializer.get_token(user)


def family(user):
    """A refresh token as our serializer issues it."""
    from channels_realtime.auth.simplejwt import FamilyTokenObtainPairSerializer

    return FamilyTokenObtainPairSerializer.get_token(user)


def rotate(text: str) -> dict[str, str]:
    from rest_framework_simplejwt.serializers import TokenRefreshSerializer

    serializer = TokenRefreshSerializer(data={"refresh": text})
    serializer.is_valid(raise_exception=True)
    return serializer.validated_data


def test_blacklisted_token_without_a_family_ends_the_users_tokens(told, alice):
    token = stock(alice)
    assert told.after(token.blacklist) == {f"token:{token['jti']}", f"tokens:{alice.pk}"}


def test_blacklisted_token_ends_its_family_and_no_other(told, alice):
    token = family(alice)
    assert told.after(token.blacklist) == {f"token:{token['jti']}", f"family:{token['sid']}"}


def test_blacklist_view_ends_the_family(told, alice):
    from rest_framework_simplejwt.serializers import TokenBlacklistSerializer

    token = family(alice)
    serializer = TokenBlacklistSerializer(data={"refresh": str(token)})
    ended = told.after(lambda: serializer.is_valid(raise_exception=True))
    assert f"family:{token['sid']}" in ended


def test_token_that_is_blacklisted_twice_ends_once(told, alice):
    token = family(alice)
    told.after(token.blacklist)
    assert told.after(token.blacklist) == set()


@pytest.mark.parametrize("make", [stock, family], ids=["stock", "ours"])
def test_rotation_ends_nothing(told, alice, rotating, make):
    token = make(alice)
    assert told.after(lambda: rotate(str(token))) == set()
    assert written() == set()


def test_rotation_that_failed_leaves_no_mark(told, alice, rotating):
    from rest_framework_simplejwt.exceptions import TokenError

    token = family(alice)
    with pytest.raises(TokenError):
        rotate("bad")
    assert told.after(token.blacklist) != set()


def test_family_is_kept_through_rotations_and_ended_by_a_later_logout(told, alice, rotating):
    import jwt
    from rest_framework_simplejwt.tokens import RefreshToken

    first = family(alice)
    rotated = rotate(rotate(str(first))["refresh"])
    for text in rotated.values():
        claims = jwt.decode(text, options={"verify_signature": False})
        assert claims["sid"] == first["jti"]
        assert claims["jti"] != first["jti"]
    ended = told.after(RefreshToken(rotated["refresh"]).blacklist)
    assert f"family:{first['jti']}" in ended


def test_family_opens_what_is_not_ended(alice, rotating):
    from channels_realtime.auth.jwt import verify_jwt

    first = family(alice)
    identity = verify_jwt(rotate(str(first))["access"]).identity
    assert f"family:{first['jti']}" in identity.keys
    assert identity.user_id == str(alice.pk)


def test_outstanding_token_is_the_one_that_was_issued(alice):
    from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

    token = family(alice)
    assert OutstandingToken.objects.get(jti=token["jti"]).token == str(token)


def test_logout_of_a_subclassed_refresh_serializer_marks_its_rotations(told, alice, rotating):
    from rest_framework_simplejwt.serializers import TokenRefreshSerializer

    class Own(TokenRefreshSerializer):
        def validate(self, attrs):
            return {**super().validate(attrs), "own": True}

    def act():
        serializer = Own(data={"refresh": str(family(alice))})
        serializer.is_valid(raise_exception=True)
        assert serializer.validated_data["own"]

    assert told.after(act) == set()


# -- transactions and trouble ----------------------------------------------------------------------


class Undo(Exception):
    pass


def test_change_that_is_rolled_back_ends_nothing(told, alice):
    def act():
        with contextlib.suppress(Undo), transaction.atomic():
            alice.is_active = False
            alice.save()
            raise Undo

    assert told.after(act) == set()
    assert written() == set()


def test_change_in_a_savepoint_beside_one_that_is_rolled_back_ends(told, alice):
    bob = make_user("bob")

    def act():
        with transaction.atomic():
            with contextlib.suppress(Undo), transaction.atomic():
                alice.is_active = False
                alice.save()
                raise Undo
            with transaction.atomic():
                bob.is_active = False
                bob.save()

    assert told.after(act) == {f"user:{bob.pk}"}
    assert written() == {f"user:{bob.pk}"}


def test_change_in_a_transaction_is_dated_by_its_commit(
    monkeypatch, django_capture_on_commit_callbacks, alice
):
    """What was proven until then was proven by what was true until then."""
    heard = []
    monkeypatch.setattr(revoking, "notify", lambda kind, arguments, wait: heard.append(arguments))
    with django_capture_on_commit_callbacks(execute=True):
        alice.is_active = False
        alice.save()
        committed_after = time.time()
    ((_, not_before, _),) = heard[0]["entries"]
    assert not_before >= committed_after
    newest = RevocationRecord.objects.latest("not_before")
    assert newest.not_before >= committed_after


def test_logout_does_not_fail_for_want_of_our_table(told, alice, monkeypatch, caplog):
    from django.db import DatabaseError

    def broken(*args, **kwargs):
        raise DatabaseError("no such table")

    session = make_session(alice)
    key = session.session_key
    monkeypatch.setattr(RevocationRecord.objects, "using", broken)
    ended = told.after(lambda: logout(request_of(session, alice)))
    assert ended == {session_hash(key)}
    assert not Session.objects.filter(pk=key).exists()
    assert "Cannot write a revocation" in caplog.text


def test_logout_does_not_fail_whatever_goes_wrong(alice, monkeypatch, caplog):
    def broken(*args, **kwargs):
        raise ZeroDivisionError

    session = make_session(alice)
    key = session.session_key
    monkeypatch.setattr(revoking, "submit", broken)
    with caplog.at_level(logging.ERROR):
        logout(request_of(session, alice))
    assert not Session.objects.filter(pk=key).exists()
    assert "on_session_deleted failed" in caplog.text
