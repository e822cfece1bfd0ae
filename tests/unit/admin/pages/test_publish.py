"""The form that publishes a test message."""

from __future__ import annotations

import json
import re

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.messages import get_messages

from channels_realtime import operations
from channels_realtime.errors import (
    BadChannel,
    BadPayload,
    ImproperUse,
    TooLarge,
    Unavailable,
    UnknownChannel,
)
from channels_realtime.models import SubscriptionRecord
from channels_realtime.testing import capture_publications
from tests.unit.admin.pages.own_site import (
    CHANNELS,
    PUBLISH,
    channel,
    main_of,
    said,
    text_of,
    url,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def refusing(monkeypatch):
    """Makes publishing raise an error."""

    def refuse(error):
        def publish_test(*arguments, **options):
            raise error

        monkeypatch.setattr(operations, "publish_test", publish_test)

    return refuse


def test_publish_form_has_the_channel_of_its_link(staff):
    response = staff("publish_message").get(url(PUBLISH), {"channel": 'orders/"42'})
    assert 'value="orders/&quot;42"' in main_of(response)


@pytest.mark.parametrize(
    ("text", "payload"),
    [
        ('{"status": "paid"}', {"status": "paid"}),
        (" [1, 2.5]\n", [1, 2.5]),
        ('"hello"', "hello"),
        ("null", None),
        ("{}", {}),
        ("0", 0),
        ("false", False),
    ],
)
def test_publish_sends_the_payload(staff, text, payload):
    client = staff("publish_message")
    with capture_publications() as captured:
        client.post(url(PUBLISH), {"channel": "public/news", "payload": text})
    assert [(p.channel, p.payload, p.event) for p in captured] == [("public/news", payload, None)]


def test_publish_sends_the_event(staff):
    client = staff("publish_message")
    with capture_publications() as captured:
        client.post(url(PUBLISH), {"channel": "public/news", "event": "paid", "payload": "1"})
    assert [p.event for p in captured] == ["paid"]


def test_publish_warns_where_nobody_is_subscribed(staff, live):
    live.holds(channel("public/newsroom", a=1))
    client = staff("publish_message", "view_subscriptionrecord")
    with capture_publications():
        response = client.post(url(PUBLISH), {"channel": "public/news", "payload": "1"})
    assert said(response) == ["Published to public/news, but it has no subscribers at the moment."]
    assert [message.level_tag for message in get_messages(response.wsgi_request)] == ["warning"]


@pytest.mark.parametrize("doubt", [{"silent": ("b",)}, {"total": 500}])
def test_publish_does_not_warn_where_that_is_not_known(staff, live, doubt):
    live.holds(channel("other", a=1), **doubt)
    client = staff("publish_message", "view_subscriptionrecord")
    with capture_publications():
        response = client.post(url(PUBLISH), {"channel": "public/news", "payload": "1"})
    assert said(response) == ["Published to public/news."]


def test_publish_returns_to_the_channels_with_a_message(staff, live):
    live.holds(channel("public/news", a=1))
    client = staff("publish_message", "view_subscriptionrecord")
    with capture_publications():
        response = client.post(url(PUBLISH), {"channel": "public/news", "payload": "1"})
    assert (response.status_code, response.url) == (302, url(CHANNELS))
    assert said(response) == ["Published to public/news."]


def test_publish_returns_to_the_form_without_the_permission_to_see_channels(staff, live):
    live.holds(channel("public/news", a=1))
    client = staff("publish_message")
    there = url(PUBLISH) + "?channel=public/news"
    with capture_publications():
        response = client.post(there, {"channel": "public/news", "payload": "1"})
    assert (response.status_code, response.url) == (302, there)
    assert "Published to public/news." in client.get(there).content.decode()


def test_publish_is_logged_without_its_payload(staff):
    client = staff("publish_message")
    with capture_publications():
        client.post(
            url(PUBLISH), {"channel": "public/news", "event": "paid", "payload": '"secret"'}
        )
    entry = LogEntry.objects.get()
    assert entry.user.username == "maria"
    assert entry.content_type.model_class() is SubscriptionRecord
    assert entry.object_repr == "public/news"
    assert entry.change_message == "Published a test message with the event paid."
    assert entry.get_admin_url() is None


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "This field is required."),
        ("hello", "This is not valid JSON: Expecting value in line 1, column 1."),
        ('{"a": 1\n "b"}', "Expecting ',' delimiter in line 2, column 2."),
        (
            "[" * 100_000,
            "This JSON cannot be read: a number is too long, or the nesting is too deep.",
        ),
        (
            "1" * 5_000,
            "This JSON cannot be read: a number is too long, or the nesting is too deep.",
        ),
    ],
    ids=["empty", "word", "second line", "deep", "long number"],
)
def test_publish_refuses_what_is_not_json(staff, text, error):
    client = staff("publish_message")
    with capture_publications() as captured:
        response = client.post(url(PUBLISH), {"channel": "public/news", "payload": text})
    assert len(captured) == 0
    assert response.status_code == 200
    [shown] = response.context["form"].errors["payload"]
    assert shown.endswith(error)
    assert LogEntry.objects.count() == 0


@pytest.mark.parametrize(
    ("channel_name", "payload", "field", "reason"),
    [
        ("nowhere/1", "1", "channel", "channel 'nowhere/1' matches no registered route"),
        ("no good", "1", "channel", "channel 'no good' is not a name"),
        ("<script>", "1", "channel", "channel '<script>' is not a name"),
        ("public/news", "NaN", "payload", "payload"),
        ("public/news", '"\\ud800"', "payload", "payload"),
        ("public/news", "[" * 40 + "]" * 40, "payload", "payload"),
        (
            "public/news",
            json.dumps("x" * 1_100_000),
            "payload",
            "a payload of 1100002 bytes for 'public/news'",
        ),
    ],
    ids=["route", "name", "script", "nan", "surrogate", "deep", "large"],
)
def test_publish_shows_a_refusal_at_the_field(staff, channel_name, payload, field, reason):
    client = staff("publish_message")
    with capture_publications() as captured:
        response = client.post(url(PUBLISH), {"channel": channel_name, "payload": payload})
    assert len(captured) == 0
    errors = response.context["form"].errors
    assert list(errors) == [field]
    assert errors[field][0].startswith(reason)
    assert "<script>" not in main_of(response)
    assert LogEntry.objects.count() == 0


@pytest.mark.parametrize(
    ("error", "field"),
    [
        (BadChannel("why"), "channel"),
        (UnknownChannel("why"), "channel"),
        (BadPayload("why"), "payload"),
        (TooLarge("why"), "payload"),
        (Unavailable("why"), "__all__"),
        (ImproperUse("why"), "__all__"),
    ],
)
def test_publish_shows_every_kind_of_refusal(staff, refusing, error, field):
    refusing(error)
    response = staff("publish_message").post(
        url(PUBLISH), {"channel": "public/news", "payload": "1"}
    )
    assert response.context["form"].errors == {field: ["why"]}
    assert "why" in text_of(response)
    assert said(response) == []


def test_publish_points_each_field_to_its_error(staff):
    response = staff("publish_message").post(url(PUBLISH), {"channel": "", "payload": "x"})
    document = main_of(response)
    for field in ("channel", "payload"):
        [widget] = re.findall(rf'<(?:input|textarea)[^>]* id="id_{field}"[^>]*>', document)
        assert 'aria-invalid="true"' in widget
        described = re.search('aria-describedby="([^"]*)"', widget)[1].split()
        assert f"id_{field}_helptext" in described
        assert [i for i in described if f'id="{i}"' not in document] == []
