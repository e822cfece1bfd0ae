"""Serializer for simplejwt's views that gives the tokens of each login a common id.

    SIMPLE_JWT = {
        "TOKEN_OBTAIN_SERIALIZER": "channels_realtime.auth.simplejwt.FamilyTokenObtainPairSerializer",
    }

All tokens of a login, a token family, then carry the id of its first refresh token as ``sid``, also
after rotation. A logout that blacklists a refresh token then closes only that login's connections.
"""

from __future__ import annotations

import time
from typing import Any

from django.apps import apps
from rest_framework_simplejwt.serializers import TokenObtainPairSerializer
from rest_framework_simplejwt.settings import api_settings

from .jwt_claims import AUTH_TIME_CLAIM, FAMILY_CLAIM


class FamilyTokenObtainPairSerializer(TokenObtainPairSerializer):
    """Issues a refresh and an access token with the id of their token family."""

    @classmethod
    def get_token(cls, user: Any) -> Any:
        """Return a refresh token; the access tokens made from it copy the family's id."""
        token = super().get_token(user)
        jti = token[api_settings.JTI_CLAIM]
        token[FAMILY_CLAIM] = jti
        token[AUTH_TIME_CLAIM] = int(time.time())
        if apps.is_installed("rest_framework_simplejwt.token_blacklist"):
            # simplejwt has already stored the token without the family's id.
            outstanding = apps.get_model("token_blacklist", "OutstandingToken")
            outstanding._default_manager.filter(jti=jti).update(token=str(token))
        return token
