"""Filters of subscribers: which publications of a channel one wants (``Channel.select``)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

Selection = Hashable

ALL: Final = None
"""The filter of a subscriber that wants every publication of a channel."""


def selection_of(value: object) -> Selection:
    """Return the hashable form of a JSON scalar, in which ``true`` and ``1`` differ.

    Raises:
        TypeError: the value is null, an object or an array.
    """
    if value is None or isinstance(value, (dict, list)):
        raise TypeError("only text, numbers and booleans select")
    return (isinstance(value, bool), value)
