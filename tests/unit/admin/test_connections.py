"""The list of connections, its search and its filters."""

from __future__ import annotations

import datetime

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.db import connection as database
from django.test.utils import CaptureQueriesContext
from django.urls import path, reverse
from django.utils import timezone

import channels_realtime.admin
from channels_realtime.admin import display, queries
from channels_realtime.models import NodeRecord
from channels_realtime.monitoring.feed import CHANNEL
from tests.unit.admin.conftest import FIREFOX, inspection
from tests.unit.admin.pages_read import ids, read, rows, tags

pytestmark = pytest.mark.django_db

LIST = reverse("admin:channels_realtime_connectionrecord_changelist")
ALL = f"{LIST}?columns=all"


def detail(record, name="change"):
    return reverse(f"admin:channels_realtime_connectionrecord_{name}", args=[record.pk])


# -- the list --------------------------------------------------------------------------------------


def test_list_shows_user_address_server_and_channels(viewer, connect, node):
    now = timezone.now()
    record = connect(
        "alice",
        "orders/1",
        "news",
        path="/ws/",
        consumer="shop.consumers.Chat",
        client_id="tab-1",
        connected_at=now - datetime.timedelta(minutes=5),
        seen_at=now - datetime.timedelta(seconds=20),
        auth_method="jwt",
        auth_expires_at=now + datetime.timedelta(hours=2, seconds=30),
        user_agent="a client of its own",
    )
    [row] = rows(viewer.get(ALL))
    assert row.pop("seen") in ("20 s ago", "21 s ago")
    assert row == {
        "user": f"alice {record.pk}",
        "channels": "2",
        "address": "192.0.2.7",
        "since": "5 min ago",
        "health": "good",
        "path": "/ws/",
        "consumer": "Chat",
        "server": "web1:101",
        "origin": "https://example.com",
        "browser": "a client of its own",
        "client_id": "tab-1",
        "method": "token expires in 2 h",
    }


def test_list_has_few_columns_and_the_most_important_first(viewer, connect):
    record = connect("alice")
    page = viewer.get(LIST)
    assert list(rows(page)[0]) == ["user", "channels", "address", "since", "seen", "health"]
    assert f'<a class="realtime-id" href="{detail(record)}"' in page.content.decode()
    assert '<a href="?columns=all">All</a>' in page.content.decode()
    assert list(rows(viewer.get(ALL))[0])[:6] == list(rows(page)[0])


def test_columns_are_no_filter(viewer, connect):
    assert "No connections." in read(viewer.get(ALL))
    assert "Clear all filters" not in read(viewer.get(ALL))
    assert "Clear all filters" in read(viewer.get(ALL + "&user=alice"))


def test_list_hides_the_pages_of_tenants_too(viewer, connect, settings):
    connect("root", f"acme|{CHANNEL}")
    connect("alice", "acme|news")
    settings.CHANNELS_REALTIME = {"NAMESPACE": "tests.unit.admin.test_connections.no_namespace"}
    assert [row["user"].split()[0] for row in rows(viewer.get(LIST))] == ["alice"]


def no_namespace(scope):
    return ""


@pytest.mark.parametrize(
    ("trouble", "draining", "words"),
    [
        ("", False, "good"),
        ("", True, "moving"),
        ("slow", False, "slow"),
        ("throttled", True, "throttled"),
        ("of a later version", False, "of a later version"),
    ],
)
def test_list_says_how_a_connection_is(viewer, connect, node, trouble, draining, words):
    NodeRecord.objects.filter(pk=node.pk).update(draining=draining)
    connect("alice", health=trouble)
    assert rows(viewer.get(LIST))[0]["health"] == words


def test_list_hides_the_pages_of_the_admin_unless_asked(viewer, connect):
    connect("alice", "news")
    connect("root", CHANNEL)
    assert len(ids(viewer.get(LIST))) == 1
    assert "Hidden Shown" in read(viewer.get(LIST))
    for query in ({"admin_pages": "shown"}, {"channel": CHANNEL, "admin_pages": "shown"}):
        assert "root" in [row["user"].split()[0] for row in rows(viewer.get(LIST, query))]
    assert len(ids(viewer.get(LIST, {"channel": CHANNEL}))) == 1


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (datetime.timedelta(days=13, hours=1), "token expires in 13 days"),
        (datetime.timedelta(days=1, hours=1), "token expires in 1 day"),
        (datetime.timedelta(days=-2, hours=-1), "token expired 2 days ago"),
    ],
)
def test_list_says_when_credentials_expire(viewer, connect, left, words):
    connect("alice", auth_method="jwt", auth_expires_at=timezone.now() + left)
    assert rows(viewer.get(ALL))[0]["method"] == words


def test_list_shows_missing_values_in_words(viewer, connect):
    connect(address="", origin="", user_agent="")
    [row] = rows(viewer.get(ALL))
    assert row["user"].split()[0] == "anonymous"
    assert row["method"] == "not authenticated"
    for name in ("address", "path", "consumer", "origin", "browser", "client_id"):
        assert row[name] == "–none"


def test_list_has_the_exact_moments_as_titles(viewer, connect):
    at = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    connect("alice", connected_at=at, seen_at=at)
    titles = [tag.get("title") for tag in tags(viewer.get(LIST), "time")]
    assert titles == ["2026-01-01 21:04:05 CST", "2026-01-01 21:04:05 CST"]


def test_list_leaves_out_connections_of_nodes_without_a_lease(viewer, connect, make_node):
    dead = make_node("web2", 102, lease_s=-1)
    alive = connect("alice")
    connect("bob", node=dead)
    connect("carol", node_id="unknown")
    assert ids(viewer.get(LIST)) == [alive.pk]


def test_list_links_users_for_those_who_may_see_them(staff, connect):
    alice = User.objects.create(username="alice")
    connect("alice", user_pk=str(alice.pk))
    url = reverse("admin:auth_user_change", args=[alice.pk])
    viewer = staff("view_connectionrecord")
    assert f'href="{url}"' not in viewer.get(LIST).content.decode()
    viewer.user.user_permissions.add(Permission.objects.get(codename="view_user"))
    assert f'<a href="{url}"><bdi' in viewer.get(LIST).content.decode()


def test_list_takes_a_constant_number_of_queries(staff, connect, make_node):
    boss = staff(None)
    connect("alice")
    boss.get(LIST)  # content types are cached from then on

    def count(query=""):
        with CaptureQueriesContext(database) as queries:
            assert boss.get(LIST + query).status_code == 200
        return len(queries)

    one, one_searched = count(), count("?q=alice")
    nodes = [make_node(f"web{number}", number) for number in range(5)]
    for number in range(150):
        connect(f"alice{number}", "news", node=nodes[number % 5])
    assert count() == one
    assert count("?q=alice") == one_searched
    assert one_searched == one + 2
    assert one <= 6


def test_list_counts_once(viewer, connect):
    connect("alice")
    with CaptureQueriesContext(database) as queries:
        viewer.get(LIST)
    counts = [q["sql"] for q in queries if "COUNT(" in q["sql"]]
    assert len(counts) == 1


def test_list_says_how_many_there_are(viewer, connect):
    for number in range(120):
        connect(f"user{number}")
    page = viewer.get(LIST)
    assert len(ids(page)) == 100
    assert "120 connections" in read(page)


@pytest.mark.parametrize("number", ["3", "999", "0", "-4", "x"])
def test_list_shows_the_nearest_page_to_the_one_asked_for(viewer, connect, number):
    for index in range(120):
        connect(f"user{index}")
    page = viewer.get(LIST, {"p": number})
    assert page.status_code == 200
    assert len(ids(page)) == (20 if number in ("3", "999") else 100)


def test_list_says_that_there_are_no_connections(viewer):
    assert "No connections." in read(viewer.get(LIST))


def test_list_says_that_no_connections_match(viewer, connect):
    connect("alice")
    for query in ("?q=nobody-of-that-name", "?user=nobody", "?since=older"):
        assert "No connections match." in read(viewer.get(LIST + query))


@pytest.mark.parametrize(
    ("share", "notice"),
    [
        (True, None),
        (1.0, None),
        (0.25, "Shows about 25 % of the connections: CONNECTION_REGISTRY is 0.25."),
        (0.001, "Shows about 0.1 % of the connections: CONNECTION_REGISTRY is 0.001."),
        (
            False,
            "The registry is off (CONNECTION_REGISTRY is False): the site serves connections, but"
            " this list stays empty.",
        ),
    ],
)
def test_list_says_what_the_registry_leaves_out(viewer, settings, share, notice):
    settings.CHANNELS_REALTIME = {"CONNECTION_REGISTRY": share}
    text = read(viewer.get(LIST))
    if notice is None:
        assert "CONNECTION_REGISTRY" not in text
    else:
        assert notice in text


@pytest.mark.parametrize("order", range(1, 13))
def test_list_sorts_by_each_column(viewer, connect, order):
    first, second = connect("alice"), connect("bob")
    assert set(ids(viewer.get(LIST, {"o": f"-{order}"}))) == {first.pk, second.pk}


def test_list_begins_with_the_newest(viewer, connect):
    old = connect("alice", connected_at=timezone.now() - datetime.timedelta(hours=1))
    new = connect("bob")
    assert ids(viewer.get(LIST)) == [new.pk, old.pk]


# -- search and filters ----------------------------------------------------------------------------


@pytest.fixture
def crowd(connect, make_node):
    """Three connections that differ in everything."""
    day = datetime.timedelta(days=1)
    other = make_node("web2", 102)
    return {
        "alice": connect("alice", "orders/1", "news", client_id="tab-A"),
        "bob": connect(
            "bob",
            "orders/12",
            node=other,
            address="2001:db8::7",
            path="/chat/",
            health="slow",
            auth_method="jwt",
            connected_at=timezone.now() - day / 2,
        ),
        "nobody": connect(
            address="198.51.100.9",
            auth_method="api-key",
            health="throttled",
            connected_at=timezone.now() - 2 * day,
        ),
    }


@pytest.mark.parametrize(
    ("term", "found"),
    [
        ("ALI", "alice"),
        ("pk-bob", "bob"),
        ("pk-bo", ""),
        ("192.0.2.7", "alice"),
        ("192.0", "alice"),
        ("0.2.7", ""),
        ("2001:DB8", "bob"),
        ("orders/1", "alice bob"),
        ("orders/12", "bob"),
        ("rders", ""),
        ("news", "alice"),
        ("tab-a", "alice"),
        ("orders alice", "alice"),
        ("alice bob", ""),
        ('"alice"', "alice"),
        ("_", ""),
        ("%", ""),
        ("ü", ""),
        ("'", ""),
        ('""', "alice bob nobody"),
        ("", "alice bob nobody"),
    ],
)
def test_search_finds_users_addresses_channels_and_client_ids(viewer, crowd, term, found):
    expected = {crowd[name].pk for name in found.split()}
    assert set(ids(viewer.get(LIST, {"q": term}))) == expected


def test_search_finds_a_connection_by_the_id_in_a_log(viewer, crowd):
    assert ids(viewer.get(LIST, {"q": crowd["bob"].pk[:6]})) == [crowd["bob"].pk]


def test_search_that_matches_many_is_exact(viewer, connect, monkeypatch):
    monkeypatch.setattr(queries, "FEW", 3)
    for number in range(7):
        connect(f"alice{number}", "orders/1", "orders/2")
    connect("bob", "news")
    for query in ({"q": "alice"}, {"q": "orders"}, {"channel": "orders/2"}, {"q": "orders alice"}):
        page = viewer.get(LIST, query)
        assert len(ids(page)) == len(set(ids(page))) == 7
        assert "7 connections" in read(page)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"path": "/chat/"}, "bob"),
        ({"path": "/chat"}, ""),
        ({"path": "\x00"}, ""),
        ({"health": "any"}, "bob nobody"),
        ({"health": "slow"}, "bob"),
        ({"health": "nonsense"}, ""),
        ({"admin_pages": "nonsense"}, "alice bob nobody"),
        ({"columns": "nonsense"}, "alice bob nobody"),
        ({"method": "jwt"}, "bob"),
        ({"method": "api-key"}, "nobody"),
        ({"user": "alice"}, "alice"),
        ({"user": "pk-bob"}, "bob"),
        ({"user": "ali"}, ""),
        ({"user": ""}, "alice bob nobody"),
        ({"channel": "orders/1"}, "alice"),
        ({"channel": "orders/"}, ""),
        ({"since": "5m"}, "alice"),
        ({"since": "1h"}, "alice"),
        ({"since": "1d"}, "alice bob"),
        ({"since": "older"}, "nobody"),
        ({"since": "nonsense"}, "alice bob nobody"),
        ({"user": "alice", "health": "slow"}, ""),
        ({"user": "a\x00b"}, ""),
        ({"channel": "\x00"}, ""),
        ({"process": "\x00"}, ""),
        ({"process": "gone"}, ""),
    ],
)
def test_filter_narrows_the_list(viewer, crowd, query, found):
    page = viewer.get(LIST, query)
    assert page.status_code == 200
    assert set(ids(page)) == {crowd[name].pk for name in found.split()}


def test_filter_by_process(viewer, crowd):
    node_id = crowd["bob"].node_id
    page = viewer.get(LIST, {"process": node_id})
    assert ids(page) == [crowd["bob"].pk]
    assert "web2:102" in read(page)


def test_filter_offers_the_methods_of_authentication_in_use(viewer, crowd):
    text = read(viewer.get(LIST))
    assert "login session token ticket site middleware not authenticated api-key" in text


def test_text_filter_keeps_the_others(viewer, crowd):
    page = viewer.get(LIST, {"user": "alice", "health": "any", "q": "tab", "p": "1"})
    content = page.content.decode()
    field = '<input type="hidden" name="{}" value="{}">'
    user, channel = (
        content.split(f'<form method="get" id="realtime-filter-form-{name}" hidden>')[1].split(
            "</form>"
        )[0]
        for name in ("user", "channel")
    )
    assert user == field.format("health", "any") + field.format("q", "tab")
    assert channel == field.format("user", "alice") + user
    assert 'form="realtime-filter-form-user" name="user" value="alice"' in content
    assert '<a href="?health=any&amp;q=tab">Clear</a>' in content


def test_unknown_lookup_is_denied(viewer, connect):
    connect("alice")
    assert viewer.get(LIST, {"node__host": "web1"}).status_code == 400


# -- browsers --------------------------------------------------------------------------------------


def test_browser_is_shown_in_words(viewer, connect):
    pytest.importorskip("ua_parser")
    connect("alice")
    page = viewer.get(ALL)
    assert rows(page)[0]["browser"] == "Firefox 128, Linux"
    assert f'title="{FIREFOX}"' in page.content.decode()


def test_user_agent_is_shown_without_the_extra(viewer, connect, monkeypatch):
    monkeypatch.setattr(display, "ua_parser", None)
    display._browser.cache_clear()
    connect("alice")
    try:
        assert rows(viewer.get(ALL))[0]["browser"] == FIREFOX[:40] + "…"
    finally:
        display._browser.cache_clear()


def test_unknown_user_agent_is_shown_unchanged():
    assert display.browser_words("my own client") == "my own client"
    assert display.browser_words("") == ""


# -- the app in the admin's index, and in another admin site ----------------------------------------


def test_index_lists_the_pages(staff):
    text = read(staff(None).get(reverse("admin:app_list", args=["channels_realtime"])))
    for name in ("Blocks", "Channels", "Connections", "Nodes", "Overview"):
        assert name in text


other_site = admin.AdminSite(name="operations")
channels_realtime.admin.register(other_site)
urlpatterns = [path("admin/", admin.site.urls), path("ops/", other_site.urls)]


def test_pages_stay_in_the_admin_site_that_they_are_in(staff, connect, nodes, settings):
    settings.ROOT_URLCONF = __name__
    boss = staff(None)
    record = connect("alice", "orders/1", user_pk=str(boss.user.pk))
    nodes.inspections[record.pk] = inspection(record)
    base = "/ops/channels_realtime/connectionrecord/"
    for page in (
        base,
        f"{base}{record.pk}/change/",
        f"{base}{record.pk}/history/",
        f"{base}{record.pk}/trace/",
        f"{base}act/disconnect/?connection={record.pk}",
        f"{base}nothing/change/",
    ):
        response = boss.get(page)
        links = [tag.get("href", "") for tag in tags(response, "a")]
        links += [tag.get("action", "") for tag in tags(response, "form")]
        assert any(link.startswith("/ops/channels_realtime/") for link in links)
        assert not [link for link in links if link.startswith("/admin/")]
