"""Pages of which the test says what is in their body, with a policy that allows no script without a nonce."""

import secrets

from django.conf import settings
from django.http import HttpResponse
from django.template import engines
from django.urls import path, re_path
from django.utils.functional import SimpleLazyObject
from django.views.static import serve

from tests.site.urls import urlpatterns as site
from tests.support import npm

POLICY = (
    "default-src 'self'; img-src data:; script-src 'nonce-{}'; object-src 'none'; base-uri 'none';"
    " require-trusted-types-for 'script'; trusted-types channels-realtime htmx"
)
PAGE = """<!doctype html>
{{% load channels_realtime static %}}
<html lang="en"><head><title>page</title><link rel="icon" href="data:,">{head}</head>
<body>{body}</body></html>"""


def strict_policy(get_response):
    """Middleware that gives each request a nonce, as django-csp does."""

    def middleware(request):
        nonce = secrets.token_urlsafe(16)
        request.csp_nonce = SimpleLazyObject(lambda: nonce)
        response = get_response(request)
        if request.path == "/live/" and "strict" in request.GET:
            response["Content-Security-Policy"] = POLICY.format(nonce)
        return response

    return middleware


def live(request):
    """A page; its head and body are templates."""
    text = PAGE.format(
        head=request.GET.get("head", "{% realtime %}"), body=request.GET.get("body", "")
    )
    return HttpResponse(engines["django"].from_string(text).render({}, request))


def package(request, name):
    """A script of one of the packages from npm."""
    return serve(request, name, document_root=npm.packages())


urlpatterns = [
    path("live/", live),
    path("npm/<path:name>", package),
    re_path(r"^static/(?P<path>.*)$", serve, {"document_root": settings.STATIC_ROOT}),
    *site,
]
