"""Server-rendered HTML as a publication."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import transaction
from django.http import HttpRequest
from django.middleware.csrf import get_token
from django.template import TemplateDoesNotExist, engines
from django.utils.html import format_html

from channels_realtime import apublish_html, channels, publish, publish_html
from channels_realtime.errors import (
    BadPayload,
    ImproperUse,
    TooLarge,
    UnknownChannel,
    Unsupported,
)
from channels_realtime.testing import capture_publications
from tests.support.kept_channels import fresh, registered


@pytest.fixture(autouse=True)
def kinds():
    with registered(channels.registry):
        yield


@pytest.fixture
def published():
    with capture_publications() as published:
        yield published


def loaded(text: str):
    return engines["django"].from_string(text)


ROW = "\n<li id=o-{{ n }}>{{ name }}</li>\n"


def test_fragment_is_the_payload_of_an_event_of_the_servers_own(published):
    name = fresh("numbered")
    publish_html(name, loaded(ROW), {"n": 7, "name": "<b>"}, target="#orders")
    (one,) = published
    assert (one.channel, one.event) == (name, "realtime.html")
    assert one.payload == {
        "action": "append",
        "html": "<li id=o-7>&lt;b&gt;</li>",
        "target": "#orders",
    }


def test_template_may_be_a_name_or_several(published):
    name = "admin/channels_realtime/silence.html"
    publish_html(fresh("open"), name, target="#a", action="update")
    publish_html(fresh("open"), ["no/such.html", name], target="#a", action="update")
    assert published[0].payload == published[1].payload
    with pytest.raises(TemplateDoesNotExist):
        publish_html(fresh("open"), "no/such.html")


def test_html_that_is_safe_needs_no_template(published):
    publish_html(fresh("open"), html=format_html("<p>{}</p>", "<i>"))
    assert published[0].payload == {"action": "append", "html": "<p>&lt;i&gt;</p>"}


def test_removing_needs_no_html(published):
    publish_html(fresh("open"), target="#order-7", action="remove")
    assert published[0].payload == {"action": "remove", "target": "#order-7"}


async def test_fragment_is_published_from_async_code(published):
    await apublish_html(fresh("open"), loaded(ROW), {"n": 1}, target="#a", action="prepend")
    assert published[0].payload == {"action": "prepend", "html": "<li id=o-1></li>", "target": "#a"}


async def test_fragment_is_not_rendered_on_an_event_loop():
    with pytest.raises(ImproperUse, match="apublish_html"):
        publish_html(fresh("open"), loaded(ROW))


def test_request_is_for_the_context_processors(published):
    request = HttpRequest()
    request.user = AnonymousUser()
    publish_html(fresh("open"), loaded("{{ user.is_anonymous }}"), request=request)
    assert published[0].payload["html"] == "True"


def test_token_of_the_request_is_not_published(published):
    request = HttpRequest()
    token = get_token(request)
    publish_html(fresh("open"), loaded("<form>{% csrf_token %}</form>"), request=request)
    html = published[0].payload["html"]
    assert html == (
        '<form><input type="hidden" name="csrfmiddlewaretoken" value="of-the-page"></form>'
    )
    assert token not in html


@pytest.mark.django_db(transaction=True)
def test_fragment_waits_for_the_commit(published):
    with transaction.atomic():
        assert publish_html(fresh("open"), loaded(ROW)) is None
        assert list(published) == []
    assert len(published) == 1


def test_options_are_those_of_publish(published):
    publish_html(
        fresh("keyed"),
        loaded(ROW),
        target="#a",
        action="morph",
        version=3,
        state_key="a",
        exclude="connection-1",
    )
    (one,) = published
    assert (one.version, one.state_key, one.exclude) == (3, "a", "connection-1")


SAFE = format_html("<p>{}</p>", "x")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            {"html": SAFE, "action": "apend"},
            "action is 'apend'; expected one of append, prepend, replace, update, morph, remove",
        ),
        (
            {"html": SAFE, "action": "replace"},
            "action 'replace' without a target; expected a CSS selector such as '#order-42'",
        ),
        (
            {"html": SAFE, "target": " "},
            "target is ' '; expected a CSS selector of 1 to 200 characters",
        ),
        (
            {"html": SAFE, "target": 42},
            "target is 42; expected a CSS selector of 1 to 200 characters",
        ),
        ({}, "expected a template or html, got neither"),
        ({"template": "a.html", "html": SAFE}, "expected a template or html, got both"),
        (
            {"html": "<p>"},
            "html is str, which may contain what users wrote; expected text that is marked as safe,"
            " by format_html, render_to_string or mark_safe",
        ),
        (
            {"html": SAFE, "context": {}},
            "context without a template; expected a template, or html alone",
        ),
        (
            {"template": "a.html", "action": "remove", "target": "#a"},
            "action 'remove' takes no HTML; expected neither template nor html",
        ),
    ],
)
def test_malformed_argument_is_refused(arguments, reason):
    with pytest.raises(BadPayload) as caught:
        publish_html(fresh("open"), **arguments)
    assert caught.value.reason == reason


def test_channel_that_selects_has_no_fragments():
    with pytest.raises(Unsupported) as caught:
        publish_html("stocks", html=SAFE)
    assert caught.value.reason == (
        "'stocks' selects by 'symbol', which HTML does not have; expected a channel without 'select'"
    )


def test_channel_without_a_route_is_refused_before_the_template_is_rendered():
    with pytest.raises(UnknownChannel):
        publish_html("no/such/route", "no/such.html")


def test_what_is_no_template_is_refused():
    with pytest.raises(ImproperUse) as caught:
        publish_html(fresh("open"), 42)
    assert caught.value.reason == (
        "template is of type int; expected a name, or what get_template returns"
    )


def test_fragment_that_is_too_long_is_refused(settings):
    settings.CHANNELS_REALTIME = {**settings.CHANNELS_REALTIME, "MAX_PUBLICATION_BYTES": 1024}
    name = fresh("open")
    with pytest.raises(TooLarge) as caught:
        publish_html(name, loaded("x" * 2000))
    assert caught.value.reason == (
        f"a payload of 2029 bytes for {name!r}; expected at most 1024 (MAX_PUBLICATION_BYTES)"
    )


def test_nothing_else_publishes_an_event_of_the_servers_own():
    with pytest.raises(BadPayload) as caught:
        publish(fresh("open"), {"html": "<p>"}, event="realtime.html")
    assert caught.value.reason == (
        "event 'realtime.html' begins with 'realtime.', which is reserved for the package;"
        " expected another name"
    )
