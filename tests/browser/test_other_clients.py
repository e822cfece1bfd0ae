"""Clients that are not ours, each from its npm package, hear the next publication after a drain and a restart.

One page has all of them, and one restart is for all: `tests/npm/other-clients.js` opens them as their documentation
says, with short delays. htmx has a frame of its own for each version.
"""

from __future__ import annotations

import functools
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support import npm
from tests.support.browser import until
from tests.support.servers import Server, free_port, run_server
from tests.support.site import APPLICATION, SERVERS, Site, get, new_site, publish

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

WAIT_MS = 20_000
CLIENTS = ("WebSocket", "reconnecting-websocket", "rxjs", "vueuse", "EventSource")
CHANNELS_OF_HTMX = {
    "kept/socket": {"target": "#socket", "action": "update"},
    "kept/stream": {},
}
HTMX = ("htmx2", "htmx4")
SUBSCRIBERS = {
    "public/others": len(CLIENTS) - 1,
    "kept/others": 1,
    **dict.fromkeys(CHANNELS_OF_HTMX, len(HTMX)),
}


@pytest.fixture(scope="module")
def other_clients() -> str:
    return npm.bundle(npm.DIRECTORY / "other-clients.js")


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory, redis_url: str, redis_prefix: str) -> Site:
    """With a history that outlives the server."""
    return new_site(
        tmp_path_factory.mktemp("site"),
        SITE_LAYER="pubsub",
        SITE_REDIS_URL=redis_url,
        SITE_REDIS_PREFIX=redis_prefix,
    ).having(realtime={"DRAIN_GRACE": 3.0, "DRAIN_RETRY_WINDOW": 0.1})


@contextmanager
def serve(site: Site, kind: str, port: int) -> Iterator[Server]:
    command = SERVERS[kind](APPLICATION, port)
    with run_server(command, port, environment=site.environment) as server:
        yield server


def answer(route: Route, clients: str) -> None:
    """The scripts, from the files."""
    path = re.sub(r"^https?://[^/]+", "", route.request.url).partition("?")[0]
    if path == "/npm/other-clients.js":
        route.fulfill(content_type="text/javascript", body=clients)
    else:
        file = npm.packages() / path.removeprefix("/npm/")
        route.fulfill(content_type="text/javascript", body=file.read_bytes())


def open_clients(page: Page, server: Server, clients: str) -> None:
    page.route("**/npm/**", functools.partial(answer, clients=clients))
    page.goto(
        server.url("/")
    )  # Chromium lets no page that Playwright answers connect to this machine
    for name in HTMX:
        page.evaluate(ADD_FRAME, name)
        page.frame(name).set_content((npm.DIRECTORY / f"{name}.html").read_text())
    page.evaluate(
        """async () => {
            window.heard = {};
            (await import("/npm/other-clients.js")).start(window.heard);
        }"""
    )


def publish_to_all(site: Site, server: Server | None, text: str) -> None:
    """Through the server's views; without a server, what has a history from another process."""
    if server is None:
        site.manage(
            "shell",
            "--command",
            "from channels_realtime import publish, publish_html;"
            "from django.utils.html import format_html;"
            f"publish('kept/others', {text!r});"
            f"publish_html('kept/stream', html=format_html('{{}}', {text!r}))",
        )
        return
    publish(server, "public/others", text)
    publish(server, "kept/others", text)
    for channel, query in CHANNELS_OF_HTMX.items():
        get(server, "/publish/html/", channel=channel, html=text, **query)


def each_hears(page: Page, text: str, *, streams: str) -> None:
    """Wait until each client has heard the text last, and the streams of htmx have all that is in `streams`."""
    page.wait_for_function(EACH, arg=[CLIENTS, text], timeout=WAIT_MS)
    page.wait_for_function(EACH_FRAME, arg=[HTMX, "#socket", text], timeout=WAIT_MS)
    page.wait_for_function(EACH_FRAME, arg=[HTMX, "#stream", streams], timeout=WAIT_MS)


ADD_FRAME = """(name) => new Promise((resolve) => {
    const frame = document.createElement("iframe");
    Object.assign(frame, {name, src: "/", onload: resolve});
    document.body.append(frame);
})"""
SUBSCRIBED = """async (wanted) => {
    for (const [channel, count] of Object.entries(wanted)) {
        const { subscribers } = await (await fetch(`/state/?channel=${channel}`)).json();
        if (subscribers !== count) return false;
    }
    return true;
}"""
EACH = "([names, last]) => names.every((name) => heard[name]?.at(-1) === last)"
EACH_FRAME = """([names, selector, text]) =>
    names.every((name) => frames[name].document.querySelector(selector)?.textContent === text)"""


@pytest.mark.parametrize("kind", SERVERS)
def test_other_peoples_clients_come_back_after_a_drain_and_a_restart(
    page: Page, site: Site, kind: str, other_clients: str
) -> None:
    port = free_port()
    with serve(site, kind, port) as server:
        open_clients(page, server, other_clients)
        until(page, SUBSCRIBED, SUBSCRIBERS)
        publish_to_all(site, server, "before")
        each_hears(page, "before", streams="before")
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(WAIT_MS / 1_000)
    publish_to_all(site, None, "away")
    with serve(site, kind, port) as server:
        until(page, SUBSCRIBED, SUBSCRIBERS)
        publish_to_all(site, server, "after")
        each_hears(page, "after", streams="beforeawayafter")
    heard = page.evaluate("heard")
    assert heard.pop("EventSource") == ["subscribed", "before", "subscribed", "away", "after"]
    assert heard == {name: ["subscribed", "before", "subscribed", "after"] for name in CLIENTS[:-1]}
