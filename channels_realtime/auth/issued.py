"""Tokens that are issued after a revocation of their user, in the same request or task.

simplejwt writes a token's ``iat`` in whole seconds, and a revocation inside a transaction takes effect
at its commit. By ``iat`` alone, the tokens that a view returns after it has changed the password would
be older than the change. So their ids are noted as they are made, and exempted from that revocation.

``auth.revoking`` opens a ``Watch`` for each revocation of a user and writes the exemptions.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any
from weakref import WeakSet

MAX_IDS = 100
"""Tokens noted in one transaction; far more than one request hands out."""


class Watch:
    """The tokens made in this context between a user's revocation and its commit.

    Held by the batch of the transaction alone, so that a rollback ends it.
    """

    __slots__ = ("__weakref__", "_ids", "_revoked")

    def __init__(self, revoked: _Revoked) -> None:
        self._revoked = revoked
        self._ids: dict[str, float] = {}

    def note(self, token_id: str) -> None:
        """A token was made."""
        if len(self._ids) < MAX_IDS:
            self._ids[token_id] = time.time()

    def absorb(self, other: Watch) -> None:
        """Take over what another watch of the same transaction has noted."""
        self._ids.update(other._ids)

    def committed(self, moment: float) -> dict[str, float]:
        """The revocation is in force since ``moment``, in seconds since the epoch.

        Returns:
            The ids of the tokens made before, and when each was made.
        """
        self._revoked.pending.discard(self)
        self._revoked.moment = moment
        return self._ids


class _Revoked:
    """The revocations of a context: those that wait for a commit, and when the last came into force."""

    def __init__(self, exempt: Callable[[str], None]) -> None:
        self.pending: WeakSet[Watch] = WeakSet()
        self.moment = 0.0
        self.exempt = exempt


_revoked: ContextVar[_Revoked | None] = ContextVar("realtime_issued", default=None)


def watch(exempt: Callable[[str], None]) -> Watch:
    """Note the tokens that this context makes from now on. Imports simplejwt.

    Args:
        exempt: called with the id of each token made once the revocation is in force, for as long as
            its ``iat`` does not tell.
    """
    _wrap_simplejwt()
    revoked = _revoked.get()
    if revoked is None:
        revoked = _Revoked(exempt)
        _revoked.set(revoked)
    found = Watch(revoked)
    revoked.pending.add(found)
    return found


def _note(token_id: Any) -> None:
    revoked = _revoked.get()
    if revoked is None or not isinstance(token_id, str):
        return
    for found in revoked.pending:
        found.note(token_id)
    if int(time.time()) < revoked.moment:
        revoked.exempt(token_id)


@functools.cache
def _wrap_simplejwt() -> None:
    """Hear of each new id: simplejwt has no signal for a token that is made."""
    from rest_framework_simplejwt.settings import api_settings  # only where tokens are used
    from rest_framework_simplejwt.tokens import Token

    original = Token.set_jti

    @functools.wraps(original)
    def set_jti(token: Any) -> None:
        original(token)
        _note(token.payload.get(api_settings.JTI_CLAIM))

    Token.set_jti = set_jti  # type: ignore[method-assign,assignment,unused-ignore]
