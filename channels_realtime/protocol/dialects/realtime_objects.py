"""The wire objects of the pushes of ``realtime.v1``, and of publications."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import messages as m
from .base import VERSION


def publication_object(publication: m.Publication) -> dict[str, Any]:
    """The ``message`` object of a publication; absent fields are those that do not apply."""
    if publication.kind:
        return {
            "type": publication.kind,
            "channel": publication.channel,
            "payload": publication.payload,
        }
    message: dict[str, Any] = {
        "type": "message",
        "channel": publication.channel,
        "payload": publication.payload,
    }
    if publication.event is not None:
        message["event"] = publication.event
    if publication.position is not None:
        message["epoch"] = publication.position.epoch
        message["offset"] = publication.position.offset
    if publication.sender is not None:
        message["sender"] = publication.sender
    if publication.recovered:
        message["recovered"] = True
    if publication.version is not None:
        message["version"] = publication.version
    if publication.state_key is not None:
        message["state_key"] = publication.state_key
    if publication.removed:
        message["removed"] = True
    if publication.state:
        message["state"] = True
    return message


def position_fields(position: m.Position | None) -> dict[str, Any]:
    """``epoch`` and ``offset``, exactly where the channel has history."""
    return {} if position is None else {"epoch": position.epoch, "offset": position.offset}


def push_object(push: m.Push) -> dict[str, Any]:
    """The wire object of any push."""
    message = _WRITERS[type(push)](push)
    if push.id is not None:
        message["id"] = push.id
    return message


def _write_welcome(push: m.Welcome) -> dict[str, Any]:
    return {
        "type": "welcome",
        "payload": {
            "session_id": push.session_id,
            "version": VERSION,
            "user": push.user,
            "expires_at": push.expires_at,
            "heartbeat": {
                "interval": push.heartbeat_interval,
                "timeout": push.heartbeat_timeout,
            },
            "limits": dict(push.limits),
            "capabilities": list(push.capabilities),
            "channels": {name: position_fields(at) for name, at in push.channels.items()},
            "connection_id": push.connection_id,
        },
    }


def _write_subscribed(push: m.Subscribed) -> dict[str, Any]:
    message: dict[str, Any] = {
        "type": "subscribed",
        "channel": push.channel,
        "payload": _subscribed_fields(push),
    }
    if push.automatic:
        message["automatic"] = True
    return message


def _subscribed_fields(push: m.Subscribed) -> dict[str, Any]:
    payload = position_fields(push.position)
    if push.recovered is not None:
        payload["recovered"] = push.recovered
    if push.members is not None:
        payload |= members_fields(push.members)
    return payload


def members_fields(members: m.Members) -> dict[str, Any]:
    """``members`` and ``count``, of a ``subscribed`` or ``presence``."""
    return {"members": [member_object(one) for one in members.members], "count": members.count}


def member_object(member: m.Member) -> dict[str, Any]:
    """A member, as others see it."""
    return {"id": member.id, "user": member.user, "info": member.info}


def _write_resumed(push: m.Resumed) -> dict[str, Any]:
    return {
        "type": "resumed",
        "payload": {
            "session_id": push.session_id,
            "channels": {one.channel: _subscribed_fields(one) for one in push.channels},
            "dropped": dict(push.dropped),
            "connection_id": push.connection_id,
        },
    }


def _write_history(push: m.HistoryReply) -> dict[str, Any]:
    payload = {"messages": [publication_object(one) for one in push.publications]}
    payload |= position_fields(push.position)
    return {"type": "history", "channel": push.channel, "payload": payload}


def _write_unsubscribed(push: m.Unsubscribed) -> dict[str, Any]:
    message: dict[str, Any] = {"type": "unsubscribed", "channel": push.channel}
    if push.code is not None:
        message["payload"] = {"code": push.code, "reason": push.reason}
    return message


def _write_published(push: m.Published) -> dict[str, Any]:
    payload = position_fields(push.position) | {"duplicate": push.duplicate}
    return {"type": "published", "channel": push.channel, "payload": payload}


def _write_result(push: m.Result) -> dict[str, Any]:
    message: dict[str, Any] = {"type": "result", "payload": push.payload}
    if push.channel is not None:
        message["channel"] = push.channel
    return message


def _write_error(push: m.Error) -> dict[str, Any]:
    message: dict[str, Any] = {"type": "error"}
    if push.request is not None:
        message["request"] = push.request
    if push.channel is not None:
        message["channel"] = push.channel
    message["payload"] = _reasons(push.code, push.reason, push.retry_after)
    message["payload"] |= position_fields(push.position)
    return message


def _write_closing(push: m.Closing) -> dict[str, Any]:
    payload = _reasons(push.code, push.reason, push.retry_after)
    payload["reconnect"] = push.reconnect
    return {"type": "closing", "payload": payload}


def _reasons(code: str | int, reason: str, retry_after: float | None) -> dict[str, Any]:
    payload: dict[str, Any] = {"code": code, "reason": reason}
    if retry_after is not None:
        payload["retry_after"] = retry_after
    return payload


_WRITERS: dict[type[m.Push], Callable[[Any], dict[str, Any]]] = {
    m.Welcome: _write_welcome,
    m.AuthRequired: lambda push: {"type": "auth_required", "payload": {"timeout": push.timeout}},
    m.AuthOk: lambda push: {
        "type": "auth_ok",
        "payload": {"user": push.user, "expires_at": push.expires_at},
    },
    m.AuthExpiring: lambda push: {
        "type": "auth_expiring",
        "payload": {"expires_at": push.expires_at},
    },
    m.Subscribed: _write_subscribed,
    m.Unsubscribed: _write_unsubscribed,
    m.Published: _write_published,
    m.Resumed: _write_resumed,
    m.HistoryReply: _write_history,
    m.PresenceReply: lambda push: {
        "type": "presence",
        "channel": push.channel,
        "payload": members_fields(push.members),
    },
    m.Acknowledged: lambda push: {"type": "ack", "channel": push.channel},
    m.Result: _write_result,
    m.FlowChanged: lambda push: {
        "type": "flow",
        "channel": push.channel,
        "payload": {"paused": push.paused},
    },
    m.Message: lambda push: publication_object(push.publication),
    m.Notice: lambda push: {"type": "message", "event": "notice", "payload": push.payload},
    m.PingPush: lambda push: {"type": "ping"},
    m.PongReply: lambda push: {"type": "pong"},
    m.Error: _write_error,
    m.Closing: _write_closing,
}
