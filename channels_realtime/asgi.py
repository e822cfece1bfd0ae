"""The ASGI application of a site: one line in its ``asgi.py``.

application = get_realtime_application(get_asgi_application())
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from . import publishing
from .consumers import BareConsumer, RealtimeConsumer
from .endpoints.handshake import Receive, Refusal, SendEvent, refuse
from .protocol.names import is_name
from .servers.pings import missing_pings
from .services import current_node
from .settings import get_config

logger = logging.getLogger(__name__)

_NOTHING_HERE = Refusal(404, "", "Nothing is served here.\n")

Application = Callable[[Any, Receive, SendEvent], Awaitable[Any]]


class RealtimeApplication:
    """Serves ``WEBSOCKET_PATH`` and ``<WEBSOCKET_PATH>bare/<channel>``; passes the rest on.

    Args:
        http: the site's HTTP application, such as ``get_asgi_application()``.
        websocket: where WebSockets of other paths go; without it they are refused.
    """

    def __init__(self, http: Application, websocket: Application | None = None) -> None:
        self._http = http
        self._websocket = websocket
        self._realtime = RealtimeConsumer.as_asgi()

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Receive, send: SendEvent
    ) -> None:
        """The ASGI application."""
        kind = scope["type"]
        if kind == "websocket":
            await self._serve_websocket(scope, receive, send)
        elif kind == "lifespan":
            await _serve_lifespan(receive, send)
        else:
            await self._http(scope, receive, send)

    async def _serve_websocket(
        self, scope: MutableMapping[str, Any], receive: Receive, send: SendEvent
    ) -> None:
        root = get_config().websocket_path.strip("/")
        path = scope["path"].removeprefix(scope.get("root_path", "")).removeprefix("/")
        bare_root = f"{root}/bare/"
        if path.rstrip("/") == root:
            await self._realtime(scope, receive, send)
        elif path.startswith(bare_root) and is_name(path.removeprefix(bare_root)):
            channel = path.removeprefix(bare_root)
            await BareConsumer(channel=channel)(scope, receive, send)
        elif self._websocket is not None:
            await self._websocket(scope, receive, send)
        else:
            await refuse(None, scope, receive, send, _NOTHING_HERE)


async def _serve_lifespan(receive: Receive, send: SendEvent) -> None:
    """Start and stop with the server, where it says so (Daphne does not)."""
    while True:
        event = await receive()
        if event["type"] == "lifespan.startup":
            current_node()  # wrong settings are told now, not at the first connection
            await send({"type": "lifespan.startup.complete"})
        elif event["type"] == "lifespan.shutdown":
            node = current_node()
            await node.drain.begin()  # done by now where the server could be heard in time
            await node.stop()
            await send({"type": "lifespan.shutdown.complete"})
            return


def get_realtime_application(
    http: Application, *, websocket: Application | None = None
) -> RealtimeApplication:
    """The site's ASGI application with the realtime endpoints.

    Args:
        http: the site's HTTP application; call ``get_asgi_application()`` for it first, because
            that loads the apps.
        websocket: a Channels router for WebSockets of other paths, or None to refuse them.
    """
    publishing.this_process_serves()
    what = missing_pings(sys.argv, os.environ)
    if what is not None:  # no server runs the system checks
        logger.warning("The server's own WebSocket pings are off (%s): see W021", what)
    return RealtimeApplication(http, websocket)
