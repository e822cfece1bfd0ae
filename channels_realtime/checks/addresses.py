"""Checks of whose word on a client's address is believed."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.core.checks import CheckMessage, Tags, register

from ..settings import SETTING
from .configuration import valid_config


@register(Tags.security)
def check_trusted_proxies(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """One of the two settings without the other, and networks that hold everybody."""
    config = valid_config()
    if config is None:
        return []
    found: list[CheckMessage] = []
    if config.trusted_proxies and config.client_address_header is None:
        found.append(
            checks.Warning(
                f"{SETTING} has TRUSTED_PROXIES and no CLIENT_ADDRESS_HEADER: every client has the"
                " proxy's address.",
                hint="Name the header that the proxy writes, such as 'X-Forwarded-For'.",
                id="channels_realtime.W007",
            )
        )
    if config.client_address_header is not None and not config.trusted_proxies:
        found.append(
            checks.Warning(
                f"{SETTING} has CLIENT_ADDRESS_HEADER and no TRUSTED_PROXIES: the header of nobody"
                " is believed.",
                hint="List the addresses of the proxies, such as ['10.0.0.0/8'].",
                id="channels_realtime.W007",
            )
        )
    found += [
        checks.Warning(
            f"{SETTING}['TRUSTED_PROXIES'] holds {text!r}, which is everybody: a client can write its"
            " own address.",
            hint="List the addresses of the proxies alone.",
            id="channels_realtime.W008",
        )
        for text in config.trusted_proxies
        if ipaddress.ip_network(text, strict=False).prefixlen == 0
    ]
    return found
