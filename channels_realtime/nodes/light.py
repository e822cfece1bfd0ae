"""The light node of a process that serves no connections: an inbox, a hub and nothing else.

It is on the background loop, where such a process publishes too, and is there as long as something of the
process is subscribed. All of this runs on that loop.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os

from ..settings import get_config
from .layers import configured_layer
from .node import Node


class _Light:
    """The one light node of a process, and how many use it."""

    def __init__(self) -> None:
        self.node: Node | None = None
        self.users = 0
        self.lock = asyncio.Lock()


_light = _Light()


async def enter() -> Node:
    """The light node, begun for its first user; each ``enter`` needs its ``leave``.

    Raises:
        Unavailable: there is no such channel layer, or it does not answer.
    """
    light = _light
    async with light.lock:
        if light.node is None:
            config = get_config()
            node = Node(
                # Without threads: it runs no hooks.
                dataclasses.replace(config, hook_threads=0, drain_on_stop=False),
                configured_layer(config.channel_layer),
                serves=False,
            )
            try:
                await node.ready()
            except BaseException:
                await node.stop()
                raise
            light.node = node
        light.users += 1
        return light.node


async def leave() -> None:
    """One user less; the last one ends the node."""
    light = _light
    async with light.lock:
        light.users -= 1
        if light.users == 0 and light.node is not None:
            node, light.node = light.node, None
            await node.stop()


def is_running() -> bool:
    """Whether this process has a light node."""
    return _light.node is not None


def _forget() -> None:
    global _light
    _light = _Light()


if hasattr(os, "register_at_fork"):  # its loop stayed in the parent
    os.register_at_fork(after_in_child=_forget)
