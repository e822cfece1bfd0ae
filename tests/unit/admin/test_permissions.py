"""Permissions, by URL as well as by button."""

from __future__ import annotations

import pytest
from django.contrib.admin import helpers
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from channels_realtime.models import BlockRecord
from tests.unit.admin.conftest import inspection
from tests.unit.admin.pages_read import read

pytestmark = pytest.mark.django_db

APP = "channels_realtime"
LIST = reverse("admin:channels_realtime_connectionrecord_changelist")

PEOPLE = {
    "anonymous": None,
    "user": (),  # logged in, not staff
    "staff": (),
    "view": ("view_connectionrecord",),
    "act": ("view_connectionrecord", "act_on_connection"),
    "act and block": ("view_connectionrecord", "act_on_connection", "add_blockrecord"),
    "trace": ("view_connectionrecord", "trace_connection"),
    "act unseen": ("act_on_connection", "trace_connection", "add_blockrecord"),
    "superuser": (None,),
}
SEE = {"view", "act", "act and block", "trace", "superuser"}
ACT = {"act", "act and block", "superuser"}
BLOCK = {"act and block", "superuser"}
TRACE = {"trace", "superuser"}

ACTIONS = {
    "disconnect": ({"then": "stay_away"}, ACT),
    "notify": ({"text": "hello"}, ACT),
    "unsubscribe": ({"channel": "orders/1"}, ACT),
    "credentials": ({}, ACT),
    "revoke": ({}, ACT),
    "block": ({"target": "users", "seconds": "600"}, BLOCK),
}


def url(name, *arguments):
    return reverse(f"admin:{APP}_connectionrecord_{name}", args=arguments)


@pytest.fixture
def person(staff):
    """A client of one of ``PEOPLE``."""

    def of(who):
        if who == "anonymous":
            return Client()
        if who == "user":
            client = Client()
            user = User.objects.create(username="user")
            user.user_permissions.set(Permission.objects.filter(content_type__app_label=APP))
            client.force_login(user)
            return client
        return staff(*PEOPLE[who])

    return of


@pytest.fixture
def record(connect, nodes):
    record = connect("alice", "orders/1")
    nodes.inspections[record.pk] = inspection(record)
    return record


def expected(who, granted, status=200):
    """The status: a redirect to the login, or 403 for staff without the permission."""
    if who in ("anonymous", "user"):
        return 302
    return status if who in granted else 403


@pytest.mark.parametrize("who", PEOPLE)
@pytest.mark.parametrize("page", ["changelist", "change", "history"])
def test_pages_need_the_view_permission(person, record, who, page):
    arguments = () if page == "changelist" else (record.pk,)
    response = person(who).get(url(page, *arguments))
    assert response.status_code == expected(who, SEE)
    if response.status_code != 200:
        assert "alice" not in response.content.decode()


@pytest.mark.parametrize("who", PEOPLE)
@pytest.mark.parametrize("name", ACTIONS)
def test_actions_need_their_permissions(person, record, nodes, who, name):
    answers, granted = ACTIONS[name]
    client = person(who)
    response = client.get(url("act", name), {"connection": record.pk})
    assert response.status_code == expected(who, granted)
    if response.status_code != 200:
        assert "alice" not in response.content.decode()
    assert nodes.asked == []
    response = client.post(url("act", name), {"connections": record.pk, **answers})
    assert response.status_code == (302 if who in granted else expected(who, granted))
    assert bool(nodes.asked) is (who in granted)
    assert BlockRecord.objects.exists() is (name == "block" and who in granted)


@pytest.mark.parametrize("who", ["view", "act", "act and block", "trace", "superuser"])
@pytest.mark.parametrize("name", ACTIONS)
def test_menu_of_the_list_has_the_permitted_actions_alone(person, record, nodes, who, name):
    granted = ACTIONS[name][1]
    client = person(who)
    form = client.get(LIST).context["action_form"]
    offered = [] if form is None else [choice for choice, _ in form.fields["action"].choices]
    assert (name in offered) is (who in granted)
    response = client.post(
        LIST, {"action": name, helpers.ACTION_CHECKBOX_NAME: record.pk, "index": "0"}
    )
    asked = response.status_code == 200 and "This affects 1 connection:" in read(response)
    assert asked is (who in granted)
    assert nodes.asked == []


@pytest.mark.parametrize("who", PEOPLE)
def test_trace_needs_its_permission(person, record, nodes, who):
    client = person(who)
    assert client.get(url("trace", record.pk)).status_code == expected(who, TRACE)
    response = client.post(url("trace_start", record.pk))
    assert response.status_code == expected(who, TRACE)
    key = response.json()["key"] if who in TRACE else "guessed"
    nodes.parts = [None]
    response = client.get(url("trace_events", record.pk), headers={"X-Realtime-Trace": key})
    assert response.status_code == expected(who, TRACE, 404)
    assert [asked[0] for asked in nodes.asked] == (["read_trace"] if who in TRACE else [])


@pytest.mark.parametrize("who", ["view", "act", "trace", "superuser"])
def test_page_of_one_connection_has_the_permitted_buttons_alone(person, record, who):
    content = person(who).get(url("change", record.pk)).content.decode()
    for name, (_answers, granted) in ACTIONS.items():
        assert (url("act", name) in content) is (who in granted)
    assert (url("trace", record.pk) in content) is (who in TRACE)


@pytest.mark.parametrize("who", PEOPLE)
def test_connections_cannot_be_added_changed_or_deleted(person, record, who):
    client = person(who)
    away = {"anonymous", "user"}
    for method in (client.get, client.post):
        assert method(url("add")).status_code == (302 if who in away else 403)
        assert method(url("delete", record.pk)).status_code == (302 if who in away else 403)
    answer = client.post(url("change", record.pk), {"address": "127.0.0.1"})
    assert answer.status_code == expected(who, SEE, 405)
    record.refresh_from_db()
    assert record.address == "192.0.2.7"


@pytest.mark.parametrize(
    ("model", "permission"),
    [
        ("subscriptionrecord", "view_subscriptionrecord"),
        ("noderecord", "view_noderecord"),
        ("samplerecord", "view_samplerecord"),
        ("blockrecord", "view_blockrecord"),
    ],
)
def test_other_pages_have_permissions_of_their_own(staff, nodes, monkeypatch, model, permission):
    monkeypatch.setattr("channels_realtime.operations.request", lambda *_, **__: NoAnswers)
    page = reverse(f"admin:{APP}_{model}_changelist")
    assert staff(permission).get(page).status_code == 200
    others = [
        "view_connectionrecord",
        "act_on_connection",
        "trace_connection",
        "view_subscriptionrecord",
        "publish_message",
        "purge_history",
        "view_noderecord",
        "drain_node",
        "view_samplerecord",
        "view_blockrecord",
    ]
    others.remove(permission)
    assert staff(*others).get(page).status_code == 403
    assert Client().get(page).status_code == 302


class NoAnswers:
    by_node: dict = {}
    silent: frozenset = frozenset()


def test_index_shows_the_permitted_pages_alone(staff, nodes):
    names = {
        "connectionrecord": "view_connectionrecord",
        "subscriptionrecord": "view_subscriptionrecord",
        "noderecord": "view_noderecord",
        "samplerecord": "view_samplerecord",
        "blockrecord": "view_blockrecord",
    }
    for permission in names.values():
        content = staff(permission).get(reverse("admin:index")).content.decode()
        shown = [p for model, p in names.items() if f"/{APP}/{model}/" in content]
        assert shown == [permission]


def test_revocations_have_no_page(staff):
    content = staff(None).get(reverse("admin:index")).content.decode()
    assert "revocation" not in content
