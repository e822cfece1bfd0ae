"""Checks of the settings that find a client's address behind a proxy."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Tags

from ..config import Config
from ..settings import SETTING
from .configuration import config_check


@config_check(Tags.security)
def check_trusted_proxies(config: Config) -> Iterator[CheckMessage]:
    """Report one of the two settings without the other, and networks that contain every address."""
    if config.trusted_proxies and config.client_address_header is None:
        yield checks.Warning(
            f"{SETTING} sets TRUSTED_PROXIES without CLIENT_ADDRESS_HEADER: every client appears"
            " with the proxy's address.",
            hint="Name the header that the proxy sets, such as 'X-Forwarded-For'.",
            id="channels_realtime.W007",
        )
    if config.client_address_header is not None and not config.trusted_proxies:
        yield checks.Warning(
            f"{SETTING} sets CLIENT_ADDRESS_HEADER without TRUSTED_PROXIES: the header is ignored.",
            hint="List the addresses of the proxies, such as ['10.0.0.0/8'].",
            id="channels_realtime.W007",
        )
    for text in config.trusted_proxies:
        if ipaddress.ip_network(text, strict=False).prefixlen == 0:
            yield checks.Warning(
                f"{SETTING}['TRUSTED_PROXIES'] contains {text!r}, which trusts every address: a"
                " client can forge its own address.",
                hint="List only the addresses of the proxies.",
                id="channels_realtime.W008",
            )


_PROXY_SETTINGS = ("SECURE_PROXY_SSL_HEADER", "USE_X_FORWARDED_HOST", "USE_X_FORWARDED_PORT")


@config_check(Tags.security)
def check_named_proxies(config: Config) -> Iterator[CheckMessage]:
    """Report limits by address on a site whose settings speak of a proxy and name none."""
    limits = [
        key
        for key, limit in (
            ("ADDRESS_FAILURES", config.address_failures),
            ("ADDRESS_MESSAGES", config.address_messages),
            ("MAX_CONNECTIONS_PER_ADDRESS", config.max_connections_per_address),
        )
        if limit is not None
    ]
    shown_by = [name for name in _PROXY_SETTINGS if getattr(settings, name)]
    if limits and shown_by and not config.trusted_proxies and config.client_address_header is None:
        yield checks.Warning(
            f"{shown_by[0]} is set, so that the site is behind a proxy, and"
            f" {SETTING}['TRUSTED_PROXIES'] is not: clients appear with the proxy's address, and"
            f" {' and '.join(limits)} cannot tell them apart.",
            hint=(
                "List the proxies' addresses there, and name the header that they set in"
                " CLIENT_ADDRESS_HEADER. Silence channels_realtime.W031 if the server finds the"
                " client's address, as uvicorn does for --forwarded-allow-ips."
            ),
            id="channels_realtime.W031",
        )
