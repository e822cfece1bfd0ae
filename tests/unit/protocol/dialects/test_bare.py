"""The bare dialect: frames are payloads."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from channels_realtime.protocol import messages as m
from channels_realtime.protocol.dialects.bare import BareDialect, BareEncoding, HtmlBareEncoding
from channels_realtime.protocol.frames import Policy
from channels_realtime.protocol.limits import Limits


@pytest.fixture
def dialect() -> BareDialect:
    return BareDialect(BareEncoding(lambda data: data), "rooms/lobby", Limits(max_payload=10))


@pytest.mark.parametrize("frame", ["hello", "", b"\x00\xff", b"", '{"type": "subscribe"}'[:10]])
def test_frame_is_published_as_it_is(dialect, frame):
    assert dialect.decode(frame) == [m.Publish(channel="rooms/lobby", payload=frame)]


def test_text_ping_is_a_keep_alive_and_is_not_published(dialect):
    assert dialect.decode("ping") == [m.Ping(as_text=True)]
    assert dialect.encode(m.PongReply(as_text=True)) == "pong"


@pytest.mark.parametrize("frame", [b"ping", "pong", "PING", "ping ", '"ping"', "pings"])
def test_other_frames_than_the_text_ping_are_published(dialect, frame):
    assert dialect.decode(frame) == [m.Publish(channel="rooms/lobby", payload=frame)]


@pytest.mark.parametrize("frame", ["x" * 11, "ä" * 6, b"x" * 11])
def test_frame_is_too_large_when_it_is_over_the_limit(dialect, frame):
    (command,) = dialect.decode(frame)
    size = len(frame) if isinstance(frame, bytes) else len(frame.encode())
    assert command == m.Malformed(
        code="too_large",
        reason=f"a payload of {size} bytes; expected at most 10",
        about="publish",
        channel="rooms/lobby",
    )


def test_frame_over_the_limit_on_frames_is_too_large_whatever_a_payload_may_be():
    limits = Limits(max_frame=5, max_payload=10)
    (command,) = BareDialect(BareEncoding(lambda data: data), "a", limits).decode("x" * 6)
    assert isinstance(command, m.Malformed)
    assert command.reason == "a payload of 6 bytes; expected at most 5"


@pytest.mark.parametrize(
    ("payload", "frame"),
    [
        ("hello", "hello"),
        (b"\x00", b"\x00"),
        ({"a": 1}, '{"a":1}'),
        ([1], "[1]"),
        (None, "null"),
        (1.5, "1.5"),
        (True, "true"),
    ],
)
def test_publication_is_written_as_its_payload_alone(dialect, payload, frame):
    publication = m.Publication("rooms/lobby", payload, event="e", sender={"user": "1"})
    assert dialect.encode(m.Message(publication=publication)) == frame
    assert dialect.encoding.encode_publication(publication) == frame


def test_server_rendered_html_is_written_as_html(dialect):
    payload = {"action": "append", "html": "<p>x</p>", "target": "#a"}
    publication = m.Publication("rooms/lobby", payload, event="realtime.html")
    assert dialect.encode(m.Message(publication=publication)) == (
        '<div hx-swap-oob="beforeend:#a"><p>x</p></div>'
    )


def test_pages_that_swap_each_frame_get_server_rendered_html_alone():
    encoding = HtmlBareEncoding(lambda data: data)
    dialect = BareDialect(encoding, "rooms/lobby", Limits())
    html = m.Publication("a", {"action": "append", "html": "<p>"}, event="realtime.html")
    assert encoding.publication_frame(html, Policy.CLOSE).content == "<p>"
    for payload, event in [("<p>", None), ({"action": "append", "html": "<p>"}, "html")]:
        publication = m.Publication("a", payload, event=event)
        assert encoding.publication_frame(publication, Policy.CLOSE) is None
        assert dialect.encode(m.Message(publication=publication)) is None


@pytest.mark.parametrize(
    "push",
    [
        m.PingPush(),
        m.PongReply(),
        m.Error(code="forbidden", reason="no"),
        m.Closing(code=4403, reason="no", reconnect=False),
        m.Subscribed(channel="rooms/lobby"),
        m.Notice(payload="hello"),
    ],
)
def test_nothing_else_has_a_form(dialect, push):
    assert dialect.encode(push) is None


def test_clients_answer_no_pings(dialect):
    assert dialect.heartbeat is False


@example("\ud800")
@given(st.text(st.characters(categories=None)) | st.binary())
def test_any_frame_is_a_publish_that_can_be_carried_or_is_refused(frame):
    dialect = BareDialect(BareEncoding(lambda data: data), "rooms/lobby", Limits(max_payload=10))
    (command,) = dialect.decode(frame)
    if isinstance(command, m.Publish):
        dialect.encoding.encode_publication(m.Publication("a", command.payload))
        if isinstance(command.payload, str):
            command.payload.encode()
