"""How the tests of a store's contract are run: by unittest or pytest, with a store of their own."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import async_to_sync


def scenario(run: Callable[[Any, Any], Awaitable[None]]) -> Callable[[Any], None]:
    """Make a test of a coroutine function that takes what ``make_store`` returns."""

    @functools.wraps(run)
    def test(self: Any) -> None:
        async def main() -> None:
            store = self.make_store()
            try:
                await run(self, store)
            finally:
                await store.close()

        async_to_sync(main)()

    del test.__wrapped__  # pytest would look for its arguments
    return test
