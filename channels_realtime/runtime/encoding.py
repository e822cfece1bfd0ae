"""What Django users publish, as JSON types: dates, decimals, lazy strings and the like.

The text forms are those of ``DjangoJSONEncoder``, so that a payload looks as the same value does in
a ``JsonResponse``.
"""

from __future__ import annotations

from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from ..errors import BadPayload
from ..protocol.codecs import JSON
from ..protocol.payloads import DEFAULT_MAX_DEPTH, normalise

_convert = DjangoJSONEncoder().default


def normalise_payload(payload: Any, *, max_depth: int = DEFAULT_MAX_DEPTH) -> Any:
    """The payload in JSON types.

    Raises:
        BadPayload: with the path to what cannot be encoded.
    """
    try:
        return normalise(payload, convert=_convert, max_depth=max_depth)
    except ValueError as error:  # DjangoJSONEncoder's word on a time with a zone
        raise BadPayload(f"payload: {error}") from None


def payload_size(payload: Any) -> int:
    """Bytes of the payload as JSON, the longer of the two codecs' forms."""
    return len(JSON.encode(payload).encode())
