"""The admin of connections: the list, which updates itself, and the pages of one connection.

In: the rows of the registry. Out: pages to read, and the actions on what they show. Connections
cannot be added, changed or deleted here: their nodes write the rows.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import smart_split, unescape_string_literal
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..models import ConnectionRecord
from .action_views import ActionPages, menu_action
from .actions import ACTIONS
from .detail import DetailPages, authenticated
from .display import cell, class_name, health, text, when
from .filters import (
    AdminPagesFilter,
    ChannelFilter,
    ColumnsChoice,
    HealthFilter,
    MethodFilter,
    NodeFilter,
    PathFilter,
    SinceFilter,
    UserFilter,
    wants_all_columns,
)
from .groups import GROUPINGS, GroupPages
from .links import PageLinks
from .notices import NoticePages
from .queries import alive_only, search
from .refresh import is_refresh, live_list, registry_notice
from .traces import TracePages

FEW_COLUMNS = (
    "shown_user",
    "shown_channels",
    "shown_address",
    "shown_since",
    "shown_seen",
    "shown_health",
)
"""What fits a laptop beside the filters; everything else is in the page of a connection."""

ALL_COLUMNS = (
    *FEW_COLUMNS,
    "shown_path",
    "shown_consumer",
    "shown_server",
    "shown_origin",
    "shown_browser",
    "shown_client_id",
    "shown_method",
)


class ConnectionAdmin(DetailPages, ActionPages, TracePages, NoticePages, GroupPages):
    """The live connections."""

    list_display = FEW_COLUMNS
    list_filter = (
        UserFilter,
        ChannelFilter,
        PathFilter,
        HealthFilter,
        SinceFilter,
        MethodFilter,
        NodeFilter,
        AdminPagesFilter,
        ColumnsChoice,
    )
    search_fields = ("user_label", "user_pk", "address", "client_id", "connection_id")
    search_help_text = gettext_lazy(
        "Part of a user name or client id, a whole user id, or the beginning of an address, channel"
        " or connection."
    )
    ordering = ("-connected_at",)
    actions = [menu_action(action) for action in ACTIONS.values()]

    # -- the list ----------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[ConnectionRecord]:
        """The connections of nodes whose lease has not expired."""
        return alive_only(super().get_queryset(request), request)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ConnectionRecord], search_term: str
    ) -> tuple[QuerySet[ConnectionRecord], bool]:
        """Connections that match each word in the user, address, channel, client id or id."""
        terms = [
            unescape_string_literal(term) if _is_quoted(term) else term
            for term in smart_split(search_term)
        ]
        terms = [term for term in terms if term]
        return (search(queryset, terms) if terms else queryset), False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list."""
        context = {
            "title": _("Connections"),
            "live": live_list(),
            "registry_notice": registry_notice(),
            "groupings": [
                (grouping.head, self.url("groups", by)) for by, grouping in GROUPINGS.items()
            ],
            "export_url": self.url("export"),
            "notice_url": self.notice_url(request),
            **({"messages": ()} if is_refresh(request) else {}),
            **(extra_context or {}),
        }
        return super().changelist_view(request, context)

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        """A few columns, or all of them."""
        return ALL_COLUMNS if wants_all_columns(request) else FEW_COLUMNS

    @admin.display(description=gettext_lazy("user"), ordering="user_label")
    def shown_user(self, connection: Any) -> SafeString:
        """The user, with a link, and the id of the connection, as logs have it, with a link."""
        links: PageLinks = connection.links
        return format_html(
            '{} <a class="realtime-id" href="{}" data-key="{}">{}</a>',
            links.user(connection.user_pk, connection.user_label),
            self.detail_url(connection.pk),
            connection.pk,
            connection.pk,
        )

    @admin.display(description=gettext_lazy("channels"), ordering="channels")
    def shown_channels(self, connection: ConnectionRecord) -> SafeString:
        """The number of subscriptions."""
        return cell(_("Channels"), connection.channels)

    @admin.display(description=gettext_lazy("connected"), ordering="connected_at")
    def shown_since(self, connection: ConnectionRecord) -> SafeString:
        """When it connected."""
        return cell(_("Connected"), when(connection.connected_at))

    @admin.display(description=gettext_lazy("last seen"), ordering="seen_at")
    def shown_seen(self, connection: ConnectionRecord) -> SafeString:
        """When the client was last heard from, to the minute."""
        return cell(_("Last seen"), when(connection.seen_at))

    @admin.display(description=gettext_lazy("health"), ordering="health")
    def shown_health(self, connection: Any) -> SafeString:
        """Whether it is well, and if not, why."""
        links: PageLinks = connection.links
        node = links.nodes.get(connection.node_id)
        moving = node is not None and node.draining
        return cell(_("Health"), health(connection.health, moving=moving))

    @admin.display(description=gettext_lazy("path"), ordering="path")
    def shown_path(self, connection: ConnectionRecord) -> SafeString:
        """The path of the handshake."""
        return cell(_("Path"), text(connection.path, limit=40))

    @admin.display(description=gettext_lazy("consumer"), ordering="consumer")
    def shown_consumer(self, connection: ConnectionRecord) -> SafeString:
        """The class of the site's own consumer."""
        return cell(_("Consumer"), class_name(connection.consumer))

    @admin.display(description=gettext_lazy("server"), ordering="node_id")
    def shown_server(self, connection: Any) -> SafeString:
        """The host and process of the node."""
        links: PageLinks = connection.links
        return cell(_("Server"), links.server(links.nodes.get(connection.node_id)))

    @admin.display(description=gettext_lazy("origin"), ordering="origin")
    def shown_origin(self, connection: ConnectionRecord) -> SafeString:
        """The origin of the page."""
        return cell(_("Origin"), text(connection.origin, limit=40))

    @admin.display(description=gettext_lazy("client id"), ordering="client_id")
    def shown_client_id(self, connection: ConnectionRecord) -> SafeString:
        """The id that the client sent."""
        return cell(_("Client id"), text(connection.client_id, limit=24))

    @admin.display(description=gettext_lazy("authenticated by"), ordering="auth_method")
    def shown_method(self, connection: ConnectionRecord) -> SafeString:
        """How the connection was authenticated, and when that expires."""
        shown = authenticated(connection.auth_method, connection.auth_expires_at)
        return cell(_("Authenticated by"), shown)


def _is_quoted(term: str) -> bool:
    return len(term) > 1 and term[0] in "\"'" and term[0] == term[-1]
