"""The adapter of a channel layer on the running event loop."""

from __future__ import annotations

import asyncio
from typing import Any

from .base import LayerAdapter
from .memory import MemoryAdapter
from .redis_core import CoreAdapter
from .redis_pubsub import PubSubAdapter

_adapters: dict[asyncio.AbstractEventLoop, dict[Any, LayerAdapter]] = {}


def adapter_of(layer: Any) -> LayerAdapter:
    """Return the one adapter of a channel layer on the running loop."""
    loop = asyncio.get_running_loop()
    adapters = _adapters.get(loop)
    if adapters is None:
        for closed in [each for each in tuple(_adapters) if each.is_closed()]:
            _adapters.pop(closed, None)
        adapters = _adapters[loop] = {}
    adapter = adapters.get(layer)
    if adapter is None:
        adapter = adapters[layer] = _made(layer)
    return adapter


def _made(layer: Any) -> LayerAdapter:
    kinds: tuple[type[MemoryAdapter | PubSubAdapter | CoreAdapter], ...]
    kinds = (MemoryAdapter, PubSubAdapter, CoreAdapter)
    for kind in kinds:
        if kind.suits(layer):
            return kind(layer)
    return LayerAdapter(layer)
