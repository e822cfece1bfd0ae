"""Tokens that are issued after a revocation of their user, in the same request."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from django.db import transaction
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken, Token

from channels_realtime import revoke
from channels_realtime.access.revocation_list import Revocation, RevocationList
from channels_realtime.auth import revoking
from channels_realtime.auth.jwt import verify_jwt
from channels_realtime.auth.simplejwt import FamilyTokenObtainPairSerializer
from channels_realtime.models import RevocationRecord
from tests.unit.auth.credentials import make_user

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def told(monkeypatch) -> RevocationList:
    """What the messages tell a node."""
    found = RevocationList()

    def notify(kind, arguments, *, wait):
        found.add(Revocation(*entry) for entry in arguments["entries"])

    monkeypatch.setattr(revoking, "notify", notify)
    return found


def read() -> RevocationList:
    """What the rows tell a node."""
    rows = RevocationRecord.objects.order_by("pk").values_list("key", "not_before", "expires_at")
    found = RevocationList()
    found.add(Revocation(key, moment, end.timestamp()) for key, moment, end in rows)
    return found


def change_password(user) -> None:
    user.set_password("another")
    user.save()


def revoke_user(user) -> None:
    revoke(user=user)


def deactivate_and_activate(user) -> None:
    user.is_active = False
    user.save()
    user.is_active = True
    user.save()


MAKERS: dict[str, Callable[..., Token]] = {
    "access": AccessToken.for_user,
    "of a refresh token": lambda user: RefreshToken.for_user(user).access_token,
    "of a family": lambda user: FamilyTokenObtainPairSerializer.get_token(user).access_token,
}


@pytest.mark.parametrize("atomic", [False, True], ids=["autocommit", "atomic"])
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("end", [change_password, revoke_user, deactivate_and_activate])
def test_tokens_issued_after_the_end_are_good_and_those_before_are_not(told, end, make, atomic):
    alice = make_user()
    before = str(make(alice))
    with transaction.atomic() if atomic else contextlib.nullcontext():
        inside = str(make(alice))
        end(alice)
        after = str(make(alice))
    later = str(make(alice))
    for node in (told, read()):
        revoked = [
            node.revokes(verify_jwt(each).identity) for each in (before, inside, after, later)
        ]
        assert revoked == [True, True, False, False]


@pytest.mark.parametrize("atomic", [False, True], ids=["autocommit", "atomic"])
def test_token_that_is_refreshed_later_is_still_good(told, atomic):
    alice = make_user()
    with transaction.atomic() if atomic else contextlib.nullcontext():
        change_password(alice)
        refresh = FamilyTokenObtainPairSerializer.get_token(alice)
    assert not told.revokes(verify_jwt(str(refresh.access_token)).identity)
    refresh.set_jti()  # a rotation; the family and the time of the login stay
    assert not told.revokes(verify_jwt(str(refresh.access_token)).identity)


def test_another_end_ends_what_was_good_after_the_first(told):
    alice = make_user()
    change_password(alice)
    token = str(AccessToken.for_user(alice))
    change_password(alice)
    for node in (told, read()):
        assert node.revokes(verify_jwt(token).identity)


def test_two_ends_in_one_transaction_leave_the_last_tokens_good(told):
    alice = make_user()
    with transaction.atomic():
        change_password(alice)
        between = str(AccessToken.for_user(alice))
        revoke(user=alice)
        after = str(AccessToken.for_user(alice))
    for node in (told, read()):
        assert node.revokes(verify_jwt(between).identity)
        assert not node.revokes(verify_jwt(after).identity)


def test_end_that_is_rolled_back_exempts_nothing(told):
    alice = make_user()
    with contextlib.suppress(RuntimeError), transaction.atomic():
        change_password(alice)
        raise RuntimeError
    AccessToken.for_user(alice)
    with transaction.atomic():
        AccessToken.for_user(alice)
    assert RevocationRecord.objects.count() == 0
