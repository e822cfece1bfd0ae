"""Database work of tests: in a thread that closes its connections, and, for virtual time, without a thread."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

from django.db import OperationalError, connections

_P = ParamSpec("_P")
_R = TypeVar("_R")

AWAY = "the database is away"


async def in_thread(work: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
    """As ``asyncio.to_thread``, and close the thread's database connections, as Django does after a request."""

    def closing() -> _R:
        try:
            return work(*args, **kwargs)
        finally:
            connections.close_all()

    return await asyncio.to_thread(closing)


@contextlib.contextmanager
def no_loop() -> Iterator[None]:
    """Have Django see the thread without its loop: it then uses the test's own connection."""
    loop = asyncio.get_running_loop()
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)


class InlineDatabase:
    """Instead of a ``DatabaseThread``: works in the loop's thread and in the test's transaction."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        """How often each piece of work was tried, by its name."""
        self.times: list[tuple[float, str]] = []
        """When each was, in seconds of the loop."""
        self.down = False
        """Every piece of work fails."""
        self.failing: deque[Exception] = deque()
        """The next pieces of work fail with these."""
        self.losing_answers: deque[Exception] = deque()
        """The next pieces of work are done, and fail with these."""
        self.seconds = 0.0
        """How long each takes."""
        self.processor_s = 0.0
        """How much processor time each takes."""
        self.used_s = 0.0
        self.answers = asyncio.Event()
        """Nothing is answered while this is not set."""
        self.answers.set()

    @property
    def tried(self) -> int:
        """How many pieces of work there were."""
        return self.calls.total()

    async def run(self, work, *arguments):
        self.calls[work.__name__] += 1
        self.used_s += self.processor_s
        if self.seconds:
            await asyncio.sleep(self.seconds)
        await self.answers.wait()
        self.times.append((asyncio.get_running_loop().time(), work.__name__))
        if self.down:
            raise OperationalError(AWAY)
        if self.failing:
            raise self.failing.popleft()
        with no_loop():
            value = work(*arguments)
        if self.losing_answers:
            raise self.losing_answers.popleft()
        return value

    def at(self, name: str) -> list[float]:
        """When a piece of work was done."""
        return [at for at, work in self.times if work == name]

    def close(self) -> None:
        pass
