"""Finds what no signal reports: deleted login sessions, and users that were changed by SQL."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from django.apps import apps
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.db import DatabaseError, router
from django.utils import timezone

from ..access.revocation import Revocations
from ..nodes.node import Service
from ..runtime.database import GaveWay, own_transaction, tells_of_migrations
from ..runtime.moments import moment_of
from ..runtime.tasks import end_tasks
from .users import has_row

logger = logging.getLogger(__name__)

BATCH = 500
"""Sessions or users per query. The oldest SQLite versions allow at most 999 parameters."""

_WATCHED = ("password", "is_active", "is_staff", "is_superuser")
"""The user fields that affect authentication and permissions."""


class CredentialSweep(Service):
    """Looks for changed credentials at intervals."""

    _task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="realtime-sweep")

    async def stop(self) -> None:
        """Look no more."""
        await end_tasks(self._task)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._node.config.sweep_interval)
            try:
                await self.sweep()
            except Exception:
                logger.exception("The sweep of login sessions and users failed")

    async def sweep(self) -> None:
        """Read the credentials of changed sessions and users again, and judge what they may."""
        connections = [c for c in self._node.connections.values() if not c.closed]
        if not connections:
            return
        revocations = self._node.service(Revocations)
        by_namespace: dict[str, list[Any]] = {}
        for connection in connections:
            by_namespace.setdefault(connection.namespace, []).append(connection)
        for namespace, members in by_namespace.items():
            try:
                find = self._node.context.around(members[0].scope, find_changed)
                changed = await self._node.background.run(find, members)
            except Exception:  # such as a tenant that was deleted; the others are looked at
                logger.exception("The sweep of the namespace %r failed", namespace)
                continue
            for connection in changed:
                self._node.spawn(revocations.recheck_connection(connection), "sweep")


def find_changed(connections: list[Any]) -> list[Any]:
    """Return the connections with a deleted login session or a changed user. Blocks.

    Takes one query per batch of sessions and one per batch of users.
    """
    _forget_expired()
    changed = dict.fromkeys(_without_session(connections))
    changed.update(dict.fromkeys(_with_another_user(connections)))
    return list(changed)


def _forget_expired() -> None:
    model = apps.get_model("channels_realtime", "RevocationRecord")
    try:
        expired = model._default_manager.filter(expires_at__lt=moment_of(time.time()))
        if expired.exists():  # looking takes no lock where the database has one writer
            with own_transaction(router.db_for_write(model)):
                expired.delete()
    except DatabaseError as error:  # another process may hold a lock; a later sweep deletes them
        if not (isinstance(error, GaveWay) or tells_of_migrations(error)):
            logger.warning("Cannot delete expired revocations", exc_info=True)


def _without_session(connections: Sequence[Any]) -> Iterator[Any]:
    by_key: dict[str, list[Any]] = {}
    for connection in connections:
        if connection.session_key is not None:
            by_key.setdefault(connection.session_key, []).append(connection)
    store = import_module(django_settings.SESSION_ENGINE).SessionStore
    get_model = getattr(store, "get_model_class", None)
    for keys in _batches(list(by_key)):
        if get_model is None:
            alive = {key for key in keys if store(key).load()}
        else:
            alive = set(
                get_model()
                ._default_manager.filter(session_key__in=keys, expire_date__gt=timezone.now())
                .values_list("session_key", flat=True)
            )
        for key in keys:
            if key not in alive:
                yield from by_key[key]


def _with_another_user(connections: Sequence[Any]) -> Iterator[Any]:
    by_user: dict[str, list[Any]] = {}
    for connection in connections:
        if connection.user_id is not None and has_row(connection.user):
            by_user.setdefault(connection.user_id, []).append(connection)
    model = get_user_model()
    names = {field.name for field in model._meta.get_fields()}
    watched = [field for field in _WATCHED if field in names]
    for ids in _batches(list(by_user)):
        rows = model._default_manager.filter(pk__in=ids).values_list("pk", *watched)
        found = {str(pk): tuple(values) for pk, *values in rows}
        for user_id in ids:
            for connection in by_user[user_id]:
                known = tuple(getattr(connection.user, field) for field in watched)
                if found.get(user_id) != known:
                    yield connection


def _batches(items: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]
