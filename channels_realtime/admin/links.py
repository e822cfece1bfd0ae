"""The names of users and servers on a page, with links, without a query for each row."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from django.contrib.admin import AdminSite
from django.contrib.admin.utils import quote
from django.contrib.auth import get_user_model
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from ..channels import USER_CHANNEL_PREFIX
from ..models import ConnectionRecord, NodeRecord
from ..monitoring.registry_rows import storable
from ..protocol.names import unquote
from .display import nothing, quiet, text, visible
from .permissions import SEE, may
from .queries import alive_nodes


class PageLinks:
    """The live nodes, and which users' pages the user of the request may open.

    Args:
        site: the admin site of the page.
        request: for the page.
    """

    def __init__(self, site: AdminSite, request: HttpRequest) -> None:
        self.nodes = alive_nodes(request)
        self.may_see = may(request, SEE)
        """Whether the user of the request may see connections, and with them who uses which name."""
        self._site = site
        model = get_user_model()
        users = site._registry.get(model)
        self._links_users = users is not None and users.has_view_or_change_permission(request)
        self._user_page = f"admin:{model._meta.app_label}_{model._meta.model_name}_change"

    def user(self, user_pk: str, user_label: str) -> SafeString:
        """A user's name, with a link to the user's page where it may be opened."""
        if not user_pk:
            return quiet(_("anonymous"))
        shown = text(user_label or user_pk)
        if not self._links_users:
            return shown
        try:
            url = reverse(self._user_page, args=(quote(user_pk),), current_app=self._site.name)
        except NoReverseMatch:
            return shown
        return format_html('<a href="{}">{}</a>', url, shown)

    def owners(self, names: Iterable[str]) -> dict[str, str]:
        """The names of the users whose own channels are among these channels; one query at most."""
        by_key: dict[str, str] = {}
        for name in names:
            prefix, _slash, segment = name.partition("/")
            if f"{prefix}/" == USER_CHANNEL_PREFIX and "/" not in segment:
                with contextlib.suppress(ValueError):  # the name of a key that is too long
                    key = unquote(segment)
                    if storable(key, 255) == key:
                        by_key[key] = name
        if not by_key or not self.may_see:
            return {}
        named = ConnectionRecord._default_manager.filter(user_pk__in=list(by_key))
        labels: dict[str, list[str]] = {}
        for key, label in named.order_by().values_list("user_pk", "user_label").distinct():
            labels.setdefault(key, []).append(label)
        # Two tenants may have users with the same key: then no name is better than a wrong one.
        return {
            by_key[key]: visible(found[0])
            for key, found in labels.items()
            if len(found) == 1 and found[0] and key in by_key
        }

    def server(self, node: NodeRecord | None) -> SafeString:
        """The host and process of a node, with its server software as the title."""
        if node is None:
            return nothing()
        package = node.version and f"channels_realtime {node.version}"
        software = ", ".join(filter(None, (node.server, package)))
        return format_html(
            '<bdi class="realtime-text" title="{}">{}</bdi>{}',
            visible(software),
            visible(node),
            f" ({_('draining')})" if node.draining else "",
        )
