"""Daphne: permessage-deflate (RFC 7692), which autobahn beneath it can do and Daphne never asks for.

The application runs before autobahn answers the handshake, so the answer to the client's offer can
be given here, for one connection and no other: nothing of Daphne's or of another application's
WebSockets changes.

Every message is compressed on its own (no context takeover). That costs some of the saving. In
return a connection keeps neither a compressor nor a decompressor between messages, and a message
that goes to a thousand clients is compressed once: all of them are sent the same bytes.

What a client sends is inflated up to the limit on a message and not further, whatever a frame
expands to. autobahn before 26.7.1 does not stop there (GHSA-hxp9-w8x3-p566): with it nothing is
compressed.
"""

from __future__ import annotations

import inspect
import logging
import zlib
from collections import deque
from typing import Any

from autobahn.websocket.compress import (
    PERMESSAGE_COMPRESSION_EXTENSION,
    PerMessageDeflate,
    PerMessageDeflateOffer,
    PerMessageDeflateOfferAccept,
)

logger = logging.getLogger(__name__)

WINDOW_BITS = 12
"""A compressor looks back 4 KiB."""

MEMORY_LEVEL = 5
"""With the window: a compressor takes 32 KiB (``(1 << bits + 2) + (1 << level + 9)``, zlib.h)."""

INFLATED_MAX_BYTES = 1_048_576
"""The limit on an inflated message where Daphne was told to have none."""

REMEMBERED = 4
"""Messages whose compressed form is kept for the next connection: a publication has one for each codec."""

_ON_THE_WIRE = "permessage-deflate"
_NAME = "channels_realtime.shared_deflate"  # by which autobahn finds ``SharedDeflate``

_remembered: deque[tuple[int, bytes, bytes]] = deque(maxlen=REMEMBERED)


def deflated(payload: bytes, window_bits: int) -> bytes:
    """A message compressed on its own, without the tail (RFC 7692, section 7.2.1)."""
    for known_bits, known, compressed in _remembered:
        if known_bits == window_bits and known == payload:
            return compressed
    compressor = zlib.compressobj(
        zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -window_bits, MEMORY_LEVEL
    )
    compressed = (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
    _remembered.appendleft((window_bits, payload, compressed))
    return compressed


class SharedDeflate(PerMessageDeflate):
    """autobahn's permessage-deflate without a compressor of its own, and without idle state."""

    def start_compress_message(self) -> None:
        """A message begins."""
        self._parts: list[bytes] = []

    def compress_message_data(self, data: bytes) -> bytes:
        """A part of a message, which for Daphne is all of it; nothing comes out yet."""
        self._parts.append(data)
        return b""

    def end_compress_message(self) -> bytes:
        """The message, compressed."""
        payload = b"".join(self._parts)
        self._parts = []
        return deflated(payload, self.server_max_window_bits)

    def end_decompress_message(self) -> None:
        """The client's message is over: so is its decompressor."""
        super().end_decompress_message()  # type: ignore[no-untyped-call]
        self._decompressor = None


class Accept(PerMessageDeflateOfferAccept):
    """The answer to an offer: no context takeover in either direction.

    The client's window is left to it: autobahn does not tell how small a one it offered, and its
    decompressor here, 40 KiB at the most, lives while a message comes in.

    Args:
        offer: the client's.
        max_message_bytes: what a message of the client's may inflate to.
    """

    EXTENSION_NAME = _NAME

    def __init__(self, offer: PerMessageDeflateOffer, *, max_message_bytes: int) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            offer,
            request_no_context_takeover=True,
            no_context_takeover=True,
            window_bits=min(WINDOW_BITS, offer.request_max_window_bits or WINDOW_BITS),
            mem_level=MEMORY_LEVEL,
            max_message_size=max_message_bytes,
        )

    def get_extension_string(self) -> str:
        """The answer's header."""
        parts = [_ON_THE_WIRE, "server_no_context_takeover", "client_no_context_takeover"]
        if self.offer.request_max_window_bits:
            parts.append(f"server_max_window_bits={self.window_bits}")
        return "; ".join(parts)


def compress(protocol: Any) -> None:
    """Compress this connection if its client offers to; call it before the connection is accepted.

    Args:
        protocol: Daphne's, of a handshake that is not answered yet.
    """
    if not _usable(protocol):
        return
    limit = protocol.maxMessagePayloadSize or INFLATED_MAX_BYTES

    def accept(offers: list[Any]) -> Accept | None:
        for offer in offers:
            if isinstance(offer, PerMessageDeflateOffer):
                return Accept(offer, max_message_bytes=limit)
        return None

    protocol.perMessageCompressionAccept = accept


_complained = False


def _usable(protocol: Any) -> bool:
    """Whether this autobahn has what is needed here; says once if not."""
    global _complained
    if not hasattr(protocol, "perMessageCompressionAccept"):
        missing = "perMessageCompressionAccept"
    elif not hasattr(protocol, "maxMessagePayloadSize"):
        missing = "maxMessagePayloadSize"
    elif not _stops_inflating():
        missing = "a bound on what a message inflates to (install autobahn 26.7.1 or later)"
    else:
        PERMESSAGE_COMPRESSION_EXTENSION.setdefault(
            _NAME, {"Offer": _NoOffer, "OfferAccept": Accept, "PMCE": SharedDeflate}
        )
        return True
    if not _complained:
        _complained = True
        logger.warning("DAPHNE_COMPRESSION does nothing: this autobahn lacks %s", missing)
    return False


def _stops_inflating() -> bool:
    parameters = inspect.signature(PerMessageDeflate.decompress_message_data).parameters
    return "max_output_len" in parameters


class _NoOffer:
    """What a client offers that uses our internal name: a bad handshake."""

    @classmethod
    def parse(cls, params: Any) -> None:
        raise ValueError(f"there is no extension {_NAME!r}")
