"""A client of server-sent events and of the views beside them, over plain HTTP."""

import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from tests.support.servers import HOST, Server
from tests.support.site import state

TIMEOUT_S = 15.0

EVENT_SOURCE = {"Accept": "text/event-stream", "Sec-Fetch-Site": "same-origin"}
"""What tells an ``EventSource`` of a browser on the server's own page from other clients."""


@dataclass(slots=True)
class Event:
    """One event, as an ``EventSource`` dispatches it."""

    name: str
    data: Any
    id: str | None
    retry: str | None


class EventStream:
    """An open stream. Closes with the block.

    Args:
        server: the server.
        channels: to subscribe to.
        cursor: sent as ``Last-Event-ID``.
        headers: more headers; by default those of an ``EventSource``.
        query: more of the query string.
    """

    def __init__(
        self,
        server: Server,
        *channels: str,
        cursor: str | None = None,
        headers: Mapping[str, str] | None = None,
        **query: str,
    ) -> None:
        self._connection = http.client.HTTPConnection(HOST, server.port, timeout=TIMEOUT_S)
        sent = {**EVENT_SOURCE, **(headers or {})}
        if cursor is not None:
            sent["Last-Event-ID"] = cursor
        parameters = [("channel", channel) for channel in channels] + list(query.items())
        self._connection.request("GET", f"/realtime/sse/?{urlencode(parameters)}", headers=sent)
        self._response = self._connection.getresponse()
        self.status = self._response.status
        self.headers = self._response.headers
        self.last_id = cursor
        self.retry: str | None = None
        self.comments = 0

    def __enter__(self) -> "EventStream":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Cut the connection."""
        self._connection.close()
        self._response.close()

    def json(self) -> Any:
        """The body of an answer that is no stream."""
        return json.loads(self._response.read())

    def event(self) -> Event | None:
        """The next event; None where the stream has ended."""
        fields: dict[str, str] = {}
        while line := self._response.readline():
            text = line.decode().rstrip("\n")
            if text.startswith(":"):
                self.comments += 1
                continue
            if text:
                name, _, value = text.partition(": ")
                assert name not in fields, "each event here has a field once"
                fields[name] = value
                continue
            if not fields:
                continue
            assert "data" in fields, "an event without data is never dispatched"
            self.last_id = fields.get("id", self.last_id)
            self.retry = fields.get("retry", self.retry)
            return Event(
                fields.get("event", "message"),
                json.loads(fields["data"]),
                fields.get("id"),
                fields.get("retry"),
            )
        return None

    def comment(self) -> None:
        """Wait for a comment."""
        before = self.comments
        while self.comments == before:
            line = self._response.readline()
            assert line, "the stream has ended"
            self.comments += line.startswith(b":")

    def message(self) -> dict[str, Any]:
        """The next message."""
        event = self.event()
        assert event is not None, "the stream has ended"
        assert event.name == "message", event
        found: dict[str, Any] = event.data
        return found

    def expect(self, kind: str) -> dict[str, Any]:
        """The next message, which must be of this type."""
        message = self.message()
        assert message["type"] == kind, message
        return message


def post(
    server: Server, view: str, body: Any, headers: Mapping[str, str] | None = None
) -> tuple[int, Any]:
    """The status and the JSON body of an answer to a POST to ``send`` or ``poll``."""
    connection = http.client.HTTPConnection(HOST, server.port, timeout=40.0)
    try:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(
            "POST",
            f"/realtime/{view}/",
            body=data,
            headers={"Content-Type": "application/json", **(headers or {})},
        )
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"null")
    finally:
        connection.close()


def wait_for_connections(server: Server, count: int) -> None:
    """Wait until a server holds this many connections."""
    deadline = time.monotonic() + TIMEOUT_S
    while (found := state(server)["connections"]) != count:
        assert time.monotonic() < deadline, f"{found} connections; expected {count}"
        time.sleep(0.02)
