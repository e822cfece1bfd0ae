"""A page that Chromium puts into its back/forward cache, where it is frozen too. A page in front cannot be frozen."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.conftest import CHROMIUM_ARGUMENTS, chromium_path
from tests.support.event_streams import wait_for_connections
from tests.support.publisher import Publisher
from tests.support.servers import Server
from tests.support.site import new_site, state

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WAIT_MS = 20_000
CONNECT = """async (channel) => {
  const { connect } = await import("/static/channels_realtime/realtime.js");
  window.got = [];
  window.events = [];
  for (const name of ["pagehide", "pageshow"]) {
    addEventListener(name, ({ persisted }) => window.events.push([name, persisted]));
  }
  for (const name of ["freeze", "resume"]) document.addEventListener(name, () => window.events.push([name]));
  window.client = connect();
  await window.client.subscribe(channel, ({ payload }) => window.got.push(payload)).ready;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """With the back/forward cache, which Playwright disables."""
    from playwright.sync_api import sync_playwright  # only in the `dev` extra

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium_path(),
            args=CHROMIUM_ARGUMENTS,
            ignore_default_args=["--disable-back-forward-cache"],
        )
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with new_site(tmp_path_factory.mktemp("site")).serve() as server:
        yield server


def open_page(browser: Browser, server: Server, channel: str) -> Page:
    page = browser.new_context().new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(server.url("/"))
    page.evaluate(CONNECT, channel)
    return page


def has_all(page: Page, publisher: Publisher) -> None:
    page.wait_for_function(f"window.got.includes({publisher.count - 1})")
    assert page.evaluate("got") == list(range(publisher.count))


def test_page_that_returns_from_the_back_forward_cache_has_missed_nothing(
    browser: Browser, server: Server
) -> None:
    channel = f"kept/{uuid.uuid4().hex}"
    page = open_page(browser, server, channel)
    with Publisher(server, channel) as publisher:
        publisher.publish_more()
        before = state(server)["connections"]
        page.goto(server.url("/state/"))
        wait_for_connections(server, before - 1)
        publisher.publish_more()
        page.go_back(wait_until="commit")
        publisher.publish_more()
    has_all(page, publisher)
    assert page.evaluate("events") == [
        ["pagehide", True],
        ["freeze"],
        ["resume"],
        ["pageshow", True],
    ]
    page.context.close()
