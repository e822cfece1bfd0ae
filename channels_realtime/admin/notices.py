"""A notice to all connections on a channel, or to everybody; each is confirmed on the page of its form.

In: a text. Out: what the nodes sent (``operations``), in words and in Django's admin log.
"""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .. import operations
from ..errors import RealtimeError, Unavailable
from ..models import ConnectionRecord, SubscriptionRecord
from ..protocol.names import is_key
from .answers import label, labels_of
from .base import READ_AND_POST, Link, page
from .connection_pages import ConnectionPages
from .display import visible
from .forms import BroadcastForm
from .log import log_change
from .permissions import ACT
from .queries import alive_nodes


class NoticePages(ConnectionPages):
    """The page of a notice to many."""

    def get_urls(self) -> list[URLPattern]:
        """The page, before those of one connection."""
        return [self.path("notice/", "notice", self.notice_page), *super().get_urls()]

    @page(*ACT, methods=READ_AND_POST)
    def notice_page(self, request: HttpRequest) -> HttpResponse:
        """Ask for the text and the confirmation, or send the notice."""
        channel = request.GET.get("channel", "")
        if channel and not is_key(channel):
            messages.warning(request, _("%s is not a valid channel name.") % visible(channel[:80]))
            return HttpResponseRedirect(self.list_url())
        form = BroadcastForm(request.POST if request.method == "POST" else None)
        if form.is_valid():
            _send(request, channel, form.cleaned_data["text"])
            return HttpResponseRedirect(self.list_url())
        title = _("Send a notice to a channel") if channel else _("Send a notice to everybody")
        context = {
            "title": title,
            "crumbs": [self.list_crumb(), Link(label=title)],
            "channel": visible(channel),
            "number": _reach(channel),
            "form": form,
            "back_url": self.list_url(),
        }
        return self.render(request, "connectionrecord/notice", context)


def _reach(channel: str) -> int | None:
    """About how many connections a notice reaches now; None where no node says so."""
    try:
        if channel:
            found = operations.live_channels(search=channel, limit=200).channels
            return sum(report.subscribers for report in found if report.name == channel)
        return sum(report.connections for report in operations.nodes())
    except Unavailable:
        return None


def _send(request: HttpRequest, channel: str, text: str) -> None:
    said = _("Sent a notice to all its connections: %s") if channel else _("Sent a notice: %s")
    model = SubscriptionRecord if channel else ConnectionRecord
    try:
        found = operations.broadcast_notice({"text": text}, channel=channel or None)
    except RealtimeError as error:
        messages.error(request, _("The action failed: %s.") % error.reason)
        return
    log_change(request, model, None, channel or _("everybody"), said % visible(text))
    if found.sent:
        words = ngettext(
            "The notice was sent to %(number)d connection.",
            "The notice was sent to %(number)d connections.",
            found.sent,
        )
        messages.success(request, words % {"number": found.sent})
    elif not found.silent:
        messages.warning(request, _("No connection took the notice."))
    if found.silent:
        labels = labels_of(alive_nodes(request).values())
        names = ", ".join(sorted(visible(label(labels, node)) for node in found.silent))
        messages.warning(
            request,
            _("No response from %s: its connections may or may not have the notice.") % names,
        )
