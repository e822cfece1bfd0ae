"""What the views that carry connections have in common: methods, origins, errors, Django's decorators."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from ..access.origins import check_origin
from ..nodes.node import running_node
from ..protocol.codes import ErrorCode
from . import cross_origin
from .access import Refused, require_asgi, scope_of

View = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


def view(method: str) -> Callable[[View], Any]:
    """Make a view of a function that answers one method, and raises ``Refused``."""

    def decorate(answer: View) -> Any:
        @functools.wraps(answer)
        async def wrapped(request: HttpRequest) -> HttpResponseBase:
            try:
                require_asgi(request)
            except Refused as refused:
                return refused.response()
            scope = scope_of(request)
            if not check_origin(scope):
                node = running_node()
                if node is not None:
                    node.denied(scope, "origin")
                return Refused(403, ErrorCode.FORBIDDEN, "this origin may not connect").response()
            response = await _answer(request)
            response.headers.setdefault("Cache-Control", "no-cache, no-transform")
            cross_origin.allow(request, response)
            response["Access-Control-Expose-Headers"] = "Retry-After"
            return response

        async def _answer(request: HttpRequest) -> HttpResponseBase:
            if request.method == "OPTIONS":
                return cross_origin.preflight(method)
            if request.method != method:
                refused = Refused(405, ErrorCode.UNSUPPORTED, f"use {method} here").response()
                refused["Allow"] = f"{method}, OPTIONS"
                return refused
            try:
                return await answer(request)
            except Refused as refused:
                return refused.response()

        return _for_any_site(wrapped)

    return decorate


def _for_any_site(view: View) -> Any:
    """Keep from a view what a site does to all of its own.

    ``LoginRequiredMiddleware`` knows no tokens, and would redirect. ``CsrfViewMiddleware`` would ask
    clients with tokens for another; ``access.require_csrf_token`` asks those with cookies.
    ``ATOMIC_REQUESTS`` cannot be kept for async views, in any database.
    """
    wrapped: Any = login_not_required(csrf_exempt(view))
    for alias in connections.settings:
        wrapped = transaction.non_atomic_requests(using=alias)(wrapped)
    return wrapped
