"""The connections counted by user, path and process, and the lists as CSV files."""

from __future__ import annotations

import csv
import datetime
import io
import re

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import connection as database
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from channels_realtime.admin import export, groups
from channels_realtime.models import ConnectionRecord, EndedConnectionRecord
from tests.unit.admin.pages_read import read, tags
from tests.unit.admin.test_hostile import HOSTILE, NAMES, assert_harmless, stored

pytestmark = pytest.mark.django_db

LIST = reverse("admin:channels_realtime_connectionrecord_changelist")
EXPORT = reverse("admin:channels_realtime_connectionrecord_export")


def groups_url(by):
    return reverse("admin:channels_realtime_connectionrecord_groups", args=[by])


def groups_of(response) -> list[list[str]]:
    body = response.content.decode().partition("<tbody>")[2].partition("</tbody>")[0]
    return [
        [" ".join(re.sub(r"<[^>]*>", "", cell).split()) for cell in row.split("</th>")]
        for row in body.split("</tr>")[:-1]
    ]


def lines_of(response) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(response.content.decode("utf-8-sig"))))


@pytest.fixture
def crowd(connect, make_node):
    other = make_node("web2", 102)
    connect("alice", "news", path="/ws/")
    connect("alice", path="/ws/", node=other)
    connect("bob", path="/chat/")
    connect(path="")


# -- groups ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("by", "query", "found"),
    [
        ("user", "", [["alice", "2"], ["anonymous", "1"], ["bob", "1"]]),
        ("path", "", [["/ws/", "2"], ["–none", "1"], ["/chat/", "1"]]),
        ("process", "", [["web1:101", "3"], ["web2:102", "1"]]),
        ("process", "?user=alice", [["web1:101", "1"], ["web2:102", "1"]]),
        ("user", "?q=news", [["alice", "1"]]),
        ("user", "?user=nobody", []),
    ],
)
def test_groups_count_the_connections_of_the_list(viewer, crowd, by, query, found):
    page = viewer.get(groups_url(by) + query)
    assert sorted(groups_of(page)) == sorted(found)
    if not found:
        assert "No connections match." in read(page)


def test_group_links_to_its_connections_and_keeps_the_filters(viewer, crowd):
    page = viewer.get(groups_url("user") + "?path=/ws/&p=0")
    assert f"{LIST}?path=%2Fws%2F&user=pk-alice" in [tag.get("href") for tag in tags(page, "a")]
    page = viewer.get(f"{LIST}?path=/ws/&user=pk-alice")
    assert "2 connections" in read(page)


def test_list_links_to_groups_and_file_with_its_filters(viewer, crowd):
    links = [tag.get("href") for tag in tags(viewer.get(f"{LIST}?user=alice"), "a")]
    for url in (*map(groups_url, groups.GROUPINGS), EXPORT):
        assert f"{url}?user=alice" in links


def test_groups_leave_out_dead_nodes(viewer, connect, make_node):
    connect("alice", node=make_node("web9", 9, lease_s=-1))
    assert groups_of(viewer.get(groups_url("user"))) == []


def test_groups_show_the_largest(viewer, connect, monkeypatch):
    monkeypatch.setattr(groups, "SHOWN", 2)
    for name in ("a", "a", "b", "b", "c"):
        connect(name)
    page = viewer.get(groups_url("user"))
    assert [name for name, _ in groups_of(page)] == ["a", "b"]
    assert "The 2 largest groups." in read(page)


def test_groups_take_a_constant_number_of_queries(viewer, connect):
    def count():
        with CaptureQueriesContext(database) as queries:
            assert viewer.get(groups_url("user")).status_code == 200
        return len(queries)

    connect("alice")
    one = count()
    for number in range(50):
        connect(f"user{number}")
    assert count() == one


@pytest.mark.parametrize("url", [groups_url("user"), EXPORT])
def test_parameters_that_are_none_are_dropped(viewer, crowd, url):
    assert viewer.get(url, {"connected_at": "x"}).status_code == 302


def test_unknown_grouping_is_not_found(viewer):
    assert viewer.get(groups_url("node__inbox")).status_code == 404


@pytest.mark.parametrize("url", [groups_url("user"), EXPORT])
def test_pages_need_the_permission_to_see_connections(staff, crowd, url):
    assert staff("act_on_connection", "view_noderecord").get(url).status_code == 403
    assert staff("view_connectionrecord").post(url).status_code == 405


@pytest.mark.parametrize("value", HOSTILE, ids=NAMES)
def test_groups_show_hostile_values_as_text(viewer, connect, value):
    connect(stored(value)[:255], path=stored(value)[:255])
    for by in ("user", "path"):
        assert_harmless(viewer.get(groups_url(by)))


# -- files -----------------------------------------------------------------------------------------


def test_file_has_the_connections_of_the_list(viewer, crowd):
    response = viewer.get(EXPORT, {"user": "alice", "path": "/ws/"})
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert response["Content-Disposition"] == 'attachment; filename="connections.csv"'
    assert "no-store" in response["Cache-Control"]
    lines = lines_of(response)
    assert {line["server"] for line in lines} == {"web1:101", "web2:102"}
    assert [line["user"] for line in lines] == ["alice", "alice"]
    at = datetime.datetime.fromisoformat(lines[0]["connected"])
    assert abs(at - timezone.now()) < datetime.timedelta(minutes=1)
    entry = LogEntry.objects.get()
    assert (entry.object_repr, entry.change_message) == ("connections", "Exported 2 rows.")
    assert entry.content_type.model_class() is ConnectionRecord


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_file_has_no_formulas(viewer, connect, text):
    connect(text, user_pk=text)
    [line] = lines_of(viewer.get(EXPORT))
    assert line["user"][0] in "'⟨"  # invisible characters are shown by their code points


def test_file_quotes_what_clients_write(viewer, connect):
    connect('a",\nb', user_agent="x\u202ey")
    [line] = lines_of(viewer.get(EXPORT))
    assert line["user"] == 'a",⟨U+000A⟩b'
    assert line["user agent"] == "x⟨U+202E⟩y"


def test_file_says_in_its_name_that_it_is_cut(viewer, connect, monkeypatch):
    monkeypatch.setattr(export, "MOST", 2)
    for name in "abc":
        connect(name)
    response = viewer.get(EXPORT)
    assert len(lines_of(response)) == 2
    assert 'filename="connections-first-2.csv"' in response["Content-Disposition"]


# -- ended connections -----------------------------------------------------------------------------

ENDED = reverse("admin:channels_realtime_endedconnectionrecord_changelist")
ENDED_EXPORT = reverse("admin:channels_realtime_endedconnectionrecord_export")


def end(user="alice", end="4408", detail="", *, ago_s=60, **fields):
    now = timezone.now()
    return EndedConnectionRecord.objects.create(
        **{
            "connection_id": f"{EndedConnectionRecord.objects.count():016x}",
            "node_id": "n",
            "server": "web1:7",
            "user_pk": f"pk-{user}"[:255],
            "user_label": user,
            "address": "192.0.2.7",
            "path": "/ws/",
            "auth_method": "session",
            "connected_at": now - datetime.timedelta(seconds=ago_s + 7_260),
            "ended_at": now - datetime.timedelta(seconds=ago_s),
            "end": end,
            "detail": detail,
            **fields,
        }
    )


@pytest.fixture
def watcher(staff):
    return staff("view_connectionrecord", "view_endedconnectionrecord")


@pytest.mark.parametrize(
    ("code", "detail", "words"),
    [
        ("4408", "no heartbeat", "Heartbeat timeout (4408) no heartbeat"),
        ("client", "", "Closed by the client"),
        ("lost", "", "Connection lost"),
        ("server", "", "Server process died"),
        ("4999", "", "A site-specific reason (4999)"),
    ],
)
def test_ended_connection_is_listed_with_its_reason(watcher, code, detail, words):
    ended = end(end=code, detail=detail)
    text = read(watcher.get(ENDED))
    assert f"alice {ended.connection_id} {words} 1 min ago 2 h 192.0.2.7" in text
    assert "Ended connections are kept for 1 day (ENDED_RETENTION)" in text


def test_list_says_that_ended_connections_are_not_kept(watcher, settings):
    settings.CHANNELS_REALTIME = {"ENDED_RETENTION": 0}
    assert "Ended connections are not kept: ENDED_RETENTION is 0." in read(watcher.get(ENDED))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"user": "alice"}, {"alice"}),
        ({"user": "ali"}, set()),
        ({"end": "lost"}, {"bob"}),
        ({"end": "\x00"}, set()),
        ({"path": "/ws/"}, {"alice"}),
        ({"since": "5m"}, {"alice"}),
        ({"q": "BO"}, {"bob"}),
        ({"q": "198.51"}, {"bob"}),
        ({"q": ".51.100"}, set()),
        ({}, {"alice", "bob"}),
    ],
)
def test_ended_connections_are_found(watcher, query, found):
    end()
    end("bob", "lost", ago_s=4_000, path="/chat/", address="198.51.100.1")
    page = watcher.get(ENDED, query)
    assert {ended.user_label for ended in page.context["cl"].result_list} == found
    assert {line["user"] for line in lines_of(watcher.get(ENDED_EXPORT, query))} == found


@pytest.mark.parametrize("url", [ENDED, ENDED_EXPORT])
def test_ended_connections_need_their_own_permission(staff, url):
    end()
    assert staff("view_connectionrecord", "act_on_connection").get(url).status_code == 403
    assert staff("view_endedconnectionrecord").get(url).status_code == 200


def test_ended_connections_take_a_constant_number_of_queries(watcher):
    def count():
        with CaptureQueriesContext(database) as queries:
            assert watcher.get(ENDED).status_code == 200
        return len(queries)

    end()
    one = count()
    for number in range(50):
        end(f"user{number}")
    assert count() == one <= 7


@pytest.mark.parametrize("value", HOSTILE, ids=NAMES)
def test_ended_connections_show_hostile_values_as_text(watcher, value):
    kept = stored(value)
    end(kept[:255], detail=kept[:125], user_agent=kept[:512], address=kept[:45], path=kept[:255])
    assert_harmless(watcher.get(ENDED))
    ended = EndedConnectionRecord.objects.get()
    url = reverse("admin:channels_realtime_connectionrecord_change", args=[ended.connection_id])
    assert_harmless(watcher.get(url))


def test_page_of_a_connection_that_has_ended_says_why(staff, nodes):
    ended = end(detail="no heartbeat")
    url = reverse("admin:channels_realtime_connectionrecord_change", args=[ended.connection_id])
    client = staff("view_connectionrecord")
    assert "Heartbeat timeout" not in read(client.get(url))
    permission = Permission.objects.get(codename="view_endedconnectionrecord")
    client.user.user_permissions.add(permission)
    response = client.get(url)
    assert response.status_code == 404
    assert "Reason Heartbeat timeout (4408) no heartbeat Ended 1 min ago" in read(response)
