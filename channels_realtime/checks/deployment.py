"""Checks of what matters only in production: ``manage.py check --deploy``.

They are skipped while ``DEBUG`` is on. Django checks some of the same settings; these checks say
what they mean for connections, and run only if connections depend on them.
"""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Tags

from ..auth.login_session import LoginSession
from ..config import Config
from ..settings import SETTING
from .authenticators import uses
from .configuration import config_check

_SECURE_PREFIXES = ("__Host-", "__Secure-")
"""Browsers accept such names only with the Secure attribute (RFC 6265bis, section 4.1.3)."""


@config_check(Tags.security, deploy=True)
def check_encryption(config: Config) -> Iterator[CheckMessage]:
    """Report pages that can be opened without encryption."""
    if not settings.SECURE_SSL_REDIRECT:
        yield checks.Warning(
            "SECURE_SSL_REDIRECT is not True: a page that was opened over http connects over ws,"
            " where its cookie or token can be read on the network.",
            hint=(
                "Set SECURE_SSL_REDIRECT = True, or silence channels_realtime.W017 if a proxy"
                " redirects to https."
            ),
            id="channels_realtime.W017",
        )


@config_check(Tags.security, deploy=True)
def check_deployed_cookies(config: Config) -> Iterator[CheckMessage]:
    """Report cookies that open connections and may be sent without encryption."""
    if uses(config, LoginSession) and not settings.SESSION_COOKIE_SECURE:
        yield checks.Warning(
            "SESSION_COOKIE_SECURE is not True: the session cookie, which opens connections, is sent"
            " over ws:// and http:// too.",
            hint="Set SESSION_COOKIE_SECURE = True.",
            id="channels_realtime.W016",
        )
    name = config.jwt_cookie
    if name is not None and not name.startswith(_SECURE_PREFIXES):
        yield checks.Warning(
            f"{SETTING}['JWT_COOKIE'] is {name!r}: browsers accept a cookie of this name without the"
            " Secure attribute, and from other hosts of the same domain.",
            hint=(
                f"Name it '__Host-{name}', and set it with Secure, HttpOnly, Path=/ and SameSite=Lax"
                " or Strict."
            ),
            id="channels_realtime.W018",
        )


@config_check(Tags.security, deploy=True)
def check_deployed_origins(config: Config) -> Iterator[CheckMessage]:
    """Report origins that any page can have."""
    allowed = config.allowed_origins
    if allowed is None:
        if "*" in settings.ALLOWED_HOSTS:
            yield checks.Warning(
                "ALLOWED_HOSTS contains '*' and ALLOWED_ORIGINS is not set: an origin is compared"
                " with a Host header that can have any value (DNS rebinding).",
                hint=f"List the hosts, or the origins in {SETTING}['ALLOWED_ORIGINS'].",
                id="channels_realtime.W019",
            )
    elif not isinstance(allowed, str) and not callable(allowed) and "null" in allowed:
        yield checks.Warning(
            f"{SETTING}['ALLOWED_ORIGINS'] contains 'null', the origin of every sandboxed frame: any"
            " page on the web can create one and connect with its visitor's cookies.",
            hint=(
                "Remove it. If pages from file:// must connect, let them authenticate with tokens"
                " and silence channels_realtime.W020."
            ),
            id="channels_realtime.W020",
        )


@config_check(Tags.security, deploy=True)
def check_deployed_tokens(config: Config) -> Iterator[CheckMessage]:
    """Report what stateless tokens do not check."""
    if config.stateless_tokens:
        yield checks.Info(
            f"{SETTING}['STATELESS_TOKENS'] is True: users are not looked up, so a user who was"
            " deactivated or deleted without a signal can connect until the token expires.",
            hint=(
                "Issue tokens with short lifetimes, and call revoke(user=…) when you deactivate"
                " accounts by SQL."
            ),
            id="channels_realtime.I001",
        )
