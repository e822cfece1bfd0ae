"""A page for browsers, and a login with the user's name as password."""

from django.contrib import auth
from django.http import HttpResponse, JsonResponse
from django.views.decorators.csrf import ensure_csrf_cookie


@ensure_csrf_cookie
def page(request):
    return HttpResponse("<!doctype html><title>page</title>")


def login(request):
    name = request.GET["user"]
    user = auth.authenticate(request, username=name, password=name)
    if user is None:
        return HttpResponse("no such user\n", status=403)
    auth.login(request, user)
    return JsonResponse({"id": user.pk})


def logout(request):
    auth.logout(request)
    return HttpResponse()
