"""What crosses the channel layer: publications, and requests between nodes.

A layer message is a dict that any layer can carry. Payloads are encoded here, once, because layers
cannot carry every value; each message has a name of its own, because a layer may deliver it twice.
Requests and answers carry a digest of ``SECRET_KEY`` too, because sites may share a layer.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import itertools
import os
import secrets
import time
from typing import Any

import msgspec
from django.conf import settings
from django.utils.crypto import salted_hmac

from ..errors import Unavailable
from ..protocol.messages import Publication
from ..settings import get_config
from .adapters.base import LayerAdapter
from .adapters.choice import adapter_of
from .breaker import Breaker, breaker_of
from .groups import control_group, group_name, node_group

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Publication).decode


_numbers = itertools.count()
_origin = secrets.token_hex(6)


def _name() -> str:
    """A name that no other message has, of any process."""
    return f"{_origin}.{next(_numbers)}"


def _renew_origin() -> None:
    global _origin
    _origin = secrets.token_hex(6)


if hasattr(os, "register_at_fork"):  # a child counts on from its parent's number
    os.register_at_fork(after_in_child=_renew_origin)


def wrap(publication: Publication) -> dict[str, Any]:
    """The layer message of a publication.

    ``at`` is when it was sent, for the latencies that operators see; machines' clocks differ.
    """
    return {
        "type": "realtime.publication",
        "name": _name(),
        "body": _encode(publication),
        "at": time.time(),
    }


def unwrap(message: dict[str, Any]) -> Publication | None:
    """The publication of a layer message; None where the message is not one of this package's."""
    try:
        return _decode(_bytes(message["body"]))
    except (KeyError, TypeError, ValueError, msgspec.MsgspecError):
        return None


async def send(layer: Any, prefix: str, publication: Publication, timeout: float) -> None:
    """Send a publication to every process that has a subscriber.

    Raises:
        Unavailable: the layer failed or did not take it within ``timeout`` seconds.
    """
    group = group_name(prefix, publication.key)
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
    wrapped = {
        "type": "realtime.control",
        "name": _name(),
        "site": _site(settings.SECRET_KEY),
        "control": message,
    }
    await _send(layer, group, wrapped, timeout, "control message")


def unwrap_control(message: dict[str, Any]) -> dict[str, Any]:
    """The request or answer of a layer message that has one."""
    control: dict[str, Any] = message["control"]
    return control if "body" not in control else {**control, "body": _bytes(control["body"])}


def is_foreign(message: dict[str, Any]) -> bool:
    """Whether another site has sent this request or answer, over a layer that both use.

    Sites are told apart by their ``SECRET_KEY``; while it is replaced, the old one is among the
    ``SECRET_KEY_FALLBACKS``.
    """
    site = message.get("site")
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    return site is not None and site not in map(_site, keys)


@functools.lru_cache(maxsize=16)
def _site(secret_key: str | bytes) -> str:
    mac = salted_hmac("channels_realtime.site", b"", secret_key, algorithm="sha256")
    return mac.hexdigest()[:16]


def _bytes(body: bytes | str) -> bytes:
    return base64.b64decode(body, validate=True) if isinstance(body, str) else body


async def send_over(
    adapter: LayerAdapter,
    breaker: Breaker,
    group: str,
    message: dict[str, Any],
    timeout: float,
    what: str,
) -> None:
    """Send a message to a group.

    Args:
        adapter: of the channel layer.
        breaker: of the same layer.
        timeout: seconds that it may take.
        what: that is called in errors.

    Raises:
        Unavailable: the layer failed or did not take it in time.
    """
    now = asyncio.get_running_loop().time
    began = now()
    timeout = breaker.timeout(began, timeout)
    try:
        await adapter.group_send(group, message, timeout)
    except Exception as error:
        breaker.failed(now(), now() - began, get_config().publish_timeout)
        raise Unavailable(
            f"the channel layer did not take the {what}: {type(error).__name__}"
        ) from error
    breaker.sent()


async def _send(layer: Any, group: str, message: dict[str, Any], timeout: float, what: str) -> None:
    await send_over(adapter_of(layer), breaker_of(layer), group, message, timeout, what)
