"""Malformed positions, keys, sessions, limits, acknowledgements and conditions, on real servers.

As in ``test_malformed``: each case is one message on a connection of its own, gets the documented error,
and leaves the connection and everybody else as they were.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.clients import JSON, Client, client
from tests.support.servers import Server
from tests.support.site import SERVERS, Site

KEPT = "checked/malformed"
KEYED = "checked-keyed/malformed"
INBOX = "checked-inbox/malformed"
PLAIN = "public/malformed"
HUGE = 2**53 + 1


@dataclass(frozen=True)
class Case:
    """A message and the code of its error, or None where it is valid, and the type of its reply."""

    name: str
    message: dict[str, Any]
    error: str | None
    reply: str = "error"


def case(name: str, error: str | None, type_: str, reply: str = "error", **fields: Any) -> Case:
    return Case(f"{type_}: {name}", {"type": type_, **fields}, error, reply)


def position(name: str, since: Any) -> list[Case]:
    """A malformed position, wherever a position may stand."""
    return [
        case(name, "bad_message", "subscribe", channel=KEPT, since=since),
        case(name, "bad_message", "history", channel=KEPT, since=since),
        case(name, "bad_message", "resume", session_id="x" * 20, since={KEPT: since}),
    ]


POSITIONS = [
    *position("text", "e:1"),
    *position("array", ["e", 1]),
    *position("number", 7),
    *position("without epoch", {"offset": 1}),
    *position("without offset", {"epoch": "e"}),
    *position("negative offset", {"epoch": "e", "offset": -1}),
    *position("offset a float", {"epoch": "e", "offset": 1.5}),
    *position("offset true", {"epoch": "e", "offset": True}),
    *position("offset text", {"epoch": "e", "offset": "1"}),
    *position("offset beyond 2^53", {"epoch": "e", "offset": HUGE}),
    *position("epoch a number", {"epoch": 1, "offset": 1}),
    *position("epoch of 65 characters", {"epoch": "e" * 65, "offset": 1}),
]


def publish(name: str, error: str, channel: str = KEYED, **fields: Any) -> Case:
    return case(name, error, "publish", id="p", channel=channel, payload=1, **fields)


PUBLICATIONS = [
    publish("key empty", "bad_message", key=""),
    publish("key a number", "bad_message", key=1),
    publish("key of 101 characters", "bad_message", key="k" * 101),
    publish("version text", "bad_message", version="1"),
    publish("version a float", "bad_message", version=1.5),
    publish("version beyond 2^53", "bad_message", version=HUGE),
    publish("version without versions", "unsupported", KEPT, version=1),
    publish("state key empty", "bad_message", state_key=""),
    publish("state key of 101 characters", "bad_message", state_key="k" * 101),
    publish("state key without state", "unsupported", KEPT, state_key="k"),
    publish("removed text", "bad_message", state_key="k", removed="yes"),
    publish("only_if text", "bad_message", state_key="k", only_if="new"),
    publish("only_if empty", "bad_message", state_key="k", only_if={}),
    publish("only_if new: 1", "bad_message", state_key="k", only_if={"new": 1}),
    publish("only_if version text", "bad_message", state_key="k", only_if={"version": "1"}),
    publish("only_if not met", "conflict", state_key="none", only_if={"version": 1}),
    publish("echo text", "bad_message", echo="no"),
    publish("transient text", "bad_message", transient="yes"),
    publish("transient event that is not allowed", "forbidden", KEPT, transient=True, event="x"),
]

SESSIONS = [
    case("without session", "bad_message", "resume"),
    case("session a number", "bad_message", "resume", session_id=7),
    case("session empty", "bad_message", "resume", session_id=""),
    case("session of 65 characters", "bad_message", "resume", session_id="x" * 65),
    case("session with a NUL", "unknown_session", "resume", session_id="x\0y"),
    case("session unknown", "unknown_session", "resume", session_id="x" * 22),
    case("since an array", "bad_message", "resume", session_id="x" * 22, since=[]),
    case(
        "since of a bad channel",
        "bad_channel",
        "resume",
        session_id="x" * 22,
        since={"a b": {"epoch": "e", "offset": 1}},
    ),
    case(
        "since of too many channels",
        "bad_message",
        "resume",
        session_id="x" * 22,
        since={f"public/{n}": {"epoch": "e", "offset": 1} for n in range(1_100)},
    ),
]

LIMITS = [
    case("limit negative", "bad_message", "history", channel=KEPT, limit=-1),
    case("limit text", "bad_message", "history", channel=KEPT, limit="10"),
    case("limit a float", "bad_message", "history", channel=KEPT, limit=1.5),
    case("limit true", "bad_message", "history", channel=KEPT, limit=True),
    case("limit too large", "bad_message", "history", channel=KEPT, limit=1_001),
    case("reverse text", "bad_message", "history", channel=KEPT, reverse="yes"),
    case("without history", "unsupported", "history", channel=PLAIN),
    case("without channel", "bad_message", "history"),
    case("unknown channel", "unknown_channel", "history", channel="nowhere/1"),
    case(
        "another epoch",
        "not_recoverable",
        "history",
        channel=KEPT,
        since={"epoch": "other", "offset": 1},
    ),
    case(
        "another epoch, recovery required",
        "not_recoverable",
        "subscribe",
        channel=KEPT,
        since={"epoch": "other", "offset": 1},
        require_recovery=True,
    ),
    case("require_recovery text", "bad_message", "subscribe", channel=KEPT, require_recovery="yes"),
    case("presence text", "bad_message", "subscribe", channel=KEPT, presence="yes"),
    case("without presence", "unsupported", "presence", channel=PLAIN),
    case("unknown channel", "unknown_channel", "presence", channel="nowhere/1"),
    case("nothing", None, "history", "history", channel=KEPT, limit=0),
]


def ack(name: str, error: str, channel: str = INBOX, **fields: Any) -> Case:
    return case(name, error, "ack", id="a", channel=channel, **fields)


ACKNOWLEDGEMENTS = [
    ack("without payload", "bad_message"),
    ack("payload text", "bad_message", payload="e:1"),
    ack("payload an array", "bad_message", payload=["e", 1]),
    ack("without epoch", "bad_message", payload={"offset": 1}),
    ack("negative offset", "bad_message", payload={"epoch": "e", "offset": -1}),
    ack("offset beyond 2^53", "bad_message", payload={"epoch": "e", "offset": HUGE}),
    ack("without a user", "forbidden", payload={"epoch": "e", "offset": 1}),
    ack("without history", "unsupported", PLAIN, payload={"epoch": "e", "offset": 1}),
    ack("unknown channel", "unknown_channel", "nowhere/1", payload={"epoch": "e", "offset": 1}),
]

CASES = [*POSITIONS, *PUBLICATIONS, *SESSIONS, *LIMITS, *ACKNOWLEDGEMENTS]


def test_there_are_fifty_cases_and_their_names_differ() -> None:
    names = [each.name for each in CASES]
    assert len(names) >= 50
    assert len(set(names)) == len(names)


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, site: Site) -> Iterator[Server]:
    with site.serve(request.param) as running:
        yield running
        log = running.log()
    assert "/channels_realtime/" not in log, f"a traceback of the package:\n{log}"


class Neighbour:
    """A subscriber of a channel with history, and a publisher to it."""

    def __init__(self, subscriber: Client, publisher: Client) -> None:
        self._subscriber = subscriber
        self._publisher = publisher
        self._offset = subscriber.subscribe(KEPT)["payload"]["offset"]

    def check(self) -> None:
        """The next publication has the next number, and is the next message."""
        reply = self._publisher.request("publish", channel=KEPT, payload="of the neighbour")
        self._offset += 1
        assert reply["payload"]["offset"] == self._offset
        received = self._subscriber.expect("message")
        assert received["offset"] == self._offset


@pytest.fixture(scope="module")
def neighbour(server: Server) -> Iterator[Neighbour]:
    with client(server, subprotocol=JSON) as subscriber, client(server) as publisher:
        yield Neighbour(subscriber, publisher)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_malformed_message_gets_its_error_and_leaves_the_neighbour_alone(
    server: Server, neighbour: Neighbour, case: Case
) -> None:
    with client(server, subprotocol=JSON) as bad:
        bad.connection.send(json.dumps(case.message))
        reply = bad.expect(case.reply)
        if case.error is not None:
            assert (reply["payload"]["code"], reply["request"]) == (
                case.error,
                case.message["type"],
            ), reply
            assert 0 < len(reply["payload"]["reason"]) <= 400
        neighbour.check()
        assert bad.request("ping")["type"] == "pong"
        assert bad.subscribe(KEPT)["payload"]["epoch"]
