"""Refuses at once what a program has misspelt, or given in another type."""

from __future__ import annotations

import asyncio
import difflib
import inspect
import math
from collections.abc import Iterable
from typing import Any

from websockets.asyncio.client import connect as websockets_connect

from ..errors import ImproperUse

_OURS = {"self", "uri", "subprotocols", "additional_headers", "process_exception", "kwargs"}
"""Parameters of ``websockets`` that the client sets, or does not use."""

TRANSPORT_OPTIONS = frozenset(
    {
        *inspect.signature(websockets_connect.__init__).parameters,
        *inspect.signature(asyncio.BaseEventLoop.create_connection).parameters,
    }
    - _OURS
    - {"protocol_factory"}
)
"""What ``websockets.asyncio.client.connect`` takes: its own options, and those of ``create_connection``."""


def check_transport_options(options: Iterable[str], others: Iterable[str]) -> None:
    """Refuse an option that neither the client nor ``websockets`` has.

    Args:
        options: the names that were given.
        others: the client's own options, for a misspelt one of these.
    """
    known = [*others, *TRANSPORT_OPTIONS]
    for name in options:
        if name in TRANSPORT_OPTIONS:
            continue
        if name == "additional_headers":
            raise ImproperUse("connect(): unknown option 'additional_headers'; use 'headers'")
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "websockets has no such option either"
        raise ImproperUse(f"connect(): unknown option {name!r}; {hint}")


def check_function(
    where: str, name: str, value: Any, *, plain: bool = False, other: str = ""
) -> None:
    """Refuse what is neither a function nor None.

    Args:
        where: what was called, for the error.
        name: of the argument.
        value: of the argument.
        plain: whether an ``async`` function is refused too.
        other: what else is expected, for the error.
    """
    expected = other + ("a function that is not async" if plain else "a function, async or not")
    if value is None or (callable(value) and not (plain and inspect.iscoroutinefunction(value))):
        return
    got = "an async function" if callable(value) else kind(value)
    raise ImproperUse(f"{where}: {name} is {got}; expected {expected}")


def check_number(
    where: str, name: str, value: Any, *, zero: bool = False, whole: bool = False
) -> None:
    """Refuse what is no finite number above 0.

    Args:
        where: what was called, for the error.
        name: of the argument.
        value: of the argument.
        zero: whether it may be 0.
        whole: whether it is an integer.
    """
    number = type(value) is int or (not whole and type(value) is float and math.isfinite(value))
    if not number or value < 0 or (value == 0 and not zero):
        what = "an integer" if whole else "a number"
        least = "of at least 0" if zero else "greater than 0"
        raise ImproperUse(f"{where}: {name} is {value!r:.100}; expected {what} {least}")


def kind(value: Any) -> str:
    """What a value is, without the value, which may be a secret."""
    return "None" if value is None else f"of type {type(value).__name__}"
