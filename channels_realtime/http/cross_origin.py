"""Decides which origins may use the views, and sets the CORS headers (the Fetch standard)."""

from __future__ import annotations

import contextlib
from typing import Any

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.cache import patch_vary_headers

from ..auth.token_header import token_header

_MAX_AGE_S = 600


def request_scope(request: HttpRequest) -> dict[str, Any]:
    """Return an HTTP request as the ASGI scope that the origin policy reads; works under WSGI too."""
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1", "replace"))
        for name, value in request.headers.items()
    ]
    if "Host" not in request.headers:
        # HTTP/1.0 and Django's test client: use the server's name, as Django does.
        with contextlib.suppress(DisallowedHost):
            headers.append((b"host", request.get_host().encode("latin-1")))
    return {
        "type": "http",
        "scheme": "https" if request.is_secure() else "http",
        "headers": headers,
        "client": (request.META.get("REMOTE_ADDR", ""), 0),
    }


def preflight(method: str = "POST") -> HttpResponse:
    """Return the response to a browser's CORS preflight request.

    Args:
        method: that the view answers.
    """
    response = HttpResponse(status=204)
    response["Access-Control-Allow-Methods"] = method
    csrf = settings.CSRF_HEADER_NAME.removeprefix("HTTP_").replace("_", "-").lower()
    names = ["authorization", "content-type", csrf, token_header()]
    if method == "GET":
        names += ["cache-control", "last-event-id"]
    headers = dict.fromkeys(names)
    response["Access-Control-Allow-Headers"] = ", ".join(headers)
    response["Access-Control-Max-Age"] = str(_MAX_AGE_S)
    return response


def allow(request: HttpRequest, response: HttpResponseBase) -> None:
    """Let the page read the response. Call it only for allowed origins."""
    origin = request.headers.get("Origin")
    if origin is not None:
        response["Access-Control-Allow-Origin"] = origin
        response["Access-Control-Allow-Credentials"] = "true"
    patch_vary_headers(response, ("Origin",))
