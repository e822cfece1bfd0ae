"""The contract of session stores: what outlives a connection so that the next one can resume it.

A session is saved by its owner, the connection that the client was told its id on, and taken once by
the connection that resumes it. A save after that is refused: it comes from the old connection, which
does not know yet that its client has moved on. Tests of a store subclass
``channels_realtime.testing.SessionStoreContract``.

Rules for every store:

- Atomicity: taking a session and refusing its owner are one step. Of several that take a session at
  once, in any processes, one gets it.
- Identity: a session is only given to the identity that it was saved with. For another it is not there,
  and it stays.
- Loss: a store may lose sessions, for example when it is restarted. They are not there then, and an
  owner that saves again makes a new session.
- Secrets: a store is given a digest of the session's id, never the id.
- Errors: ``Unavailable`` where the store is away or too slow; it may have done what was asked.
- Methods run on an event loop, in any process, and may be called from several loops of a process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from ...identity import Identity
from ...protocol.messages import Position
from ...protocol.names import namespaced


class Save(msgspec.Struct, frozen=True, kw_only=True):
    """One session to be kept.

    Args:
        key: of the session; see ``session_key``.
        owner: the token of the connection that saves it: ASCII letters and digits.
        identity: who may take it; see ``identity_key``.
        body: an encoded ``SessionRecord``, opaque to the store.
        ttl: for how many seconds it is kept.
    """

    key: str
    owner: str
    identity: str
    body: bytes
    ttl: float


class Taken(msgspec.Struct, frozen=True):
    """A session that was taken.

    Args:
        owner: the token of the connection that it was taken from.
        body: as that connection saved it last.
    """

    owner: str
    body: bytes


class SessionStore:
    """The contract; see the module's documentation for its rules."""

    shared: ClassVar[bool] = True
    """Whether all processes see the same sessions."""

    async def save(self, saves: Sequence[Save]) -> frozenset[str]:
        """Keep sessions, each in place of what its owner saved before.

        Returns:
            the keys that were refused: the session was taken, or has another owner.

        Raises:
            Unavailable: the store is away; any of them may have been kept.
        """
        raise NotImplementedError

    async def take(self, key: str, identity: str, *, ttl: float) -> Taken | None:
        """Take a session away from its owner.

        Args:
            key: of the session.
            identity: who takes it.
            ttl: for how many seconds it is remembered that it was taken.

        Returns:
            None where there is no such session, it is another identity's, or it was taken before.

        Raises:
            Unavailable: the store is away; it may have been taken.
        """
        raise NotImplementedError

    async def forget(self, owned: Sequence[tuple[str, str]]) -> None:
        """Delete sessions, each given by its key and owner; those of another owner stay.

        Raises:
            Unavailable: the store is away.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Close the connections of the running event loop."""


class SavedSubscription(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """A subscription that is to be restored.

    Args:
        channel: its name.
        selections: the parameters of each of the connection's selections of the channel.
        position: up to here the client has received the channel; None where that is not known.
        presence: whether it gets the joins and leaves of others.
        granted_by: who made it; see ``Channel.granted_by``.
    """

    channel: str
    selections: tuple[Any, ...] = (None,)
    position: Position | None = None
    presence: bool = False
    granted_by: str = ""


class SessionRecord(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of a connection.

    Args:
        connection_id: its public id, which the connection that resumes it takes on.
        node_id: the node that it was, or is, on.
        live: whether it was open when this was saved.
        saved_at: when, in seconds since the epoch, by the clock of its node.
        trusted: whether its rights held to the end: it was not closed for its credentials.
        identity: its credentials, without secrets, to see whether they were revoked meanwhile.
        subscriptions: in the order in which they were made.
    """

    connection_id: str
    node_id: str
    live: bool
    saved_at: float
    trusted: bool
    identity: Identity
    subscriptions: tuple[SavedSubscription, ...]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(SessionRecord).decode


def encode_record(record: SessionRecord) -> bytes:
    """The body of a session."""
    return _encode(record)


def decode_record(body: bytes) -> SessionRecord | None:
    """The record of a session's body; None where another version of the package wrote it."""
    try:
        return _decode(body)
    except msgspec.MsgspecError:
        return None


def session_key(session_id: str) -> str:
    """The key of a session in stores: a digest, from which nobody finds the id, a client's secret."""
    return hashlib.sha256(b"channels_realtime.session_id:" + session_id.encode()).hexdigest()[:40]


def identity_key(identity: Identity, namespace: str) -> str:
    """Who may take a session: the user in its namespace, or anyone anonymous there.

    Two logins of one user are one identity: a client may come back with a fresh token.
    """
    if identity.user_id is None:
        return f"?{namespace}"
    return "=" + namespaced(namespace, identity.user_id)
