"""The queries of the list of connections, which stay fast with 100,000 connections.

In: querysets of connections. Out: the same, limited to live nodes and to a search, in a fixed number
of queries. Rows of a node whose lease has expired are left out at once; they are deleted later.
"""

from __future__ import annotations

from typing import Any

from django.core.paginator import Page, Paginator
from django.db import connections
from django.db.models import CharField, Exists, Func, OuterRef, Q, QuerySet
from django.http import HttpRequest

from ..models import ConnectionRecord, NodeRecord, SubscriptionRecord

FEW = 500
"""A query names at most this many connections by their ids."""

_REMEMBERED = "_realtime_nodes"


def alive_nodes(request: HttpRequest) -> dict[str, NodeRecord]:
    """The nodes whose lease has not expired, by id; read once for each request."""
    known: dict[str, NodeRecord] | None = getattr(request, _REMEMBERED, None)
    if known is None:
        known = {node.pk: node for node in NodeRecord.objects.alive().order_by("host", "pid")}
        setattr(request, _REMEMBERED, known)
    return known


def alive_only(
    queryset: QuerySet[ConnectionRecord], request: HttpRequest
) -> QuerySet[ConnectionRecord]:
    """Only the connections of nodes whose lease has not expired."""
    return queryset.alias(realtime_node=_WithoutIndex("node_id", output_field=CharField())).filter(
        realtime_node__in=list(alive_nodes(request))
    )


class _WithoutIndex(Func):
    """A column for which SQLite must not use its index.

    Nearly all rows belong to a live node. SQLite would still use the index on the node and then sort
    every row. Without it, SQLite reads the first hundred from the index of the order (measured with
    100,000 rows: 3 ms instead of 86).
    """

    template = "%(expressions)s"
    arity = 1

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        # SQLite's documentation, "Disqualifying WHERE clause terms using unary +".
        return self.as_sql(compiler, connection, template="+%(expressions)s", **extra)


def begins_with(queryset: QuerySet[Any], field: str, text: str) -> Q:
    """Rows where ``field`` begins with the ASCII text; uses the index of the column."""
    if connections[queryset.db].vendor != "sqlite":
        return Q(**{f"{field}__startswith": text})
    # LIKE in SQLite ignores case, so it cannot use the index.
    following = text[:-1] + chr(ord(text[-1]) + 1)
    return Q(**{f"{field}__gte": text, f"{field}__lt": following})


def on_channel(condition: Q) -> Q:
    """Connections with a recorded subscription that meets the condition; runs a query."""
    subscriptions = SubscriptionRecord._default_manager.filter(condition)
    connection_ids = subscriptions.values_list("connection_id", flat=True)
    found = list(connection_ids[: FEW + 1])
    if len(found) <= FEW:
        return Q(pk__in=found)
    if connections[subscriptions.db].vendor == "sqlite":
        # Else SQLite copies all ids into a temporary table, for the count and again for the page.
        return Q(Exists(subscriptions.filter(connection_id=OuterRef("pk"))))
    return Q(pk__in=connection_ids)


def search(queryset: QuerySet[ConnectionRecord], terms: list[str]) -> QuerySet[ConnectionRecord]:
    """Connections that match each term in the user, address, channel, client id or id."""
    subscriptions = SubscriptionRecord._default_manager.all()
    for term in terms:
        found_in = Q(user_label__icontains=term) | Q(user_pk=term) | Q(client_id__icontains=term)
        if term.isascii():  # as addresses, ids and channels are
            found_in |= begins_with(queryset, "address", term.lower())
            found_in |= begins_with(queryset, "connection_id", term)
            found_in |= on_channel(begins_with(subscriptions, "channel", term))
        queryset = queryset.filter(found_in)
    # Search once: the count and the page would each scan all rows, the page in the order of the list,
    # which is slowest. Where many rows match, a page is found quickly without this.
    found = list(queryset.order_by().values_list("pk", flat=True)[: FEW + 1])
    if len(found) > FEW:
        return queryset
    return queryset.filter(pk__in=found)


class LastPage(Paginator):  # type: ignore[type-arg]  # generic in its stubs alone
    """Pages of a list that may shrink while it is open: past the last page comes the last page."""

    def page(self, number: int | str) -> Page[Any]:
        """The page of that number, or the nearest that there is."""
        return super().page(min(max(1, int(number)), self.num_pages))
