"""The headers of handshakes, kept once where many connections have the same.

An ASGI server makes every header of every handshake anew, and a connection's scope keeps them for its
life: some 200 bytes each, and a browser sends fifteen.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

MAX_VALUE_BYTES = 256
"""Longer values are not shared; browsers' ``User-Agent`` has up to some 200 bytes."""

MAX_SHARED = 1_024
"""Headers that are kept for the connections to come; the one that was not seen for longest goes."""

_SHARED = frozenset(
    (
        b"accept",
        b"accept-encoding",
        b"accept-language",
        b"cache-control",
        b"connection",
        b"host",
        b"origin",
        b"pragma",
        b"sec-ch-ua",
        b"sec-ch-ua-mobile",
        b"sec-ch-ua-platform",
        b"sec-fetch-dest",
        b"sec-fetch-mode",
        b"sec-fetch-site",
        b"sec-websocket-extensions",
        b"sec-websocket-version",
        b"upgrade",
        b"user-agent",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-proto",
    )
)
"""What many clients say alike, and what is nobody's secret: others may be, such as ``cookie``."""


def share_headers(scope: Mapping[str, Any]) -> None:
    """Put headers that other connections have too in place of a handshake's own; they are equal."""
    headers = scope.get("headers")
    if type(headers) is not list:
        return
    for index, header in enumerate(headers):
        if type(header) is tuple and _may_be_shared(*header):
            headers[index] = _shared(header)


def _may_be_shared(name: Any, value: Any) -> bool:
    return type(name) is type(value) is bytes and name in _SHARED and len(value) <= MAX_VALUE_BYTES


@functools.lru_cache(MAX_SHARED)
def _shared(header: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    return header
