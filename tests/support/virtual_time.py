"""An event loop that jumps to its next timer instead of waiting: hours pass in milliseconds."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Awaitable, Callable
from typing import Any

from channels_realtime.runtime.hooks import HookThreads


class BusySelector(selectors.DefaultSelector):
    """Asks the system now and then while the loop has something else to do, and not in each turn."""

    _turns = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is not None and timeout <= 0:
            self._turns += 1
            if self._turns % 20:
                return []
        return super().select(timeout)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Jumps to the next timer instead of waiting for it; while a thread works, time stands still."""

    def __init__(self) -> None:
        super().__init__(BusySelector())
        self._virtual_now = 1_000.0
        self._threads = 0

    def time(self) -> float:
        return self._virtual_now

    def run_in_executor(self, *call: Any) -> asyncio.Future[Any]:
        return self.works(super().run_in_executor(*call))

    def works(self, future: asyncio.Future[Any]) -> asyncio.Future[Any]:
        """A thread works until the future is done."""
        self._threads += 1
        future.add_done_callback(self._thread_ended)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        # Its time-out, in virtual time, would have passed before the threads can end.
        await super().shutdown_default_executor()

    def _thread_ended(self, future: asyncio.Future[Any]) -> None:
        self._threads -= 1

    def _run_once(self) -> None:
        if not self._ready and not self._threads:  # type: ignore[attr-defined]
            waiting = [handle for handle in self._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
            if waiting:
                earliest = min(handle.when() for handle in waiting)
                self._virtual_now = max(self._virtual_now, earliest)
        super()._run_once()  # type: ignore[misc]


_submit = HookThreads.submit


def _submit_and_count(self: HookThreads, *call: Any) -> asyncio.Future[Any]:
    returned, loop = _submit(self, *call), asyncio.get_running_loop()
    return loop.works(returned) if isinstance(loop, VirtualLoop) else returned


HookThreads.submit = _submit_and_count  # type: ignore[method-assign]


class VirtualClock:
    """The running virtual loop's time, as a ``channels_realtime.runtime.clock.Clock``."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def time(self) -> float:
        return 1_700_000_000.0 + self.monotonic()


def in_virtual_time(test: Callable[..., Awaitable[Any]]) -> Callable[..., None]:
    """Run an ``async def`` test on a loop of virtual time; nothing of it may be left afterwards."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def main() -> None:
            await test(*args, **kwargs)
            await settle()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"tasks were left: {left}"

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(main())

    return run


async def settle() -> None:
    """Let everything run that waits for nothing; no virtual time passes."""
    for _ in range(60):
        await asyncio.sleep(0)
