"""The stores beside a channel layer: history, presence and sessions, chosen by the settings.

A store belongs to a layer: with ``RedisChannelLayer`` or ``RedisPubSubChannelLayer`` it is in the same
Redis, with the in-memory layer in the same memory.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

from django.utils.module_loading import import_string

from ..config import Config
from ..runtime.redis_clients import redis_hosts
from ..stores.history.base import HistoryStore
from ..stores.history.inboxes import InboxStore
from ..stores.presence.base import PresenceStore
from ..stores.sessions.base import SessionStore
from .breaker import is_failing

_DEFAULTS = {
    "history": ("stores.history.memory.MemoryHistory", "stores.history.redis.RedisHistory"),
    "inboxes": (
        "stores.history.memory_inboxes.MemoryInboxes",
        "stores.history.redis_inboxes.RedisInboxes",
    ),
    "presence": ("stores.presence.memory.MemoryPresence", "stores.presence.redis.RedisPresence"),
    "sessions": ("stores.sessions.memory.MemorySessions", "stores.sessions.redis.RedisSessions"),
}
"""The stores in memory and in Redis, by kind."""


class Stores:
    """The stores of one layer, each made at its first use, which may be in any thread.

    Args:
        layer: the Channels layer.
        config: the settings.
    """

    def __init__(self, layer: Any, config: Config) -> None:
        self._layer = weakref.ref(layer)
        self._config = config
        self._lock = threading.Lock()
        self._history = self._inboxes = self._presence = self._sessions = None

    @property
    def history(self) -> HistoryStore:
        """The store of publications."""
        store: HistoryStore = self._store("history", self._config.history_store)
        return store

    @property
    def inboxes(self) -> InboxStore:
        """The store of what users have acknowledged."""
        store: InboxStore = self._store("inboxes", None)
        return store

    @property
    def presence(self) -> PresenceStore:
        """The store of members."""
        store: PresenceStore = self._store("presence", self._config.presence_store)
        return store

    @property
    def sessions(self) -> SessionStore:
        """The store of what outlives a connection."""
        store: SessionStore = self._store("sessions", self._config.session_store)
        return store

    @property
    def failing(self) -> list[str]:
        """The kinds whose store did not answer the last request: "history", "presence" …"""
        made = ((kind, getattr(self, f"_{kind}")) for kind in _DEFAULTS)
        return [kind for kind, store in made if store is not None and is_failing(store)]

    def _store(self, kind: str, path: str | None) -> Any:
        attribute = f"_{kind}"
        found = getattr(self, attribute)
        if found is None:
            with self._lock:  # two of them in memory would each have a half
                found = getattr(self, attribute)
                if found is None:
                    make = import_string(path or self._default(*_DEFAULTS[kind]))
                    found = make(self._layer(), self._config)
                    setattr(self, attribute, found)
        return found

    def _default(self, memory: str, redis: str) -> str:
        """Redis, unless there is none: then all processes have a memory of their own, as a check says."""
        path = memory if redis_hosts(self._layer(), self._config) is None else redis
        return f"channels_realtime.{path}"


_lock = threading.Lock()
_stores: weakref.WeakKeyDictionary[Any, Stores] = weakref.WeakKeyDictionary()


def stores_of(layer: Any, config: Config) -> Stores:
    """Return the stores beside a channel layer."""
    stores = _stores.get(layer)
    if stores is None:
        with _lock:
            stores = _stores.setdefault(layer, Stores(layer, config))
    return stores
