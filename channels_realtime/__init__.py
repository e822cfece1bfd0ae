"""Live events for Django sites.

The public names are loaded when they are first used: an app's ``__init__`` is imported before
Django's app registry is ready.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .auth.revoking import arecheck, arevoke, recheck, revoke
    from .channels import Channel, UserChannel, action, register
    from .hook_client import Client
    from .html import apublish_html, publish_html
    from .listening import subscribe
    from .members import apresence, presence
    from .namespaces import namespace
    from .protocol.messages import Members, Position
    from .protocol.names import quote, unquote
    from .publications import Published
    from .publishing import (
        apublish,
        apublish_many,
        apublish_to_session,
        apublish_to_user,
        publish,
        publish_many,
        publish_to_session,
        publish_to_user,
        session_channel,
    )
    from .stored import (
        HistoryPage,
        ahistory,
        aposition,
        apurge,
        history,
        position,
        purge,
    )
    from .stores.history.base import History
    from .stores.presence.base import Presence

_HOMES = {
    "Channel": "channels",
    "Client": "hook_client",
    "UserChannel": "channels",
    "History": "stores.history.base",
    "HistoryPage": "stored",
    "Position": "protocol.messages",
    "Members": "protocol.messages",
    "Presence": "stores.presence.base",
    "apresence": "members",
    "presence": "members",
    "Published": "publications",
    "action": "channels",
    "register": "channels",
    "apublish": "publishing",
    "apublish_many": "publishing",
    "apublish_to_session": "publishing",
    "apublish_to_user": "publishing",
    "apublish_html": "html",
    "publish": "publishing",
    "publish_html": "html",
    "publish_many": "publishing",
    "publish_to_session": "publishing",
    "session_channel": "publishing",
    "publish_to_user": "publishing",
    "ahistory": "stored",
    "aposition": "stored",
    "apurge": "stored",
    "history": "stored",
    "position": "stored",
    "purge": "stored",
    "arecheck": "auth.revoking",
    "namespace": "namespaces",
    "arevoke": "auth.revoking",
    "quote": "protocol.names",
    "recheck": "auth.revoking",
    "revoke": "auth.revoking",
    "subscribe": "listening",
    "unquote": "protocol.names",
}

__all__ = [
    "Channel",
    "Client",
    "History",
    "HistoryPage",
    "Members",
    "Position",
    "Presence",
    "Published",
    "UserChannel",
    "action",
    "ahistory",
    "aposition",
    "apresence",
    "apublish",
    "apublish_html",
    "apublish_many",
    "apublish_to_session",
    "apublish_to_user",
    "apurge",
    "arecheck",
    "arevoke",
    "history",
    "namespace",
    "position",
    "presence",
    "publish",
    "publish_html",
    "publish_many",
    "publish_to_session",
    "publish_to_user",
    "purge",
    "quote",
    "recheck",
    "register",
    "revoke",
    "session_channel",
    "subscribe",
    "unquote",
]


def __getattr__(name: str) -> Any:
    value: Any
    if name == "__version__":
        value = metadata.version("channels-realtime")
    elif name in _HOMES:
        value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
