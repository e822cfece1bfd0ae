"""Traces: what viewers see of a connection, what nobody sees, and how a trace ends."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import logging

import msgspec
import pytest

from channels_realtime.identity import Identity
from channels_realtime.monitoring import traces
from channels_realtime.monitoring.traces import (
    IDLE_S,
    MAX_BYTES,
    MAX_EVENTS,
    MAX_PAYLOAD_BYTES,
    Trace,
    Traces,
)
from channels_realtime.nodes import requests
from channels_realtime.protocol.codes import CloseCode
from channels_realtime.protocol.dialects.bare import BareDialect
from channels_realtime.protocol.messages import Notice, Publication
from tests.support.nodes import FakeClient, NodeHarness, publish, subscribe
from tests.support.virtual_time import in_virtual_time, settle

SECRET = "planted-secret"


@pytest.fixture(autouse=True)
def _log(caplog):
    caplog.set_level(logging.INFO, "channels_realtime.monitoring.traces")


class Desk:
    """A viewer, who reads on where it has read to."""

    def __init__(
        self,
        client: FakeClient,
        name: str = "maria",
        *,
        payloads: bool = True,
        allowed: bool = True,
    ) -> None:
        self.connection = client.connection
        self.node = client.node
        self.node.config = dataclasses.replace(self.node.config, trace_payloads=allowed)
        self.name = name
        self.payloads = payloads
        self.next = 0
        self.lost = 0

    def read(self) -> list[dict] | None:
        """The events since the last time, as they cross the layer; None: no such connection."""
        part = ask(
            self.node,
            "trace",
            connection=self.connection.id,
            viewer=self.name,
            after=self.next,
            payloads=self.payloads,
        )
        if part is None:
            return None
        assert set(part) == {"events", "next", "lost"}
        self.next, self.lost = part["next"], part["lost"]
        return part["events"]

    def types(self) -> list[str]:
        events = self.read()
        assert events is not None
        return [f"{event['direction']} {event['type']}" for event in events]

    def stop(self) -> bool | None:
        return ask(self.node, "trace_stop", connection=self.connection.id, viewer=self.name)

    @property
    def traced(self) -> bool:
        return self.connection.id in self.node.service(Traces) and self.connection._tap is not None


def ask(node, kind: str, **arguments):
    """The answer of a node, as it crosses the layer."""
    answer = requests._handlers[kind](node, arguments)
    assert not inspect.isawaitable(answer)
    return requests._decode(requests._encode({"value": answer}))["value"]


def is_plain(value) -> bool:
    """Whether the admin can write it as JSON."""
    return msgspec.json.decode(msgspec.json.encode(value)) == value


async def watched(harness: NodeHarness, *, binary: bool = False) -> tuple[FakeClient, Desk]:
    if binary:
        client = FakeClient(harness.node, offered=("realtime.v1.msgpack",))
        harness.clients.append(client)
        await client.connection.welcome()
    else:
        client = await harness.open()
    desk = Desk(client)
    assert desk.read() == []
    return client, desk


# -- what is seen ----------------------------------------------------------------------------------


@in_virtual_time
async def test_connection_has_no_tap_before_somebody_reads():
    async with NodeHarness() as harness:
        client = await harness.open()
        assert client.connection._tap is None
        desk = Desk(client)
        await client.ask({"type": "ping"})
        assert desk.read() == []
        assert desk.traced
        assert (desk.next, desk.lost) == (0, 0)


@in_virtual_time
async def test_viewer_sees_what_is_sent_and_received_in_order():
    async with NodeHarness() as harness:
        client, desk = await watched(harness)
        now = harness.node.clock.time()
        frame = msgspec.json.encode(subscribe("public/a", id=7)).decode()
        client.connection.receive(frame)
        await settle()
        harness.node.receive(Publication("public/a", {"n": 1}, event="number"))
        first, second, third = desk.read()
        assert first == {
            "number": 1,
            "at": now,
            "direction": "in",
            "type": "subscribe",
            "channel": "public/a",
            "event": None,
            "id": 7,
            "code": None,
            "size": len(frame),
        }
        sent = '{"type":"subscribed","channel":"public/a","payload":{},"id":7}'
        assert second == {
            "number": 2,
            "at": now,
            "direction": "out",
            "type": "subscribed",
            "channel": "public/a",
            "event": None,
            "id": 7,
            "code": None,
            "size": len(sent),
            "payload": {},
        }
        assert (third["direction"], third["type"], third["channel"]) == (
            "out",
            "message",
            "public/a",
        )
        assert (third["event"], third["payload"]) == ("number", {"n": 1})
        assert desk.next == 3
        assert desk.read() == []
        desk.next = 1  # its last answer was lost
        assert [event["number"] for event in desk.read()] == [2, 3]
        assert is_plain([first, second, third])


@in_virtual_time
async def test_call_names_its_method_and_errors_their_code():
    async with NodeHarness() as harness:
        client, desk = await watched(harness)
        await client.ask({"type": "call", "method": "nothing", "channel": "public/a", "payload": 1})
        asked, refused = desk.read()
        assert (asked["type"], asked["event"], asked["payload"]) == ("call", "nothing", 1)
        assert (refused["type"], refused["code"]) == ("error", "unknown_method")
        assert refused["payload"]["code"] == "unknown_method"


@in_virtual_time
async def test_messages_of_a_batch_are_events_of_their_own():
    async with NodeHarness() as harness:
        client, desk = await watched(harness)
        client.connection.receive('[{"type": "ping", "id": 1}, {"type": "pong"}, 5]')
        ping, pong, unreadable = desk.read()[:3]
        assert (ping["type"], ping["id"], ping["size"]) == (
            "ping",
            1,
            len('{"type":"ping","id":1}'),
        )
        assert (pong["type"], pong["size"]) == ("pong", len('{"type":"pong"}'))
        assert (unreadable["type"], unreadable["size"]) == ("unreadable", 1)


@in_virtual_time
async def test_messagepack_is_read_as_such():
    async with NodeHarness() as harness:
        client, desk = await watched(harness, binary=True)
        payload = {"bytes": b"\xff", 1: "one", "nan": float("nan")}
        frame = msgspec.msgpack.encode(publish(payload, "public/a"))
        client.connection.receive(frame)
        event = desk.read()[0]
        assert (event["type"], event["size"]) == ("publish", len(frame))
        assert event["payload"] == {"bytes": "/w==", "1": "one", "nan": None}
        assert is_plain(event)


@in_virtual_time
async def test_bare_frames_are_shown_as_they_are():
    async with NodeHarness() as harness:
        client = await harness.open()
        client.connection._dialect = BareDialect("public/a", harness.node.config.limits)
        client.connection.encoding = client.connection._dialect.encoding
        desk = Desk(client)
        desk.read()
        client.connection.receive("hello")
        client.connection.receive(b"\xff\x00")
        assert [
            (event["type"], event["size"], event["channel"], event["payload"])
            for event in desk.read()
            if event["direction"] == "in"
        ] == [("frame", 5, None, "hello"), ("frame", 2, None, "/wA=")]


class ForeignDialect:
    """As a mixin's: frames are the consumer's, deliveries have the client's encoding."""

    name = "consumer"
    heartbeat = False

    def __init__(self, encoding) -> None:
        self.encoding = encoding

    def decode(self, frame):
        return []


@in_virtual_time
async def test_frames_of_other_peoples_consumers_are_sizes():
    async with NodeHarness() as harness:
        client = await harness.open()
        await client.ask(subscribe("public/a"))
        client.connection._dialect = ForeignDialect(client.connection.encoding)
        desk = Desk(client)
        desk.read()
        client.connection.receive(f'{{"type": "publish", "payload": "{SECRET}"}}')
        harness.node.receive(Publication("public/a", SECRET))
        assert [
            (event["direction"], event["type"], event["size"], "payload" in event)
            for event in desk.read()
        ] == [("in", "frame", 48, False), ("out", "frame", 66, False)]


# -- what nobody sees ------------------------------------------------------------------------------


def by(direction: str, trace: Trace, frame) -> None:
    if direction == "in":
        trace.received(frame)
    else:
        key = "bytes" if isinstance(frame, bytes) else "text"
        trace.sent({"type": "websocket.send", key: frame})


@pytest.mark.parametrize("direction", ["in", "out"])
@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        ({"type": "auth", "id": 1, "token": SECRET, "payload": SECRET, "channel": SECRET}, "auth"),
        ({"type": "auth_ok", "id": 1, "payload": {"user": SECRET}}, "auth_ok"),
        ({"type": "resume", "id": 1, "session_id": SECRET, "since": {SECRET: None}}, "resume"),
        ({"type": "resume", "id": 1, "sessionId": SECRET, "payload": SECRET}, "resume"),
        ({"type": "resumed", "id": 1, "payload": {"session_id": SECRET}}, "resumed"),
    ],
)
def test_credentials_are_seen_by_nobody(direction, frame, kind):
    @in_virtual_time
    async def scenario():
        async with NodeHarness() as harness:
            client, desk = await watched(harness)
            trace = harness.node.service(Traces)[client.connection.id]
            by(direction, trace, msgspec.json.encode(frame).decode())
            by(direction, trace, msgspec.json.encode([frame]).decode())
            for event in desk.read():
                assert (event["type"], event["id"], event["withheld"]) == (kind, 1, "secret")
                assert "payload" not in event
                assert SECRET not in str(event)
            assert desk.next == 2

    scenario()


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "Auth", "token": SECRET, "payload": SECRET},
        {"type": "login", "payload": {"password": SECRET}, "event": SECRET, "method": SECRET},
        {"type": "ping", "payload": SECRET, "channel": SECRET},
        {"type": "welcome", "payload": {"user": SECRET, "channels": {SECRET: 1}}},
        {"type": 5, "payload": SECRET},
        {"type": [SECRET]},
        {"token": SECRET},
        [SECRET],
        SECRET,
        [],
        [[{"type": "publish", "payload": SECRET}]],
        [{"type": "publish", "payload": SECRET}] * 65,
    ],
)
def test_what_is_no_message_of_a_client_may_be_anything_and_is_not_shown(frame):
    @in_virtual_time
    async def scenario():
        async with NodeHarness() as harness:
            client, desk = await watched(harness)
            text = msgspec.json.encode(frame).decode()
            harness.node.service(Traces)[client.connection.id].received(text)
            (event,) = desk.read()
            assert SECRET not in str(event)
            kind = frame.get("type") if isinstance(frame, dict) else None
            assert event["type"] == (kind if isinstance(kind, str) else "unreadable")
            assert event["direction"] == "in"

    scenario()


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize(
    "frame",
    [
        f'{{"type": "publish", "payload": "{SECRET}"',
        f'{{"type": "publish", "payload": "{SECRET}"}}'.encode(),
        "[" * 5_000 + SECRET,
        b"\xc1" + SECRET.encode(),
        b"\x91" * 5_000,
        "",
        b"",
    ],
)
def test_what_cannot_be_decoded_is_a_size(frame, binary):
    @in_virtual_time
    async def scenario():
        async with NodeHarness() as harness:
            client, desk = await watched(harness, binary=binary)
            trace = harness.node.service(Traces)[client.connection.id]
            for direction in ("in", "out"):
                by(direction, trace, frame)
            for event in desk.read():
                assert (event["type"], event["size"]) == ("unreadable", len(frame))
                assert "payload" not in event
            assert desk.next == 2

    scenario()


@in_virtual_time
async def test_welcome_shows_user_and_channels_alone():
    async with NodeHarness() as harness:
        client = FakeClient(harness.node)
        harness.clients.append(client)
        client.connection.identity = Identity(user_id="42", method="session")
        desk = Desk(client)
        assert desk.read() == []
        await client.connection.welcome()
        (event,) = desk.read()
        assert event["type"] == "welcome"
        assert event["payload"] == {"user": "42", "channels": ["users/42"]}
        assert client.connection.session_id not in str(event)


@in_virtual_time
async def test_error_about_credentials_is_a_code():
    async with NodeHarness() as harness:
        client, desk = await watched(harness)
        await client.ask({"type": "auth", "token": SECRET * 2_000, "id": 1})
        asked, refused = desk.read()
        assert (asked["type"], refused["type"], refused["code"]) == ("auth", "error", "bad_message")
        assert refused["withheld"] == "secret"
        assert "payload" not in refused


@in_virtual_time
async def test_what_a_client_wrote_is_cut():
    async with NodeHarness() as harness:
        client, desk = await watched(harness)
        trace = harness.node.service(Traces)[client.connection.id]
        long = "x" * 1_000
        trace.received(
            msgspec.json.encode(
                {"type": "publish", "channel": long, "event": long, "id": long}
            ).decode()
        )
        trace.received(msgspec.json.encode({"type": long, "id": 2**70, "code": long}).decode())
        trace.received('{"type": "publish", "channel": 1, "event": [], "id": true}')
        first, second, third = desk.read()
        assert (len(first["channel"]), len(first["event"]), len(first["id"])) == (200, 100, 64)
        assert (len(second["type"]), second["id"], second["code"]) == (64, None, None)
        assert (third["channel"], third["event"], third["id"]) == (None, None, None)


# -- payloads --------------------------------------------------------------------------------------


@in_virtual_time
async def test_payloads_are_for_nobody_where_the_site_does_not_allow_them():
    async with NodeHarness() as harness:
        client, _ = await watched(harness)
        desk = Desk(client, "peter", allowed=False)
        desk.read()
        harness.node.service(Traces)[client.connection.id].received(
            '{"type": "publish", "payload": 1}'
        )
        (event,) = desk.read()
        assert event["type"] == "publish"
        assert "payload" not in event


@in_virtual_time
async def test_payloads_are_for_those_who_asked_with_them():
    async with NodeHarness() as harness:
        client, desk = await watched(harness)
        other = Desk(client, "peter", payloads=False)
        other.read()
        harness.node.service(Traces)[client.connection.id].received(
            '{"type": "publish", "payload": 1}'
        )
        (full,) = desk.read()
        (bare,) = other.read()
        assert full.pop("payload") == 1
        assert bare == full
        desk.payloads = False
        desk.next = 0
        assert desk.read() == [bare]


@in_virtual_time
async def test_payloads_are_kept_only_while_somebody_may_have_them():
    async with NodeHarness() as harness:
        client = await harness.open()
        desk, other = Desk(client, payloads=False), Desk(client, "peter")
        desk.read()
        trace = harness.node.service(Traces)[client.connection.id]
        trace.received('{"type": "publish", "payload": 1}')
        assert [event.payload for event in trace._events] == [None]
        other.read()
        trace.received('{"type": "publish", "payload": 2}')
        assert [event.get("payload") for event in other.read()] == [2]
        assert trace._bytes > 0
        other.stop()
        assert [event.payload for event in trace._events] == [None, None]
        assert trace._bytes == 0
        trace.received('{"type": "publish", "payload": 3}')
        assert trace._bytes == 0
        assert [event["number"] for event in desk.read()] == [1, 2, 3]


@in_virtual_time
async def test_payload_that_is_too_long_is_a_size():
    async with NodeHarness() as harness:
        client, desk = await watched(harness)
        trace = harness.node.service(Traces)[client.connection.id]
        frame = msgspec.json.encode(publish("x" * MAX_PAYLOAD_BYTES, "public/a")).decode()
        trace.received(frame)
        (event,) = desk.read()
        assert (event["size"], event["withheld"]) == (len(frame), "size")
        assert "payload" not in event


@pytest.mark.parametrize("number", [2**70, -(2**70)])
def test_payload_that_cannot_be_shown_is_left_out(number):
    @in_virtual_time
    async def scenario():
        async with NodeHarness() as harness:
            client, desk = await watched(harness)
            trace = harness.node.service(Traces)[client.connection.id]
            trace.received(f'{{"type": "publish", "payload": {number}}}')
            trace.received(f'[{{"type": "publish", "payload": {number}}}]')
            for event in desk.read():
                assert (event["type"], event["withheld"]) == ("publish", "unreadable")
            assert desk.next == 2

    scenario()


# -- bounds ----------------------------------------------------------------------------------------


@in_virtual_time
async def test_events_that_were_overwritten_before_they_were_read_are_counted():
    async with NodeHarness() as harness:
        client, desk = await watched(harness)
        trace = harness.node.service(Traces)[client.connection.id]
        for _ in range(MAX_EVENTS + 30):
            trace.received('{"type": "pong"}')
        events = desk.read()
        assert [event["number"] for event in events] == list(range(31, MAX_EVENTS + 31))
        assert (desk.next, desk.lost) == (MAX_EVENTS + 30, 30)
        trace.received('{"type": "pong"}')
        assert len(desk.read()) == 1
        assert desk.lost == 0
        late = Desk(client, "peter")
        assert len(late.read()) == MAX_EVENTS
        assert late.lost == 0  # of what was there when it came


@in_virtual_time
async def test_payloads_have_a_bound_in_sum():
    async with NodeHarness() as harness:
        client, desk = await watched(harness)
        trace = harness.node.service(Traces)[client.connection.id]
        frame = msgspec.json.encode(publish("x" * 100_000, "public/a")).decode()
        for _ in range(8):
            trace.received(frame)
        assert trace._bytes == sum(len(event.payload) for event in trace._events) <= MAX_BYTES
        assert [event["number"] for event in desk.read()] == [4, 5, 6, 7, 8]
        assert desk.lost == 3


@in_virtual_time
async def test_viewer_who_has_been_silent_longest_gives_way(monkeypatch):
    monkeypatch.setattr(traces, "MAX_VIEWERS", 2)
    async with NodeHarness() as harness:
        client = await harness.open()
        one, two, three = (Desk(client, name) for name in ("one", "two", "three"))
        one.read()
        await asyncio.sleep(1)
        two.read()
        await asyncio.sleep(1)
        one.read()
        three.read()
        trace = harness.node.service(Traces)[client.connection.id]
        assert [trace.is_watched_by(name) for name in ("one", "two", "three")] == [
            True,
            False,
            True,
        ]


@in_virtual_time
async def test_trace_that_was_read_longest_ago_gives_way(monkeypatch):
    monkeypatch.setattr(traces, "MAX_TRACES", 2)
    async with NodeHarness() as harness:
        desks = [Desk(await harness.open()) for _ in range(3)]
        for desk in (*desks[:2], desks[0], desks[2]):
            desk.read()
            await asyncio.sleep(0.5)
        assert [desk.traced for desk in desks] == [True, False, True]
        assert len(harness.node.service(Traces)) == 2


# -- ends ------------------------------------------------------------------------------------------


@in_virtual_time
async def test_trace_ends_when_its_last_viewer_has_been_silent_for_ten_seconds():
    async with NodeHarness(heartbeat_interval=1_000.0) as harness:
        _, desk = await watched(harness)
        for _ in range(5):
            await asyncio.sleep(IDLE_S - 1)
            assert desk.read() is not None
        await asyncio.sleep(IDLE_S - 0.1)
        assert desk.traced
        await asyncio.sleep(0.2)
        assert not desk.traced
        assert desk.connection._tap is None
        assert harness.node.service(Traces) == {}
        assert desk.read() == []  # begins another


@in_virtual_time
async def test_each_viewer_has_a_time_of_its_own():
    async with NodeHarness(heartbeat_interval=1_000.0) as harness:
        client, desk = await watched(harness)
        other = Desk(client, "peter")
        await asyncio.sleep(6)
        other.read()
        await asyncio.sleep(6)
        trace = harness.node.service(Traces)[client.connection.id]
        assert not trace.is_watched_by("maria")
        assert trace.is_watched_by("peter")
        await asyncio.sleep(6)
        assert not desk.traced


@in_virtual_time
async def test_trace_ends_when_its_last_viewer_stops():
    async with NodeHarness() as harness:
        client, desk = await watched(harness)
        other = Desk(client, "peter")
        other.read()
        timers = len(harness.node.timers)
        assert desk.stop() is True
        assert desk.traced
        assert desk.stop() is True  # asked again, as its answer was lost
        assert desk.traced
        assert other.stop() is True
        assert not desk.traced
        assert len(harness.node.timers) == timers - 1
        assert other.stop() is None


@in_virtual_time
async def test_number_of_an_earlier_trace_hides_nothing():
    async with NodeHarness(heartbeat_interval=1_000.0) as harness:
        client, desk = await watched(harness)
        await client.ask(*({"type": "pong"} for _ in range(5)))
        desk.read()
        await asyncio.sleep(IDLE_S + 1)
        desk.read()
        await client.ask({"type": "pong"})
        assert desk.next == 0
        assert desk.types() == ["in pong"]


@in_virtual_time
async def test_last_words_of_a_connection_can_still_be_read():
    async with NodeHarness() as harness:
        client, desk = await watched(harness)
        other = Desk(client, "peter")
        other.read()
        client.connection.close(CloseCode.BLOCKED, "blocked")
        client.connection.finish()
        closing, closed = desk.read()
        assert (closing["type"], closing["code"], closing["payload"]["reason"]) == (
            "closing",
            4403,
            "blocked",
        )
        assert (closed["type"], closed["direction"], closed["code"]) == ("closed", "out", "4403")
        assert desk.read() is None
        assert Desk(client, "late").read() is None
        assert other.types() == ["out closing", "out closed"]
        assert other.read() is None
        assert harness.node.service(Traces) == {}
        assert client.connection._tap is None


@in_virtual_time
async def test_trace_of_a_connection_that_is_gone_ends_though_nobody_reads():
    async with NodeHarness() as harness:
        client, desk = await watched(harness)
        client.connection.finish()
        await asyncio.sleep(IDLE_S + 0.1)
        assert harness.node.service(Traces) == {}
        assert desk.read() is None


@in_virtual_time
async def test_client_that_left_is_told_from_one_that_was_closed():
    async with NodeHarness() as harness:
        client, desk = await watched(harness)
        client.connection.finish()
        (closed,) = desk.read()
        assert (closed["type"], closed["direction"], closed["code"]) == ("closed", "in", "client")


@in_virtual_time
async def test_connection_that_is_not_here_has_no_trace():
    async with NodeHarness() as harness:
        question = {"connection": "nobody", "viewer": "maria"}
        assert ask(harness.node, "trace", **question, after=0, payloads=False) is None
        assert ask(harness.node, "trace_stop", **question) is None
        assert harness.node.service(Traces) == {}


# -- care ------------------------------------------------------------------------------------------


def test_trace_that_fails_ends_and_hurts_nobody(monkeypatch, caplog):
    def fail(*args, **kwargs):
        raise ZeroDivisionError(SECRET)

    @in_virtual_time
    async def scenario():
        async with NodeHarness() as harness:
            client, desk = await watched(harness)
            monkeypatch.setattr(Trace, "_keep", fail)
            assert (await client.ask({"type": "ping", "id": 1})) == [{"type": "pong", "id": 1}]
            assert not desk.traced
            client.connection.notify(Notice(payload=1))
            assert len(client.take()) == 1
            identity.append(client.connection.id)

    identity: list[str] = []
    scenario()
    errors = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.message for record in errors] == [
        f"The trace of connection {identity[0]} failed: ZeroDivisionError"
    ]
    assert SECRET not in caplog.text


def test_who_watches_is_logged_with_the_connection(caplog):
    @in_virtual_time
    async def scenario():
        async with NodeHarness() as harness:
            client = await harness.open()
            identity.append(client.connection.id)
            desk = Desk(client, "maria", payloads=False)
            desk.read()
            desk.read()
            desk.payloads = True
            desk.read()
            other = Desk(client, "peter\nnewline")
            other.read()
            client.connection.receive(f'{{"type": "publish", "payload": "{SECRET}"}}')
            desk.stop()
            await asyncio.sleep(IDLE_S + 1)

    identity: list[str] = []
    scenario()
    records = [
        record for record in caplog.records if record.name == "channels_realtime.monitoring.traces"
    ]
    prefix = f"Trace of connection {identity[0]}: "
    assert [record.message.removeprefix(prefix) for record in records] == [
        "'maria' watches, without payloads",
        "'maria' watches, with payloads",
        "'peter\\nnewline' watches, with payloads",
        "'maria' has stopped",
        "'peter\\nnewline' has stopped",
        "ended: nobody watches",
    ]
    assert {record.levelno for record in records} == {logging.INFO}
    assert {record.connection_id for record in records} == {identity[0]}
    assert SECRET not in caplog.text
