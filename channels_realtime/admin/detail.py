"""The page of one connection, from its node at this moment, and its history in Django's admin log.

In: an id, from the list or a log. Out: the page; the last record in the registry, where the node does
not answer; or a page that says that the connection has ended. The history outlives the connection.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import unquote
from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .. import operations
from ..errors import Unavailable
from ..models import (
    ConnectionRecord,
    EndedConnectionRecord,
    NodeRecord,
    SubscriptionRecord,
)
from ..protocol.names import is_key
from .actions import ACTIONS
from .base import Link, page
from .connection_pages import ConnectionPages, is_id, recorded
from .display import (
    TRANSPORTS,
    browser,
    browser_words,
    expiry,
    from_epoch,
    method_words,
    nothing,
    quiet,
    round_trip_plot,
    text,
    visible,
    when,
    whole_text,
)
from .links import PageLinks
from .log import name_of
from .permissions import SEE, TRACE, may
from .queries import alive_nodes
from .reasons import reason
from .refresh import live_detail

ENTRIES = 200
"""Entries of the admin log that the history shows, the newest first."""

_HIDDEN = "(hidden)"
"""What a node sends for the value of a header that may contain credentials."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """One subscription, as the page shows it.

    Args:
        channel: its name.
        owner: the name of the user whose own channel it is; else empty.
        paused: whether the client paused it.
        selections: how many selections of the channel it holds.
        offset: of the last message, where the channel has a history.
        unsubscribe_url: of the confirmation page; empty where the user may not act.
    """

    channel: SafeString
    owner: str
    paused: bool
    selections: int
    offset: int | None
    unsubscribe_url: str


class DetailPages(ConnectionPages):
    """The page of one connection, and its history."""

    @page(SEE)
    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """One connection."""
        connection_id = unquote(object_id)
        if not is_id(connection_id):
            return self._gone(request, connection_id)
        record = recorded(connection_id)
        node = None if record is None else alive_nodes(request).get(record.node_id)
        if record is not None and node is None:
            return self._gone(request, connection_id)  # the node is dead, and its connections ended
        answered = True
        try:
            found = operations.inspect(connection_id)
        except Unavailable:
            if record is None:
                return self._gone(request, connection_id, silent=True)
            found, answered = _as_recorded(record), False
        if found is None:
            return self._gone(request, connection_id)
        links = PageLinks(self.admin_site, request)
        context = {
            "title": _("Connection"),
            "subtitle": connection_id,
            "answered": answered,
            "facts": _facts(found, links, node),
            "traffic": _traffic(found) if answered else [],
            "subscriptions": self._subscriptions(request, found, links),
            "left_out": max(0, found["subscriptions_total"] - len(found["subscriptions"])),
            "headers": [
                (text(name, limit=100), _header(value)) for name, value in found["headers"]
            ],
            "traced": found["traced"],
            "live": live_detail(),
            "buttons": self._buttons(request, connection_id),
            "history_url": self.url("history", connection_id),
            "crumbs": [self.list_crumb(), Link(label=connection_id)],
        }
        return self.render(request, "connectionrecord/detail", context)

    @page(SEE)
    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """What staff did to a connection, whether it is open or has ended."""
        connection_id = unquote(object_id)
        if not is_id(connection_id):
            return self._gone(request, connection_id)
        logged = LogEntry.objects.filter(
            object_id=connection_id,
            content_type=ContentType.objects.get_for_model(ConnectionRecord),
        )
        entries = list(logged.select_related("user").order_by("-action_time", "-pk")[:ENTRIES])
        record = recorded(connection_id)
        if not entries and record is None:
            return self._gone(request, connection_id)
        context = {
            "title": _("History"),
            "subtitle": name_of(record) if record is not None else connection_id,
            "entries": [(entry, visible(entry.get_change_message())) for entry in entries],
            "crumbs": [
                self.list_crumb(),
                self.detail_crumb(connection_id),
                Link(label=_("History")),
            ],
        }
        return self.render(request, "connectionrecord/history", context)

    def _gone(
        self, request: HttpRequest, connection_id: str, *, silent: bool = False
    ) -> HttpResponse:
        """The connection is not there; or no server answers that knows."""
        context = {
            "title": _("No response") if silent else _("Connection not found"),
            "silent": silent,
            "name": visible(connection_id[:80]),
            "ended": self._ended(request, connection_id),
            "list_url": self.list_url(),
            "history_url": self.url("history", connection_id) if is_id(connection_id) else "",
            "crumbs": [self.list_crumb(), Link(label=visible(connection_id[:40]))],
        }
        status = 503 if silent else 404
        return self.render(request, "connectionrecord/gone", context, status=status)

    def _ended(self, request: HttpRequest, connection_id: str) -> list[tuple[str, Any]]:
        """What is kept of the connection's end; nothing where that is not known, or not to be seen."""
        if not may(request, "view_endedconnectionrecord") or not is_id(connection_id):
            return []
        kept = EndedConnectionRecord._default_manager.filter(connection_id=connection_id)
        ended = kept.order_by("-pk").first()
        if ended is None:
            return []
        links = PageLinks(self.admin_site, request)
        return [
            (_("User"), links.user(ended.user_pk, ended.user_label)),
            (_("Reason"), reason(ended)),
            (_("Ended"), when(ended.ended_at)),
            (_("Connected"), when(ended.connected_at)),
            (_("Address"), text(ended.address)),
            (_("Path"), text(ended.path)),
            (_("Browser"), browser(ended.user_agent)),
            (_("Server"), text(ended.server)),
        ]

    def _buttons(self, request: HttpRequest, connection_id: str) -> list[Link]:
        query = "?" + urlencode({"connection": connection_id})
        buttons = [
            Link(
                label=str(action.button),
                url=self.url("act", action.name) + query,
                dangerous=action.dangerous,
            )
            for action in ACTIONS.values()
            if action.may(request)
        ]
        if may(request, *TRACE):
            buttons.append(Link(label=_("Trace"), url=self.url("trace", connection_id)))
        return buttons

    def _subscriptions(
        self, request: HttpRequest, found: Mapping[str, Any], links: PageLinks
    ) -> list[Subscription]:
        action = ACTIONS["unsubscribe"]
        may_act = action.may(request)
        base = self.url("act", action.name)

        def url(channel: str) -> str:
            if not may_act or not is_key(channel):
                return ""
            return f"{base}?{urlencode({'connection': found['id'], 'channel': channel})}"

        owners = links.owners(entry["channel"] for entry in found["subscriptions"])
        return [
            Subscription(
                channel=whole_text(entry["channel"]),
                owner=owners.get(entry["channel"], ""),
                paused=bool(entry["paused"]),
                selections=entry["selections"],
                offset=entry.get("offset"),
                unsubscribe_url=url(entry["channel"]),
            )
            for entry in found["subscriptions"]
        ]


# -- what the page shows ---------------------------------------------------------------------------


def authenticated(method: str, expires_at: datetime.datetime | None) -> SafeString:
    """How a connection was authenticated, and when that expires."""
    if expires_at is None:
        return format_html("<span>{}</span>", method_words(method))
    return format_html(
        '<span>{}</span> <span class="realtime-until">{}</span>',
        method_words(method),
        expiry(expires_at),
    )


def _facts(
    found: Mapping[str, Any], links: PageLinks, node: NodeRecord | None
) -> list[tuple[str, Any]]:
    auth = found["auth"]
    user_agent = found["user_agent"] or ""
    words = browser_words(user_agent)
    expires_at = from_epoch(auth["expires_at"])
    facts: list[tuple[str, Any]] = [
        (_("User"), links.user(found["user_id"] or "", found["user"] or "")),
        (_("Authenticated by"), authenticated(auth["method"] or "", expires_at)),
        (_("Credentials from"), text(auth["source"])),
        (_("Address"), text(found["address"])),
        (_("Transport"), text(TRANSPORTS.get(found["transport"], found["transport"]))),
        (_("Protocol"), text(found["dialect"])),
        # Servers of the version before do not say these two.
        (_("Path"), whole_text(found.get("path"))),
        (_("Consumer"), whole_text(found.get("consumer"))),
        (_("Server"), links.server(node)),
        (_("Origin"), whole_text(found["origin"])),
        (_("Browser"), text(words) if words != user_agent else nothing()),
        (_("User agent"), whole_text(user_agent)),
        (_("Client id"), whole_text(found["client_id"])),
        (_("Connected"), when(from_epoch(found["connected_at"]))),
        (_("Last seen"), when(from_epoch(found["seen_at"]))),
    ]
    if found["closed"]:
        facts.append((_("State"), _("closing")))
    return facts


def _traffic(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [
        (_("Received"), _messages(found["received"], found["received_bytes"])),
        (_("Sent"), _messages(found["sent"], found["sent_bytes"])),
        (_("Queued"), _messages(found["queued"], found["queued_bytes"])),
        (_("Round trip"), round_trip_plot(found["round_trips"])),
        (_("Errors"), _number(found["errors"])),
        (_("Throttled"), _number(found["throttled"])),
    ]


def _messages(number: int, size: int) -> str:
    return ngettext("%(number)s message, %(size)s", "%(number)s messages, %(size)s", number) % {
        "number": _number(number),
        "size": filesizeformat(size),
    }


def _number(value: int) -> str:
    return str(number_format(value, force_grouping=True))


def _header(value: str) -> SafeString:
    return quiet(_("hidden")) if value == _HIDDEN else whole_text(value)


def _as_recorded(record: ConnectionRecord) -> dict[str, Any]:
    """What the registry knows, in the shape of an inspection."""
    subscriptions = SubscriptionRecord._default_manager.filter(connection_id=record.pk)
    names = list(subscriptions.values_list("channel", flat=True))
    expires_at = record.auth_expires_at
    return {
        "id": record.pk,
        "user_id": record.user_pk,
        "user": record.user_label,
        "address": record.address,
        "transport": record.transport,
        "dialect": "",
        "path": record.path,
        "consumer": record.consumer,
        "origin": record.origin,
        "user_agent": record.user_agent,
        "client_id": record.client_id,
        "auth": {
            "method": record.auth_method,
            "source": record.auth_source,
            "expires_at": None if expires_at is None else expires_at.timestamp(),
        },
        "connected_at": record.connected_at.timestamp(),
        "seen_at": record.seen_at.timestamp(),
        "closed": False,
        "subscriptions": [
            {"channel": name, "paused": False, "selections": 1, "offset": None} for name in names
        ],
        "subscriptions_total": record.channels,
        "headers": [],
        "traced": False,
    }
