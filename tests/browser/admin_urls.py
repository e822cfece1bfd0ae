"""The members' pages and the admin, with a policy against inline scripts and styles.

No origin is refused.
"""

from django.contrib import admin
from django.urls import path

from tests.site.urls import urlpatterns as members

POLICY = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'"


def strict_policy(get_response):
    """Middleware that adds the policy to every response."""

    def middleware(request):
        response = get_response(request)
        response["Content-Security-Policy"] = POLICY
        return response

    return middleware


def any_origin(origin, scope):
    """The rule of ``ALLOWED_ORIGINS``."""
    return True


urlpatterns = [path("admin/", admin.site.urls), *members]
