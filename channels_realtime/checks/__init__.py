"""System checks: faults of a deployment that can be seen when it starts.

Ids are stable. ``channels_realtime.E…`` stop the server; ``…W…`` and ``…I…`` do not. Checks that
matter only in production run with ``manage.py check --deploy``, like Django's own.
"""

from __future__ import annotations

from .addresses import check_named_proxies, check_trusted_proxies
from .authenticators import check_authenticators, check_login_sessions
from .channel_classes import check_channel_classes
from .configuration import check_settings, check_websocket_path
from .deployment import (
    check_deployed_cookies,
    check_deployed_origins,
    check_deployed_tokens,
    check_encryption,
)
from .layer import check_channel_layer
from .message_size import check_message_size
from .namespaces import check_namespaces
from .origins import check_allowlist, check_cross_origin_sites, check_origins
from .pings import check_server_pings
from .server import check_asgi_application, check_server
from .stores import check_history_responds, check_stores
from .tickets import check_tickets
from .tokens import check_times, check_tokens

__all__ = [
    "check_allowlist",
    "check_asgi_application",
    "check_authenticators",
    "check_channel_classes",
    "check_channel_layer",
    "check_cross_origin_sites",
    "check_deployed_cookies",
    "check_deployed_origins",
    "check_deployed_tokens",
    "check_encryption",
    "check_history_responds",
    "check_login_sessions",
    "check_message_size",
    "check_named_proxies",
    "check_namespaces",
    "check_origins",
    "check_server",
    "check_server_pings",
    "check_settings",
    "check_stores",
    "check_tickets",
    "check_times",
    "check_tokens",
    "check_trusted_proxies",
    "check_websocket_path",
]
