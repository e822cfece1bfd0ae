"""The list that updates itself: the permission of its channel, and what the page passes to its script."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django.contrib.auth.models import AnonymousUser
from django.contrib.messages import get_messages
from django.contrib.staticfiles import finders
from django.test import RequestFactory
from django.urls import reverse, set_script_prefix

from channels_realtime.channels import registry as routes
from channels_realtime.monitoring import feed
from tests.unit.admin.conftest import inspection
from tests.unit.admin.pages_read import read, tags

LIST = reverse("admin:channels_realtime_connectionrecord_changelist")


# -- who may hear ----------------------------------------------------------------------------------


@pytest.fixture
def channel():
    return routes.resolve("realtime/admin/connections")


def test_channel_is_registered(channel):
    assert isinstance(channel, feed.ConnectionsChanged)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("permissions", "changes", "allowed"),
    [
        (("view_connectionrecord",), {}, True),
        ((None,), {}, True),
        ((), {}, False),
        (("act_on_connection", "trace_connection"), {}, False),
        (("view_connectionrecord",), {"is_staff": False}, False),
        (("view_connectionrecord",), {"is_active": False}, False),
        ((None,), {"is_active": False}, False),
    ],
)
def test_channel_needs_the_permission_of_the_list(channel, staff, permissions, changes, allowed):
    user = staff(*permissions).user
    for name, value in changes.items():
        setattr(user, name, value)
    assert channel.can_subscribe(SimpleNamespace(user=user)) is allowed


def test_channel_refuses_anonymous_connections(channel):
    assert channel.can_subscribe(SimpleNamespace(user=AnonymousUser())) is False
    assert channel.can_publish(SimpleNamespace(user=AnonymousUser())) is False


# -- what the page hands to its script -------------------------------------------------------------


def live(page):
    [bar] = [tag for tag in tags(page, "div") if tag.get("id") == "realtime-live"]
    return bar


@pytest.mark.django_db
def test_list_has_the_channel_of_its_changes(viewer):
    bar = live(viewer.get(LIST))
    assert (bar["data-kind"], bar["data-path"]) == ("list", "/ws/")
    assert bar["data-channel"] == "realtime/admin/connections"
    assert bar["data-client"].endswith("channels_realtime/realtime.js")
    assert (bar["data-interval"], bar["data-idle"]) == ("5", "10")
    assert bar["data-words-polling"] == (
        "Not live: no WebSocket connection. Refreshes every 5 seconds."
    )


@pytest.mark.django_db
def test_list_has_the_path_of_the_site(viewer, settings):
    settings.CHANNELS_REALTIME = {"WEBSOCKET_PATH": "live/socket/"}
    set_script_prefix("/site/")  # as the handler of a server does
    try:
        bar = live(viewer.get(LIST))
    finally:
        set_script_prefix("/")
    assert bar["data-path"] == "/site/live/socket/"


@pytest.mark.django_db
def test_list_says_to_reload_without_javascript(viewer):
    page = viewer.get(LIST)
    assert "Reload the page to see changes." in read(page)
    [state] = [tag for tag in tags(page, "span") if tag.get("id") == "realtime-live-state"]
    assert (state["role"], state["aria-live"]) == ("status", "polite")
    [pause] = [tag for tag in tags(page, "button") if tag.get("id") == "realtime-live-pause"]
    assert "hidden" in pause


@pytest.mark.django_db
def test_detail_refreshes_by_a_timer(viewer, connect, nodes):
    record = connect("alice")
    nodes.inspections[record.pk] = inspection(record)
    bar = live(viewer.get(f"{LIST}{record.pk}/change/"))
    assert (bar["data-kind"], bar["data-channel"], bar["data-interval"]) == ("detail", "", "2")
    assert bar["data-words-live"] == "Live. Refreshes every 2 seconds."


@pytest.mark.django_db
def test_pages_have_no_inline_script_or_style(viewer, actor, tracer, connect, nodes):
    record = connect("alice", "orders/1")
    nodes.inspections[record.pk] = inspection(record)
    for client, page in (
        (viewer, LIST),
        (actor, LIST),
        (viewer, f"{LIST}{record.pk}/change/"),
        (viewer, f"{LIST}nothing/change/"),
        (viewer, f"{LIST}{record.pk}/history/"),
        (actor, f"{LIST}act/block/?connection={record.pk}"),
        (tracer, f"{LIST}{record.pk}/trace/"),
    ):
        response = client.get(page)
        assert all(tag.get("src") for tag in tags(response, "script"))
        for name in ("div", "span", "p", "td", "table", "svg", "a", "button", "form", "input"):
            for tag in tags(response, name):
                assert not [attribute for attribute in tag if attribute.startswith("on")]
                assert "style" not in tag


@pytest.mark.django_db
def test_scripts_and_styles_are_there():
    for name in ("admin.css", "pages.css", "live.js", "trace.js"):
        assert finders.find(f"channels_realtime/admin/{name}")


@pytest.mark.django_db
def test_refresh_leaves_the_messages_for_the_next_page(actor, connect, nodes):
    record = connect("alice")
    nodes.inspections[record.pk] = inspection(record)
    act = reverse("admin:channels_realtime_connectionrecord_act", args=["credentials"])
    actor.post(act, {"connections": record.pk})
    by_itself = {"X-Realtime-Refresh": "1"}
    for page in (LIST, f"{LIST}{record.pk}/change/"):
        assert "new credentials." not in read(actor.get(page, headers=by_itself))
    assert "1 connection was asked for new credentials." in read(actor.get(LIST))
    assert "1 connection was asked" not in read(actor.get(LIST))


def test_iterating_reads_the_messages():
    # The reason for the test above: a template that loops over them uses them up.
    assert list(get_messages(RequestFactory().get("/"))) == []
