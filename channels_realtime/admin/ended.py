"""The list of connections that have ended, with the reason, as long as they are kept.

In: the rows that the nodes write (``monitoring.ended``). Out: a list, and the same as a CSV file.
"""

from __future__ import annotations

import datetime
from typing import Any

from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..models import EndedConnectionRecord
from ..settings import get_config
from .base import page
from .display import about, cell, visible, when
from .filters import PathFilter, SinceFilter, UserFilter, clean
from .lists import ListAdmin
from .permissions import APP
from .reasons import REASONS, reason

SEE_ENDED = "view_endedconnectionrecord"

EXPORTED = {
    "connection_id": "connection",
    "user_label": "user",
    "user_pk": "user id",
    "address": "address",
    "connected_at": "connected",
    "ended_at": "ended",
    "end": "reason",
    "detail": "details",
    "path": "path",
    "server": "server",
    "user_agent": "user agent",
    "client_id": "client id",
    "auth_method": "authenticated by",
}


class ReasonFilter(SimpleListFilter):
    """By the reason."""

    title = gettext_lazy("reason")
    parameter_name = "end"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """The known reasons; a site's own codes come by the URL."""
        return [(end, capfirst(str(words))) for end, words in REASONS.items() if end != "other"]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[EndedConnectionRecord]
    ) -> QuerySet[EndedConnectionRecord] | None:
        """Those that ended for the reason."""
        return queryset.filter(end=clean(self.value())) if self.value() else None


class EndedSinceFilter(SinceFilter):
    """By the time of the end."""

    title = gettext_lazy("end")
    field = "ended_at"


class EndedConnectionAdmin(ListAdmin):
    """The ended connections; the nodes write and delete them."""

    list_display = (
        "shown_user",
        "shown_reason",
        "shown_ended",
        "shown_lasted",
        "shown_address",
        "shown_browser",
    )
    list_filter = (UserFilter, PathFilter, ReasonFilter, EndedSinceFilter)
    search_fields = ("user_label", "=user_pk", "^address", "client_id", "^connection_id")
    search_help_text = gettext_lazy(
        "Part of a user name or client id, a whole user id, or the beginning of an address or"
        " connection."
    )
    ordering = ("-ended_at", "-pk")
    actions = None
    change_list_template = f"admin/{APP}/endedconnectionrecord/change_list.html"

    def get_urls(self) -> list[URLPattern]:
        """The list, and the file."""
        return [
            self.path("", "changelist", self.changelist_view),
            self.path("export/", "export", self.export_page),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list."""
        kept_for = datetime.timedelta(seconds=get_config().ended_retention)
        context = {
            "title": _("Ended connections"),
            "kept_for": about(kept_for) if kept_for else "",
            "export_url": self.url("export"),
            **(extra_context or {}),
        }
        return super().changelist_view(request, context)

    @page(SEE_ENDED)
    def export_page(self, request: HttpRequest) -> HttpResponse:
        """The ended connections of the list as a file."""
        listed = self.listed(request)
        if listed is None:
            return HttpResponseRedirect(self.url("changelist"))
        rows = listed.queryset.values_list(*EXPORTED).iterator(chunk_size=2_000)
        return self.export(request, "ended-connections", EXPORTED.values(), rows)

    @admin.display(description=gettext_lazy("user"), ordering="user_label")
    def shown_user(self, ended: Any) -> SafeString:
        """The user, and the id of the connection with a link to what was done to it."""
        return format_html(
            '{} <span class="realtime-id">{}</span>',
            ended.links.user(ended.user_pk, ended.user_label),
            self._connection(ended),
        )

    def _connection(self, ended: Any) -> SafeString:
        url = self.connection_page_url("change", ended.connection_id)
        if not url or not ended.links.may_see:
            return format_html("{}", visible(ended.connection_id))
        return format_html('<a href="{}">{}</a>', url, visible(ended.connection_id))

    @admin.display(description=gettext_lazy("reason"), ordering="end")
    def shown_reason(self, ended: EndedConnectionRecord) -> SafeString:
        """The reason in words, and what the client was told."""
        return cell(_("Reason"), reason(ended))

    @admin.display(description=gettext_lazy("ended"), ordering="ended_at")
    def shown_ended(self, ended: EndedConnectionRecord) -> SafeString:
        """When it ended."""
        return cell(_("Ended"), when(ended.ended_at))

    @admin.display(description=gettext_lazy("lasted"))
    def shown_lasted(self, ended: EndedConnectionRecord) -> SafeString:
        """How long it was open."""
        return cell(_("Lasted"), about(ended.ended_at - ended.connected_at))
