"""The contract of transports: the way between one client and its connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Protocol

from ..conversation.throttling import LimitExceeded
from ..protocol.codes import CloseCode
from ..protocol.frames import Frame
from ..protocol.messages import Command, Publication, Push, Subscribed
from .writer import Writer

SendEvent = Callable[[dict[str, Any]], Awaitable[None]]
"""An ASGI server's ``send``."""


class Deliveries(Protocol):
    """Takes the publications of a connection; its writer, unless the transport says otherwise."""

    def deliver(self, frame: Frame, publication: Publication | None, /) -> None:
        """Take a frame, and the publication that it is of, if any; never waits, never raises."""
        ...


class Transport:
    """Carries frames to one client; made by an endpoint, one for each connection.

    - Order: frames are written in the order given, one at a time; the next is given when ``write`` has
      returned. ``close_content`` is the content of the last.
    - Bounds: a transport keeps no queue of its own. ``write`` suspends while the client does not read;
      the connection's writer then queues what follows, in bounded memory.
    - ``write`` may wait for the client and may raise anything: the client is then taken for gone. No
      other method blocks or waits, and none raises.
    - Encodings for it are made with ``wrap``, shared by all transports of a class.

    A transport with a consumer of the site's behind it (``mixins.transport``) may serve commands and
    send pushes itself; those methods do nothing here.
    """

    __slots__ = ("write",)

    name: ClassVar[str]
    """The name that hooks and the admin see: ``"websocket"``, ``"sse"`` or ``"poll"``."""

    consumer = ""
    """The class of the site's own consumer behind it, by its dotted name; empty without one."""

    ends_with_credentials = True
    """Whether the connection ends when its credentials expire, or are not renewed."""

    has_channels = True
    """Whether channels are delivered on it: then its user's own channel is, from the start."""

    write: Callable[[Any], Awaitable[None]]
    """Writes the content of one frame."""

    try_write: Callable[[Any], bool] | None = None
    """Writes the content of one frame at once, in the order of ``write``; False leaves it to ``write``.

    None where there is no other way than ``write``.
    """

    @staticmethod
    def wrap(data: str | bytes) -> Any:
        """The content of a frame, of an encoded message; see ``protocol.dialects.base.Wrap``."""
        raise NotImplementedError

    @property
    def max_frame_bytes(self) -> int | None:
        """The largest frame that does not close it; None where the transport has seen to that."""
        raise NotImplementedError

    @property
    def is_open(self) -> bool:
        """Whether anything may be written yet; replies wait until it is."""
        return True

    def close_content(
        self, code: CloseCode, reason: str, *, rfc: bool, reconnect: bool
    ) -> tuple[int, Any]:
        """The content of the frame that closes it, and the code that the client sees.

        Args:
            code: of the protocol.
            reason: a few words; left out where the server does not take them.
            rfc: whether the RFC's own codes are wanted, where the server takes them.
            reconnect: whether the client should come back.
        """
        raise NotImplementedError

    def drop(self) -> None:
        """End it at once: the client did not answer a close."""
        raise NotImplementedError

    def detach(self) -> None:
        """The connection is over: hold nothing that holds it."""

    # -- for transports with a consumer of the site's behind them ----------------------------------

    def deliveries(self, writer: Writer) -> Deliveries:
        """What takes the publications."""
        return writer

    def serve(self, command: Command) -> bool:
        """Serve a command, at once; False leaves it to the connection."""
        return False

    def tell(self, push: Push) -> bool:
        """Send a push itself; False leaves it to the connection's dialect."""
        return False

    def started_anew(self, push: Subscribed) -> bool:
        """Tell its consumer that a channel goes on from another position; False leaves it to the dialect."""
        return False

    def throttled(self, exceeded: LimitExceeded) -> None:
        """The client exceeded a limit."""

    def hold(self, writer: Writer, held: bool) -> None:
        """Keep deliveries back, or let them go on."""
        if held:
            writer.hold()
        else:
            writer.release()

    def discard(self, channel: str) -> None:
        """Take back what the transport itself keeps of a channel."""

    def credentials_read(self) -> None:
        """The connection's user was read again."""
