"""A site beneath a path prefix: where its WebSocket is served, and which address its pages have."""

from __future__ import annotations

import pytest
from django.template import Context, Template
from django.test import RequestFactory, override_settings
from django.urls import get_script_prefix, reverse, set_script_prefix

from channels_realtime import context_processors
from tests.support.asgi_socket import AsgiSocket

SERVED = [
    # FORCE_SCRIPT_NAME, root_path, the path that the server hands over
    (None, "", "/ws/"),
    (None, "", "/ws"),
    (None, None, "/ws/"),
    ("/app", "", "/app/ws/"),
    ("/app", "", "/app/ws"),
    ("/app", "", "/ws/"),  # the proxy removed it
    ("/app/", "", "/app/ws/"),
    ("/app", "/app", "/app/ws/"),
    ("/app", "/app", "/ws/"),
    ("/app", "/app", "/app/app/ws/"),  # uvicorn's --root-path, and a proxy that removes nothing
    (None, "/app", "/app/ws/"),
    (None, "/app/", "/app/ws/"),
    (None, "/app", "/app/app/ws/"),  # as above, where only the pages' path is shortened
    (None, "/app", "/ws/"),  # Daphne or granian, and a proxy that removes it
    ("/site", "/inner", "/inner/site/ws/"),
    ("/a/b", "", "/a/b/ws/"),
    ("/ws", "", "/ws/ws/"),
    ("/ws", "", "/ws/"),
    ("/ä b", "", "/ä b/ws/"),
]


@pytest.mark.parametrize(("forced", "root_path", "path"), SERVED)
async def test_endpoint_is_served_beneath_the_prefix(
    application, realtime, forced, root_path, path
):
    realtime(ALLOW_ANONYMOUS=True)
    with override_settings(FORCE_SCRIPT_NAME=forced):
        async with AsgiSocket(application, path, root_path=root_path) as socket:
            await socket.expect("welcome")


@pytest.mark.parametrize(
    ("forced", "root_path", "path"),
    [
        ("/app", "", "/bare/public/a"),
        ("/app", "", "/appws/"),
        (None, "/app", "/appws/"),
        ("/app", "", "/application/ws/"),
        ("/app", "", "/other/ws/"),
        ("/app", "", "/app"),
        ("/app", "", "/app//ws/"),
        ("/", "/", "//ws/"),
        (None, "", "/app/ws/"),
    ],
)
async def test_other_path_is_refused(application, forced, root_path, path):
    with override_settings(FORCE_SCRIPT_NAME=forced):
        async with AsgiSocket(application, path, root_path=root_path) as socket:
            assert socket.accepted is None


@pytest.mark.parametrize("path", ["/app/ws/bare/public/a", "/ws/bare/public/a"])
async def test_plain_endpoint_is_served_beneath_the_prefix(application, realtime, path):
    realtime(ALLOW_ANONYMOUS=True)
    with override_settings(FORCE_SCRIPT_NAME="/app"):
        async with AsgiSocket(application, path) as socket:
            assert socket.accepted is not None


@pytest.mark.parametrize("path", ["/app/ws/", "/app/app/ws/"])
async def test_path_that_repeats_the_prefix_is_served_at_both_addresses(
    application, realtime, path
):
    realtime(ALLOW_ANONYMOUS=True, WEBSOCKET_PATH="app/ws/")
    with override_settings(FORCE_SCRIPT_NAME="/app"):
        async with AsgiSocket(application, path) as socket:
            await socket.expect("welcome")


# -- the address in pages --------------------------------------------------------------------------


@pytest.fixture
def prefix():
    """Set the prefix, as the handler of a server does for each request."""
    yield set_script_prefix
    set_script_prefix("/")


def rendered(text: str) -> str:
    return Template("{% load channels_realtime %}" + text).render(Context())


@pytest.mark.parametrize(
    ("script_name", "websocket_path", "url"),
    [
        ("/", "ws/", "/ws/"),
        ("/", "live/socket", "/live/socket"),
        ("/app", "ws/", "/app/ws/"),
        ("/app/", "ws/", "/app/ws/"),
        ("/ä b", "wß/", "/%C3%A4%20b/w%C3%9F/"),
        ("//evil.example/", "ws/", "/%2Fevil.example/ws/"),  # from a header of the client's
        ('/"><script>', "ws/", "/%22%3E%3Cscript%3E/ws/"),
    ],
)
def test_tag_and_context_processor_give_the_path_of_the_site(
    prefix, realtime, script_name, websocket_path, url
):
    realtime(WEBSOCKET_PATH=websocket_path)
    prefix(script_name)
    assert rendered('<meta name="realtime-url" content="{% realtime_url %}">') == (
        f'<meta name="realtime-url" content="{url}">'
    )
    request = RequestFactory().get("/")
    assert context_processors.realtime(request) == {"realtime_url": url}


def test_tag_stores_the_address_in_a_variable(prefix):
    assert rendered("{% realtime_url as address %}[{{ address }}]") == "[/ws/]"


def test_tag_is_quoted_as_the_addresses_of_views(prefix):
    prefix("/ä b(1)/")
    root = reverse("channels_realtime:health").removesuffix("realtime/health/")
    assert rendered("{% realtime_url %}") == f"{root}ws/"
    assert get_script_prefix() == "/ä b(1)/"
