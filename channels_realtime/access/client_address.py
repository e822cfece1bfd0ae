"""A client's address, through proxies that may be believed and no others.

Without ``TRUSTED_PROXIES`` it is the peer's, whatever the headers say: anyone can write a header.
With it, the configured header is believed where the peer is one of them, and the address is that of
the rightmost hop which is not: what stands further left was written by the client.

Behind a proxy that nobody named, all clients have its address. Such an address is no client's, so
limits by address do not count it: two tabs with bad tokens would lock everybody out.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from ..config import Config
from .headers import Headers, header_values

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class FoundAddress(NamedTuple):
    """The address of a handshake.

    Args:
        text: the address, or None where the server knows none (a Unix socket).
        of_proxy: whether it is a proxy's, which all its clients share.
        shown_by: the header that shows this while ``TRUSTED_PROXIES`` names no proxy; else None.
    """

    text: str | None
    of_proxy: bool = False
    shown_by: str | None = None


def find_address(
    scope: Mapping[str, Any], config: Config, headers: Headers | None = None
) -> FoundAddress:
    """The client's address, or that of the proxy that does not say it.

    Args:
        headers: those of the scope, where they were read already.
    """
    client = scope.get("client") or ()
    peer, peer_text, is_inside = _peer(str(client[0])) if client else _NO_PEER
    header = config.client_address_header
    networks = _networks(tuple(config.trusted_proxies))
    found = None
    if header is not None and networks and (peer is None or _is_trusted(peer, networks)):
        for text in reversed(_hops(header, header_values(scope, header.lower().encode()))):
            hop = _parse(text)
            if hop is None:
                break  # "unknown" or rubbish: further left is hearsay
            found = hop
            if not _is_trusted(hop, networks):
                break
    if found is not None:
        return FoundAddress(str(found))
    if peer is None:
        return FoundAddress(None)
    if networks:
        return FoundAddress(peer_text, of_proxy=_is_trusted(peer, networks))
    shown_by = (headers or Headers(scope)).forwarding if is_inside else None
    if shown_by is not None and list(client[1:]) == [0] and peer == _first_hop(scope):
        shown_by = None  # uvicorn's --proxy-headers put the client there, which has no port
    return FoundAddress(peer_text, of_proxy=shown_by is not None, shown_by=shown_by)


@lru_cache(maxsize=1_024)
def _peer(text: str) -> tuple[_Address | None, str, bool]:
    """What the server says of a client: its address, that as text, and whether it is inside."""
    peer = _parse(text)
    return _NO_PEER if peer is None else (peer, str(peer), _is_trusted(peer, _INSIDE))


_NO_PEER: tuple[_Address | None, str, bool] = (None, "", False)


_INSIDE = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",  # of carriers, and of some clouds' load balancers
        "127.0.0.0/8",
        "169.254.0.0/16",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    )
)
"""Where a proxy's address is, beside its servers. ``is_private`` has more: networks for documentation."""


def _first_hop(scope: Mapping[str, Any]) -> _Address | None:
    """Where a request with ``X-Forwarded-For`` says that it comes from; any later hop is a proxy."""
    hops = _hops("X-Forwarded-For", header_values(scope, b"x-forwarded-for"))
    return _parse(hops[0]) if hops else None


def _hops(header: str, values: Iterable[str]) -> list[str]:
    """The addresses a header names, client first (RFC 7239, section 4, for ``Forwarded``)."""
    if header.lower() != "forwarded":
        return [part.strip() for value in values for part in value.split(",")]
    return [_forwarded_for(part) for value in values for part in _split(value, ",")]


def _forwarded_for(element: str) -> str:
    """The ``for`` of one proxy's element, or an empty text."""
    for pair in _split(element, ";"):
        name, _, value = pair.partition("=")
        if name.strip().lower() == "for":
            return value.strip().strip('"')
    return ""


def _split(text: str, separator: str) -> list[str]:
    """Split outside quoted strings (RFC 7230, section 3.2.6), reading from the right.

    A proxy quotes what the client wrote (the host it asked for), which must not be read as an
    element; and a quote that the client left open in its own, further left, must not swallow the
    proxy's.
    """
    parts: list[str] = []
    end, quoted = len(text), False
    for index in range(len(text) - 1, -1, -1):
        character = text[index]
        if character == '"' and not _is_escaped(text, index):
            quoted = not quoted
        elif character == separator and not quoted:
            parts.append(text[index + 1 : end])
            end = index
    parts.append(text[:end])
    return parts[::-1]


def _is_escaped(text: str, index: int) -> bool:
    first = index
    while first and text[first - 1] == "\\":
        first -= 1
    return (index - first) % 2 == 1


def _parse(text: str) -> _Address | None:
    """An address with or without a port: ``192.0.2.1:4711``, ``[2001:db8::1]:4711``."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)  # ::ffff:192.0.2.1, of a dual-stack socket
    return mapped or address


def _is_trusted(address: _Address, networks: Iterable[_Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


@lru_cache(maxsize=16)
def _networks(texts: tuple[str, ...]) -> tuple[_Network, ...]:
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)
