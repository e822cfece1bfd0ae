"""The admin's pages of live channels and of nodes, and what staff may do there.

In: requests, from the URLs that the model admins wire; each view asks for its own permission, since a
URL can be typed. Out: pages of what the nodes say at this moment (``operations``). Nothing here is
remembered: a page shows what was true when it was asked for.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from django import forms
from django.apps import apps
from django.contrib import messages
from django.contrib.admin import AdminSite, widgets
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, reverse
from django.utils.http import urlencode
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from .. import operations
from ..errors import BadChannel, BadPayload, RealtimeError, TooLarge, Unavailable, UnknownChannel
from ..models import NodeRecord, SubscriptionRecord
from ..protocol.names import MAX_NAME_LENGTH
from .display import visible
from .queries import alive_nodes

APP = "channels_realtime"

CHANNELS_SHOWN = 200
"""Channels on one page; a search narrows them down."""

MAX_EVENT_LENGTH = 100
"""Characters of an event's name, as ``publish`` takes it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Where a page leads; without a URL it is text."""

    label: str
    url: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRow:
    """One live channel, as the page shows it.

    Args:
        by_node: the subscribers of each node, by its host and process.
        connections_url: of the list of its connections; empty where this person may not see it.
        actions: what this person may do with it.
    """

    name: str
    subscribers: int
    by_node: list[tuple[str, int]]
    rate: float
    connections_url: str
    actions: list[Link]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NodeRow:
    """One node, as the page shows it.

    Args:
        answer: what it says now; None where it does not answer.
        connections, draining: as it says, or as it last wrote down.
        loop_lag_ms: milliseconds.
        lease_s: seconds that it may keep silent and still count as alive.
        connections_url: of the list of its connections; empty where this person may not see it.
        drain_url: of the page that asks; empty where there is nothing to ask.
    """

    record: NodeRecord
    answer: Mapping[str, Any] | None
    connections: int
    draining: bool
    loop_lag_ms: float | None
    lease_s: int
    connections_url: str
    drain_url: str


# -- channels --------------------------------------------------------------------------------------


def channels_view(request: HttpRequest, admin_site: AdminSite) -> HttpResponse:
    """The channels that have subscribers now."""
    _demand(request, "view_subscriptionrecord")
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    # No name is longer, so that nothing longer need be asked for.
    search = request.GET.get("q", "").strip()[: MAX_NAME_LENGTH + 1]
    labels = _labels(alive_nodes(request).values())
    report, unavailable = None, ""
    try:
        report = operations.live_channels(search=search, limit=CHANNELS_SHOWN)
    except Unavailable as error:
        unavailable = error.reason
    channels = report.channels if report else []
    silent = report.silent if report else ()
    rows = [_channel_row(request, admin_site, channel, labels) for channel in channels]
    context = {
        "title": gettext("Channels"),
        "crumbs": [Link(label=gettext("Channels"))],
        "search": search,
        "searched": visible(search),
        "max_search": MAX_NAME_LENGTH,
        "rows": rows,
        "has_actions": any(row.actions for row in rows),
        "subscriptions": sum(row.subscribers for row in rows),
        "total": report.total if report else 0,
        "shown": len(rows),
        # Several nodes may have the same channels among those that they did not name.
        "total_is_exact": report is not None
        and not silent
        and (len(labels) == 1 or report.total <= len(rows)),
        "publish_url": _publish_url(request, admin_site),
        "unavailable": unavailable,
        "nodes": len(labels),
        **_silence(labels, silent),
    }
    return _page(request, admin_site, "channels", context)


def _channel_row(
    request: HttpRequest,
    admin_site: AdminSite,
    channel: operations.ChannelReport,
    labels: Mapping[str, str],
) -> ChannelRow:
    publish_url = _publish_url(request, admin_site)
    if publish_url:
        publish_url += "?" + urlencode({"channel": channel.name})
    by_node = [(_label(labels, node_id), count) for node_id, count in channel.by_node.items()]
    return ChannelRow(
        name=visible(channel.name),
        subscribers=channel.subscribers,
        by_node=sorted(by_node, key=lambda entry: (-entry[1], entry[0])),
        rate=channel.rate,
        connections_url=_connections_url(request, admin_site, channel=channel.name),
        actions=[Link(label=gettext("Publish"), url=publish_url)] if publish_url else [],
    )


def _publish_url(request: HttpRequest, admin_site: AdminSite) -> str:
    if not _may(request, "publish_message"):
        return ""
    return _url(admin_site, "subscriptionrecord_publish")


class PublishForm(forms.Form):
    """A test message: what ``publish()`` takes, with the payload as JSON."""

    channel = forms.CharField(
        label=_("Channel"),
        max_length=MAX_NAME_LENGTH,
        widget=widgets.AdminTextInputWidget(
            attrs={"dir": "ltr", "autocapitalize": "off", "spellcheck": "false"}
        ),
        help_text=_("Its name, such as orders/42. All subscribers get the message."),
    )
    event = forms.CharField(
        label=_("Event"),
        max_length=MAX_EVENT_LENGTH,
        required=False,
        widget=widgets.AdminTextInputWidget(
            attrs={"dir": "ltr", "autocapitalize": "off", "spellcheck": "false"}
        ),
        help_text=_("Optional: a name for what happened."),
    )
    payload = forms.CharField(
        label=_("Payload"),
        widget=widgets.AdminTextareaWidget(
            attrs={"dir": "ltr", "autocapitalize": "off", "spellcheck": "false", "rows": 8}
        ),
        help_text=_('JSON. Text needs its own quotes: "hello".'),
    )

    def clean_payload(self) -> Any:
        """The payload that the text stands for."""
        text = self.cleaned_data["payload"]
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise forms.ValidationError(
                _("This is not JSON: %(error)s in line %(line)d, column %(column)d."),
                code="invalid",
                params={"error": error.msg, "line": error.lineno, "column": error.colno},
            ) from None
        except (ValueError, RecursionError):  # a number of too many digits; too many brackets
            raise forms.ValidationError(
                _("This JSON cannot be read: a number is too long, or it is nested too deeply."),
                code="invalid",
            ) from None

    def refuse(self, error: RealtimeError) -> None:
        """Show why the message was not published at the field that is to blame."""
        if isinstance(error, (BadChannel, UnknownChannel)):
            field = "channel"
        elif isinstance(error, (BadPayload, TooLarge)):
            field = "payload"
        else:
            field = None
        self.add_error(field, forms.ValidationError(error.reason, code=error.code.value))


def publish_view(request: HttpRequest, admin_site: AdminSite) -> HttpResponse:
    """Publish one test message to one channel."""
    _demand(request, "publish_message")
    if request.method == "POST":
        form = PublishForm(request.POST)
        if form.is_valid() and _publish(request, form):
            back = _channels_url(request, admin_site)
            return HttpResponseRedirect(back or request.get_full_path())
    elif request.method in ("GET", "HEAD"):
        form = PublishForm(initial={"channel": request.GET.get("channel", "")[:MAX_NAME_LENGTH]})
    else:
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    channels_url = _channels_url(request, admin_site)
    context = {
        "title": gettext("Publish a test message"),
        "crumbs": [
            Link(label=gettext("Channels"), url=channels_url),
            Link(label=gettext("Publish a test message")),
        ],
        "form": form,
        "back_url": channels_url or _url(admin_site, "", index=True),
    }
    return _page(request, admin_site, "channels_publish", context)


def _publish(request: HttpRequest, form: PublishForm) -> bool:
    """Publish what the form holds; False where that was refused, which the form then says."""
    channel, event = form.cleaned_data["channel"], form.cleaned_data["event"]
    try:
        operations.publish_test(channel, form.cleaned_data["payload"], event=event or None)
    except RealtimeError as error:
        form.refuse(error)
        return False
    # Never the payload: whoever may read the log need not be allowed to read messages.
    said = gettext("Published a test message.")
    if event:
        said = gettext("Published a test message with the event %s.") % event
    _log(request, SubscriptionRecord, None, channel, said)
    messages.success(request, gettext("Published to %s.") % channel)
    return True


def _channels_url(request: HttpRequest, admin_site: AdminSite) -> str:
    if not _may(request, "view_subscriptionrecord"):
        return ""
    return _url(admin_site, "subscriptionrecord_changelist")


# -- nodes -----------------------------------------------------------------------------------------


def nodes_view(request: HttpRequest, admin_site: AdminSite) -> HttpResponse:
    """The nodes whose leases hold, and how they are."""
    _demand(request, "view_noderecord")
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    unavailable = ""
    try:
        reports = operations.nodes()
    except Unavailable as error:
        unavailable = error.reason
        reports = [
            operations.NodeReport(record=record, answer=None)
            for record in alive_nodes(request).values()
        ]
    now = _database_now()
    rows = [_node_row(request, admin_site, report, now) for report in reports]
    labels = _labels(report.record for report in reports)
    silent = [report.record.pk for report in reports if report.answer is None]
    context = {
        "title": gettext("Nodes"),
        "crumbs": [Link(label=gettext("Nodes"))],
        "rows": rows,
        "unavailable": unavailable,
        "nodes": len(rows),
        **_silence(labels, () if unavailable else silent),
    }
    return _page(request, admin_site, "nodes", context)


def _node_row(
    request: HttpRequest,
    admin_site: AdminSite,
    report: operations.NodeReport,
    now: datetime | None,
) -> NodeRow:
    record, answer = report.record, report.answer
    draining = record.draining if answer is None else bool(answer["draining"])
    left = 0.0 if now is None else (record.lease_until - now).total_seconds()
    drain_url = ""
    if _may(request, "drain_node") and not draining:
        drain_url = _url(admin_site, "noderecord_drain", record.pk)
    return NodeRow(
        record=record,
        answer=answer,
        connections=record.connections if answer is None else answer["connections"],
        draining=draining,
        loop_lag_ms=None if answer is None else answer["loop_lag"] * 1000.0,
        lease_s=max(0, round(left)),
        connections_url=_connections_url(request, admin_site, process=record.pk),
        drain_url=drain_url,
    )


def _database_now() -> datetime | None:
    """The time by the clock that leases are kept by, the database's; None without nodes."""
    moment: datetime | None = NodeRecord.objects.values_list(Now(), flat=True).first()
    return moment


def drain_view(request: HttpRequest, admin_site: AdminSite, node_id: str) -> HttpResponse:
    """Ask whether a node shall drain, and have it do so."""
    _demand(request, "drain_node")
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    nodes_url = _nodes_url(request, admin_site)
    back_url = nodes_url or _url(admin_site, "", index=True)
    alive = alive_nodes(request)
    record = alive.get(node_id)
    if record is None:
        messages.warning(request, gettext("That node is no longer there."))
        return HttpResponseRedirect(back_url)
    if request.method == "POST":
        _drain(request, record)
        return HttpResponseRedirect(back_url)
    context = {
        "title": gettext("Drain %s?") % record,
        "crumbs": [Link(label=gettext("Nodes"), url=nodes_url), Link(label=gettext("Drain"))],
        "node": record,
        "is_last": not any(
            other.pk != record.pk and not other.draining for other in alive.values()
        ),
        "back_url": back_url,
    }
    return _page(request, admin_site, "nodes_drain", context)


def _drain(request: HttpRequest, record: NodeRecord) -> None:
    try:
        drains = operations.drain(record.pk)
    except Unavailable:
        messages.error(
            request,
            gettext(
                "The channel layer does not respond, so the request did not reach %s. Try again."
            )
            % record,
        )
        return
    if not drains:
        messages.error(
            request, gettext("%s does not respond: it may be draining or gone.") % record
        )
        said = gettext("%s Its server did not respond.") % gettext("Drained.")
        _log(request, NodeRecord, record.pk, str(record), said)
        return
    _log(request, NodeRecord, record.pk, str(record), gettext("Drained."))
    messages.success(
        request,
        gettext(
            "Draining %s: its connections are sent elsewhere, and it accepts no new ones until it is restarted."
        )
        % record,
    )


def _nodes_url(request: HttpRequest, admin_site: AdminSite) -> str:
    if not _may(request, "view_noderecord"):
        return ""
    return _url(admin_site, "noderecord_changelist")


# -- what the pages have in common -----------------------------------------------------------------


def _may(request: HttpRequest, permission: str) -> bool:
    user: Any = request.user  # AbstractBaseUser has no permissions; the admin wants one that has
    return bool(user.has_perm(f"{APP}.{permission}"))


def _demand(request: HttpRequest, permission: str) -> None:
    if not _may(request, permission):
        raise PermissionDenied


def _url(admin_site: AdminSite, name: str, *args: str, index: bool = False) -> str:
    """A URL of this admin site; empty where the site has no such page."""
    full = "admin:index" if index else f"admin:{APP}_{name}"
    try:
        return reverse(full, args=args, current_app=admin_site.name)
    except NoReverseMatch:  # a site of one's own need not register every model
        return ""


def _connections_url(request: HttpRequest, admin_site: AdminSite, **filters: str) -> str:
    """Of the list of connections, narrowed down; empty where this person may not see it."""
    url = _url(admin_site, "connectionrecord_changelist")
    if not url or not _may(request, "view_connectionrecord"):
        return ""
    return f"{url}?{urlencode(filters)}"


def _labels(records: Iterable[NodeRecord]) -> dict[str, str]:
    return {record.pk: str(record) for record in records}


def _label(labels: Mapping[str, str], node_id: str) -> str:
    # A node may have come between two questions: its id then says at least which it is.
    return labels.get(node_id, node_id[:8])


def _silence(labels: Mapping[str, str], silent: Collection[str]) -> dict[str, Any]:
    """Who did not answer, for the warning."""
    names = sorted(_label(labels, node_id) for node_id in silent)
    asked = len({*labels, *silent})
    return {"silent": names, "asked": asked, "answered": asked - len(names)}


def _log(
    request: HttpRequest, model: type[Model], object_id: str | None, name: str, said: str
) -> None:
    LogEntry.objects.create(
        user_id=request.user.pk,
        content_type=ContentType.objects.get_for_model(model),
        object_id=object_id,
        object_repr=name[:200],
        action_flag=CHANGE,
        change_message=said,
    )


def _page(
    request: HttpRequest, admin_site: AdminSite, name: str, context: dict[str, Any]
) -> HttpResponse:
    request.current_app = admin_site.name  # for {% url %}
    everything = {
        **admin_site.each_context(request),
        "app_label": APP,
        "app_name": apps.get_app_config(APP).verbose_name,
        **context,
    }
    return TemplateResponse(request, f"admin/{APP}/{name}.html", everything)
