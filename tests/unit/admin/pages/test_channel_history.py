"""The history on the page of channels, and the page that deletes it."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry

from channels_realtime import operations
from channels_realtime.errors import Unavailable
from channels_realtime.operations import StoredReport
from channels_realtime.protocol.messages import Position
from channels_realtime.stores.history.base import Usage
from tests.unit.admin.pages.own_site import (
    CHANNELS,
    a_node,
    channel,
    main_of,
    said,
    table_of,
    text_of,
    url,
)

pytestmark = pytest.mark.django_db

SEE = "view_subscriptionrecord"
PURGE = "purge_history"


@pytest.fixture
def store(monkeypatch):
    """Answers ``operations.stored`` and ``operations.purge``."""

    class Store:
        holds: dict[str, StoredReport] = {}
        error = None
        purged: list[str] = []

        def stored(self, channels):
            if self.error is not None:
                raise self.error
            return {name: self.holds[name] for name in channels if name in self.holds}

        def purge(self, channel):
            if self.error is not None:
                raise self.error
            self.purged.append(channel)

    store = Store()
    store.holds, store.purged = {}, []
    monkeypatch.setattr(operations, "stored", store.stored)
    monkeypatch.setattr(operations, "purge", store.purge)
    return store


def purge_url(name):
    return url("subscriptionrecord_purge", name.replace("/", "_2F"))


@pytest.fixture
def board(live, store):
    a_node("a")
    live.holds(
        channel("board/1", a=2),
        channel("board/2", a=1),
        channel("news", a=1),
        channel("lounge", a=1),
    )
    store.holds = {
        "board/1": StoredReport(
            keeps=True, usage=Usage(Position("e", 1_234), messages=100, states=3), members=7
        ),
        "board/2": StoredReport(keeps=True, usage=Usage(Position("e", 0), messages=0, states=0)),
        "lounge": StoredReport(members=1_250),
    }
    return store


def test_history_is_shown_with_its_position_and_size(staff, board):
    response = staff(SEE).get(url(CHANNELS))
    assert [row[4] for row in table_of(response)] == [
        "History",
        "offset 1,234, 100 kept, 3 keys",
        "Empty",
        "",
        "",
    ]


def test_members_are_counted(staff, board):
    rows = table_of(staff(SEE).get(url(CHANNELS)))
    assert [row[5] for row in rows] == ["Members", "7", "", "", "1,250"]


def test_page_has_no_history_where_no_channel_keeps_one(staff, live, store):
    a_node("a")
    live.holds(channel("news", a=1))
    assert len(table_of(staff(SEE).get(url(CHANNELS)))[0]) == 4


def test_page_says_that_the_store_does_not_respond(staff, board):
    board.error = Unavailable("the store took longer than 2 seconds")
    response = staff(SEE).get(url(CHANNELS))
    assert "The stores do not respond: the store took longer than 2 seconds" in text_of(response)
    assert [row[0] for row in table_of(response)][1:] == ["board/1", "board/2", "news", "lounge"]


def test_history_can_be_deleted_with_the_permission(staff, board):
    document = main_of(staff(SEE, PURGE).get(url(CHANNELS)))
    assert purge_url("board/1") in document
    assert purge_url("board/2") not in document


def test_history_cannot_be_deleted_without_the_permission(staff, board):
    client = staff(SEE)
    assert "purge" not in main_of(client.get(url(CHANNELS)))
    assert client.get(purge_url("board/1")).status_code == 403
    assert client.post(purge_url("board/1")).status_code == 403
    assert board.purged == []


def test_deleting_asks_first(staff, board):
    response = staff(SEE, PURGE).get(purge_url("board/1"))
    assert "100 messages are kept. 3 keys have a state." in text_of(response)
    assert board.purged == []


def test_deleting_is_done_and_logged(staff, board):
    response = staff(SEE, PURGE).post(purge_url("board/1"))
    assert board.purged == ["board/1"]
    assert said(response) == ["Deleted the history of board/1."]
    entry = LogEntry.objects.get()
    assert (entry.object_repr, entry.change_message) == ("board/1", "Deleted the history.")


def test_deleting_says_that_the_store_does_not_respond(staff, board):
    board.error = Unavailable("away")
    client = staff(SEE, PURGE)
    assert "The history store does not respond: away." in text_of(client.get(purge_url("board/1")))
    response = client.post(purge_url("board/1"))
    assert said(response) == ["The history was not deleted: away."]
    assert not LogEntry.objects.exists()


def test_channel_without_history_has_none_to_delete(staff, board):
    response = staff(SEE, PURGE).get(purge_url("news"))
    assert said(response) == ["news keeps no history."]


@pytest.mark.parametrize("name", ["a b", "<script>", "x" * 400])
def test_name_that_is_none_is_not_found(staff, board, name):
    assert staff(SEE, PURGE).get(purge_url(name)).status_code == 404
