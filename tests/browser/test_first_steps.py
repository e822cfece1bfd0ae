"""The README and the tutorial work literally: from an empty directory to a page that changes by itself."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, WebSocket, expect

from tests.support.servers import ROOT
from tests.support.walkthrough import PASSWORD, USER, Step, follow

WAIT_MS = 20_000


@pytest.fixture
def steps(tmp_path: Path, redis_url: str, redis_prefix: str):  # type: ignore[no-untyped-def]
    """Take the steps of a page; the generator is closed, and its server ends, with the test."""
    started: list[Iterator[Step]] = []
    hosts = f'"hosts": ["{redis_url}"], "prefix": "{redis_prefix}"'

    def start(page: str) -> Iterator[Step]:
        replace = {'"hosts": ["redis://localhost:6379/0"]': hosts}
        started.append(follow(ROOT / page, tmp_path, replace=replace))
        return started[-1]

    yield start
    for generator in started:
        generator.close()  # type: ignore[attr-defined]


@pytest.fixture
def windows(chromium: Browser) -> Iterator[tuple[Page, Page]]:
    """Two windows of one browser; what is logged as an error in the second fails the test."""
    context = chromium.new_context()
    context.set_default_timeout(WAIT_MS)
    errors: list[str] = []
    admin, page = context.new_page(), context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield admin, page
    context.close()
    assert errors == []


def until(steps: Iterator[Step], command: str) -> Step:
    """Take the steps up to a command."""
    return next(step for step in steps if step.command.startswith(command))


def sign_in(window: Page, origin: str) -> None:
    window.goto(f"{origin}/admin/")
    window.fill("#id_username", USER)
    window.fill("#id_password", PASSWORD)
    window.click("[type=submit]")
    window.wait_for_selector("#user-tools")


def save(window: Page, url: str, field: str, value: str) -> None:
    """Save a form of the admin."""
    window.goto(url)
    window.fill(f"#id_{field}", value)
    window.click("[name=_save]")
    window.wait_for_selector(".success")


def open_subscribed(window: Page, url: str) -> None:
    """Open a page, and wait until its subscription was answered."""
    frames: list[str | bytes] = []

    def listen(socket: WebSocket) -> None:
        socket.on("framereceived", lambda frame: frames.append(frame))  # keeps a mark on it

    window.goto("about:blank")  # the page of a server that has ended would still be reconnecting
    window.once("websocket", listen)
    window.goto(url)
    deadline = time.monotonic() + WAIT_MS / 1000
    while not any('"subscribed"' in str(frame) for frame in frames):
        assert time.monotonic() < deadline, frames
        window.wait_for_timeout(20)  # lets Playwright hand out its events


def test_readme_leads_to_a_page_that_changes(steps, windows):
    admin, page = windows
    taken = steps("README.md")
    server = until(taken, "python manage.py runserver").server
    sign_in(admin, server.origin)
    save(admin, f"{server.origin}/admin/orders/order/add/", "status", "new")
    open_subscribed(page, f"{server.origin}/orders/1/")
    expect(page.locator("#status")).to_have_text("new")
    save(admin, f"{server.origin}/admin/orders/order/1/change/", "status", "paid")
    expect(page.locator("#status")).to_have_text("paid", timeout=WAIT_MS)

    server = until(taken, "python manage.py runserver").server
    open_subscribed(page, f"{server.origin}/orders/1/")
    assert "Published" in until(taken, "python manage.py realtime_publish").output
    expect(page.locator("#status")).to_have_text("shipped", timeout=WAIT_MS)


def test_tutorial_leads_to_two_windows_that_show_the_same_list(steps, windows):
    admin, page = windows
    taken = steps("docs/tutorial/first-channel.md")
    server = until(taken, "python manage.py runserver").server
    sign_in(admin, server.origin)
    save(admin, f"{server.origin}/admin/notes/note/add/", "text", "was here before")
    open_subscribed(page, f"{server.origin}/")
    items = page.locator("#notes li")
    expect(items).to_have_text(["was here before"])
    save(admin, f"{server.origin}/admin/notes/note/add/", "text", "new")
    expect(items).to_have_text(["was here before", "new"], timeout=WAIT_MS)
    save(admin, f"{server.origin}/admin/notes/note/1/change/", "text", "changed")
    expect(items).to_have_text(["changed", "new"], timeout=WAIT_MS)
    told = until(taken, "python manage.py realtime_publish").output
    assert "This publication reaches no client" in told

    server = until(taken, "python manage.py runserver").server
    open_subscribed(page, f"{server.origin}/")
    until(taken, "python manage.py realtime_publish")
    expect(items).to_have_text(["changed", "new", "from the shell"], timeout=WAIT_MS)
    assert "Traceback" not in server.log()
    assert next(taken, None) is None
