"""The contract of authenticators, and the handshake that they read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from django.http.cookie import parse_cookie

from ..access.headers import Headers
from ..config import Config
from ..identity import Identity


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Authenticated:
    """What an authenticator found out about a connection.

    Args:
        identity: who connects; holds no secrets.
        user: Django's user, or simplejwt's ``TokenUser``.
        session_key: the key of the login session that was the credential, kept so that the session
            can be read again; a secret.
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
        headers: those of the scope, where they were read already.
    """

    def __init__(
        self,
        scope: Mapping[str, Any],
        config: Config,
        subprotocol_token: str | None = None,
        headers: Headers | None = None,
    ) -> None:
        self.scope = scope
        self.config = config
        self.subprotocol_token = subprotocol_token
        self._headers = headers
        # Python 3.11 takes a lock for each cached_property.
        self._cookies: dict[str, str] | None = None
        self._query: dict[str, str] | None = None

    def __repr__(self) -> str:  # headers, cookies and the query string hold secrets
        return f"<Handshake path={self.scope.get('path')!r}>"

    def headers(self, name: str) -> list[str]:
        """All values of a header; ``name`` is in lower case."""
        if self._headers is None:
            self._headers = Headers(self.scope)
        return self._headers.values(name.encode("latin-1"))

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies, parsed as Django parses them."""
        if self._cookies is None:
            self._cookies = {}
            for value in self.headers("cookie"):
                self._cookies.update(parse_cookie(value))
        return self._cookies

    @property
    def query(self) -> dict[str, str]:
        """The query string's parameters. If one is repeated, its first value counts."""
        if self._query is None:
            self._query = self._parsed_query()
        return self._query

    def _parsed_query(self) -> dict[str, str]:
        raw = self.scope.get("query_string", b"")
        found: dict[str, str] = {}
        if not raw:
            return found
        text = raw.decode("latin-1") if isinstance(raw, bytes) else str(raw)
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
    """One kind of credentials. Subclass it and name the class in ``AUTHENTICATORS``.

    All connections share one instance, so it must hold no state.
    """

    def find(self, handshake: Handshake) -> str | None:
        """Return the credential, or None if this method is off or not used here. Must not block."""
        raise NotImplementedError

    def authenticate(self, credential: str, handshake: Handshake) -> Authenticated | None:
        """Verify the credential. Runs in a thread, so it may block.

        Returns:
            The user and identity, or None if the credential counts as absent. The next
            authenticator is then tried.

        Raises:
            TokenInvalid, TokenExpired, Unauthenticated: the credential is present and bad. No other
                authenticator is tried.
        """
        raise NotImplementedError
