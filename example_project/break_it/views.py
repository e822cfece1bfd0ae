from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST

from channels_realtime import revoke
from demo.restarting import can_restart, restart

THIS_MACHINE = ("127.0.0.1", "::1")


def break_it(request: HttpRequest) -> HttpResponse:
    return render(request, "break_it/page.html", {"can_restart": may_restart(request)})


@login_required
@require_POST
def end_login(request: HttpRequest) -> HttpResponse:
    """End the login session that opened the connection, and go on with a new one, as a change of password does."""
    ended = request.session.session_key
    request.session.cycle_key()
    revoke(login_session=ended)
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
