"""What is known of a client from its handshake."""

from __future__ import annotations

import secrets
from collections.abc import MutableMapping
from typing import Any

from ..nodes.node import Node


class ConnectedClient:
    """The client's side of a connection, as hooks and the admin see it.

    Args:
        node: the runtime that it is connected to.
        scope: the ASGI scope of the handshake.
        address: the client's address; None where the server knows none.
    """

    __slots__ = ("_node", "client_address", "connected_at", "id", "scope")

    def __init__(self, node: Node, scope: MutableMapping[str, Any], address: str | None) -> None:
        self._node = node
        self.id = secrets.token_hex(8)
        self.scope = scope
        self.client_address = address
        self.connected_at = node.clock.time()

    def header(self, name: str) -> str | None:
        """A header of the handshake, such as ``"origin"``; None without it. ``name`` in lower case."""
        wanted = name.encode("latin-1")
        for key, value in self.scope.get("headers", ()):
            if key.lower() == wanted:
                text: str = value.decode("latin-1")
                return text
        return None

    @property
    def origin(self) -> str | None:
        """``Origin``, which every browser sends."""
        return self.header("origin")

    @property
    def user_agent(self) -> str | None:
        """``User-Agent``, as the client wrote it."""
        return self.header("user-agent")

    @property
    def client_id(self) -> str | None:
        """``X-Client-ID``, by which a site may tell its devices apart."""
        return self.header("x-client-id")
