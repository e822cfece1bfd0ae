"""What was asked of the server and is not answered, and what waits for a connection to be asked. No I/O."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import RealtimeError, RequestTimeout, TooLarge
from ..protocol.frames import frame_size
from ..protocol.payloads import normalise
from .errors import ClientError, Closed, ConnectionLost, QueueFull

if TYPE_CHECKING:
    from .core import Core, Handle

Done = Callable[[Any, RealtimeError | None], None]
"""Takes a reply's payload, or an error."""


@dataclasses.dataclass(slots=True)
class _Request:
    kind: str
    frame: str | bytes
    done: Done
    resend: bool
    aged: bool
    """Whether its time goes on where the connection is lost: the server does not remember keys for ever."""
    sent: bool = False
    sender: str | None = None
    """The user or visitor who sent it first. The server knows its key for them alone."""
    timer: Handle | None = None

    def cancel_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()


class Requests:
    """The requests of one client."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._ids = itertools.count(1)
        self._requests: dict[int, _Request] = {}

    def begin(
        self,
        message: Mapping[str, Any],
        done: Done,
        *,
        timeout_s: float | None = None,
        resend: bool = False,
        wait: bool = True,
    ) -> int:
        """Send a request of the program, or keep it until there is a connection.

        Args:
            message: without its ``id``.
            done: is called once.
            timeout_s: from now to the reply. Default: of the limits.
            resend: send it again on a new connection, where this one ends before the answer.
            wait: False: only where there is a connection.

        Returns:
            its id, for ``forget``.

        Raises:
            ClientError: the client has ended, or too much waits.
            BadPayload: it cannot be encoded.
        """
        core = self._core
        if core.ended is not None:
            raise core.ended
        if not wait and not core.ready:
            raise ClientError(f"{message['type']!r} was not sent: the client is {core.state}")
        if len(self._requests) >= core.limits.max_requests:
            raise QueueFull(f"{len(self._requests)} requests are unanswered")
        return self._ask(message, done, timeout_s=timeout_s, resend=resend, now=core.ready)

    def forget(self, request_id: int) -> None:
        """The reply is not wanted any more. What was not sent yet is not sent."""
        request = self._requests.pop(request_id, None)
        if request is not None:
            request.cancel_timer()

    def ask(self, message: Mapping[str, Any], done: Done) -> None:
        """Send a request of the client's own on this connection."""
        self._ask(message, done, timeout_s=None, resend=False, now=True)

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send a message that has no reply."""
        self._core.shell.send(self._core.codec.encode(dict(message)))

    def _ask(
        self,
        message: Mapping[str, Any],
        done: Done,
        *,
        timeout_s: float | None,
        resend: bool,
        now: bool,
    ) -> int:
        limits = self._core.limits
        request_id = next(self._ids)
        present = {key: value for key, value in message.items() if value is not None}
        if "payload" in message:
            present["payload"] = normalise(message["payload"])
        frame = self._core.codec.encode({**present, "id": request_id})
        aged = timeout_s is not None or (resend and not now)
        request = _Request(message["type"], frame, done, resend, aged)
        if not now:
            waiting = sum(frame_size(one.frame) for one in self._requests.values() if not one.sent)
            size = frame_size(frame)
            if waiting + size > limits.queue_bytes:
                raise QueueFull(
                    f"{waiting} bytes wait for a connection; with {size} more they are over"
                    f" the {limits.queue_bytes} of queue_bytes"
                )
        self._requests[request_id] = request
        if timeout_s is None:
            timeout_s = limits.queue_seconds if aged else limits.request_timeout_s
        self._time(request_id, request, timeout_s)
        if now:
            self._transmit(request_id, request)
        return request_id

    def _time(self, request_id: int, request: _Request, seconds: float) -> None:
        """Let a request fail so many seconds from now."""

        def over() -> None:
            what = "was not answered" if request.sent else "found no connection"
            self.settle(
                request_id, None, RequestTimeout(f"{request.kind!r} {what} within {seconds:g} s")
            )

        request.cancel_timer()
        request.timer = self._core.later(seconds, over)

    def _transmit(self, request_id: int, request: _Request) -> None:
        core = self._core
        size, longest = frame_size(request.frame), core.server_limit("max_frame")
        if longest is not None and size > longest:  # the server would close with 4413
            reason = f"{request.kind!r} is {size} bytes long; the server takes at most {longest}"
            self.settle(request_id, None, TooLarge(reason))
            return
        sender = core.connection_id if core.user is None else f"user {core.user}"
        if request.sender not in (None, sender):
            reason = f"{request.kind!r} was not sent again: the client now connects as another user or visitor"
            self.settle(request_id, None, ConnectionLost(reason))
            return
        request.sender = sender if request.resend else None
        request.sent = True
        core.shell.send(request.frame)

    def settle(self, request_id: Any, payload: Any, error: RealtimeError | None) -> bool:
        """A request has its reply, or an error. Returns whether there is such a request."""
        request = self._requests.pop(request_id, None) if type(request_id) is int else None
        if request is None:
            return False
        request.cancel_timer()
        request.done(payload, error)
        return True

    # -- the connection ----------------------------------------------------------------------------

    @property
    def waiting(self) -> list[int]:
        """Those that wait for a connection, in the order in which they were made."""
        return [request_id for request_id, request in self._requests.items() if not request.sent]

    def transmit(self, waiting: list[int]) -> None:
        """There is a connection: send those that waited for it."""
        for request_id in waiting:
            request = self._requests.get(request_id)
            if request is not None and not request.sent:
                self._transmit(request_id, request)

    def lost(self, why: str) -> None:
        """The connection has ended. What may be repeated waits for the next; the rest fails."""
        for request_id, request in list(self._requests.items()):
            if not request.sent:
                continue
            if request.resend:
                request.sent = False
                if not request.aged:
                    request.aged = True
                    self._time(request_id, request, self._core.limits.queue_seconds)
            else:
                reason = f"the connection ended before {request.kind!r} was answered ({why})"
                self.settle(request_id, None, ConnectionLost(reason))

    def end(self, error: Closed) -> None:
        """The client has ended."""
        requests, self._requests = self._requests, {}
        for request in requests.values():
            request.cancel_timer()
            request.done(None, error)
