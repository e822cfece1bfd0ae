"""A notice to a channel, and to everybody."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from channels_realtime import operations
from channels_realtime.channels import user_channel_name
from channels_realtime.errors import Unavailable
from channels_realtime.models import ConnectionRecord, SubscriptionRecord
from channels_realtime.operations import BroadcastReport, ChannelReport, ChannelsReport, NodeReport
from tests.unit.admin.pages_read import read, said, tags

pytestmark = pytest.mark.django_db

LIST = reverse("admin:channels_realtime_connectionrecord_changelist")
NOTICE = reverse("admin:channels_realtime_connectionrecord_notice")
YES = {"text": "Back <soon>\u202e", "confirmed": "on"}


class Broadcasts:
    def __init__(self):
        self.asked = []
        self.report = BroadcastReport(sent=3)

    def __call__(self, payload, *, channel=None):
        self.asked.append((payload, channel))
        if isinstance(self.report, Exception):
            raise self.report
        return self.report


@pytest.fixture
def broadcasts(monkeypatch, node):
    broadcasts = Broadcasts()
    monkeypatch.setattr(operations, "broadcast_notice", broadcasts)
    report = NodeReport(record=node, answer={"connections": 1_200})
    monkeypatch.setattr(operations, "nodes", lambda: [report])
    room = ChannelReport(name="rooms/1", subscribers=7, by_node={node.pk: 7}, rate=0.0)
    other = ChannelReport(name="rooms/12", subscribers=9, by_node={node.pk: 9}, rate=0.0)
    found = ChannelsReport(channels=[other, room], total=2, silent=())
    monkeypatch.setattr(operations, "live_channels", lambda **asked: found)
    return broadcasts


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "every connection of the site, in all processes. At the moment these are 1,200"),
        (
            "?channel=rooms/1",
            "on the channel rooms/1 , in all processes. At the moment these are 7",
        ),
    ],
)
def test_notice_says_whom_it_reaches_before_it_is_sent(actor, broadcasts, query, words):
    page = actor.get(NOTICE + query)
    assert words in read(page)
    assert broadcasts.asked == []
    [button] = [tag for tag in tags(page, "input") if tag.get("value") == "Send a notice"]
    assert button["class"] == "realtime-button realtime-danger"


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"text": "hello"}, "Confirm that all of them are to receive it."),
        ({"confirmed": "on"}, "This field is required."),
    ],
)
def test_notice_is_not_sent_without_text_and_confirmation(actor, broadcasts, form, error):
    page = actor.post(NOTICE, form)
    assert error in read(page)
    assert broadcasts.asked == []
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(
    ("query", "channel", "name", "model", "words"),
    [
        ("", None, "everybody", ConnectionRecord, "Sent a notice: "),
        (
            "?channel=rooms/1",
            "rooms/1",
            "rooms/1",
            SubscriptionRecord,
            "Sent a notice to all its connections: ",
        ),
    ],
)
def test_notice_is_sent_and_logged(actor, broadcasts, query, channel, name, model, words):
    response = actor.post(NOTICE + query, YES, follow=True)
    assert broadcasts.asked == [({"text": YES["text"]}, channel)]
    assert said(response) == ["The notice was sent to 3 connections."]
    entry = LogEntry.objects.get()
    assert (entry.object_repr, entry.user) == (name, actor.user)
    assert entry.change_message == words + "Back <soon>⟨U+202E⟩"
    assert entry.content_type.model_class() is model


@pytest.mark.parametrize(
    ("report", "words", "level"),
    [
        (BroadcastReport(sent=0), ["No connection took the notice."], "warning"),
        (
            BroadcastReport(sent=0, silent=("NODE",)),
            ["No response from web1:101: its connections may or may not have the notice."],
            "warning",
        ),
        (Unavailable("no answer"), ["The action failed: no answer."], "error"),
    ],
)
def test_notice_that_did_nothing_is_a_warning(actor, broadcasts, node, report, words, level):
    if isinstance(report, BroadcastReport) and report.silent:
        report = BroadcastReport(sent=0, silent=(node.pk,))
    broadcasts.report = report
    response = actor.post(NOTICE, YES, follow=True)
    assert said(response) == words
    assert [message.level_tag for message in response.context["messages"]] == [level]


def test_notice_to_a_name_that_is_none_is_refused(actor, broadcasts):
    response = actor.post(f"{NOTICE}?channel=a%20<b>", YES, follow=True)
    assert said(response) == ["a <b> is not a valid channel name."]
    assert broadcasts.asked == []


@pytest.mark.parametrize("method", ["get", "post"])
def test_notice_needs_the_permission_to_act(staff, broadcasts, method):
    for permissions in (
        ("view_connectionrecord", "trace_connection"),
        ("act_on_connection", "publish_message"),
    ):
        assert getattr(staff(*permissions), method)(NOTICE, YES).status_code == 403
    assert broadcasts.asked == []
    assert staff("view_connectionrecord").get(LIST).content.decode().count(NOTICE) == 0


def test_lists_link_to_the_notice(staff, broadcasts, connect):
    client = staff("view_connectionrecord", "act_on_connection", "view_subscriptionrecord")
    assert NOTICE in [tag.get("href") for tag in tags(client.get(LIST), "a")]
    channels = client.get(reverse("admin:channels_realtime_subscriptionrecord_changelist"))
    links = [tag.get("href") for tag in tags(channels, "a")]
    assert {NOTICE, f"{NOTICE}?channel=rooms%2F1"} <= set(links)


# -- own channels ----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["42", "foo+tag@example.com", "a/b", "jürgen", "\x00", "k" * 400])
def test_own_channels_have_the_name_of_their_user(staff, connect, broadcasts, monkeypatch, key):
    name = user_channel_name(key)
    connect("alice", user_pk=key.replace("\x00", "\N{REPLACEMENT CHARACTER}")[:255])
    report = ChannelReport(name=name, subscribers=1, by_node={}, rate=0.0)
    others = [
        ChannelReport(name=other, subscribers=1, by_node={}, rate=0.0)
        for other in ("users/7", "users/7/x", "users/=ZZ", "orders/42", "users/=00")
    ]
    found = ChannelsReport(channels=[report, *others], total=6, silent=())
    monkeypatch.setattr(operations, "live_channels", lambda **asked: found)
    url = reverse("admin:channels_realtime_subscriptionrecord_changelist")
    known = len(key) < 300 and "\x00" not in key
    text = read(staff("view_subscriptionrecord", "view_connectionrecord").get(url))
    assert (f"{name} ( alice )" in text) is known
    assert text.count("( alice )") == known
    assert "alice" not in read(staff("view_subscriptionrecord").get(url))
    # Two tenants may have users with the same key.
    connect("carol", user_pk=key.replace("\x00", "\N{REPLACEMENT CHARACTER}")[:255])
    text = read(staff("view_subscriptionrecord", "view_connectionrecord").get(url))
    assert "alice" not in text
    assert "carol" not in text
