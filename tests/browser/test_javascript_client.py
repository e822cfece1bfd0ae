"""The JavaScript client's own tests (`tests/js`), run in the browser it is written for.

`node --test tests/js/` runs the same files where there is a Node.
"""

import mimetypes
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Page, Route

ROOT = Path(__file__).resolve().parent.parent.parent
ORIGIN = "http://tests.localhost"
LEAST_TESTS = 180
LEAST_TESTS_OF_ELEMENTS = 40

PAGE = """<!doctype html><meta charset="utf-8"><title>tests</title>
<script type="importmap">{"imports": {
  "node:test": "/tests/js/shims/test.mjs",
  "node:assert/strict": "/tests/js/shims/assert.mjs"
}}</script>"""


def serve(route: Route) -> None:
    """Answer from the checkout, without a server."""
    path = urlsplit(route.request.url).path
    if path == "/":
        route.fulfill(content_type="text/html", body=PAGE)
        return
    file = (ROOT / path.lstrip("/")).resolve()
    if not file.is_relative_to(ROOT) or not file.is_file():
        route.fulfill(status=404)
        return
    kind = "text/javascript" if file.suffix in {".js", ".mjs"} else mimetypes.guess_type(file)[0]
    route.fulfill(content_type=kind or "application/octet-stream", body=file.read_bytes())


def run(page: Page, directory: str) -> Any:
    """What became of the tests in a directory."""
    page.route(f"{ORIGIN}/**", serve)
    page.goto(f"{ORIGIN}/")
    return page.evaluate(
        """async (files) => {
            const { beginFile, run } = await import("/tests/js/shims/test.mjs");
            for (const file of files) {
                beginFile();
                await import(file);
            }
            return await run();
        }""",
        sorted(f"/{file.relative_to(ROOT)}" for file in (ROOT / directory).glob("*.test.mjs")),
    )


def test_javascript_client_passes_its_tests_in_chromium(page: Page) -> None:
    result = run(page, "tests/js")
    assert result["failures"] == []
    assert result["count"] >= LEAST_TESTS


def test_elements_pass_their_tests_in_chromium(page: Page) -> None:
    """They need a document, which a Node does not have."""
    result = run(page, "tests/browser/dom")
    assert result["failures"] == []
    assert result["count"] >= LEAST_TESTS_OF_ELEMENTS
