"""The stores beside a channel layer: history, presence and sessions, chosen by the settings.

A store belongs to a layer: with ``RedisChannelLayer`` or ``RedisPubSubChannelLayer`` it is in the same
Redis, with the in-memory layer in the same memory.
"""

from __future__ import annotations

import weakref
from typing import Any

from django.utils.module_loading import import_string

from ..config import Config
from ..history.base import HistoryStore
from ..history.inboxes import InboxStore
from ..presence.base import PresenceStore
from ..runtime.redis_clients import redis_hosts
from ..sessions.base import SessionStore
from .store_requests import is_failing

_MEMORY_HISTORY = "channels_realtime.history.memory.MemoryHistory"
_REDIS_HISTORY = "channels_realtime.history.redis.RedisHistory"
_MEMORY_INBOXES = "channels_realtime.history.memory_inboxes.MemoryInboxes"
_REDIS_INBOXES = "channels_realtime.history.redis_inboxes.RedisInboxes"
_MEMORY_PRESENCE = "channels_realtime.presence.memory.MemoryPresence"
_REDIS_PRESENCE = "channels_realtime.presence.redis.RedisPresence"
_MEMORY_SESSIONS = "channels_realtime.sessions.memory.MemorySessions"
_REDIS_SESSIONS = "channels_realtime.sessions.redis.RedisSessions"


class Stores:
    """The stores of one layer, each made at its first use.

    Args:
        layer: the Channels layer.
        config: the settings.
    """

    def __init__(self, layer: Any, config: Config) -> None:
        self._layer = weakref.ref(layer)
        self._config = config
        self._history: HistoryStore | None = None
        self._inboxes: InboxStore | None = None
        self._presence: PresenceStore | None = None
        self._sessions: SessionStore | None = None

    @property
    def history(self) -> HistoryStore:
        """The store of publications."""
        if self._history is None:
            path = self._config.history_store or self._default(_MEMORY_HISTORY, _REDIS_HISTORY)
            self._history = import_string(path)(self._layer(), self._config)
        return self._history

    @property
    def inboxes(self) -> InboxStore:
        """The store of what users have acknowledged."""
        if self._inboxes is None:
            path = self._default(_MEMORY_INBOXES, _REDIS_INBOXES)
            self._inboxes = import_string(path)(self._layer(), self._config)
        return self._inboxes

    @property
    def presence(self) -> PresenceStore:
        """The store of members."""
        if self._presence is None:
            path = self._config.presence_store or self._default(_MEMORY_PRESENCE, _REDIS_PRESENCE)
            self._presence = import_string(path)(self._layer(), self._config)
        return self._presence

    @property
    def sessions(self) -> SessionStore:
        """The store of what outlives a connection."""
        if self._sessions is None:
            path = self._config.session_store or self._default(_MEMORY_SESSIONS, _REDIS_SESSIONS)
            self._sessions = import_string(path)(self._layer(), self._config)
        return self._sessions

    @property
    def history_failing(self) -> bool:
        """Whether the store of publications did not answer the last request."""
        return self._history is not None and is_failing(self._history)

    def _default(self, memory: str, redis: str) -> str:
        """Redis, unless there is none: then all processes have a memory of their own, as a check says."""
        return memory if redis_hosts(self._layer(), self._config) is None else redis


_stores: weakref.WeakKeyDictionary[Any, Stores] = weakref.WeakKeyDictionary()


def stores_of(layer: Any, config: Config) -> Stores:
    """Return the stores beside a channel layer."""
    stores = _stores.get(layer)
    if stores is None:
        stores = _stores.setdefault(layer, Stores(layer, config))
    return stores
