"""The pages of nodes: how each is doing now, and draining one.

In: requests. Out: what the nodes answer at this moment (``operations``), or their last records.
"""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.translation import gettext as _

from .. import operations
from ..errors import Unavailable
from ..models import NodeRecord
from .answers import ask_nodes
from .base import READ_AND_POST, Link, PageAdmin, page
from .display import clock_time
from .log import log_change, unanswered
from .permissions import may
from .queries import alive_nodes
from .refresh import PAGE_INTERVAL_S, live_page

SEE_NODES = "view_noderecord"
DRAIN = "drain_node"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NodeRow:
    """One node, as the page shows it.

    Args:
        loop_lag_ms: milliseconds; None where it does not answer.
        lease_s: seconds until its lease expires.
        connections_url: the list of its connections; empty where the user may not see it.
        drain_url: the confirmation page; empty where the node drains or the user may not drain it.
    """

    report: operations.NodeReport
    loop_lag_ms: float | None
    lease_s: int
    connections_url: str
    drain_url: str


class NodesAdmin(PageAdmin):
    """The live nodes, in place of a list of rows."""

    def get_urls(self) -> list[URLPattern]:
        """The page, and the confirmation page of draining."""
        return [self.path("<path:node_id>/drain/", "drain", self.drain_page), *super().get_urls()]

    @page(SEE_NODES)
    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The nodes whose leases have not expired."""
        reports, answered = ask_nodes(request)
        now = _database_now()
        context = {
            "title": _("Nodes"),
            "crumbs": [Link(label=_("Nodes"))],
            "live": live_page(PAGE_INTERVAL_S),
            "as_of": clock_time(),
            "rows": [self._row(request, report, now) for report in reports],
            **answered,
        }
        return self.render(request, "nodes", context)

    def _row(
        self, request: HttpRequest, report: operations.NodeReport, now: datetime | None
    ) -> NodeRow:
        record, answer = report.record, report.answer
        left = 0.0 if now is None else (record.lease_until - now).total_seconds()
        may_drain = may(request, DRAIN) and not report.draining
        return NodeRow(
            report=report,
            loop_lag_ms=None if answer is None else answer["loop_lag"] * 1000.0,
            lease_s=max(0, round(left)),
            connections_url=self.connections_url(request, process=record.pk),
            drain_url=self.url("drain", record.pk) if may_drain else "",
        )

    @page(DRAIN, methods=READ_AND_POST)
    def drain_page(self, request: HttpRequest, node_id: str) -> HttpResponse:
        """Ask whether a node should drain, and drain it."""
        nodes_url = self.url("changelist") if may(request, SEE_NODES) else ""
        back_url = nodes_url or self.index_url()
        record = alive_nodes(request).get(node_id)
        if record is None:
            messages.warning(request, _("This node is no longer running."))
            return HttpResponseRedirect(back_url)
        if request.method == "POST":
            _drain(request, record)
            return HttpResponseRedirect(back_url)
        reports, _answered = ask_nodes(request)
        context = {
            "title": _("Drain node %s") % record,
            "crumbs": [Link(label=_("Nodes"), url=nodes_url), Link(label=_("Drain"))],
            "node": record,
            "is_last": all(other.draining for other in reports if other.record.pk != record.pk),
            "back_url": back_url,
        }
        return self.render(request, "nodes_drain", context)


def _database_now() -> datetime | None:
    """The time by the clock of the database, which leases use; None without nodes."""
    nodes = NodeRecord.objects
    moment: datetime | None = nodes.values_list(nodes.now(), flat=True).first()
    return moment


def _drain(request: HttpRequest, record: NodeRecord) -> None:
    said = _("Drained.")
    try:
        answered = operations.drain(record.pk)
    except Unavailable:
        messages.error(
            request,
            _("The channel layer does not respond, so %s was not drained. Try again.") % record,
        )
        return
    if answered:
        messages.success(
            request,
            _("Draining %s: its connections move to other servers, and it accepts no new ones.")
            % record,
        )
    else:
        said = unanswered(said)
        messages.error(
            request, _("%s does not respond. It may be draining, or it may have stopped.") % record
        )
    log_change(request, NodeRecord, record.pk, str(record), said)
