"""Which connections the admin lists, so that 100,000 are counted and sorted in no time.

In: querysets of connections. Out: the same, narrowed to what is true now, in a fixed number of
queries. The rows of a node whose lease ran out are left out from the moment it does, long before
anybody deletes them. Who calls: the list of connections and its filters.
"""

from __future__ import annotations

from typing import Any

from django.core.paginator import Page, Paginator
from django.db import connections
from django.db.models import CharField, Exists, Func, OuterRef, Q, QuerySet
from django.http import HttpRequest

from ..models import ConnectionRecord, NodeRecord, SubscriptionRecord

FEW = 500
"""Connections that are named by their ids once they have been found."""

_REMEMBERED = "_realtime_nodes"


def alive_nodes(request: HttpRequest) -> dict[str, NodeRecord]:
    """The nodes whose lease holds, by id; asked for once a request."""
    known: dict[str, NodeRecord] | None = getattr(request, _REMEMBERED, None)
    if known is None:
        known = {node.pk: node for node in NodeRecord.objects.alive().order_by("host", "pid")}
        setattr(request, _REMEMBERED, known)
    return known


def alive_only(
    queryset: QuerySet[ConnectionRecord], request: HttpRequest
) -> QuerySet[ConnectionRecord]:
    """Only the connections of nodes whose lease holds."""
    return queryset.alias(realtime_node=_Apart("node_id", output_field=CharField())).filter(
        realtime_node__in=list(alive_nodes(request))
    )


class _Apart(Func):
    """A column that SQLite must not choose an index by.

    Nearly all rows have a node that is alive. SQLite would take the index of the nodes all the same
    and then sort every row; this way it reads the first hundred in the order's own index (measured
    with 100,000 rows: 3 ms in place of 86).
    """

    template = "%(expressions)s"
    arity = 1

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        # SQLite's documentation, "Disqualifying WHERE clause terms using unary +".
        return self.as_sql(compiler, connection, template="+%(expressions)s", **extra)


def begins_with(queryset: QuerySet[Any], field: str, text: str) -> Q:
    """Rows whose ``field`` begins with the text (of ASCII), by the column's index."""
    if connections[queryset.db].vendor != "sqlite":
        return Q(**{f"{field}__startswith": text})
    # SQLite's LIKE ignores case, and therefore the index too.
    following = text[:-1] + chr(ord(text[-1]) + 1)
    return Q(**{f"{field}__gte": text, f"{field}__lt": following})


def on_channel(condition: Q) -> Q:
    """Connections with a recorded subscription that meets the condition; looks how many those are."""
    subscriptions = SubscriptionRecord._default_manager.filter(condition)
    connection_ids = subscriptions.values_list("connection_id", flat=True)
    found = list(connection_ids[: FEW + 1])
    if len(found) <= FEW:
        return Q(pk__in=found)
    if connections[subscriptions.db].vendor == "sqlite":
        # It would write all the ids into a table of its own, for the count and again for the page.
        return Q(Exists(subscriptions.filter(connection_id=OuterRef("pk"))))
    return Q(pk__in=connection_ids)


def search(queryset: QuerySet[ConnectionRecord], terms: list[str]) -> QuerySet[ConnectionRecord]:
    """Connections in which each term is found: in the user, address, channel, client id or id."""
    subscriptions = SubscriptionRecord._default_manager.all()
    for term in terms:
        found_in = Q(user_label__icontains=term) | Q(user_pk=term) | Q(client_id__icontains=term)
        if term.isascii():  # as addresses, ids and channels are
            found_in |= begins_with(queryset, "address", term.lower())
            found_in |= begins_with(queryset, "connection_id", term)
            found_in |= on_channel(begins_with(subscriptions, "channel", term))
        queryset = queryset.filter(found_in)
    # Looked for once: the count and the page would each go through all rows again, and the page in
    # the order of the list, which is the slowest. Where many match, a page is found at once.
    found = list(queryset.order_by().values_list("pk", flat=True)[: FEW + 1])
    if len(found) > FEW:
        return queryset
    return queryset.filter(pk__in=found)


class LastPage(Paginator):  # type: ignore[type-arg]  # generic in its stubs alone
    """Pages of a list that shrinks while somebody looks: beyond the last one is the last one."""

    def page(self, number: int | str) -> Page[Any]:
        """The page of that number, or the nearest that there is."""
        return super().page(min(max(1, int(number)), self.num_pages))
