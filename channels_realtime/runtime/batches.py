"""Messages that wait to be sent, in their order, as one batch after the other.

In: messages of any tasks of one event loop. Out: batches; the next begins when the one before was answered, so
that order holds and no more than a batch is on its way. A sender waits for the outcome of its own message.
"""

from __future__ import annotations

import asyncio
import collections
from typing import Any


class Sending:
    """One message on its way."""

    __slots__ = ("answered", "deadline", "message")

    def __init__(self, message: Any, deadline: float, answered: asyncio.Future[Any]) -> None:
        self.message = message
        self.deadline = deadline
        self.answered = answered

    def done(self, answer: Any = None) -> None:
        """It was taken."""
        if not self.answered.done():
            self.answered.set_result(answer)

    def fail(self, error: Exception) -> None:
        """It was not taken."""
        if not self.answered.done():
            self.answered.set_exception(error)


class BatchSender:
    """Sends what one turn of the loop, or the time of the batch before, has brought.

    A subclass begins a batch in ``_transmit``, takes each of ``_in_flight`` off as it is answered, and calls
    ``_go_on`` afterwards.

    Args:
        limit: messages of a batch.
        limit_bytes: of a batch, as ``_size`` counts them.
    """

    def __init__(self, limit: int, limit_bytes: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._waiting: collections.deque[Sending] = collections.deque()
        self._in_flight: collections.deque[Sending] = collections.deque()
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None

    async def send(self, message: Any, timeout: float) -> Any:
        """Send a message after those before it, and return its answer.

        Raises:
            TimeoutError: there was none within ``timeout`` seconds.
            Exception: why it was not taken.
        """
        sending = Sending(message, self._loop.time() + timeout, self._loop.create_future())
        self._waiting.append(sending)
        if not self._scheduled and not self._in_flight:
            self._scheduled = True
            self._loop.call_soon(self._go_on)
        if self._timer is None or sending.deadline < self._timer.when():
            self._watch(sending.deadline)
        return await sending.answered

    def _size(self, message: Any) -> int:
        return len(message)

    def _is_ready(self) -> bool:
        """Whether a batch can begin; else ``_go_on`` is called when it can."""
        return True

    def _transmit(self) -> None:
        """Begin to send what is in flight."""
        raise NotImplementedError

    def _hangs(self) -> None:
        """All that is in flight has waited too long: end it, and call ``_go_on``."""
        raise NotImplementedError

    def _go_on(self) -> None:
        self._scheduled = False
        if self._in_flight or not self._waiting or not self._is_ready():
            return
        size = 0
        while self._waiting and len(self._in_flight) < self._limit and size < self._limit_bytes:
            sending = self._waiting.popleft()
            if not sending.answered.done():  # its sender may have given up
                self._in_flight.append(sending)
                size += self._size(sending.message)
        if self._in_flight:
            self._transmit()

    def _watch(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        """Fail what has waited long enough; one timer for all."""
        self._timer = None
        now = self._loop.time()
        for sending in (*self._in_flight, *self._waiting):
            if sending.deadline <= now:
                sending.fail(TimeoutError())
        self._waiting = collections.deque(one for one in self._waiting if not one.answered.done())
        left = [one.deadline for one in self._in_flight if not one.answered.done()]
        if self._in_flight and not left:
            self._hangs()
        left += [one.deadline for one in self._waiting]
        if left:
            self._watch(min(left))
