"""Checks of ``CHANNELS_REALTIME`` as such; the other checks look at it once it is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register

from ..config import FIELDS, Config
from ..settings import SETTING, problems


def valid_config() -> Config | None:
    """The settings, or None where they are not right, which E001 and E002 say."""
    raw = getattr(settings, SETTING, None)
    if any(True for _ in problems(raw)):
        return None
    return Config(**{key.lower(): value for key, value in (raw or {}).items()})


@register(Tags.compatibility)
def check_settings(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Unknown keys and wrong values in ``CHANNELS_REALTIME``."""
    found: list[CheckMessage] = []
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
