"""The configured channel layer: looked up, and made at its first use."""

from __future__ import annotations

from typing import Any

from channels.layers import channel_layers

from ..errors import Unavailable


def configured_layer(alias: str) -> Any:
    """Return the channel layer of an alias.

    Not by Channels' ``get_channel_layer``: it takes a ``KeyError`` of a layer that is being made,
    for example of a host without its address, for a layer that is not configured.

    Raises:
        Unavailable: ``CHANNEL_LAYERS`` has no such layer, or it cannot be made.
    """
    if alias not in channel_layers.backends and alias not in channel_layers:
        raise Unavailable(f"CHANNEL_LAYERS has no {alias!r}")
    try:
        return channel_layers[alias]
    except Exception as error:
        raise Unavailable(
            f"CHANNEL_LAYERS[{alias!r}] cannot be made: {type(error).__name__}: {error}"
        ) from error


def made_layer(alias: str) -> Any | None:
    """Return the channel layer of an alias if this process has used it."""
    return channel_layers.backends.get(alias)
