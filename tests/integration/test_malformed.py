"""Malformed frames on real servers: each gets the documented answer and disturbs no other client.

Each case is one frame, or a few raw bytes of the WebSocket protocol, on a connection of its own. A
bystander on the same process is sent a publication before and after it, and must get exactly those.
What the decoder refuses is tested in ``tests/unit/protocol``; the cases here concern framing, sizes, kinds
of frames, batches, the site's channels, and input that could exhaust the process.
"""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from tests.support.clients import JSON, MSGPACK, Client, client
from tests.support.servers import Server
from tests.support.site import SERVERS, Site

DEEP = 100_000

BARE = None


@dataclass(frozen=True)
class Case:
    """A frame and its expected result.

    ``error`` is the code of an ``error``, after which the connection still works. ``close`` has the
    allowed close codes. With neither, the frame is valid, and ``reply`` is the type of its answer.
    """

    name: str
    frame: str | bytes
    error: str | None = None
    close: tuple[int, ...] = ()
    reply: str | None = None
    subprotocol: str | None = BARE
    text: bool | None = None
    raw: bool = False


def text(name: str, frame: Any, error: str, **options: Any) -> Case:
    """A text frame; what is no text is written as JSON."""
    return Case(name, frame if isinstance(frame, str) else json.dumps(frame), error, **options)


def message(name: str, error: str, **fields: Any) -> Case:
    return text(name, fields, error)


def subscribe(name: str, channel: Any, error: str, **fields: Any) -> Case:
    return message(name, error, type="subscribe", channel=channel, **fields)


def payload(name: str, written: str, error: str) -> Case:
    """A publish with a payload that ``json.dumps`` would not write."""
    frame = '{"type": "publish", "channel": "public/a", "payload": ' + written + "}"
    return Case(name, frame, error)


def binary(name: str, frame: Any, error: str | None, **options: Any) -> Case:
    """A frame of MessagePack; what is no bytes is encoded."""
    data = frame if isinstance(frame, bytes) else msgspec.msgpack.encode(frame)
    return Case(name, data, error, subprotocol=MSGPACK, **options)


def pack_publish(packed: bytes) -> bytes:
    """A publish whose payload is already packed."""
    head = msgspec.msgpack.encode({"type": "publish", "channel": "public/a"})
    return bytes([head[0] + 1]) + head[1:] + msgspec.msgpack.encode("payload") + packed


def websocket_frame(first: int, body: bytes, *, masked: bool = True, length: int = -1) -> bytes:
    """The bytes of a client's frame, RFC 6455, section 5.2; masked with zeroes."""
    length = len(body) if length < 0 else length
    return bytes([first, (0x80 if masked else 0) | length]) + (b"\0" * 4 if masked else b"") + body


NOT_JSON = [
    text("empty text", "", "bad_message"),
    text("word", "hello", "bad_message"),
    text("NUL", "\0", "bad_message"),
    text("lone surrogate in type", '{"type": "\\ud800"}', "bad_message"),
    payload("lone surrogate", '"\\udc00 tail"', "bad_message"),
    payload("arrays without end", "[" * DEEP, "bad_message"),
    payload("deep arrays", "[" * 60_000 + "]" * 60_000, "bad_message"),
    payload("deep objects", '{"a":' * 20_000 + "1" + "}" * 20_000, "bad_message"),
    Case("binary on a JSON connection", b'{"type": "ping"}', "bad_message"),
    Case("empty binary", b"", "bad_message"),
    Case(
        "MessagePack on a JSON connection", msgspec.msgpack.encode({"type": "ping"}), "bad_message"
    ),
]

WRONG_SHAPE = [
    text("null", None, "bad_message"),
    message("unknown type", "unknown_type", type="teleport"),
    message("layer's own type", "unknown_type", type="websocket.close"),
    message("long type", "unknown_type", type="x" * 10_000),
    Case("doubled type", '{"type": "ping", "type": "nonsense"}', "unknown_type"),
    Case(
        "doubled channel",
        '{"type": "subscribe", "channel": "public/a", "channel": "public/a\\n"}',
        "bad_channel",
    ),
    Case("doubled type that ends well", '{"type": "nonsense", "type": "ping"}', reply="pong"),
    Case("unknown fields", '{"type": "ping", "__proto__": {}, "x": [1]}', reply="pong"),
    text("id giant text", {"type": "ping", "id": "x" * 60_000}, "bad_message"),
    Case("id of 400 digits", '{"type": "ping", "id": %s}' % ("9" * 400), "bad_message"),
]

# The site's channels decide on these, beyond the decoder.
REFUSED = [
    subscribe("parameter an object", "stocks", "bad_payload", payload={"symbol": {"a": 1}}),
    subscribe("parameter an array", "stocks", "bad_payload", payload={"symbol": ["AAPL"]}),
    message(
        "event reserved",
        "forbidden",
        type="publish",
        channel="public/a",
        payload=1,
        event="realtime.html",
    ),
    message(
        "event unknown", "forbidden", type="publish", channel="public/a", payload=1, event="other"
    ),
    message("method unknown", "unknown_method", type="call", channel="public/a", method="none"),
    message("method dunder", "unknown_method", type="call", channel="public/a", method="__init__"),
    message(
        "method a hook", "unknown_method", type="call", channel="public/a", method="can_subscribe"
    ),
    message("call without channel", "unknown_method", type="call", method="echo"),
    message(
        "flow without subscription",
        "not_subscribed",
        type="flow",
        channel="public/a",
        payload={"paused": True},
    ),
    message(
        "unsubscribe without subscription", "not_subscribed", type="unsubscribe", channel="public/a"
    ),
    message("resume unknown", "unknown_session", type="resume", session_id="x" * 32),
    subscribe("channel giant", "public/" + "a" * 60_000, "bad_channel"),
    subscribe("channel with emoji", "public/🙂", "bad_channel"),
    subscribe("channel without a route", "nowhere", "unknown_channel"),
    subscribe("channel climbing", "../../etc/passwd", "unknown_channel"),
    subscribe("channel of another case", "Public/a", "unknown_channel"),
    subscribe("channel with one segment more", "public/a/b", "unknown_channel"),
    subscribe("channel with signed number", "notes/-1", "unknown_channel"),
    subscribe("channel with number no database has", "notes/" + "9" * 40, "forbidden"),
    subscribe("channel of a user", "users/1", "forbidden"),
    subscribe("channel of no user", "users/", "unknown_channel"),
]

SIZES = [
    payload("integer of 400 digits", "9" * 400, "bad_payload"),
    payload("payload nested 33 deep", "[" * 33 + "]" * 33, "bad_payload"),
    payload("payload over 64 KiB", '"%s"' % ("x" * 70_000), "too_large"),
    payload(
        "payload over 64 KiB in bytes, not in characters", '"%s"' % ("ä" * 35_000), "too_large"
    ),
    text("frame over 128 KiB", '"%s"' % ("x" * 140_000), "too_large"),
    Case("frame over 128 KiB, ours", '"%s"' % ("x" * 140_000), close=(4413,), subprotocol=JSON),
    # Daphne's own limit is 1 MiB, and autobahn drops the connection without a close frame: 1006.
    Case("frame of 2 MB", '"%s"' % ("x" * 2_000_000), close=(1008, 1006)),
    Case("frame of 2 MB, binary", b"\0" * 2_000_000, close=(1008, 1006)),
]

BATCHES = [
    text("batch on a bare connection", [{"type": "ping"}], "bad_message"),
    text("batch empty", [], "bad_message", subprotocol=JSON),
    text("batch of 65", [{"type": "ping"}] * 65, "bad_message", subprotocol=JSON),
    text("batch of a batch", [[{"type": "ping"}]], "bad_message", subprotocol=JSON),
    text("batch of null", [None], "bad_message", subprotocol=JSON),
]

PACKED = [
    Case("text on a MessagePack connection", "hello", "bad_message", subprotocol=MSGPACK),
    Case(
        "JSON on a MessagePack connection", '{"type": "ping"}', "bad_message", subprotocol=MSGPACK
    ),
    binary("packed nothing", b"", "bad_message"),
    binary("array said to have 2**32 items", b"\xdd\xff\xff\xff\xff", "bad_message"),
    binary("bytes said to be 4 GiB", b"\xc6\xff\xff\xff\xff\0", "bad_message"),
    binary("packed arrays without end", b"\x91" * DEEP, "bad_message"),
    binary("packed deep arrays", pack_publish(b"\x91" * 50_000 + b"\xc0"), "bad_message"),
    binary("packed payload nested 33 deep", pack_publish(b"\x91" * 33 + b"\xc0"), "bad_payload"),
    binary("integer key", {1: "ping"}, "bad_message"),
    binary("integer key in payload", pack_publish(b"\x81\x01\x02"), None, reply="nothing"),
    binary("bytes as type", {"type": b"ping"}, "bad_message"),
    binary("bytes as channel", {"type": "subscribe", "channel": b"public/a"}, "bad_channel"),
    binary("packed surrogate", pack_publish(b"\xa3\xed\xa0\x80"), "bad_message"),
    binary("packed NaN", pack_publish(b"\xcb\x7f\xf8" + b"\0" * 6), "bad_payload"),
    binary("packed infinity", pack_publish(b"\xcb\x7f\xf0" + b"\0" * 6), "bad_payload"),
    binary("packed doubled type", b"\x82\xa4type\xa4ping\xa4type\xa4nope", "unknown_type"),
]

# The servers themselves answer bytes that break RFC 6455: uvicorn closes with the RFC's code, autobahn
# drops the connection without a close frame.
WIRE = [
    Case("text that is no UTF-8", b'{"type": "\xff\xfe"}', close=(1007, 1006), text=True),
    Case("text with an encoded surrogate", b'"\xed\xa0\x80"', close=(1007, 1006), text=True),
    Case("unknown opcode", websocket_frame(0x83, b"x"), close=(1002, 1006), raw=True),
    Case("reserved bits", websocket_frame(0xB1, b"x"), close=(1002, 1006), raw=True),
    Case("ping in fragments", websocket_frame(0x09, b"x"), close=(1002, 1006), raw=True),
    Case(
        "frame without mask",
        websocket_frame(0x81, b"x", masked=False),
        close=(1002, 1006),
        raw=True,
    ),
    Case("continuation of nothing", websocket_frame(0x80, b"x"), close=(1002, 1006), raw=True),
    Case("close code of one byte", websocket_frame(0x88, b"x"), close=(1002, 1006), raw=True),
    Case("close code 1005", websocket_frame(0x88, b"\x03\xed"), close=(1002, 1006), raw=True),
]

CASES = [*NOT_JSON, *WRONG_SHAPE, *REFUSED, *SIZES, *BATCHES, *PACKED, *WIRE]


@pytest.fixture(scope="module", params=list(SERVERS))
def server(request: pytest.FixtureRequest, site: Site) -> Iterator[Server]:
    with site.serve(request.param) as running:
        yield running
        log = running.log()
    assert "/channels_realtime/" not in log, f"a traceback of the package:\n{log}"


class Bystander:
    """Two connections to the same process: one subscribes, one publishes to it."""

    def __init__(self, subscriber: Client, publisher: Client) -> None:
        self._subscriber = subscriber
        self._publisher = publisher
        self._numbers = itertools.count()

    def check(self) -> None:
        """The next publication is the next message."""
        number = next(self._numbers)
        reply = self._publisher.request("publish", channel="public/bystander", payload=number)
        assert reply["type"] == "published", reply
        received = self._subscriber.expect("message")
        assert received["payload"] == number


@pytest.fixture(scope="module")
def bystander(server: Server) -> Iterator[Bystander]:
    with client(server, subprotocol=JSON) as subscriber, client(server) as publisher:
        subscriber.subscribe("public/bystander")
        yield Bystander(subscriber, publisher)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_malformed_frame_is_answered_and_disturbs_no_other_client(
    server: Server, bystander: Bystander, case: Case
) -> None:
    bystander.check()
    with client(server, subprotocol=case.subprotocol) as bad:
        if case.raw:
            bad.connection.socket.sendall(case.frame)  # type: ignore[arg-type]
        else:
            bad.connection.send(case.frame, text=case.text)
        bystander.check()
        if case.close:
            code, _ = bad.close_code()
            assert code in case.close
        else:
            assert_answered(bad, case)
    bystander.check()


def assert_answered(bad: Client, case: Case) -> None:
    """The frame got its reply, exactly one, and the connection goes on."""
    if case.error is not None:
        error = bad.expect("error")
        assert error["payload"]["code"] == case.error, error
        assert error["payload"]["reason"]
        assert len(error["payload"]["reason"]) <= 400
    elif case.reply != "nothing":
        bad.expect(case.reply)  # type: ignore[arg-type]
    assert bad.request("ping")["type"] == "pong"
    assert bad.request("call", channel="public/a", method="echo", payload=[1])["payload"] == [1]


def test_batch_of_bad_messages_is_closed_at_the_limit(server: Server, bystander: Bystander) -> None:
    with client(server, subprotocol=JSON) as bad:
        bad.send(["junk"] * 64)
        # Each is judged alone: 50 are tolerated, the next one closes the connection.
        errors = [bad.expect("error")["payload"]["code"] for _ in range(51)]
        assert set(errors) == {"bad_message"}
        assert bad.expect("closing")["payload"]["code"] == 4400
        assert bad.close_code()[0] == 4400
    bystander.check()


def test_bare_endpoint_stays_after_a_frame_over_the_limit(
    server: Server, bystander: Bystander
) -> None:
    with client(server, path="/ws/bare/public/sizes", welcomed=False) as device:
        device.connection.send(b"\0" * 140_000)
        device.connection.send("hello")
        assert device.connection.recv(timeout=10) == "hello"
    bystander.check()


def test_connection_that_breaks_off_disturbs_no_other_client(
    server: Server, bystander: Bystander
) -> None:
    for sent in (b"", websocket_frame(0x81, b'{"type":', length=100)):
        with client(server) as page:
            page.subscribe("public/bystander")
            page.connection.socket.sendall(sent)
            page.connection.socket.close()  # no close frame
            bystander.check()
    bystander.check()
