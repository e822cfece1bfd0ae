from datetime import timedelta

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.tokens import AccessToken

from channels_realtime import revoke
from demo.restarting import can_restart, restart

TOKEN_LIFETIME = timedelta(minutes=1)
THIS_MACHINE = ("127.0.0.1", "::1")


def break_it(request: HttpRequest) -> HttpResponse:
    return render(request, "break_it/page.html", {"can_restart": may_restart(request)})


@require_POST
def get_token(request: HttpRequest) -> HttpResponse:
    """A token for the user of the login session."""
    if not request.user.is_authenticated:
        return JsonResponse({"reason": "signed out"}, status=401)
    token = AccessToken.for_user(request.user)
    token.set_exp(lifetime=TOKEN_LIFETIME)
    return JsonResponse({"token": str(token), "expires_in": TOKEN_LIFETIME.total_seconds()})


@login_required
@require_POST
def expire_token(request: HttpRequest) -> HttpResponse:
    """End a token before its time, and with it the connection that uses it."""
    try:
        token = AccessToken(request.POST.get("token", ""))
    except TokenError as error:
        return JsonResponse({"reason": str(error)}, status=400)
    revoke(token=token["jti"])
    return JsonResponse({})


@login_required
@require_POST
def restart_server(request: HttpRequest) -> HttpResponse:
    """Restart the demo's own server, for a browser on the same machine alone."""
    if not may_restart(request):
        return JsonResponse({"reason": "only the demo on your own machine restarts"}, status=403)
    restart()
    return JsonResponse({}, status=202)


def may_restart(request: HttpRequest) -> bool:
    return can_restart() and request.META.get("REMOTE_ADDR") in THIS_MACHINE
