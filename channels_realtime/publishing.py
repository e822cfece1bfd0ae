"""The public verbs: publish from views, signals, threads, tasks, commands and the shell.

In: a channel's name and a payload. Everything that can be wrong with them is raised in the caller,
before anything is sent. Inside a transaction a publication waits for the commit and is discarded by a
rollback, because a subscriber that hears of a row should find it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import logging
from collections.abc import Iterable
from typing import Any

from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.apps import apps
from django.conf import settings as django_settings
from django.db import DEFAULT_DB_ALIAS, connections, transaction

from .capture import captures
from .channels import (
    OWN_CHANNELS_PREFIX,
    RESERVED_EVENT_PREFIX,
    registry,
    session_channel_name,
    user_channel_name,
    user_key,
)
from .errors import BadPayload, ImproperUse, TooLarge, Unavailable, UnknownChannel
from .nodes import envelope
from .nodes.node import running_node
from .protocol.messages import Position, Publication
from .runtime import loops
from .runtime.encoding import normalise_payload, payload_size
from .settings import get_config

logger = logging.getLogger(__name__)

_serves = False
_warned = False

failed_after_commit = 0
"""Publications of this process that were lost after their commit because the layer was away."""


def publish(
    channel: str,
    payload: Any,
    *,
    event: str | None = None,
    using: str = DEFAULT_DB_ALIAS,
    on_commit: bool = True,
) -> Position | None:
    """Publish to every subscriber of a channel, in every process; from sync code.

    Args:
        channel: the channel's name, such as ``"orders/42"``.
        payload: JSON types, dates, times, Decimal, UUID, enums, dataclasses, lazy strings, or
            containers of them.
        event: a name for what happened, which clients can tell events apart by.
        using: the database whose open transaction the publication belongs to.
        on_commit: False sends at once, whatever becomes of the transaction.

    Returns:
        the publication's position where the channel keeps history; None where it keeps none, or
        where the publication waits for a commit. A failure after the commit is logged.

    Raises:
        BadChannel, UnknownChannel: no such name, or no route for it.
        BadPayload, TooLarge: the payload cannot be encoded, or is over ``MAX_PUBLICATION_BYTES``.
        Unavailable: the channel layer did not take it within ``PUBLISH_TIMEOUT``.
        ImproperUse: called on a running event loop; ``await apublish(…)`` there.
    """
    _refuse_event_loop("publish", "apublish")
    _publish_all([_prepare(channel, payload, event)], using, on_commit)
    return None


async def apublish(channel: str, payload: Any, *, event: str | None = None) -> Position | None:
    """Publish to every subscriber of a channel; from async code. Never waits for a commit.

    Args, returns and raises as ``publish``.
    """
    await _apublish_all([_prepare(channel, payload, event)])
    return None


def publish_to_user(
    user: Any,
    payload: Any,
    *,
    event: str | None = None,
    using: str = DEFAULT_DB_ALIAS,
    on_commit: bool = True,
) -> Position | None:
    """Publish to every connection of a user, on the user's own channel ``users/<id>``.

    Args:
        user: a user, or its primary key.
        payload, event, using, on_commit: as for ``publish``.
    """
    return publish(user_channel(user), payload, event=event, using=using, on_commit=on_commit)


async def apublish_to_user(user: Any, payload: Any, *, event: str | None = None) -> Position | None:
    """Publish to every connection of a user; from async code."""
    return await apublish(user_channel(user), payload, event=event)


def publish_to_session(
    session: Any,
    payload: Any,
    *,
    event: str | None = None,
    using: str = DEFAULT_DB_ALIAS,
    on_commit: bool = True,
) -> Position | None:
    """Publish to the connections of a Django session that have subscribed to its own channel.

    Does nothing for a session that was never saved: no connection can have it.

    Args:
        session: ``request.session``, or a session's key.
        payload, event, using, on_commit: as for ``publish``.
    """
    if _session_key(session) is None:
        return None
    channel = session_channel(session)
    return publish(channel, payload, event=event, using=using, on_commit=on_commit)


async def apublish_to_session(
    session: Any, payload: Any, *, event: str | None = None
) -> Position | None:
    """Publish to the connections of a Django session; from async code."""
    if _session_key(session) is None:
        return None
    return await apublish(session_channel(session), payload, event=event)


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


def _session_key(session: Any) -> Any:
    return session if isinstance(session, str) else session.session_key


def publish_many(
    publications: Iterable[tuple[str, Any]],
    *,
    event: str | None = None,
    using: str = DEFAULT_DB_ALIAS,
    on_commit: bool = True,
) -> None:
    """Publish many (channel, payload) pairs, in their order, with one wait for all of them.

    All are checked before the first is sent. Raises as ``publish``.
    """
    _refuse_event_loop("publish_many", "apublish_many")
    prepared = [_prepare(channel, payload, event) for channel, payload in publications]
    if prepared:
        _publish_all(prepared, using, on_commit)


async def apublish_many(
    publications: Iterable[tuple[str, Any]], *, event: str | None = None
) -> None:
    """Publish many (channel, payload) pairs, in their order; from async code."""
    await _apublish_all([_prepare(channel, payload, event) for channel, payload in publications])


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


def this_process_serves() -> None:
    """The realtime application was built in this process: the in-memory layer reaches its connections."""
    global _serves
    _serves = True


# -- preparing -------------------------------------------------------------------------------------


def _prepare(channel: str, payload: Any, event: str | None) -> Publication:
    """Check all that can be wrong, in the caller."""
    check_channel(channel)
    if event is not None and not (isinstance(event, str) and 1 <= len(event) <= 100):
        raise BadPayload(f"event {event!r} is not a name; expected text of 1 to 100 characters")
    if event is not None and event.startswith(RESERVED_EVENT_PREFIX):
        raise BadPayload(
            f"event {event!r} begins with {RESERVED_EVENT_PREFIX!r}, which is reserved for the"
            " package; expected another name"
        )
    config = get_config()
    normal = normalise_payload(payload, max_depth=config.max_payload_depth)
    size = payload_size(normal)
    if size > config.max_publication_bytes:
        raise TooLarge(
            f"a payload of {size} bytes for {channel!r}; expected at most"
            f" {config.max_publication_bytes} (MAX_PUBLICATION_BYTES)"
        )
    return Publication(channel=channel, payload=normal, event=event)


def check_channel(name: str) -> None:
    """Check that a route matches, for code of the site; clients are not told the routes.

    Raises:
        BadChannel: the name is malformed.
        UnknownChannel: no route matches; the reason lists those that there are.
    """
    try:
        registry.resolve(name)
    except UnknownChannel:
        own = [pattern for pattern, _ in registry if not pattern.startswith(OWN_CHANNELS_PREFIX)]
        routes = ", ".join(map(repr, own)) or "none"
        missing = "the app with its realtime.py"
        if not apps.is_installed("channels_realtime"):  # then no realtime.py was imported
            missing = "'channels_realtime'"
        raise UnknownChannel(
            f"channel {name!r} matches no registered route; there are: {routes}."
            f" Is {missing} in INSTALLED_APPS?"
        ) from None


def _refuse_event_loop(verb: str, twin: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise ImproperUse(f"{verb}() would block the event loop it runs on: await {twin}() instead")


# -- sending ---------------------------------------------------------------------------------------


def _publish_all(publications: list[Publication], using: str, on_commit: bool) -> None:
    deferred = on_commit and connections[using].in_atomic_block
    capture = captures.current()
    if capture is not None:
        capture.record(publications, using if deferred else None)
        return
    if deferred:
        transaction.on_commit(
            functools.partial(_send_after_commit, publications), using=using, robust=True
        )
        return
    _send(publications)


def _send_after_commit(publications: list[Publication]) -> None:
    global failed_after_commit
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        # An atomic block that an event loop's own thread left: nothing to wait with.
        _submit(publications).add_done_callback(_log_failure)
        return
    try:
        _send(publications)
    except Unavailable:
        failed_after_commit += len(publications)
        logger.exception("Publishing to %r after the commit failed", publications[0].channel)


def _log_failure(future: concurrent.futures.Future[None]) -> None:
    global failed_after_commit
    if not future.cancelled() and future.exception() is not None:
        failed_after_commit += 1
        logger.error("Publishing after the commit failed", exc_info=future.exception())


def _send(publications: list[Publication]) -> None:
    timeout = get_config().publish_timeout * 2 + 1.0
    future = _submit(publications)
    try:
        future.result(timeout)
    except concurrent.futures.TimeoutError:
        future.cancel()
        raise Unavailable(f"the event loop did not answer within {timeout:g} seconds") from None


async def _apublish_all(publications: list[Publication]) -> None:
    capture = captures.current()
    if capture is not None:
        capture.record(publications, None)
    elif running_node() is not None:
        await _send_here(publications)
    else:
        await asyncio.wrap_future(_submit(publications))


def _submit(publications: list[Publication]) -> concurrent.futures.Future[None]:
    return loops.submit(_send_here(publications))


async def _send_here(publications: list[Publication]) -> None:
    """Send from the loop that this runs on: by its node, where it has one."""
    node = running_node()
    if node is not None:
        for publication in publications:
            await node.publish(publication)
        return
    config = get_config()
    layer = get_channel_layer(config.channel_layer)
    if layer is None:
        raise Unavailable(f"CHANNEL_LAYERS has no {config.channel_layer!r}")
    if isinstance(layer, InMemoryChannelLayer):
        _warn_once_that_nothing_hears()
    for publication in publications:
        await envelope.send(layer, config.group_prefix, publication, config.publish_timeout)


def _warn_once_that_nothing_hears() -> None:
    global _warned
    if _warned or _serves:
        return
    _warned = True
    logger.warning(
        "This publication reaches no client: the in-memory channel layer reaches only the connections"
        " of its own process, and this process serves none. Use channels_redis in CHANNEL_LAYERS"
        " to publish from other processes (workers, commands, the shell)."
    )
