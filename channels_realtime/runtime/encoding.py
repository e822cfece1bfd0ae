"""Converts Django's values (dates, decimals, lazy strings and others) to JSON types.

The text forms are those of ``DjangoJSONEncoder``, so that a value looks the same in a payload and in
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
    """Return the payload in JSON types.

    Raises:
        BadPayload: a value cannot be encoded; the reason names its path.
    """
    try:
        return normalise(payload, convert=_convert, max_depth=max_depth)
    except ValueError as error:  # DjangoJSONEncoder refuses a time with a time zone
        raise BadPayload(f"payload: {error}") from None


def payload_size(payload: Any) -> int:
    """Return the size of the payload in bytes, as JSON, the longer of the two codecs' forms."""
    return len(JSON.encode(payload).encode())
