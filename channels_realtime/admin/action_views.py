"""The confirmation page of an action on connections, which also carries the action out.

In: a choice in the list, or a button of one connection. Out: a page that says what will happen to
which connections; after its form, the list or the connection again, with messages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .. import operations
from ..errors import RealtimeError, Unavailable
from ..models import ConnectionRecord
from ..protocol.names import is_key
from .actions import ACTIONS, Action, Result
from .base import READ_AND_POST, Link, page
from .connection_pages import ConnectionPages, is_id, read_connections
from .forms import ActionForm
from .log import log_outcome, name_of
from .permissions import ACT, BLOCK, may

MOST = 10_000
"""Connections that one action affects."""

NAMED = 20
"""Connections that the confirmation page names."""


class ActionPages(ConnectionPages):
    """The confirmation pages of the actions."""

    def get_urls(self) -> list[URLPattern]:
        """One URL for each action, before those of the other pages."""
        return [self.path("act/<slug:name>/", "act", self.act_page), *super().get_urls()]

    def has_act_permission(self, request: HttpRequest) -> bool:
        """For entries of the list's menu with the permission ``act``."""
        return may(request, *ACT)

    def has_block_permission(self, request: HttpRequest) -> bool:
        """For entries of the list's menu with the permission ``block``."""
        return may(request, *BLOCK)

    @page(methods=READ_AND_POST)
    def act_page(self, request: HttpRequest, name: str) -> HttpResponse:
        """Ask about one connection, or carry out what was confirmed."""
        action = ACTIONS.get(name)
        if action is None:
            raise Http404
        if not action.may(request):
            raise PermissionDenied
        if request.method == "POST":
            ids = dict.fromkeys(filter(is_id, request.POST.get("connections", "").split()))
            if ids:
                return self._answer(request, action, read_connections(list(ids)[:MOST]))
        elif is_id(asked := request.GET.get("connection", "")):
            return self.ask(request, action, read_connections([asked]), single=True)
        messages.warning(request, _("No connection was selected."))
        return HttpResponseRedirect(self.list_url())

    def ask(
        self,
        request: HttpRequest,
        action: Action,
        connections: Sequence[ConnectionRecord],
        *,
        total: int | None = None,
        single: bool = False,
        form: ActionForm | None = None,
    ) -> HttpResponse:
        """The confirmation page: what will happen, to how many, to which connections."""
        if form is None:
            # From the list the request holds the list's own form, which is none of this one's.
            channel = request.GET.get("channel") if single else None
            form = action.form(initial={"channel": channel} if is_key(channel) else {})
        form.suggest(connections)
        filters = _filters(request)
        first = connections[0]
        own = str(request.user.pk)
        context = {
            "title": str(action.label),
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
            "back_url": self.detail_url(first.pk) if single else self.list_url(filters),
            "crumbs": [
                self.list_crumb(),
                *([self.detail_crumb(first.pk)] if single else []),
                Link(label=str(action.button)),
            ],
        }
        return self.render(request, "connectionrecord/act", context)

    def _answer(
        self, request: HttpRequest, action: Action, connections: Sequence[ConnectionRecord]
    ) -> HttpResponse:
        single = request.POST.get("origin") == "detail" and len(connections) == 1
        form = action.form(request.POST)
        if not form.is_valid():
            return self.ask(request, action, connections, single=single, form=form)
        _carry_out(request, action, connections, form)
        if single and not action.ends:
            return HttpResponseRedirect(self.detail_url(connections[0].pk))
        return HttpResponseRedirect(self.list_url(_filters(request)))


def menu_action(action: Action) -> Callable[..., Any]:
    """The entry in the list's menu of actions, as Django wants it."""

    def ask(
        model_admin: ActionPages, request: HttpRequest, queryset: QuerySet[ConnectionRecord]
    ) -> HttpResponse | None:
        found = list(queryset[: MOST + 1])
        if not found:
            messages.warning(request, _("The selected connections have ended."))
            return None
        total = len(found) if len(found) <= MOST else queryset.count()
        return model_admin.ask(request, action, found[:MOST], total=total)

    ask.__name__ = action.name
    permission = "block" if action.permissions == BLOCK else "act"
    marked: Callable[..., Any] = admin.action(permissions=[permission], description=action.label)(
        ask
    )
    return marked


def _filters(request: HttpRequest) -> str:
    """The query string of the list, so that staff return to the same list."""
    if "filters" in request.POST:
        return request.POST["filters"]
    return request.GET.urlencode() if request.method == "POST" else ""


def _carry_out(
    request: HttpRequest,
    action: Action,
    connections: Sequence[ConnectionRecord],
    form: ActionForm,
) -> None:
    """Do it, tell the person who acted what became of it, and log it."""
    try:
        result = action.carry_out(request, connections, form.cleaned_data)
    except RealtimeError as error:
        # Some of the servers may have done it before the error: the outcome is unknown for all.
        everyone = tuple(connection.pk for connection in connections)
        result = Result(outcome=operations.Outcome(silent=everyone), logged=f"{action.label}.")
        if isinstance(error, Unavailable):
            messages.error(request, _("The servers cannot be reached: %s.") % error.reason)
        else:
            messages.error(request, _("The action failed: %s.") % error.reason)
    outcome = result.outcome
    if outcome.done:
        messages.success(request, result.done)
    if outcome.gone:
        messages.warning(request, result.gone)
    if outcome.impossible:
        number = len(outcome.impossible)
        messages.warning(
            request,
            ngettext(
                "Not possible for %(number)d connection: its consumer has no message for it.",
                "Not possible for %(number)d connections: their consumers have no message for it.",
                number,
            )
            % {"number": number},
        )
    if outcome.silent:
        number = len(outcome.silent)
        messages.warning(
            request,
            ngettext(
                "The server did not respond for %(number)d connection:"
                " the action may or may not have taken effect.",
                "The server did not respond for %(number)d connections:"
                " the action may or may not have taken effect.",
                number,
            )
            % {"number": number},
        )
    log_outcome(request, connections, outcome, result.logged)
