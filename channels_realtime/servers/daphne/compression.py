"""Daphne: permessage-deflate (RFC 7692), which autobahn supports and Daphne does not use.

The application runs before autobahn answers the handshake, so this module can answer the client's
offer for single connections. Daphne and other applications' WebSockets stay unchanged.

Each message is compressed separately (no context takeover). That saves fewer bytes, but a connection
keeps no compressor and no decompressor between messages, and a message to a thousand clients is
compressed once: all get the same bytes.

A client's message is inflated only up to the limit on a message. autobahn before 26.7.1 does not
stop there (GHSA-hxp9-w8x3-p566); with it, nothing is compressed.
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
"""With this window, a compressor takes 32 KiB (``(1 << bits + 2) + (1 << level + 9)``, zlib.h)."""

INFLATED_MAX_BYTES = 1_048_576
"""The limit on an inflated message if Daphne is configured without one."""

REMEMBERED = 4
"""How many compressed messages are kept for the next connection. A publication has one per codec."""

_ON_THE_WIRE = "permessage-deflate"
_NAME = "channels_realtime.shared_deflate"  # autobahn finds ``SharedDeflate`` by it

_remembered: deque[tuple[int, bytes, bytes]] = deque(maxlen=REMEMBERED)


def deflated(payload: bytes, window_bits: int) -> bytes:
    """Return a message compressed separately, without the tail (RFC 7692, section 7.2.1)."""
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
    """autobahn's permessage-deflate with a shared compressor, and without state between messages."""

    def start_compress_message(self) -> None:
        """Begin a message."""
        self._parts: list[bytes] = []

    def compress_message_data(self, data: bytes) -> bytes:
        """Collect a part of a message (Daphne passes all of it at once); returns nothing yet."""
        self._parts.append(data)
        return b""

    def end_compress_message(self) -> bytes:
        """Return the compressed message."""
        payload = b"".join(self._parts)
        self._parts = []
        return deflated(payload, self.server_max_window_bits)

    def end_decompress_message(self) -> None:
        """End the client's message, and free its decompressor."""
        super().end_decompress_message()  # type: ignore[no-untyped-call]
        self._decompressor = None


class Accept(PerMessageDeflateOfferAccept):
    """The answer to an offer: no context takeover in either direction.

    The client chooses its own window, because autobahn does not tell how small a window it offered.
    Its decompressor takes at most 40 KiB, and only while a message arrives.

    Args:
        offer: the client's offer.
        max_message_bytes: the size in bytes to which a client's message may inflate.
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
        """Return the value of the answer's header."""
        parts = [_ON_THE_WIRE, "server_no_context_takeover", "client_no_context_takeover"]
        if self.offer.request_max_window_bits:
            parts.append(f"server_max_window_bits={self.window_bits}")
        return "; ".join(parts)


def compress(protocol: Any) -> None:
    """Compress this connection if its client offers it. Call it before the connection is accepted.

    Args:
        protocol: Daphne's protocol object of a handshake that is not answered yet.
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
    """Whether this autobahn version has what is needed here; if not, log it once."""
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
        logger.warning("DAPHNE_COMPRESSION has no effect: this autobahn lacks %s", missing)
    return False


def _stops_inflating() -> bool:
    parameters = inspect.signature(PerMessageDeflate.decompress_message_data).parameters
    return "max_output_len" in parameters


class _NoOffer:
    """An offer with our internal name: the handshake is malformed."""

    @classmethod
    def parse(cls, params: Any) -> None:
        raise ValueError(f"there is no extension {_NAME!r}")
