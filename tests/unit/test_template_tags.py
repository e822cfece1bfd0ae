"""What the template tags write into a page."""

from __future__ import annotations

import html
import json
import re
from types import SimpleNamespace

import pytest
from channels.layers import get_channel_layer
from django.contrib.staticfiles.storage import ManifestStaticFilesStorage, staticfiles_storage
from django.http import HttpRequest
from django.middleware.csrf import get_token
from django.template import Context, Template, engines
from django.urls import clear_script_prefix, set_script_prefix
from django.utils.functional import SimpleLazyObject

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


# -- the page's configuration and script -----------------------------------------------------------


def configuration(page: str) -> dict:
    found = re.match(r'<script id="realtime-config" type="application/json">(.*?)</script>\n', page)
    return json.loads(found[1])


def script(page: str) -> str:
    return page.rpartition("\n")[2]


def test_page_has_its_configuration_and_one_module():
    page = render("{% realtime %}")
    assert configuration(page) == {"url": "/ws/", "http": "/realtime/"}
    assert script(page) == (
        '<script type="module" src="/static/channels_realtime/realtime-elements.min.js"></script>'
    )


def test_configuration_is_beneath_the_prefix_of_the_site():
    set_script_prefix("/shop/")
    try:
        page = render("{% realtime %}")
    finally:
        clear_script_prefix()
    assert configuration(page) == {"url": "/shop/ws/", "http": "/shop/realtime/"}


@pytest.mark.urls("tests.unit.test_template_tags")
def test_page_of_a_site_without_the_http_views_knows_none():
    assert configuration(render("{% realtime %}", request=HttpRequest())) == {"url": "/ws/"}


urlpatterns: list = []


def test_page_has_the_token_that_posts_carry_where_cookies_authenticate(settings):
    settings.CSRF_HEADER_NAME = "HTTP_X_MY_TOKEN"
    request = HttpRequest()
    token = get_token(request)
    found = configuration(render("{% realtime %}", request=request))
    assert found["csrfHeader"] == "X-MY-TOKEN"
    assert len(found["csrfToken"]) == len(token)
    assert request.META["CSRF_COOKIE_NEEDS_UPDATE"] is True


def test_page_has_no_token_where_no_cookie_authenticates(settings):
    settings.INSTALLED_APPS = [
        app for app in settings.INSTALLED_APPS if app != "django.contrib.sessions"
    ]
    request = HttpRequest()
    assert configuration(render("{% realtime %}", request=request)).keys() == {"url", "http"}
    assert "CSRF_COOKIE" not in request.META


def lazy_nonce() -> object:
    """One that is false until it is read, as Django's."""

    class Unread(SimpleLazyObject):
        def __bool__(self):
            return False

    return Unread(lambda: "n0nce")


@pytest.mark.parametrize(
    "variables",
    [
        {"csp_nonce": lazy_nonce()},
        {"request": SimpleNamespace(csp_nonce=lazy_nonce(), META={}, COOKIES={})},
        {"request": SimpleNamespace(_csp_nonce=lazy_nonce(), META={}, COOKIES={})},
        {"request": SimpleNamespace(META={}, COOKIES={}), "given": "n0nce"},
        {"csp_nonce": "other", "given": "n0nce"},
    ],
    ids=["Django's context", "django-csp", "Django's request", "given", "given and found"],
)
def test_script_has_the_nonce_of_the_page(variables, settings):
    argument = " nonce=given" if "given" in variables else ""
    page = render("{% realtime" + argument + " %}", **variables)
    assert script(page).endswith('.js" nonce="n0nce"></script>')


@pytest.mark.parametrize("nonce", ["", None])
def test_script_has_no_nonce_where_the_page_has_none(nonce):
    assert "nonce" not in render("{% realtime nonce=given %}", given=nonce)
    assert "nonce" not in render("{% realtime %}", csp_nonce=nonce)


def test_nonce_is_escaped():
    assert 'nonce="&quot;&gt;"' in render("{% realtime nonce=given %}", given='">')


def test_script_has_the_name_that_the_storage_gives_it(monkeypatch, settings):
    storage = ManifestStaticFilesStorage(location="/nowhere", base_url="/static/")
    name = "channels_realtime/realtime-elements.min.js"
    storage.hashed_files = {name: name.replace(".js", ".0123456789ab.js")}
    monkeypatch.setattr(staticfiles_storage, "_wrapped", storage)
    assert 'src="/static/channels_realtime/realtime-elements.min.0123456789ab.js"' in (
        render("{% realtime %}")
    )
