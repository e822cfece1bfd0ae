"""Writes what has changed, again and again and off the message path, in a task of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from django.db import DatabaseError

from .tasks import end_tasks

logger = logging.getLogger(__name__)

STOP_TIMEOUT_S = 2.0
"""How long a node that stops waits for what is to be written last."""

_RETRY_S = 0.25
_LONGEST_RETRY_S = 5.0
"""Between two tries after a failure: the first pause, doubled each time, and the longest."""


class WriteBehind:
    """One such task. What a write that fails has not written stays with its owner.

    Args:
        what: is written, for logs.
        write: writes what there is to write now.
        interval: seconds until the next write, unless ``wake`` is called before.
        quiet: failures that are expected, or logged where they happen.
    """

    def __init__(
        self,
        what: str,
        write: Callable[[], Awaitable[None]],
        interval: Callable[[], float],
        quiet: tuple[type[Exception], ...] = (),
    ) -> None:
        self._what = what
        self._write = write
        self._interval = interval
        self._quiet = quiet
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._told = False
        self.failed = 0
        """Failures since it last went well, up to 10."""

    def start(self) -> None:
        """Begin. Does nothing where it has begun or was stopped."""
        if self._task is None and not self._stopped:
            self._task = asyncio.create_task(self._run(), name=f"writing {self._what}")

    def wake(self) -> None:
        """Write at once, unless it has just failed. Never waits."""
        self._woken.set()

    async def stop(self, last: Callable[[], Awaitable[None]], otherwise: str) -> None:
        """End for good, and write what is left: ``last``. Raises nothing; logs ``otherwise``."""
        self._stopped = True
        if self._task is None:
            return
        task, self._task = self._task, None
        await end_tasks(task)
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await last()
        except Exception as error:
            logger.info("%s: %s", otherwise, type(error).__name__)

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            try:
                await self._write()
            except Exception as error:
                self._tell(error)
                await asyncio.sleep(min(_LONGEST_RETRY_S, _RETRY_S * 2**self.failed))
                self.failed = min(self.failed + 1, 10)
                continue
            if self._told:
                logger.info("Writing %s works again", self._what)
            self.failed, self._told = 0, False
            try:
                async with asyncio.timeout(self._interval()):
                    await self._woken.wait()
            except TimeoutError:
                pass

    def _tell(self, error: Exception) -> None:
        log = logger.debug
        if not self._told and not isinstance(error, self._quiet):
            self._told = True
            log = logger.warning
        # The text of a database's error may contain what was to be written.
        trace = not isinstance(error, DatabaseError | TimeoutError)
        log("Writing %s failed: %s", self._what, type(error).__name__, exc_info=trace)
