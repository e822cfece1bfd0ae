"""Negotiates the subprotocol, and finds a token among the offered names.

``Sec-WebSocket-Protocol`` is the only header of the handshake that a page can set, so it may carry a
token. The answer must be one of the offered names, or the browser fails the connection (RFC 6455,
section 4.1).

Two forms are documented. Other libraries have their own, such as ``["Bearer", token]`` or the token
alone. They are understood where no other name can be meant; otherwise the token is empty, which is a
bad one, so that the client is told.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from .codecs import CODECS, JSON, Codec
from .dialects.base import VERSION

TOKEN_PREFIX = "access_token_"  # noqa: S105 - the prefix of a subprotocol, not a token
TOKEN_MARKER = "jwt"  # noqa: S105

_MARKERS = frozenset(("access_token", "auth_token", "authorization", "bearer", "token"))
"""What other libraries offer before a token, in any case."""

_SEGMENT = r"[A-Za-z0-9_\-]"
_JWT = re.compile(
    rf"(?:[A-Za-z0-9._\-]{{1,40}}?[._\-])?(eyJ{_SEGMENT}+(?:\.{_SEGMENT}*){{1,3}}\.{_SEGMENT}+)",
    re.ASCII,
)
"""A signed JWT, alone or with a prefix: its header is JSON, and ``{"`` is ``eyJ`` in base64url."""

_OPAQUE = re.compile(
    r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"  # a UUID
    r"|(?=.*[0-9])(?:[A-Za-z0-9]{32,512}|(?=.*[A-Z])[A-Za-z0-9_\-]{32,512})",
    re.ASCII,
)
"""Any other token: longer than a protocol's name, and not made of words in lower case."""

_OURS = re.compile(r"realtime\.v([0-9]{1,9})\.([a-z]{1,32})", re.ASCII)

SERVED: dict[str, Codec] = {f"realtime.v{VERSION}.{name}": codec for name, codec in CODECS.items()}
"""Our own subprotocols, newest version first."""


class Negotiation(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one negotiation.

    ``answer`` is the subprotocol to accept with, ``negotiated`` whether it allows batches, and
    ``heartbeat`` whether it is one of ``realtime.v…``. ``served`` is False if the client offered
    only versions of it that this release does not have: accept, send ``closing``, close with 4406.
    """

    answer: str | None = None
    codec: Codec = JSON
    negotiated: bool = False
    heartbeat: bool = False
    served: bool = True
    token: str | None = None

    def answer_or_any(self, offered: Sequence[str]) -> str | None:
        """The answer, else any offered name: without one a browser sees no close code."""
        return self.answer or next(iter(offered), None)

    def __repr__(self) -> str:  # a token must not reach a log line; the answer may be one
        return f"<Negotiation {self.codec.name} served={self.served}>"


_PLAIN = {
    name: Negotiation(answer=name, codec=codec, negotiated=True, heartbeat=True)
    for name, codec in SERVED.items()
}
"""Of clients that offer one of them alone, as most do."""


def negotiate(offered: Sequence[str], aliases: Mapping[str, str] | None = None) -> Negotiation:
    """Choose among the offered subprotocols.

    Args:
        offered: the client's names in its order of preference.
        aliases: the codec names of further subprotocols (the setting ``SUBPROTOCOLS``).

    Returns:
        The choice: the newest version of ``realtime``, else a further name in the client's order.
    """
    if len(offered) == 1 and offered[0] in _PLAIN:
        return _PLAIN[offered[0]]
    found = _take_token(offered)
    if found.token is None:
        found = _take_foreign_token(offered, aliases or {})
    names, token = found.names, found.token
    for name in names:
        if name in SERVED:
            return Negotiation(
                answer=name, codec=SERVED[name], negotiated=True, heartbeat=True, token=token
            )
    for name in names:
        codec = (aliases or {}).get(name)
        if codec is not None:
            return Negotiation(answer=name, codec=CODECS[codec], negotiated=True, token=token)
    for name in names:
        match = _OURS.fullmatch(name)
        if match is not None:
            codec = match[2] if match[2] in CODECS else JSON.name
            return Negotiation(answer=name, codec=CODECS[codec], served=False, token=token)
    if token is None:
        return Negotiation()
    if found.marker is not None:
        return Negotiation(answer=found.marker, token=token)
    return Negotiation(answer=names[0] if names else found.carrier, token=token)


class _Found(NamedTuple):
    """The names without a token, the token, the name that carried it, and the one that announced it."""

    names: list[str]
    token: str | None = None
    carrier: str | None = None
    marker: str | None = None


def _take_token(offered: Sequence[str]) -> _Found:
    """Find the first token in one of the two forms that are documented."""
    names: list[str] = []
    token: str | None = None
    carrier: str | None = None
    marker: str | None = None
    items = iter(offered)
    for item in items:
        found: str | None = None
        if item.startswith(TOKEN_PREFIX):
            found = item.removeprefix(TOKEN_PREFIX)
        elif item == TOKEN_MARKER:
            found = next(items, None)
            if found is None:  # nothing follows: an ordinary name
                names.append(item)
                continue
            if token is None:
                marker = TOKEN_MARKER
        else:
            names.append(item)
            continue
        if token is None:
            token, carrier = found, item
    return _Found(names, token, carrier, marker)


def _take_foreign_token(offered: Sequence[str], aliases: Mapping[str, str]) -> _Found:
    """Find the one token of an offer in another library's form.

    It is empty where the offer means to carry a token and has none, or has several.
    """
    unknown = [name for name in offered if not _is_protocol(name, aliases)]
    markers = [name for name in unknown if name.lower() in _MARKERS]
    carried = {name: token for name in unknown if (token := _token_in(name)) is not None}
    if not carried and markers:
        after = [
            name
            for before, name in itertools.pairwise(offered)
            if before in markers and name in unknown and name not in markers
        ]
        carried = {name: name for name in after}
    names = [name for name in offered if name not in carried]
    marker = markers[0] if markers else None
    if len(carried) == 1:
        ((carrier, token),) = carried.items()
        return _Found(names, token, carrier, marker)
    if carried or (markers and len(unknown) == len(offered)):
        return _Found(names, "", next(iter(carried), None), marker)
    return _Found(list(offered))


def _is_protocol(name: str, aliases: Mapping[str, str]) -> bool:
    return name in SERVED or name in aliases or _OURS.fullmatch(name) is not None


def _token_in(name: str) -> str | None:
    match = _JWT.fullmatch(name)
    if match is not None:
        return match[1]
    return name if _OPAQUE.fullmatch(name) else None


def shape_of(offered: Sequence[str], aliases: Mapping[str, str]) -> str:
    """An offer as the log may have it: the names that are known to be none of a token's, and lengths."""
    return ", ".join(
        repr(name)
        if name.lower() in _MARKERS or name == TOKEN_MARKER or _is_protocol(name, aliases)
        else f"<{len(name)} characters>"
        for name in offered[:_SHOWN_NAMES]
    ) + (", …" if len(offered) > _SHOWN_NAMES else "")


_SHOWN_NAMES = 10
