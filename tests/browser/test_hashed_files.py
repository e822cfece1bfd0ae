"""The client among static files that have only their hashed names, and beside those of another version."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from tests.browser.hashed_storage import remove_plain_files
from tests.support.forwarder import line_to
from tests.support.servers import Server
from tests.support.site import new_site, publish, state

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page, Route

WAIT_MS = 20_000
PAGE = """<script type="module">
import { connect } from "{% static 'channels_realtime/realtime.min.js' %}";
window.got = [];
window.errors = [];
window.open = (options) => {
  window.client = connect(null, { shareKey: "visitor", backoffBaseSeconds: 0.2, backoffCapSeconds: 0.2, ...options });
  client.on("error", (error) => errors.push(`${error.code}: ${error.cause?.message}`));
  window.subscription = client.subscribe("public/hashed", ({ payload }) => got.push(payload));
  subscription.ready.then(() => (window.subscribed = true));
};
</script>"""


@pytest.fixture(scope="module", params=["imports", "names"])
def storage(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, storage: str) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("static")
    site = new_site(
        tmp_path_factory.mktemp("site"),
        DJANGO_SETTINGS_MODULE="tests.browser.hashed_settings",
        LIVE_STATIC_ROOT=str(root),
        LIVE_STORAGE=storage,
    )
    site.manage("collectstatic", "--no-input", "--verbosity", "0")
    remove_plain_files(root)
    with site.serve() as server:
        yield server


def visit(context: BrowserContext, origin: str, **options: object) -> Page:
    page = context.new_page()
    page.goto(f"{origin}/live/?" + urlencode({"head": "", "body": PAGE}))
    page.evaluate("(options) => open(options)", options)
    wait(page, "window.subscribed")
    return page


def wait(page: Page, condition: str) -> None:
    page.wait_for_function(condition, timeout=WAIT_MS)


def test_tabs_have_their_connections(page: Page, server: Server, storage: str) -> None:
    tabs = [visit(page.context, server.url(""), shareConnection=True) for _ in range(2)]
    publish(server, "public/hashed", "hello")
    for tab in tabs:
        wait(tab, "got.includes('hello')")
    connections = {tab.evaluate("client.connectionId") for tab in tabs}
    if storage == "imports":
        # No storage finds the worker's script: a tab is elected.
        assert len(connections) == 1
        assert state(server)["connections"] == 1
        assert [tab.evaluate("errors") for tab in tabs] == [[], []]
    else:
        assert len(connections) == 2
        for tab in tabs:
            (error,) = tab.evaluate("errors")
            assert error.startswith("load_failed: Failed to fetch dynamically imported module")


def test_part_is_loaded_or_said_to_be_missing(page: Page, server: Server, storage: str) -> None:
    tab = visit(page.context, server.url(""))
    tab.evaluate(
        "void client.subscribe('public/part', {load: () => 'x', onLoaded: (x) => got.push(x)})"
    )
    if storage == "imports":
        wait(tab, "got.includes('x')")
    else:
        wait(tab, "errors.length > 0")
        assert tab.evaluate("errors")[0].startswith("load_failed: Failed to fetch dynamically")
    publish(server, "public/hashed", "on")
    wait(tab, "got.includes('on')")


UPGRADED = "load_failed: another version is installed: reload the page"


def upgrade(page: Page) -> None:
    """What is loaded from now on is of another version."""

    def answer(route: Route) -> None:
        body = 'export const version = "another"; globalThis.realtimeVersion = "another";'
        route.fulfill(content_type="text/javascript", body=body)

    page.context.route(re.compile("channels_realtime/realtime/"), answer)


def test_page_that_was_open_when_the_package_was_upgraded_stays_on_its_websocket(
    page: Page, server: Server
) -> None:
    with line_to(server.port) as line:
        tab = visit(page.context, line.origin, httpUrl="/realtime/")
        upgrade(tab)
        line.proxy.blocks_websockets = True
        line.cut()
        line.mend()
        wait(tab, "errors.length > 0")
        line.proxy.blocks_websockets = False
        wait(tab, "client.state === 'connected'")
        publish(server, "public/hashed", "still here")
        wait(tab, "got.includes('still here')")
        assert tab.evaluate("errors") == [UPGRADED]


def test_tab_with_parts_of_another_version_has_its_own_connection(
    page: Page, server: Server
) -> None:
    upgrade(page)
    tab = visit(page.context, server.url(""), shareConnection=True)
    assert tab.evaluate("errors") == [UPGRADED]
    publish(server, "public/hashed", "alone")
    wait(tab, "got.includes('alone')")
