"""What a program gets from the client: messages and events of subscriptions, and replies."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..errors import ImproperUse
from ..protocol.messages import Member, Members, Position


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A publication, as received.

    Args:
        channel: the channel's name; empty on a notice.
        payload: JSON types; with MessagePack also bytes.
        event: its name, where the publisher gave one.
        position: in the channel's history, where it has one.
        sender: of the publisher; the server sets it.
        recovered: it was missed, and is replayed.
        version: in a channel of versions.
        state_key: in a channel with keyed state.
        removed: the state of ``state_key`` has ended.
        state: it is part of the state that a new subscription gets first.
    """

    channel: str
    payload: Any
    event: str | None = None
    position: Position | None = None
    sender: Any = None
    recovered: bool = False
    version: int | None = None
    state_key: str | None = None
    removed: bool = False
    state: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Subscribed:
    """The channel is subscribed, for the first time or after a reconnect.

    Args:
        position: after which messages follow, where the channel has history and the client knows it.
    """

    position: Position | None


@dataclasses.dataclass(frozen=True, slots=True)
class Recovered:
    """Follows ``Subscribed`` where something may have been missed.

    Args:
        complete: all that was missed follows. False: messages are missing.
        position: of the channel, where it has history.
        state: the channel's state follows, so that what is missing is in it.
    """

    complete: bool
    position: Position | None
    state: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Loaded:
    """What ``load`` returned. What follows it is newer, or was published while it was loaded."""

    state: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Joined:
    """A member has come. ``count``: of all members."""

    member: Member
    count: int


@dataclasses.dataclass(frozen=True, slots=True)
class Left:
    """A member has gone. ``count``: of all members."""

    member: Member
    count: int


Event = Message | Subscribed | Recovered | Loaded | Joined | Left


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The answer to ``publish``.

    Args:
        position: in the channel's history, where it has one.
        duplicate: it was not published: its key was used before, or its version is not new.
    """

    position: Position | None = None
    duplicate: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What a channel keeps.

    Args:
        messages: in the order asked for.
        position: where to go on from, as ``since``.
    """

    messages: tuple[Message, ...]
    position: Position | None


# -- from the wire ---------------------------------------------------------------------------------


def position_in(value: Any) -> Position | None:
    """The position in a payload or a message, if there is one."""
    if isinstance(value, dict):
        epoch, offset = value.get("epoch"), value.get("offset")
        if isinstance(epoch, str) and type(offset) is int:
            return Position(epoch, offset)
    return None


def position_object(position: Position) -> dict[str, Any]:
    """A position as the wire has it."""
    return {"epoch": position.epoch, "offset": position.offset}


def covers(known: Position, other: Position) -> bool:
    """Whether what is known up to one position has the other."""
    return known.epoch == other.epoch and other.offset <= known.offset


def read_since(since: Position | Published | Message | Mapping[str, Any] | None) -> Position | None:
    """The position that a caller gave, in any of its forms.

    Raises:
        ImproperUse: it is none.
    """
    if since is None or isinstance(since, Position):
        return since
    found = since.position if isinstance(since, (Published, Message)) else position_in(since)
    if found is None:
        raise ImproperUse(
            f"since is {since!r:.100}; expected a Position or {{'epoch': …, 'offset': …}}"
        )
    return found


def message_from(message: Mapping[str, Any]) -> Message:
    """A ``message`` of the wire."""
    return Message(
        channel=message.get("channel", ""),
        payload=message.get("payload"),
        event=message.get("event"),
        position=position_in(message),
        sender=message.get("sender"),
        recovered=message.get("recovered") is True,
        version=message.get("version"),
        state_key=message.get("state_key"),
        removed=message.get("removed") is True,
        state=message.get("state") is True,
    )


def member_from(value: Any) -> Member | None:
    """A member of the wire, if it is one."""
    if not isinstance(value, dict) or not isinstance(value.get("id"), str):
        return None
    return Member(value["id"], value.get("user"), value.get("info"))


def members_from(payload: Any) -> Members | None:
    """Members of the wire, where the payload says who is there."""
    if not isinstance(payload, dict) or type(payload.get("count")) is not int:
        return None
    found = (member_from(one) for one in payload.get("members") or ())
    return Members(payload["count"], tuple(one for one in found if one is not None))
