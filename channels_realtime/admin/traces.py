"""Tracing what one connection sends and receives: the page, and the answers to its script.

In: requests of a page that starts a trace and then asks for events every second. Out: events as text.
A start is logged, and returns a signed key that the other requests need. Each request checks the
permission; a trace ends when its viewer loses it, or stops asking.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

from django.core import signing
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .. import operations
from ..errors import RealtimeError, Unavailable
from ..settings import get_config
from .base import Link, page
from .connection_pages import ConnectionPages, is_id, read_connections
from .display import from_epoch, visible
from .log import log_connection
from .permissions import TRACE, may

LASTS_S = 3_600
"""How long a trace can be read; after that it has to be started, and logged, again."""

SHOWN = 4_000
"""Characters of a payload that are shown."""

KEY_HEADER = "X-Realtime-Trace"
"""Carries the key: in the URL it would be in access logs."""

_SALT = "channels_realtime.trace"

_WITHHELD = {
    "secret": gettext_lazy("hidden: it may contain credentials"),
    "size": gettext_lazy("not shown: it is too long"),
    "unreadable": gettext_lazy("not shown: it cannot be read"),
}


class TracePages(ConnectionPages):
    """The page of a trace, and what its script asks for."""

    def get_urls(self) -> list[URLPattern]:
        """The page of the trace and those of its script, before the other pages."""
        trace = "<path:connection_id>/trace/"
        return [
            self.path(trace, "trace", self.trace_page),
            self.path(f"{trace}start/", "trace_start", self.start_trace),
            self.path(f"{trace}events/", "trace_events", self.trace_events),
            self.path(f"{trace}stop/", "trace_stop", self.stop_trace),
            *super().get_urls(),
        ]

    @page(*TRACE)
    def trace_page(self, request: HttpRequest, connection_id: str) -> HttpResponse:
        """The page, with no trace running."""
        if not is_id(connection_id):
            raise Http404
        context = {
            "title": _("Trace"),
            "subtitle": connection_id,
            "start_url": self.url("trace_start", connection_id),
            "events_url": self.url("trace_events", connection_id),
            "stop_url": self.url("trace_stop", connection_id),
            "detail_url": self.detail_url(connection_id),
            "key_header": KEY_HEADER,
            "payloads": get_config().trace_payloads,
            "words": _words(),
            "crumbs": [
                self.list_crumb(),
                self.detail_crumb(connection_id),
                Link(label=_("Trace")),
            ],
        }
        return self.render(request, "connectionrecord/trace", context)

    @page(methods=("POST",))
    def start_trace(self, request: HttpRequest, connection_id: str) -> HttpResponse:
        """Log who starts a trace of which connection, and return the key."""
        if not may(request, *TRACE):
            return _refused()
        if not is_id(connection_id):
            raise Http404
        payloads = get_config().trace_payloads and request.POST.get("payloads") == "on"
        logged = (
            _("Started a trace with payloads.")
            if payloads
            else _("Started a trace without payloads.")
        )
        [connection] = read_connections([connection_id])
        log_connection(request, connection, logged)
        viewer = f"{request.user.get_username()}/{secrets.token_hex(4)}"
        ticket = {"c": connection_id, "v": viewer, "p": payloads, "u": str(request.user.pk)}
        return JsonResponse({"key": signing.dumps(ticket, salt=_SALT), "payloads": payloads})

    @page(methods=("GET",))
    def trace_events(self, request: HttpRequest, connection_id: str) -> HttpResponse:
        """What the connection sent and received since; the first request begins the trace."""
        ticket = _ticket(request, connection_id)
        if not may(request, *TRACE):
            if ticket is not None:
                _stop(connection_id, ticket["v"])
            return _refused()
        if ticket is None:
            return _state("over", _("The trace has ended. Start it again to continue."), 403)
        try:
            after = max(0, int(request.GET.get("after", "0")[:20]))
        except ValueError:
            after = 0
        try:
            part = operations.read_trace(
                connection_id, viewer=ticket["v"], after=after, payloads=ticket["p"]
            )
        except Unavailable:
            return _state("silent", _("The server of this connection does not respond."), 503)
        if part is None:
            return _state("gone", _("This connection has ended."), 404)
        return JsonResponse(
            {
                "state": "on",
                "events": [_shown(event) for event in part.events],
                "next": part.next,
                "lost": part.lost,
            }
        )

    @page(methods=("POST",))
    def stop_trace(self, request: HttpRequest, connection_id: str) -> HttpResponse:
        """Stop the trace. Needs no permission: losing the permission stops it too."""
        ticket = _ticket(request, connection_id)
        if ticket is not None:
            _stop(connection_id, ticket["v"])
        return JsonResponse({"state": "stopped"})


def _stop(connection_id: str, viewer: str) -> None:
    try:
        operations.stop_trace(connection_id, viewer=viewer)
    except RealtimeError:
        pass  # the trace ends by itself ten seconds after the last request


def _ticket(request: HttpRequest, connection_id: str) -> dict[str, Any] | None:
    """What the key says, if it is for this user and this connection and has not expired."""
    key = request.headers.get(KEY_HEADER) or request.POST.get("key", "")
    try:
        ticket: dict[str, Any] = signing.loads(key, salt=_SALT, max_age=LASTS_S)
    except signing.BadSignature:
        return None
    if ticket["c"] != connection_id or ticket["u"] != str(request.user.pk):
        return None
    return ticket


def _state(state: str, text: str, status: int) -> JsonResponse:
    return JsonResponse({"state": state, "text": text}, status=status)


def _refused() -> JsonResponse:
    return _state("refused", _("You do not have permission to trace this connection."), 403)


def _shown(event: Mapping[str, Any]) -> dict[str, Any]:
    """One event as plain text, with invisible characters made visible; the script adds no markup."""
    moment = from_epoch(event.get("at"))
    shown: dict[str, Any] = {
        "number": event.get("number"),
        "at": "" if moment is None else f"{timezone.localtime(moment):%H:%M:%S.%f}"[:-3],
        "out": event.get("direction") == "out",
        "size": event.get("size"),
    }
    for name in ("type", "channel", "event", "id", "code"):
        value = event.get(name)
        shown[name] = "" if value is None else visible(str(value)[:SHOWN])
    if "payload" in event:
        shown["payload"] = _payload(event["payload"])
    elif "withheld" in event:
        reason = str(event["withheld"])
        shown["withheld"] = str(_WITHHELD.get(reason, visible(reason[:SHOWN])))
    return shown


def _payload(payload: Any) -> str:
    text = (
        payload
        if isinstance(payload, str)
        else json.dumps(payload, ensure_ascii=False, default=str)
    )
    return visible(text[:SHOWN]) + ("…" if len(text) > SHOWN else "")


def _words() -> dict[str, str]:
    return {
        "off": _("Not running."),
        "starting": _("Starting …"),
        "on": _("Running, without payloads."),
        "on_payloads": _("Running, with payloads."),
        "stopped": _("Stopped."),
        "failing": _("The server does not respond. Retrying."),
        "signed_out": _("You have been logged out. Reload the page to log in."),
        "lost": _("Events skipped because there were too many:"),
        "in": _("received from the client"),
        "out": _("sent to the client"),
    }
