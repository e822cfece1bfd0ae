"""What a subscriber selects of a channel by its parameters (``Channel.select``)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

Selection = Hashable

ALL: Final = None
"""The selection of a subscriber that wants every publication of a channel."""


def selection_of(value: object) -> Selection:
    """The hashable form of a JSON scalar; keeps ``true`` apart from ``1``.

    Raises:
        TypeError: the value is an object or an array, which nothing can be selected by.
    """
    if value is None or isinstance(value, (dict, list)):
        raise TypeError("only text, numbers and booleans select")
    return (isinstance(value, bool), value)
