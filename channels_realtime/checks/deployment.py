"""Checks of what matters in production alone: ``manage.py check --deploy``.

They say nothing while ``DEBUG`` is on. Django's own checks look at some of the same settings; these
say what they mean for connections, and look only where connections depend on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Tags, register

from ..auth.login_session import LoginSession
from ..config import Config
from ..settings import SETTING
from .configuration import valid_config
from .credentials import uses

_SECURE_PREFIXES = ("__Host-", "__Secure-")
"""Names that browsers accept with the attribute Secure alone (RFC 6265bis, section 4.1.3)."""


def _deployed_config() -> Config | None:
    return None if settings.DEBUG else valid_config()


@register(Tags.security, deploy=True)
def check_encryption(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Pages that can be opened without encryption."""
    if _deployed_config() is None or settings.SECURE_SSL_REDIRECT:
        return []
    return [
        checks.Warning(
            "SECURE_SSL_REDIRECT is not True: a page that was opened over http connects over ws,"
            " where its cookie or token can be read on the way.",
            hint=(
                "Set SECURE_SSL_REDIRECT = True, or silence channels_realtime.W017 where a proxy"
                " redirects to https."
            ),
            id="channels_realtime.W017",
        )
    ]


@register(Tags.security, deploy=True)
def check_deployed_cookies(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Cookies that open connections and may travel without encryption."""
    config = _deployed_config()
    if config is None:
        return []
    found: list[CheckMessage] = []
    if uses(config, LoginSession) and not settings.SESSION_COOKIE_SECURE:
        found.append(
            checks.Warning(
                "SESSION_COOKIE_SECURE is not True: the cookie that opens connections is sent over"
                " ws:// and http:// too.",
                hint="Set SESSION_COOKIE_SECURE = True.",
                id="channels_realtime.W016",
            )
        )
    name = config.jwt_cookie
    if name is not None and not name.startswith(_SECURE_PREFIXES):
        found.append(
            checks.Warning(
                f"{SETTING}['JWT_COOKIE'] is {name!r}, a name that browsers take without the"
                " attribute Secure, and from other hosts of the same domain.",
                hint=(
                    f"Call it '__Host-{name}', and set it with Secure, HttpOnly, SameSite=Lax or"
                    " Strict and Path=/."
                ),
                id="channels_realtime.W018",
            )
        )
    return found


@register(Tags.security, deploy=True)
def check_deployed_origins(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Origins that anyone can have."""
    config = _deployed_config()
    if config is None:
        return []
    allowed = config.allowed_origins
    if allowed is None and "*" in settings.ALLOWED_HOSTS:
        return [
            checks.Warning(
                "ALLOWED_HOSTS holds '*' and ALLOWED_ORIGINS is not set: an origin is compared with a"
                " Host header that may say anything (DNS rebinding).",
                hint=f"List the hosts, or the origins in {SETTING}['ALLOWED_ORIGINS'].",
                id="channels_realtime.W019",
            )
        ]
    if allowed is None or isinstance(allowed, str) or callable(allowed) or "null" not in allowed:
        return []
    return [
        checks.Warning(
            f"{SETTING}['ALLOWED_ORIGINS'] holds 'null', the origin of every sandboxed frame: any"
            " page on the web can make one, and connect with its visitor's cookies.",
            hint=(
                "Remove it; where pages from file:// must connect, let them prove themselves with"
                " tokens and silence channels_realtime.W020."
            ),
            id="channels_realtime.W020",
        )
    ]


@register(Tags.security, deploy=True)
def check_deployed_tokens(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """What stateless tokens give up."""
    config = _deployed_config()
    if config is None or not config.stateless_tokens:
        return []
    return [
        checks.Info(
            f"{SETTING}['STATELESS_TOKENS'] is True: users are not looked up, so one that was"
            " deactivated or deleted without a signal is welcome until the token ends.",
            hint="Give tokens short lives, and call revoke(user=…) where you end accounts by SQL.",
            id="channels_realtime.I001",
        )
    ]
