"""The credentials of a handshake, for the authenticators, in the order of the ``AUTHENTICATORS`` setting.

The first credential that is *present* decides. If it is bad, no later one is tried.
"""

from __future__ import annotations

from functools import lru_cache

from django.utils.module_loading import import_string

from .base import Authenticated, Authenticator, Handshake
from .token_header import check_foreign_scheme, foreign_scheme
from .tokens import HeaderToken, takes_tokens


@lru_cache(maxsize=32)
def load_authenticators(paths: tuple[str, ...]) -> tuple[Authenticator, ...]:
    """Return instances of the classes in ``AUTHENTICATORS``, made once."""
    return tuple(import_string(path)() for path in paths)


def credentials_of(handshake: Handshake) -> list[tuple[Authenticator, str]]:
    """The credentials that a handshake carries, with what judges each, in the order of the setting.

    Nothing blocks, and no thread is used.
    """
    present = []
    for authenticator in load_authenticators(tuple(handshake.config.authenticators)):
        credential = authenticator.find(handshake)
        if credential is not None:
            present.append((authenticator, credential))
    return present


def judge(present: list[tuple[Authenticator, str]], handshake: Handshake) -> Authenticated | None:
    """Return the user and identity that credentials prove, or None if none counts. Blocks.

    Raises:
        TokenInvalid, TokenExpired, Unauthenticated: the first that counts is bad.
    """
    for authenticator, credential in present:
        found = authenticator.authenticate(credential, handshake)
        if found is not None:
            return found
    return None


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
    scheme = foreign_scheme(handshake.headers, handshake.config)
    if scheme is None or not takes_tokens(handshake.config):
        return
    authenticators = load_authenticators(tuple(handshake.config.authenticators))
    if any(isinstance(authenticator, HeaderToken) for authenticator in authenticators):
        check_foreign_scheme(scheme, handshake, found)
