"""The pages of live channels: which have subscribers now, and a form to publish a test message.

In: requests. Out: what the nodes answer at this moment (``operations``); nothing is stored here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from .. import operations
from ..errors import RealtimeError, Unavailable
from ..models import SubscriptionRecord
from ..protocol.names import MAX_NAME_LENGTH, is_key
from .answers import label, labels_of, silence
from .base import READ_AND_POST, Link, PageAdmin, page
from .display import clock_time, visible
from .forms import PublishForm
from .links import PageLinks
from .log import log_change
from .permissions import may
from .queries import alive_nodes
from .refresh import PAGE_INTERVAL_S, live_page

SHOWN = 200
"""Channels on one page; a search narrows them down."""

_NOTHING = operations.StoredReport()

SEE_CHANNELS = "view_subscriptionrecord"
PUBLISH = "publish_message"
PURGE = (SEE_CHANNELS, "purge_history")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRow:
    """One live channel, as the page shows it.

    Args:
        owner: the name of the user whose own channel it is; empty where it is none, or not known.
        by_node: the subscribers of each node, by its host and process.
        connections_url: the list of its connections; empty where the user may not see it.
        notice_url: the form of a notice; empty where the user may not act on connections.
        publish_url: the form of a test message; empty where the user may not publish.
        stored: what the stores hold of it.
        purge_url: the page that deletes them; empty where there is nothing, or it is not allowed.
    """

    name: str
    owner: str
    subscribers: int
    by_node: list[tuple[str, int]]
    rate: float
    connections_url: str
    notice_url: str
    publish_url: str
    stored: operations.StoredReport
    purge_url: str


class ChannelsAdmin(PageAdmin):
    """The live channels, in place of a list of subscriptions."""

    def get_urls(self) -> list[URLPattern]:
        """The page, the form of a test message, and the page that deletes a history."""
        return [
            self.path("publish/", "publish", self.publish_page),
            self.path("<path:channel>/purge/", "purge", self.purge_page),
            *super().get_urls(),
        ]

    @page(SEE_CHANNELS)
    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The channels that have subscribers now."""
        # No name is longer, so a longer search finds nothing either.
        search = request.GET.get("q", "").strip()[: MAX_NAME_LENGTH + 1]
        labels = labels_of(alive_nodes(request).values())
        report, unavailable = operations.ChannelsReport(channels=[], total=0, silent=()), ""
        try:
            report = operations.live_channels(search=search, limit=SHOWN)
        except Unavailable as error:
            unavailable = error.reason
        stored, store_unavailable = _stored(report)
        publish_url = self.url("publish") if may(request, PUBLISH) else ""
        links = PageLinks(self.admin_site, request)
        owners = links.owners(channel.name for channel in report.channels)
        rows = [
            self._row(
                request,
                channel,
                stored.get(channel.name, _NOTHING),
                labels,
                publish_url,
                owners.get(channel.name, ""),
            )
            for channel in report.channels
        ]
        context = {
            "title": _("Channels"),
            "crumbs": [Link(label=_("Channels"))],
            "live": live_page(PAGE_INTERVAL_S),
            "as_of": clock_time(),
            "search": search,
            "searched": visible(search),
            "max_search": MAX_NAME_LENGTH,
            "rows": rows,
            "subscriptions": sum(row.subscribers for row in rows),
            "total": report.total,
            "shown": len(rows),
            # Several nodes may have the same channels among those that they did not name.
            "total_is_exact": not report.silent and (len(labels) == 1 or report.total <= len(rows)),
            "publish_url": publish_url,
            "notice_url": self.notice_url(request),
            "keeps": any(row.stored.keeps for row in rows),
            "present": any(row.stored.members is not None for row in rows),
            "acts": any(row.publish_url or row.notice_url or row.purge_url for row in rows),
            "store_unavailable": store_unavailable,
            **silence(labels, report.silent, unavailable=unavailable),
        }
        return self.render(request, "channels", context)

    def _row(
        self,
        request: HttpRequest,
        channel: operations.ChannelReport,
        stored: operations.StoredReport,
        labels: Mapping[str, str],
        publish_url: str,
        owner: str,
    ) -> ChannelRow:
        usage = stored.usage
        by_node = [(label(labels, node_id), count) for node_id, count in channel.by_node.items()]
        return ChannelRow(
            name=visible(channel.name),
            owner=owner,
            subscribers=channel.subscribers,
            by_node=sorted(by_node, key=lambda entry: (-entry[1], entry[0])),
            rate=channel.rate,
            connections_url=self.connections_url(request, channel=channel.name),
            notice_url=self.notice_url(request, channel.name),
            publish_url=publish_url and f"{publish_url}?{urlencode({'channel': channel.name})}",
            stored=stored,
            purge_url=self.url("purge", channel.name)
            if usage is not None and (usage.messages or usage.states) and may(request, *PURGE)
            else "",
        )

    @page(*PURGE, methods=READ_AND_POST)
    def purge_page(self, request: HttpRequest, channel: str) -> HttpResponse:
        """Ask whether the history of a channel should be deleted, and delete it."""
        channels_url = self.url("changelist")
        if not is_key(channel):
            raise Http404
        if request.method == "POST":
            _purge(request, channel)
            return HttpResponseRedirect(channels_url)
        usage, unavailable = None, ""
        try:
            stored = operations.stored([channel]).get(channel, _NOTHING)
        except Unavailable as error:
            unavailable = error.reason
        else:
            if not stored.keeps:
                messages.warning(request, _("%s keeps no history.") % channel)
                return HttpResponseRedirect(channels_url)
            usage = stored.usage
        context = {
            "title": _("Delete the history of %s") % visible(channel),
            "crumbs": [Link(label=_("Channels"), url=channels_url), Link(label=_("Delete"))],
            "channel": visible(channel),
            "kept": 0 if usage is None else usage.messages,
            "states": 0 if usage is None else usage.states,
            "store_unavailable": unavailable,
            "back_url": channels_url,
        }
        return self.render(request, "channels_purge", context)

    @page(PUBLISH, methods=READ_AND_POST)
    def publish_page(self, request: HttpRequest) -> HttpResponse:
        """Publish one test message to one channel."""
        channels_url = self.url("changelist") if may(request, SEE_CHANNELS) else ""
        if request.method == "POST":
            form = PublishForm(request.POST)
            if form.is_valid() and _publish(request, form):
                return HttpResponseRedirect(channels_url or request.get_full_path())
        else:
            channel = request.GET.get("channel", "")[:MAX_NAME_LENGTH]
            form = PublishForm(initial={"channel": channel})
        context = {
            "title": _("Publish a test message"),
            "crumbs": [
                Link(label=_("Channels"), url=channels_url),
                Link(label=_("Publish a test message")),
            ],
            "form": form,
            "back_url": channels_url or self.index_url(),
        }
        return self.render(request, "channels_publish", context)


def _stored(
    report: operations.ChannelsReport,
) -> tuple[Mapping[str, operations.StoredReport], str]:
    """What the stores hold of the channels of a page, and why they cannot be asked."""
    try:
        return operations.stored(channel.name for channel in report.channels), ""
    except Unavailable as error:
        return {}, error.reason


def _purge(request: HttpRequest, channel: str) -> None:
    try:
        operations.purge(channel)
    except RealtimeError as error:
        messages.error(request, _("The history was not deleted: %s.") % error.reason)
        return
    log_change(request, SubscriptionRecord, None, channel, _("Deleted the history."))
    messages.success(request, _("Deleted the history of %s.") % channel)


def _publish(request: HttpRequest, form: PublishForm) -> bool:
    """Publish what the form holds; False where that was refused, which the form then shows."""
    channel, event = form.cleaned_data["channel"], form.cleaned_data["event"]
    try:
        operations.publish_test(channel, form.cleaned_data["payload"], event=event or None)
    except RealtimeError as error:
        form.refuse(error)
        return False
    # Not the payload: people who may read the log need not be allowed to read messages.
    said = _("Published a test message.")
    if event:
        said = _("Published a test message with the event %s.") % event
    log_change(request, SubscriptionRecord, None, channel, said)
    if _has_subscribers(channel):
        messages.success(request, _("Published to %s.") % channel)
    else:
        messages.warning(
            request, _("Published to %s, but it has no subscribers at the moment.") % channel
        )
    return True


def _has_subscribers(channel: str) -> bool:
    """Whether any connection is on the channel; True where a node that may know does not answer."""
    try:
        report = operations.live_channels(search=channel, limit=SHOWN)
    except Unavailable:
        return True
    if len(report.channels) < report.total or report.silent:
        return True
    return any(found.name == channel for found in report.channels)
