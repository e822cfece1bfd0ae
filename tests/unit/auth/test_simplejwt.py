"""The serializers that give a login's tokens their family."""

import pytest
from django.contrib.auth import get_user_model
from rest_framework_simplejwt.tokens import RefreshToken

from channels_realtime.access.revocation_list import Revocation, RevocationList
from channels_realtime.auth.jwt import verify_jwt
from channels_realtime.auth.simplejwt import FamilyTokenObtainPairSerializer

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice():
    return get_user_model().objects.create_user("alice")


def test_access_token_names_the_family_and_the_login(alice):
    refresh = FamilyTokenObtainPairSerializer.get_token(alice)
    found = verify_jwt(str(refresh.access_token))
    assert f"family:{refresh['jti']}" in found.identity.keys
    assert found.identity.proven_at == refresh["auth_time"]


def test_refresh_token_of_before_makes_no_access_token_that_outlives_a_revocation(alice):
    refresh = FamilyTokenObtainPairSerializer.get_token(alice)
    refresh["auth_time"] -= 3600
    later = RefreshToken(str(refresh)).access_token  # issued after the revocation
    revocations = RevocationList()
    moment = refresh["auth_time"] + 60.0
    revocations.add([Revocation(f"user:{alice.pk}", moment, moment + 86_400)])
    assert revocations.revokes(verify_jwt(str(later)).identity)
    fresh = FamilyTokenObtainPairSerializer.get_token(alice).access_token
    assert not revocations.revokes(verify_jwt(str(fresh)).identity)
