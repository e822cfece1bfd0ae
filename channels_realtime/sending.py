"""Sends what was prepared: at once, or after the commit of the caller's transaction.

In: outgoing publications, from any thread or event loop of any process. Out: what became of them. With a
history store that takes part in transactions, a publication is kept in the caller's own, and what waits for
the commit is only telling the nodes.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import logging
import threading
import time
from collections.abc import Sequence
from typing import Any, Literal, get_args

from channels.layers import InMemoryChannelLayer
from django.db import DEFAULT_DB_ALIAS

from .capture import CapturedPublication, captures
from .config import Config
from .errors import Conflict, ImproperUse, Unavailable
from .nodes import deliveries, direct, envelope, light
from .nodes import outgoing as outgoing_path
from .nodes.alive import alive_nodes
from .nodes.layers import configured_layer
from .nodes.node import running_node
from .nodes.outgoing import Outcome, Outgoing, keep_in_transaction
from .nodes.stores import stores_of
from .protocol.messages import Publication
from .publications import SERVER_SCOPE, Published, shown_condition
from .runtime import loops
from .runtime.commits import after_commit, open_transactions
from .runtime.loops import refuse_event_loop, require_threads
from .settings import get_config
from .stores.history.base import HistoryStore

logger = logging.getLogger(__name__)

_serves = False
_warned = False

Failures = Literal["raise", "log"]
"""What to do with a publication that the channel layer does not take."""

FAILURES = get_args(Failures)

_AFTER_COMMIT = " after the commit"

failed_after_commit = 0
"""Publications of this process that the layer did not take and that raised nothing: after their
commit, or with failures that are logged."""


def this_process_serves() -> None:
    """The realtime application was built in this process: the in-memory layer reaches its connections."""
    global _serves
    _serves = True


def raises(failures: Failures | None) -> bool:
    """Whether the caller gets the exception of a channel layer that fails.

    Raises:
        ImproperUse: ``failures`` is something else than "raise" or "log".
    """
    if failures is None:
        failures = get_config().publish_failures
    elif failures not in FAILURES:
        raise ImproperUse(f"failures is {failures!r}; expected one of 'raise', 'log'")
    return failures == "raise"


class _Commits(threading.local):
    """How long the transactions of a thread may still wait for the layer after their commit."""

    current: _Commit | None = None


class _Commit:
    """A commit to come, and the one time-out of all that is published in its transaction."""

    def __init__(self) -> None:
        self.deadline: float | None = None
        self.failed = False


_commits = _Commits()


def send_all(
    outgoing: list[Outgoing], *, using: str | None, on_commit: bool, raises: bool
) -> list[Published] | None:
    """Send now, or after the commit; from sync code.

    Args:
        outgoing: what is sent, in this order.
        using: the database whose transaction to wait for; None for all that have one open.
        on_commit: whether to wait for it.
        raises: whether the caller gets ``Unavailable``; otherwise it is logged.

    Returns:
        what became of each; None where that is not known yet, or was logged.

    Raises:
        Conflict, Unavailable: as ``publish`` says.
    """
    if not outgoing:
        return []
    databases = open_transactions(using) if on_commit else ()
    capture = captures.current()
    if capture is not None:
        capture.record(list(map(_shown, outgoing)), databases, outgoing)
        return None if databases else [Published() for _ in outgoing]
    try:
        if databases:
            require_threads()  # in the caller, not after the commit
            return _keep_and_wait(outgoing, using, databases)
        timeout = get_config().publish_timeout
        outcomes = _send(outgoing, timeout)
    except Unavailable as error:
        if raises:
            raise
        _log_loss(outgoing, error)
        return None
    return _published(outcomes, deliveries.count(outgoing, outcomes, alive_nodes))


async def asend_all(outgoing: list[Outgoing], *, raises: bool) -> list[Published] | None:
    """Send now; from async code. Returns and raises as ``send_all``."""
    if not outgoing:
        return []
    capture = captures.current()
    if capture is not None:
        capture.record(list(map(_shown, outgoing)), (), outgoing)
        return [Published() for _ in outgoing]
    timeout = get_config().publish_timeout
    try:
        if running_node() is not None:
            outcomes = await _send_here(outgoing, timeout)
        else:
            outcomes = await asyncio.wrap_future(loops.submit(_send_here(outgoing, timeout)))
    except Unavailable as error:
        if raises:
            raise
        _log_loss(outgoing, error)
        return None
    return _published(outcomes, await deliveries.acount(outgoing, outcomes, alive_nodes))


def _published(outcomes: list[Outcome], told: list[int | None]) -> list[Published]:
    return [
        Published(position=one.position, duplicate=one.duplicate, told=count)
        for one, count in zip(outcomes, told, strict=True)
    ]


def _shown(one: Outgoing) -> CapturedPublication:
    """What a test sees of it."""
    fields = {name: getattr(one.publication, name) for name in Publication.__struct_fields__}
    return CapturedPublication(
        **fields,
        idempotency_key=None if one.key is None else one.key.removeprefix(SERVER_SCOPE),
        only_if=None if one.condition is None else shown_condition(one.condition),
        transient=one.transient,
    )


# -- transactions ----------------------------------------------------------------------------------


def _keep_and_wait(
    outgoing: list[Outgoing], using: str | None, databases: Sequence[str]
) -> list[Published] | None:
    """Keep what the transaction can keep, and leave the rest for its commit."""
    waiting: list[Outgoing] = []
    known: list[Published] = []
    for one in outgoing:
        store = _transactional_store(one)
        if store is None:
            waiting.append(one)
            continue
        if one.expectation is not None:
            _expect(one)
        found = keep_in_transaction(one, store, using or _database_of(databases), get_config())
        known.append(Published(position=found.outcome.position, duplicate=found.outcome.duplicate))
        if found.to_tell is not None:
            waiting.append(found.to_tell)
    if waiting:
        commit = _commits.current
        if commit is None or commit.deadline is not None:
            commit = _commits.current = _Commit()
        after_commit(functools.partial(_send_after_commit, waiting, commit), databases)
    return known if len(known) == len(outgoing) else None


def _expect(one: Outgoing) -> None:
    """Have the channel looked after, whatever becomes of the transaction."""
    config = get_config()
    inboxes = stores_of(configured_layer(config.channel_layer), config).inboxes
    expecting = outgoing_path.expect(one, inboxes, config.store_timeout)
    loops.run(expecting, config.store_timeout)


def _transactional_store(one: Outgoing) -> HistoryStore | None:
    if one.history is None:
        return None
    config = get_config()
    store = stores_of(configured_layer(config.channel_layer), config).history
    return store if store.transactional else None


def _database_of(databases: Sequence[str]) -> str:
    return DEFAULT_DB_ALIAS if DEFAULT_DB_ALIAS in databases else databases[0]


def _send_after_commit(outgoing: list[Outgoing], commit: _Commit) -> None:
    timeout = get_config().publish_timeout
    now = time.monotonic()
    if commit.deadline is None:
        commit.deadline = now + timeout
    try:
        refuse_event_loop("publish", "apublish")
    except ImproperUse:
        # An atomic block that an event loop's own thread left: nothing to wait with.
        future = loops.submit(_send_here(outgoing, timeout))
        future.add_done_callback(functools.partial(_log_failure, outgoing))
        return
    try:
        _send(outgoing, commit.deadline - now)
    except Conflict as error:  # there is no caller any more that it could be raised in
        _log_loss(outgoing, error, when=_AFTER_COMMIT, level=logging.WARNING)
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


# -- over the layer --------------------------------------------------------------------------------


def _send(outgoing: list[Outgoing], timeout: float) -> list[Outcome]:
    """Send from sync code: on this thread where that can be done, else on the loop that sends."""
    config = get_config()
    # A node, where there is one, sends everything; and a store needs the event loop anyway.
    if loops.serving_loop() is not None or light.is_running() or any(o.history for o in outgoing):
        return loops.run(_send_here(outgoing, timeout), timeout)
    layer = configured_layer(config.channel_layer)
    if not direct.serves(layer, config):
        return loops.run(_send_here(outgoing, timeout), timeout)
    deadline = time.monotonic() + timeout
    for one in outgoing:
        left = deadline - time.monotonic()
        if left <= 0.0:
            raise _too_late(config)
        direct.send(layer, one.publication, left)
    return [Outcome() for _ in outgoing]


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
            raise _too_late(config)
        if node is not None:
            outcomes.append(await node.publish(one, timeout=left))
        else:
            outcomes.append(await _send_without_node(layer, config, one, left))
    return outcomes


def _too_late(config: Config) -> Unavailable:
    return Unavailable(
        f"the channel layer did not take it within {config.publish_timeout:g} seconds"
        " (PUBLISH_TIMEOUT)"
    )


async def _send_without_node(layer: Any, config: Config, one: Outgoing, timeout: float) -> Outcome:
    return await outgoing_path.send(
        one,
        store=None if one.history is None else stores_of(layer, config).history,
        config=config,
        forward=functools.partial(envelope.send, layer, config.group_prefix),
        inboxes=None if one.expectation is None else stores_of(layer, config).inboxes,
        timeout=timeout,
    )


def _warn_once_that_nothing_hears() -> None:
    global _warned
    if _warned or _serves or light.is_running():
        return
    _warned = True
    logger.warning(
        "This publication reaches no client: the in-memory channel layer reaches only the connections"
        " of its own process, and this process serves none. Use channels_redis in CHANNEL_LAYERS"
        " to publish from other processes (workers, commands, the shell)."
    )
