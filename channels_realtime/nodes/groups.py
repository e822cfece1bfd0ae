"""Names of the channel layer's groups: one for each channel, one for each node, one for all nodes."""

from __future__ import annotations

import functools
import hashlib
import re

_GROUP_ESCAPES = {"-": "--", "/": "-s", ":": "-c", "@": "-a", "=": "-e", "|": "-p"}
_GROUP_UNSAFE = re.compile(r"[-/:@=|]")
_GROUP_LIMIT = 99
"""Channel layers take group names of fewer than 100 characters (``BaseChannelLayer``)."""


@functools.lru_cache(maxsize=4096)
def group_name(prefix: str, channel: str) -> str:
    """The layer group that carries ``channel``.

    Layers allow fewer than 100 characters of ``[A-Za-z0-9_.-]``. Names that fit are escaped
    (injective: every ``-`` begins an escape), longer ones become a BLAKE2b hash of 160 bits.
    """
    escaped = _GROUP_UNSAFE.sub(lambda match: _GROUP_ESCAPES[match.group()], channel)
    name = f"{prefix}.n.{escaped}"
    if len(name) <= _GROUP_LIMIT:
        return name
    return f"{prefix}.h.{hashlib.blake2b(channel.encode(), digest_size=20).hexdigest()}"


def control_group(prefix: str) -> str:
    """The group of all nodes."""
    return f"{prefix}.nodes"


def node_group(prefix: str, node_id: str) -> str:
    """The group of one node."""
    return f"{prefix}.node.{node_id}"
