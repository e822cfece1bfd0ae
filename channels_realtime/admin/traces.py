"""Watching what one connection sends and receives: the page, and the answers its script polls for.

In: a person with the permission to trace, who starts a trace and from then on asks every second. Out:
events as text. Starting is logged, and gives the page a signed key, without which nothing is
answered. The permission is asked for each time; with it, or with its viewer, the trace ends.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

from django.core import signing
from django.core.exceptions import PermissionDenied
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    JsonResponse,
)
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .. import operations
from ..errors import RealtimeError, Unavailable
from ..settings import get_config
from .actions import is_id
from .base import ConnectionPages
from .display import from_epoch, visible
from .log import log_connection

LASTS_S = 3_600
"""How long a trace can be read after it was started; then it has to be started, and logged, anew."""

SHOWN = 4_000
"""Characters of a payload that are shown."""

KEY_HEADER = "X-Realtime-Trace"
"""Holds the key, so that it stands in no access log."""

_SALT = "channels_realtime.trace"

_WITHHELD = {
    "secret": gettext_lazy("hidden: it may contain credentials"),
    "size": gettext_lazy("not shown: it is too long"),
    "unreadable": gettext_lazy("not shown: it cannot be read"),
}


def may_trace(request: HttpRequest) -> bool:
    """Whether this person may watch connections: those that he or she may see."""
    user: Any = request.user
    return bool(
        user.has_perms(
            ["channels_realtime.view_connectionrecord", "channels_realtime.trace_connection"]
        )
    )


def _stop(connection_id: str, viewer: str) -> None:
    try:
        operations.stop_trace(connection_id, viewer=viewer)
    except RealtimeError:
        pass  # it ends by itself, ten seconds after it was last read


def _ticket(request: HttpRequest, connection_id: str) -> dict[str, Any] | None:
    """What the key says, if it is for this person and this connection and not too old."""
    key = request.headers.get(KEY_HEADER) or request.POST.get("key", "")
    try:
        ticket: dict[str, Any] = signing.loads(key, salt=_SALT, max_age=LASTS_S)
    except signing.BadSignature:
        return None
    if ticket["c"] != connection_id or ticket["u"] != str(request.user.pk):
        return None
    return ticket


def _refused() -> JsonResponse:
    return JsonResponse(
        {"state": "refused", "text": _("You do not have permission to trace this connection.")},
        status=403,
    )


def _shown(event: Mapping[str, Any]) -> dict[str, Any]:
    """One event as plain text, with what cannot be seen made visible; the script adds no markup."""
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
        shown["withheld"] = str(_WITHHELD.get(event["withheld"], event["withheld"]))
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
        "off": _("The trace is not running."),
        "starting": _("Starting …"),
        "on": _("Tracing without payloads."),
        "on_payloads": _("Tracing with payloads."),
        "stopped": _("Stopped."),
        "failing": _("The server does not respond. Retrying."),
        "signed_out": _("You have been logged out. Reload the page to log in."),
        "lost": _("Events that arrived too fast to be shown:"),
        "in": _("received from the client"),
        "out": _("sent to the client"),
    }


class TracePages(ConnectionPages):
    """The page of a trace, and what its script asks for."""

    def trace_page(self, request: HttpRequest, connection_id: str) -> HttpResponse:
        """The page, with nothing watched yet."""
        if not may_trace(request):
            raise PermissionDenied
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
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
                {"label": _("Trace")},
            ],
        }
        return self.page(request, "trace", context)

    def start_trace(self, request: HttpRequest, connection_id: str) -> HttpResponse:
        """Note who begins to watch whom, and give out the key."""
        if not may_trace(request):
            return _refused()
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not is_id(connection_id):
            raise Http404
        payloads = get_config().trace_payloads and request.POST.get("payloads") == "on"
        log_connection(
            request,
            self.connection(connection_id),
            _("Started a trace with payloads.")
            if payloads
            else _("Started a trace without payloads."),
        )
        viewer = f"{request.user.get_username()}/{secrets.token_hex(4)}"
        ticket = {"c": connection_id, "v": viewer, "p": payloads, "u": str(request.user.pk)}
        return JsonResponse({"key": signing.dumps(ticket, salt=_SALT), "payloads": payloads})

    def trace_events(self, request: HttpRequest, connection_id: str) -> HttpResponse:
        """What the connection sent and received since; the first call begins the trace."""
        if request.method != "GET":
            return HttpResponseNotAllowed(["GET"])
        ticket = _ticket(request, connection_id)
        if not may_trace(request):
            if ticket is not None:
                _stop(connection_id, ticket["v"])
            return _refused()
        if ticket is None:
            return JsonResponse(
                {"state": "over", "text": _("The trace has ended. Start it again to continue.")},
                status=403,
            )
        try:
            after = max(0, int(request.GET.get("after", "0")[:20]))
        except ValueError:
            after = 0
        try:
            part = operations.read_trace(
                connection_id, viewer=ticket["v"], after=after, payloads=ticket["p"]
            )
        except Unavailable:
            return JsonResponse(
                {"state": "silent", "text": _("Its server does not respond.")}, status=503
            )
        if part is None:
            return JsonResponse(
                {"state": "gone", "text": _("This connection is no longer there.")}, status=404
            )
        return JsonResponse(
            {
                "state": "on",
                "events": [_shown(event) for event in part.events],
                "next": part.next,
                "lost": part.lost,
            }
        )

    def stop_trace(self, request: HttpRequest, connection_id: str) -> HttpResponse:
        """Watch no longer. Asks for no permission: to stop is what its loss would do."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        ticket = _ticket(request, connection_id)
        if ticket is not None:
            _stop(connection_id, ticket["v"])
        return JsonResponse({"state": "stopped"})
