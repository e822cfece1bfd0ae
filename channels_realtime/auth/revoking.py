"""Ending credentials before their time: the public verbs, and what the receivers share.

A revocation is a row, which every node reads within seconds and a handshake in flight is held
against, and a control message after the commit, which is there in milliseconds.
"""

from __future__ import annotations

import base64
import datetime
import functools
import logging
import time
from collections.abc import Iterable
from typing import Any

import msgspec
from asgiref.sync import sync_to_async
from django.apps import apps
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.db import DatabaseError, connections, router, transaction

from ..access.revocation_list import RECHECK, TOKENS, USER, Revocation
from ..errors import ImproperUse
from ..models import RevocationRecord
from ..nodes.requests import anotify, notify
from .jwt_claims import FAMILY_CLAIM
from .login_session import LOGIN, login_of, session_hash, uses_signed_cookies

logger = logging.getLogger(__name__)

_SHORT_S = 600.0
"""What outlives any handshake in flight, for proofs whose own store forgets them at once."""

_SIGNAL_WAIT_S = 1.0
"""How long a signal's receiver waits for the layer: the row makes up for a message not sent."""


_LONG_TRANSACTION_S = 30.0
"""After which a row is written anew: polls look back a minute from the newest that they have seen."""


def revoke(
    *,
    user: Any = None,
    login_session: str | None = None,
    token: str | None = None,
    family: str | None = None,
) -> None:
    """End credentials now, and every connection that was opened with them, in every process.

    Inside a transaction the connections end at its commit.

    Args:
        user: a user or its primary key: all its login sessions and tokens of before this moment.
        login_session: a session key: the connections of that login session alone.
        token: a JWT, or a token's id (``jti``). A refresh token ends its whole family.
        family: a family id (``sid``).

    Raises:
        ImproperUse: none of these is given, or the token cannot be read.
    """
    submit(_revocations(user, login_session, token, family), wait=5.0)


async def arevoke(**what: Any) -> None:
    """End credentials now; from async code. Takes what ``revoke`` takes."""
    await sync_to_async(functools.partial(revoke, **what))()


def recheck(*, channel: str | None = None, user: Any = None) -> None:
    """Ask again whether subscribers may be where they are, in every process.

    A subscription that is no longer allowed ends with ``unsubscribed`` and its reason. Inside a
    transaction this waits for its commit.

    Args:
        channel: the subscribers of this channel only.
        user: a user or its primary key: its connections only; their ``user`` is read again.

    Raises:
        ImproperUse: neither is given.
    """
    arguments = _recheck_arguments(channel, user)
    transaction.on_commit(functools.partial(notify, "recheck", arguments, wait=5.0), robust=True)


async def arecheck(*, channel: str | None = None, user: Any = None) -> None:
    """Ask again whether subscribers may be where they are; from async code."""
    await anotify("recheck", _recheck_arguments(channel, user))


def _recheck_arguments(channel: str | None, user: Any) -> dict[str, Any]:
    if channel is None and user is None:
        raise ImproperUse("recheck() needs channel=… or user=…")
    return {
        "channel": channel,
        "user": None if user is None else str(getattr(user, "pk", user)),
    }


# -- what can be revoked ---------------------------------------------------------------------------


def _revocations(
    user: Any, login_session: str | None, token: str | None, family: str | None
) -> list[Revocation]:
    found: list[Revocation] = []
    if user is not None:
        found.append(of_user(getattr(user, "pk", user)))
    if login_session is not None:
        found += of_session(login_session, deleted=False)
    if token is not None:
        found += of_token(token)
    if family is not None:
        found.append(of_family(family))
    if not found:
        raise ImproperUse("revoke() needs user=…, login_session=…, token=… or family=…")
    return found


def of_user(primary_key: Any) -> Revocation:
    """All that a user has proven until now."""
    return _now(f"{USER}{primary_key}", max(_token_lifetime_s(), _session_lifetime_s()))


def of_tokens(primary_key: Any) -> Revocation:
    """All tokens of a user that were issued until now."""
    return _now(f"{TOKENS}{primary_key}", _token_lifetime_s())


def rereading(primary_key: Any) -> Revocation:
    """Have a user's proofs read again."""
    return _now(f"{RECHECK}{primary_key}", _SHORT_S)


def of_session(key: str, *, deleted: bool, login: str | None = None) -> list[Revocation]:
    """One login session.

    Args:
        key: of the session.
        deleted: whether its store has forgotten the key, or is about to; otherwise it can be shown
            again until it ends, as a signed cookie always can.
        login: its ``LOGIN_ID``, where that is known.
    """
    stateless = uses_signed_cookies()
    lifetime = _SHORT_S if deleted and not stateless else _session_lifetime_s()
    found = [_now(session_hash(key), lifetime)]
    if stateless:
        # The key is the cookie's value, another one each time that the session is saved.
        login = login_of(key) if login is None else login
        if login:
            found.append(_now(LOGIN + login, lifetime))
    return found


def of_family(family: str) -> Revocation:
    """All tokens of one login."""
    return _now(f"family:{family}", _token_lifetime_s())


def of_token(token: str) -> list[Revocation]:
    """A token, by itself or by its id."""
    if not token:
        raise ImproperUse("revoke(token=…): the token is empty")
    if "." not in token:
        return [_now(f"token:{token}", _token_lifetime_s())]
    claims = read_claims(token)
    id_claim, type_claim = _claim_names()
    token_id = claims.get(id_claim) if id_claim else None
    found = []
    if isinstance(token_id, str) and token_id:
        found.append(_now(f"token:{token_id}", _token_lifetime_s()))
    if type_claim and claims.get(type_claim) == "refresh":
        family = claims.get(FAMILY_CLAIM) or token_id
        if isinstance(family, str) and family:
            found.append(of_family(family))
    if not found:
        raise ImproperUse("revoke(token=…): the token has no id; revoke its user instead")
    return found


def read_claims(token: str) -> dict[str, Any]:
    """A token's claims, unverified: whoever calls ``revoke`` decides what is to end."""
    try:
        body = token.split(".")[1]
        claims = msgspec.json.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (IndexError, ValueError, msgspec.MsgspecError):
        raise ImproperUse("revoke(token=…): this is neither a JWT nor a token's id") from None
    if not isinstance(claims, dict):
        raise ImproperUse("revoke(token=…): the token carries no claims")
    return claims


def _now(key: str, lifetime_s: float) -> Revocation:
    now = time.time()
    return Revocation(key, now, now + lifetime_s)


def _session_lifetime_s() -> float:
    return float(django_settings.SESSION_COOKIE_AGE)


def _uses_simplejwt() -> bool:
    return apps.is_installed("rest_framework_simplejwt") or hasattr(django_settings, "SIMPLE_JWT")


def _claim_names() -> tuple[str | None, str | None]:
    """The claims that hold a token's id and its type."""
    if not _uses_simplejwt():
        return "jti", "token_type"
    from rest_framework_simplejwt.settings import api_settings  # only where tokens are used

    return api_settings.JTI_CLAIM, api_settings.TOKEN_TYPE_CLAIM


def _token_lifetime_s() -> float:
    """How long the longest-lived token lives."""
    if not _uses_simplejwt():
        return 86_400.0
    from rest_framework_simplejwt.settings import api_settings  # only where tokens are used

    lifetimes = (
        api_settings.ACCESS_TOKEN_LIFETIME,
        api_settings.REFRESH_TOKEN_LIFETIME,
        api_settings.SLIDING_TOKEN_LIFETIME,
        api_settings.SLIDING_TOKEN_REFRESH_LIFETIME,
    )
    return float(max(lifetime.total_seconds() for lifetime in lifetimes)) + 60.0


# -- rows and messages -----------------------------------------------------------------------------


def submit(revocations: Iterable[Revocation], *, wait: float = _SIGNAL_WAIT_S) -> None:
    """Write revocations down, and tell the nodes once that is committed."""
    entries = list(revocations)
    users = _user_database()
    _write(entries)
    deferred = connections[users].in_atomic_block
    transaction.on_commit(
        functools.partial(_committed, entries, deferred=deferred, wait=wait),
        using=users,
        robust=True,
    )


def _committed(entries: list[Revocation], *, deferred: bool, wait: float) -> None:
    if deferred:
        # What was proven until the commit was proven by what was true before it: an old password.
        fresh = [_moved_to(entry, time.time()) for entry in entries]
        moved = [new for new, old in zip(fresh, entries, strict=True) if _must_move(new, old)]
        if moved:
            _write(moved)
        entries = fresh
    rows = [[entry.key, entry.not_before, entry.expires_at] for entry in entries]
    notify("revoke", {"entries": rows}, wait=wait)


def _moved_to(entry: Revocation, now: float) -> Revocation:
    return Revocation(entry.key, now, entry.expires_at + (now - entry.not_before))


def _must_move(new: Revocation, old: Revocation) -> bool:
    """Whether the row of before the commit says too little: by its date, or for the polls' notice."""
    dated = old.key.startswith((USER, TOKENS, RECHECK))
    return dated or new.not_before - old.not_before > _LONG_TRANSACTION_S


def _user_database() -> str:
    """Whose commit makes the change true: the database of the users."""
    return router.db_for_write(get_user_model())


def _write(entries: list[Revocation]) -> None:
    database = router.db_for_write(RevocationRecord)
    created_at = datetime.datetime.now(tz=datetime.UTC)
    records = [
        RevocationRecord(
            key=entry.key,
            not_before=entry.not_before,
            created_at=created_at,
            expires_at=datetime.datetime.fromtimestamp(entry.expires_at, tz=datetime.UTC),
        )
        for entry in entries
    ]
    try:
        # A savepoint: a logout must not fail, nor its transaction break, for want of our table.
        with transaction.atomic(using=database):
            RevocationRecord.objects.using(database).bulk_create(records)
    except DatabaseError:
        logger.exception("A revocation was not written down; nodes are told by message only")
