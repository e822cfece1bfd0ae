"""What staff did, in Django's admin log.

In: who did what to which connections, channels or nodes, and the outcome. Out: entries; one for each
connection, which its history shows even after the connection has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.db.models import Model
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..models import BlockRecord, ConnectionRecord
from ..operations import Outcome
from .display import visible

LOGGED = 1_000
"""Connections of one action that get an entry each; one more entry counts the others."""

_NAMED = 80
"""Characters of each part of a name."""


class _Named:
    """What the log needs of an object: a key, a name and a model. It may have no row."""

    def __init__(self, pk: Any, name: str, model: type[Model]) -> None:
        self.pk = pk
        self._name = name
        self._meta = model._meta

    def __str__(self) -> str:
        return self._name


def name_of(connection: ConnectionRecord) -> str:
    """A connection in one line: user, address and id."""
    who = connection.user_label or connection.user_pk or _("anonymous")
    parts = (who, connection.address, connection.pk)
    return " · ".join(visible(part[:_NAMED]) for part in parts if part)


def log_change(
    request: HttpRequest, model: type[Model], object_id: str | None, name: str, said: str
) -> None:
    """One entry about an object, by its name; without an id the entry has no link."""
    _log(request, [_Named(object_id, name, model)], CHANGE, said)


def log_connection(request: HttpRequest, connection: ConnectionRecord, said: str) -> None:
    """One entry about one connection."""
    _log(request, [_named(connection)], CHANGE, said)


def log_block(request: HttpRequest, block: BlockRecord) -> None:
    """One entry about a block that was added."""
    _log(request, [_Named(block.pk, visible(block), BlockRecord)], ADDITION, [{"added": {}}])


def log_outcome(
    request: HttpRequest, connections: Sequence[ConnectionRecord], outcome: Outcome, said: str
) -> None:
    """One entry for each connection, including those on which the action had no effect.

    Args:
        request: of the person who acted.
        connections: those that the action was for.
        outcome: for each of them.
        said: what was done.
    """
    by_id = {connection.pk: connection for connection in connections}
    groups = (
        (outcome.done, said),
        (outcome.silent, unanswered(said)),
        (outcome.gone + outcome.impossible, _("%s This had no effect.") % said),
    )
    left = LOGGED
    for ids, words in groups:
        _log(request, [_named(by_id[i]) for i in ids[:left] if i in by_id], CHANGE, words)
        left = max(0, left - len(ids))
    more = len(connections) - LOGGED
    if more > 0:
        name = ngettext("%(number)d more connection", "%(number)d more connections", more)
        words = _("%(said)s In total: done %(done)d, no effect %(gone)d, no response %(silent)d.")
        counts = {
            "said": said,
            "done": len(outcome.done),
            "gone": len(outcome.gone) + len(outcome.impossible),
            "silent": len(outcome.silent),
        }
        log_change(request, ConnectionRecord, "", name % {"number": more}, words % counts)


def unanswered(said: str) -> str:
    """What the log says of something that was asked of a server that did not answer."""
    return _("%s The server did not respond, so this may not have taken effect.") % said


def _named(connection: ConnectionRecord) -> _Named:
    return _Named(connection.pk, name_of(connection), ConnectionRecord)


def _log(request: HttpRequest, objects: list[_Named], flag: int, said: Any) -> None:
    if objects:
        entries: Any = LogEntry.objects
        entries.log_actions(request.user.pk, objects, flag, said)
