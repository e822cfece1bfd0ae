"""The HTTP header that carries tokens: its name, its schemes, and what to do with any other scheme.

djangorestframework-simplejwt's settings are followed, so that a header means the same over HTTP and in
a handshake.
"""

from __future__ import annotations

import functools
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from django.conf import settings as django_settings
from django.core.signals import setting_changed

from ..config import Config
from ..conversation.throttling import Rate, TokenBucket
from ..errors import TokenInvalid
from .base import Authenticated, Handshake

logger = logging.getLogger(__name__)

JWT_VERIFIER = "channels_realtime.auth.jwt.verify_jwt"
"""The default of ``TOKEN_VERIFIER``."""

_BROWSER_SCHEMES = frozenset({"basic", "digest", "negotiate", "ntlm"})
"""Schemes with which a browser answers a proxy's challenge, on each request and unknown to the page."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+\-]{0,19}", re.ASCII)
"""What is logged as a scheme: longer than any registered one, shorter than a token."""

_log_bucket = TokenBucket(Rate(0.2, 20.0), time.monotonic())
"""How often headers are logged, so that clients cannot fill the log."""


@functools.cache
def token_header() -> str:
    """The header that carries tokens, in lower case: simplejwt's ``AUTH_HEADER_NAME``."""
    name: str = _simplejwt_setting("AUTH_HEADER_NAME", "HTTP_AUTHORIZATION")
    return name.removeprefix("HTTP_").replace("_", "-").lower()


def _forget_header(*, setting: str, **kwargs: Any) -> None:
    if setting == "SIMPLE_JWT":
        token_header.cache_clear()


setting_changed.connect(_forget_header, dispatch_uid="channels_realtime.token_header")


def token_schemes(config: Config) -> tuple[str, ...]:
    """The schemes under which that header carries tokens, compared without regard to case.

    ``TOKEN_HEADER_TYPES``, else simplejwt's ``AUTH_HEADER_TYPES``. A verifier of the site's may verify
    the tokens of Django REST framework, so it is given those of ``Token`` too.
    """
    if config.token_header_types is not None:
        return tuple(config.token_header_types)
    named = _simplejwt_setting("AUTH_HEADER_TYPES", ("Bearer",))
    schemes = (named,) if isinstance(named, str) else tuple(named)
    return schemes if config.token_verifier == JWT_VERIFIER else (*schemes, "Token")


def _simplejwt_setting(name: str, default: Any) -> Any:
    """A setting as simplejwt reads it, without loading simplejwt (see ``tokens.takes_tokens``)."""
    module = sys.modules.get("rest_framework_simplejwt.settings")
    if module is not None:
        return getattr(module.api_settings, name)
    return (getattr(django_settings, "SIMPLE_JWT", None) or {}).get(name, default)


def header_token(values: list[str], config: Config) -> str | None:
    """Return the token in the values of ``token_header()``, or None without one."""
    if len(values) > 1:
        return ""  # two credentials at once count as a bad one
    for value in values:
        scheme, token = _split(value)
        if scheme.lower() in {known.lower() for known in token_schemes(config)}:
            return token
    return None


def foreign_scheme(read: Callable[[str], list[str]], config: Config) -> str | None:
    """The scheme of a header with credentials that nothing here reads, or None without one.

    Args:
        read: returns all values of a header, by its name in lower case.
        config: the settings.

    Returns:
        The scheme, or ``""`` where there is none that may be shown: it would be part of a secret.
    """
    for value in _foreign_values(read, config):
        scheme, rest = _split(value)
        return scheme if rest and _SCHEME.fullmatch(scheme) else ""
    return None


def _foreign_values(read: Callable[[str], list[str]], config: Config) -> Iterator[str]:
    name = token_header()
    values = read(name)
    if values and header_token(values, config) is None:
        yield from filter(str.strip, values)
    if name != "authorization":
        yield from filter(str.strip, read("authorization"))


def _split(value: str) -> tuple[str, str]:
    scheme, _, rest = value.strip().partition(" ")
    return scheme, rest.strip()


def check_foreign_scheme(scheme: str, handshake: Handshake, found: Authenticated | None) -> None:
    """Refuse a handshake with a header that nothing here reads, unless other credentials count.

    The client expects to be signed in. It is not let in as anonymous without being told, and if a cookie
    decides, perhaps for another user, the log says so. A browser that sends the password of a proxy in
    front of the site expects nothing of the kind.

    Raises:
        TokenInvalid: no other credentials prove who it is.
    """
    config = handshake.config
    if found is None:
        if scheme.lower() in _BROWSER_SCHEMES and handshake.origin is not None:
            return
        log_foreign_scheme(scheme, config, "the connection is refused")
        raise TokenInvalid(wrong_scheme(config))
    by_cookie = found.session_key is not None or found.identity.source == "cookie"
    if by_cookie and scheme.lower() not in _BROWSER_SCHEMES:
        log_foreign_scheme(scheme, config, "the cookie decides who connects")


def wrong_scheme(config: Config) -> str:
    """The reason for a client whose header nothing here reads."""
    return f"the scheme of the header is not accepted; expected {_expected(config)}"


def log_foreign_scheme(scheme: str, config: Config, consequence: str) -> None:
    """Log a header that nothing here reads, by its scheme."""
    if _log_bucket.take(1.0, time.monotonic()) is not None:
        return
    logger.warning(
        "A client sent credentials in a header with %s, which is not read: %s. Expected %s; name other"
        " schemes in CHANNELS_REALTIME['TOKEN_HEADER_TYPES'].",
        f"the scheme {scheme!r}" if scheme else "no scheme",
        consequence,
        _expected(config),
    )


def _expected(config: Config) -> str:
    header = token_header().title()
    return " or ".join(f"'{header}: {scheme} <token>'" for scheme in token_schemes(config))
