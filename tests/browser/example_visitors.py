"""Users of the example site, each in a browser context of their own, and what tests wait for on its pages."""

from typing import TYPE_CHECKING

from tests.support.promptness import PROMPTLY_MS
from tests.support.servers import Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

RECONNECT_MS = 15_000


class Visitors:
    """Opens a browser context for each user, and collects the script errors of all."""

    def __init__(self, browser: "Browser", server: Server) -> None:
        self.browser = browser
        self.server = server
        self.problems: list[str] = []

    def sign_in(self, name: str, origin: str | None = None) -> "Page":
        """A page of a context of this user, at another origin of the server if named."""
        origin = origin or self.server.url("")
        page = self.browser.new_context().new_page()
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.goto(f"{origin}/accounts/login/")
        page.fill("[name=username]", name)
        page.fill("[name=password]", name)
        page.click("button[type=submit]")
        page.wait_for_url(f"{origin}/")
        return page

    def open(self, page: "Page", path: str) -> None:
        """Go to a page and wait until it is connected."""
        page.goto(self.server.url(path))
        page.wait_for_function(
            "document.querySelector('#connection, #health').dataset.state == 'connected'"
        )


def wait_for_text(page: "Page", selector: str, text: str, timeout_ms: float = PROMPTLY_MS) -> None:
    page.locator(selector, has_text=text).first.wait_for(timeout=timeout_ms)


def wait_for_card(page: "Page", title: str, status: str, timeout_ms: float = PROMPTLY_MS) -> None:
    wait_for_text(page, f"[data-status={status}] .card", title, timeout_ms)
