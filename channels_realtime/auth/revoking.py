"""Revokes credentials before they expire: the public functions, and what the receivers share.

A revocation is a database row and, after the commit, a control message. Every server process reads
the row within seconds, and handshakes in progress are checked against it. The message arrives
within milliseconds.
"""

from __future__ import annotations

import base64
import functools
import logging
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from asgiref.sync import sync_to_async
from django.apps import apps
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections, router, transaction

from ..access.revocation_list import ISSUED, RECHECK, TOKENS, USER, Revocation
from ..errors import ImproperUse
from ..models import RevocationRecord
from ..namespaces import current_namespace
from ..nodes.requests import anotify, notify
from ..protocol.names import channel_key, namespaced
from ..publications import check_channel
from ..runtime.commits import after_commit, open_transactions
from ..runtime.database import tells_of_migrations
from ..runtime.loops import refuse_event_loop
from ..runtime.moments import NAIVE_DOUBT_S, moment_of
from ..user_keys import user_key, users_are_rows
from . import issued
from .batches import Batch, open_batch
from .jwt_claims import FAMILY_CLAIM
from .login_session import LOGIN, login_of, session_hash, uses_signed_cookies

logger = logging.getLogger(__name__)

_SHORT_S = 600.0
"""How long a row is kept if the credential's own store has deleted it: longer than a handshake."""

_SIGNAL_WAIT_S = 1.0
"""How long a signal's receiver waits for the layer. If the message fails, the row still counts."""

_EARLY_WRITES = 5
"""Times that a transaction writes rows before its commit, each with a savepoint. These rows are there
even if the process ends at the commit; those of a transaction that revokes more are written together
after it."""

_STEP_S = 1e-6
"""Between two revocations of one commit; a float of today's time tells a quarter of it apart."""

_MESSAGE_ENTRIES = 10_000
"""Revocations in one message, some 500 KB."""

_LONG_TRANSACTION_S = 30.0
"""A row from a longer transaction is written again at its commit.

Polls look back only one minute from the newest row that they have seen.
"""


def revoke(
    *,
    user: Any = None,
    login_session: str | None = None,
    token: str | None = None,
    family: str | None = None,
    using: str | None = None,
) -> None:
    """Revoke credentials, and close every connection that uses them, in every process.

    Inside a transaction, the connections are closed at its commit.

    Args:
        user: a user or its primary key, not its name. Revokes all its login sessions and tokens up
            to now. A key that no user has is revoked too, since the user may just have been
            deleted, and logged.
        login_session: a session key. Revokes that login session only.
        token: a JWT, or a token's id (``jti``). A refresh token revokes its whole token family:
            all tokens of one login.
        family: the id of a token family (``sid``).
        using: the database whose transaction to wait for; by default those of all databases that
            have one open in this thread.

    Raises:
        ImproperUse: no argument is given, one has the wrong type, the token cannot be read, or it
            is called on a running event loop; ``await arevoke(…)`` there.
    """
    refuse_event_loop("revoke", "arevoke")
    found = _revocations(user, login_session, token, family)
    submit(found, wait=5.0, databases=open_transactions(using))


async def arevoke(**what: Any) -> None:
    """Revoke credentials, from async code. Takes the arguments of ``revoke``."""
    await sync_to_async(revoke)(**what)


def recheck(*, channel: str | None = None, user: Any = None, using: str | None = None) -> None:
    """Check again whether subscribers may stay subscribed, in every process.

    A subscription that is no longer allowed ends with ``unsubscribed`` and its reason. Inside a
    transaction, the check waits for the commit.

    Args:
        channel: check the subscribers of this channel only.
        user: a user or its primary key. Check this user's connections only, and load their
            ``user`` again.
        using: the database whose transaction to wait for; by default those of all databases that
            have one open in this thread.

    Raises:
        ImproperUse: neither argument is given, ``user`` is neither a user nor a primary key, or it
            is called on a running event loop; ``await arecheck(…)`` there.
        BadChannel, UnknownChannel: no such name, or no route for it.
    """
    refuse_event_loop("recheck", "arecheck")
    arguments = _recheck_arguments(channel, user)
    after_commit(
        functools.partial(notify, "recheck", arguments, wait=5.0), open_transactions(using)
    )


async def arecheck(*, channel: str | None = None, user: Any = None) -> None:
    """Check again whether subscribers may stay subscribed, from async code."""
    await anotify("recheck", _recheck_arguments(channel, user))


def _recheck_arguments(channel: str | None, user: Any) -> dict[str, Any]:
    if channel is None and user is None:
        raise ImproperUse("recheck() needs channel=… or user=…")
    if channel is not None:
        check_channel(channel)
    return {
        "channel": None if channel is None else channel_key(current_namespace(), channel),
        "user": None if user is None else _in_namespace(user_key(user, "recheck(user=…)")),
    }


# -- what can be revoked ---------------------------------------------------------------------------


def _revocations(
    user: Any, login_session: str | None, token: str | None, family: str | None
) -> list[Revocation]:
    found: list[Revocation] = []
    if user is not None:
        key = user_key(user, "revoke(user=…)")
        _warn_if_unknown(user, key)
        found.append(of_user(key))
    if login_session is not None:
        _require_text("login_session", login_session, "request.session.session_key")
        found += of_session(login_session, deleted=False)
    if token is not None:
        _require_text("token", token, "a JWT or its jti")
        found += of_token(token)
    if family is not None:
        found.append(of_family(family))
    if not found:
        raise ImproperUse("revoke() needs user=…, login_session=…, token=… or family=…")
    return found


def _require_text(argument: str, value: Any, expected: str) -> None:
    if not isinstance(value, str):
        raise ImproperUse(
            f"revoke({argument}=…): got {type(value).__name__}; expected text, such as {expected}"
        )


def _warn_if_unknown(user: Any, key: str) -> None:
    """Log a primary key that no user has: perhaps it is another number."""
    if hasattr(user, "is_authenticated") or not users_are_rows():
        return
    if not _is_database(_user_database()):
        return
    model = get_user_model()
    if not model._base_manager.using(_user_database()).filter(pk=key).exists():
        logger.warning(
            "revoke(user=%r): %s has no row with this primary key. If the user was not deleted just"
            " now, check the key.",
            key,
            model._meta.label,
        )


def _in_namespace(primary_key: Any) -> str:
    return namespaced(current_namespace(), str(primary_key))


def of_user(primary_key: Any) -> Revocation:
    """Revoke all credentials of a user up to now."""
    return _now(USER + _in_namespace(primary_key), max(_token_lifetime_s(), _session_lifetime_s()))


def of_tokens(primary_key: Any) -> Revocation:
    """Revoke all tokens of a user that were issued up to now."""
    return _now(TOKENS + _in_namespace(primary_key), _token_lifetime_s())


def rereading(primary_key: Any) -> Revocation:
    """Have a user's credentials checked again."""
    return _now(RECHECK + _in_namespace(primary_key), _SHORT_S)


def of_session(key: str, *, deleted: bool, login: str | None = None) -> list[Revocation]:
    """Revoke one login session.

    Args:
        key: the session key.
        deleted: whether the session store has deleted the key or is about to. Otherwise the key
            can be used again until it expires; a signed cookie always can.
        login: the session's ``LOGIN_ID``, if known.
    """
    stateless = uses_signed_cookies()
    lifetime = _SHORT_S if deleted and not stateless else _session_lifetime_s()
    found = [_now(session_hash(key), lifetime)]
    if stateless:
        # The key is the cookie's value, which changes each time the session is saved.
        login = login_of(key) if login is None else login
        if login:
            found.append(_now(LOGIN + login, lifetime))
    return found


def of_family(family: str) -> Revocation:
    """Revoke a token family: all tokens of one login."""
    return _now(f"family:{family}", _token_lifetime_s())


def of_token(token: str) -> list[Revocation]:
    """Revoke a token, given as a JWT or by its id."""
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
    """Return a token's claims, unverified: the caller of ``revoke`` is trusted."""
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
    return (
        apps.is_installed("rest_framework_simplejwt")
        or hasattr(django_settings, "SIMPLE_JWT")
        or "rest_framework_simplejwt.tokens" in sys.modules
    )


def _claim_names() -> tuple[str | None, str | None]:
    """Return the names of the claims that hold a token's id and its type."""
    if not _uses_simplejwt():
        return "jti", "token_type"
    from rest_framework_simplejwt.settings import api_settings  # only where tokens are used

    return api_settings.JTI_CLAIM, api_settings.TOKEN_TYPE_CLAIM


def _token_lifetime_s() -> float:
    """Return the longest lifetime that a token can have."""
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


def submit(
    revocations: Iterable[Revocation],
    *,
    wait: float = _SIGNAL_WAIT_S,
    stored: bool = True,
    databases: Sequence[str] | None = None,
) -> None:
    """Write revocations, and notify all nodes; inside a transaction once, at its commit.

    Args:
        revocations: what to revoke.
        wait: how long to wait for the layer, in seconds.
        stored: False writes no rows: the nodes are notified only.
        databases: those whose open transactions the change belongs to; by default the users', if
            it has one open.
    """
    entries = list(revocations)
    if databases is None:
        databases = open_transactions(_user_database())
    watched = _uses_simplejwt() and any(entry.key.startswith((USER, TOKENS)) for entry in entries)
    if not databases:
        if stored:
            _write(entries)
        _notify(entries, wait)
        if watched:
            issued.watch(_exempt).committed(max(entry.not_before for entry in entries))
        return
    connection = connections[databases[0]]
    if len(databases) == 1:
        batch = open_batch(connection, _committed)
    else:
        batch = Batch(connection, _committed)
        after_commit(functools.partial(_committed, batch), databases)
    if watched and batch.watch is None:
        batch.watch = issued.watch(_exempt)
    batch.wait = max(batch.wait, wait)
    batch.entries.update((entry.key, entry) for entry in entries)
    if not stored:
        batch.unstored.update(entry.key for entry in entries)
        return
    batch.unstored.difference_update(entry.key for entry in entries)
    # Not in another database, where a rollback would not take them back.
    same = (router.db_for_write(RevocationRecord),) == tuple(databases)
    if same and batch.writes < _EARLY_WRITES:
        batch.writes += 1
        batch.written.update(entry.key for entry in entries)
        _write(entries)


def _committed(batch: Batch) -> None:
    # Until the commit, credentials were checked against the old state, such as an old password.
    now = time.time()
    if batch.watch is not None:
        for token_id, made_at in batch.watch.committed(now).items():
            exemption = _exemption(token_id, made_at)
            batch.entries[exemption.key] = exemption
    # Their order decides which tokens were made after which revocation.
    ordered = sorted(batch.entries.values(), key=lambda entry: entry.not_before)
    moved = [
        (entry, _moved_to(entry, now + place * _STEP_S)) for place, entry in enumerate(ordered)
    ]
    unwritten = [
        new
        for old, new in moved
        if old.key not in batch.unstored and (old.key not in batch.written or _must_move(new, old))
    ]
    if unwritten:
        _write(unwritten)
    _notify([new for _, new in moved], batch.wait)


def _notify(entries: list[Revocation], wait: float) -> None:
    for start in range(0, len(entries), _MESSAGE_ENTRIES):
        part = entries[start : start + _MESSAGE_ENTRIES]
        rows = [[entry.key, entry.not_before, entry.expires_at] for entry in part]
        notify("revoke", {"entries": rows}, wait=wait)


def _exempt(token_id: str) -> None:
    """Exempt a token from the revocation of its user that has just come into force."""
    submit([_exemption(token_id, time.time())])


def _exemption(token_id: str, made_at: float) -> Revocation:
    return Revocation(ISSUED + token_id, made_at, made_at + _token_lifetime_s())


def _moved_to(entry: Revocation, now: float) -> Revocation:
    return Revocation(entry.key, now, entry.expires_at + (now - entry.not_before))


def _must_move(new: Revocation, old: Revocation) -> bool:
    """Whether the row must be written again: its date matters, or polls may have passed it."""
    dated = old.key.startswith((USER, TOKENS, RECHECK, ISSUED))
    return dated or new.not_before - old.not_before > _LONG_TRANSACTION_S


def _user_database() -> str:
    """Return the users' database: its commit makes the change effective."""
    try:
        return router.db_for_write(get_user_model())
    except ImproperlyConfigured:  # a site without users of its own
        return DEFAULT_DB_ALIAS


def _is_database(alias: str) -> bool:
    """Whether there is one: under ``DATABASES = {}`` Django has an engine that raises."""
    return bool(connections[alias].settings_dict["ENGINE"] != "django.db.backends.dummy")


def _write(entries: list[Revocation]) -> None:
    database = router.db_for_write(RevocationRecord)
    if not _is_database(database):
        return
    created_at = moment_of(time.time())
    # Without USE_TZ, the row may seem to expire too early on the night when the clock is set back.
    margin = 0.0 if django_settings.USE_TZ else NAIVE_DOUBT_S
    records = [
        RevocationRecord(
            key=entry.key,
            not_before=entry.not_before,
            created_at=created_at,
            expires_at=moment_of(entry.expires_at + margin),
        )
        for entry in entries
    ]
    try:
        if len(records) == 1 and not connections[database].in_atomic_block:
            records[0].save(force_insert=True, using=database)  # a statement, and no transaction
            return
        # A savepoint: if our table fails, the logout and its transaction must still succeed.
        with transaction.atomic(using=database):
            RevocationRecord.objects.using(database).bulk_create(records)
    except DatabaseError as error:
        if not tells_of_migrations(error):
            logger.exception("Cannot write a revocation; nodes are notified by message only")
