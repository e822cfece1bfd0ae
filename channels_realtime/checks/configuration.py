"""Checks of ``CHANNELS_REALTIME`` itself, and what the checks of single settings share."""

from __future__ import annotations

import difflib
import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.utils.module_loading import import_string

from ..config import FIELDS, Config
from ..settings import SETTING, problems

_ALIKE = 0.85
"""How similar a name must be to count as a misspelling; CHANNEL_REALTIME has 0.97, CHANNEL_LAYERS 0.6."""


def config_check(
    tag: str, *, deploy: bool = False
) -> Callable[[Callable[[Config], Iterable[CheckMessage]]], Callable[..., list[CheckMessage]]]:
    """Register a check of the settings. It is skipped while E001 or E002 report them as wrong.

    Args:
        tag: one of Django's ``Tags``.
        deploy: run only with ``check --deploy``, and only while ``DEBUG`` is off.
    """

    def decorate(
        check: Callable[[Config], Iterable[CheckMessage]],
    ) -> Callable[..., list[CheckMessage]]:
        @register(tag, deploy=deploy)
        def run(
            app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
        ) -> list[CheckMessage]:
            raw = getattr(settings, SETTING, None)
            if (deploy and settings.DEBUG) or next(problems(raw), None) is not None:
                return []
            return list(check(Config(**{key.lower(): value for key, value in (raw or {}).items()})))

        # After register(), which looks at the signature of what a function wraps.
        return functools.update_wrapper(run, check)

    return decorate


def function_fault(key: str, path: str) -> str | None:
    """Return what is wrong with a setting that must name a plain function, or None."""
    try:
        found = import_string(path)
    except ImportError as error:
        return f"{SETTING}[{key!r}] names {path!r}, which cannot be imported: {error}"
    if not callable(found):
        return f"{SETTING}[{key!r}] names {path!r}, which is not callable."
    if inspect.iscoroutinefunction(found):
        return f"{SETTING}[{key!r}] names {path!r}, which is async."
    return None


@register(Tags.compatibility)
def check_settings(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Report unknown keys and wrong values in ``CHANNELS_REALTIME``."""
    found: list[CheckMessage] = [
        checks.Warning(
            f"The settings have {name!r}, which nothing reads.",
            hint=f"Did you mean {SETTING!r}? If another package reads it, silence"
            " channels_realtime.W049.",
            id="channels_realtime.W049",
        )
        for name in _misspelt()
    ]
    for problem in problems(getattr(settings, SETTING, None)):
        unknown = problem.key != "" and problem.key not in FIELDS
        found.append(
            Error(
                problem.message,
                hint=problem.hint,
                id=f"channels_realtime.{'E001' if unknown else 'E002'}",
            )
        )
    return found


def _misspelt() -> list[str]:
    """Names of settings that resemble ours, in any case, as Django reads no lower-case one."""
    module = sys.modules.get(getattr(settings, "SETTINGS_MODULE", None) or "")
    names = {*dir(settings), *(vars(module) if module is not None else ())} - {SETTING}
    return [
        name
        for name in sorted(names)
        if difflib.SequenceMatcher(None, name.upper(), SETTING).ratio() >= _ALIKE
        and isinstance(getattr(settings, name, getattr(module, name, None)), Mapping)
    ]


@config_check(Tags.urls)
def check_websocket_path(config: Config) -> Iterator[CheckMessage]:
    """Report a ``WEBSOCKET_PATH`` that repeats the prefix of the site, which is put before it."""
    prefix = (settings.FORCE_SCRIPT_NAME or "").strip("/")
    path = config.websocket_path
    if prefix and path.startswith(f"{prefix}/"):
        yield checks.Warning(
            f"{SETTING}['WEBSOCKET_PATH'] is {path!r}, which begins with FORCE_SCRIPT_NAME: pages"
            f" look for the WebSocket at '/{prefix}/{path}'.",
            hint=f"Leave the prefix out: {path.removeprefix(f'{prefix}/')!r}.",
            id="channels_realtime.W034",
        )
