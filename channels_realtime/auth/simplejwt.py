"""Serializers for simplejwt's views that give each login a family.

    SIMPLE_JWT = {
        "TOKEN_OBTAIN_SERIALIZER": "channels_realtime.auth.simplejwt.FamilyTokenObtainPairSerializer",
    }

All tokens of a login then carry the id of its first refresh token as ``sid``, rotation included, so
that a logout which blacklists a refresh token ends the connections of that login and no others.
"""

from __future__ import annotations

import time
from typing import Any

from django.apps import apps
from rest_framework_simplejwt.serializers import TokenObtainPairSerializer
from rest_framework_simplejwt.settings import api_settings

from .jwt_claims import AUTH_TIME_CLAIM, FAMILY_CLAIM


class FamilyTokenObtainPairSerializer(TokenObtainPairSerializer):
    """Issues a refresh and an access token that name their family."""

    @classmethod
    def get_token(cls, user: Any) -> Any:
        """A refresh token; the access tokens made of it copy the family."""
        token = super().get_token(user)
        jti = token[api_settings.JTI_CLAIM]
        token[FAMILY_CLAIM] = jti
        token[AUTH_TIME_CLAIM] = int(time.time())
        if apps.is_installed("rest_framework_simplejwt.token_blacklist"):
            # simplejwt has written the token down without its family already.
            outstanding = apps.get_model("token_blacklist", "OutstandingToken")
            outstanding._default_manager.filter(jti=jti).update(token=str(token))
        return token
