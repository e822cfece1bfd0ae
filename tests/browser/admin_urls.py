"""The members' pages and the admin, with no script or style allowed that stands in a page.

No origin is refused.
"""

from django.contrib import admin
from django.urls import path

from tests.site.urls import urlpatterns as members

POLICY = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'"


def strict_policy(get_response):
    """Middleware: what the pages of the admin must do with."""

    def middleware(request):
        response = get_response(request)
        response["Content-Security-Policy"] = POLICY
        return response

    return middleware


def any_origin(origin, scope):
    """The rule of ``ALLOWED_ORIGINS``."""
    return True


urlpatterns = [path("admin/", admin.site.urls), *members]
