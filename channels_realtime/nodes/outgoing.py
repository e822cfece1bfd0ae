"""Sends a publication: first into the history, where its channel keeps one, then over the layer.

In: a publication from ``publish()`` or a client, in any process. Out: its position. The store numbers it
before it is sent, so a node that receives it knows what it missed; what the layer then loses, nodes
find in the store.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar

import msgspec

from ..config import Config
from ..errors import Unavailable
from ..protocol.messages import Position, Publication
from ..stores.history.base import Append, Appended, Condition, Entry, History, HistoryStore
from ..stores.history.inboxes import InboxStore
from .store_requests import INBOXES, ask

logger = logging.getLogger(__name__)

_RETRY_S = 0.05
_MAX_RETRY_S = 0.5
"""Between two tries of a store that is away: the first pause, doubled each time, and the longest."""

_Answer = TypeVar("_Answer")

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Publication).decode


class Expectation(NamedTuple):
    """That users acknowledge a publication.

    Args:
        users: whom it is for, as far as its channel class names them.
        due_at: by when, in seconds since the epoch.
    """

    users: tuple[str, ...]
    due_at: float


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A publication, and how it is kept.

    Args:
        publication: what is published; without a position.
        history: what its channel keeps; None keeps nothing.
        key: an idempotency key with the scope of its publisher in it.
        digest: of what the key stands for.
        condition: when it is taken.
        state_key: the key whose state it is; ``""`` is that of a last-value channel.
        state_ttl: seconds after which its state expires.
        transient: it is not kept although its channel has a history.
        counted: its publisher asks how many connections were told.
        kept: it is in the history already, so that nodes need only be told.
        expectation: what the channel's inboxes expect; None for a channel that does not look after any.
    """

    publication: Publication
    history: History | None = None
    key: str | None = None
    digest: str = ""
    condition: Condition | None = None
    state_key: str | None = None
    state_ttl: float | None = None
    transient: bool = False
    counted: bool = False
    kept: bool = False
    expectation: Expectation | None = None

    def with_content(self, payload: Any, sender: Any) -> Outgoing:
        """The same, with what the channel's hooks have made of it."""
        publication = msgspec.structs.replace(self.publication, payload=payload, sender=sender)
        return msgspec.structs.replace(self, publication=publication)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a publication.

    Args:
        position: its place in the channel's history; None where the channel keeps none.
        duplicate: nothing was sent: its key was used before, or its version is not new.
    """

    position: Position | None = None
    duplicate: bool = False


SENT = Outcome()
"""Of a publication that is not kept."""


def decode_entry(epoch: str, entry: Entry, *, state: bool = False) -> Publication | None:
    """The publication of an entry of the store; None, and logged, where another version has written it."""
    try:
        publication = _decode(entry.body)
    except (msgspec.MsgspecError, ValueError):
        logger.error("A publication of the history cannot be read; it is left out")
        return None
    return msgspec.structs.replace(publication, position=Position(epoch, entry.offset), state=state)


def _with_uid(publication: Publication) -> Publication:
    return msgspec.structs.replace(publication, uid=publication.uid or secrets.token_hex(8))


def _append_request(
    outgoing: Outgoing, publication: Publication, history: History, config: Config
) -> Append:
    return Append(
        stream=publication.key,
        uid=publication.uid,
        body=_encode(publication),
        history=history,
        key=outgoing.key,
        digest=outgoing.digest,
        key_window=config.publish_key_window,
        version=publication.version,
        state_key=outgoing.state_key,
        state_ttl=outgoing.state_ttl,
        removed=publication.removed,
        condition=outgoing.condition,
    )


async def send(
    outgoing: Outgoing,
    *,
    store: HistoryStore | None,
    config: Config,
    forward: Callable[[Publication, float], Awaitable[None]],
    timeout: float,
    inboxes: InboxStore | None = None,
) -> Outcome:
    """Keep a publication and send it.

    Args:
        outgoing: what is published.
        store: None where the channel keeps no history.
        config: the settings.
        forward: sends a publication over the layer, within so many seconds.
        timeout: seconds that all of it may take.
        inboxes: of the channel, where they expect something.

    Raises:
        Conflict: its key or condition.
        Unavailable: the layer did not take a publication that is not kept, or the store is away.
    """
    history = outgoing.history
    if store is None or history is None:
        await forward(outgoing.publication, timeout)
        return SENT
    if outgoing.kept:
        return await _tell(outgoing.publication, store, config, forward, timeout)
    now = asyncio.get_running_loop().time
    deadline = now() + timeout
    publication = _with_uid(outgoing.publication)
    request = _append_request(outgoing, publication, history, config)
    try:
        if inboxes is not None:
            await _expect(outgoing, inboxes, config, timeout)
        appended = await _append(store, request, config, max(0.0, deadline - now()))
    except Unavailable as error:
        if config.store_failures != "live":
            raise
        logger.debug("A publication is not kept: %s", error.reason)
        await forward(publication, max(0.0, deadline - now()))
        return SENT
    if appended.duplicate or appended.position is None or store.wakes_nodes:
        return Outcome(position=appended.position, duplicate=appended.duplicate)
    try:
        left = max(0.0, deadline - now())
        numbered = msgspec.structs.replace(
            publication, position=appended.position, previous=appended.previous
        )
        await forward(numbered, left)
    except Unavailable as error:
        # It is kept: nodes that compare their positions with the store find it.
        logger.warning("A publication is delivered late: %s", error.reason)
    return Outcome(position=appended.position)


async def expect(outgoing: Outgoing, inboxes: InboxStore, timeout: float) -> None:
    """Have the channel looked after when a publication is due; before it is kept.

    After a failure in between, nothing is found that is due; the other way round, nothing would look.

    Raises:
        Unavailable: the store is away.
    """
    expectation = outgoing.expectation
    if expectation is not None:
        expected = inboxes.expect(outgoing.publication.key, expectation.users, expectation.due_at)
        await ask(inboxes, expected, timeout, INBOXES)


async def _expect(outgoing: Outgoing, inboxes: InboxStore, config: Config, timeout: float) -> None:
    """As ``expect``; where ``STORE_FAILURES`` is "retry" until the time is over."""
    await _retried(lambda left: expect(outgoing, inboxes, left), config, timeout)


class KeptInTransaction(NamedTuple):
    """What became of a publication that a transaction keeps, and what to send after its commit."""

    outcome: Outcome
    to_tell: Outgoing | None


def keep_in_transaction(
    outgoing: Outgoing, store: HistoryStore, using: str, config: Config
) -> KeptInTransaction:
    """Keep a publication as part of the transaction that is open in this thread.

    Args:
        outgoing: what is published; it has a history.
        store: one that is transactional.
        using: the transaction's database.
        config: the settings.

    Raises:
        Conflict, Unavailable: as the store says.
    """
    history = outgoing.history
    assert history is not None
    publication = _with_uid(outgoing.publication)
    request = _append_request(outgoing, publication, history, config)
    appended = store.append_in_transaction(request, using)
    outcome = Outcome(position=appended.position, duplicate=appended.duplicate)
    if appended.duplicate or store.wakes_nodes:
        return KeptInTransaction(outcome, None)
    told = msgspec.structs.replace(publication, position=appended.position)
    return KeptInTransaction(outcome, Outgoing(publication=told, history=history, kept=True))


async def _tell(
    publication: Publication,
    store: HistoryStore,
    config: Config,
    forward: Callable[[Publication, float], Awaitable[None]],
    timeout: float,
) -> Outcome:
    """Send a publication that is kept. Whatever else its nodes do not have they find in the store."""
    position = publication.position
    try:
        if position is None:  # known since the commit; a later one tells of this one too
            limit = min(timeout, config.store_timeout)
            page = await ask(store, store.read(publication.key, limit=1, reverse=True), limit)
            for entry in page.entries:
                position = Position(page.position.epoch, entry.offset)
                publication = decode_entry(page.position.epoch, entry) or publication
        if position is not None:
            await forward(publication, timeout)
    except Unavailable as error:
        logger.warning("A publication is delivered late: %s", error.reason)
    return Outcome(position=position)


async def _append(store: HistoryStore, request: Append, config: Config, timeout: float) -> Appended:
    """Append, where ``STORE_FAILURES`` is "retry" until the time is over."""
    if config.store_failures == "retry" and request.key is None:
        # So that an append whose answer was lost is not done twice.
        request = msgspec.structs.replace(request, key=f"retry:{request.uid}", key_window=60.0)
    tries = 0

    async def append(left: float) -> Appended:
        nonlocal tries
        tries += 1
        appended = await ask(store, store.append(request), left)
        if tries > 1 and appended.duplicate and appended.position is not None:
            return await _first_of(store, request, appended, config)
        return appended

    return await _retried(append, config, timeout)


async def _retried(
    call: Callable[[float], Awaitable[_Answer]], config: Config, timeout: float
) -> _Answer:
    """Call with the seconds that it may take; where ``STORE_FAILURES`` is "retry", until the end."""
    now = asyncio.get_running_loop().time
    deadline = now() + timeout
    pause = _RETRY_S
    while True:
        try:
            return await call(min(deadline - now(), config.store_timeout))
        except Unavailable:
            if config.store_failures != "retry" or now() + pause >= deadline:
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, _MAX_RETRY_S)


async def _first_of(
    store: HistoryStore, request: Append, appended: Appended, config: Config
) -> Appended:
    """Whether the publication that has this key is this one, of a try whose answer was lost."""
    position = appended.position
    assert position is not None
    before = Position(position.epoch, position.offset - 1)
    page = await ask(store, store.read(request.stream, before, limit=1), config.store_timeout)
    own = any(entry.uid == request.uid for entry in page.entries)
    return Appended(position, duplicate=not own)
