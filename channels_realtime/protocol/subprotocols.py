"""Negotiates the subprotocol, and finds a token among the offered names.

``Sec-WebSocket-Protocol`` is the only header of the handshake that a page can set, so it may carry a
token. The answer must be one of the offered names, or the browser fails the connection (RFC 6455,
section 4.1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from .codecs import CODECS, JSON, Codec
from .dialects.base import VERSION

TOKEN_PREFIX = "access_token_"  # noqa: S105 - the prefix of a subprotocol, not a token
TOKEN_MARKER = "jwt"  # noqa: S105

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


def negotiate(offered: Sequence[str], aliases: Mapping[str, str] | None = None) -> Negotiation:
    """Choose among the offered subprotocols.

    Args:
        offered: the client's names in its order of preference.
        aliases: the codec names of further subprotocols (the setting ``SUBPROTOCOLS``).

    Returns:
        The choice: the newest version of ``realtime``, else a further name in the client's order.
    """
    names, token, carrier, marked = _take_token(offered)
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
    if marked:
        return Negotiation(answer=TOKEN_MARKER, token=token)
    return Negotiation(answer=names[0] if names else carrier, token=token)


def _take_token(offered: Sequence[str]) -> tuple[list[str], str | None, str | None, bool]:
    """Return the names without a token, the first token, its name, and whether it followed ``jwt``."""
    names: list[str] = []
    token: str | None = None
    carrier: str | None = None
    marked = False
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
            marked = marked or token is None
        else:
            names.append(item)
            continue
        if token is None:
            token, carrier = found, item
    return names, token, carrier, marked
