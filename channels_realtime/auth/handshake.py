"""From a handshake to an identity: the ways in, in the order of the setting.

The first way in that is *present* decides; a bad credential is never rescued by a later one.
"""

from __future__ import annotations

from functools import lru_cache

from django.utils.module_loading import import_string

from ..runtime.hooks import HookRunner
from .base import Authenticated, Authenticator, Handshake


@lru_cache(maxsize=32)
def load_authenticators(paths: tuple[str, ...]) -> tuple[Authenticator, ...]:
    """Instances of the classes that ``AUTHENTICATORS`` names, made once."""
    return tuple(import_string(path)() for path in paths)


async def authenticate_handshake(handshake: Handshake, hooks: HookRunner) -> Authenticated | None:
    """Whose handshake this is, or None where it carries no credentials.

    Nothing blocks and no thread is asked where there are none. Otherwise one thread of the bounded
    pool judges them, so that a storm of reconnects queues rather than drowns the database.

    Raises:
        TokenInvalid, TokenExpired: credentials are present and bad.
        RequestTimeout: judging them took longer than ``HOOK_TIMEOUT``.
    """
    present = []
    for authenticator in load_authenticators(tuple(handshake.config.authenticators)):
        credential = authenticator.find(handshake)
        if credential is not None:
            present.append((authenticator, credential))
    if not present:
        return None
    found: Authenticated | None = await hooks.run(_judge, present, handshake)
    return found


def _judge(present: list[tuple[Authenticator, str]], handshake: Handshake) -> Authenticated | None:
    for authenticator, credential in present:
        found = authenticator.authenticate(credential, handshake)
        if found is not None:
            return found
    return None
