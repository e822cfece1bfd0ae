"""Who a connection is, and how that was proven."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The identity of a connection; a value without secrets, safe to log and to show.

    Args:
        user_id: the user's primary key as text, or None for an anonymous connection.
        method: how it was proven: ``"session"``, ``"jwt"``, ``"ticket"``, ``"scope"`` (a middleware
            of the site), or ``"anonymous"``.
        expires_at: when the proof ends, in seconds since the epoch, or None where nothing says so.
        proven_at: when the proof was made (a token's ``iat``, a login), in seconds since the epoch;
            0 where nothing says so. A user's revocation ends what was proven before it.
        keys: what can be revoked to end this identity, such as ``session:<hash of the key>``,
            ``token:<jti>``, ``family:<sid>``.
        source: where the credentials came from, such as ``"header"`` or ``"subprotocol"``; for a
            ticket the method of the proof that it came from.
    """

    user_id: str | None
    method: str
    expires_at: float | None = None
    proven_at: float = 0.0
    keys: frozenset[str] = frozenset()
    source: str = ""

    @property
    def is_anonymous(self) -> bool:
        """Whether nobody was proven."""
        return self.user_id is None

    @property
    def carries_token(self) -> bool:
        """Whether a token is part of the proof, so that a user's tokens being revoked ends it."""
        return "jwt" in (self.method, self.source) or any(
            key.startswith("token:") for key in self.keys
        )

    def joined_by(self, fresh: Identity) -> Identity:
        """This identity, extended by a fresh proof of the same user; what can revoke either ends it."""
        deadlines = (self.expires_at, fresh.expires_at)
        known = [deadline for deadline in deadlines if deadline is not None]
        return dataclasses.replace(
            fresh,
            expires_at=max(known) if len(known) == len(deadlines) else None,
            proven_at=min(self.proven_at, fresh.proven_at) if self.keys else fresh.proven_at,
            keys=self.keys | fresh.keys,
        )


ANONYMOUS = Identity(user_id=None, method="anonymous")
