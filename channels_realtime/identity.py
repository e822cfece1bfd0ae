"""Who is connected, and how they authenticated."""

from __future__ import annotations

import dataclasses

from .protocol.names import namespaced


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The identity of a connection. It holds no secrets, so it is safe to log and to show.

    Args:
        user_id: the user's primary key as text, or None for an anonymous connection.
        method: how the user authenticated: ``"session"``, ``"jwt"``, ``"ticket"``, ``"scope"`` (a
            middleware of the site), or ``"anonymous"``.
        expires_at: when the credentials expire, in seconds since the epoch, or None if unknown.
        proven_at: when the user authenticated (a login, or a token's ``iat``), in seconds since the
            epoch; 0 if unknown. Revoking the user ends identities with an earlier time.
        keys: the credentials that can be revoked to end this identity, such as
            ``session:<hash of the key>``, ``token:<jti>`` or ``family:<sid>`` (a token family).
        source: where the credentials came from, such as ``"header"`` or ``"subprotocol"``; for a
            ticket, the method by which its user authenticated.
        namespace: the connection's, which the package sets: user 1 of one tenant is another user than
            user 1 of the next.
    """

    user_id: str | None
    method: str
    expires_at: float | None = None
    proven_at: float = 0.0
    keys: frozenset[str] = frozenset()
    source: str = ""
    namespace: str = ""

    @property
    def user_key(self) -> str | None:
        """The user's id, told apart from the same id in another namespace; None if anonymous."""
        return None if self.user_id is None else namespaced(self.namespace, self.user_id)

    @property
    def is_anonymous(self) -> bool:
        """Whether the connection is anonymous."""
        return self.user_id is None

    @property
    def carries_token(self) -> bool:
        """Whether a token is among the credentials, so that revoking the user's tokens ends it."""
        return "jwt" in (self.method, self.source) or any(
            key.startswith("token:") for key in self.keys
        )

    def joined_by(self, fresh: Identity) -> Identity:
        """Return this identity, renewed by other credentials of the same user.

        Revoking either credentials ends it.
        """
        deadlines = (self.expires_at, fresh.expires_at)
        known = [deadline for deadline in deadlines if deadline is not None]
        return dataclasses.replace(
            fresh,
            expires_at=max(known) if len(known) == len(deadlines) else None,
            proven_at=min(self.proven_at, fresh.proven_at) if self.keys else fresh.proven_at,
            keys=self.keys | fresh.keys,
        )


ANONYMOUS = Identity(user_id=None, method="anonymous")
