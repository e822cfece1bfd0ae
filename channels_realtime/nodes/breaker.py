"""Remembers that a channel layer does not answer, so that callers do not wait for it one by one.

In: the outcome of each message that is sent. Out: whether the next one may be sent, and for how long
it may wait. A failure that comes at once, such as a refused connection, costs nothing to try again
and stops nothing; one that kept its caller waiting makes those after it fail at once, except for one
try now and then, until the layer takes a message again.
"""

from __future__ import annotations

import logging
import weakref
from typing import Any

from ..errors import Unavailable

logger = logging.getLogger(__name__)

_PAUSE_S = 2.0
"""Between two tries of a layer that does not answer; so long may events be lost once it is back."""

_TRY_S = 1.0
"""How long such a try waits: more than a new connection with TLS needs."""

_SLOW_S = 0.5
"""A failure that took longer kept its caller waiting."""


class Breaker:
    """The state of one channel layer, or one store, as this process has seen it.

    Times are those of the event loop that sends.

    Args:
        name: what errors and logs call it.
    """

    def __init__(self, name: str = "the channel layer") -> None:
        self._name = name
        self.failing = False
        """Whether the last message could not be sent."""
        self._next_try: float | None = None

    def timeout(self, now: float, timeout: float) -> float:
        """Return how long a message may wait, in seconds.

        Raises:
            Unavailable: the layer does not answer, and it is not yet time to try it again.
        """
        if self._next_try is None:
            return timeout
        if now < self._next_try:
            raise Unavailable(
                f"{self._name} does not answer; it is tried again every {_PAUSE_S:g} seconds"
            )
        timeout = min(timeout, _TRY_S)
        self._next_try = now + timeout + _PAUSE_S  # one try at a time
        return timeout

    def sent(self) -> None:
        """The layer took a message."""
        if self._next_try is not None:
            logger.warning("%s answers again", _begin(self._name))
        self.failing = False
        self._next_try = None

    def failed(self, now: float, waited: float, timeout: float) -> None:
        """The layer did not take a message.

        Args:
            now: the time.
            waited: seconds until it failed.
            timeout: how long a message waits as a rule (``PUBLISH_TIMEOUT``).
        """
        self.failing = True
        if self._next_try is None:
            if waited < 0.9 * min(_SLOW_S, timeout):  # timers may be early
                return
            logger.warning(
                "%s does not answer: until it does, what is sent fails at once, and"
                " it is tried again every %g seconds",
                _begin(self._name),
                _PAUSE_S,
            )
        self._next_try = now + _PAUSE_S


def _begin(name: str) -> str:
    return name[0].upper() + name[1:]


_breakers: weakref.WeakKeyDictionary[Any, Breaker] = weakref.WeakKeyDictionary()


def breaker_of(layer: Any, name: str = "the channel layer") -> Breaker:
    """Return the one breaker of a channel layer, or of a store with its name."""
    breaker = _breakers.get(layer)
    if breaker is None:
        breaker = _breakers.setdefault(layer, Breaker(name))
    return breaker


def is_failing(layer: Any) -> bool:
    """Whether a channel layer, or a store, did not take or answer the last message or request."""
    breaker = _breakers.get(layer)
    return breaker is not None and breaker.failing
