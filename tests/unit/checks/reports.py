"""Runs a system check under settings, and tells what it reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from django.test import override_settings

PREFIX = "channels_realtime."


class Report(NamedTuple):
    """A check's message: its id without the prefix, and its text together with the hint."""

    id: str
    text: str


def run(check: Callable[[], list[Any]], **settings: Any) -> list[Report]:
    """What the check reports under these settings of Django's."""
    with override_settings(**settings):
        found = check()
    assert all(message.id.startswith(PREFIX) and message.hint for message in found)
    return [
        Report(message.id.removeprefix(PREFIX), f"{message.msg} {message.hint}")
        for message in found
    ]


def run_with(check: Callable[[], list[Any]], **settings: Any) -> list[Report]:
    """What the check reports under these settings of ``CHANNELS_REALTIME``."""
    return run(check, CHANNELS_REALTIME=settings)


def ids(found: Iterable[Report]) -> list[str]:
    """The ids of what was reported."""
    return [report.id for report in found]


def lacking(report: Report, values: Iterable[str]) -> list[str]:
    """Those of the values that the report's text does not contain."""
    return [value for value in values if value not in report.text]


# What settings in the tests name.

NOT_CALLABLE = 7


def function(*args: Any) -> Any:
    """A verifier of tokens or a rule of origins."""
    raise NotImplementedError


async def async_function(*args: Any) -> Any:
    """One that cannot be used, because it is async."""
    raise NotImplementedError


UNUSABLE_FUNCTIONS = [
    ("nope.function", "cannot be imported"),
    (f"{__name__}.nope", "cannot be imported"),
    (f"{__name__}.NOT_CALLABLE", "not callable"),
    (f"{__name__}.async_function", "async"),
]
"""Paths that do not name a plain function, and what is wrong with each."""

FUNCTION = f"{__name__}.function"
