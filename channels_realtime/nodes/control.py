"""Control messages from anywhere in a site to every node: revocations, rechecks.

A node of this process is told directly as well, so that what it ends here does not wait for the
layer.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import logging
from typing import Any

from channels.layers import get_channel_layer

from ..config import Config
from ..errors import Unavailable
from ..runtime.loops import background_loop
from ..settings import get_config
from . import broker
from .node import Node, serving_node

logger = logging.getLogger(__name__)


def tell_nodes(message: dict[str, Any], *, wait: float) -> bool:
    """Send a control message; from sync code.

    Args:
        message: text, numbers and lists of them.
        wait: seconds to wait until the layer has taken it.

    Returns:
        whether it has. What is not delivered is logged; nodes read revocations from the database too.
    """
    future = _submit(message)
    try:
        future.result(wait)
    except concurrent.futures.TimeoutError:
        # It may still go out; nobody waits for it.
        logger.warning("A control message was not taken within %g seconds", wait)
        return False
    except Unavailable as error:
        logger.warning("A control message was not sent: %s", error.reason)
        return False
    return True


async def atell_nodes(message: dict[str, Any]) -> bool:
    """Send a control message; from async code."""
    try:
        await asyncio.wrap_future(_submit(message))
    except Unavailable as error:
        logger.warning("A control message was not sent: %s", error.reason)
        return False
    return True


def _submit(message: dict[str, Any]) -> concurrent.futures.Future[None]:
    node = serving_node()
    if node is not None:
        # In a context of its own: what the message makes the node do outlives the caller's request,
        # and asgiref would run it in that request's thread, or refuse to.
        return contextvars.Context().run(
            asyncio.run_coroutine_threadsafe, _send_by_node(node, message), node.loop
        )
    return background_loop.submit(_send_without_node(get_config(), message))


async def _send_by_node(node: Node, message: dict[str, Any]) -> None:
    node.control(message)
    config = node.config
    await broker.send_control(node.layer, config.group_prefix, message, config.publish_timeout)


async def _send_without_node(config: Config, message: dict[str, Any]) -> None:
    layer = get_channel_layer(config.channel_layer)
    if layer is None:
        raise Unavailable(f"CHANNEL_LAYERS has no {config.channel_layer!r}")
    await broker.send_control(layer, config.group_prefix, message, config.publish_timeout)
