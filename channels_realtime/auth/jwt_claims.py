"""The claims of ours that a token may carry."""

AUTH_TIME_CLAIM = "auth_time"
"""When the user logged in (OpenID Connect Core 1.0, section 2), which refreshing does not renew: a
refresh token of before a revocation makes no access token that outlives it."""

FAMILY_CLAIM = "sid"
"""The ``jti`` of a login's first refresh token, which all tokens of that login carry."""
