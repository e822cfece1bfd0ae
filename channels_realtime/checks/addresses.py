"""Checks of the settings that tell a client's address behind a proxy."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

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
