"""Authenticates a handshake with the authenticators, in the order of the ``AUTHENTICATORS`` setting.

The first credential that is *present* decides. If it is bad, no later one is tried.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from django.utils.module_loading import import_string

from ..runtime.hooks import HookRunner
from .base import Authenticated, Authenticator, Handshake
from .token_header import check_foreign_scheme
from .tokens import HeaderToken, takes_tokens


@lru_cache(maxsize=32)
def load_authenticators(paths: tuple[str, ...]) -> tuple[Authenticator, ...]:
    """Return instances of the classes in ``AUTHENTICATORS``, made once."""
    return tuple(import_string(path)() for path in paths)


async def authenticate_handshake(
    handshake: Handshake,
    hooks: HookRunner,
    around: Callable[[Callable[..., Any]], Callable[..., Any]],
) -> Authenticated | None:
    """Return the user and identity of a handshake, or None if it carries no credentials.

    Without credentials, nothing blocks and no thread is used. Otherwise a thread of the bounded
    pool verifies them, so that many reconnects at once queue instead of overloading the database.

    Raises:
        TokenInvalid, TokenExpired, Unauthenticated: credentials are present and bad.
        RequestTimeout: verifying them took longer than ``HOOK_TIMEOUT``.
    """
    present = []
    for authenticator in load_authenticators(tuple(handshake.config.authenticators)):
        credential = authenticator.find(handshake)
        if credential is not None:
            present.append((authenticator, credential))
    if not present:
        return None
    found: Authenticated | None = await hooks.run(around(_judge), present, handshake)
    return found


def check_unread(handshake: Handshake, found: Authenticated | None) -> None:
    """Refuse a header that no authenticator reads, in a site that reads headers at all.

    Not for HTTP: there a request without a user is answered by the site's views.

    Args:
        found: whose it is, by its credentials or by another middleware; None if nothing says so.

    Raises:
        TokenInvalid: it proves nothing, and nothing else proves who connects.
    """
    if handshake.scope.get("type") != "http":
        check_header(handshake, found)


def check_header(handshake: Handshake, found: Authenticated | None) -> None:
    """As ``check_unread``, for HTTP too.

    Raises:
        TokenInvalid: as there.
    """
    if not takes_tokens(handshake.config):
        return
    authenticators = load_authenticators(tuple(handshake.config.authenticators))
    if any(isinstance(authenticator, HeaderToken) for authenticator in authenticators):
        check_foreign_scheme(handshake, found)


def _judge(present: list[tuple[Authenticator, str]], handshake: Handshake) -> Authenticated | None:
    for authenticator, credential in present:
        found = authenticator.authenticate(credential, handshake)
        if found is not None:
            return found
    return None
