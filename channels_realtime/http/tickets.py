"""``POST …/ticket/``: issues a one-time ticket to a client that authenticates over HTTP."""

from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from ..auth.base import Authenticated
from ..auth.login_session import read_login_session
from ..auth.tickets import issue_ticket
from ..auth.tokens import takes_tokens, verify_token
from ..errors import RealtimeError, TokenInvalid, Unauthenticated
from ..settings import get_config
from . import cross_origin


@login_not_required  # it answers 401 itself, and LoginRequiredMiddleware knows no tokens
@csrf_exempt  # a bearer token needs no CSRF check; _by_session has its own
def ticket(request: HttpRequest) -> HttpResponseBase:
    """Issue a ticket.

    Responds 200 with ``{"ticket": …, "expires_in": seconds}``, or 401, 403 or 405 with
    ``{"code": …, "reason": …}``.
    """
    if not cross_origin.may_use(request):
        return _refusal(403, "forbidden", "this origin may not request tickets")
    response: HttpResponseBase
    if request.method == "OPTIONS":
        response = cross_origin.preflight()
    elif request.method != "POST":
        response = _refusal(405, "unsupported", "use POST to request a ticket")
        response["Allow"] = "POST, OPTIONS"
    elif _bearer(request) is not None and takes_tokens(get_config()):
        response = _by_token(request)
    else:
        response = _by_session(request)
    response["Cache-Control"] = "no-store"
    cross_origin.allow(request, response)
    return response


def _bearer(request: HttpRequest) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _by_token(request: HttpRequest) -> HttpResponseBase:
    try:
        found = verify_token(_bearer(request) or "", get_config(), "header")
    except RealtimeError as error:
        return _refusal(401, error.code, error.reason)
    return _issue(request, found)


@csrf_protect
def _by_session(request: HttpRequest) -> HttpResponseBase:
    key = getattr(getattr(request, "session", None), "session_key", None)
    found = read_login_session(key) if key else None
    if found is None:
        error = Unauthenticated("log in, or send a bearer token")
        return _refusal(401, error.code, error.reason)
    return _issue(request, found)


def _issue(request: HttpRequest, found: Authenticated) -> HttpResponseBase:
    try:
        text, lifetime = issue_ticket(found, request.headers.get("Origin"))
    except ValueError:
        error = TokenInvalid()
        return _refusal(401, error.code, error.reason)
    return JsonResponse({"ticket": text, "expires_in": lifetime})


def _refusal(status: int, code: str, reason: str) -> HttpResponseBase:
    return JsonResponse({"code": str(code), "reason": reason}, status=status)
