"""Waiting in a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

ATTEMPTS = 300
EVERY_MS = 50

_UNTIL = """async ([text, arg, attempts, every]) => {
    const condition = eval(text);
    for (let attempt = 0; attempt < attempts; attempt += 1) {
        if (await condition(arg)) return;
        await new Promise((resolve) => setTimeout(resolve, every));
    }
    throw new Error(`not within ${(attempts * every) / 1000} s: ${text}`);
}"""


def until(page: Page, condition: str, arg: Any = None) -> None:
    """Wait until an asynchronous function of the page returns something true.

    Playwright's ``wait_for_function`` takes the promise itself for true. While a page waits, its requests are routed.

    Raises:
        Error: it was not in time.
    """
    page.evaluate(_UNTIL, [condition, arg, ATTEMPTS, EVERY_MS])
