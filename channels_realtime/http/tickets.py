"""``POST …/ticket/``: issues a one-time ticket to a client that authenticates over HTTP."""

from __future__ import annotations

import functools
import logging

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from ..access.origins import check_origin
from ..auth.base import Authenticated
from ..auth.login_session import read_login_session
from ..auth.tickets import could_be_used_twice, issue_ticket
from ..auth.token_header import (
    foreign_scheme,
    header_token,
    log_foreign_scheme,
    token_header,
    wrong_scheme,
)
from ..auth.tokens import takes_tokens, verify_token
from ..errors import RealtimeError, TokenInvalid, Unauthenticated
from ..protocol.codes import ErrorCode
from ..settings import get_config
from . import cross_origin

logger = logging.getLogger(__name__)


@login_not_required  # it answers 401 itself, and LoginRequiredMiddleware knows no tokens
@csrf_exempt  # a bearer token needs no CSRF check; _by_session has its own
def ticket(request: HttpRequest) -> HttpResponseBase:
    """Issue a ticket.

    Responds 200 with ``{"ticket": …, "expires_in": seconds}``, or 401, 403, 405 or 503 with
    ``{"code": …, "reason": …}``.
    """
    if not check_origin(cross_origin.request_scope(request)):
        return _refusal(403, "forbidden", "this origin may not request tickets")
    response: HttpResponseBase
    if request.method == "OPTIONS":
        response = cross_origin.preflight()
    elif request.method != "POST":
        response = _refusal(405, "unsupported", "use POST to request a ticket")
        response["Allow"] = "POST, OPTIONS"
    elif (token := _token(request)) is not None:
        response = _by_token(request, token)
    else:
        response = _by_session(request)
    response["Cache-Control"] = "no-store"
    cross_origin.allow(request, response)
    return response


def _token(request: HttpRequest) -> str | None:
    config = get_config()
    return header_token(_values(request, token_header()), config) if takes_tokens(config) else None


def _values(request: HttpRequest, name: str) -> list[str]:
    value = request.headers.get(name)
    return [] if value is None else [value]


def _by_token(request: HttpRequest, token: str) -> HttpResponseBase:
    try:
        found = verify_token(token, get_config(), "header")
    except RealtimeError as error:
        return _refusal(401, error.code, error.reason)
    return _issue(request, found)


@csrf_protect
def _by_session(request: HttpRequest) -> HttpResponseBase:
    key = getattr(getattr(request, "session", None), "session_key", None)
    found = read_login_session(key) if key else None
    if found is None:
        error = _unauthenticated(request)
        return _refusal(401, error.code, error.reason)
    return _issue(request, found)


def _unauthenticated(request: HttpRequest) -> RealtimeError:
    config = get_config()
    scheme = None
    if takes_tokens(config):
        scheme = foreign_scheme(functools.partial(_values, request), config)
    if scheme is None:
        return Unauthenticated("log in, or send a bearer token")
    log_foreign_scheme(scheme, config, "no ticket is issued")
    return TokenInvalid(wrong_scheme(config))


def _issue(request: HttpRequest, found: Authenticated) -> HttpResponseBase:
    if could_be_used_twice():
        _log_unfit_cache()
        return _refusal(503, ErrorCode.UNAVAILABLE, "this site's cache cannot keep tickets")
    try:
        text, lifetime = issue_ticket(found, request.headers.get("Origin"))
    except ValueError:
        error = TokenInvalid()
        return _refusal(401, error.code, error.reason)
    return JsonResponse({"ticket": text, "expires_in": lifetime})


@functools.cache  # once
def _log_unfit_cache() -> None:
    logger.error(
        "No ticket is issued: CACHES['default'] is separate in each process or does not add"
        " atomically, so a ticket could be used twice. Use a cache that all processes share"
        " (channels_realtime.E011, W035)"
    )


def _refusal(status: int, code: str, reason: str) -> HttpResponseBase:
    return JsonResponse({"code": str(code), "reason": reason}, status=status)
