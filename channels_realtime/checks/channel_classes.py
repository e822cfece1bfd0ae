"""Checks of the channel classes in the apps' ``realtime.py``."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from django.apps import AppConfig
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register

from ..channels import HOOKS, OWN_CHANNELS_PREFIX, Channel, registry
from ..payload_types import type_name

_ALIKE = 0.85
"""How similar a name must be to count as a misspelling."""


@register(Tags.compatibility)
def check_channel_classes(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Report hooks and attributes that are probably misspelt, and hooks with other arguments."""
    found: list[CheckMessage] = []
    classes = {
        channel_class: pattern
        for pattern, channel_class in registry
        if not pattern.startswith(OWN_CHANNELS_PREFIX)
    }
    for channel_class in classes:
        found += _check_names(channel_class)
        found += _check_arguments(channel_class)
        found += _check_inbox(channel_class)
        found += _check_types(channel_class)
    return found


def _check_names(channel_class: type[Channel]) -> Iterator[CheckMessage]:
    known = [name for name in vars(Channel) if not name.startswith("_")]
    own = channel_class.__mro__[: channel_class.__mro__.index(Channel)]
    names = {name for base in own for name in vars(base) if not hasattr(Channel, name)}
    for name in sorted(names - set(channel_class.actions.values())):
        close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=_ALIKE)
        if close and not name.startswith("_"):
            yield checks.Warning(
                f"{_path(channel_class)}.{name} is no hook and no attribute of a channel class:"
                " the package does not read it.",
                hint=f"Did you mean {close[0]!r}? If it is your own, silence channels_realtime.W050"
                " or give it another name.",
                id="channels_realtime.W050",
            )


def _check_arguments(channel_class: type[Channel]) -> Iterator[CheckMessage]:
    given = {hook: names for hook, names in HOOKS.items() if channel_class.overrides(hook)}
    given |= dict.fromkeys(channel_class.actions.values(), ("connection", "payload"))
    instance = object.__new__(channel_class)  # its own __init__ is not to run
    for name, arguments in given.items():
        try:
            inspect.signature(getattr(instance, name)).bind(*arguments)
        except TypeError as error:
            yield Error(
                f"{_path(channel_class)}.{name} cannot be called with"
                f" ({', '.join(arguments)}): {error}.",
                hint=f"Write: def {name}({', '.join(('self', *arguments))}).",
                id="channels_realtime.E035",
            )
        except ValueError:
            continue  # no signature to look at: written in C


def _check_inbox(channel_class: type[Channel]) -> Iterator[CheckMessage]:
    if channel_class.inbox and channel_class.kept() is None:
        yield Error(
            f"{_path(channel_class)}.inbox is True, but the channel keeps no history: there is nothing"
            " that a user could get later.",
            hint="Add history = History(size=…, ttl=…), as long as an inbox may stay unread.",
            id="channels_realtime.E038",
        )
    if channel_class.unacknowledged_after is not None and not channel_class.inbox:
        yield checks.Warning(
            f"{_path(channel_class)}.unacknowledged_after is set without inbox = True:"
            " on_unacknowledged is never called.",
            hint="Set inbox = True, or remove it.",
            id="channels_realtime.W052",
        )


def _check_types(channel_class: type[Channel]) -> Iterator[CheckMessage]:
    for where, declared in _declared(channel_class):
        try:
            msgspec.json.schema(declared)
        except Exception as error:  # whatever an annotation does when it is evaluated
            yield Error(
                f"{_path(channel_class)}.{where} is {type_name(declared)}, which has a field that"
                f" cannot be read: {str(error).splitlines()[-1]}.",
                hint="Use types that JSON has: text, numbers, bool, None, lists, dicts, dates, Decimal, UUID,"
                " enums, and dataclasses or msgspec.Struct of them; import them where the class is defined.",
                id="channels_realtime.E041",
            )
    for name in sorted(channel_class.actions):
        attribute = channel_class.actions[name]
        for problem in channel_class.action_types(attribute).unread:
            yield checks.Warning(
                f"{_path(channel_class)}.{attribute} has an annotation that cannot be read, so calls are"
                f" not checked: {problem}.",
                hint="Import the type where the class is defined, not under TYPE_CHECKING, or write Any.",
                id="channels_realtime.W055",
            )


def _declared(channel_class: type[Channel]) -> Iterator[tuple[str, Any]]:
    types = channel_class.payload_types
    if types is not None:
        for event, declared in types.published.items():
            yield f"messages[{event!r}]", declared
        for event, declared in types.given.items():
            if declared is not types.published[event]:
                yield f"client_events[{event!r}]", declared
    if channel_class.parameters_type is not None:
        yield "parameters_type", channel_class.parameters_type


def _path(channel_class: type[Channel]) -> str:
    return f"{channel_class.__module__}.{channel_class.__qualname__}"
