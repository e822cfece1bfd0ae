"""The page of nodes, and draining one."""

from __future__ import annotations

import datetime
import re

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from channels_realtime import operations
from channels_realtime.errors import Unavailable
from channels_realtime.models import NodeRecord
from channels_realtime.operations import NodeReport
from tests.unit.admin.pages.own_site import (
    CHANNELS,
    DRAIN,
    HOSTILE,
    NO_NODES,
    NODES,
    a_node,
    an_answer,
    main_of,
    said,
    table_of,
    text_of,
    url,
)

pytestmark = pytest.mark.django_db

LEASES = [f"{seconds} s" for seconds in range(1, 21)]
"""What may be left of a lease of twenty seconds, on a busy machine."""


def test_nodes_link_to_their_connections_with_the_permission(staff, nodes):
    nodes((a_node("c0ffee"), an_answer()))
    client = staff("view_noderecord", "view_connectionrecord")
    link = f'href="{url("connectionrecord_changelist")}?process=c0ffee"'
    assert link in main_of(client.get(url(NODES)))


def test_nodes_are_shown_with_their_answers(staff, nodes):
    nodes((a_node("a", "web-1", 11), an_answer()))
    with timezone.override("UTC"):
        response = staff("view_noderecord").get(url(NODES))
    heads, row = table_of(response)
    assert heads == [
        "Host and process",
        "State",
        "Started",
        "Connections",
        "Channels",
        "Messages received per second",
        "Messages sent per second",
        "Connects per second",
        "Loop lag",
        "Memory",
    ]
    state, _, lease = row.pop(1).partition(" lease ")
    assert (state, lease in LEASES) == ("Responding", True)
    assert row == [
        "web-1 process 11 daphne, channels_realtime 1.2.3",
        "03/01/2026 9:30 a.m.",
        "1,500",
        "1,200",
        "12.3",
        "4,321",
        "0",
        "12.5 ms",
        "64.0 MB",
    ]


@pytest.mark.parametrize("page", [NODES, CHANNELS])
def test_page_refreshes_itself_and_says_as_of_when(staff, nodes, live, page):
    nodes((a_node("a"), an_answer()))
    client = staff("view_noderecord", "view_subscriptionrecord")
    document = main_of(client.get(url(page)))
    assert 'data-kind="page"' in document
    assert 'data-interval="5"' in document
    _, content = document.split('<div id="realtime-content">')
    assert re.search(r'As of <time datetime="[^"]+" title="[^"]+">\d\d:\d\d:\d\d</time>', content)


def test_node_that_does_not_respond_is_shown_from_its_row(staff, nodes):
    nodes(
        (a_node("a", "web-1", 1), an_answer()),
        (a_node("b", "web-2", 2, connections=70, server="", draining=True), None),
    )
    response = staff("view_noderecord").get(url(NODES))
    row = table_of(response)[2]
    assert row[0] == "web-2 process 2 channels_realtime 1.2.3"
    assert row[1].startswith("Not responding, draining lease ")
    assert row[3:10] == ["70", *["–unknown"] * 6]
    assert "1 of 2 servers responded. No response from: web-2:2" in text_of(response)


def test_nodes_are_shown_from_their_rows_when_the_layer_cannot_be_reached(staff, monkeypatch):
    def away():
        raise Unavailable("the event loop did not answer")

    monkeypatch.setattr(operations, "nodes", away)
    a_node("a")
    a_node("dead", "web-9", lease=-1.0)
    response = staff("view_noderecord").get(url(NODES))
    [row] = table_of(response)[1:]
    assert row[0] == "web-1 process 4711 daphne, channels_realtime 1.2.3"
    assert row[1].startswith("Not responding lease ")
    assert (
        "The channel layer cannot be reached, so the servers cannot be asked:"
        " the event loop did not answer"
    ) in text_of(response)


def test_node_says_that_its_history_store_does_not_respond(staff, nodes):
    nodes((a_node("a"), an_answer(history_failing=True)), (a_node("b"), an_answer()))
    states = [row[1] for row in table_of(staff("view_noderecord").get(url(NODES)))[1:]]
    assert ["history store is not responding" in state for state in states] == [True, False]


def test_node_without_a_memory_value_shows_none(staff, nodes):
    nodes((a_node("a"), an_answer(memory=None)))
    response = staff("view_noderecord").get(url(NODES))
    assert table_of(response)[1][9] == "–unknown"


def test_nodes_say_so_when_there_are_none(staff, nodes):
    nodes()
    text = text_of(staff("view_noderecord").get(url(NODES)))
    assert text == NO_NODES


def test_nodes_offer_to_drain_those_that_are_not_draining(staff, nodes):
    nodes(
        (a_node("a", "web-1", 1), an_answer()),
        (a_node("b", "web-2", 2), an_answer(draining=True)),
        (a_node("c", "web-3", 3), None),
    )
    response = staff("view_noderecord", "drain_node").get(url(NODES))
    states = [re.sub(r" lease \d+ s", "", row[1]) for row in table_of(response)]
    assert states == [
        "State",
        "Responding Drain web-1:1",
        "Draining",
        "Not responding Drain web-3:3",
    ]
    assert f'href="{url(DRAIN, "a")}"' in main_of(response)


def test_nodes_offer_nothing_without_the_permission(staff, nodes):
    nodes((a_node("a"), an_answer()))
    assert "rain" not in main_of(staff("view_noderecord").get(url(NODES)))


def test_node_shows_hostile_text_as_text(staff, nodes):
    nodes((a_node("a", host=HOSTILE[:255]), an_answer()))
    document = main_of(staff("view_noderecord", "drain_node").get(url(NODES)))
    assert "<script>" not in document
    assert "&lt;script&gt;" in document


def test_nodes_need_a_constant_number_of_queries(staff, nodes, django_assert_max_num_queries):
    nodes(*((a_node(f"n{number}", pid=number), an_answer()) for number in range(30)))
    client = staff("view_noderecord", "drain_node")
    with django_assert_max_num_queries(5):  # session, user, two of permissions, the clock
        assert client.get(url(NODES)).status_code == 200


def test_lease_uses_the_clock_of_the_database(staff, nodes, monkeypatch):
    """The clock of the web server is half an hour ahead."""
    ahead = timezone.now() + datetime.timedelta(minutes=30)
    nodes((a_node("a"), an_answer()))
    client = staff("view_noderecord")
    monkeypatch.setattr(timezone, "now", lambda: ahead)
    assert table_of(client.get(url(NODES)))[1][1].partition(" lease ")[2] in LEASES


# -- draining --------------------------------------------------------------------------------------


@pytest.fixture
def drained(monkeypatch):
    """The nodes that were asked to drain; ``answer`` is the result."""

    class Drained(list):
        answer = True

    drained = Drained()

    def drain(node_id):
        drained.append(node_id)
        if isinstance(drained.answer, Exception):
            raise drained.answer
        return drained.answer

    def nodes():
        return [NodeReport(record=node, answer=None) for node in NodeRecord.objects.alive()]

    monkeypatch.setattr(operations, "drain", drain)
    monkeypatch.setattr(operations, "nodes", nodes)
    return drained


def test_drain_asks_for_confirmation(staff, drained):
    a_node("a", "web-1", 11, connections=1234)
    a_node("b", "web-2", 22)
    response = staff("drain_node").get(url(DRAIN, "a"))
    assert drained == []
    assert "Drain node web-1:11" in response.content.decode()
    assert text_of(response) == (
        "This node had 1,234 connections at the last count. Their clients are told to reconnect to"
        " another server, each after a short random delay. It accepts no new connections until it"
        " is restarted. This cannot be undone. Cancel"
    )


@pytest.mark.parametrize("other", [None, {"draining": True}, {"lease": -1.0}])
def test_drain_warns_when_no_other_node_accepts_connections(staff, drained, other):
    a_node("a")
    if other is not None:
        a_node("b", pid=2, **other)
    text = text_of(staff("drain_node").get(url(DRAIN, "a")))
    assert (
        "Nobody can connect afterwards."
        " No other server accepts connections: clients cannot connect until this one is restarted."
    ) in text


def test_drain_warns_when_the_other_node_has_begun_to_drain_just_now(staff, nodes):
    first, second = a_node("a"), a_node("b", pid=2)
    nodes((first, an_answer()), (second, an_answer(draining=True)))
    page = staff("drain_node").get(url(DRAIN, "a"))
    assert "Nobody can connect afterwards." in text_of(page)
    nodes((first, an_answer()), (second, an_answer()))
    page = page.client.get(url(DRAIN, "a"))
    assert "Nobody can connect afterwards." not in text_of(page)


def test_buttons_that_drain_look_dangerous(staff, nodes):
    nodes((a_node("a"), an_answer()))
    client = staff("view_noderecord", "drain_node")
    for page in (client.get(url(NODES)), client.get(url(DRAIN, "a"))):
        assert 'class="realtime-button realtime-danger"' in main_of(page)


def test_drain_notifies_the_node_and_is_logged(staff, drained):
    a_node("a", "web-1", 11)
    response = staff("drain_node", "view_noderecord").post(url(DRAIN, "a"))
    assert drained == ["a"]
    assert (response.status_code, response.url) == (302, url(NODES))
    assert said(response) == [
        "Draining web-1:11: its connections move to other servers, and it accepts no new ones."
    ]
    entry = LogEntry.objects.get()
    assert (entry.user.username, entry.object_repr) == ("maria", "web-1:11")
    assert (entry.object_id, entry.change_message) == ("a", "Drained.")
    assert entry.content_type.model_class() is NodeRecord


def test_drain_leads_to_the_index_without_the_permission_to_see_nodes(staff, drained):
    a_node("a")
    response = staff("drain_node").post(url(DRAIN, "a"))
    assert (response.status_code, response.url) == (302, "/staff/")


def test_drain_says_so_when_the_node_does_not_respond(staff, drained):
    a_node("a", "web-1", 11)
    drained.answer = False
    response = staff("drain_node").post(url(DRAIN, "a"))
    assert said(response) == [
        "web-1:11 does not respond. It may be draining, or it may have stopped."
    ]
    assert LogEntry.objects.get().change_message == (
        "Drained. The server did not respond, so this may not have taken effect."
    )


def test_drain_says_so_when_the_layer_cannot_be_reached(staff, drained):
    a_node("a", "web-1", 11)
    drained.answer = Unavailable("away")
    response = staff("drain_node").post(url(DRAIN, "a"))
    assert said(response) == [
        "The channel layer does not respond, so web-1:11 was not drained. Try again."
    ]
    assert LogEntry.objects.count() == 0


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("node_id", ["gone", "dead", "a\x00", "x" * 3000, "<script>"])
def test_drain_says_so_when_the_node_is_gone(staff, drained, method, node_id):
    a_node("dead", lease=-1.0)
    client = staff("drain_node", "view_noderecord")
    response = getattr(client, method)(url(DRAIN, node_id))
    assert (response.status_code, response.url) == (302, url(NODES))
    assert said(response) == ["This node is no longer running."]
    assert drained == []
