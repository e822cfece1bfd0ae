"""What the lists of live and of ended connections share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters, ShowFacets
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from .base import ReadOnlyAdmin
from .display import browser, cell, text
from .export import csv_response
from .filters import ColumnsChoice, TypedFilter
from .links import PageLinks
from .log import log_change
from .queries import LastPage


class ConnectionList(ChangeList):
    """One page of the list; its rows share the nodes and the links to users."""

    def get_results(self, request: HttpRequest) -> None:
        """The rows; one query for the page and one for the count."""
        super().get_results(request)
        links = PageLinks(self.model_admin.admin_site, request)
        rows = list(self.result_list)
        for row in rows:
            row.links = links
        self.result_list = rows
        # The choice of columns is none, though it stands among them.
        self.has_active_filters = any(
            name in self.filter_params and name != ColumnsChoice.parameter_name
            for spec in self.filter_specs
            for name in spec.expected_parameters()
        )
        self.typed_forms = [
            spec.form_of(self) for spec in self.filter_specs if isinstance(spec, TypedFilter)
        ]
        # The page that was asked for, or the last: rows come and go while the list is open.
        self.page_num = self.paginator.page(self.page_num).number


class ListAdmin(ReadOnlyAdmin):
    """A list of connections, which can be exported."""

    list_display_links = None  # the cell of the user has the link
    paginator = LastPage
    list_per_page = 100
    list_max_show_all = 500
    # Not a second count of all rows, whatever the filters.
    show_full_result_count = False
    show_facets = ShowFacets.NEVER

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """The list of connections."""
        return ConnectionList

    @admin.display(description=gettext_lazy("address"), ordering="address")
    def shown_address(self, connection: Any) -> SafeString:
        """Where the client is."""
        return cell(_("Address"), text(connection.address))

    @admin.display(description=gettext_lazy("browser"), ordering="user_agent")
    def shown_browser(self, connection: Any) -> SafeString:
        """The browser in words, with the user agent as the title."""
        return cell(_("Browser"), browser(connection.user_agent))

    def listed(self, request: HttpRequest) -> ChangeList | None:
        """The list with the request's parameters; None where they are none of the list's."""
        try:
            return self.get_changelist_instance(request)
        except IncorrectLookupParameters:
            return None

    def export(
        self, request: HttpRequest, file: str, columns: Iterable[str], rows: Iterable[Sequence[Any]]
    ) -> HttpResponse:
        """The rows as a file. It is logged: they name people and addresses, and leave the site."""
        response, count = csv_response(file, list(columns), rows)
        said = ngettext("Exported %(number)d row.", "Exported %(number)d rows.", count)
        name = str(self.opts.verbose_name_plural)
        log_change(request, self.model, None, name, said % {"number": count})
        return response
