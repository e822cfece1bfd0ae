"""Which proofs are over before their time: the list that every node holds.

An entry is a key and a moment. A key names a proof (``session:<hash>``, ``token:<jti>``,
``family:<sid>``), which is void from then on, or a user: ``user:<id>`` voids what was proven before
the moment, ``tokens:<id>`` the tokens issued before it, and ``recheck:<id>`` asks for proofs that
were read before it to be read again. ``issued:<id>`` exempts a token, or a token family, that was
issued after its user's revocation although its time says otherwise (``auth.issued``).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ..identity import Identity

USER = "user:"
TOKENS = "tokens:"
RECHECK = "recheck:"
ISSUED = "issued:"

CLOCK_SLACK_S = 5.0
"""How much the clocks of a site's machines may differ before a proof that was read a moment before
its user changed, elsewhere, is taken for one read after. Reading one needlessly costs a query."""

MAX_ENTRIES = 200_000
"""Entries a node holds; the oldest go first. About 40 MB, and a day of 2 logouts a second."""


class Revocation(msgspec.Struct, frozen=True, array_like=True):
    """One entry.

    Args:
        key: as in this module's description.
        not_before: the moment, in seconds since the epoch.
        expires_at: when no proof that it ends can be alive any more.
    """

    key: str
    not_before: float
    expires_at: float


class RevocationList:
    """The entries in force, by key."""

    def __init__(self) -> None:
        self._entries: dict[str, Revocation] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, revocations: Iterable[Revocation]) -> list[Revocation]:
        """Take entries up; returns those that say something new."""
        new = []
        for revocation in revocations:
            known = self._entries.get(revocation.key)
            if known is not None and known.not_before >= revocation.not_before:
                continue
            self._entries.pop(revocation.key, None)  # to the end of the order
            self._entries[revocation.key] = revocation
            new.append(revocation)
        while len(self._entries) > MAX_ENTRIES:
            del self._entries[next(iter(self._entries))]
        return new

    def forget_expired(self, now: float) -> None:
        """Drop the entries that can end nothing any more."""
        expired = [key for key, entry in self._entries.items() if entry.expires_at <= now]
        for key in expired:
            del self._entries[key]

    def revokes(self, identity: Identity) -> bool:
        """Whether the identity's proof is over."""
        entries = self._entries
        if not entries:
            return False
        if any(key in entries for key in identity.keys):
            return True
        if identity.user_key is None:
            return False
        if self._is_before(identity, entries.get(USER + identity.user_key)):
            return True
        return identity.carries_token and self._is_before(
            identity, entries.get(TOKENS + identity.user_key)
        )

    def _is_before(self, identity: Identity, entry: Revocation | None) -> bool:
        """Whether the identity was proven before the moment of the entry."""
        if entry is None or identity.proven_at >= entry.not_before:
            return False
        for key in identity.keys:
            kind, _, name = key.partition(":")
            if kind in ("token", "family"):
                exempt = self._entries.get(ISSUED + name)
                if exempt is not None and exempt.not_before >= entry.not_before:
                    return False
        return True

    def rechecks(self, identity: Identity, read_at: float) -> bool:
        """Whether the proof, which was read at ``read_at``, must be read again."""
        if identity.user_key is None:
            return False
        entry = self._entries.get(RECHECK + identity.user_key)
        return entry is not None and read_at <= entry.not_before + CLOCK_SLACK_S

    def names_since(self, identity: Identity, moment: float) -> bool:
        """Whether an entry of that moment or later names the identity's user."""
        if identity.user_key is None:
            return False
        found = (self._entries.get(kind + identity.user_key) for kind in (USER, TOKENS, RECHECK))
        return any(entry is not None and entry.not_before >= moment for entry in found)
