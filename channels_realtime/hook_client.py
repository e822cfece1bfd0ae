"""The connection, as the hooks of channel classes see it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from .identity import Identity


class Session(Protocol):
    """The data of a Django session, as a read-only mapping.

    Each access to ``connection.session`` returns a new object, which reads the store when it is first used.
    That blocks: in an ``async`` hook write ``session = await connection.session.aload()``.
    """

    @property
    def session_key(self) -> str | None:
        """The session's key, a secret; None if the client has no session."""
        ...

    async def aload(self) -> Session:
        """Read it from the store, in a thread."""
        ...

    def __getitem__(self, name: str, /) -> Any: ...
    def __contains__(self, name: object, /) -> bool: ...
    def get(self, name: str, default: Any = None, /) -> Any:
        """The value of an entry, or the default."""
        ...


class Client(Protocol):
    """The connection that a hook is called for."""

    @property
    def id(self) -> str:
        """The connection's public id, as in the logs. It is not the client's session id."""
        ...

    @property
    def user(self) -> Any:
        """Django's user, or AnonymousUser."""
        ...

    @property
    def user_id(self) -> str | None:
        """The user's primary key as text, or None."""
        ...

    @property
    def identity(self) -> Identity:
        """Who is connected and how they authenticated."""
        ...

    @property
    def scope(self) -> Mapping[str, Any]:
        """The ASGI scope of the handshake."""
        ...

    @property
    def namespace(self) -> str:
        """The namespace of its tenant; ``""`` for none."""
        ...

    @property
    def session(self) -> Session:
        """Its Django session to read, also of a visitor without a login; see ``Session``."""
        ...

    @property
    def transport(self) -> str:
        """``"websocket"``, ``"sse"`` or ``"poll"``."""
        ...

    @property
    def client_address(self) -> str | None:
        """The client's address; only trusted proxies are believed. None if the server knows none."""
        ...
