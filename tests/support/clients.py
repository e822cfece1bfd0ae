"""A WebSocket client for tests: messages instead of frames, and every wait has an end."""

import itertools
import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.support.servers import Server

TIMEOUT_S = 15.0
"""How long anything may take; a machine under load is slow and still right."""

JSON = "realtime.v1.json"
MSGPACK = "realtime.v1.msgpack"

Message = dict[str, Any]


class Client:
    """One connection. Pings of the protocol are answered whenever it reads."""

    def __init__(self, connection: ClientConnection, *, binary: bool = False) -> None:
        self.connection = connection
        self._binary = binary
        self._ids = itertools.count(1)
        self._unread: deque[Message] = deque()

    def send(self, message: Any) -> None:
        """Send a message, or a batch."""
        if self._binary:
            self.connection.send(msgspec.msgpack.encode(message))
        else:
            self.connection.send(json.dumps(message))

    def receive(self, timeout: float = TIMEOUT_S) -> Message:
        """The next message that is not a ping.

        Raises:
            TimeoutError: none came in time.
        """
        deadline = time.monotonic() + timeout
        while True:
            if self._unread:
                return self._unread.popleft()
            for message in self._read(deadline - time.monotonic()):
                if message["type"] == "ping":
                    self.send({"type": "pong"})
                else:
                    self._unread.append(message)

    def _read(self, timeout: float) -> list[Message]:
        try:
            frame = self.connection.recv(timeout=max(timeout, 0.001))
        except TimeoutError:
            raise TimeoutError("no message came in time") from None
        assert isinstance(frame, bytes) is self._binary, f"a frame of the wrong kind: {frame!r}"
        value = msgspec.msgpack.decode(frame) if self._binary else json.loads(frame)
        return value if isinstance(value, list) else [value]

    def expect(self, kind: str, timeout: float = TIMEOUT_S) -> Message:
        """The next message, which must be of this type."""
        message = self.receive(timeout)
        assert message["type"] == kind, f"expected {kind!r}, got {message}"
        return message

    def request(self, kind: str, **fields: Any) -> Message:
        """Send a request and return its reply; what comes before it is kept."""
        request_id = next(self._ids)
        self.send({"type": kind, "id": request_id, **fields})
        earlier: list[Message] = []
        try:
            while True:
                message = self.receive()
                if message.get("id") == request_id:
                    return message
                earlier.append(message)
        finally:
            self._unread.extendleft(reversed(earlier))

    def subscribe(self, channel: str, **fields: Any) -> Message:
        """Subscribe; anything but ``subscribed`` fails."""
        reply = self.request("subscribe", channel=channel, **fields)
        assert reply["type"] == "subscribed", reply
        return reply

    def payloads_until(self, last: Any, timeout: float = TIMEOUT_S) -> list[Any]:
        """The payloads of all messages before the one with the payload ``last``."""
        deadline = time.monotonic() + timeout
        payloads: list[Any] = []
        while True:
            try:
                message = self.expect("message", deadline - time.monotonic())
            except TimeoutError:
                raise TimeoutError(f"no {last!r} came in time, only {payloads}") from None
            if message["payload"] == last:
                return payloads
            payloads.append(message["payload"])

    def close_code(self, timeout: float = TIMEOUT_S) -> tuple[int, str]:
        """Code and reason of the close that must come now, without answering pings."""
        deadline = time.monotonic() + timeout
        try:
            while True:
                self.connection.recv(timeout=max(deadline - time.monotonic(), 0.001))
        except TimeoutError:
            raise TimeoutError("the connection was not closed in time") from None
        except ConnectionClosed as closed:
            return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")


@contextmanager
def client(
    server: Server,
    *,
    path: str = "/ws/",
    subprotocol: str | None = JSON,
    cookie: str | None = None,
    welcomed: bool = True,
    **options: Any,
) -> Iterator[Client]:
    """A client of the server, for as long as the block runs.

    Args:
        subprotocol: JSON, MSGPACK, another or None.
        cookie: of ``sites.login``.
        welcomed: whether the connection begins with a ``welcome``, which is taken.
        options: for ``websockets.sync.client.connect``.
    """
    headers = list(options.pop("additional_headers", []))
    if cookie is not None:
        headers.append(("Cookie", cookie))
    with connect(
        server.websocket_url(path),
        subprotocols=None if subprotocol is None else [subprotocol],
        additional_headers=headers,
        proxy=None,
        open_timeout=TIMEOUT_S,
        close_timeout=1.0,
        **options,
    ) as connection:
        opened = Client(connection, binary=subprotocol == MSGPACK)
        if welcomed:
            opened.expect("welcome")
        yield opened


def wait_until(
    condition: Callable[[], Any], what: str, timeout: float = TIMEOUT_S, every: float = 0.05
) -> Any:
    """Ask until the answer is true, and return it.

    Raises:
        TimeoutError: it was not in time; with ``what`` was waited for and the last answer.
    """
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:g} s: {what} (last answer: {answer!r})")
        time.sleep(every)
    return answer
