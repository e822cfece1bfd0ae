"""The ASGI application of a site: one line in its ``asgi.py``.

application = get_realtime_application(get_asgi_application())
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import sys
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from channels.routing import ProtocolTypeRouter, URLRouter
from django.apps import apps
from django.conf import settings
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler

from . import sending
from .consumers import BareConsumer, RealtimeConsumer
from .endpoints.handshake import SEND, Receive, Refusal, SendEvent, refuse
from .endpoints.websocket import WebSocketApplication
from .errors import ImproperUse
from .nodes.node import running_node
from .protocol.names import is_name
from .runtime.collector import tune_garbage_collector
from .servers.lifespan import InnerLifespan
from .servers.pings import missing_pings
from .services import current_node, require_installed
from .settings import get_config

__all__ = ["RealtimeApplication", "get_realtime_application", "tune_garbage_collector"]

logger = logging.getLogger(__name__)

_NOTHING_HERE = Refusal(404, "", "Nothing is served here.\n")

_LOGGED_PATHS = 20
_logged_paths: set[str] = set()

Application = Callable[[Any, Receive, SendEvent], Awaitable[Any]]


class RealtimeApplication(WebSocketApplication):
    """Serves ``WEBSOCKET_PATH`` and ``<WEBSOCKET_PATH>bare/<channel>``; passes the rest on.

    Args:
        http: the site's HTTP application, such as ``get_asgi_application()``.
        websocket: where WebSockets of other paths go; without it they are refused.
        channel: where the messages of ``manage.py runworker`` go.
    """

    def __init__(
        self,
        http: Application,
        websocket: Application | None = None,
        channel: Application | None = None,
    ) -> None:
        self._http = http
        self._websocket = websocket
        self._channel = channel
        self._realtime = RealtimeConsumer()
        self._started = False

    def _begin(
        self, scope: MutableMapping[str, Any], receive: Receive, send: SendEvent
    ) -> Awaitable[Any]:
        kind = scope["type"]
        if kind == "websocket":
            self._start()
            application = self._application_at(scope)
            if isinstance(application, RealtimeConsumer) and application is not self._websocket:
                return application._begin(scope, receive, send)
            return application(scope, receive, send)
        if kind == "lifespan":
            return _serve_lifespan(self._inner(), self._start, scope, receive, send)
        if kind == "http":
            # The views that stream need the server's own: see servers.daphne and servers.abort.
            http = self._http({**scope, SEND: send}, receive, send)
            if scope.get("path", "").endswith(_LASTING):
                self._start()
                http = _through_drain(http)
            return http
        return self._application_for(kind)(scope, receive, send)

    def _start(self) -> None:
        """The server runs and has imported everything: called at its start, or by the first connection."""
        if self._started:
            return
        self._started = True
        under_test = hasattr(mail, "outbox")  # what setup_test_environment() adds, of any runner
        if get_config().tune_garbage_collector and not under_test:
            tune_garbage_collector()

    def _inner(self) -> list[Application]:
        """The applications inside this one, each once."""
        given = (self._http, self._websocket, self._channel)
        return list({id(inner): inner for inner in given if inner is not None}.values())

    def _application_for(self, kind: str) -> Application:
        """Where another type of scope goes, such as a worker's ``channel``.

        Raises:
            ImproperUse: no application inside this one serves it.
        """
        if kind == "channel" and self._channel is not None:
            return self._channel
        routers: list[Application] = []
        unknown: list[Application] = []  # what they serve cannot be seen
        for application in self._inner():
            if isinstance(application, ProtocolTypeRouter):
                if kind in application.application_mapping:
                    routers.append(application)
            elif not isinstance(application, (ASGIHandler, URLRouter)):
                unknown.append(application)
        for found in (*routers, *unknown):
            return found
        raise ImproperUse(
            f"get_realtime_application() has no application for the scope type {kind!r}; for"
            " runworker expected channel=ChannelNameRouter({…})"
        )

    def _application_at(self, scope: MutableMapping[str, Any]) -> Application:
        """What serves a WebSocket's path."""
        root_path = scope.get("root_path")
        found = _find_endpoint(
            get_config().websocket_path,
            scope["path"],
            root_path,
            settings.FORCE_SCRIPT_NAME or root_path,
        )
        if found is None:
            return self._websocket or _refuse_path
        return BareConsumer(channel=found) if found else self._realtime


@functools.lru_cache(maxsize=16)  # clients choose the paths, of up to some 64 KiB
def _find_endpoint(endpoint: str, path: str, *prefixes: str | None) -> str | None:
    """The channel of a bare endpoint's path; empty for the endpoint itself, None for another path."""
    root = endpoint.strip("/")
    for within in _paths_within_site(path, prefixes):
        if within.rstrip("/") == root:
            return ""
        channel = within.removeprefix(f"{root}/bare/")
        if channel != within and is_name(channel):
            return channel
    return None


async def _refuse_path(scope: Any, receive: Receive, send: SendEvent) -> None:
    _log_path(scope["path"], get_config().websocket_path.strip("/"))
    await refuse(None, scope, receive, send, _NOTHING_HERE)


_LASTING = ("/sse/", "/poll/")
"""The endings of the paths whose responses are long-lived."""


async def _through_drain(http: Awaitable[Any]) -> None:
    """Serve a response until the drain ends it, although the server cancels it earlier.

    Daphne cancels its applications on SIGTERM. Django's handler would then leave two tasks behind, one of
    which fails unseen.
    """
    serving = asyncio.ensure_future(http)
    try:
        await asyncio.wait([serving])
    except asyncio.CancelledError:
        node = running_node()
        if node is not None and node.drain.begun:
            drained = node.drain.begin()
            await asyncio.wait([serving, drained], return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():  # also a view of the site's own that has such a path
            serving.cancel()
            await asyncio.wait([serving])
        raise
    serving.result()


def _log_path(path: str, root: str) -> None:
    """Log a path where nothing is served, once, and not more than a few: clients choose them."""
    if path not in _logged_paths and len(_logged_paths) < _LOGGED_PATHS:
        _logged_paths.add(path)
        logger.warning(
            "Refused a WebSocket at %r (404): nothing is served there. The package's endpoint is"
            " '/%s/' (WEBSOCKET_PATH); other paths need get_realtime_application(…, websocket=…).",
            path[:200],
            root,
        )


def _paths_within_site(path: str, prefixes: Sequence[str | None]) -> list[str]:
    """Return what the path may be beneath the site's prefix, without a leading slash.

    The prefix is ``FORCE_SCRIPT_NAME`` or the server's ``root_path``; ``prefixes`` are those that may be
    there, the outer one first. Whether the path has it depends on the proxy, which may have removed it,
    and on the server: uvicorn puts its ``--root-path`` in front of every path, Daphne, granian and
    hypercorn do not. As Django does, the prefix is removed where it is there, and twice where uvicorn has
    put it before a path that still has it. The path as it came is tried last: it is right where the proxy
    removed a prefix that WEBSOCKET_PATH begins with.
    """
    paths = [path]
    for name in prefixes:
        prefix = "/" + name.strip("/") if name else "/"
        if prefix != "/":
            paths += [p.removeprefix(prefix) for p in paths if p.startswith(f"{prefix}/")]
    return [path.removeprefix("/") for path in reversed(paths)]


async def _serve_lifespan(
    applications: list[Application],
    started: Callable[[], None],
    scope: MutableMapping[str, Any],
    receive: Receive,
    send: SendEvent,
) -> None:
    """Start and stop with the server, where it says so (Daphne does not).

    The inner applications start first and stop last: hooks may use what they hold.
    """
    inner = [InnerLifespan(application, scope) for application in applications]
    try:
        await receive()  # lifespan.startup
        failed = await _start(inner)
        if failed is not None:
            await send({"type": "lifespan.startup.failed", "message": failed})
            return
        started()
        await send({"type": "lifespan.startup.complete"})
        await receive()  # lifespan.shutdown
        failed = await _stop(inner)
        if failed is not None:
            await send({"type": "lifespan.shutdown.failed", "message": failed})
            return
        await send({"type": "lifespan.shutdown.complete"})
    finally:
        for lifespan in inner:
            lifespan.cancel()


async def _start(inner: list[InnerLifespan]) -> str | None:
    """Start the inner applications and the node; returns why that failed."""
    for lifespan in inner:
        failed = await lifespan.start()
        if failed is not None:
            await _stop_inner(inner)
            return failed
    try:
        current_node()  # wrong settings are told now, not at the first connection
    except Exception as error:
        # The server takes an exception for an application without a lifespan, and goes on.
        known = isinstance(error, ImproperlyConfigured)
        logger.error("The application cannot start: %s", error, exc_info=not known)
        await _stop_inner(inner)
        return f"the application cannot start: {error}"
    return None


async def _stop(inner: list[InnerLifespan]) -> str | None:
    node = current_node()
    await node.drain.begin()  # done by now where the server could be heard in time
    await node.stop()
    return await _stop_inner(inner)


async def _stop_inner(inner: list[InnerLifespan]) -> str | None:
    """Stop the inner applications, the last first; returns why the first of them failed."""
    failures = [await lifespan.stop() for lifespan in reversed(inner)]
    return next((failure for failure in failures if failure is not None), None)


def get_realtime_application(
    http: Application,
    *,
    websocket: Application | None = None,
    channel: Application | None = None,
) -> RealtimeApplication:
    """The site's ASGI application with the realtime endpoints.

    Args:
        http: the site's HTTP application; call ``get_asgi_application()`` for it first, because
            that loads the apps.
        websocket: a Channels router for WebSockets of other paths, or None to refuse them.
        channel: a ``ChannelNameRouter`` for the consumers of ``manage.py runworker``.

    Raises:
        ImproperlyConfigured: the apps are not loaded, the package is not among them, or
            ``CHANNELS_REALTIME`` has unknown keys or wrong values.
        ImproperUse: an argument is not an ASGI application.
    """
    _require_apps()
    _require_application("http", http, "get_asgi_application()")
    _require_application("websocket", websocket, "URLRouter([…])")
    _require_application("channel", channel, "ChannelNameRouter({…})")
    get_config()
    _log_errors()
    sending.this_process_serves()
    from . import checks  # its modules need loaded apps

    what = missing_pings(sys.argv, os.environ)
    if what is not None:  # no server runs the system checks
        logger.warning("The server's own WebSocket pings are off (%s): see W021", what)
    for message in checks.check_message_size():
        if not message.is_silenced():
            logger.warning("%s %s (%s)", message.msg, message.hint, message.id)
    return RealtimeApplication(http, websocket, channel)


def _log_errors() -> None:
    """Log what the system checks say of settings that would fail at the first connection.

    No server runs the checks, and not every server has a lifespan in which a start can fail. Where a
    command runs them, they are not said twice.
    """
    from . import checks  # its modules need loaded apps
    from .checks.server import runs_checks

    if runs_checks():
        return
    for check in (
        checks.check_authenticators,
        checks.check_channel_classes,
        checks.check_channel_layer,
        checks.check_namespaces,
        checks.check_origins,
        checks.check_tokens,
    ):
        for message in check():
            if message.is_serious() and not message.is_silenced():
                logger.error("%s %s (%s)", message.msg, message.hint, message.id)


def _require_apps() -> None:
    if not apps.ready:
        raise ImproperlyConfigured(
            "The apps are not loaded yet: call get_asgi_application() before"
            " get_realtime_application()."
        )
    require_installed()


def _require_application(argument: str, value: Any, expected: str) -> None:
    """Refuse what would fail at the first connection, with a message that names no argument."""
    if value is None:
        return  # nothing is served of that kind
    if isinstance(value, WSGIHandler):
        got = "a WSGI application"
    elif isinstance(value, type):
        got = f"the class {value.__name__}"
        if hasattr(value, "as_asgi"):
            expected = f"{value.__name__}.as_asgi()"
    elif not callable(value):
        got = f"a {type(value).__name__}"
    else:
        return
    raise ImproperUse(
        f"get_realtime_application({argument}=…): got {got}; expected an ASGI application, such as"
        f" {expected}"
    )
