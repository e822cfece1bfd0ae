"""How many connections were told of a publication, over all processes.

In: the deliveries of a node's hub on channels whose class has ``count_deliveries``. Out: their sum, for
the publisher, who asks every live node and waits for a bounded time. That costs a query and a request to
each node a publication, so few channels should ask for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.db import Error as DatabaseError

from ..errors import Unavailable
from .outgoing import Outcome, Outgoing
from .requests import Answers, arequest, request

if TYPE_CHECKING:
    from .node import Node

logger = logging.getLogger(__name__)

WAIT_S = 1.0
"""How long nodes have to answer."""

_ARRIVAL_S = 0.6
"""How long a node waits for a publication that has not reached it yet."""

Alive = Callable[[], frozenset[str]]

_REMEMBERED = 1_000
"""Publications whose deliveries a node can tell; the oldest is forgotten first."""


class Deliveries:
    """What one node has delivered lately, of publications that are counted."""

    def __init__(self) -> None:
        self._told: OrderedDict[str, int] = OrderedDict()
        self._waiting: dict[str, asyncio.Future[None]] = {}

    def note(self, uid: str, told: int) -> None:
        """A publication was handed to so many connections."""
        self._told[uid] = told
        while len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)
        waiting = self._waiting.get(uid)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    async def told(self, uid: str) -> int:
        """How many connections were told of a publication, which may be about to arrive."""
        known = self._told.get(uid)
        if known is not None:
            return known
        waiting = self._waiting.get(uid)
        if waiting is None:
            waiting = self._waiting[uid] = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait([waiting], timeout=_ARRIVAL_S)
            return self._told.get(uid, 0)
        finally:
            self._waiting.pop(uid, None)


async def answer(node: Node, arguments: dict[str, Any]) -> int:
    """A publisher's request: how many of this node's connections were told."""
    if arguments["channel"] not in node.hub:
        return 0
    return await node.deliveries.told(arguments["uid"])


HANDLERS = {"deliveries": answer}


def count(
    outgoing: Sequence[Outgoing], outcomes: Sequence[Outcome], alive: Alive
) -> list[int | None]:
    """How many connections were told of each publication; None of those that are not counted.

    Args:
        outgoing: what was sent.
        outcomes: what became of each.
        alive: tells which nodes are asked; may read the database.
    """
    return [
        _sum(one, _ask(one, alive)) if _is_counted(one, outcome) else None
        for one, outcome in zip(outgoing, outcomes, strict=True)
    ]


async def acount(
    outgoing: Sequence[Outgoing], outcomes: Sequence[Outcome], alive: Alive
) -> list[int | None]:
    """How many connections were told of each publication; from async code."""
    return [
        _sum(one, await _aask(one, alive)) if _is_counted(one, outcome) else None
        for one, outcome in zip(outgoing, outcomes, strict=True)
    ]


def _is_counted(one: Outgoing, outcome: Outcome) -> bool:
    return one.counted and not outcome.duplicate


def _arguments(one: Outgoing) -> dict[str, Any]:
    return {"channel": one.publication.key, "uid": one.publication.uid}


def _ask(one: Outgoing, alive: Alive) -> Answers | None:
    try:
        return request("deliveries", _arguments(one), alive(), wait=WAIT_S)
    except (DatabaseError, Unavailable) as error:
        _log_failure(one, error)
        return None


async def _aask(one: Outgoing, alive: Alive) -> Answers | None:
    try:
        nodes = await sync_to_async(alive)()
        return await arequest("deliveries", _arguments(one), nodes, wait=WAIT_S)
    except (DatabaseError, Unavailable) as error:
        _log_failure(one, error)
        return None


def _log_failure(one: Outgoing, error: Exception) -> None:
    # The publication was sent; only its count is missing.
    logger.warning("Who was told on %r is not known: %s", one.publication.channel, error)


def _sum(one: Outgoing, answers: Answers | None) -> int | None:
    if answers is None:
        return None
    if answers.silent:
        logger.info(
            "%d nodes did not say who was told on %r", len(answers.silent), one.publication.channel
        )
    told: int = sum(answers.by_node.values())
    return told
