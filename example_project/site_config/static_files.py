"""Static files of a site beneath a path, such as https://www.example.com/app/.

Django puts FORCE_SCRIPT_NAME in front of a relative STATIC_URL, but not the `root_path` of an ASGI
server, which comes with each request. These two work with either.
"""

from typing import Any

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.contrib.staticfiles.storage import StaticFilesStorage
from django.core.handlers.asgi import get_script_prefix as prefix_of
from django.urls import get_script_prefix


class SiteStaticFilesStorage(StaticFilesStorage):
    """Addresses beneath the prefix of the request for which a page is rendered."""

    def url(self, name: str | None) -> str:
        return get_script_prefix().rstrip("/") + super().url(name)


class SiteStaticFilesHandler(ASGIStaticFilesHandler):
    """Serves them where the path has the prefix, and where a proxy has removed it."""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            path = scope["path"].removeprefix(prefix_of(scope))
            if self._should_handle(path):
                scope = {**scope, "path": path}
        await super().__call__(scope, receive, send)
