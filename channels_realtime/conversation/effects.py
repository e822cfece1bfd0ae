"""Effects: what the conversation tells its caller to do."""

from __future__ import annotations

import msgspec

from ..protocol.codes import CloseCode
from ..protocol.messages import Command, Push


class Send(msgspec.Struct, frozen=True):
    """Send this push to the client, in order with all others."""

    push: Push


class Run(msgspec.Struct, frozen=True):
    """Serve this command, then call ``Conversation.complete(ticket, …)`` with its reply."""

    ticket: int
    command: Command


class Close(msgspec.Struct, frozen=True):
    """Close the transport. No other effect follows."""

    code: CloseCode
    reason: str
    reconnect: bool


class Hold(msgspec.Struct, frozen=True):
    """Hold deliveries, or release them: the client's credentials are being checked."""

    held: bool


class Reread(msgspec.Struct, frozen=True):
    """The login session may have expired: read it again, then call ``Conversation.renewed``."""


Effect = Send | Run | Close | Hold | Reread
