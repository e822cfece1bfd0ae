"""Surrounds a hook with a context manager, in the thread and context in which the hook runs."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from asgiref.sync import sync_to_async

Surroundings = Callable[[], AbstractContextManager[Any]]
"""Makes the context manager; called where it is entered."""


def surround(hook: Callable[..., Any], within: Surroundings) -> Callable[..., Any]:
    """Return a hook, sync or async as this one, that runs it inside ``within()``."""
    if inspect.iscoroutinefunction(hook):

        @functools.wraps(hook)
        async def surrounded_async(*args: Any) -> Any:
            return await _run_within(hook, args, within)

        return surrounded_async

    @functools.wraps(hook)
    def surrounded(*args: Any) -> Any:
        with within():
            result = hook(*args)
        if inspect.iscoroutine(result):  # an async hook in a sync wrapper: it has not run yet
            return _run_within(lambda: result, (), within)
        return result

    return surrounded


async def _run_within(hook: Callable[..., Any], args: tuple[Any, ...], within: Surroundings) -> Any:
    """As ``with within(): return await hook(*args)``, entered and left where its ORM calls run.

    That is the thread of the hook's own thread-sensitive context, which has the database connection
    that a tenant's schema is set on. All three run in one ``contextvars`` context, so that what is set
    there holds in the hook, and can be reset.
    """
    context = contextvars.copy_context()
    in_thread = sync_to_async(context.run)
    manager = await in_thread(within)
    await in_thread(manager.__enter__)
    try:
        result = await asyncio.get_running_loop().create_task(hook(*args), context=context)
    except BaseException as error:
        if await in_thread(manager.__exit__, type(error), error, error.__traceback__):
            return None
        raise
    await in_thread(manager.__exit__, None, None, None)
    return result
