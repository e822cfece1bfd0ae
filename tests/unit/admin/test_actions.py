"""Actions on connections: the confirmation page, the action, its messages and log entries."""

from __future__ import annotations

import datetime

import pytest
from django.contrib.admin import helpers
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from channels_realtime import operations
from channels_realtime.admin import action_views, actions, log
from channels_realtime.errors import BadPayload, Unavailable
from channels_realtime.models import BlockRecord, ConnectionRecord
from tests.unit.admin.conftest import inspection
from tests.unit.admin.pages_read import read, said, tags

pytestmark = pytest.mark.django_db

LIST = reverse("admin:channels_realtime_connectionrecord_changelist")

UNANSWERED = (
    "The server did not respond for 1 connection: the action may or may not have taken effect."
)


def act_url(name):
    return reverse("admin:channels_realtime_connectionrecord_act", args=[name])


def detail(record):
    return reverse("admin:channels_realtime_connectionrecord_change", args=[record.pk])


def choose(client, name, *records, across=False, query=""):
    """Choose an action for these connections in the menu of the list."""
    return client.post(
        LIST + query,
        {
            "action": name,
            "select_across": "1" if across else "0",
            helpers.ACTION_CHECKBOX_NAME: [record.pk for record in records],
        },
    )


def hidden(page):
    """The hidden fields of the form."""
    fields = {
        tag["name"]: tag["value"] for tag in tags(page, "input") if tag.get("type") == "hidden"
    }
    fields.pop("csrfmiddlewaretoken", None)
    return fields


def confirm(client, page, name, **answers):
    """Submit the confirmation page, and follow the redirect."""
    return client.post(act_url(name), {**hidden(page), **answers}, follow=True)


def logged(record):
    entries = LogEntry.objects.filter(object_id=record.pk)
    return [(entry.object_repr, entry.change_message) for entry in entries]


# -- the page that asks ----------------------------------------------------------------------------


def test_list_offers_the_actions(actor, connect):
    connect("alice")
    offered = actor.get(LIST).context["action_form"].fields["action"].choices
    assert [name for name, _label in offered] == [
        "",
        "disconnect",
        "notify",
        "unsubscribe",
        "credentials",
        "revoke",
        "block",
    ]


@pytest.mark.parametrize("name", list(actions.ACTIONS))
def test_action_asks_before_it_does_anything(actor, connect, nodes, name):
    records = [connect("alice"), connect("bob", address="198.51.100.9")]
    page = choose(actor, name, *records)
    text = read(page)
    action = actions.ACTIONS[name]
    assert page.status_code == 200
    assert str(action.label) in text
    assert str(action.effect) in text
    assert "This affects 2 connections:" in text
    assert f"alice · 192.0.2.7 · {records[0].pk}" in text
    assert f"bob · 198.51.100.9 · {records[1].pk}" in text
    assert set(hidden(page)["connections"].split()) == {record.pk for record in records}
    assert nodes.asked == []
    assert not LogEntry.objects.exists()


def test_page_names_the_first_twenty_and_counts_the_rest(actor, connect, nodes):
    records = [connect(f"user{number:02}") for number in range(23)]
    text = read(choose(actor, "notify", *records))
    assert "This affects 23 connections:" in text
    assert text.count("192.0.2.7") == 20
    assert "and 3 more" in text


def test_page_warns_when_the_own_user_is_affected(actor, connect, nodes):
    me = connect("me", user_pk=str(actor.user.pk))
    warning = "Your own user is among them."
    assert warning in read(choose(actor, "revoke", me))
    assert warning not in read(choose(actor, "notify", me))


def test_page_of_one_connection_leads_back_to_it(actor, connect, nodes):
    record = connect("alice")
    url = detail(record)
    page = actor.get(act_url("notify"), {"connection": record.pk})
    assert f"alice · 192.0.2.7 · {record.pk}" in read(page)
    assert page.context["back_url"] == url
    answer = actor.post(act_url("notify"), {**hidden(page), "text": "hello"})
    assert answer.url == url
    page = actor.get(act_url("disconnect"), {"connection": record.pk})
    answer = actor.post(act_url("disconnect"), {**hidden(page), "then": "stay_away"})
    assert answer.url == LIST


def test_page_of_the_list_leads_back_to_the_same_list(actor, connect, nodes):
    record = connect("alice")
    page = choose(actor, "notify", record, query="?user=alice&o=-2")
    assert page.context["back_url"] == f"{LIST}?user=alice&o=-2"
    answer = actor.post(act_url("notify"), {**hidden(page), "text": "hello"})
    assert answer.url == f"{LIST}?user=alice&o=-2"


def test_form_that_is_not_valid_is_shown_again_with_the_same_connections(actor, connect, nodes):
    record = connect("alice")
    page = choose(actor, "unsubscribe", record, query="?user=alice")
    again = actor.post(act_url("unsubscribe"), {**hidden(page), "channel": "or ders"})
    assert again.status_code == 200
    assert "or ders is not a valid channel name." in read(again)
    assert hidden(again) == hidden(page)
    assert nodes.asked == []


def test_unsubscribe_link_fills_the_channel_in(actor, connect, nodes):
    record = connect("alice", "orders/1")
    page = actor.get(act_url("unsubscribe"), {"connection": record.pk, "channel": "orders/1"})
    [field] = [tag for tag in tags(page, "input") if tag.get("name") == "channel"]
    assert field["value"] == "orders/1"


def test_nothing_is_done_without_a_connection(actor, nodes):
    for response in (
        actor.get(act_url("disconnect"), follow=True),
        actor.get(act_url("disconnect"), {"connection": "a b'c"}, follow=True),
        actor.post(act_url("disconnect"), {"then": "stay_away"}, follow=True),
        actor.post(act_url("disconnect"), {"connections": "\x00 <b>"}, follow=True),
    ):
        assert response.redirect_chain == [(LIST, 302)]
        assert set(said(response)) == {"No connection was selected."}
    assert nodes.asked == []


def test_selected_connections_may_have_ended(actor, connect, nodes):
    connect("bob")
    gone = ConnectionRecord(connection_id="gone")
    response = choose(actor, "disconnect", gone)
    assert response.url == LIST
    assert said(actor.get(LIST)) == ["The selected connections have ended."]


def test_unknown_action_is_not_found(actor, nodes):
    assert actor.get(act_url("explode")).status_code == 404


def test_other_methods_are_not_allowed(actor, connect):
    assert actor.put(act_url("disconnect")).status_code == 405


def test_post_without_a_csrf_token_is_denied(actor, connect, nodes):
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(actor.user)
    form = {"connections": connect("alice").pk, "then": "stay_away"}
    assert strict.post(act_url("disconnect"), form).status_code == 403
    assert nodes.asked == []


# -- all pages -------------------------------------------------------------------------------------


def test_all_pages_can_be_selected(actor, connect, nodes):
    records = [connect(f"user{number}") for number in range(130)]
    connect("other", auth_method="jwt")
    page = choose(actor, "disconnect", records[0], across=True, query="?method=session")
    assert "This affects 130 connections:" in read(page)
    result = confirm(actor, page, "disconnect", then="stay_away")
    assert said(result) == ["130 connections were disconnected."]
    assert set(nodes.asked[0][1]) == {record.pk for record in records}


def test_page_says_how_many_are_left_out(actor, connect, nodes, monkeypatch):
    monkeypatch.setattr(action_views, "MOST", 4)
    first = connect("user")
    for _number in range(5):
        connect("user")
    page = choose(actor, "disconnect", first, across=True)
    text = read(page)
    assert "This affects 4 connections:" in text
    assert (
        "An action affects at most 4 connections at once, so 2 of the selected ones are left out."
        in text
    )
    assert len(hidden(page)["connections"].split()) == 4


def test_thousands_of_connections_fit_into_one_form(actor, connect, nodes):
    ids = [f"{number:016x}" for number in range(10_005)]
    form = {"connections": " ".join(ids), "then": "stay_away"}
    result = actor.post(act_url("disconnect"), form, follow=True)
    assert said(result) == ["10000 connections were disconnected."]
    assert nodes.asked[0][1] == ids[:10_000]
    entries = LogEntry.objects.exclude(object_id="")
    assert entries.count() == 1_000
    [summary] = LogEntry.objects.filter(object_id="")
    assert summary.object_repr == "9000 more connections"
    assert summary.change_message == (
        "Disconnected (4403). In total: done 10000, no effect 0, no response 0."
    )


# -- what is done ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "asked", "entry"),
    [
        ({"then": "stay_away", "retry_after": "5"}, (False, None), "Disconnected (4403)."),
        (
            {"then": "may_return", "retry_after": "30"},
            (True, 30),
            "Disconnected; the client may reconnect after 30 s (4503).",
        ),
        (
            {"then": "may_return", "retry_after": ""},
            (True, None),
            "Disconnected; the client may reconnect (4503).",
        ),
    ],
)
def test_disconnect(actor, connect, nodes, answers, asked, entry):
    record = connect("alice")
    result = confirm(actor, choose(actor, "disconnect", record), "disconnect", **answers)
    assert nodes.asked == [("disconnect", [record.pk], *asked)]
    assert said(result) == ["1 connection was disconnected."]
    assert logged(record) == [(f"alice · 192.0.2.7 · {record.pk}", entry)]


def test_notice(actor, connect, nodes):
    record = connect("alice")
    result = confirm(actor, choose(actor, "notify", record), "notify", text="Back <b>soon</b>")
    assert nodes.asked == [("send_notice", [record.pk], {"text": "Back <b>soon</b>"})]
    assert said(result) == ["The notice was sent to 1 connection."]
    assert logged(record)[0][1] == "Sent a notice: Back <b>soon</b>"


def test_notice_needs_a_text(actor, connect, nodes):
    page = choose(actor, "notify", connect("alice"))
    assert "This field is required." in read(confirm(actor, page, "notify", text=" "))
    assert nodes.asked == []


def test_unsubscribe(actor, connect, nodes):
    one, other = connect("alice", "orders/1"), connect("bob")
    nodes.gone = {other.pk}
    page = choose(actor, "unsubscribe", one, other)
    result = confirm(actor, page, "unsubscribe", channel="orders/1")
    assert said(result) == [
        "1 connection was unsubscribed from orders/1.",
        "1 connection was not subscribed or had already ended.",
    ]
    assert logged(one)[0][1] == "Unsubscribed from orders/1."
    assert logged(other)[0][1] == "Unsubscribed from orders/1. This had no effect."


def test_new_credentials(actor, connect, nodes):
    one, other = connect("alice"), connect("bob")
    nodes.gone = {other.pk}
    result = confirm(actor, choose(actor, "credentials", one, other), "credentials")
    assert said(result) == [
        "1 connection was asked for new credentials.",
        "1 connection has no token or had already ended.",
    ]
    assert logged(one)[0][1] == "Asked for new credentials."


def test_revoke_acts_once_on_each_user(actor, connect, nodes):
    records = [connect("alice"), connect("alice"), connect("bob"), connect()]
    result = confirm(actor, choose(actor, "revoke", *records), "revoke")
    assert sorted(nodes.asked) == [("revoke_user", "pk-alice"), ("revoke_user", "pk-bob")]
    assert said(result) == [
        "All sessions and tokens of 2 users were revoked.",
        "1 connection is anonymous, so it has no user to act on.",
    ]
    assert logged(records[1])[0][1] == "Revoked all sessions and tokens of the user."


def test_revoke_that_fails_for_one_user_acts_on_the_others(actor, connect, nodes):
    records = [connect("alice"), connect("bob")]
    nodes.silent = {"pk-alice"}
    result = confirm(actor, choose(actor, "revoke", *records), "revoke")
    assert said(result) == [
        "All sessions and tokens of 1 user were revoked.",
        UNANSWERED,
    ]


def test_block_users(actor, connect, nodes):
    records = [connect("alice"), connect("alice"), connect()]
    page = choose(actor, "block", *records)
    result = confirm(actor, page, "block", target="users", seconds="3600", reason="spam")
    [block] = BlockRecord.objects.all()
    assert (block.user_pk, block.user_label, block.address) == ("pk-alice", "alice", "")
    assert (block.reason, block.created_by) == ("spam", actor.user.username)
    left = block.until - timezone.now()
    assert datetime.timedelta(minutes=59) < left <= datetime.timedelta(hours=1)
    assert said(result) == [
        "1 user is blocked for 1 hour.",
        "1 connection is anonymous, so it has no user to act on.",
    ]
    assert logged(records[0])[0][1] == "Blocked the user for 1 hour."
    [added] = LogEntry.objects.filter(action_flag=ADDITION)
    assert (added.object_id, added.get_change_message()) == (str(block.pk), "Added.")


def test_block_addresses(actor, connect, nodes):
    records = [connect("alice"), connect("bob"), connect(address="")]
    page = choose(actor, "block", *records)
    result = confirm(actor, page, "block", target="addresses", seconds="604800")
    [block] = BlockRecord.objects.all()
    assert (block.user_pk, block.address) == ("", "192.0.2.7")
    assert said(result) == [
        "1 address is blocked for 1 week.",
        "The address of 1 connection is unknown.",
    ]


def test_block_form_suggests_addresses_for_anonymous_connections(actor, connect, nodes):
    for record, target in ((connect(), "addresses"), (connect("alice"), "users")):
        page = choose(actor, "block", record)
        [ticked] = [tag for tag in tags(page, "input") if "checked" in tag]
        assert ticked["value"] == target


def test_block_has_one_of_the_offered_durations(actor, connect, nodes):
    page = choose(actor, "block", connect("alice"))
    result = confirm(actor, page, "block", target="users", seconds="1")
    assert "Select a valid choice. 1 is not one of the available choices." in read(result)
    assert not BlockRecord.objects.exists()


def test_unrecorded_connection_can_be_acted_on(actor, connect, nodes):
    record = connect("alice")
    nodes.inspections[record.pk] = inspection(record)
    ConnectionRecord.objects.all().delete()
    page = actor.get(act_url("revoke"), {"connection": record.pk})
    assert f"alice · 192.0.2.7 · {record.pk}" in read(page)
    confirm(actor, page, "revoke")
    assert nodes.asked == [("revoke_user", "pk-alice")]


# -- failures --------------------------------------------------------------------------------------


def test_each_kind_of_outcome_has_its_message_and_log_entry(actor, connect, nodes):
    done, gone, silent = connect("alice"), connect("bob"), connect("carol")
    nodes.gone, nodes.silent = {gone.pk}, {silent.pk}
    page = choose(actor, "disconnect", done, gone, silent)
    result = confirm(actor, page, "disconnect", then="stay_away")
    assert said(result) == [
        "1 connection was disconnected.",
        "1 connection had already ended.",
        UNANSWERED,
    ]
    assert [message.level_tag for message in result.context["messages"]] == [
        "success",
        "warning",
        "warning",
    ]
    assert [logged(record)[0][1] for record in (done, gone, silent)] == [
        "Disconnected (4403).",
        "Disconnected (4403). This had no effect.",
        "Disconnected (4403). The server did not respond, so this may not have taken effect.",
    ]
    assert set(LogEntry.objects.values_list("action_flag", "user")) == {(CHANGE, actor.user.pk)}


def test_action_that_is_not_possible_says_so(actor, connect, nodes):
    done, impossible = connect("alice"), connect("bob")
    nodes.impossible = {impossible.pk}
    page = choose(actor, "notify", done, impossible)
    result = confirm(actor, page, "notify", text="hello")
    assert said(result) == [
        "The notice was sent to 1 connection.",
        "Not possible for 1 connection: its consumer has no message for it.",
    ]
    assert logged(impossible)[0][1] == "Sent a notice: hello This had no effect."


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Unavailable("no layer"), "The servers cannot be reached: no layer."),
        (BadPayload("too deep"), "The action failed: too deep."),
    ],
)
def test_error_is_shown_and_logged(actor, connect, nodes, monkeypatch, error, words):
    def fail(*arguments, **options):
        raise error

    record = connect("alice")
    page = choose(actor, "notify", record)
    monkeypatch.setattr(operations, "send_notice", fail)
    result = confirm(actor, page, "notify", text="hello")
    assert said(result)[0] == words
    assert logged(record)[0][1] == (
        "Send a notice. The server did not respond, so this may not have taken effect."
    )


def test_log_is_bounded_for_all_outcomes(actor, connect, nodes, monkeypatch):
    monkeypatch.setattr(log, "LOGGED", 3)
    records = [connect(f"user{number}") for number in range(6)]
    nodes.gone = {records[4].pk, records[5].pk}
    nodes.silent = {records[3].pk}
    page = choose(actor, "disconnect", *records)
    confirm(actor, page, "disconnect", then="stay_away")
    assert LogEntry.objects.exclude(object_id="").count() == 3
    [summary] = LogEntry.objects.filter(object_id="")
    assert summary.object_repr == "3 more connections"
    assert summary.change_message == (
        "Disconnected (4403). In total: done 3, no effect 2, no response 1."
    )


@pytest.mark.parametrize("name", sorted(actions.ACTIONS))
def test_buttons_of_actions_that_end_connections_look_dangerous(actor, connect, nodes, name):
    record = connect("alice")
    nodes.inspections[record.pk] = inspection(record)
    url = act_url(name)
    button = {
        tag["class"]
        for page in (
            actor.get(detail(record)),
            actor.get(url, {"connection": record.pk}),
        )
        for tag in (*tags(page, "a"), *tags(page, "input"))
        if url in (tag.get("href") or "")
        or (tag.get("type") == "submit" and "realtime-button" in (tag.get("class") or ""))
    }
    dangerous = name in ("disconnect", "revoke", "block")
    assert button == {"realtime-button realtime-danger" if dangerous else "realtime-button"}
