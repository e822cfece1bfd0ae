"""The page of one connection, and its history."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.urls import reverse

from channels_realtime.admin import display
from channels_realtime.errors import Unavailable
from channels_realtime.models import ConnectionRecord
from tests.unit.admin.conftest import inspection
from tests.unit.admin.pages_read import read, tags

pytestmark = pytest.mark.django_db

LIST = reverse("admin:channels_realtime_connectionrecord_changelist")


def detail(record, name="change"):
    return reverse(f"admin:channels_realtime_connectionrecord_{name}", args=[record.pk])


# -- one connection --------------------------------------------------------------------------------


def test_detail_shows_the_answer_of_the_node(viewer, connect, nodes, node):
    record = connect("alice", "orders/1", "news")
    nodes.inspections[record.pk] = inspection(
        record,
        subscriptions=[
            {"channel": "orders/1", "paused": True, "selections": 2, "offset": 41},
            {"channel": "news", "paused": False, "selections": 1, "offset": None},
        ],
        subscriptions_total=7,
        traced=True,
        closed=True,
        path="/chat/",
        consumer="shop.consumers.Chat",
    )
    page = viewer.get(detail(record))
    text = read(page)
    assert page.status_code == 200
    for words in (
        "User alice",
        "Authenticated by login session",
        "Credentials from cookie",
        "Transport WebSocket",
        "Protocol realtime.v1.json",
        "Path /chat/ Consumer shop.consumers.Chat",
        "Server web1:101",
        "State closing",
        "Received 1,234 messages, 2.0 KB",
        "Sent 1 message, 512 bytes",
        "Round trip 12.5 ms; last 3: 10.0 to 34.0 ms",
        "Errors 2",
        "orders/1 paused, 2 selections, offset 41 ",
        "news live",
        "5 more are not shown.",
        "2 headers; values that may contain credentials are hidden",
        "This connection is being traced.",
    ):
        assert words in text


def test_detail_shows_which_headers_are_hidden(viewer, connect, nodes):
    record = connect("alice")
    headers = [["cookie", "(hidden)"], ["sec-websocket-protocol", "realtime.v1, (hidden)"]]
    nodes.inspections[record.pk] = inspection(record, headers=headers)
    text = read(viewer.get(detail(record)))
    assert "cookie hidden sec-websocket-protocol realtime.v1, (hidden)" in text


def test_detail_draws_the_round_trips(viewer, connect, nodes):
    record = connect("alice")
    nodes.inspections[record.pk] = inspection(record)
    [svg] = [tag for tag in tags(viewer.get(detail(record)), "svg") if "realtime-line" in str(tag)]
    assert svg["aria-hidden"] == "true"
    [line] = tags(viewer.get(detail(record)), "polyline")
    assert line["points"] == "0.0,27.0 120.0,3.0 240.0,24.5"


@pytest.mark.parametrize(
    ("round_trips", "points", "words"),
    [
        ([], None, "not measured yet"),
        ([0.0], "0.0,37.0 240.0,37.0", "0.0 ms; last 1: 0.0 to 0.0 ms"),
        ([0.2], "0.0,3.0 240.0,3.0", "200.0 ms; last 1: 200.0 to 200.0 ms"),
    ],
)
def test_plot_of_few_round_trips(round_trips, points, words):
    plot = display.round_trip_plot(round_trips)
    assert words in plot
    assert points is None or f'points="{points}"' in plot


def test_detail_of_an_ended_connection_is_not_found(viewer, connect, nodes):
    record = connect("alice")
    page = viewer.get(detail(record))
    assert page.status_code == 404
    assert f"The connection {record.pk} has ended" in read(page)
    assert f'href="{LIST}"' in page.content.decode()


def test_detail_of_a_connection_of_a_dead_node_is_not_found(viewer, connect, nodes, make_node):
    record = connect("alice", node=make_node("web2", 102, lease_s=-1))
    nodes.inspections[record.pk] = AssertionError("a dead node was asked")
    assert viewer.get(detail(record)).status_code == 404


@pytest.mark.parametrize("name", ["nothing", "a\x00b", "<script>", "x" * 400, "a/b", "…"])
def test_detail_of_an_unknown_id_is_not_found(viewer, nodes, node, name):
    quoted = admin.utils.quote(name)
    url = reverse("admin:channels_realtime_connectionrecord_change", args=[quoted])
    page = viewer.get(url)
    assert page.status_code == 404
    assert "has ended, or has never existed." in read(page)


def test_detail_shows_an_unrecorded_connection(viewer, connect, nodes):
    record = connect("alice")
    nodes.inspections[record.pk] = inspection(record)
    ConnectionRecord.objects.all().delete()
    page = viewer.get(detail(record))
    assert page.status_code == 200
    assert "User alice" in read(page)


def test_detail_shows_the_record_when_the_server_does_not_respond(viewer, connect, nodes):
    record = connect("alice", "orders/1")
    nodes.inspections[record.pk] = Unavailable()
    page = viewer.get(detail(record))
    text = read(page)
    assert page.status_code == 200
    assert "The server of this connection does not respond. This is the last record" in text
    assert "User alice" in text
    assert "orders/1" in text
    assert "Round trip" not in text


def test_detail_of_an_unrecorded_connection_says_that_no_server_responds(viewer, nodes, node):
    nodes.inspections["abc"] = Unavailable()
    url = reverse("admin:channels_realtime_connectionrecord_change", args=["abc"])
    page = viewer.get(url)
    assert page.status_code == 503
    assert "The servers that may have the connection abc do not respond." in read(page)


def test_detail_has_the_buttons_that_the_user_may_use(viewer, actor, tracer, connect, nodes):
    record = connect("alice", "orders/1")
    nodes.inspections[record.pk] = inspection(record)
    buttons = ["Disconnect", "Send a notice", "Unsubscribe", "Revoke sessions", "Block"]
    for client, expected, traces in (
        (viewer, False, False),
        (actor, True, False),
        (tracer, False, True),
    ):
        text = read(client.get(detail(record)))
        assert [button in text for button in buttons] == [expected] * 5
        assert (" Trace " in text) is traces
        assert " History " in text


# -- history ---------------------------------------------------------------------------------------


def test_history_outlives_the_connection(viewer, nodes):
    LogEntry.objects.create(
        user=viewer.user,
        content_type=ContentType.objects.get_for_model(ConnectionRecord),
        object_id="abc123",
        object_repr="alice",
        action_flag=CHANGE,
        change_message="Sent a notice: \u202eboo",
    )
    url = reverse("admin:channels_realtime_connectionrecord_history", args=["abc123"])
    page = viewer.get(url)
    assert page.status_code == 200
    assert "Sent a notice: ⟨U+202E⟩boo" in read(page)
    assert viewer.user.username in read(page)


def test_history_of_an_untouched_connection_is_empty(viewer, connect, nodes):
    page = viewer.get(detail(connect("alice"), "history"))
    assert page.status_code == 200
    assert "No actions on this connection." in read(page)


def test_history_of_an_unknown_id_is_not_found(viewer, nodes):
    url = reverse("admin:channels_realtime_connectionrecord_history", args=["nothing"])
    assert viewer.get(url).status_code == 404
