"""What staff did to connections, in Django's admin log.

In: who did what, to which connections, and what became of it. Out: one entry for each connection, to
be read in its history long after it has gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..models import BlockRecord, ConnectionRecord
from ..operations import Outcome
from .display import visible

LOGGED = 1_000
"""Connections of one action that get an entry of their own; one more entry counts the others."""

_NAMED = 80
"""Characters of each part of a name."""


class _Named:
    """What the log wants of an object: a key, a name and a model; no row need be left."""

    def __init__(self, pk: Any, name: str, meta: Any) -> None:
        self.pk = pk
        self._name = name
        self._meta = meta

    def __str__(self) -> str:
        return self._name


def name_of(connection: ConnectionRecord) -> str:
    """Who that is, in a line: user, address and id."""
    who = connection.user_label or connection.user_pk or _("anonymous")
    parts = (who, connection.address, connection.pk)
    return " · ".join(visible(part[:_NAMED]) for part in parts if part)


def log_connection(request: HttpRequest, connection: ConnectionRecord, said: str) -> None:
    """One entry about one connection."""
    _log(request, [_named(connection)], CHANGE, said)


def log_block(request: HttpRequest, block: BlockRecord) -> None:
    """That a block was added."""
    _log(request, [_Named(block.pk, visible(block), BlockRecord._meta)], ADDITION, [{"added": {}}])


def log_outcome(
    request: HttpRequest, connections: Sequence[ConnectionRecord], outcome: Outcome, said: str
) -> None:
    """One entry for each connection, also for those to which nothing was done.

    Args:
        request: by whom it was done.
        connections: to which.
        outcome: what became of each.
        said: what was done.
    """
    by_id = {connection.pk: connection for connection in connections}
    groups = (
        (outcome.done, said),
        (outcome.silent, _("%s Its server did not respond.") % said),
        (outcome.gone, _("%s It did not apply.") % said),
    )
    left = LOGGED
    for ids, words in groups:
        _log(request, [_named(by_id[i]) for i in ids[:left] if i in by_id], CHANGE, words)
        left = max(0, left - len(ids))
    more = len(connections) - LOGGED
    if more > 0:
        name = ngettext("%(number)d more connection", "%(number)d more connections", more)
        words = _(
            "%(said)s In total: %(done)d done, %(gone)d not there, %(silent)d without a response."
        )
        counts = {
            "said": said,
            "done": len(outcome.done),
            "gone": len(outcome.gone),
            "silent": len(outcome.silent),
        }
        summary = _Named("", name % {"number": more}, ConnectionRecord._meta)
        _log(request, [summary], CHANGE, words % counts)


def _named(connection: ConnectionRecord) -> _Named:
    return _Named(connection.pk, name_of(connection), ConnectionRecord._meta)


def _log(request: HttpRequest, objects: list[_Named], flag: int, said: Any) -> None:
    if objects:
        entries: Any = LogEntry.objects
        entries.log_actions(request.user.pk, objects, flag, said)
