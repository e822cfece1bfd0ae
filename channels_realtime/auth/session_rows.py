"""Watches the deletion of login sessions without slowing the deletion of many.

A receiver of ``post_delete`` would make Django load every row that ``clearsessions`` deletes: where
nobody listens, it deletes by one statement. So the methods that delete single sessions are wrapped.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

MAX_KEYS = 100
"""The deletion of more sessions by their keys counts as one of many, which the sweep finds."""


def watch(
    model: Any,
    *,
    before: Callable[[Any], Any],
    after: Callable[[Sequence[Any]], None],
) -> None:
    """Call functions when sessions are deleted one by one, or by their keys.

    Args:
        model: the model of sessions.
        before: takes a session that is about to be deleted, or a session key; returns what ``after``
            is to be told of it, None for nothing.
        after: takes these, once the rows are deleted.
    """
    if "_realtime_watched" in vars(model):
        return
    model._realtime_watched = True
    _watch_instances(model, before, after)
    # These are copies, which Django makes again from `local_managers` when another model is registered.
    managers = model._meta.managers
    model._meta.local_managers = []
    for manager in managers:
        manager._set_creation_counter()  # the first of them stays the default manager
        _watch_querysets(manager, before, after)
        model._meta.add_manager(manager)


def _watch_instances(
    model: Any, before: Callable[[Any], Any], after: Callable[[Sequence[Any]], None]
) -> None:
    original = model.delete

    @functools.wraps(original)
    def delete(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = before(self)  # the key is gone afterwards
        result = original(self, *args, **kwargs)
        if found is not None:
            after([found])
        return result

    model.delete = delete


def _watch_querysets(
    manager: Any, before: Callable[[Any], Any], after: Callable[[Sequence[Any]], None]
) -> None:
    class WatchedQuerySet(manager._queryset_class):  # type: ignore[misc]
        def delete(self) -> Any:
            keys = _keys_of(self.query)
            result = super().delete()
            found = [found for key in keys if (found := before(key)) is not None]
            if found:
                after(found)
            return result

        delete.alters_data = True  # type: ignore[attr-defined]
        delete.queryset_only = True  # type: ignore[attr-defined]

    WatchedQuerySet.__name__ = WatchedQuerySet.__qualname__ = manager._queryset_class.__name__
    manager._queryset_class = WatchedQuerySet


def _keys_of(query: Any) -> list[str]:
    """The keys that a query names, such as ``filter(pk=…)`` or ``filter(session_key__in=[…])``."""
    where = query.where
    if where.negated or (where.connector != "AND" and len(where.children) > 1):
        return []
    for condition in where.children:
        target = getattr(getattr(condition, "lhs", None), "target", None)
        if target is None or not target.primary_key:
            continue
        value = condition.rhs
        if condition.lookup_name == "exact" and isinstance(value, str):
            return [value]
        if condition.lookup_name == "in" and isinstance(value, (list, tuple, set, frozenset)):
            keys = [key for key in value if isinstance(key, str)]
            return keys if len(keys) <= MAX_KEYS else []
    return []
