"""What everything on one page about connections shares: the nodes, and the way to users' pages.

In: a request. Out: names with links, without a query for each row.
"""

from __future__ import annotations

from django.contrib.admin import AdminSite
from django.contrib.admin.utils import quote
from django.contrib.auth import get_user_model
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from ..models import NodeRecord
from .display import nothing, text, visible
from .queries import alive_nodes


class Surroundings:
    """Whom this person may see, and which nodes there are.

    Args:
        site: the admin site of the page.
        request: by whom it was asked for.
    """

    def __init__(self, site: AdminSite, request: HttpRequest) -> None:
        self.nodes = alive_nodes(request)
        self._site = site
        model = get_user_model()
        users = site._registry.get(model)
        self._links_users = users is not None and users.has_view_or_change_permission(request)
        self._user_page = f"admin:{model._meta.app_label}_{model._meta.model_name}_change"

    def user(self, user_pk: str, user_label: str) -> SafeString:
        """A user's name, with a link to its page where this person may open it."""
        if not user_pk:
            return format_html('<span class="realtime-quiet">{}</span>', _("anonymous"))
        shown = text(user_label or user_pk)
        if not self._links_users:
            return shown
        try:
            url = reverse(self._user_page, args=(quote(user_pk),), current_app=self._site.name)
        except NoReverseMatch:
            return shown
        return format_html('<a href="{}">{}</a>', url, shown)

    def server(self, node: NodeRecord | None) -> SafeString:
        """A node by its host and process; its server as the title."""
        if node is None:
            return nothing()
        software = " ".join(filter(None, (node.server, node.version)))
        return format_html(
            '<bdi class="realtime-text" title="{}">{}</bdi>{}',
            visible(software),
            visible(node),
            f" ({_('draining')})" if node.draining else "",
        )
