"""Looks up the classes that settings name, for the checks of backends."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

IN_MEMORY_LAYER = "channels.layers.InMemoryChannelLayer"


def ancestry(path: str) -> Collection[str]:
    """Return the dotted paths of a class and its bases; empty if it cannot be imported."""
    try:
        found = import_string(path)
    except ImportError:
        return ()
    return names_of(found)


def names_of(found: Any) -> Collection[str]:
    """Return the dotted paths of a class and its bases."""
    return {f"{base.__module__}.{base.__qualname__}" for base in getattr(found, "__mro__", ())}


def crosses_processes(alias: str) -> bool:
    """Whether the channel layer ``alias`` carries events from one process to another."""
    path = getattr(settings, "CHANNEL_LAYERS", {}).get(alias, {}).get("BACKEND", "")
    bases = ancestry(path)
    return bool(bases) and IN_MEMORY_LAYER not in bases
