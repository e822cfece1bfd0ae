"""The page on an own consumer works literally: from an empty directory to the admin's page of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.admin_staff import shoot
from tests.support.servers import ROOT
from tests.support.walkthrough import PASSWORD, USER, Step, follow

WAIT_MS = 20_000


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Iterator[Step]]:
    """The page's servers, one after another."""
    steps = follow(ROOT / "docs/howto/add-to-your-own-consumer.md", tmp_path, replace={})
    yield (step for step in steps if step.command == "python manage.py runserver")
    steps.close()  # type: ignore[attr-defined]


@pytest.fixture
def windows(chromium: Browser) -> Iterator[list[Page]]:
    """Two windows of one browser for the chat, and one for the admin."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(WAIT_MS)
    yield [context.new_page() for _ in range(3)]
    context.close()


def join(window: Page, origin: str) -> None:
    window.goto(f"{origin}/chat/lobby/")
    window.fill("[name=username]", USER)
    window.fill("[name=password]", PASSWORD)
    window.click("#login button")
    window.wait_for_selector("#say", state="visible")


def say(window: Page, text: str) -> None:
    window.fill("[name=text]", text)
    window.click("#say button")


def look_at_the_connection(admin: Page, origin: str, consumer: str) -> None:
    """Open the admin's page of the newest connection of the chat."""
    admin.goto(f"{origin}/admin/channels_realtime/connectionrecord/?columns=all")
    row = admin.locator("#result_list tbody tr", has_text="/ws/chat/lobby/").first
    expect(row).to_contain_text("ChatConsumer", timeout=WAIT_MS)
    row.locator("a.realtime-id").click()
    for text in ("/ws/chat/lobby/", consumer, USER):
        expect(admin.locator("#content")).to_contain_text(text)
    expect(admin.locator("#content")).to_contain_text(re.compile(r"Sent\s*[1-9]\d* message"))
    shoot(admin, "own-consumer")


def test_page_on_an_own_consumer_leads_from_the_middleware_to_the_admin(servers, windows):
    alice, bob, admin = windows

    origin = next(servers).server.origin  # behind the middleware
    admin.goto(f"{origin}/admin/")
    admin.fill("#id_username", USER)
    admin.fill("#id_password", PASSWORD)
    admin.click("[type=submit]")
    join(alice, origin)
    join(bob, origin)
    say(alice, "hello")
    for window in (alice, bob):
        expect(window.locator("#messages li")).to_have_text(["hello"])
    look_at_the_connection(admin, origin, "chat.consumers.ChatConsumer")

    server = next(servers).server  # with all mixins, in step 4
    join(alice, server.origin)
    join(bob, server.origin)
    say(bob, "hello again")
    for window in (alice, bob):
        expect(window.locator("#messages li")).to_have_text([f"{USER}: hello again"])
    admin.goto(f"{server.origin}/admin/login/")
    look_at_the_connection(admin, server.origin, "chat.consumers.ChatConsumer")
    expect(admin.locator("#content")).to_contain_text("chat/lobby")
    assert "Traceback" not in server.log()
