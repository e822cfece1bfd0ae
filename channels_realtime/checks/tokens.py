"""Checks of tokens: how they are verified, where they are sent and how long they count."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags

from ..auth.token_header import JWT_VERIFIER
from ..auth.tokens import takes_tokens
from ..config import Config
from ..settings import SETTING
from .configuration import config_check, function_fault

MAX_AUTH_LEEWAY_S = 300.0
"""The default lifetime of simplejwt's access tokens: more would be a second lifetime."""


@config_check(Tags.security)
def check_tokens(config: Config) -> Iterator[CheckMessage]:
    """Report settings of tokens that are wrong, unsafe or without effect."""
    yield from _check_verifier(config)
    yield from _check_places(config)
    yield from _check_user_id_field(config)


def _check_verifier(config: Config) -> Iterator[CheckMessage]:
    path = config.token_verifier
    if path is None or path == JWT_VERIFIER:
        return  # our verifier imports simplejwt, so it is imported only to verify a token
    fault = function_fault("TOKEN_VERIFIER", path)
    if fault is not None:
        yield Error(
            fault,
            hint="Name a plain function that takes a token's text and returns an Authenticated.",
            id="channels_realtime.E010",
        )


def _check_places(config: Config) -> Iterator[CheckMessage]:
    if config.query_token:
        yield checks.Warning(
            f"{SETTING}['QUERY_TOKEN'] is True: tokens are sent in URLs, which servers, proxies and"
            " monitoring write to their logs. Anyone who reads a log can use the token.",
            hint=(
                "Send the token as a subprotocol or as the first message, or put a one-time ticket"
                " in the URL."
            ),
            id="channels_realtime.W005",
        )
    set_keys = [
        key
        for key, is_set in (
            ("TOKEN_HEADER_TYPES", config.token_header_types is not None),
            ("QUERY_TOKEN", config.query_token),
            ("JWT_COOKIE", config.jwt_cookie is not None),
            ("STATELESS_TOKENS", config.stateless_tokens),
        )
        if is_set
    ]
    if set_keys and not takes_tokens(config):
        yield checks.Warning(
            f"{SETTING} sets {' and '.join(set_keys)} without effect: this site verifies no tokens.",
            hint="Install 'channels-realtime[jwt]', or set TOKEN_VERIFIER.",
            id="channels_realtime.W011",
        )


def _check_user_id_field(config: Config) -> Iterator[CheckMessage]:
    if not config.stateless_tokens or config.token_verifier != JWT_VERIFIER:
        return
    field = (getattr(settings, "SIMPLE_JWT", None) or {}).get("USER_ID_FIELD", "id")
    primary_key = get_user_model()._meta.pk
    if field not in ("pk", primary_key.name, primary_key.attname):
        yield checks.Warning(
            f"{SETTING}['STATELESS_TOKENS'] is True and SIMPLE_JWT['USER_ID_FIELD'] is {field!r}: the"
            " value in the token is used as the user's primary key, but that is another field.",
            hint=(
                f"Set USER_ID_FIELD to {primary_key.name!r}, or turn STATELESS_TOKENS off so that the"
                " user is looked up."
            ),
            id="channels_realtime.W012",
        )


@config_check(Tags.security)
def check_times(config: Config) -> Iterator[CheckMessage]:
    """Report a leeway that is so long that expiry has little effect."""
    if config.auth_leeway > MAX_AUTH_LEEWAY_S:
        yield checks.Warning(
            f"{SETTING}['AUTH_LEEWAY'] is {config.auth_leeway:g} seconds: connections stay open for"
            " that time after their credentials expire.",
            hint=f"Use at most {MAX_AUTH_LEEWAY_S:g}, or issue tokens with a longer lifetime.",
            id="channels_realtime.W014",
        )
