"""The headers of handshakes: how they are found, and kept once where many connections have the same.

An ASGI server makes all headers of each handshake, and a connection's scope keeps them for its
life: some 200 bytes each, and a browser sends fifteen.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_FORWARDING_HEADERS = frozenset(
    (
        b"forwarded",
        b"via",
        b"x-real-ip",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"x-original-forwarded-for",
        b"x-envoy-external-address",
        b"cf-connecting-ip",
        b"true-client-ip",
        b"fly-client-ip",
    )
)
"""What proxies add, beside ``X-Forwarded-…``."""


def header_values(scope: Mapping[str, Any], wanted: bytes) -> list[str]:
    """All values of a header, which is named in lower case."""
    return Headers(scope).values(wanted)


class Headers:
    """The headers of a handshake, for those who look for several."""

    __slots__ = ("_headers", "_places")

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self._headers: Sequence[Sequence[bytes]] = scope.get("headers", ())
        self._places = _places(self._headers)

    def values(self, wanted: bytes) -> list[str]:
        """All values of a header, which is named in lower case."""
        headers = self._headers
        return [
            headers[place][1].decode("latin-1") for place in self._places.by_name.get(wanted, ())
        ]

    @property
    def forwarding(self) -> str | None:
        """The first header that a proxy has added, as people write its name."""
        return self._places.forwarding


class _Places(NamedTuple):
    """Where the headers of a handshake are; the same for all clients of a kind.

    Args:
        by_name: their places in the list, by the name in lower case.
        forwarding: see ``Headers``.
    """

    by_name: Mapping[bytes, Sequence[int]]
    forwarding: str | None


_MAX_KNOWN = 256
_MAX_NAMES_BYTES = 2_000
"""Of one list of names that is remembered; a browser's have some 250 behind a proxy."""

_known: dict[tuple[bytes, ...], _Places] = {}
"""By the names of a handshake's headers, in their order."""


def _places(headers: Sequence[Sequence[bytes]]) -> _Places:
    names: tuple[bytes, ...] = next(zip(*headers, strict=False), ())
    found = _known.get(names)
    if found is None:
        found = _find_places(names)
        if sum(map(len, names)) <= _MAX_NAMES_BYTES:
            if len(_known) >= _MAX_KNOWN:
                _known.clear()
            _known[names] = found
    return found


def _find_places(names: tuple[bytes, ...]) -> _Places:
    by_name: dict[bytes, list[int]] = {}
    for place, name in enumerate(names):
        by_name.setdefault(name.lower(), []).append(place)
    for name in by_name:
        if name in _FORWARDING_HEADERS or name.startswith(b"x-forwarded-"):
            return _Places(by_name, name.decode("latin-1").title())
    return _Places(by_name, None)


# -- kept once -------------------------------------------------------------------------------------

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
        if type(header) is not tuple:
            continue
        name, value = header
        if type(name) is type(value) is bytes and name in _SHARED and len(value) <= MAX_VALUE_BYTES:
            headers[index] = _shared(header)


@functools.lru_cache(MAX_SHARED)
def _shared(header: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    return header
