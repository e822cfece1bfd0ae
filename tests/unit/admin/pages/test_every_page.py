"""What the pages of channels and nodes have in common: permissions, methods, markup."""

from __future__ import annotations

import re

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client

from channels_realtime import operations
from tests.unit.admin.pages.own_site import (
    CHANNELS,
    DRAIN,
    GRANTS,
    NODES,
    PUBLISH,
    PURGE,
    a_node,
    an_answer,
    channel,
    main_of,
    url,
)

pytestmark = pytest.mark.django_db

OTHERS = [
    "view_connectionrecord",
    "act_on_connection",
    "trace_connection",
    "view_samplerecord",
    "view_blockrecord",
]


@pytest.mark.parametrize(("permission", "name", "arguments"), GRANTS)
def test_page_opens_with_its_one_permission(staff, live, nodes, permission, name, arguments):
    nodes((a_node("a"), an_answer()))
    assert staff(permission).get(url(name, *arguments)).status_code == 200


@pytest.mark.parametrize(("permission", "name", "arguments"), GRANTS)
def test_page_is_registered_by_the_package(staff, live, nodes, permission, name, arguments):
    nodes((a_node("a"), an_answer()))
    response = staff(permission).get(url(name, *arguments, site="admin"))
    assert response.status_code == 200
    assert "/staff/" not in response.content.decode()


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize(("permission", "name", "arguments"), GRANTS)
def test_page_is_forbidden_with_every_other_permission(
    staff, live, monkeypatch, method, permission, name, arguments
):
    monkeypatch.setattr(operations, "drain", lambda node_id: pytest.fail("drained"))
    monkeypatch.setattr(operations, "purge", lambda channel: pytest.fail("purged"))
    monkeypatch.setattr(operations, "publish_test", lambda *a, **k: pytest.fail("published"))
    a_node("a")
    others = [other for other, _, _ in GRANTS if other != permission] + OTHERS
    response = getattr(staff(*others), method)(url(name, *arguments))
    assert response.status_code == 403
    assert LogEntry.objects.count() == 0


@pytest.mark.parametrize(("permission", "name", "arguments"), GRANTS)
def test_page_redirects_to_the_login(client, permission, name, arguments):
    response = client.get(url(name, *arguments))
    assert response.status_code == 302
    assert response.url.startswith("/staff/login/")


@pytest.mark.parametrize("name", [CHANNELS, NODES])
def test_page_to_read_allows_no_post(staff, live, name):
    client = staff("view_subscriptionrecord", "view_noderecord")
    assert client.post(url(name)).status_code == 405


@pytest.mark.parametrize(("name", "arguments"), [(PUBLISH, []), (DRAIN, ["a"]), (PURGE, ["news"])])
def test_post_without_its_csrf_token_is_denied(staff, name, arguments, monkeypatch):
    monkeypatch.setattr(operations, "drain", lambda node_id: pytest.fail("drained"))
    a_node("a")
    staff("publish_message", "drain_node", "view_subscriptionrecord", "purge_history")
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.get(username="maria"))
    assert client.post(url(name, *arguments)).status_code == 403


# -- markup ----------------------------------------------------------------------------------------

VIEWS = [(CHANNELS, []), (PUBLISH, []), (NODES, []), (DRAIN, ["a"])]
ALL = [permission for permission, _, _ in GRANTS]


@pytest.mark.parametrize(("name", "arguments"), VIEWS)
def test_page_has_no_inline_script_or_style(staff, live, nodes, name, arguments):
    nodes((a_node("a"), an_answer()))
    live.holds(channel("news", a=1))
    document = main_of(staff(*ALL).get(url(name, *arguments)))
    assert re.findall(r"<script|<style| style=| on\w+=|javascript:", document) == []


@pytest.mark.parametrize(("name", "arguments"), VIEWS)
def test_page_has_a_title_and_a_way_back(staff, live, nodes, name, arguments):
    nodes((a_node("a"), an_answer()))
    response = staff(*ALL).get(url(name, *arguments))
    document = response.content.decode()
    title = response.context["title"]
    assert f"<title>{title} | Django site admin</title>" in document
    assert f"<h1>{title}</h1>" in document
    assert '<a href="/staff/channels_realtime/">Realtime</a>' in document
    assert document.count('aria-current="page"') >= 1


@pytest.mark.parametrize("name", [CHANNELS, NODES])
def test_table_tells_screen_readers_what_it_is(staff, live, nodes, name):
    nodes((a_node("a"), an_answer()))
    live.holds(channel("news", a=1))
    document = main_of(staff(*ALL).get(url(name)))
    assert "<caption" in document
    assert [head for head in re.findall(r"<th[ >][^>]*", document) if "scope=" not in head] == []
