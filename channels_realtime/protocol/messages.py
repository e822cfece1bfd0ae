"""Commands of clients and pushes of the server, independent of any wire format.

A dialect (a wire format such as ``realtime.v1``) turns frames into commands, and pushes into frames.
The conversation, the node and the hooks know only commands and pushes. They are msgspec structs
instead of dataclasses, so that the broker can encode a publication directly for the channel layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import msgspec

from .names import channel_key

RequestId = str | int | None
"""The id that the client gave a request: 1 to 64 characters, or an integer within 2**53; or None."""

MAX_ID_LENGTH = 64
MAX_ID_INTEGER = 2**53


class Position(msgspec.Struct, frozen=True, array_like=True):
    """A position in a channel's history. Offsets of different epochs cannot be compared."""

    epoch: str
    offset: int


Kind = Literal["", "join", "leave", "presence"]


class Publication(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """What was published to a channel, as sent over the channel layer; array-like to be small."""

    channel: str
    payload: Any
    event: str | None = None
    sender: Any = None
    position: Position | None = None
    recovered: bool = False
    namespace: str = ""
    uid: str = ""
    """Random; tells two publications of one position apart, after a failover of the store."""
    version: int | None = None
    state_key: str | None = None
    removed: bool = False
    state: bool = False
    """Sent as part of a channel's state, not as news."""
    exclude: str | None = None
    """The public id of a connection that does not get it."""
    kind: Kind = ""
    """``"join"`` and ``"leave"`` go to those who asked for presence, as they are. ``"presence"`` tells nodes
    of changes that the store has decided; no client gets it."""
    exclude_user: str | None = None
    """The key of the user that the excluded connection has to be of, ``""`` for an anonymous one;
    None where it may be anybody's."""
    kept_at: float | None = None
    """When it was published, in a channel with an inbox that is looked after."""

    previous: str = ""
    """The ``uid`` of the publication before it, as it is sent; not kept."""

    @property
    def key(self) -> str:
        """The channel, told apart from that of the same name in another namespace."""
        return channel_key(self.namespace, self.channel)

    def excludes(self, connection_id: str, user_id: str | None) -> bool:
        """Whether a connection, of this user or none, does not get it."""
        if self.exclude is None or self.exclude != connection_id:
            return False
        return self.exclude_user is None or self.exclude_user == (user_id or "")


# -- commands: client to server --------------------------------------------------------------------


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A request of a client. ``request`` is its name in an ``error``."""

    request: ClassVar[str] = ""
    id: RequestId = None

    @property
    def lane(self) -> str | None:
        """Commands with the same lane run in the order sent: a channel's name, or None for no order."""
        return None


class ChannelCommand(Command, frozen=True, kw_only=True):
    """A command about one channel."""

    channel: str

    @property
    def lane(self) -> str | None:
        return self.channel


class Authenticate(Command, frozen=True, kw_only=True):
    request: ClassVar[str] = "auth"
    token: str

    def __repr__(self) -> str:  # a token must not reach a log line
        return f"Authenticate(id={self.id!r}, token=...)"


class Subscribe(ChannelCommand, frozen=True, kw_only=True):
    request: ClassVar[str] = "subscribe"
    parameters: Any = None
    since: Position | None = None
    presence: bool = False
    require_recovery: bool = False


class Unsubscribe(ChannelCommand, frozen=True, kw_only=True):
    request: ClassVar[str] = "unsubscribe"
    parameters: Any = None


class OnlyIf(msgspec.Struct, frozen=True):
    """When a publication with a state key is taken: the key is new, or has this version."""

    new: bool = False
    version: int | None = None


class Publish(ChannelCommand, frozen=True, kw_only=True):
    request: ClassVar[str] = "publish"
    payload: Any
    event: str | None = None
    key: str | None = None
    echo: bool = True
    transient: bool = False
    version: int | None = None
    state_key: str | None = None
    removed: bool = False
    only_if: OnlyIf | None = None


class Call(Command, frozen=True, kw_only=True):
    request: ClassVar[str] = "call"
    method: str
    channel: str | None = None
    payload: Any = None

    @property
    def lane(self) -> str | None:
        return self.channel


class GetPresence(ChannelCommand, frozen=True, kw_only=True):
    request: ClassVar[str] = "presence"


class GetHistory(ChannelCommand, frozen=True, kw_only=True):
    request: ClassVar[str] = "history"
    since: Position | None = None
    limit: int | None = None
    reverse: bool = False


class Resume(Command, frozen=True, kw_only=True):
    request: ClassVar[str] = "resume"
    session_id: str
    since: Mapping[str, Position] = {}

    def __repr__(self) -> str:  # a session id is a secret of the client
        return f"Resume(id={self.id!r}, session_id=..., channels={len(self.since)})"


class Acknowledge(ChannelCommand, frozen=True, kw_only=True):
    """Everything up to the position was received; answered only where it has an ``id``."""

    request: ClassVar[str] = "ack"
    position: Position


class Flow(ChannelCommand, frozen=True, kw_only=True):
    request: ClassVar[str] = "flow"
    paused: bool


class Ping(Command, frozen=True, kw_only=True):
    """``as_text``: the keep-alive of a client without our protocol, which wants the text ``pong``."""

    request: ClassVar[str] = "ping"
    as_text: bool = False


class Pong(Command, frozen=True, kw_only=True):
    request: ClassVar[str] = "pong"


class Malformed(Command, frozen=True, kw_only=True):
    """A frame that could not be read. It is answered with an ``error``; too many close the connection.

    ``about`` is the type that the message named, if that could be read.
    """

    code: str
    reason: str
    about: str | None = None
    channel: str | None = None


# -- pushes: server to client ----------------------------------------------------------------------


class Push(msgspec.Struct, frozen=True, kw_only=True):
    """A message of the server; with an ``id`` it is the reply to that request."""

    id: RequestId = None


class Welcome(Push, frozen=True, kw_only=True):
    session_id: str
    user: str | None
    expires_at: float | None
    heartbeat_interval: float
    heartbeat_timeout: float
    limits: Mapping[str, int]
    capabilities: tuple[str, ...]
    channels: Mapping[str, Position | None]
    connection_id: str = ""

    def __repr__(self) -> str:  # a session id is a secret of the client
        return f"Welcome(user={self.user!r}, session_id=...)"


class AuthRequired(Push, frozen=True, kw_only=True):
    timeout: float


class AuthOk(Push, frozen=True, kw_only=True):
    user: str | None
    expires_at: float | None


class AuthExpiring(Push, frozen=True, kw_only=True):
    expires_at: float


class Member(msgspec.Struct, frozen=True, array_like=True):
    """One member of a channel, as others see it.

    Args:
        id: the connection's public id, or ``user:<id>`` where a class counts users.
        user: the user's primary key as text, or None.
        info: what the channel class says about it.
    """

    id: str
    user: str | None
    info: Any = None


class Members(msgspec.Struct, frozen=True):
    """Who is on a channel: how many, and as many of them as are sent."""

    count: int
    members: tuple[Member, ...] = ()


class Subscribed(Push, frozen=True, kw_only=True):
    """The reply to ``subscribe``; without an ``id``, the server's own word about a subscription.

    Args:
        missed: what follows it at once: what was missed, or the channel's state; oldest first.
        automatic: the server has subscribed this connection.
    """

    channel: str
    position: Position | None = None
    recovered: bool | None = None
    members: Members | None = None
    missed: tuple[Publication, ...] = ()
    automatic: bool = False


class Unsubscribed(Push, frozen=True, kw_only=True):
    """The reply to a request (no code), or the server ended the subscription (code and reason)."""

    channel: str
    code: str | None = None
    reason: str = ""


class Published(Push, frozen=True, kw_only=True):
    channel: str
    position: Position | None = None
    duplicate: bool = False


class Resumed(Push, frozen=True, kw_only=True):
    """The reply to ``resume``: its channels as their ``subscribed`` would say, and those it lost."""

    session_id: str
    channels: tuple[Subscribed, ...]
    dropped: Mapping[str, str]
    connection_id: str = ""

    def __repr__(self) -> str:  # a session id is a secret of the client
        return f"Resumed(session_id=..., channels={len(self.channels)})"


class HistoryReply(Push, frozen=True, kw_only=True):
    channel: str
    position: Position
    publications: tuple[Publication, ...]


class PresenceReply(Push, frozen=True, kw_only=True):
    channel: str
    members: Members


class Acknowledged(Push, frozen=True, kw_only=True):
    channel: str


class Result(Push, frozen=True, kw_only=True):
    channel: str | None
    payload: Any


class FlowChanged(Push, frozen=True, kw_only=True):
    channel: str
    paused: bool


class Message(Push, frozen=True, kw_only=True):
    publication: Publication


class Notice(Push, frozen=True, kw_only=True):
    """A message from staff."""

    payload: Any


class PingPush(Push, frozen=True, kw_only=True):
    pass


class PongReply(Push, frozen=True, kw_only=True):
    """``as_text``: the answer to a ``Ping`` of this kind."""

    as_text: bool = False


class Error(Push, frozen=True, kw_only=True):
    """``position``: of the channel, where a second ``subscribe`` is refused."""

    code: str
    reason: str
    request: str | None = None
    channel: str | None = None
    retry_after: float | None = None
    position: Position | None = None


class Closing(Push, frozen=True, kw_only=True):
    """The last message before the server closes the connection, on every transport.

    It carries a ``CloseCode`` because a transport may have no close codes, or may refuse ours.
    """

    code: int
    reason: str
    reconnect: bool
    retry_after: float | None = None
