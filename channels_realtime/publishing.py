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
import threading
import time
from collections.abc import Iterable
from typing import Any, Literal, get_args

from channels.layers import InMemoryChannelLayer
from django.apps import apps
from django.conf import settings as django_settings

from .capture import captures
from .channels import (
    OWN_CHANNELS_PREFIX,
    RESERVED_EVENT_PREFIX,
    Channel,
    registry,
    session_channel_name,
    user_channel_name,
    user_key,
)
from .config import Config
from .errors import BadPayload, ImproperUse, TooLarge, Unavailable, UnknownChannel
from .namespaces import current_namespace
from .nodes import envelope
from .nodes import outgoing as outgoing_path
from .nodes.layers import configured_layer
from .nodes.node import running_node
from .nodes.outgoing import Outcome, Outgoing
from .nodes.stores import stores_of
from .protocol.messages import Position, Publication
from .runtime import loops
from .runtime.commits import after_commit, open_transactions
from .runtime.encoding import normalise_payload, payload_size
from .runtime.loops import refuse_event_loop, require_threads
from .settings import get_config

logger = logging.getLogger(__name__)

_serves = False
_warned = False

Failures = Literal["raise", "log"]
"""What to do with a publication that the channel layer does not take."""

FAILURES = get_args(Failures)

_AFTER_COMMIT = " after the commit"

_LOOP_S = 1.0
"""How much longer than the time-out to wait for the event loop that does the sending."""

failed_after_commit = 0
"""Publications of this process that the layer did not take and that raised nothing: after their
commit, or with failures that are logged."""


def publish(
    channel: str,
    payload: Any,
    *,
    event: str | None = None,
    using: str | None = None,
    on_commit: bool = True,
    failures: Failures | None = None,
) -> Position | None:
    """Publish to every subscriber of a channel, in every process; from sync code.

    Args:
        channel: the channel's name, such as ``"orders/42"``.
        payload: JSON types, dates, times, Decimal, UUID, enums, dataclasses, lazy strings, or
            containers of them.
        event: a name for what happened, which clients can tell events apart by.
        using: the database whose transaction to wait for; by default those of all databases that
            have one open in this thread.
        on_commit: False sends at once, whatever becomes of the transaction.
        failures: what to do where the channel layer fails: "raise", or "log" and return. By default
            the setting ``PUBLISH_FAILURES``.

    Returns:
        the publication's position where the channel keeps history; None where it keeps none, or
        where the publication waits for a commit. A failure after the commit is logged.

    Raises:
        BadChannel, UnknownChannel: no such name, or no route for it.
        BadPayload, TooLarge: the payload cannot be encoded, or is over ``MAX_PUBLICATION_BYTES``.
        Unavailable: the channel layer did not take it within ``PUBLISH_TIMEOUT``, or did not take
            another message just before; only where failures are raised.
        ImproperUse: called on a running event loop; ``await apublish(…)`` there.
    """
    refuse_event_loop("publish", "apublish")
    prepared = [_prepare(channel, payload, event)]
    return _position(_publish_all(prepared, using, on_commit, _raises(failures)))


async def apublish(
    channel: str, payload: Any, *, event: str | None = None, failures: Failures | None = None
) -> Position | None:
    """Publish to every subscriber of a channel; from async code. Never waits for a commit.

    Args, returns and raises as ``publish``.
    """
    return _position(await _apublish_all([_prepare(channel, payload, event)], _raises(failures)))


def publish_to_user(
    user: Any,
    payload: Any,
    *,
    event: str | None = None,
    using: str | None = None,
    on_commit: bool = True,
    failures: Failures | None = None,
) -> Position | None:
    """Publish to every connection of a user, on the user's own channel ``users/<id>``.

    Args:
        user: a user, or its primary key.
        payload, event, using, on_commit, failures: as for ``publish``.
    """
    return publish(
        user_channel(user),
        payload,
        event=event,
        using=using,
        on_commit=on_commit,
        failures=failures,
    )


async def apublish_to_user(
    user: Any, payload: Any, *, event: str | None = None, failures: Failures | None = None
) -> Position | None:
    """Publish to every connection of a user; from async code."""
    return await apublish(user_channel(user), payload, event=event, failures=failures)


def publish_to_session(
    session: Any,
    payload: Any,
    *,
    event: str | None = None,
    using: str | None = None,
    on_commit: bool = True,
    failures: Failures | None = None,
) -> Position | None:
    """Publish to the connections of a Django session that have subscribed to its own channel.

    Does nothing for a session that was never saved: no connection can have it.

    Args:
        session: ``request.session``, or a session's key.
        payload, event, using, on_commit, failures: as for ``publish``.
    """
    if _session_key(session) is None:
        return None
    return publish(
        session_channel(session),
        payload,
        event=event,
        using=using,
        on_commit=on_commit,
        failures=failures,
    )


async def apublish_to_session(
    session: Any, payload: Any, *, event: str | None = None, failures: Failures | None = None
) -> Position | None:
    """Publish to the connections of a Django session; from async code."""
    if _session_key(session) is None:
        return None
    return await apublish(session_channel(session), payload, event=event, failures=failures)


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
    using: str | None = None,
    on_commit: bool = True,
    failures: Failures | None = None,
) -> None:
    """Publish many (channel, payload) pairs, in their order.

    All are checked before the first is sent, and all are sent within ``PUBLISH_TIMEOUT``. Other
    arguments and exceptions as for ``publish``.
    """
    refuse_event_loop("publish_many", "apublish_many")
    raises = _raises(failures)
    prepared = [_prepare(channel, payload, event) for channel, payload in publications]
    if prepared:
        _publish_all(prepared, using, on_commit, raises)


async def apublish_many(
    publications: Iterable[tuple[str, Any]],
    *,
    event: str | None = None,
    failures: Failures | None = None,
) -> None:
    """Publish many (channel, payload) pairs, in their order; from async code."""
    raises = _raises(failures)
    prepared = [_prepare(channel, payload, event) for channel, payload in publications]
    if prepared:
        await _apublish_all(prepared, raises)


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


def _prepare(channel: str, payload: Any, event: str | None) -> Outgoing:
    """Check all that can be wrong, in the caller."""
    history = check_channel(channel).kept()
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
    publication = Publication(
        channel=channel, payload=normal, event=event, namespace=current_namespace()
    )
    return Outgoing(publication=publication, history=history)


def check_channel(name: str) -> Channel:
    """Check that a route matches, for code of the site; clients are not told the routes.

    Raises:
        BadChannel: the name is malformed.
        UnknownChannel: no route matches; the reason lists those that there are.
    """
    try:
        return registry.resolve(name)
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


def _raises(failures: Failures | None) -> bool:
    """Whether the caller gets the exception of a channel layer that fails."""
    if failures is None:
        failures = get_config().publish_failures
    elif failures not in FAILURES:
        raise ImproperUse(f"failures is {failures!r}; expected one of 'raise', 'log'")
    return failures == "raise"


# -- sending ---------------------------------------------------------------------------------------


class _Commits(threading.local):
    """How long the transactions of a thread may still wait for the layer after their commit."""

    current: _Commit | None = None


class _Commit:
    """A commit to come, and the one time-out of all that is published in its transaction."""

    def __init__(self) -> None:
        self.deadline: float | None = None
        self.failed = False


_commits = _Commits()


def _position(outcomes: list[Outcome]) -> Position | None:
    return outcomes[0].position if outcomes else None


def _publish_all(
    outgoing: list[Outgoing], using: str | None, on_commit: bool, raises: bool
) -> list[Outcome]:
    """Publish now, or after the commit; what became of each, as far as that is known."""
    databases = open_transactions(using) if on_commit else ()
    capture = captures.current()
    if capture is not None:
        capture.record([one.publication for one in outgoing], databases)
    elif databases:
        require_threads()  # in the caller, not after the commit
        commit = _commits.current
        if commit is None or commit.deadline is not None:
            commit = _commits.current = _Commit()
        after_commit(functools.partial(_send_after_commit, outgoing, commit), databases)
    else:
        try:
            return _send(outgoing, get_config().publish_timeout)
        except Unavailable as error:
            if raises:
                raise
            _log_loss(outgoing, error)
    return []


def _send_after_commit(outgoing: list[Outgoing], commit: _Commit) -> None:
    timeout = get_config().publish_timeout
    now = time.monotonic()
    if commit.deadline is None:
        commit.deadline = now + timeout
    try:
        refuse_event_loop("publish", "apublish")
    except ImproperUse:
        # An atomic block that an event loop's own thread left: nothing to wait with.
        future = _submit(outgoing, timeout)
        future.add_done_callback(functools.partial(_log_failure, outgoing))
        return
    try:
        _send(outgoing, commit.deadline - now)
    except Unavailable as error:
        # The first of a transaction tells of the failure; the others would repeat it.
        level = logging.INFO if commit.failed else logging.ERROR
        commit.failed = True
        _log_loss(outgoing, error, when=_AFTER_COMMIT, level=level)


def _log_failure(
    outgoing: list[Outgoing], future: concurrent.futures.Future[list[Outcome]]
) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        _log_loss(outgoing, error, when=_AFTER_COMMIT)


def _log_loss(
    outgoing: list[Outgoing],
    error: BaseException,
    *,
    when: str = "",
    level: int = logging.ERROR,
) -> None:
    global failed_after_commit
    failed_after_commit += len(outgoing)
    channel = outgoing[0].publication.channel
    logger.log(level, "Publishing to %r%s failed", channel, when, exc_info=error)


def _send(outgoing: list[Outgoing], timeout: float) -> list[Outcome]:
    """Send, and wait until it is done or the time is over; whatever the event loop does meanwhile."""
    future = _submit(outgoing, timeout)
    try:
        return future.result(max(timeout, 0.0) + _LOOP_S)
    except concurrent.futures.TimeoutError:
        future.cancel()
        raise Unavailable(
            f"the event loop did not answer within {timeout + _LOOP_S:g} seconds"
        ) from None


async def _apublish_all(outgoing: list[Outgoing], raises: bool) -> list[Outcome]:
    capture = captures.current()
    timeout = get_config().publish_timeout
    try:
        if capture is not None:
            capture.record([one.publication for one in outgoing], ())
        elif running_node() is not None:
            return await _send_here(outgoing, timeout)
        else:
            return await asyncio.wrap_future(_submit(outgoing, timeout))
    except Unavailable as error:
        if raises:
            raise
        _log_loss(outgoing, error)
    return []


def _submit(outgoing: list[Outgoing], timeout: float) -> concurrent.futures.Future[list[Outcome]]:
    return loops.submit(_send_here(outgoing, timeout))


async def _send_here(outgoing: list[Outgoing], timeout: float) -> list[Outcome]:
    """Send from the loop that this runs on, within one time-out: by its node, where it has one."""
    node = running_node()
    config = get_config()
    now = asyncio.get_running_loop().time
    deadline = now() + timeout
    layer = None
    if node is None:
        layer = configured_layer(config.channel_layer)
        if isinstance(layer, InMemoryChannelLayer):
            _warn_once_that_nothing_hears()
    outcomes = []
    for one in outgoing:
        left = deadline - now()
        if left <= 0.0:
            raise Unavailable(
                f"the channel layer did not take it within {config.publish_timeout:g} seconds"
                " (PUBLISH_TIMEOUT)"
            )
        if node is not None:
            outcomes.append(await node.publish(one, timeout=left))
        else:
            outcomes.append(await _send_without_node(layer, config, one, left))
    return outcomes


async def _send_without_node(layer: Any, config: Config, one: Outgoing, timeout: float) -> Outcome:
    return await outgoing_path.send(
        one,
        store=None if one.history is None else stores_of(layer, config).history,
        config=config,
        forward=functools.partial(envelope.send, layer, config.group_prefix),
        timeout=timeout,
    )


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
