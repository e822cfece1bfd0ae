"""What the template tags write into a page."""

from __future__ import annotations

import html
import json

import pytest
from channels.layers import get_channel_layer
from django.template import Context, Template, engines

from channels_realtime import Position, aposition, channels, position, publish, sending
from channels_realtime.errors import Unavailable, UnknownChannel, Unsupported
from channels_realtime.nodes.stores import stores_of
from channels_realtime.settings import get_config
from tests.support.kept_channels import fresh, registered


@pytest.fixture(autouse=True)
def kinds(monkeypatch):
    monkeypatch.setattr(sending, "_serves", True)
    with registered(channels.registry):
        yield


def written(channel) -> str:
    """The value of an attribute that the tag fills, as a browser reads it."""
    page = engines["django"].from_string(
        '{% load channels_realtime %}<p data-at="{% realtime_position channel %}">'
    )
    rendered = page.render({"channel": channel})
    assert rendered.startswith('<p data-at="')
    assert rendered.endswith('">')
    inner = rendered[len('<p data-at="') : -len('">')]
    assert '"' not in inner
    return html.unescape(inner)


def test_position_is_json_text_that_an_attribute_can_hold():
    name = fresh("numbered")
    publish(name, "one")
    at = position(name)
    assert json.loads(written(name)) == {"epoch": at.epoch, "offset": 1}


def test_position_that_the_view_has_read_stands_for_itself():
    assert json.loads(written(Position("e", 7))) == {"epoch": "e", "offset": 7}


def test_position_is_empty_while_the_store_is_away(monkeypatch, caplog):
    store = stores_of(get_channel_layer(), get_config()).history

    async def away(*args, **kwargs):
        raise Unavailable("the store is away")

    monkeypatch.setattr(store, "read", away)
    name = fresh("numbered")
    assert written(name) == ""
    assert "The history store cannot be used" in caplog.text


def test_position_of_no_channel_is_an_error():
    with pytest.raises(UnknownChannel):
        written("no/such/route")


def test_position_of_a_channel_without_history_is_an_error():
    with pytest.raises(Unsupported):
        written("users/1")


def render(text: str, *, autoescape: bool = True, **variables) -> str:
    template = Template("{% load channels_realtime %}" + text)
    return template.render(Context(variables, autoescape=autoescape))


def test_position_for_a_script_is_a_dict():
    at = position(fresh("numbered"))
    page = render('{% realtime_position at as found %}{{ found|json_script:"at" }}', at=at)
    assert page == (
        f'<script id="at" type="application/json">{{"epoch": "{at.epoch}", "offset": 0}}</script>'
    )


def test_position_where_nothing_is_escaped_is_json():
    at = position(fresh("numbered"))
    text = render("{% realtime_position at %}", autoescape=False, at=at)
    assert json.loads(text) == {"epoch": at.epoch, "offset": 0}


async def test_position_that_an_async_view_has_read_is_written_on_the_loop():
    at = await aposition(fresh("numbered"))
    text = html.unescape(render("{% realtime_position at %}", at=at))
    assert json.loads(text) == {"epoch": at.epoch, "offset": at.offset}


def test_store_that_is_away_breaks_the_page_where_that_is_asked_for(monkeypatch):
    async def away(*args, **kwargs):
        raise Unavailable("the store is away")

    monkeypatch.setattr(stores_of(get_channel_layer(), get_config()).history, "read", away)
    with pytest.raises(Unavailable):
        render("{% realtime_position name required=True %}", name=fresh("numbered"))
