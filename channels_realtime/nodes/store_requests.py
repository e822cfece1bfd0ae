"""Requests to a store: bounded in time, and at once refused while the store is known to be away.

In: a request, as an awaitable. Out: its answer, or ``Unavailable``. The state of each store is kept, so
that health and the admin can show it, and logged once when it changes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from ..errors import RealtimeError, Unavailable
from .breaker import Breaker, breaker_of

logger = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")


HISTORY = "the history store"
PRESENCE = "the presence store"
"""What errors and logs call them."""

INBOXES = "the inbox store"


async def ask(
    store: Any, request: Coroutine[Any, Any, _Answer], timeout: float, name: str = HISTORY
) -> _Answer:
    """Await a store's answer.

    Args:
        store: the store that is asked.
        request: of one of its methods.
        timeout: seconds that it may take.
        name: what errors and logs call the store.

    Raises:
        Unavailable: the store is away, too slow, or was so a moment ago.
    """
    breaker = breaker_of(store, name)
    now = asyncio.get_running_loop().time
    began = now()
    try:
        limit = breaker.timeout(began, timeout)
    except Unavailable:
        request.close()
        raise
    try:
        async with asyncio.timeout(limit):
            answer = await request
    except Exception as error:
        if isinstance(error, RealtimeError) and not isinstance(error, Unavailable):
            _answered(breaker, name)  # a refusal is an answer
            raise
        if not breaker.failing:
            logger.error("%s cannot be used: %s", name.capitalize(), _cause(error))
        breaker.failed(now(), now() - began, timeout)
        if isinstance(error, Unavailable):
            raise
        raise Unavailable(f"{name} did not answer: {type(error).__name__}") from error
    _answered(breaker, name)
    return answer


def _answered(breaker: Breaker, name: str) -> None:
    if breaker.failing:
        logger.info("%s can be used again", name.capitalize())
    breaker.sent()


def _cause(error: BaseException) -> str:
    # The cause of a time-out is the cancellation, which says nothing.
    cause = error if isinstance(error, TimeoutError) else error.__cause__ or error
    text = str(cause).rstrip(".")
    return f"{type(cause).__name__}: {text}" if text else type(cause).__name__
