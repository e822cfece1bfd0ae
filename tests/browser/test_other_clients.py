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
from tests.support.servers import Server, free_port, run_server
from tests.support.site import APPLICATION, SERVERS, Site, new_site, publish

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

WAIT_MS = 20_000
CLIENTS = ("WebSocket", "reconnecting-websocket", "rxjs", "vueuse")
HTMX = ("htmx2", "htmx4")


@pytest.fixture(scope="module")
def other_clients() -> str:
    return npm.bundle(npm.DIRECTORY / "other-clients.js")


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return new_site(tmp_path_factory.mktemp("site")).having(
        realtime={"DRAIN_GRACE": 3.0, "DRAIN_RETRY_WINDOW": 0.1}
    )


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


def tell(page: Page, server: Server, text: str) -> None:
    """Publish a text to each client's channel, and wait until each has heard it last."""
    # In the page: while this thread waits by itself, Playwright answers no request of the page.
    page.evaluate(UNTIL_CONNECTED, len(CLIENTS + HTMX))
    page.wait_for_function(EACH, arg=[CLIENTS, "subscribed"], timeout=WAIT_MS)
    publish(server, "public/others", text)
    publish(server, "public/fragments", f'<p id="socket" hx-swap-oob="true">{text}</p>')
    page.wait_for_function(EACH, arg=[CLIENTS, text], timeout=WAIT_MS)
    page.wait_for_function(EACH_FRAME, arg=[HTMX, text], timeout=WAIT_MS)


ADD_FRAME = """(name) => new Promise((resolve) => {
    const frame = document.createElement("iframe");
    Object.assign(frame, {name, src: "/", onload: resolve});
    document.body.append(frame);
})"""
UNTIL_CONNECTED = """async (count) => {
    for (let attempt = 0; attempt < 200; attempt += 1) {
        const { connections } = await (await fetch("/state/")).json();
        if (connections === count) return;
        await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`not all ${count} clients are connected; heard: ${JSON.stringify(heard)}`);
}"""
EACH = "([names, last]) => names.every((name) => heard[name]?.at(-1) === last)"
EACH_FRAME = """([names, text]) =>
    names.every((name) => frames[name].document.querySelector("#socket")?.textContent === text)"""


@pytest.mark.parametrize("kind", SERVERS)
def test_other_peoples_clients_come_back_after_a_drain_and_a_restart(
    page: Page, site: Site, kind: str, other_clients: str
) -> None:
    port = free_port()
    with serve(site, kind, port) as server:
        open_clients(page, server, other_clients)
        tell(page, server, "before")
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(WAIT_MS / 1_000)
    with serve(site, kind, port) as server:
        tell(page, server, "after")
    heard = page.evaluate("heard")
    assert heard == {name: ["subscribed", "before", "subscribed", "after"] for name in CLIENTS}
