"""What the admin's pages share: permissions, methods, URLs, context and breadcrumbs."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils.http import urlencode

from .permissions import ACT, APP, SEE, may
from .refresh import is_refresh

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    _ModelAdmin = admin.ModelAdmin

READ = ("GET", "HEAD")
READ_AND_POST = (*READ, "POST")

_View = TypeVar("_View", bound=Callable[..., HttpResponse])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link of a page; plain text without a URL."""

    label: str
    url: str = ""
    dangerous: bool = False


def page(*permissions: str, methods: tuple[str, ...] = READ) -> Callable[[_View], _View]:
    """Make a method of a model admin a view that asks for permissions, then for the HTTP method.

    Args:
        permissions: codenames; all are needed.
        methods: the HTTP methods that the view answers.
    """

    def decorate(view: _View) -> _View:
        @functools.wraps(view)
        def checked(
            self: ReadOnlyAdmin, request: HttpRequest, *args: Any, **kwargs: Any
        ) -> HttpResponse:
            if not may(request, *permissions):
                raise PermissionDenied
            if request.method not in methods:
                return HttpResponseNotAllowed(methods)
            return view(self, request, *args, **kwargs)

        return cast(_View, checked)

    return decorate


class ReadOnlyAdmin(_ModelAdmin):
    """The admin of rows that the nodes write, with pages of its own."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """The nodes write these rows."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The nodes write these rows."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The nodes write these rows."""
        return False

    # -- URLs --------------------------------------------------------------------------------------

    def path(self, route: str, name: str, view: Callable[..., HttpResponse]) -> URLPattern:
        """The URL pattern of a page; arguments reach the view unquoted."""

        def unquoted(request: HttpRequest, **arguments: str) -> HttpResponse:
            return view(request, *map(unquote, arguments.values()))

        wrapped = self.admin_site.admin_view(functools.update_wrapper(unquoted, view))
        return path(route, wrapped, name=f"{APP}_{self.opts.model_name}_{name}")

    def url(self, name: str, *arguments: str) -> str:
        """The URL of a page of this model."""
        return self._reverse(f"{APP}_{self.opts.model_name}_{name}", *arguments)

    def index_url(self) -> str:
        """The URL of the start page of the admin site."""
        return self._reverse("index")

    def connections_url(self, request: HttpRequest, **filters: str) -> str:
        """The URL of the filtered list of connections; empty where the user may not see it."""
        url = self.connection_page_url("changelist")
        return f"{url}?{urlencode(filters)}" if url and may(request, SEE) else ""

    def notice_url(self, request: HttpRequest, channel: str = "") -> str:
        """The URL of the form of a notice to a channel, or to everybody; empty where not allowed."""
        url = self.connection_page_url("notice") if may(request, *ACT) else ""
        return f"{url}?{urlencode({'channel': channel})}" if url and channel else url

    def connection_page_url(self, name: str, *arguments: str) -> str:
        """A page of connections; empty where they are not registered with this admin site."""
        try:
            return self._reverse(f"{APP}_connectionrecord_{name}", *arguments)
        except NoReverseMatch:
            return ""

    def _reverse(self, name: str, *arguments: str) -> str:
        return reverse(
            f"admin:{name}",
            args=[quote(argument) for argument in arguments],
            current_app=self.admin_site.name,
        )

    # -- pages -------------------------------------------------------------------------------------

    def render(
        self, request: HttpRequest, template: str, context: dict[str, Any], *, status: int = 200
    ) -> HttpResponse:
        """One of the package's templates, in the frame of the admin site."""
        request.current_app = self.admin_site.name  # for {% url %}
        everything = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "app_label": APP,
            "app_name": apps.get_app_config(APP).verbose_name,
            **({"messages": ()} if is_refresh(request) else {}),
            **context,
        }
        return TemplateResponse(request, f"admin/{APP}/{template}.html", everything, status=status)


class PageAdmin(ReadOnlyAdmin):
    """A page in place of a list: its rows have no pages of their own."""

    def get_urls(self) -> list[URLPattern]:
        """The page alone."""
        return [self.path("", "changelist", self.changelist_view)]
