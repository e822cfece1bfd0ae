"""Who may use the views that carry connections: blocks, limits, credentials, CSRF.

The steps are those of a WebSocket's handshake (``endpoints.handshake``). What fails is answered with an
HTTP status and ``{"code": …, "reason": …}``.
"""

from __future__ import annotations

import dataclasses
import logging
import random
from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.middleware.csrf import CsrfViewMiddleware

from ..auth.base import Authenticated, Handshake
from ..auth.handshake import check_header
from ..connections.connection import UNAVAILABLE_RETRY_S
from ..endpoints.handshake import (
    CREDENTIAL_ERRORS,
    HandshakeState,
    Scope,
    code_of_credentials,
    credentials_failed,
    identify,
    refusal,
    state_of,
)
from ..errors import RealtimeError
from ..identity import ANONYMOUS, Identity
from ..nodes.node import Node
from ..protocol.codes import CloseCode, ErrorCode
from ..services import current_node

logger = logging.getLogger(__name__)

FULL_RETRY_S = 5.0
"""How long clients wait that found a process full, with as much jitter again."""


class Refused(Exception):
    """The request is answered with a status and a reason.

    Args:
        status: of HTTP.
        code: an error code of the protocol.
        reason: for a person.
        retry_after: after how many seconds the client may try again; None where that is no use.
    """

    def __init__(
        self, status: int, code: str, reason: str, *, retry_after: float | None = None
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.code = str(code)
        self.reason = reason
        self.retry_after = retry_after

    def response(self) -> HttpResponse:
        """The answer."""
        response = JsonResponse({"code": self.code, "reason": self.reason}, status=self.status)
        if self.retry_after is not None:
            response["Retry-After"] = str(max(1, round(self.retry_after)))
        return response


@dataclasses.dataclass(slots=True, kw_only=True)
class Caller:
    """A client that may have a connection, and what it proved.

    Args:
        node: the node of this process.
        scope: of the request; the connection's own.
        state: what was found out about it.
        found: what its credentials prove; None for an anonymous client.
        read_at: when they began to be read, in seconds since the epoch.
    """

    node: Node
    scope: Scope
    state: HandshakeState
    found: Authenticated | None
    read_at: float

    @property
    def identity(self) -> Identity:
        """Who it is."""
        return ANONYMOUS if self.found is None else self.found.identity


def serving_node() -> Node:
    """The node of the running event loop.

    Raises:
        Refused: the site's settings do not allow one.
    """
    try:
        return current_node()
    except ImproperlyConfigured as error:
        logger.error("%s", error)
        raise Refused(
            503, ErrorCode.UNAVAILABLE, "realtime is not configured on this server"
        ) from error


def require_asgi(request: HttpRequest) -> None:
    """Refuse a request that came over WSGI, where nothing can be kept open.

    Raises:
        Refused: 501.
    """
    if not hasattr(request, "scope"):
        _log_wsgi()
        raise Refused(
            501,
            ErrorCode.UNSUPPORTED,
            "this view needs an ASGI server, and the site is served over WSGI",
        )


_told_of_wsgi = False


def _log_wsgi() -> None:
    global _told_of_wsgi
    if not _told_of_wsgi:
        _told_of_wsgi = True
        logger.error(
            "An event stream or a poll was requested over WSGI, where it cannot be served. Serve the site's"
            " asgi.py with Daphne or uvicorn, or have the proxy send these paths to a process that does."
        )


def scope_of(request: Any) -> Scope:
    """The scope of a request for its connection, with the ``Origin`` that a browser left out.

    A browser sends no ``Origin`` with a GET to the page's own origin, but says that it is one
    (Fetch Metadata).
    """
    scope = dict(request.scope)
    headers = list(scope.get("headers", ()))
    if not any(name.lower() == b"origin" for name, _ in headers):
        site = request.headers.get("Sec-Fetch-Site")
        if site == "same-origin":
            origin = (
                f"{'https' if request.is_secure() else 'http'}://{request.headers.get('Host', '')}"
            )
            headers.append((b"origin", origin.encode("latin-1")))
        elif site in ("cross-site", "same-site"):
            # Such as an image of another site: a page that may read the answer sends its origin.
            headers.append((b"origin", b"null"))
    scope["headers"] = headers
    return scope


async def admit(request: HttpRequest, *, connects: bool = True) -> Caller:
    """Take the steps of a handshake.

    Args:
        request: of a view that serves ASGI, from a page that may connect (``views.view``).
        connects: False where the request is for a connection that there is already: then neither a
            drain nor a full process refuses it.

    Raises:
        Refused: it goes no further.
    """
    node = serving_node()
    scope = scope_of(request)
    state = state_of(scope, node.config)
    refused = refusal(node, scope) if connects else None
    if refused is not None:
        node.denied(scope, refused.reason)
        raise _refused(node, refused.status, refused.body.strip())
    try:
        await node.ready()
        found, read_at = await identify(node, scope, None)
        check_header(Handshake(scope, node.config), found)
        if found is None and not node.config.allow_anonymous:
            raise Refused(401, ErrorCode.UNAUTHENTICATED, "credentials are needed")
        code = await code_of_credentials(node, scope, found)
    except CREDENTIAL_ERRORS as error:
        credentials_failed(node, scope)
        raise Refused(401, error.code, error.reason) from error
    except RealtimeError as error:
        raise Refused(503, error.code, error.reason, retry_after=UNAVAILABLE_RETRY_S) from error
    if code is CloseCode.UNAUTHENTICATED:
        raise Refused(401, ErrorCode.UNAUTHENTICATED, "the credentials were revoked")
    if code is not None:
        node.denied(scope, "blocked")
        raise Refused(403, ErrorCode.FORBIDDEN, "blocked")
    return Caller(node=node, scope=scope, state=state, found=found, read_at=read_at)


def _refused(node: Node, status: int, reason: str) -> Refused:
    if status == 403:
        return Refused(403, ErrorCode.FORBIDDEN, reason)
    if node.drain.begun:
        after = random.uniform(0.0, node.config.drain_retry_window)
    else:
        after = FULL_RETRY_S * (1.0 + random.random())
    code = ErrorCode.UNAVAILABLE if status == 503 else ErrorCode.RATE_LIMITED
    return Refused(status, code, reason, retry_after=after)


_EXPLICIT = ("header", "query")
"""Sources of credentials that no browser adds by itself."""


async def require_csrf_token(request: HttpRequest, caller: Caller) -> None:
    """Refuse a request that a cookie authenticates and that does not prove to be the site's own.

    Raises:
        Refused: 403.
    """
    identity = caller.identity
    if identity.is_anonymous or identity.method == "ticket" or identity.source in _EXPLICIT:
        return
    if not request.headers.get("Cookie"):
        return
    if await sync_to_async(_csrf_failure)(request) is not None:
        raise Refused(403, ErrorCode.FORBIDDEN, "the CSRF token is missing or wrong")


def _csrf_failure(request: HttpRequest) -> HttpResponseBase | None:
    def answer(request: HttpRequest) -> HttpResponseBase:
        raise AssertionError("only the checks of the middleware are used")

    middleware = CsrfViewMiddleware(answer)
    middleware.process_request(request)
    return middleware.process_view(request, answer, (), {})
