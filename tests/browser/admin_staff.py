"""Browser pages of staff, and readers of the admin's pages."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.browser.admin_crowd import AdminSite, Client
from tests.support.servers import ROOT, Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page


CROWD = 24
"""Connections on both processes together; 300 work as well."""

TIMEOUT_MS = 15_000
AT_ONCE_S = 1.0

LIST = "/admin/channels_realtime/connectionrecord/"
ENDED = "/admin/channels_realtime/endedconnectionrecord/"
CHANNELS = "/admin/channels_realtime/subscriptionrecord/"
NODES = "/admin/channels_realtime/noderecord/"
OVERVIEW = "/admin/channels_realtime/samplerecord/"
BLOCKS = "/admin/channels_realtime/blockrecord/"

VISITORS = ("ann", "ben", "cleo", "dan", "eve", "finn")
"""The users of the crowd. The tests revoke and block ``OTHERS``."""

OTHERS = ("vera", "walt", "xena", "yann", "zoe", "mary", "\u202e<script>window.__pwned=1</script>")

BROWSERS = {
    "Firefox 128, Ubuntu": (
        "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
    ),
    "Chrome 126, Windows 10": (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
        " Chrome/126.0.0.0 Safari/537.36"
    ),
    "Mobile Safari 17, iOS 17": (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15"
        " (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
    ),
}


def at_once(attempt: Callable[[], float]) -> None:
    """Raise unless one of three attempts takes less than a second.

    A busy machine delays any of them, a slow implementation all.

    Args:
        attempt: returns how many seconds it took.
    """
    took: list[float] = []
    while len(took) < 3:
        took.append(attempt())
        if took[-1] < AT_ONCE_S:
            return
    raise AssertionError(f"not within {AT_ONCE_S:g} s: {took}")


class StaffBrowser:
    """Browser pages of staff, and the problems that they had."""

    def __init__(self, browser: Browser, site: AdminSite) -> None:
        self.browser = browser
        self.site = site
        self.problems: list[str] = []
        self.expected: tuple[int, ...] = ()
        """Statuses that a page may answer with."""
        self._contexts: dict[str, BrowserContext] = {}
        self._scriptless: set[BrowserContext] = set()

    def sign_in(self, name: str = "root", **options: Any) -> Page:
        """A page of a logged-in user. Options: of the browser context.

        Tests share the contexts, and with them what the browser has cached.
        """
        options.setdefault("viewport", {"width": 1500, "height": 900})
        key = repr((name, options))
        if key not in self._contexts:
            context = self._contexts[key] = self.browser.new_context(**options)
            context.set_default_timeout(TIMEOUT_MS)
            cookie = {"name": "sessionid", "value": self.site.people[name].key}
            context.add_cookies([{**cookie, "url": self.site.a.url()}])  # type: ignore[list-item]
            self._watch(context)
            if options.get("java_script_enabled") is False:
                self._scriptless.add(context)
        return self._contexts[key].new_page()

    def assert_harmless(self) -> None:
        """No page ran a script of a client or had a problem."""
        for context in self.browser.contexts:
            for page in context.pages:
                if context not in self._scriptless and page.url.startswith("http"):
                    assert page.evaluate("() => window.__pwned") is None
        assert self.problems == []

    def leave(self) -> None:
        """Close all pages."""
        for context in self.browser.contexts:
            for page in context.pages:
                page.close()
        self.problems.clear()
        self.expected = ()

    def _watch(self, context: BrowserContext) -> None:
        note = self.problems.append

        def on_page(page: Page) -> None:
            page.on("pageerror", lambda error: note(f"error: {error}"))
            page.on("console", self._hear)
            page.on("response", lambda r: note(f"{r.status}: {r.url}") if r.status >= 500 else None)

        def on_dialog(dialog: Any) -> None:
            note(f"dialog: {dialog.message}")
            dialog.dismiss()

        context.on("page", on_page)
        context.on("dialog", on_dialog)

    def _hear(self, said: ConsoleMessage) -> None:
        where = said.location["url"]
        if said.type not in ("error", "warning") or where.endswith("/favicon.ico"):
            return
        if any(f"responded with a status of {status}" in said.text for status in self.expected):
            return
        self.problems.append(f"{said.type}: {said.text} ({where})")

    def open_list(self, page: Page, server: Server, query: str = "") -> None:
        """Go to the list with all its columns, and wait until it is live."""
        page.goto(server.url(f"{LIST}?columns=all&{query.removeprefix('?')}"))
        wait_for_state(page, "live")
        mark(page)


def picture_all(browser: Browser, name: str) -> None:
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", name)
    directory = ROOT / "test-results"
    directory.mkdir(exist_ok=True)
    for number, context in enumerate(browser.contexts):
        for page in context.pages:
            with suppress(Exception):
                page.screenshot(path=directory / f"{name}-{number}.png", full_page=True)


def shoot(page: Page, name: str) -> None:
    """Take a screenshot, if ``SCREENSHOTS`` names a directory."""
    if directory := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(directory) / f"{name}.png", full_page=True)


def wait_for_state(page: Page, state: str) -> None:
    page.locator(f"#realtime-live[data-state={state}]").wait_for()


def mark(page: Page) -> None:
    """Mark the document, to notice a reload."""
    page.evaluate("window.__sameDocument = true")


def is_same_document(page: Page) -> bool:
    return page.evaluate("window.__sameDocument === true") is True


def row_of(page: Page, client: Client) -> Locator:
    return page.locator("#result_list tbody tr", has_text=client.name)


def names_shown(page: Page) -> set[str]:
    """The client ids in the list; the connections of staff have none."""
    cells = page.locator("#result_list .field-shown_client_id bdi").all_text_contents()
    return set(cells)


def wait_for_names(page: Page, wanted: set[str]) -> None:
    """Until the list shows these and no others of the crowd."""
    page.wait_for_function(
        """wanted => {
            const cells = document.querySelectorAll('#result_list .field-shown_client_id bdi');
            const shown = new Set([...cells].map(cell => cell.textContent));
            return shown.size === wanted.length && wanted.every(name => shown.has(name));
        }""",
        arg=sorted(wanted),
    )


def id_of(page: Page, client: Client) -> str:
    key = row_of(page, client).locator("[data-key]").first.get_attribute("data-key")
    assert key
    return key


def cell(row: Locator, name: str) -> str:
    return (row.locator(f".field-{name}").text_content() or "").strip()


def wait_for_message(page: Page, text: str) -> None:
    page.locator(".messagelist li", has_text=text).wait_for()


def overflow(page: Page) -> int:
    """Pixels by which the page is wider than its window."""
    found: int = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return found


def cell_text(row: Locator, number: int) -> str:
    return (row.locator(f"> :nth-child({number})").first.text_content() or "").strip()


def wait_by_reload(page: Page, url: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_MS / 1000
    while True:
        page.goto(url)
        if condition():
            return
        assert time.monotonic() < deadline, page.text_content("body")


def choose(page: Page, action: str) -> None:
    """An entry of the list's menu, for the rows that are ticked."""
    page.select_option("select[name=action]", action)
    page.click("button[name=index]")
    page.locator("#realtime-act").wait_for()
