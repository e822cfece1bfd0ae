"""Passes the server's lifespan on to an application inside ours, such as Starlette.

A server speaks it with the outermost application alone. In: the scope of the server's lifespan, whose
``state`` all applications share, because the server copies it into the scope of each connection. Out:
whether an inner application has started and stopped (ASGI specification, "Lifespan Protocol").
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

logger = logging.getLogger(__name__)

Application = Callable[..., Awaitable[Any]]


class InnerLifespan:
    """The lifespan of one inner application, in one task from its start to its end."""

    def __init__(self, application: Application, scope: MutableMapping[str, Any]) -> None:
        self._application = application
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._takes_part = False
        self._answer: asyncio.Future[dict[str, Any]] | None = None
        # A copy for its own entries; the state in it is the one that the server gave us.
        self._task: asyncio.Task[Any] = asyncio.create_task(
            self._run({**scope}), name="realtime-inner-lifespan"
        )

    async def _run(self, scope: dict[str, Any]) -> None:
        await self._application(scope, self._receive, self._send)

    async def start(self) -> str | None:
        """Have it start.

        Returns:
            Why it failed; None if it has started, or takes no part in the lifespan.
        """
        answer = await self._say("lifespan.startup")
        if answer is None:
            error = await self._end()
            logger.debug("%r takes no part in the lifespan: %r", self._application, error)
            return None
        if answer["type"] == "lifespan.startup.failed":
            await self._end()
            return str(answer.get("message") or f"{self._application!r} did not start")
        self._takes_part = True
        return None

    async def stop(self) -> str | None:
        """Have it stop, if it has started.

        Returns:
            Why it failed; None if it has stopped.
        """
        if not self._takes_part:
            return None
        if not self._task.done():
            answer = await self._say("lifespan.shutdown")
            if answer is not None and answer["type"] == "lifespan.shutdown.failed":
                await self._end()
                return str(answer.get("message") or f"{self._application!r} did not stop")
        error = await self._end()
        return None if error is None else f"{self._application!r} did not stop: {error!r}"

    def cancel(self) -> None:
        """End it at once; nothing happens where it has ended."""
        self._task.cancel()

    async def _say(self, kind: str) -> dict[str, Any] | None:
        """Send an event; returns the answer, or None where the application gives none."""
        self._answer = asyncio.get_running_loop().create_future()
        self._events.put_nowait({"type": kind})
        await asyncio.wait([self._answer, self._task], return_when=asyncio.FIRST_COMPLETED)
        return self._answer.result() if self._answer.done() else None

    async def _end(self) -> BaseException | None:
        """Cancel what still runs; returns the exception by which the application ended."""
        self._task.cancel()
        await asyncio.wait([self._task])
        return None if self._task.cancelled() else self._task.exception()

    async def _receive(self) -> dict[str, Any]:
        answer = self._answer
        if answer is not None and not answer.done() and self._events.empty():
            # It reads on without an answer: it is no application for a lifespan, such as one that
            # serves WebSockets without a look at the scope, and would wait here for ever.
            raise RuntimeError("the application has not answered the last lifespan event")
        return await self._events.get()

    async def _send(self, event: dict[str, Any]) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(event)
