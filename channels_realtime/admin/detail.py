"""The page of one connection: what the node that owns it says at this moment.

In: an id, as the list or a log has it. Out: the page; or that the connection is no longer there; or,
where its server does not answer, what the registry knows. And the history of what staff did to it,
which is there for longer than the connection.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.defaultfilters import filesizeformat
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .. import operations
from ..errors import Unavailable
from ..models import ConnectionRecord, NodeRecord, SubscriptionRecord
from ..protocol.names import is_name
from .actions import ACTIONS, is_id
from .base import ConnectionPages
from .display import (
    browser_words,
    from_epoch,
    method_words,
    nothing,
    round_trip_plot,
    text,
    transport_words,
    visible,
    when,
    whole_text,
)
from .links import Surroundings
from .log import name_of
from .queries import alive_nodes
from .refresh import live_detail
from .traces import may_trace

ENTRIES = 200
"""Entries of the admin log that the history shows, the newest first."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """One subscription, as the page shows it.

    Args:
        channel: its name.
        position: epoch and offset, or that the channel has no history.
        paused: whether the client asked for a pause.
        selections: how many selections of the channel it holds.
        unsubscribe_url: of the page that asks; empty where this person may not act.
    """

    channel: SafeString
    position: str
    paused: bool
    selections: int
    unsubscribe_url: str


def _recorded(connection_id: str) -> ConnectionRecord | None:
    if not is_id(connection_id):
        return None
    return ConnectionRecord._default_manager.filter(pk=connection_id).first()


# -- what it shows ---------------------------------------------------------------------------------


def authenticated(method: str, expires_at: datetime.datetime | None) -> SafeString:
    """How somebody was authenticated, and until when."""
    if expires_at is None:
        return format_html("<span>{}</span>", method_words(method))
    return format_html(
        '<span>{}</span> <span class="realtime-until">{} {}</span>',
        method_words(method),
        _("expires"),
        when(expires_at),
    )


def _facts(
    found: Mapping[str, Any], shared: Surroundings, node: NodeRecord | None
) -> list[tuple[str, Any]]:
    """Who and where it is."""
    proof = found["auth"]
    user_agent = found["user_agent"] or ""
    browser = browser_words(user_agent)
    expires_at = from_epoch(proof["expires_at"])
    facts: list[tuple[str, Any]] = [
        (_("User"), shared.user(found["user_id"] or "", found["user"] or "")),
        (_("Authenticated by"), authenticated(proof["method"] or "", expires_at)),
        (_("Credentials from"), text(proof["source"])),
        (_("Address"), text(found["address"])),
        (_("Transport"), text(transport_words(found["transport"]))),
        (_("Protocol"), text(found["dialect"])),
        (_("Server"), shared.server(node)),
        (_("Origin"), whole_text(found["origin"])),
        (_("Browser"), text(browser) if browser != user_agent else nothing()),
        (_("User agent"), whole_text(user_agent)),
        (_("Client id"), whole_text(found["client_id"])),
        (_("Connected"), when(from_epoch(found["connected_at"]))),
        (_("Last seen"), when(from_epoch(found["seen_at"]))),
    ]
    if found["closed"]:
        facts.append((_("State"), _("closing")))
    return facts


def _traffic(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """How much went in and out, and how healthy it is."""
    return [
        (_("Received"), _messages(found["received"], found["received_bytes"])),
        (_("Sent"), _messages(found["sent"], found["sent_bytes"])),
        (_("Waiting to be sent"), _messages(found["queued"], found["queued_bytes"])),
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


def _position(entry: Mapping[str, Any]) -> str:
    if entry["epoch"] is None or entry["offset"] is None:
        return _("no history")
    return visible(f"{entry['epoch']} / {entry['offset']}")


def _as_recorded(record: ConnectionRecord) -> dict[str, Any]:
    """What the registry knows, in the shape of an inspection."""
    recorded = SubscriptionRecord._default_manager.filter(connection_id=record.pk)
    names = list(recorded.values_list("channel", flat=True))
    expires_at = record.auth_expires_at
    return {
        "id": record.pk,
        "user_id": record.user_pk,
        "user": record.user_label,
        "address": record.address,
        "transport": record.transport,
        "dialect": "",
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
            {"channel": name, "paused": False, "selections": 1, "epoch": None, "offset": None}
            for name in names
        ],
        "subscriptions_total": record.channels,
        "headers": [],
        "traced": False,
    }


class DetailPages(ConnectionPages):
    """The page of one connection, and its history."""

    def detail_page(self, request: HttpRequest, connection_id: str) -> HttpResponse:
        """One connection."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        record = _recorded(connection_id)
        nodes = alive_nodes(request)
        node = None if record is None else nodes.get(record.node_id)
        if not is_id(connection_id) or (record is not None and node is None):
            return self._gone(request, connection_id)  # what a dead node had is gone
        answered = True
        try:
            found = operations.inspect(connection_id)
        except Unavailable:
            if record is None:
                return self._gone(request, connection_id, silent=True)
            found, answered = _as_recorded(record), False
        if found is None:
            return self._gone(request, connection_id)
        context = {
            "title": _("Connection"),
            "subtitle": connection_id,
            "answered": answered,
            "facts": _facts(found, Surroundings(self.admin_site, request), node),
            "traffic": _traffic(found) if answered else [],
            "subscriptions": self._subscriptions(found, request),
            "left_out": max(0, found["subscriptions_total"] - len(found["subscriptions"])),
            "headers": [
                (text(name, limit=100), whole_text(value)) for name, value in found["headers"]
            ],
            "traced": found["traced"],
            "live": live_detail(),
            "buttons": self._buttons(request, connection_id),
            "history_url": self.url("history", connection_id),
            "crumbs": [self.list_crumb(), {"label": connection_id}],
        }
        return self.page(request, "detail", context)

    def history_page(self, request: HttpRequest, connection_id: str) -> HttpResponse:
        """What staff did to a connection, be it there or gone."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        entries: list[LogEntry] = []
        if is_id(connection_id):
            logged = LogEntry.objects.filter(
                object_id=connection_id,
                content_type=ContentType.objects.get_for_model(ConnectionRecord),
            )
            entries = list(logged.select_related("user").order_by("-action_time", "-pk")[:ENTRIES])
        record = _recorded(connection_id)
        if not entries and record is None:
            return self._gone(request, connection_id)
        context = {
            "title": _("History"),
            "subtitle": name_of(record) if record is not None else connection_id,
            "entries": [(entry, visible(entry.get_change_message())) for entry in entries],
            "crumbs": [
                self.list_crumb(),
                self.detail_crumb(connection_id),
                {"label": _("History")},
            ],
        }
        return self.page(request, "history", context)

    def _gone(
        self, request: HttpRequest, connection_id: str, *, silent: bool = False
    ) -> HttpResponse:
        """It is not there; or nobody says whether it is."""
        context = {
            "title": _("No response") if silent else _("This connection is no longer there"),
            "silent": silent,
            "name": visible(connection_id[:80]),
            "list_url": self.list_url(),
            "history_url": self.url("history", connection_id) if is_id(connection_id) else "",
            "crumbs": [self.list_crumb(), {"label": visible(connection_id[:40])}],
        }
        return self.page(request, "gone", context, status=503 if silent else 404)

    def _buttons(self, request: HttpRequest, connection_id: str) -> list[dict[str, str]]:
        query = "?" + urlencode({"connection": connection_id})
        buttons = [
            {"label": str(action.button), "url": self.url("act", action.name) + query}
            for action in ACTIONS.values()
            if action.may(request)
        ]
        if may_trace(request):
            buttons.append({"label": _("Trace"), "url": self.url("trace", connection_id)})
        return buttons

    def _subscriptions(self, found: Mapping[str, Any], request: HttpRequest) -> list[Subscription]:
        action = ACTIONS["unsubscribe"]
        may = action.may(request)
        base = self.url("act", action.name)

        def url(channel: str) -> str:
            return f"{base}?{urlencode({'connection': found['id'], 'channel': channel})}"

        return [
            Subscription(
                channel=whole_text(entry["channel"]),
                position=_position(entry),
                paused=bool(entry["paused"]),
                selections=entry["selections"],
                unsubscribe_url=url(entry["channel"]) if may and is_name(entry["channel"]) else "",
            )
            for entry in found["subscriptions"]
        ]
