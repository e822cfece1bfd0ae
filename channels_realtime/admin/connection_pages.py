"""What the pages of connections share: their URLs, and the connections that they are about."""

from __future__ import annotations

import re
from collections.abc import Sequence

from django.utils.translation import gettext as _

from .. import operations
from ..errors import Unavailable
from ..models import ConnectionRecord
from .base import Link, ReadOnlyAdmin
from .display import visible

_ID = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)
_BATCH = 500


class ConnectionPages(ReadOnlyAdmin):
    """The base of the classes that make up ``ConnectionAdmin``."""

    def list_url(self, filters: str = "") -> str:
        """The list of connections, with the query string of the list that was left."""
        return self.url("changelist") + (f"?{filters}" if filters else "")

    def detail_url(self, connection_id: str) -> str:
        """The page of one connection."""
        return self.url("change", connection_id)

    def list_crumb(self) -> Link:
        """The way back to the list."""
        return Link(label=_("Connections"), url=self.list_url())

    def detail_crumb(self, connection_id: str) -> Link:
        """The way back to one connection."""
        return Link(label=visible(connection_id[:40]), url=self.detail_url(connection_id))


def is_id(text: str) -> bool:
    """Whether this can be the id of a connection."""
    return _ID.fullmatch(text) is not None


def recorded(connection_id: str) -> ConnectionRecord | None:
    """The connection in the registry."""
    return ConnectionRecord._default_manager.filter(pk=connection_id).first()


def read_connections(ids: Sequence[str]) -> list[ConnectionRecord]:
    """The connections as the registry has them.

    Others have their id alone. A single one is asked of its node: the registry may be off, or a
    second behind.
    """
    rows: dict[str, ConnectionRecord] = {}
    for start in range(0, len(ids), _BATCH):
        rows.update(ConnectionRecord._default_manager.in_bulk(ids[start : start + _BATCH]))
    if len(ids) == 1 and not rows:
        return [_read_from_node(ids[0])]
    return [rows.get(i) or ConnectionRecord(connection_id=i) for i in ids]


def _read_from_node(connection_id: str) -> ConnectionRecord:
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
