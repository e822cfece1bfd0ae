"""The connections of the list counted by user, path or process, and the list as a CSV file.

In: the list's own URL parameters, so that both are of the connections that the list shows. Out: pages.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from django.contrib.admin.views.main import PAGE_VAR
from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy

from .base import Link, page
from .connection_pages import ConnectionPages
from .display import clock_time, text
from .links import PageLinks
from .lists import ListAdmin
from .permissions import SEE
from .refresh import PAGE_INTERVAL_S, live_page

SHOWN = 200
"""Groups on a page, the largest."""

EXPORTED = {
    "connection_id": "connection",
    "user_label": "user",
    "user_pk": "user id",
    "channels": "channels",
    "address": "address",
    "connected_at": "connected",
    "seen_at": "last seen",
    "health": "health",
    "path": "path",
    "consumer": "consumer",
    "node_id": "server",
    "origin": "origin",
    "user_agent": "user agent",
    "client_id": "client id",
    "auth_method": "authenticated by",
    "auth_expires_at": "credentials expire",
}
"""The columns of the file; their names are the same in every language, for the programs that read it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """A way to group connections.

    Args:
        title: of the page, and of the link to it.
        head: of the column with the names.
        fields: whose values make a group; the first one is the value of the filter.
        parameter: of the list's filter for one group.
        name: the name of a group, made of the values of the fields.
    """

    title: Any
    head: Any
    fields: tuple[str, ...]
    parameter: str
    name: Callable[[PageLinks, tuple[str, ...]], SafeString]


GROUPINGS = {
    "user": Grouping(
        title=gettext_lazy("Connections by user"),
        head=gettext_lazy("User"),
        fields=("user_pk", "user_label"),
        parameter="user",
        name=lambda links, values: links.user(*values),
    ),
    "path": Grouping(
        title=gettext_lazy("Connections by path"),
        head=gettext_lazy("Path"),
        fields=("path",),
        parameter="path",
        name=lambda links, values: text(values[0]),
    ),
    "process": Grouping(
        title=gettext_lazy("Connections by process"),
        head=gettext_lazy("Server"),
        fields=("node_id",),
        parameter="process",
        name=lambda links, values: links.server(links.nodes.get(values[0])),
    ),
}


class GroupPages(ConnectionPages, ListAdmin):
    """The list of connections in other forms."""

    def get_urls(self) -> list[URLPattern]:
        """The pages, before those of one connection."""
        return [
            self.path("groups/<slug:by>/", "groups", self.groups_page),
            self.path("export/", "export", self.export_page),
            *super().get_urls(),
        ]

    @page(SEE)
    def groups_page(self, request: HttpRequest, by: str) -> HttpResponse:
        """How many connections each user, path or process has."""
        grouping = GROUPINGS.get(by)
        if grouping is None:
            raise Http404
        listed = self.listed(request)
        if listed is None:
            return HttpResponseRedirect(self.url("groups", by))
        counted = listed.queryset.order_by().values_list(*grouping.fields)
        found = list(counted.annotate(n=Count("pk")).order_by("-n", *grouping.fields)[: SHOWN + 1])
        links = PageLinks(self.admin_site, request)
        query = listed.get_query_string({PAGE_VAR: None})
        rows = []
        for *values, count in found[:SHOWN]:
            url = ""
            if values[0]:
                changes = {grouping.parameter: values[0], PAGE_VAR: None}
                url = self.list_url() + listed.get_query_string(changes)
            rows.append((grouping.name(links, tuple(values)), count, url))
        context = {
            "title": str(grouping.title),
            "crumbs": [self.list_crumb(), Link(label=str(grouping.title))],
            "live": live_page(PAGE_INTERVAL_S),
            "as_of": clock_time(),
            "head": grouping.head,
            "rows": rows,
            "more": len(found) > SHOWN,
            "shown": SHOWN,
            "by": by,
            "groupings": [
                (key, other.head, self.url("groups", key) + query)
                for key, other in GROUPINGS.items()
            ],
            "back_url": self.list_url() + query,
        }
        return self.render(request, "connectionrecord/groups", context)

    @page(SEE)
    def export_page(self, request: HttpRequest) -> HttpResponse:
        """The connections of the list as a file."""
        listed = self.listed(request)
        if listed is None:
            return HttpResponseRedirect(self.list_url())
        nodes = PageLinks(self.admin_site, request).nodes
        server = list(EXPORTED).index("node_id")
        found = listed.queryset.values_list(*EXPORTED).iterator(chunk_size=2_000)
        rows = (
            (*row[:server], str(nodes.get(row[server], row[server])), *row[server + 1 :])
            for row in found
        )
        return self.export(request, "connections", EXPORTED.values(), rows)
