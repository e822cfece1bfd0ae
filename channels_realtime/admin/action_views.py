"""The pages that ask before staff act on connections, and carry out what was confirmed.

In: a choice in the list, or a button of one connection. Out: a page that says what will happen to
whom; and after its form, the list or the connection again, with messages. The permission is asked for
with every request: a URL can be typed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .. import operations
from ..errors import RealtimeError, Unavailable
from ..models import ConnectionRecord
from ..protocol.names import is_name
from .action_forms import ActionForm
from .actions import ACTIONS, MOST, Action, Result, is_id
from .base import ConnectionPages
from .log import log_outcome, name_of

NAMED = 20
"""Connections that the page which asks has by name."""

_BATCH = 500


def menu_action(action: Action) -> Callable[..., Any]:
    """The entry in the list's menu of actions, as Django wants it."""

    def ask(
        model_admin: ActionPages, request: HttpRequest, queryset: QuerySet[ConnectionRecord]
    ) -> HttpResponse | None:
        found = list(queryset[: MOST + 1])
        if not found:
            messages.warning(request, _("The selected connections are no longer there."))
            return None
        total = len(found) if len(found) <= MOST else queryset.count()
        return model_admin._ask(request, action, found[:MOST], total=total)

    ask.__name__ = action.name
    permission = "block" if action.blocks else "act"
    marked: Callable[..., Any] = admin.action(permissions=[permission], description=action.label)(
        ask
    )
    return marked


def _carry_out(
    request: HttpRequest,
    action: Action,
    connections: Sequence[ConnectionRecord],
    form: ActionForm,
) -> None:
    """Do it, say what became of it, and log it."""
    try:
        result = action.carry_out(request, connections, form.cleaned_data)
    except RealtimeError as error:
        everyone = tuple(connection.pk for connection in connections)
        # It may have been done to some of them: nobody could say.
        result = Result(
            outcome=operations.Outcome(silent=everyone), done="", gone="", logged=f"{action.label}."
        )
        if isinstance(error, Unavailable):
            messages.error(request, _("The servers could not be reached: %s.") % error.reason)
        else:
            messages.error(request, _("The action failed: %s.") % error.reason)
    outcome = result.outcome
    if outcome.done:
        messages.success(request, result.done)
    if outcome.gone:
        messages.info(request, result.gone)
    if outcome.silent:
        number = len(outcome.silent)
        messages.warning(
            request,
            ngettext(
                "The server of %(number)d connection did not respond. The action may or may not have taken effect.",
                "The servers of %(number)d connections did not respond. The action may or may not have taken effect.",
                number,
            )
            % {"number": number},
        )
    log_outcome(request, connections, outcome, result.logged)


def _filters(request: HttpRequest) -> str:
    """The list's own parameters, to come back to the same list."""
    return request.GET.urlencode() if request.method == "POST" else ""


def _ids_in(text: str) -> list[str]:
    found = dict.fromkeys(part for part in text.split() if is_id(part))
    return list(found)[:MOST]


def _read_connections(ids: list[str]) -> list[ConnectionRecord]:
    """The connections, as the registry knows them; of the others the id alone."""
    rows: dict[str, ConnectionRecord] = {}
    for start in range(0, len(ids), _BATCH):
        batch = ids[start : start + _BATCH]
        rows.update(ConnectionRecord._default_manager.in_bulk(batch))
    if len(ids) == 1 and not rows:
        rows = {ids[0]: _unrecorded(ids[0])}
    return [rows.get(i) or ConnectionRecord(connection_id=i) for i in ids]


def _unrecorded(connection_id: str) -> ConnectionRecord:
    """What its node says of a connection that the registry has not: it is off, or a second behind."""
    record = ConnectionRecord(connection_id=connection_id)
    try:
        found = operations.inspect(connection_id)
    except Unavailable:
        found = None
    if found is not None:
        record.user_pk = found["user_id"] or ""
        record.user_label = found["user"] or ""
        record.address = found["address"] or ""
    return record


class ActionPages(ConnectionPages):
    """The pages that ask about actions and carry them out."""

    def act_page(self, request: HttpRequest, name: str) -> HttpResponse:
        """Ask about one connection, or carry out what was confirmed."""
        action = ACTIONS.get(name)
        if action is None:
            raise Http404
        if not action.may(request):
            raise PermissionDenied
        if request.method in ("GET", "HEAD"):
            asked = request.GET.get("connection", "")
            if is_id(asked):
                return self._ask(request, action, _read_connections([asked]), single=True)
        elif request.method == "POST":
            connections = _read_connections(_ids_in(request.POST.get("connections", "")))
            if connections:
                return self._answer(request, action, connections)
        else:
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        messages.warning(request, _("No connection was selected."))
        return HttpResponseRedirect(self.list_url())

    def _answer(
        self,
        request: HttpRequest,
        action: Action,
        connections: Sequence[ConnectionRecord],
    ) -> HttpResponse:
        single = request.POST.get("origin") == "detail" and len(connections) == 1
        form = action.form(request.POST)
        if not form.is_valid():
            return self._ask(request, action, connections, single=single, form=form)
        _carry_out(request, action, connections, form)
        if single and not action.ends:
            return HttpResponseRedirect(self.detail_url(connections[0].pk))
        return HttpResponseRedirect(self.list_url(request.POST.get("filters", "")))

    def _ask(
        self,
        request: HttpRequest,
        action: Action,
        connections: Sequence[ConnectionRecord],
        *,
        total: int | None = None,
        single: bool = False,
        form: ActionForm | None = None,
    ) -> HttpResponse:
        """The page that asks: what will happen, to how many, to whom."""
        if form is None:
            # From the list the request holds the list's own form, which is none of this one's.
            channel = request.GET.get("channel") if single else None
            form = action.form(initial={"channel": channel} if is_name(channel) else {})
        form.offer(connections)
        filters = (
            request.POST.get("filters", "") if "filters" in request.POST else _filters(request)
        )
        first = connections[0]
        back = self.detail_url(first.pk) if single else self.list_url(filters)
        own = str(request.user.pk)
        context = {
            "title": str(action.question),
            "action": action,
            "form": form,
            "act_url": self.url("act", action.name),
            "ids": " ".join(connection.pk for connection in connections),
            "number": len(connections),
            "left_out": max(0, (total or 0) - len(connections)),
            "most": MOST,
            "names": [name_of(connection) for connection in connections[:NAMED]],
            "more": max(0, len(connections) - NAMED),
            "includes_me": action.ends and any(c.user_pk == own for c in connections),
            "filters": filters,
            "single": single,
            "back_url": back,
            "crumbs": [
                self.list_crumb(),
                *([self.detail_crumb(first.pk)] if single else []),
                {"label": str(action.button)},
            ],
        }
        return self.page(request, "act", context)
