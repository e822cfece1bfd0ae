"""What an event stream for htmx says."""

from __future__ import annotations

import json

import pytest

from channels_realtime.endpoints.html_stream import HTML_ENCODING, HtmlDialect
from channels_realtime.protocol import messages as m
from channels_realtime.protocol.frames import Policy
from channels_realtime.protocol.limits import Limits

DIALECT = HtmlDialect(Limits())
AT = m.Position("e", 7)


def told(push: m.Push) -> tuple[str | None, dict]:
    """The event's name and its data."""
    content = HTML_ENCODING.frame(DIALECT.encode(push)).content
    assert content.push is push
    return content.event, json.loads(content.text)


def published(publication: m.Publication) -> tuple[str | None, str]:
    content = HTML_ENCODING.publication_frame(publication, Policy.CLOSE).content
    told = HTML_ENCODING.frame(DIALECT.encode(m.Message(publication=publication))).content
    assert (told.event, told.text) == (content.event, content.text)
    return content.event, content.text


def fragment(html: str, **fields) -> m.Publication:
    payload = {"action": "append", "html": html, **fields}
    return m.Publication("a", payload, event="realtime.html", position=AT)


def test_html_is_an_event_without_a_name_that_moves_the_cursor():
    frame = HTML_ENCODING.publication_frame(fragment("<p>", target="#a"), Policy.CLOSE)
    content = frame.content
    assert (content.event, content.text) == (None, '<div hx-swap-oob="beforeend:#a"><p></div>')
    assert (content.channel, content.position) == ("a", AT)


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
def test_html_of_several_lines_is_one_event(line_break):
    html = f"<p>{line_break}{line_break}event: a</p>"
    assert published(fragment(html)) == (None, "<p>\ndata: \ndata: event: a</p>")


@pytest.mark.parametrize(
    ("event", "name"),
    [
        ("status", "status"),
        (None, "message"),
        ("message", "message"),
        ("missed", "message"),
        ("html", "message"),
        ("a\ndata: <p>", "message"),
    ],
)
def test_other_publications_have_a_name(event, name):
    publication = m.Publication("a", {"html": "<p>"}, event=event)
    found, text = published(publication)
    assert found == f"realtime:{name}"
    assert json.loads(text)["payload"] == {"html": "<p>"}


@pytest.mark.parametrize(
    ("push", "event", "data"),
    [
        (
            m.Subscribed(channel="a", position=AT),
            "realtime:subscribed",
            {"type": "subscribed", "channel": "a", "payload": {"epoch": "e", "offset": 7}},
        ),
        (
            m.Subscribed(channel="a", recovered=False),
            "realtime:missed",
            {"type": "subscribed", "channel": "a", "payload": {"recovered": False}},
        ),
        (
            m.Subscribed(channel="a", recovered=True),
            "realtime:subscribed",
            {"type": "subscribed", "channel": "a", "payload": {"recovered": True}},
        ),
        (
            m.Error(code="forbidden", reason="no", channel="a", request="subscribe"),
            "realtime:error",
            {
                "type": "error",
                "request": "subscribe",
                "channel": "a",
                "payload": {"code": "forbidden", "reason": "no"},
            },
        ),
        (
            m.Notice(payload="hello"),
            "realtime:notice",
            {"type": "message", "event": "notice", "payload": "hello"},
        ),
        (
            m.Closing(code=4503, reason="going", reconnect=True),
            "realtime:closing",
            {"type": "closing", "payload": {"code": 4503, "reason": "going", "reconnect": True}},
        ),
    ],
)
def test_what_one_client_is_told_has_a_name(push, event, data):
    assert told(push) == (event, data)


def test_welcome_is_told_without_the_sessions_secret():
    welcome = m.Welcome(
        session_id="secret",
        user="7",
        expires_at=None,
        heartbeat_interval=25.0,
        heartbeat_timeout=20.0,
        limits={},
        capabilities=(),
        channels={"users/7": AT},
        connection_id="c1",
    )
    payload = {"connection_id": "c1", "user": "7"}
    assert told(welcome) == ("realtime:welcome", {"type": "welcome", "payload": payload})
