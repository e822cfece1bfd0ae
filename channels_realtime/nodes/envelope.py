"""What crosses the channel layer: publications, and requests between nodes.

A layer message is a dict that any layer can carry. Payloads are encoded here, once, because layers
cannot carry every value; each message has a random name, because a layer may deliver it twice.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Any

import msgspec

from ..errors import Unavailable
from ..protocol.messages import Publication
from ..settings import get_config
from .breaker import breaker_of
from .groups import control_group, group_name, node_group

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Publication).decode


def wrap(publication: Publication) -> dict[str, Any]:
    """The layer message of a publication.

    ``at`` is when it was sent, for the latencies that operators see; machines' clocks differ.
    """
    return {
        "type": "realtime.publication",
        "name": secrets.token_hex(8),
        "body": _encode(publication),
        "at": time.time(),
    }


def unwrap(message: dict[str, Any]) -> Publication | None:
    """The publication of a layer message; None where the message is not one of this package's."""
    try:
        return _decode(message["body"])
    except (KeyError, TypeError, ValueError, msgspec.MsgspecError):
        return None


async def send(layer: Any, prefix: str, publication: Publication, timeout: float) -> None:
    """Send a publication to every process that has a subscriber.

    Raises:
        Unavailable: the layer failed or did not take it within ``timeout`` seconds.
    """
    group = group_name(prefix, publication.channel)
    await _send(layer, group, wrap(publication), timeout, "publication")


async def send_control(
    layer: Any,
    prefix: str,
    message: dict[str, Any],
    timeout: float,
    *,
    node_id: str | None = None,
) -> None:
    """Send a request or an answer to every node, or to one.

    Args:
        message: text, bytes, numbers and lists of them only, which every layer can carry.
        node_id: the one node; None for all.

    Raises:
        Unavailable: the layer failed or did not take it within ``timeout`` seconds.
    """
    group = control_group(prefix) if node_id is None else node_group(prefix, node_id)
    wrapped = {"type": "realtime.control", "name": secrets.token_hex(8), "control": message}
    await _send(layer, group, wrapped, timeout, "control message")


async def _send(layer: Any, group: str, message: dict[str, Any], timeout: float, what: str) -> None:
    breaker = breaker_of(layer)
    now = asyncio.get_running_loop().time
    began = now()
    timeout = breaker.timeout(began, timeout)
    try:
        async with asyncio.timeout(timeout):
            await layer.group_send(group, message)
    except Exception as error:
        breaker.failed(now(), now() - began, get_config().publish_timeout)
        raise Unavailable(
            f"the channel layer did not take the {what}: {type(error).__name__}"
        ) from error
    breaker.sent()
