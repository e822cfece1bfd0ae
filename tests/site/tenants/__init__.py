"""A tenant for each host, with users and sessions in a schema of its own, as django-tenants has them."""

from contextlib import contextmanager

from django.db import connection


@contextmanager
def schema(name):
    """Look for tables in this schema first, on the thread's connection to PostgreSQL."""
    _set(name)
    try:
        yield
    finally:
        _set("public")


def _set(name):
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('search_path', %s, false)", [f"{name}, public"])
    connection.schema_name = name


def tenant_of(host):
    return host.partition(".")[0]


def tenant_of_connection(scope):
    """For ``CONNECTION_CONTEXT``."""
    return schema(tenant_of(dict(scope["headers"])[b"host"].decode()))


def current_tenant():
    """For ``NAMESPACE``."""
    return getattr(connection, "schema_name", "public")


class TenantMiddleware:
    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        with schema(tenant_of(request.get_host())):
            return self.get_response(request)
