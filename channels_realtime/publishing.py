"""The public verbs: publish from views, signals, threads, tasks, commands and the shell.

In: a channel's name and a payload. Everything that can be wrong with them is raised in the caller,
before anything is sent. Inside a transaction a publication waits for the commit and is discarded by a
rollback, because a subscriber that hears of a row should find it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Unpack

from django.conf import settings as django_settings

from .channels import session_channel_name, user_channel_name
from .errors import BadPayload, ImproperUse
from .exclusion import aexcluded, excluded
from .publications import Published, PublishOptions, prepare
from .runtime.loops import refuse_event_loop
from .sending import Failures, asend_all, raises, send_all
from .user_keys import user_key


def publish(
    channel: str,
    payload: Any,
    *,
    event: str | None = None,
    key: str | None = None,
    version: int | None = None,
    state_key: str | None = None,
    removed: bool = False,
    only_if: Mapping[str, Any] | None = None,
    exclude: Any = None,
    transient: bool = False,
    using: str | None = None,
    on_commit: bool = True,
    failures: Failures | None = None,
) -> Published | None:
    """Publish to every subscriber of a channel, in every process; from sync code.

    Args:
        channel: the channel's name, such as ``"orders/42"``.
        payload: JSON types, dates, times, Decimal, UUID, enums, dataclasses, ``msgspec.Struct``, lazy
            strings, or containers of them; of the type that the channel's class declares, if it does.
        event: a name for what happened, which clients can tell events apart by.
        key: makes it idempotent: a second publication with this key within ``PUBLISH_KEY_WINDOW`` is a
            duplicate and is not sent. Text of 1 to 100 characters; for channels with history.
        version: of what the payload shows, where the channel class has ``versions``: one that is not
            newer than the last (of its state key) is a duplicate and is not sent.
        state_key: the key whose newest state this is, where the class has ``state = "keyed"``. Text
            of 1 to 100 characters.
        removed: the key has no state any more.
        only_if: ``{"new": True}`` takes it only where the state key has no state, ``{"version": n}``
            only where its state has this version; otherwise it is a ``Conflict``.
        exclude: a connection that does not get it: its public id, which is trusted; or a request (of
            Django or Django REST framework, or an ASGI scope) that carries the id as
            ``X-Realtime-Connection``, of the request's own user alone. A malformed id excludes nothing.
        transient: it is not kept, although the channel has a history.
        using: the database whose transaction to wait for; by default those of all databases that
            have one open in this thread.
        on_commit: False sends at once, whatever becomes of the transaction.
        failures: what to do where the channel layer or the store fails: "raise", or "log" and
            return. By default the setting ``PUBLISH_FAILURES``.

    Returns:
        what became of it, with its position where the channel keeps history; None where it waits for a
        commit, or was not sent and that was logged. A failure after the commit is logged.

    Raises:
        BadChannel, UnknownChannel: no such name, or no route for it.
        BadPayload, TooLarge: the payload cannot be encoded, is not of the type that the channel's class
            declares, or is over ``MAX_PUBLICATION_BYTES``; or another argument is malformed.
        Unsupported: the channel's class does not have what an argument asks for.
        Conflict: the key was used for something else, or ``only_if`` is not met; after a commit this is
            logged.
        Unavailable: the channel layer did not take it within ``PUBLISH_TIMEOUT``, or did not take
            another message just before; or the store is away. Only where failures are raised.
        ImproperUse: called on a running event loop; ``await apublish(…)`` there.
    """
    refuse_event_loop("publish", "apublish")
    prepared = prepare(
        channel,
        payload,
        event=event,
        key=key,
        version=version,
        state_key=state_key,
        removed=removed,
        only_if=only_if,
        exclude=excluded(exclude),
        transient=transient,
    )
    return _only(send_all([prepared], using=using, on_commit=on_commit, raises=raises(failures)))


async def apublish(
    channel: str,
    payload: Any,
    *,
    event: str | None = None,
    key: str | None = None,
    version: int | None = None,
    state_key: str | None = None,
    removed: bool = False,
    only_if: Mapping[str, Any] | None = None,
    exclude: Any = None,
    transient: bool = False,
    failures: Failures | None = None,
) -> Published | None:
    """Publish to every subscriber of a channel; from async code. Never waits for a commit.

    Args, returns and raises as ``publish``.
    """
    prepared = prepare(
        channel,
        payload,
        event=event,
        key=key,
        version=version,
        state_key=state_key,
        removed=removed,
        only_if=only_if,
        exclude=await aexcluded(exclude),
        transient=transient,
    )
    return _only(await asend_all([prepared], raises=raises(failures)))


def publish_to_user(
    user: Any,
    payload: Any,
    *,
    using: str | None = None,
    on_commit: bool = True,
    failures: Failures | None = None,
    **options: Unpack[PublishOptions],
) -> Published | None:
    """Publish to every connection of a user, on the user's own channel ``users/<id>``.

    Args:
        user: a user, or its primary key.
        payload, using, on_commit, failures, options: as for ``publish``.
    """
    return publish(
        user_channel(user),
        payload,
        using=using,
        on_commit=on_commit,
        failures=failures,
        **options,
    )


async def apublish_to_user(
    user: Any,
    payload: Any,
    *,
    failures: Failures | None = None,
    **options: Unpack[PublishOptions],
) -> Published | None:
    """Publish to every connection of a user; from async code."""
    return await apublish(user_channel(user), payload, failures=failures, **options)


def publish_to_session(
    session: Any,
    payload: Any,
    *,
    using: str | None = None,
    on_commit: bool = True,
    failures: Failures | None = None,
    **options: Unpack[PublishOptions],
) -> Published | None:
    """Publish to the connections of a Django session that have subscribed to its own channel.

    Does nothing for a session that was never saved: no connection can have it.

    Args:
        session: ``request.session``, or a session's key.
        payload, using, on_commit, failures, options: as for ``publish``.
    """
    if _session_key(session) is None:
        return None
    return publish(
        session_channel(session),
        payload,
        using=using,
        on_commit=on_commit,
        failures=failures,
        **options,
    )


async def apublish_to_session(
    session: Any,
    payload: Any,
    *,
    failures: Failures | None = None,
    **options: Unpack[PublishOptions],
) -> Published | None:
    """Publish to the connections of a Django session; from async code."""
    if _session_key(session) is None:
        return None
    return await apublish(session_channel(session), payload, failures=failures, **options)


def session_channel(session: Any) -> str:
    """The name of a Django session's own channel, for the page that subscribes to it.

    A session that was never saved is, so that the visitor's browser is given its cookie; in async code
    ``await request.session.acreate()`` before.

    Args:
        session: ``request.session``, or a session's key.

    Raises:
        ImproperUse: the site keeps sessions in signed cookies, whose keys change whenever they are
            saved.
    """
    if django_settings.SESSION_ENGINE.endswith("signed_cookies"):
        raise ImproperUse(
            "sessions in signed cookies have no channel: their key changes whenever they are saved;"
            " expected SESSION_ENGINE 'django.contrib.sessions.backends.db' or 'cached_db'"
        )
    key = _session_key(session)
    if key is None:
        session.create()
        key = session.session_key
    return session_channel_name(key)


def _session_key(session: Any) -> str | None:
    key: Any = getattr(session, "session_key", session)
    if key is None and session is not None:
        return None
    if isinstance(key, str) and key:
        return key
    raise ImproperUse(
        f"a session is expected, got {type(session).__name__}; expected request.session or the text of"
        " a session's key"
    )


def publish_many(
    publications: Iterable[tuple[str, Any]],
    *,
    event: str | None = None,
    exclude: Any = None,
    using: str | None = None,
    on_commit: bool = True,
    failures: Failures | None = None,
) -> list[Published] | None:
    """Publish many (channel, payload) pairs, in their order.

    All are checked before the first is sent, and all are sent within ``PUBLISH_TIMEOUT``. Other
    arguments, what is returned for each, and exceptions as for ``publish``.
    """
    refuse_event_loop("publish_many", "apublish_many")
    may_raise = raises(failures)
    one = excluded(exclude)
    prepared = [prepare(name, payload, event=event, exclude=one) for name, payload in publications]
    return send_all(prepared, using=using, on_commit=on_commit, raises=may_raise)


async def apublish_many(
    publications: Iterable[tuple[str, Any]],
    *,
    event: str | None = None,
    exclude: Any = None,
    failures: Failures | None = None,
) -> list[Published] | None:
    """Publish many (channel, payload) pairs, in their order; from async code."""
    may_raise = raises(failures)
    one = await aexcluded(exclude)
    prepared = [prepare(name, payload, event=event, exclude=one) for name, payload in publications]
    return await asend_all(prepared, raises=may_raise)


def _only(published: list[Published] | None) -> Published | None:
    return None if published is None else published[0]


def user_channel(user: Any) -> str:
    """The name of a user's own channel.

    Args:
        user: a user, or its primary key.

    Raises:
        BadPayload: the user is anonymous or not saved, and has no channel.
        ImproperUse: it is neither a user nor a primary key.
    """
    if getattr(user, "pk", user) is None:
        raise BadPayload("publish_to_user: a user without a primary key has no channel")
    return user_channel_name(user_key(user, "publish_to_user"))
