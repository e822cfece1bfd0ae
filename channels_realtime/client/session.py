"""What outlives a connection: resumes the session after ``welcome``, or begins a new one. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import RealtimeError, RequestTimeout
from .errors import Closed, ConnectionLost

if TYPE_CHECKING:
    from .core import Core


class Session:
    """The session of one client."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._id: str | None = None
        """What the next connection resumes. A secret: never shown or logged."""

    def begin(self) -> None:
        """Resume the last session, or subscribe again."""
        core = self._core
        welcome = core.welcome or {}
        own, connection_id = welcome.get("session_id"), welcome.get("connection_id")

        def done(payload: Any, error: RealtimeError | None) -> None:
            if isinstance(error, ConnectionLost | Closed):
                return  # the next connection tries again
            if isinstance(error, RequestTimeout):  # it may still take effect on this connection
                self.forget()
                core.give_up("no answer to 'resume'")
            elif error is not None or not isinstance(payload, dict):
                self._start(own, connection_id, None)
            else:
                channels = payload.get("channels")
                self._start(
                    payload.get("session_id") or own,
                    payload.get("connection_id") or core.connection_id or connection_id,
                    channels if isinstance(channels, dict) else {},
                )

        if self._id is None:
            self._start(own, connection_id, None)
        else:
            since = core.feeds.positions()
            core.requests.ask({"type": "resume", "session_id": self._id, "since": since}, done)

    def _start(
        self, session_id: str | None, connection_id: str | None, resumed: dict[str, Any] | None
    ) -> None:
        """Begin to work on a connection; ``resumed`` has the channels of a resumed session."""
        core = self._core
        self._id, core.connection_id = session_id, connection_id
        core.ready = True
        waiting = core.requests.waiting
        core.feeds.connected(resumed)
        core.requests.transmit(waiting)
        core.connected()

    def forget(self) -> None:
        """Do not resume: subscribe again."""
        self._id = None
