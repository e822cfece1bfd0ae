"""What the admin's pages of connections share: their URLs, their context, their way back."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.utils import quote, unquote
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _

from ..models import ConnectionRecord
from .display import visible
from .refresh import is_refresh

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[ConnectionRecord]
else:
    _ModelAdmin = admin.ModelAdmin

APP = "channels_realtime"


class ConnectionPages(_ModelAdmin):
    """The base of the pages of ``ConnectionAdmin``."""

    def _path(self, route: str, name: str, view: Callable[..., HttpResponse]) -> URLPattern:
        def unquoted(request: HttpRequest, **arguments: str) -> HttpResponse:
            return view(request, *map(unquote, arguments.values()))

        wrapped = self.admin_site.admin_view(update_wrapper(unquoted, view))
        return path(route, wrapped, name=self._url_name(name))

    def _url_name(self, name: str) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{name}"

    def url(self, name: str, *arguments: str) -> str:
        """A URL of this admin."""
        return reverse(
            f"admin:{self._url_name(name)}",
            args=[quote(argument) for argument in arguments],
            current_app=self.admin_site.name,
        )

    def list_url(self, filters: str = "") -> str:
        """Of the list, with the parameters that it was left with."""
        return self.url("changelist") + (f"?{filters}" if filters else "")

    def detail_url(self, connection_id: str) -> str:
        """Of the page of one connection."""
        return self.url("change", connection_id)

    # -- pages -------------------------------------------------------------------------------------

    def page(
        self, request: HttpRequest, name: str, context: dict[str, Any], *, status: int = 200
    ) -> HttpResponse:
        """One of this admin's own pages."""
        request.current_app = self.admin_site.name  # for {% url %}
        everything = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "app_label": APP,
            "app_name": apps.get_app_config(APP).verbose_name,
            **({"messages": ()} if is_refresh(request) else {}),
            **context,
        }
        template = f"admin/{APP}/{self.opts.model_name}/{name}.html"
        return TemplateResponse(request, template, everything, status=status)

    def list_crumb(self) -> dict[str, str]:
        """The way back to the list."""
        return {"label": _("Connections"), "url": self.list_url()}

    def detail_crumb(self, connection_id: str) -> dict[str, str]:
        """The way back to one connection."""
        return {"label": visible(connection_id[:40]), "url": self.detail_url(connection_id)}

    def connection(self, connection_id: str) -> ConnectionRecord:
        """The connection as the registry knows it, or its id alone."""
        found = self.model._default_manager.filter(pk=connection_id).first()
        return found or ConnectionRecord(connection_id=connection_id)
