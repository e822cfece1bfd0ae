"""Functions of the program, sync or async, as the client calls them."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar

_Value = TypeVar("_Value")


async def result_of(
    function: Callable[..., Awaitable[_Value] | _Value], *arguments: object
) -> _Value:
    """What a function returns. One that is not ``async`` runs in a thread: it may block."""
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object with an async __call__
    ):
        returned = function(*arguments)
    else:
        returned = await asyncio.to_thread(function, *arguments)
    if inspect.isawaitable(returned):  # a lambda or a partial of an async function
        return await returned
    return returned
