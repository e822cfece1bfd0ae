"""Claims of this package that a token may carry."""

AUTH_TIME_CLAIM = "auth_time"
"""When the user logged in (OpenID Connect Core 1.0, section 2). A refresh does not change it, so an
access token from an earlier refresh token does not survive a revocation of the user."""

FAMILY_CLAIM = "sid"
"""The id of a token family: the ``jti`` of a login's first refresh token. All tokens of the login
carry it."""
