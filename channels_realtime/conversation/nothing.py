"""What a connection holds in place of a container that is empty: one object for all of them.

Most containers of a connection are empty most of the time, and each of its own would take 64 bytes.
What puts something in makes a container first; what takes the last out puts this back.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, cast

NOTHING = cast("dict[Any, Any]", MappingProxyType({}))
"""An empty mapping. That it cannot be written to shows where a dict has to be made."""
