"""The package in Django's admin: who is connected, on what, how healthy, and the hand to act on it.

In: an admin site. Out: the pages of connections, channels, nodes, blocks, and an overview. Imported by
``django.contrib.admin`` where that is installed, and by nothing else; a site with an admin site of
its own calls ``register``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path

from ..models import BlockRecord, ConnectionRecord, NodeRecord, SampleRecord, SubscriptionRecord
from .blocks import BlockRecordAdmin
from .connections import ConnectionAdmin
from .overview import overview_view
from .pages import channels_view, drain_view, nodes_view, publish_view

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    _ModelAdmin = admin.ModelAdmin

View = Callable[..., HttpResponse]


class PageAdmin(_ModelAdmin):
    """A page in place of a list: nothing is added, changed or deleted by hand."""

    page: ClassVar[View]
    more: ClassVar[tuple[tuple[str, str, View], ...]] = ()
    """Further pages: route, name and view."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """The nodes write these rows."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The nodes write these rows."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The nodes write these rows."""
        return False

    def get_urls(self) -> list[URLPattern]:
        """The page and what belongs to it; rows have none of their own."""
        name = f"{self.opts.app_label}_{self.opts.model_name}_"
        wrap = self.admin_site.admin_view
        return [
            path("", wrap(self.changelist_view), name=name + "changelist"),
            *(
                path(route, wrap(self._bound(view)), name=name + end)
                for route, end, view in self.more
            ),
        ]

    def _bound(self, view: View) -> View:
        def bound(request: HttpRequest, **arguments: str) -> HttpResponse:
            return view(request, self.admin_site, **arguments)

        return bound

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return type(self).page(request, self.admin_site)


class ChannelsAdmin(PageAdmin):
    """The live channels."""

    page = staticmethod(channels_view)
    more = (("publish/", "publish", publish_view),)


class NodesAdmin(PageAdmin):
    """The nodes that live."""

    page = staticmethod(nodes_view)
    more = (("<path:node_id>/drain/", "drain", drain_view),)


class OverviewAdmin(PageAdmin):
    """The last hour and day."""

    page = staticmethod(overview_view)


def register(site: admin.AdminSite) -> None:
    """Put these pages into an admin site."""
    site.register(ConnectionRecord, ConnectionAdmin)
    site.register(SubscriptionRecord, ChannelsAdmin)
    site.register(NodeRecord, NodesAdmin)
    site.register(SampleRecord, OverviewAdmin)
    site.register(BlockRecord, BlockRecordAdmin)


register(admin.site)
