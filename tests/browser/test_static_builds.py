"""The built client, as a site's static files: under a strict policy, from a CDN, beside files of another version."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from tests.support.servers import Server
from tests.support.site import new_site

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

WAIT_MS = 15_000
# What needs an extra: the state that `load` returns.
SUBSCRIBE = """
client.on("error", (error) => { document.title = `${error.code}: ${error.cause?.message}`; });
client.subscribe("public/builds", {load: () => "loaded", onLoaded: (state) => { document.title = state; }});
"""
FORMS = {
    "module": """<script type="module" nonce="{{{{ request.csp_nonce }}}}">
        import {{ connect }} from "{0}channels_realtime/realtime.min.js";
        const client = connect();{1}</script>""",
    "classic": """<script src="{0}channels_realtime/realtime.global.min.js" crossorigin="anonymous"
        nonce="{{{{ request.csp_nonce }}}}"></script>
        <script nonce="{{{{ request.csp_nonce }}}}">const client = Realtime.connect();{1}</script>""",
}


@pytest.fixture(scope="module")
def static_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("static")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, static_root: Path) -> Iterator[Server]:
    site = new_site(
        tmp_path_factory.mktemp("site"),
        DJANGO_SETTINGS_MODULE="tests.browser.live_settings",
        LIVE_STATIC_ROOT=str(static_root),
    )
    site.manage("collectstatic", "--no-input", "--verbosity", "0")
    with site.serve() as server:
        yield server


@pytest.fixture(scope="module")
def cdn(server: Server, static_root: Path) -> Iterator[str]:
    """The static files on another origin, for every origin."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def end_headers(self) -> None:
            self.send_header("Access-Control-Allow-Origin", "*")
            super().end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    handler = functools.partial(Handler, directory=str(static_root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}/"
        served.shutdown()


def visit(page: Page, server: Server, form: str, static_url: str) -> None:
    query = {"head": "", "body": FORMS[form].format(static_url, SUBSCRIBE), "strict": ""}
    page.goto(server.url("/live/?" + urlencode(query)))


def titled(page: Page, title: str) -> None:
    page.wait_for_function("(title) => document.title === title", arg=title, timeout=WAIT_MS)


@pytest.mark.parametrize("origin", ["site", "cdn"])
@pytest.mark.parametrize("form", FORMS)
def test_client_loads_its_extras_under_a_strict_policy(
    page: Page, server: Server, cdn: str, form: str, origin: str
) -> None:
    visit(page, server, form, "/static/" if origin == "site" else cdn)
    titled(page, "loaded")


@pytest.mark.parametrize("form", FORMS)
def test_extra_of_another_version_is_not_used(page: Page, server: Server, form: str) -> None:
    def answer(route: Route) -> None:
        body = 'export const version = "another"; export const deliver = () => {};'
        route.fulfill(content_type="text/javascript", body=body)

    page.route("**/channels_realtime/realtime/*", answer)
    visit(page, server, form, "/static/")
    titled(page, "load_failed: another version is installed: reload the page")
