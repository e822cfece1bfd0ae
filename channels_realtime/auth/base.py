"""The contract of authenticators, and the handshake that they look at."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from django.http.cookie import parse_cookie

from ..config import Config
from ..identity import Identity


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Authenticated:
    """Whose connection this is.

    Args:
        identity: without secrets.
        user: Django's user, or simplejwt's ``TokenUser``.
        session_key: of the login session that proves it, so that it can be read again; a secret.
    """

    identity: Identity
    user: Any = dataclasses.field(repr=False)
    session_key: str | None = dataclasses.field(default=None, repr=False)


class Handshake:
    """The credentials that may come with a connection's opening request.

    Args:
        scope: the ASGI scope.
        config: the settings.
        subprotocol_token: the token among the offered subprotocols, or None.
    """

    def __init__(
        self, scope: Mapping[str, Any], config: Config, subprotocol_token: str | None = None
    ) -> None:
        self.scope = scope
        self.config = config
        self.subprotocol_token = subprotocol_token

    def __repr__(self) -> str:  # headers, cookies and the query string hold secrets
        return f"<Handshake path={self.scope.get('path')!r}>"

    def headers(self, name: str) -> list[str]:
        """The values of a header; ``name`` in lower case."""
        wanted = name.encode("latin-1")
        return [
            value.decode("latin-1")
            for key, value in self.scope.get("headers", ())
            if key.lower() == wanted
        ]

    @functools.cached_property
    def cookies(self) -> dict[str, str]:
        """The cookies, read as Django reads them."""
        found: dict[str, str] = {}
        for value in self.headers("cookie"):
            found.update(parse_cookie(value))
        return found

    @functools.cached_property
    def query(self) -> dict[str, str]:
        """The query string's parameters; of one that stands twice, the first."""
        raw = self.scope.get("query_string", b"")
        text = raw.decode("latin-1") if isinstance(raw, bytes) else str(raw)
        found: dict[str, str] = {}
        try:
            pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=100)
        except ValueError:
            return found
        for name, value in pairs:
            found.setdefault(name, value)
        return found

    @property
    def origin(self) -> str | None:
        """The ``Origin`` header, or None."""
        values = self.headers("origin")
        return values[0] if values else None


class Authenticator:
    """One way in. Subclass it and name the class in ``AUTHENTICATORS``.

    Instances are shared by all connections and hold no state.
    """

    def find(self, handshake: Handshake) -> str | None:
        """The credential, if this way in is switched on and used here. Must not block."""
        raise NotImplementedError

    def authenticate(self, credential: str, handshake: Handshake) -> Authenticated | None:
        """Judge the credential; may block, and runs in a thread.

        Returns:
            whose it is, or None where it counts as absent, so that the next way in is tried.

        Raises:
            TokenInvalid, TokenExpired, Unauthenticated: it is present and bad; nothing rescues it.
        """
        raise NotImplementedError
