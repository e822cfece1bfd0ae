"""Tells of WebSocket handshakes that reach Django as plain HTTP, where they can only fail.

A page sees 404 or 1006 then, and nothing else would say why: no WebSocket server runs, or a proxy
drops the headers that ask for one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.core.signals import request_started

logger = logging.getLogger(__name__)

_told = False


def connect() -> None:
    """Look at each request from now on, until one is told of."""
    request_started.connect(_notice, dispatch_uid=__name__)


def _notice(
    sender: Any,
    environ: Mapping[str, Any] | None = None,
    scope: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> None:
    """Log the first handshake that is a request, by the header that proxies pass on."""
    global _told
    if _told:
        return
    if environ is not None:
        if "HTTP_SEC_WEBSOCKET_KEY" not in environ:
            return
        path = environ.get("PATH_INFO", "")
        what = (
            "reached Django over WSGI, which has no WebSockets. Serve the site's asgi.py with Daphne"
            " or uvicorn, or have the proxy send this path to a process that does"
        )
    elif scope is not None:
        if not any(name == b"sec-websocket-key" for name, _ in scope.get("headers", ())):
            return
        path = scope.get("path", "")
        what = (
            "arrived as plain HTTP. Have the proxy pass on the headers Upgrade and Connection, or"
            " install the server's WebSocket support, such as 'uvicorn[standard]'"
        )
    else:
        return
    _told = True
    logger.warning("A WebSocket handshake for %r %s.", path[:200], what)
