"""JSON Web Tokens by djangorestframework-simplejwt, with its settings.

Imported only to verify a token, so that a site that uses only login sessions needs no DRF.

simplejwt verifies the signature, the algorithm, ``exp``, ``nbf`` and the type of the token. This
module adds what it does not check: claims of the wrong type make a token invalid instead of raising
an uncaught exception, a refresh token opens no connection, the user is looked up and must be
active, and a blacklisted token is refused.
"""

from __future__ import annotations

import logging
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import DatabaseError, InterfaceError, OperationalError
from rest_framework_simplejwt.exceptions import ExpiredTokenError, TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.utils import get_md5_hash_password

from ..errors import TokenExpired, TokenInvalid
from ..identity import Identity
from ..settings import get_config
from .base import Authenticated
from .jwt_claims import AUTH_TIME_CLAIM, FAMILY_CLAIM

logger = logging.getLogger(__name__)

_MAX_TIME = 253_402_300_799
"""The end of the year 9999, the latest time that ``datetime`` supports."""


def verify_jwt(token: str) -> Authenticated:
    """Return the user and identity of a token. Blocks.

    Takes one query for the user, and one for the blacklist if that app is installed.

    Raises:
        TokenExpired: the token has expired.
        TokenInvalid: anything else. The reason gives no details and never contains the token.
    """
    claims = _claims(token)
    expires_at = _time(claims, "exp")
    if expires_at is None:
        raise TokenInvalid
    token_id = _text(claims, api_settings.JTI_CLAIM)
    keys = {f"token:{token_id}"} if token_id else set()
    family = claims.get(FAMILY_CLAIM)
    if isinstance(family, str) and 0 < len(family) <= 255:
        keys.add(f"family:{family}")
    if _is_blacklisted(claims):
        raise TokenInvalid
    user, user_id = _user(claims)
    identity = Identity(
        user_id=user_id,
        method="jwt",
        expires_at=expires_at + _leeway(),
        proven_at=_proven_at(claims),
        keys=frozenset(keys),
    )
    return Authenticated(identity=identity, user=user)


def _claims(token: str) -> dict[str, Any]:
    expired = False
    for token_class in api_settings.AUTH_TOKEN_CLASSES:
        try:
            payload = token_class(token).payload
        except ExpiredTokenError:
            expired = True
            continue
        except TokenError:
            continue
        except Exception as error:
            # Some malformed claims (exp 1e20, a list as jti) raise other exceptions in PyJWT and
            # simplejwt. Only the type is logged, because the text may contain the claim.
            logger.debug("A token was refused: %s", type(error).__name__)
            continue
        if isinstance(payload, dict) and _type_is_right(payload):
            return payload
    raise TokenExpired if expired else TokenInvalid


def _type_is_right(payload: dict[str, Any]) -> bool:
    claim = api_settings.TOKEN_TYPE_CLAIM
    return claim is None or payload.get(claim) != "refresh"


def _text(claims: dict[str, Any], claim: str | None) -> str:
    value = claims.get(claim) if claim else None
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > 255 or not value.isprintable():
        raise TokenInvalid
    return value


def _time(claims: dict[str, Any], claim: str) -> float | None:
    value = claims.get(claim)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TokenInvalid
    if not 0 <= value <= _MAX_TIME:
        raise TokenInvalid
    return float(value)


def _proven_at(claims: dict[str, Any]) -> float:
    """Return the time of the login if the token has it, else the time the token was issued."""
    moments = [_time(claims, claim) for claim in (AUTH_TIME_CLAIM, "iat")]
    return min((moment for moment in moments if moment is not None), default=0.0)


def _leeway() -> float:
    leeway = api_settings.LEEWAY
    seconds = leeway.total_seconds() if hasattr(leeway, "total_seconds") else leeway
    return float(seconds or 0)


def _user(claims: dict[str, Any]) -> tuple[Any, str]:
    """Return the user that a token names, and the primary key as text."""
    value = claims.get(api_settings.USER_ID_CLAIM)
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise TokenInvalid
    text = str(value)
    if not text or len(text) > 255 or not text.isprintable() or text != text.strip():
        raise TokenInvalid
    if get_config().stateless_tokens:
        return api_settings.TOKEN_USER_CLASS(claims), text
    field = api_settings.USER_ID_FIELD
    try:
        user = get_user_model()._default_manager.get(**{field: value})
    except (ObjectDoesNotExist, ValueError, TypeError, OverflowError, ValidationError):
        raise TokenInvalid from None
    except (OperationalError, InterfaceError):
        raise  # the database is unavailable, which says nothing about the token
    except DatabaseError:
        raise TokenInvalid from None  # a value that the column cannot hold
    if str(getattr(user, field)) != text:  # simplejwt never writes 1 as " 1" or "01"
        raise TokenInvalid
    if not getattr(user, "is_active", True) or not api_settings.USER_AUTHENTICATION_RULE(user):
        raise TokenInvalid
    if api_settings.CHECK_REVOKE_TOKEN:
        expected = get_md5_hash_password(user.password)
        if claims.get(api_settings.REVOKE_TOKEN_CLAIM) != expected:
            raise TokenInvalid
    return user, str(user.pk)


def _is_blacklisted(claims: dict[str, Any]) -> bool:
    """Whether this token itself is on the blacklist.

    Its token family is not looked up: a routine rotation blacklists the login's first refresh
    token, and the family's id is the ``jti`` of that token. Token families end by revocation
    (``auth.revoking``).
    """
    if not apps.is_installed("rest_framework_simplejwt.token_blacklist"):
        return False
    jti = _text(claims, api_settings.JTI_CLAIM)
    if not jti:
        return False
    model = apps.get_model("token_blacklist", "BlacklistedToken")
    return bool(model._default_manager.filter(token__jti=jti).exists())
