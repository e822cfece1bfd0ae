"""The rows of the registry: what is stored of a connection, and the statements that store it.

In: connections and ids, from the registry. Out: rows. All but ``row_of`` runs in the database's thread,
and may block there. Models are found by name: a site's ``asgi.py`` imports this before the apps are
loaded.
"""

from __future__ import annotations

import datetime
import functools
import logging
import os
import socket
import sys
import time
import zlib
from typing import Any

from django.apps import apps
from django.db import connections, router
from django.db.models import DateTimeField

from ..connections.connection import Connection
from ..runtime.database import own_transaction
from ..runtime.moments import moment_of

logger = logging.getLogger(__name__)

BATCH = 500
"""Connections in one transaction."""

SLICE = 50
"""Connections that the event loop looks at in one go."""

_VALUES = 999
"""In one statement: old SQLite takes no more."""

_BREATH_S = 0.002

SERVER_GONE = "server"
"""``EndedConnectionRecord.end`` where the process of the connection died."""


def row_of(connection: Connection, node_id: str) -> dict[str, Any]:
    identity = connection.identity
    expires_at = identity.expires_at
    connected_at = moment_of(connection.connected_at)
    # A whole second, which many have in common; of a new connection it is the moment that it came.
    seen_at = float(int(connection.seen_at))
    seen = connected_at if seen_at <= connection.connected_at else moment_of(seen_at)
    return {
        "connection_id": connection.id,
        "node_id": node_id,
        "user_pk": storable(identity.user_id, 255),
        "user_label": ""
        if identity.user_id is None
        else storable(user_label(connection.user), 255),
        "address": storable(connection.client_address, 45),
        "transport": storable(connection.transport, 20),
        "origin": storable(connection.origin, 255),
        "path": storable(path_of(connection), 255),
        "consumer": storable(connection.consumer, 255),
        "user_agent": storable(connection.user_agent, 512),
        "client_id": storable(connection.client_id, 255),
        "auth_method": storable(identity.method, 30),
        "auth_source": storable(identity.source, 30),
        "auth_expires_at": None if expires_at is None else moment_of(expires_at),
        "channels": len(connection.subscriptions),
        "connected_at": connected_at,
        "seen_at": seen,
        "health": connection.troubled_by,
    }


def path_of(connection: Connection) -> str:
    """The path of the handshake, without its query string, which may hold a token."""
    return str(connection.scope.get("path", ""))


def storable(value: str | None, length: int) -> str:
    """A client's text as every database stores it: without NUL and lone surrogates, cut to a length."""
    if not value:
        return ""
    cleaned = value.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    if not cleaned.isascii():
        cleaned = cleaned.encode("utf-8", "replace").decode("utf-8")
    return cleaned[:length]


def is_drawn(connection_id: str, share: float) -> bool:
    """Whether a connection is in this share of all; always the same for a connection."""
    return share >= 1.0 or zlib.crc32(connection_id.encode()) / 2**32 < share


def user_label(user: Any) -> str:
    """A user's name; empty where the user class fails to give one."""
    get_username = getattr(user, "get_username", None)
    try:
        return str(get_username() if callable(get_username) else user)
    except Exception as error:  # a site's own user class
        logger.debug("A user has no label: %s", type(error).__name__)
        return ""


# -- in the database's thread -------------------------------------------------------------------------
# Models by name: this module is imported by a site's asgi.py, before the apps are loaded.


def _model(name: str) -> Any:
    return apps.get_model("channels_realtime", name)


def renew_lease(node_id: str, lease: float, row: dict[str, Any]) -> bool:
    nodes = _model("NodeRecord")._default_manager
    until = nodes.now() + datetime.timedelta(seconds=lease)
    with own_transaction(router.db_for_write(nodes.model)):
        return bool(nodes.filter(pk=node_id).update(lease_until=until, **row))


def register_node(node_id: str, lease: float, row: dict[str, Any]) -> None:
    model, ended_model = _model("NodeRecord"), _model("EndedConnectionRecord")
    using = router.db_for_write(model)
    with own_transaction(using):
        _delete_rows([node_id], using)
        # Another node took this one for dead; its connections are still here.
        _where(ended_model, using, node_id=node_id, end=SERVER_GONE)._raw_delete(using)
        model._default_manager.using(using).create(
            id=node_id,
            host=storable(socket.gethostname(), 255),
            pid=os.getpid(),
            server=server_name(),
            version=_version(),
            started_at=moment_of(time.time()),
            lease_until=model._default_manager.now() + datetime.timedelta(seconds=lease),
            **row,
        )


def write_rows(
    node_id: str,
    rows: list[dict[str, Any]],
    subscriptions: list[tuple[str, list[str]]],
    gone: list[str],
    known: set[str],
    adopted: frozenset[str] = frozenset(),
) -> None:
    """Write the rows of connections as they are now.

    Args:
        node_id: of the node that writes. It deletes no row of another node: the connection that has
            resumed one of its own has the same id, and may be written there first.
        rows: of connections.
        subscriptions: the channels of each.
        gone: connections that have ended.
        known: those of ``rows`` that were written before.
        adopted: those of ``rows`` that have resumed another, with a row that is to be replaced, whichever
            node wrote it.
    """
    connection_model, subscription_model = _model("ConnectionRecord"), _model("SubscriptionRecord")
    using = router.db_for_write(connection_model)
    fresh = [row for row in rows if row["connection_id"] not in known]
    stale = [row for row in rows if row["connection_id"] in known]
    with own_transaction(using):
        replaced = [*gone, *(known - adopted)]
        if replaced:
            written = _where(connection_model, using, connection_id__in=replaced)
            others = written.exclude(node_id=node_id).values("connection_id")
            # Those without a row of their connection are strays of this node's.
            _where(subscription_model, using, connection_id__in=replaced).exclude(
                connection_id__in=others
            )._raw_delete(using)
            written.filter(node_id=node_id)._raw_delete(using)
        if adopted:
            taken = list(adopted)
            _where(subscription_model, using, connection_id__in=taken)._raw_delete(using)
            _where(connection_model, using, connection_id__in=taken)._raw_delete(using)
        insert_rows(connection_model, using, [*fresh, *stale])
        wanted = [
            {"connection_id": connection_id, "channel": storable(name, 255)}
            for connection_id, names in subscriptions
            for name in names
        ]
        insert_rows(subscription_model, using, wanted)


def insert_rows(model: Any, using: str, rows: list[dict[str, Any]]) -> None:
    """Insert rows, some in a statement and a pause after each: the event loop needs the interpreter too.

    ``bulk_create`` takes three times as long. Text and numbers are what every database driver takes; only
    moments need Django's adaptation. Few statements, because a thread that comes back from one waits 5 ms
    for the interpreter (``sys.getswitchinterval``), and takes it away.
    """
    if not rows:
        return
    connection = connections[using]
    fields = [model._meta.get_field(name) for name in rows[0]]
    moments = [field.attname for field in fields if isinstance(field, DateTimeField)]
    operations: Any = connection.ops
    adapted = functools.cache(operations.adapt_datetimefield_value)
    quote = operations.quote_name
    columns = ", ".join(quote(field.column) for field in fields)
    placeholders = ["%s"] * len(fields)
    with connection.cursor() as cursor:
        for start in range(0, len(rows), most := _VALUES // len(fields)):
            if start:
                time.sleep(_BREATH_S)
            part = [row.copy() for row in rows[start : start + most]]
            for name in moments:
                for row in part:
                    row[name] = adapted(row[name])
            values = operations.bulk_insert_sql(fields, [placeholders] * len(part))
            cursor.execute(
                f"INSERT INTO {quote(model._meta.db_table)} ({columns}) {values}",
                [value for row in part for value in row.values()],
            )


def write_seen(
    node_id: str, at: datetime.datetime, only: list[str] | None, without: list[str]
) -> None:
    """Note when connections of a node were last seen.

    With a heartbeat that is nearly all of them: naming the others is one statement, without Python for
    each row.

    Args:
        only: the ids of these connections; None for all of the node's.
        without: the ids of those to leave out.
    """
    model = _model("ConnectionRecord")
    using = router.db_for_write(model)
    rows = _where(model, using, node_id=node_id).exclude(connection_id__in=without)
    if only is not None:
        rows = rows.filter(connection_id__in=only)
    with own_transaction(using):
        rows.update(seen_at=at)


def _bury(node_id: str, server: str, using: str) -> None:
    """Note the connections of a dead process as ended, in the database alone: there may be many."""
    source, target = _model("ConnectionRecord"), _model("EndedConnectionRecord")
    copied = (
        *("connection_id", "node_id", "user_pk", "user_label", "address", "path"),
        *("user_agent", "client_id", "auth_method", "connected_at"),
    )
    connection = connections[using]
    quote: Any = connection.ops.quote_name

    def columns(model: Any, *names: str) -> str:
        return ", ".join(quote(model._meta.get_field(name).column) for name in names)

    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {quote(target._meta.db_table)}"  # noqa: S608 - names of columns
            f" ({columns(target, *copied, 'ended_at', 'server', 'end', 'detail')})"
            f" SELECT {columns(source, *copied, 'seen_at')}, %s, %s, %s"
            f" FROM {quote(source._meta.db_table)} WHERE {columns(source, 'node_id')} = %s",
            [server, SERVER_GONE, "", node_id],
        )


def sweep_nodes(own: str, lease: float, keep_ended: bool) -> list[tuple[str, str, list[str]]]:
    """Delete nodes with a lease that ran out a whole lease ago; return their inboxes and channels.

    Of several that sweep at once, one finds a node; and one that renews meanwhile stays.
    """
    model, subscription_model = _model("NodeRecord"), _model("SubscriptionRecord")
    using = router.db_for_write(model)
    long_ago = model._default_manager.now() - datetime.timedelta(seconds=lease)
    dead = _where(model, using, lease_until__lt=long_ago).exclude(pk=own)
    found = []
    for node_id, inbox, host, pid in list(dead.values_list("pk", "inbox", "host", "pid")):
        with own_transaction(using):
            if not dead.filter(pk=node_id)._raw_delete(using):
                continue
            if keep_ended:
                _bury(node_id, f"{host}:{pid}", using)
            channels = _where(subscription_model, using, connection__node_id=node_id)
            names = list(channels.values_list("channel", flat=True).distinct())
            _delete_rows([node_id], using)
        found.append((node_id, inbox, names))
    return found


def delete_strays() -> None:
    """Delete the rows of nodes without a row: they were written while the node was swept."""
    model, node_model = _model("ConnectionRecord"), _model("NodeRecord")
    using = router.db_for_write(node_model)
    # In this order: a node has its row before it has others.
    owners = set(_where(model, using).values_list("node_id", flat=True).distinct())
    owners -= set(_where(node_model, using).values_list("pk", flat=True))
    if owners:
        with own_transaction(using):
            _delete_rows(list(owners), using)


def forget_nodes(ids: list[str]) -> None:
    model = _model("NodeRecord")
    using = router.db_for_write(model)
    with own_transaction(using):
        _delete_rows(ids, using)
        _where(model, using, pk__in=ids)._raw_delete(using)


def _delete_rows(ids: list[str], using: str) -> None:
    connections, subscriptions = _model("ConnectionRecord"), _model("SubscriptionRecord")
    of_nodes = _where(connections, using, node_id__in=ids)
    _where(subscriptions, using, connection_id__in=of_nodes.values("connection_id"))._raw_delete(
        using
    )
    of_nodes._raw_delete(using)


def _where(model: Any, using: str, **conditions: Any) -> Any:
    # Deleted raw: the collector would read every row first, to find what refers to it.
    return model._base_manager.using(using).filter(**conditions)


def server_name() -> str:
    """The name of the server that this process runs; empty where it cannot be told."""
    reactor = sys.modules.get("twisted.internet.reactor")
    if "daphne.server" in sys.modules and getattr(reactor, "running", False):
        return "daphne"
    for module, name in (
        ("uvicorn.server", "uvicorn"),
        ("hypercorn.run", "hypercorn"),
        ("granian", "granian"),
    ):
        if module in sys.modules:
            return name
    return ""


def _version() -> str:
    from .. import __version__  # read from the installed metadata at its first use

    return str(__version__)[:50]
