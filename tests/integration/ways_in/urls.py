"""A page for browsers, a login, and the library's views."""

from django.contrib import auth
from django.contrib.auth import get_user_model
from django.http import HttpResponse, JsonResponse
from django.urls import include, path
from django.views.decorators.csrf import ensure_csrf_cookie


@ensure_csrf_cookie
def page(request):
    return HttpResponse("<!doctype html><title>page</title>")


def login(request):
    user = get_user_model().objects.get(username=request.GET["user"])
    auth.login(request, user)
    return JsonResponse({"id": user.pk})


def logout(request):
    auth.logout(request)
    return HttpResponse()


urlpatterns = [
    path("", page),
    path("login/", login),
    path("logout/", logout),
    path("realtime/", include("channels_realtime.urls")),
]
