"""Which pages may use the views, and what a browser is told of it (the Fetch standard, CORS)."""

from __future__ import annotations

import contextlib
from typing import Any

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.cache import patch_vary_headers

from ..access.origins import check_origin

_MAX_AGE_S = 600


def request_scope(request: HttpRequest) -> dict[str, Any]:
    """An HTTP request as the origin policy looks at it, under WSGI and ASGI."""
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1", "replace"))
        for name, value in request.headers.items()
    ]
    if "Host" not in request.headers:
        # As Django does (HTTP/1.0, its test client): the server's own name stands for it.
        with contextlib.suppress(DisallowedHost):
            headers.append((b"host", request.get_host().encode("latin-1")))
    return {
        "type": "http",
        "scheme": "https" if request.is_secure() else "http",
        "headers": headers,
        "client": (request.META.get("REMOTE_ADDR", ""), 0),
    }


def may_use(request: HttpRequest) -> bool:
    """Whether the page that sent the request is one of ours; refusals are counted and logged."""
    return check_origin(request_scope(request))


def preflight() -> HttpResponse:
    """The answer to a browser's question whether it may send the real request."""
    response = HttpResponse(status=204)
    response["Access-Control-Allow-Methods"] = "POST"
    response["Access-Control-Allow-Headers"] = "authorization, content-type, x-csrftoken"
    response["Access-Control-Max-Age"] = str(_MAX_AGE_S)
    return response


def allow(request: HttpRequest, response: HttpResponseBase) -> None:
    """Let the page read the response; call it for allowed origins only."""
    origin = request.headers.get("Origin")
    if origin is not None:
        response["Access-Control-Allow-Origin"] = origin
        response["Access-Control-Allow-Credentials"] = "true"
    patch_vary_headers(response, ("Origin",))
