"""Sends a publication: first into the history, where its channel keeps one, then over the layer.

In: a publication from ``publish()`` or a client, in any process. Out: its position. The store numbers it
before it is sent, so a node that receives it knows what it missed; what the layer then loses, nodes
find in the store.
"""

from __future__ import annotations

import dataclasses
import logging
import secrets
from collections.abc import Awaitable, Callable

import msgspec

from ..config import Config
from ..errors import Unavailable
from ..history.base import Append, Condition, History, HistoryStore
from ..protocol.messages import Position, Publication

logger = logging.getLogger(__name__)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Publication).decode


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A publication, and how it is kept.

    Args:
        publication: what is published; without a position.
        history: what its channel keeps; None keeps nothing.
        key: an idempotency key with the scope of its publisher in it.
        digest: of what the key stands for.
        condition: when it is taken.
        state_ttl: seconds after which its state expires.
    """

    publication: Publication
    history: History | None = None
    key: str | None = None
    digest: str = ""
    condition: Condition | None = None
    state_ttl: float | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a publication.

    Args:
        position: its place in the channel's history; None where the channel keeps none.
        duplicate: nothing was sent: its key was used before, or its version is not new.
    """

    position: Position | None = None
    duplicate: bool = False


def decode_entry(position: Position, body: bytes, *, state: bool = False) -> Publication:
    """The publication of an entry of the store."""
    return msgspec.structs.replace(_decode(body), position=position, state=state)


def append_request(outgoing: Outgoing, history: History, config: Config) -> Append:
    """What the store is asked for; the publication gets its uid here."""
    publication = outgoing.publication
    return Append(
        stream=publication.key,
        uid=publication.uid,
        body=_encode(publication),
        history=history,
        key=outgoing.key,
        digest=outgoing.digest,
        key_window=config.publish_key_window,
        version=publication.version,
        state_key=publication.state_key,
        state_ttl=outgoing.state_ttl,
        removed=publication.removed,
        condition=outgoing.condition,
    )


async def send(
    outgoing: Outgoing,
    *,
    store: HistoryStore | None,
    config: Config,
    forward: Callable[[Publication], Awaitable[None]],
) -> Outcome:
    """Keep a publication and send it.

    Args:
        outgoing: what is published.
        store: None where the channel keeps no history.
        config: the settings.
        forward: sends a publication over the layer.

    Raises:
        Conflict: its key or condition.
        Unavailable: the layer did not take a publication that is not kept, or the store is away.
    """
    history = outgoing.history
    if store is None or history is None:
        await forward(outgoing.publication)
        return Outcome()
    publication = msgspec.structs.replace(outgoing.publication, uid=secrets.token_hex(8))
    request = append_request(
        dataclasses.replace(outgoing, publication=publication), history, config
    )
    appended = await store.append(request)
    if appended.duplicate or appended.position is None:
        return Outcome(position=appended.position, duplicate=appended.duplicate)
    try:
        await forward(msgspec.structs.replace(publication, position=appended.position))
    except Unavailable as error:
        # It is kept: nodes that compare their positions with the store find it.
        logger.warning("A publication is delivered late: %s", error.reason)
    return Outcome(position=appended.position)
