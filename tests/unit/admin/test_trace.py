"""Traces: the page, the key, and what ends a trace."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.core import signing
from django.test import Client
from django.urls import reverse

from channels_realtime.errors import Unavailable
from channels_realtime.operations import TracePart
from tests.unit.admin.pages_read import read, tags

pytestmark = pytest.mark.django_db


def url(name, *arguments):
    return reverse(f"admin:channels_realtime_connectionrecord_{name}", args=arguments)


@pytest.fixture
def record(connect, nodes):
    return connect("alice")


@pytest.fixture(autouse=True)
def _payloads_are_allowed(settings):
    settings.CHANNELS_REALTIME = {**settings.CHANNELS_REALTIME, "TRACE_PAYLOADS": True}


def start(client, record, **form):
    return client.post(url("trace_start", record.pk), form).json()["key"]


def poll(client, record, key, after=0):
    return client.get(
        url("trace_events", record.pk), {"after": after}, headers={"X-Realtime-Trace": key}
    )


def part(*events, number=0, lost=0):
    return TracePart(events=list(events), next=number, lost=lost)


EVENT = {
    "number": 7,
    "at": 1_700_000_000.25,
    "direction": "out",
    "type": "message",
    "channel": "orders/1",
    "event": None,
    "id": None,
    "code": None,
    "size": 90,
}


def test_page_does_not_start_a_trace(tracer, record, nodes):
    page = tracer.get(url("trace", record.pk))
    text = read(page)
    assert page.status_code == 200
    assert "Not running." in text
    assert "Tracing needs JavaScript, which is turned off in this browser." in text
    buttons = [tag for tag in tags(page, "button") if "trace" in (tag.get("id") or "")]
    assert all("disabled" in tag for tag in buttons)  # the script enables them
    assert nodes.asked == []
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(
    ("form", "payloads", "words"),
    [
        ({}, False, "Started a trace without payloads."),
        ({"payloads": "on"}, True, "Started a trace with payloads."),
    ],
)
def test_start_is_logged_and_sets_payloads(tracer, record, nodes, form, payloads, words):
    key = start(tracer, record, **form)
    [entry] = LogEntry.objects.filter(object_id=record.pk)
    assert entry.change_message == words
    assert entry.object_repr == f"alice · 192.0.2.7 · {record.pk}"
    assert nodes.asked == []
    nodes.parts = [part()]
    assert poll(tracer, record, key).status_code == 200
    [(what, connection_id, viewer, after, asked_payloads)] = nodes.asked
    assert (what, connection_id, after, asked_payloads) == ("read_trace", record.pk, 0, payloads)
    assert viewer.startswith(f"{tracer.user.username}/")


def test_payloads_are_not_offered_where_the_site_does_not_allow_them(
    tracer, record, nodes, settings
):
    settings.CHANNELS_REALTIME = {**settings.CHANNELS_REALTIME, "TRACE_PAYLOADS": False}
    page = tracer.get(url("trace", record.pk))
    [box] = [tag for tag in tags(page, "input") if tag.get("name") == "payloads"]
    assert "disabled" in box
    nodes.parts = [part()]
    poll(tracer, record, start(tracer, record, payloads="on"))
    assert nodes.asked[0][-1] is False


def test_each_start_is_a_viewer_of_its_own(tracer, record, nodes):
    nodes.parts = [part(), part()]
    for _time in range(2):
        poll(tracer, record, start(tracer, record))
    assert nodes.asked[0][2] != nodes.asked[1][2]


def test_poll_returns_the_new_events(tracer, record, nodes, settings):
    settings.TIME_ZONE = "UTC"
    nodes.parts = [part(EVENT, number=7, lost=3)]
    answer = poll(tracer, record, start(tracer, record), after=5)
    assert nodes.asked[0][3] == 5
    assert answer.json() == {
        "state": "on",
        "next": 7,
        "lost": 3,
        "events": [
            {
                "number": 7,
                "at": "22:13:20.250",
                "out": True,
                "size": 90,
                "type": "message",
                "channel": "orders/1",
                "event": "",
                "id": "",
                "code": "",
            }
        ],
    }
    assert "no-store" in answer["Cache-Control"]


@pytest.mark.parametrize(
    ("extra", "field", "shown"),
    [
        ({"payload": {"a": [1, "ü"]}}, "payload", '{"a": [1, "ü"]}'),
        ({"payload": "text"}, "payload", "text"),
        ({"payload": None}, "payload", "null"),
        ({"withheld": "secret"}, "withheld", "hidden: it may contain credentials"),
        ({"withheld": "size"}, "withheld", "not shown: it is too long"),
    ],
)
def test_payload_is_shown_where_there_is_one(tracer, record, nodes, extra, field, shown):
    nodes.parts = [part({**EVENT, **extra})]
    [event] = poll(tracer, record, start(tracer, record, payloads="on")).json()["events"]
    assert event[field] == shown


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"type": "frame", "size": 3, "what": "is new"},
        {"type": None, "at": None, "direction": "in"},
        {"type": 7, "withheld": "a reason that is new"},
        {"type": "m.v2", "withheld": ["unhashable"]},
    ],
)
def test_event_of_another_shape_is_shown_too(tracer, record, nodes, event):
    nodes.parts = [part(event)]
    [shown] = poll(tracer, record, start(tracer, record, payloads="on")).json()["events"]
    assert shown["type"] == ("" if event.get("type") is None else str(event["type"]))
    assert shown["channel"] == shown["code"] == ""


@pytest.mark.parametrize("after", ["-1", "x", "9" * 400, ""])
def test_invalid_number_begins_at_the_first_event(tracer, record, nodes, after):
    nodes.parts = [part()]
    assert poll(tracer, record, start(tracer, record), after=after).status_code == 200
    assert nodes.asked[0][3] >= 0


def test_poll_says_that_the_connection_has_ended(tracer, record, nodes):
    answer = poll(tracer, record, start(tracer, record))
    assert answer.status_code == 404
    assert answer.json() == {"state": "gone", "text": "This connection has ended."}


def test_poll_says_that_the_server_does_not_answer(tracer, record, nodes):
    nodes.parts = [Unavailable()]
    answer = poll(tracer, record, start(tracer, record))
    assert answer.status_code == 503
    assert answer.json() == {
        "state": "silent",
        "text": "The server of this connection does not respond.",
    }


def test_lost_permission_ends_the_trace(tracer, record, nodes):
    key = start(tracer, record)
    nodes.parts = [part()]
    assert poll(tracer, record, key).status_code == 200
    viewer = nodes.asked[0][2]
    tracer.user.user_permissions.remove(Permission.objects.get(codename="trace_connection"))
    answer = poll(tracer, record, key)
    assert answer.status_code == 403
    assert answer.json() == {
        "state": "refused",
        "text": "You do not have permission to trace this connection.",
    }
    assert nodes.asked[1:] == [("stop_trace", record.pk, viewer)]


def test_poll_without_a_valid_key_is_denied(tracer, record, nodes):
    over = {"state": "over", "text": "The trace has ended. Start it again to continue."}
    for key in ("", "guessed", signing.dumps({"c": record.pk}, salt="another")):
        answer = poll(tracer, record, key)
        assert (answer.status_code, answer.json()) == (403, over)
    assert nodes.asked == []


def test_key_is_for_one_connection_and_one_user(tracer, staff, connect, record, nodes):
    key = start(tracer, record)
    other = staff(None)
    assert poll(other, record, key).status_code == 403
    assert poll(tracer, connect("bob"), key).status_code == 403
    assert nodes.asked == []


def test_key_expires(tracer, record, nodes, monkeypatch):
    key = start(tracer, record)
    monkeypatch.setattr("channels_realtime.admin.traces.LASTS_S", -1)
    assert poll(tracer, record, key).json()["state"] == "over"


def test_stop_ends_the_trace(tracer, record, nodes):
    key = start(tracer, record)
    answer = tracer.post(url("trace_stop", record.pk), {"key": key})
    assert answer.json() == {"state": "stopped"}
    [(what, connection_id, viewer)] = nodes.asked
    assert (what, connection_id) == ("stop_trace", record.pk)
    assert viewer.startswith(f"{tracer.user.username}/")


def test_stop_with_an_invalid_key_does_nothing(tracer, record, nodes):
    assert tracer.post(url("trace_stop", record.pk), {"key": "guessed"}).status_code == 200
    assert nodes.asked == []


def test_start_and_stop_need_a_post_with_a_csrf_token(tracer, record, nodes):
    assert tracer.get(url("trace_start", record.pk)).status_code == 405
    assert tracer.get(url("trace_stop", record.pk)).status_code == 405
    assert tracer.post(url("trace_events", record.pk)).status_code == 405
    assert tracer.post(url("trace", record.pk)).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(tracer.user)
    assert strict.post(url("trace_start", record.pk)).status_code == 403
    assert not LogEntry.objects.exists()


def test_invalid_id_has_no_trace(tracer, nodes):
    assert tracer.get(url("trace", "a b")).status_code == 404
    assert tracer.post(url("trace_start", "a b")).status_code == 404
