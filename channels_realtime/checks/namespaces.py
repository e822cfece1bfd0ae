"""Checks of ``CONNECTION_CONTEXT`` and ``NAMESPACE``."""

from __future__ import annotations

from collections.abc import Iterator

from django.core.checks import CheckMessage, Error, Tags

from ..config import Config
from .configuration import config_check, function_fault


@config_check(Tags.compatibility)
def check_namespaces(config: Config) -> Iterator[CheckMessage]:
    """Report functions for tenants that cannot be called."""
    for key, path, hint, number in (
        (
            "CONNECTION_CONTEXT",
            config.connection_context,
            "Name a plain function that takes the ASGI scope and returns a context manager.",
            "E029",
        ),
        (
            "NAMESPACE",
            config.namespace,
            "Name a plain function without arguments that returns text or None.",
            "E030",
        ),
    ):
        fault = None if path is None else function_fault(key, path)
        if fault is not None:
            yield Error(fault, hint=hint, id=f"channels_realtime.{number}")
