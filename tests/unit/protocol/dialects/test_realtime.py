"""The project's own dialect: objects with a ``type``."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from channels_realtime.protocol import messages as m
from channels_realtime.protocol.codes import ErrorCode
from channels_realtime.protocol.dialects.realtime import RealtimeDialect, realtime_encodings
from channels_realtime.protocol.limits import Limits

LIMITS = Limits(max_payload=1_000, max_batch=3, max_depth=5)

ENCODINGS = realtime_encodings(lambda data: data)


def make_dialect(codec: str = "json", *, batches: bool = True, limits: Limits = LIMITS):
    return RealtimeDialect(ENCODINGS[codec], limits, batches=batches, heartbeat=True)


def read(message: Any, *, limits: Limits = LIMITS) -> m.Command:
    """The command of one message, which must be the same in both codecs."""
    (command,) = make_dialect(limits=limits).decode(json.dumps(message))
    assert make_dialect("msgpack", limits=limits).decode(msgspec.msgpack.encode(message)) == [
        command
    ]
    return command


def refused(message: Any, *, limits: Limits = LIMITS) -> m.Malformed:
    command = read(message, limits=limits)
    assert isinstance(command, m.Malformed), command
    return command


# -- reading what is right -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "command"),
    [
        ({"type": "auth", "token": "t"}, m.Authenticate(token="t")),
        ({"type": "auth", "token": "t" * 16_384}, m.Authenticate(token="t" * 16_384)),
        ({"type": "subscribe", "channel": "a/1"}, m.Subscribe(channel="a/1")),
        (
            {
                "type": "subscribe",
                "channel": "a",
                "id": "x",
                "payload": {"symbol": "AAPL"},
                "since": {"epoch": "e", "offset": 0},
                "presence": True,
            },
            m.Subscribe(
                channel="a",
                id="x",
                parameters={"symbol": "AAPL"},
                since=m.Position("e", 0),
                presence=True,
            ),
        ),
        (
            {"type": "subscribe", "channel": "a", "since": None, "presence": None, "payload": None},
            m.Subscribe(channel="a"),
        ),
        ({"type": "unsubscribe", "channel": "a"}, m.Unsubscribe(channel="a")),
        (
            {"type": "unsubscribe", "channel": "a", "payload": {"s": 1}},
            m.Unsubscribe(channel="a", parameters={"s": 1}),
        ),
        (
            {"type": "publish", "channel": "a", "payload": None},
            m.Publish(channel="a", payload=None),
        ),
        (
            {"type": "publish", "channel": "a", "payload": [1], "event": "e", "key": "k", "id": 7},
            m.Publish(channel="a", payload=[1], event="e", key="k", id=7),
        ),
        ({"type": "call", "method": "f"}, m.Call(method="f")),
        ({"type": "call", "method": "f", "channel": None}, m.Call(method="f")),
        (
            {"type": "call", "method": "f", "channel": "a", "payload": 1},
            m.Call(method="f", channel="a", payload=1),
        ),
        ({"type": "presence", "channel": "a"}, m.GetPresence(channel="a")),
        ({"type": "history", "channel": "a"}, m.GetHistory(channel="a")),
        (
            {
                "type": "history",
                "channel": "a",
                "since": {"epoch": "e", "offset": 3},
                "limit": 1000,
                "reverse": True,
            },
            m.GetHistory(channel="a", since=m.Position("e", 3), limit=1000, reverse=True),
        ),
        ({"type": "resume", "session_id": "s"}, m.Resume(session_id="s")),
        ({"type": "resume", "sessionId": "s"}, m.Resume(session_id="s")),
        ({"type": "resume", "session_id": None, "sessionId": "s"}, m.Resume(session_id="s")),
        (
            {
                "type": "resume",
                "session_id": "s",
                "since": {"a": {"epoch": "e", "offset": 1}, "b": None},
            },
            m.Resume(session_id="s", since={"a": m.Position("e", 1)}),
        ),
        (
            {"type": "flow", "channel": "a", "payload": {"paused": True}},
            m.Flow(channel="a", paused=True),
        ),
        (
            {"type": "flow", "channel": "a", "payload": {"paused": False}},
            m.Flow(channel="a", paused=False),
        ),
        ({"type": "ping"}, m.Ping()),
        ({"type": "ping", "id": 1}, m.Ping(id=1)),
        ({"type": "pong"}, m.Pong()),
        ({"type": "ping", "id": None}, m.Ping()),
        ({"type": "ping", "unknown": {"deep": [[[[[[[1]]]]]]]}, "headers": {}}, m.Ping()),
    ],
    ids=lambda value: value.get("type") if isinstance(value, dict) else "",
)
def test_message_is_read(message, command):
    assert read(message) == command


@pytest.mark.parametrize("request_id", ["x", "x" * 64, 0, 1, -1, 2**53, -(2**53), "ä" * 64])
def test_id_is_kept(request_id):
    assert read({"type": "ping", "id": request_id}) == m.Ping(id=request_id)


@pytest.mark.parametrize("payload", [0, 1.5, True, "x", [], {}, {"a": [{"b": None}]}, "\u0000"])
def test_payload_is_any_json_value(payload):
    command = read({"type": "publish", "channel": "a", "payload": payload})
    assert command == m.Publish(channel="a", payload=payload)


def test_bytes_are_a_payload_of_messagepack():
    frame = msgspec.msgpack.encode({"type": "publish", "channel": "a", "payload": b"\x00\xff"})
    assert make_dialect("msgpack").decode(frame) == [m.Publish(channel="a", payload=b"\x00\xff")]


# -- reading what is wrong -------------------------------------------------------------------------

ID_REASON = "'id' must be text of 1 to 64 characters or an integer within 2**53"
SINCE_REASON = "'since' must be an object of 'epoch' (text) and 'offset' (an integer >= 0)"
NAME_REASON = "is not a name; expected 1 to 200 characters of A-Z a-z 0-9 _ - . : / @ ="


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "expected an object, got null"),
        (True, "expected an object, got a boolean"),
        (1, "expected an object, got a number"),
        (1.5, "expected an object, got a number"),
        ("ping", "expected an object, got text"),
    ],
)
def test_frame_is_bad_when_it_is_no_object(value, reason):
    assert refused(value) == m.Malformed(code="bad_message", reason=reason)


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        ({}, "bad_message", "a message needs a 'type'"),
        ({"type": None}, "bad_message", "'type' must be text, got null"),
        ({"type": 1}, "bad_message", "'type' must be text, got a number"),
        ({"type": ["ping"]}, "bad_message", "'type' must be text, got an array"),
        ({"type": {}}, "bad_message", "'type' must be text, got an object"),
        ({"type": "x" * 65}, "unknown_type", "unknown type"),
        ({"type": "a\nb"}, "unknown_type", "unknown type"),
        ({"type": "\u0000"}, "unknown_type", "unknown type"),
    ],
)
def test_message_is_refused_when_its_type_cannot_be_read(message, code, reason):
    assert refused({**message, "id": 5}) == m.Malformed(id=5, code=code, reason=reason)


@pytest.mark.parametrize("kind", ["nope", "PING", "message", "welcome", "__class__", "", "ping "])
def test_message_is_refused_when_its_type_is_unknown(kind):
    assert refused({"type": kind, "id": "i", "channel": "a"}) == m.Malformed(
        id="i", code="unknown_type", reason=f"unknown type {kind!r}", about=kind, channel="a"
    )


@pytest.mark.parametrize(
    "request_id", ["", "x" * 65, 2**53 + 1, -(2**53) - 1, 1.0, 1.5, True, False, [], {}, ["a"]]
)
def test_message_is_refused_with_its_type_when_its_id_is_none(request_id):
    assert refused({"type": "ping", "id": request_id}) == m.Malformed(
        code="bad_message", reason=ID_REASON, about="ping"
    )


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        ({"type": "auth"}, "bad_message", "'auth' needs 'token'"),
        ({"type": "auth", "token": None}, "bad_message", "'auth' needs 'token'"),
        (
            {"type": "auth", "token": ""},
            "bad_message",
            "'token' must be text of 1 to 16384 characters",
        ),
        (
            {"type": "auth", "token": 1},
            "bad_message",
            "'token' must be text of 1 to 16384 characters",
        ),
        (
            {"type": "auth", "token": "x" * 16_385},
            "bad_message",
            "'token' must be text of 1 to 16384 characters",
        ),
        ({"type": "subscribe"}, "bad_message", "'subscribe' needs a 'channel'"),
        (
            {"type": "subscribe", "channel": 1},
            "bad_channel",
            "'channel' must be text, got a number",
        ),
        ({"type": "subscribe", "channel": None}, "bad_channel", "'channel' must be text, got null"),
        ({"type": "subscribe", "channel": ""}, "bad_channel", f"channel '' {NAME_REASON}"),
        ({"type": "subscribe", "channel": "a b"}, "bad_channel", f"channel 'a b' {NAME_REASON}"),
        ({"type": "subscribe", "channel": "a\n"}, "bad_channel", f"channel 'a\\n' {NAME_REASON}"),
        ({"type": "subscribe", "channel": "r/٣"}, "bad_channel", f"channel 'r/٣' {NAME_REASON}"),
        (
            {"type": "subscribe", "channel": "x" * 201},
            "bad_channel",
            f"channel '{'x' * 60}' {NAME_REASON}",
        ),
        ({"type": "subscribe", "channel": "a", "since": 1}, "bad_message", SINCE_REASON),
        ({"type": "subscribe", "channel": "a", "since": {}}, "bad_message", SINCE_REASON),
        ({"type": "subscribe", "channel": "a", "since": ["e", 0]}, "bad_message", SINCE_REASON),
        (
            {"type": "subscribe", "channel": "a", "since": {"epoch": "e", "offset": -1}},
            "bad_message",
            SINCE_REASON,
        ),
        (
            {"type": "subscribe", "channel": "a", "since": {"epoch": "e", "offset": 1.0}},
            "bad_message",
            SINCE_REASON,
        ),
        (
            {"type": "subscribe", "channel": "a", "since": {"epoch": "e", "offset": True}},
            "bad_message",
            SINCE_REASON,
        ),
        (
            {"type": "subscribe", "channel": "a", "since": {"epoch": "e" * 65, "offset": 1}},
            "bad_message",
            SINCE_REASON,
        ),
        (
            {"type": "subscribe", "channel": "a", "since": {"epoch": "e", "offset": 2**53 + 1}},
            "bad_message",
            SINCE_REASON,
        ),
        (
            {"type": "subscribe", "channel": "a", "presence": 1},
            "bad_message",
            "'presence' must be true or false, got a number",
        ),
        (
            {"type": "subscribe", "channel": "a", "presence": "true"},
            "bad_message",
            "'presence' must be true or false, got text",
        ),
        ({"type": "unsubscribe"}, "bad_message", "'unsubscribe' needs a 'channel'"),
        (
            {"type": "publish", "channel": "a"},
            "bad_message",
            "'publish' needs a 'payload' (null is one)",
        ),
        ({"type": "publish", "payload": 1}, "bad_message", "'publish' needs a 'channel'"),
        (
            {"type": "publish", "channel": "a", "payload": 1, "event": 1},
            "bad_message",
            "'event' must be text of 1 to 100 characters",
        ),
        (
            {"type": "publish", "channel": "a", "payload": 1, "event": ""},
            "bad_message",
            "'event' must be text of 1 to 100 characters",
        ),
        (
            {"type": "publish", "channel": "a", "payload": 1, "key": "k" * 101},
            "bad_message",
            "'key' must be text of 1 to 100 characters",
        ),
        ({"type": "call"}, "bad_message", "'call' needs 'method'"),
        (
            {"type": "call", "method": ["f"]},
            "bad_message",
            "'method' must be text of 1 to 100 characters",
        ),
        (
            {"type": "call", "method": "f", "channel": "a b"},
            "bad_channel",
            f"channel 'a b' {NAME_REASON}",
        ),
        ({"type": "presence"}, "bad_message", "'presence' needs a 'channel'"),
        ({"type": "history"}, "bad_message", "'history' needs a 'channel'"),
        (
            {"type": "history", "channel": "a", "limit": -1},
            "bad_message",
            "'limit' must be an integer from 0 to 1000",
        ),
        (
            {"type": "history", "channel": "a", "limit": 1001},
            "bad_message",
            "'limit' must be an integer from 0 to 1000",
        ),
        (
            {"type": "history", "channel": "a", "limit": True},
            "bad_message",
            "'limit' must be an integer from 0 to 1000",
        ),
        ({"type": "resume"}, "bad_message", "'resume' needs 'session_id'"),
        (
            {"type": "resume", "session_id": "s" * 65},
            "bad_message",
            "'session_id' must be text of 1 to 64 characters",
        ),
        (
            {"type": "resume", "session_id": 1},
            "bad_message",
            "'session_id' must be text of 1 to 64 characters",
        ),
        (
            {"type": "resume", "session_id": "s", "since": []},
            "bad_message",
            "'since' must be an object of at most 1000 channels",
        ),
        (
            {"type": "resume", "session_id": "s", "since": {str(n): None for n in range(1001)}},
            "bad_message",
            "'since' must be an object of at most 1000 channels",
        ),
        (
            {"type": "resume", "session_id": "s", "since": {"a": 1}},
            "bad_message",
            "'since.<channel>' must be an object of 'epoch' (text) and 'offset' (an integer >= 0)",
        ),
        (
            {"type": "resume", "session_id": "s", "since": {"a b": {"epoch": "e", "offset": 1}}},
            "bad_channel",
            f"channel 'a b' {NAME_REASON}",
        ),
        (
            {"type": "flow", "channel": "a"},
            "bad_payload",
            "'flow' needs a payload of {'paused': true or false}",
        ),
        (
            {"type": "flow", "channel": "a", "payload": {"paused": 1}},
            "bad_payload",
            "'flow' needs a payload of {'paused': true or false}",
        ),
    ],
)
def test_message_is_refused_when_a_field_is_wrong(message, code, reason):
    found = refused({**message, "id": "i"})
    assert (found.id, found.about, found.code, found.reason) == ("i", message["type"], code, reason)


def test_refusal_names_the_channel_when_it_is_fit_to_be_shown():
    bad = {"type": "publish", "channel": "a"}
    assert refused(bad).channel == "a"
    assert refused({**bad, "channel": "a b"}).channel == "a b"
    assert refused({**bad, "channel": "a\n"}).channel is None
    assert refused({**bad, "channel": "x" * 201}).channel is None
    assert refused({**bad, "channel": 7}).channel is None


def test_payload_is_refused_when_it_is_too_deep():
    found = refused({"type": "publish", "channel": "a", "payload": [[[[[[]]]]]], "id": 1})
    assert (found.code, found.reason) == (
        "bad_payload",
        "payload[0][0][0][0][0]: nested too deeply",
    )


def test_payload_is_refused_when_a_number_is_too_large():
    frame = json.dumps({"type": "publish", "channel": "a", "payload": {"n": 2**64}})
    found = make_dialect().decode(frame)
    assert found == [
        m.Malformed(
            code="bad_payload",
            reason="payload.n: an integer of 65 bits cannot be encoded;"
            " expected -2**63 to 2**64 - 1 (send it as text)",
            about="publish",
            channel="a",
        )
    ]


@pytest.mark.parametrize("kind", ["publish", "subscribe", "unsubscribe", "call"])
def test_payload_is_refused_when_it_is_too_large(kind):
    message = {"type": kind, "channel": "a", "method": "f", "payload": "x" * 999, "id": 1}
    (found,) = make_dialect().decode(json.dumps(message))
    assert found == m.Malformed(
        id=1,
        code="too_large",
        reason="a payload of 1001 bytes; expected at most 1000",
        about=kind,
        channel="a",
    )


@pytest.mark.parametrize("frame", ["x" * 2_001, b"x" * 2_001, "ä" * 1_001, "[" * 2_001])
def test_frame_over_the_limit_is_too_large_and_is_not_read(frame):
    (found,) = make_dialect(batches=False, limits=Limits(max_frame=2_000)).decode(frame)
    size = len(frame if isinstance(frame, bytes) else frame.encode())
    reason = f"a frame of {size} bytes; expected at most 2000"
    assert found == m.Malformed(code="too_large", reason=reason)


def test_payload_of_exactly_the_limit_is_taken_though_the_frame_is_larger():
    text = "x" * 998
    frame = json.dumps({"type": "publish", "channel": "a", "payload": text})
    assert make_dialect().decode(frame) == [m.Publish(channel="a", payload=text)]


@pytest.mark.parametrize("extension", [b"\xd4\x05a", b"\xd6\xff\x00\x00\x00\x00"])
def test_payload_is_refused_when_it_is_a_messagepack_extension(extension):
    head = msgspec.msgpack.encode({"type": "publish", "channel": "a", "payload": 1})[:-1]
    (found,) = make_dialect("msgpack").decode(head + extension)
    assert isinstance(found, m.Malformed)
    assert (found.code, found.about, found.channel) == ("bad_payload", "publish", "a")


@pytest.mark.parametrize(
    ("codec", "frame", "reason"),
    [
        ("json", b"{}", "a binary frame; this connection speaks text"),
        ("msgpack", "{}", "a text frame; this connection speaks binary"),
    ],
)
def test_frame_is_bad_when_it_is_of_the_other_kind(codec, frame, reason):
    assert make_dialect(codec).decode(frame) == [m.Malformed(code="bad_message", reason=reason)]


def test_error_holds_no_token():
    found = refused({"type": "auth", "token": ["planted-secret"], "id": 1})
    assert "planted-secret" not in repr(found)
    assert "planted-secret" not in repr(read({"type": "auth", "token": "planted-secret"}))
    assert "planted-secret" not in repr(read({"type": "resume", "session_id": "planted-secret"}))


# -- batches ---------------------------------------------------------------------------------------


def test_batch_is_read_in_its_order():
    frame = json.dumps([{"type": "ping", "id": n} for n in range(3)])
    assert make_dialect().decode(frame) == [m.Ping(id=0), m.Ping(id=1), m.Ping(id=2)]


def test_batch_is_judged_message_by_message():
    frame = json.dumps([{"type": "ping"}, 7, {"type": "nope"}])
    assert make_dialect().decode(frame) == [
        m.Ping(),
        m.Malformed(code="bad_message", reason="expected an object, got a number"),
        m.Malformed(code="unknown_type", reason="unknown type 'nope'", about="nope"),
    ]


@pytest.mark.parametrize("count", [0, 4])
def test_batch_is_refused_whole_when_it_is_empty_or_too_long(count):
    assert make_dialect().decode(json.dumps([{"type": "ping"}] * count)) == [
        m.Malformed(code="bad_message", reason=f"a batch of {count} messages; expected 1 to 3")
    ]


def test_batch_may_not_be_nested():
    assert make_dialect().decode('[[{"type":"ping"}]]') == [
        m.Malformed(code="bad_message", reason="expected an object, got an array")
    ]


def test_batch_is_refused_on_a_bare_connection():
    assert make_dialect(batches=False).decode('[{"type":"ping"}]') == [
        m.Malformed(
            code="bad_message", reason="an array; batches need the subprotocol realtime.v1.*"
        )
    ]


# -- keep-alives -----------------------------------------------------------------------------------


def test_text_ping_is_a_keep_alive_on_a_plain_connection():
    dialect = make_dialect(batches=False)
    assert dialect.decode("ping") == [m.Ping(as_text=True)]
    assert dialect.encode(m.PongReply(as_text=True)) == "pong"


@pytest.mark.parametrize("frame", ["PING", " ping", '"ping"', "pong", b"ping"])
def test_other_frames_than_the_text_ping_are_malformed(frame):
    (command,) = make_dialect(batches=False).decode(frame)
    assert isinstance(command, m.Malformed)
    assert command.code == "bad_message"


def test_text_ping_is_malformed_where_a_subprotocol_was_negotiated():
    (command,) = make_dialect().decode("ping")
    assert isinstance(command, m.Malformed)
    assert command.code == "bad_message"


# -- writing ---------------------------------------------------------------------------------------

AT = m.Position("e", 3)


@pytest.mark.parametrize(
    ("push", "expected"),
    [
        (
            m.Welcome(
                session_id="s",
                user="1",
                expires_at=2.5,
                heartbeat_interval=25.0,
                heartbeat_timeout=10.0,
                limits=Limits().advertised(),
                capabilities=("flow",),
                channels={"users/1": None, "a": AT},
                connection_id="c",
            ),
            {
                "type": "welcome",
                "payload": {
                    "session_id": "s",
                    "version": 1,
                    "user": "1",
                    "expires_at": 2.5,
                    "heartbeat": {"interval": 25.0, "timeout": 10.0},
                    "limits": {
                        "max_frame": 131_072,
                        "max_payload": 65_536,
                        "max_batch": 64,
                        "max_subscriptions": 256,
                        "max_in_flight": 16,
                    },
                    "capabilities": ["flow"],
                    "channels": {"users/1": {}, "a": {"epoch": "e", "offset": 3}},
                    "connection_id": "c",
                },
            },
        ),
        (m.AuthRequired(timeout=10.0), {"type": "auth_required", "payload": {"timeout": 10.0}}),
        (
            m.AuthOk(id=1, user="1", expires_at=None),
            {"type": "auth_ok", "id": 1, "payload": {"user": "1", "expires_at": None}},
        ),
        (
            m.AuthExpiring(expires_at=1.0),
            {"type": "auth_expiring", "payload": {"expires_at": 1.0}},
        ),
        (
            m.Subscribed(id=0, channel="a"),
            {"type": "subscribed", "id": 0, "channel": "a", "payload": {}},
        ),
        (
            m.Subscribed(channel="a", position=AT, recovered=False),
            {
                "type": "subscribed",
                "channel": "a",
                "payload": {"epoch": "e", "offset": 3, "recovered": False},
            },
        ),
        (m.Unsubscribed(channel="a"), {"type": "unsubscribed", "channel": "a"}),
        (
            m.Unsubscribed(channel="a", code="forbidden", reason="r"),
            {
                "type": "unsubscribed",
                "channel": "a",
                "payload": {"code": "forbidden", "reason": "r"},
            },
        ),
        (
            m.Published(id="p", channel="a"),
            {"type": "published", "id": "p", "channel": "a", "payload": {"duplicate": False}},
        ),
        (
            m.Published(channel="a", position=AT, duplicate=True),
            {
                "type": "published",
                "channel": "a",
                "payload": {"epoch": "e", "offset": 3, "duplicate": True},
            },
        ),
        (
            m.Result(id=1, channel="a", payload=None),
            {"type": "result", "id": 1, "channel": "a", "payload": None},
        ),
        (m.Result(channel=None, payload=1), {"type": "result", "payload": 1}),
        (
            m.FlowChanged(channel="a", paused=True),
            {"type": "flow", "channel": "a", "payload": {"paused": True}},
        ),
        (
            m.Message(publication=m.Publication("a", {"x": 1})),
            {"type": "message", "channel": "a", "payload": {"x": 1}},
        ),
        (
            m.Message(publication=m.Publication("a", None, "e", {"user": "1"}, AT, True)),
            {
                "type": "message",
                "channel": "a",
                "payload": None,
                "event": "e",
                "epoch": "e",
                "offset": 3,
                "sender": {"user": "1"},
                "recovered": True,
            },
        ),
        (m.Notice(payload="bye"), {"type": "message", "event": "notice", "payload": "bye"}),
        (m.PingPush(), {"type": "ping"}),
        (m.PongReply(id="x"), {"type": "pong", "id": "x"}),
        (
            m.Error(code=ErrorCode.FORBIDDEN, reason="no"),
            {"type": "error", "payload": {"code": "forbidden", "reason": "no"}},
        ),
        (
            m.Error(
                id=1,
                code="rate_limited",
                reason="slow",
                request="publish",
                channel="a",
                retry_after=2.0,
            ),
            {
                "type": "error",
                "id": 1,
                "request": "publish",
                "channel": "a",
                "payload": {"code": "rate_limited", "reason": "slow", "retry_after": 2.0},
            },
        ),
        (
            m.Closing(code=4503, reason="full", reconnect=True, retry_after=5.0),
            {
                "type": "closing",
                "payload": {"code": 4503, "reason": "full", "reconnect": True, "retry_after": 5.0},
            },
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, m.Push) else "",
)
def test_push_is_written(push, expected):
    assert json.loads(make_dialect().encode(push)) == expected
    assert msgspec.msgpack.decode(make_dialect("msgpack").encode(push)) == expected


def test_every_push_has_a_form():
    from channels_realtime.protocol.dialects.realtime_objects import _WRITERS

    assert set(m.Push.__subclasses__()) == set(_WRITERS)


def test_encodings_are_shared_so_that_the_hub_encodes_once():
    assert make_dialect().encoding is make_dialect().encoding
    assert make_dialect().encoding.name == "realtime.json"
    assert make_dialect("msgpack").encoding.name == "realtime.msgpack"


def test_welcome_repr_shows_no_session_id():
    welcome = m.Welcome(
        session_id="planted-secret",
        user=None,
        expires_at=None,
        heartbeat_interval=1,
        heartbeat_timeout=1,
        limits={},
        capabilities=(),
        channels={},
    )
    assert "planted-secret" not in repr(welcome)


# -- anything at all -------------------------------------------------------------------------------

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
TYPES = st.sampled_from(
    [
        "auth", "subscribe", "unsubscribe", "publish", "call", "presence", "history", "resume",
        "flow", "ping", "pong", "nope",
    ]
)  # fmt: skip
POSITIONS = st.fixed_dictionaries(
    {}, optional={"epoch": st.just("e") | VALUES, "offset": st.integers(-1, 5) | VALUES}
)
MESSAGES = st.fixed_dictionaries(
    {"type": TYPES},
    optional={
        "id": st.integers(0, 3) | VALUES,
        "channel": st.sampled_from(["a", "b", "a b"]) | VALUES,
        "payload": st.just({"paused": True}) | VALUES,
        "since": POSITIONS | st.dictionaries(st.text(max_size=3), POSITIONS, max_size=2) | VALUES,
        "presence": VALUES,
        "token": st.just("t") | VALUES,
        "method": st.just("f") | VALUES,
        "event": VALUES,
        "key": VALUES,
        "limit": VALUES,
        "reverse": VALUES,
        "session_id": st.just("s") | VALUES,
        "extra": VALUES,
    },
)
THINGS = MESSAGES | st.lists(MESSAGES | VALUES, max_size=4) | VALUES
JSON_FRAMES = THINGS.map(lambda value: msgspec.json.encode(value).decode())
MSGPACK_FRAMES = THINGS.map(msgspec.msgpack.encode)
ANY_FRAMES = (
    st.text(st.characters(), max_size=50) | st.binary(max_size=50) | JSON_FRAMES | MSGPACK_FRAMES
)


@given(ANY_FRAMES, st.sampled_from(["json", "msgpack"]), st.booleans())
@example("\ud800", "json", True)
@example("[" * 50_000, "json", True)
def test_any_frame_becomes_commands_that_can_be_answered(frame, codec, batches):
    dialect = make_dialect(codec, batches=batches)
    commands = dialect.decode(frame)
    assert 1 <= len(commands) <= LIMITS.max_batch
    for command in commands:
        assert isinstance(command, m.Command)
        if isinstance(command, m.Malformed):
            assert command.code in set(ErrorCode)
            assert 0 < len(command.reason) < 500
            error = m.Error(
                id=command.id,
                request=command.about,
                channel=command.channel,
                code=command.code,
                reason=command.reason,
            )
            assert dialect.encode(error) is not None
            command.reason.encode()
        if isinstance(command, m.Publish):
            dialect.encoding.encode_publication(m.Publication(command.channel, command.payload))
