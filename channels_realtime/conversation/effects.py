"""What the conversation tells the shell around it to do."""

from __future__ import annotations

import msgspec

from ..protocol.codes import CloseCode
from ..protocol.messages import Command, Push


class Send(msgspec.Struct, frozen=True):
    """Write this to the client, in order with everything else."""

    push: Push


class Run(msgspec.Struct, frozen=True):
    """Serve this command, and call ``Conversation.complete(ticket, …)`` with its reply."""

    ticket: int
    command: Command


class Close(msgspec.Struct, frozen=True):
    """Close the transport; nothing follows."""

    code: CloseCode
    reason: str


class Hold(msgspec.Struct, frozen=True):
    """Keep deliveries back (or let them go on): whether the client may have them is being judged."""

    held: bool


class Reread(msgspec.Struct, frozen=True):
    """The login session's time is over: read it again, then call ``Conversation.renewed``."""


Effect = Send | Run | Close | Hold | Reread
