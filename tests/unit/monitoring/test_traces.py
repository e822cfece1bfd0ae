"""Traces: what viewers see of a connection, what no viewer sees, and how a trace ends."""

from __future__ import annotations

import asyncio
import dataclasses
import logging

import msgspec
import pytest

from channels_realtime.endpoints.websocket import BARE_ENCODING, WebSocketTransport
from channels_realtime.identity import Identity
from channels_realtime.mixins.transport import ConsumerDialect
from channels_realtime.monitoring import traces
from channels_realtime.monitoring.traces import (
    IDLE_S,
    MAX_BYTES,
    MAX_EVENTS,
    MAX_PAYLOAD_BYTES,
    Trace,
    Traces,
)
from channels_realtime.protocol import messages as m
from channels_realtime.protocol.codes import CloseCode
from channels_realtime.protocol.dialects.bare import BareDialect
from channels_realtime.protocol.frames import frame_size
from channels_realtime.protocol.messages import Publication
from tests.support.nodes import FakeClient, NodeHarness, publish, subscribe
from tests.support.virtual_time import in_virtual_time, settle

SECRET = "planted-secret"


@pytest.fixture(autouse=True)
def _log(caplog):
    caplog.set_level(logging.INFO, "channels_realtime.monitoring.traces")


class Viewer:
    """A viewer who reads on from where it has read to."""

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
    answer = traces.HANDLERS[kind](node, arguments)
    return msgspec.msgpack.decode(msgspec.msgpack.encode(answer))


def trace_of(client: FakeClient) -> Trace:
    trace = client.node.service(Traces).get(client.connection.id)
    assert trace is not None
    return trace


def is_plain(value) -> bool:
    """Whether the admin can write it as JSON."""
    return msgspec.json.decode(msgspec.json.encode(value)) == value


def receive(client: FakeClient, frame: str | bytes | dict | list) -> None:
    """Have the trace see a frame of the client's, which is not served."""
    if isinstance(frame, (dict, list)):
        frame = msgspec.json.encode(frame).decode()
    commands = client.connection._dialect.decode(frame)
    for command in commands:
        trace_of(client).received(command, frame_size(frame) // len(commands))


async def watched(harness: NodeHarness, *, binary: bool = False) -> tuple[FakeClient, Viewer]:
    if binary:
        client = FakeClient(harness.node, offered=("realtime.v1.msgpack",))
        harness.clients.append(client)
        await client.connection.welcome()
        client.events.clear()
    else:
        client = await harness.open()
    viewer = Viewer(client)
    assert viewer.read() == []
    return client, viewer


# -- what is seen ----------------------------------------------------------------------------------


@in_virtual_time
async def test_connection_has_no_tap_before_a_viewer_reads():
    async with NodeHarness() as harness:
        client = await harness.open()
        assert client.connection._tap is None
        viewer = Viewer(client)
        await client.ask({"type": "ping"})
        assert viewer.read() == []
        assert viewer.traced
        assert (viewer.next, viewer.lost) == (0, 0)


@in_virtual_time
async def test_viewer_sees_what_is_sent_and_received_in_order():
    async with NodeHarness() as harness:
        client, viewer = await watched(harness)
        now = harness.node.clock.time()
        frame = msgspec.json.encode(subscribe("public/a", id=7)).decode()
        client.connection.receive(frame)
        await settle()
        harness.node.receive(Publication("public/a", {"n": 1}, event="number"))
        first, second, third = viewer.read()
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
        assert viewer.next == 3
        assert viewer.read() == []
        viewer.next = 1  # its last answer was lost
        assert [event["number"] for event in viewer.read()] == [2, 3]
        assert is_plain([first, second, third])


@in_virtual_time
async def test_call_names_its_method_and_errors_their_code():
    async with NodeHarness() as harness:
        client, viewer = await watched(harness)
        await client.ask({"type": "call", "method": "nothing", "channel": "public/a", "payload": 1})
        asked, refused = viewer.read()
        assert (asked["type"], asked["event"], asked["payload"]) == ("call", "nothing", 1)
        assert (refused["type"], refused["code"]) == ("error", "unknown_method")
        assert refused["payload"]["code"] == "unknown_method"


@in_virtual_time
async def test_messages_of_a_batch_are_events_that_share_its_size():
    async with NodeHarness() as harness:
        client, viewer = await watched(harness)
        frame = '[{"type": "ping", "id": 1}, {"type": "pong"}, 5]'
        client.connection.receive(frame)
        ping, pong, unreadable = viewer.read()[:3]
        share = len(frame) // 3
        assert (ping["type"], ping["id"], ping["size"]) == ("ping", 1, share)
        assert (pong["type"], pong["size"]) == ("pong", share)
        assert (unreadable["type"], unreadable["size"]) == ("unreadable", share)


@in_virtual_time
async def test_trace_that_fails_at_one_message_of_a_batch_leaves_the_others_alone(monkeypatch):
    async with NodeHarness() as harness:
        client, _ = await watched(harness)

        def fail(command):
            raise RuntimeError("a fault of the trace")

        monkeypatch.setattr(traces, "_payload_of", fail)
        client.connection.receive('[{"type": "ping", "id": 1}, {"type": "ping", "id": 2}]')
        assert client.take() == [{"type": "pong", "id": 1}, {"type": "pong", "id": 2}]


@in_virtual_time
async def test_messagepack_is_shown_as_json_has_it():
    async with NodeHarness() as harness:
        client, viewer = await watched(harness, binary=True)
        client.connection.receive(msgspec.msgpack.encode(subscribe("public/a")))
        await settle()
        assert viewer.types() == ["in subscribe", "out subscribed"]
        payload = {"bytes": b"\xff", 1: "one"}
        frame = msgspec.msgpack.encode(publish(payload, "public/a", id=5))
        client.connection.receive(frame)
        await settle()
        asked, *answers = viewer.read()
        assert (asked["direction"], asked["type"], asked["size"]) == ("in", "publish", len(frame))
        assert asked["payload"] == {"bytes": "/w==", "1": "one"}
        message, published = sorted(answers, key=lambda event: event["type"])
        assert (message["type"], message["channel"]) == ("message", "public/a")
        assert message["payload"] == {"bytes": "/w==", "1": "one"}
        assert (published["type"], published["id"]) == ("published", 5)
        assert is_plain([asked, message, published])


@in_virtual_time
async def test_messagepack_that_cannot_be_read_is_shown_without_its_payload():
    async with NodeHarness() as harness:
        client, viewer = await watched(harness, binary=True)
        frame = msgspec.msgpack.encode(publish(float("nan"), "public/a"))
        client.connection.receive(frame)
        event, refused = viewer.read()
        assert (event["type"], event["size"], "payload" in event) == ("publish", len(frame), False)
        assert (refused["type"], refused["code"]) == ("error", "bad_payload")


@in_virtual_time
async def test_frames_of_a_bare_connection_are_publications():
    async with NodeHarness() as harness:
        dialect = BareDialect(BARE_ENCODING, "public/a", harness.node.config.limits)
        client = FakeClient(harness.node, dialect=dialect)
        harness.clients.append(client)
        client.connection.open_silently()
        harness.node.hub.add("public/a", client.connection)
        viewer = Viewer(client)
        viewer.read()
        client.connection.receive("hello")
        client.connection.receive(b"\xff\x00")
        harness.node.receive(Publication("public/a", {"n": 1}))
        assert [
            (event["direction"], event["type"], event["size"], event["channel"], event["payload"])
            for event in viewer.read()
        ] == [
            ("in", "publish", 5, "public/a", "hello"),
            ("in", "publish", 2, "public/a", "/wA="),
            ("out", "message", 7, "public/a", {"n": 1}),
        ]


def test_frames_of_a_foreign_consumer_are_sizes_and_its_publications_are_shown(monkeypatch):
    monkeypatch.setattr(WebSocketTransport, "serve", lambda transport, command: True)

    @in_virtual_time
    async def scenario():
        async with NodeHarness() as harness:
            client = FakeClient(
                harness.node, dialect=ConsumerDialect(None, frozenset(), decodes=False)
            )
            harness.clients.append(client)
            client.connection.open_silently()
            harness.node.hub.add("public/a", client.connection)
            viewer = Viewer(client)
            viewer.read()
            client.connection.receive(f'{{"type": "publish", "payload": "{SECRET}"}}')
            client.connection.show_frame(12)
            harness.node.receive(Publication("public/a", 1))
            assert [
                (event["direction"], event["type"], event["size"], event.get("payload"))
                for event in viewer.read()
            ] == [
                ("in", "message", 48, None),
                ("out", "message", 12, None),
                ("out", "message", 51, 1),
            ]

    scenario()


@pytest.mark.parametrize(
    ("frame", "shown"),
    [
        ('{"message": "hi", "n": [1]}', {"message": "hi", "n": [1]}),
        ("plain words", "plain words"),
        (b"\xff\x00", "<2 bytes>"),
        (
            '{"access": "x", "a": {"refresh_token": 1}}',
            {"access": "(hidden)", "a": {"refresh_token": "(hidden)"}},
        ),
        ("welcome eyJhbGciOi.eyJzdWIi.c2ln", "welcome (hidden)"),
        ('["eyJhbGciOi.eyJzdWIi.c2ln"]', ["(hidden)"]),
    ],
)
def test_frame_of_a_foreign_consumer_is_shown_without_what_looks_like_credentials(frame, shown):
    @in_virtual_time
    async def scenario():
        async with NodeHarness() as harness:
            client, viewer = await watched(harness)
            client.connection.show_frame(len(frame), frame)
            (event,) = viewer.read()
            assert (event["type"], event["size"], event["payload"]) == (
                "message",
                len(frame),
                shown,
            )

    scenario()


# -- what no viewer sees ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "kind", "withheld"),
    [
        (
            {"type": "auth", "id": 1, "token": SECRET, "payload": SECRET, "channel": SECRET},
            "auth",
            "secret",
        ),
        (
            {"type": "resume", "id": 1, "session_id": SECRET, "since": {SECRET: None}},
            "resume",
            "secret",
        ),
        (
            {"type": "resume", "id": 1, "sessionId": SECRET, "payload": SECRET},
            "resume",
            "secret",
        ),
        # What cannot be read has no payload that a trace could keep.
        ({"type": "auth", "id": 1, "token": [SECRET], "channel": SECRET}, "auth", None),
        ({"type": "resume", "id": 1, "payload": SECRET, "channel": SECRET}, "resume", None),
        ({"type": "auth_ok", "id": 1, "payload": {"user": SECRET}}, "auth_ok", None),
        ({"type": "resumed", "id": 1, "payload": {"session_id": SECRET}}, "resumed", None),
    ],
)
def test_credentials_that_a_client_sends_are_not_shown(frame, kind, withheld):
    @in_virtual_time
    async def scenario():
        async with NodeHarness() as harness:
            client, viewer = await watched(harness)
            receive(client, frame)
            receive(client, [frame])
            for event in viewer.read():
                assert (event["type"], event["id"], event.get("withheld")) == (kind, 1, withheld)
                assert "payload" not in event
                assert SECRET not in str(event)
            assert viewer.next == 2

    scenario()


@pytest.mark.parametrize(
    ("push", "kind"),
    [
        (m.AuthOk(id=1, user=SECRET, expires_at=1.0), "auth_ok"),
        (m.Error(id=1, request="auth", code="token_invalid", reason=SECRET), "error"),
        (m.Error(id=1, request="resume", code="unknown_session", reason=SECRET), "error"),
    ],
)
def test_what_is_said_about_credentials_is_not_shown(push, kind):
    @in_virtual_time
    async def scenario():
        async with NodeHarness() as harness:
            client, viewer = await watched(harness)
            trace_of(client).sent(push, 9)
            (event,) = viewer.read()
            assert (event["type"], event["id"], event["withheld"]) == (kind, 1, "secret")
            assert "payload" not in event
            assert SECRET not in str(event)

    scenario()


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "Auth", "token": SECRET, "payload": SECRET, "channel": SECRET},
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
            client, viewer = await watched(harness)
            receive(client, msgspec.json.encode(frame).decode())
            (event,) = viewer.read()
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
            client, viewer = await watched(harness, binary=binary)
            receive(client, frame)
            (event,) = viewer.read()
            assert (event["type"], event["size"]) == ("unreadable", len(frame))
            assert "payload" not in event
            assert viewer.next == 1

    scenario()


@in_virtual_time
async def test_welcome_shows_user_and_channels_alone():
    async with NodeHarness() as harness:
        client = FakeClient(harness.node)
        harness.clients.append(client)
        client.connection.identity = Identity(user_id="42", method="session")
        viewer = Viewer(client)
        assert viewer.read() == []
        await client.connection.welcome()
        (event,) = viewer.read()
        assert event["type"] == "welcome"
        assert event["payload"] == {"user": "42", "channels": ["users/42"]}
        assert client.connection.session_id not in str(event)


@in_virtual_time
async def test_error_about_credentials_is_a_code():
    async with NodeHarness() as harness:
        client, viewer = await watched(harness)
        await client.ask({"type": "auth", "token": SECRET * 2_000, "id": 1})
        asked, refused = viewer.read()
        assert (asked["type"], refused["type"], refused["code"]) == ("auth", "error", "bad_message")
        assert refused["withheld"] == "secret"
        assert "payload" not in refused


@in_virtual_time
async def test_names_are_shown_as_long_as_they_may_be():
    async with NodeHarness() as harness:
        client, viewer = await watched(harness)
        channel, event, number = "public/" + "x" * 193, "x" * 100, "x" * 64
        receive(client, publish(1, channel, event=event, id=number))
        (shown,) = viewer.read()
        assert (shown["channel"], shown["event"], shown["id"]) == (channel, event, number)


@in_virtual_time
async def test_names_that_are_too_long_or_no_text_are_not_shown():
    async with NodeHarness() as harness:
        client, viewer = await watched(harness)
        long = "x" * 1_000
        receive(client, {"type": "publish", "channel": long, "event": long, "id": long})
        receive(client, {"type": long, "id": 7, "code": long})
        receive(client, {"type": "publish", "id": 2**60, "channel": "public/a"})
        receive(client, '{"type": "publish", "channel": 1, "event": [], "id": true}')
        first, second, third, fourth = viewer.read()
        assert (first["type"], first["channel"], first["event"], first["id"]) == (
            "publish",
            None,
            None,
            None,
        )
        assert (second["type"], second["id"], second["code"]) == ("unreadable", 7, None)
        assert (third["channel"], third["id"]) == ("public/a", None)
        assert (fourth["channel"], fourth["event"], fourth["id"]) == (None, None, None)


@in_virtual_time
async def test_event_of_a_publisher_is_cut():
    async with NodeHarness() as harness:
        client, viewer = await watched(harness)
        trace_of(client).delivered(Publication("public/a", 1, event="x" * 1_000), 9)
        (shown,) = viewer.read()
        assert len(shown["event"]) == 100


# -- payloads --------------------------------------------------------------------------------------


@in_virtual_time
async def test_payloads_are_not_shown_where_the_site_does_not_allow_them():
    async with NodeHarness() as harness:
        client, _ = await watched(harness)
        viewer = Viewer(client, "peter", allowed=False)
        viewer.read()
        receive(client, publish(1, "public/a"))
        (event,) = viewer.read()
        assert event["type"] == "publish"
        assert "payload" not in event


@in_virtual_time
async def test_payloads_are_for_those_who_asked_with_them():
    async with NodeHarness() as harness:
        client, viewer = await watched(harness)
        other = Viewer(client, "peter", payloads=False)
        other.read()
        receive(client, publish(1, "public/a"))
        (full,) = viewer.read()
        (bare,) = other.read()
        assert full.pop("payload") == 1
        assert bare == full
        viewer.payloads = False
        viewer.next = 0
        assert viewer.read() == [bare]


@in_virtual_time
async def test_payloads_are_kept_only_while_a_viewer_may_have_them():
    async with NodeHarness() as harness:
        client = await harness.open()
        viewer, other = Viewer(client, payloads=False), Viewer(client, "peter")
        viewer.read()
        trace = trace_of(client)
        receive(client, publish(1, "public/a"))
        assert [event.payload for event in trace._events] == [None]
        other.read()
        receive(client, publish(2, "public/a"))
        assert [event.get("payload") for event in other.read()] == [2]
        assert trace._bytes > 0
        other.stop()
        assert [event.payload for event in trace._events] == [None, None]
        assert trace._bytes == 0
        receive(client, publish(3, "public/a"))
        assert trace._bytes == 0
        assert [event["number"] for event in viewer.read()] == [1, 2, 3]


@in_virtual_time
async def test_payload_that_is_too_long_is_a_size():
    async with NodeHarness() as harness:
        client, viewer = await watched(harness)
        command = m.Publish(channel="public/a", payload="x" * MAX_PAYLOAD_BYTES)
        trace_of(client).received(command, 7)
        trace_of(client).delivered(Publication("public/a", command.payload), 8)
        for event, size in zip(viewer.read(), (7, 8), strict=True):
            assert (event["size"], event["withheld"]) == (size, "size")
            assert "payload" not in event


@pytest.mark.parametrize("number", [2**70, -(2**70)])
def test_payload_that_cannot_be_shown_is_left_out(number):
    @in_virtual_time
    async def scenario():
        async with NodeHarness() as harness:
            client, viewer = await watched(harness)
            command = m.Publish(channel="public/a", payload=number)
            trace_of(client).received(command, 7)
            trace_of(client).delivered(Publication("public/a", number), 8)
            for event, kind in zip(viewer.read(), ("publish", "message"), strict=True):
                assert (event["type"], event["withheld"]) == (kind, "unreadable")
                assert "payload" not in event

    scenario()


# -- bounds ----------------------------------------------------------------------------------------


@in_virtual_time
async def test_events_that_were_overwritten_before_they_were_read_are_counted():
    async with NodeHarness() as harness:
        client, viewer = await watched(harness)
        for _ in range(MAX_EVENTS + 30):
            receive(client, {"type": "pong"})
        events = viewer.read()
        assert [event["number"] for event in events] == list(range(31, MAX_EVENTS + 31))
        assert (viewer.next, viewer.lost) == (MAX_EVENTS + 30, 30)
        receive(client, {"type": "pong"})
        assert len(viewer.read()) == 1
        assert viewer.lost == 0
        late = Viewer(client, "peter")
        assert len(late.read()) == MAX_EVENTS
        assert late.lost == 0  # of what was there when it came


@in_virtual_time
async def test_payloads_have_a_bound_in_sum():
    async with NodeHarness() as harness:
        client, viewer = await watched(harness)
        trace = trace_of(client)
        command = m.Publish(channel="public/a", payload="x" * 100_000)
        for _ in range(8):
            trace.received(command, 100_000)
        assert trace._bytes == sum(len(event.payload) for event in trace._events) <= MAX_BYTES
        assert [event["number"] for event in viewer.read()] == [4, 5, 6, 7, 8]
        assert viewer.lost == 3


@in_virtual_time
async def test_viewer_who_has_been_silent_longest_gives_way(monkeypatch):
    monkeypatch.setattr(traces, "MAX_VIEWERS", 2)
    async with NodeHarness() as harness:
        client = await harness.open()
        one, two, three = (Viewer(client, name) for name in ("one", "two", "three"))
        one.read()
        await asyncio.sleep(1)
        two.read()
        await asyncio.sleep(1)
        one.read()
        three.read()
        trace = trace_of(client)
        assert [trace.is_watched_by(name) for name in ("one", "two", "three")] == [
            True,
            False,
            True,
        ]


@in_virtual_time
async def test_trace_that_was_read_longest_ago_gives_way(monkeypatch):
    monkeypatch.setattr(traces, "MAX_TRACES", 2)
    async with NodeHarness() as harness:
        viewers = [Viewer(await harness.open()) for _ in range(3)]
        for viewer in (*viewers[:2], viewers[0], viewers[2]):
            viewer.read()
            await asyncio.sleep(0.5)
        assert [viewer.traced for viewer in viewers] == [True, False, True]
        assert len(harness.node.service(Traces)) == 2


# -- ends ------------------------------------------------------------------------------------------


@in_virtual_time
async def test_trace_ends_when_its_last_viewer_has_been_silent_for_ten_seconds():
    async with NodeHarness(heartbeat_interval=1_000.0) as harness:
        _, viewer = await watched(harness)
        for _ in range(5):
            await asyncio.sleep(IDLE_S - 1)
            assert viewer.read() is not None
        await asyncio.sleep(IDLE_S - 0.1)
        assert viewer.traced
        await asyncio.sleep(0.2)
        assert not viewer.traced
        assert viewer.connection._tap is None
        assert len(harness.node.service(Traces)) == 0
        assert viewer.read() == []  # begins another


@in_virtual_time
async def test_each_viewer_has_a_time_of_its_own():
    async with NodeHarness(heartbeat_interval=1_000.0) as harness:
        client, viewer = await watched(harness)
        other = Viewer(client, "peter")
        await asyncio.sleep(6)
        other.read()
        await asyncio.sleep(6)
        trace = trace_of(client)
        assert not trace.is_watched_by("maria")
        assert trace.is_watched_by("peter")
        await asyncio.sleep(6)
        assert not viewer.traced


@in_virtual_time
async def test_trace_ends_when_its_last_viewer_stops():
    async with NodeHarness() as harness:
        client, viewer = await watched(harness)
        other = Viewer(client, "peter")
        other.read()
        timers = len(harness.node.timers)
        assert viewer.stop() is True
        assert viewer.traced
        assert viewer.stop() is True  # asked again, as its answer was lost
        assert viewer.traced
        assert other.stop() is True
        assert not viewer.traced
        assert len(harness.node.timers) == timers - 1
        assert other.stop() is None


@in_virtual_time
async def test_number_of_an_earlier_trace_hides_nothing():
    async with NodeHarness(heartbeat_interval=1_000.0) as harness:
        client, viewer = await watched(harness)
        await client.ask(*({"type": "pong"} for _ in range(5)))
        viewer.read()
        await asyncio.sleep(IDLE_S + 1)
        viewer.read()
        await client.ask({"type": "pong"})
        assert viewer.next == 0
        assert viewer.types() == ["in pong"]


@in_virtual_time
async def test_last_words_of_a_connection_can_still_be_read():
    async with NodeHarness() as harness:
        client, viewer = await watched(harness)
        other = Viewer(client, "peter")
        other.read()
        client.connection.close(CloseCode.BLOCKED, "blocked")
        client.connection.finish()
        closing, closed = viewer.read()
        assert (closing["type"], closing["code"], closing["payload"]["reason"]) == (
            "closing",
            4403,
            "blocked",
        )
        assert (closed["type"], closed["direction"], closed["code"]) == ("closed", "out", "4403")
        assert viewer.read() is None
        assert Viewer(client, "late").read() is None
        assert other.types() == ["out closing", "out closed"]
        assert other.read() is None
        assert len(harness.node.service(Traces)) == 0
        assert client.connection._tap is None


@in_virtual_time
async def test_trace_of_a_connection_that_is_gone_ends_without_its_viewer():
    async with NodeHarness() as harness:
        client, viewer = await watched(harness)
        client.connection.finish()
        await asyncio.sleep(IDLE_S + 0.1)
        assert len(harness.node.service(Traces)) == 0
        assert viewer.read() is None


@in_virtual_time
async def test_client_that_left_is_told_from_one_that_was_closed():
    async with NodeHarness() as harness:
        client, viewer = await watched(harness)
        client.connection.finish()
        (closed,) = viewer.read()
        assert (closed["type"], closed["direction"], closed["code"]) == ("closed", "in", "client")


@in_virtual_time
async def test_connection_that_is_not_here_has_no_trace():
    async with NodeHarness() as harness:
        arguments = {"connection": "gone", "viewer": "maria"}
        assert ask(harness.node, "trace", **arguments, after=0, payloads=False) is None
        assert ask(harness.node, "trace_stop", **arguments) is None
        assert len(harness.node.service(Traces)) == 0


# -- care ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", ["received", "sent", "delivered", "sent_frame"])
def test_trace_that_fails_ends_and_its_connection_goes_on(monkeypatch, caplog, fails):
    def fail(*args, **kwargs):
        raise ZeroDivisionError(SECRET)

    @in_virtual_time
    async def scenario():
        async with NodeHarness() as harness:
            client, viewer = await watched(harness)
            connection = client.connection
            harness.node.hub.add("public/a", connection)
            with monkeypatch.context() as patch:
                patch.setattr(Trace, "_keep", fail)
                if fails == "received":
                    assert await client.ask({"type": "ping", "id": 1}) == [
                        {"type": "pong", "id": 1}
                    ]
                elif fails == "sent":
                    assert connection.notify(m.Notice(payload=1))
                elif fails == "delivered":
                    harness.node.receive(Publication("public/a", 1))
                else:
                    connection.show_frame(1)
            assert not viewer.traced
            client.take()
            connection.notify(m.Notice(payload=1))
            assert len(client.take()) == 1
            identity.append(connection.id)

    identity: list[str] = []
    scenario()
    errors = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.message for record in errors] == [
        f"The trace of connection {identity[0]} failed: ZeroDivisionError"
    ]
    assert SECRET not in caplog.text


@in_virtual_time
async def test_trace_that_has_ended_keeps_nothing():
    async with NodeHarness() as harness:
        client, _ = await watched(harness)
        trace = trace_of(client)
        trace.end("a test")
        trace.received(m.Ping(), 1)
        trace.sent(m.PongReply(), 1)
        assert len(trace._events) == 0


def test_who_watches_is_logged_with_the_connection(caplog):
    @in_virtual_time
    async def scenario():
        async with NodeHarness() as harness:
            client = await harness.open()
            identity.append(client.connection.id)
            viewer = Viewer(client, "maria", payloads=False)
            viewer.read()
            viewer.read()
            viewer.payloads = True
            viewer.read()
            other = Viewer(client, "peter\nnewline")
            other.read()
            client.connection.receive(f'{{"type": "publish", "payload": "{SECRET}"}}')
            viewer.stop()
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
        "ended: no viewer left",
    ]
    assert {record.levelno for record in records} == {logging.INFO}
    assert {record.connection_id for record in records} == {identity[0]}
    assert SECRET not in caplog.text


# -- resumed connections ---------------------------------------------------------------------------


@in_virtual_time
async def test_viewer_goes_on_with_the_connection_that_resumes_the_traced_one():
    async with NodeHarness() as harness:
        client, viewer = await watched(harness)
        await client.ask({"type": "subscribe", "channel": "public/a"})
        assert viewer.types() == ["in subscribe", "out subscribed"]
        successor = await harness.open()
        await successor.ask({"type": "resume", "session_id": client.connection.session_id})
        assert client.connection._tap is None
        assert viewer.read() == []  # of a trace that begins now
        assert successor.connection._tap is not None
        await successor.ask({"type": "ping"})
        assert viewer.types() == ["in ping", "out pong"]


@in_virtual_time
async def test_trace_of_a_connection_that_resumes_goes_on_under_its_new_id():
    async with NodeHarness() as harness:
        client = await harness.open()
        await client.ask({"type": "subscribe", "channel": "public/a"})
        harness.clients.remove(client)
        client.connection.finish()
        successor, viewer = await watched(harness)
        interim = successor.connection.id
        await successor.ask({"type": "resume", "session_id": client.connection.session_id})
        assert interim not in harness.node.service(Traces)
        assert viewer.types() == ["in resume", "out resumed"]
