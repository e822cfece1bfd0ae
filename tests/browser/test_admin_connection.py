"""The page of one connection, and its trace."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

from tests.browser.admin_crowd import Client, Crowd
from tests.browser.admin_staff import (
    BROWSERS,
    LIST,
    StaffBrowser,
    at_once,
    id_of,
    mark,
    row_of,
    shoot,
    wait_for_message,
    wait_for_state,
)

if TYPE_CHECKING:
    from playwright.sync_api import Page


_numbers = itertools.count(1)


def open_detail(staff: StaffBrowser, page: Page, client: Client) -> str:
    """Go to the page of the connection from the list; returns its id."""
    page.goto(staff.site.a.url(f"{LIST}?columns=all&q={client.name}"))
    row_of(page, client).wait_for()
    connection_id = id_of(page, client)
    row_of(page, client).locator("a.realtime-id").click()
    page.wait_for_url(lambda url: f"{LIST}{connection_id}/change/" in url)
    wait_for_state(page, "live")
    return connection_id


def test_detail_shows_the_state_of_the_other_process_until_the_connection_ends(
    staff: StaffBrowser, crowd: Crowd
) -> None:
    ann = staff.site.people["ann"]
    client = crowd.open(
        staff.site.b,
        "detail-1",
        person=ann,
        address="10.2.0.1",
        user_agent=BROWSERS["Firefox 128, Ubuntu"],
        channels=["open/lobby", "open/extra"],
    )
    page = staff.sign_in()
    open_detail(staff, page, client)
    shown = page.locator("#realtime-connection")
    for text in ("ann", "10.2.0.1", "login session", "Firefox 128, Ubuntu", "detail-1"):
        shown.locator("dd", has_text=text).first.wait_for()
    shown.locator("#realtime-subscriptions ~ * th", has_text="open/extra").wait_for()
    shown.locator("summary", has_text="may contain credentials").click()
    headers = page.text_content(".realtime-headers") or ""
    assert BROWSERS["Firefox 128, Ubuntu"] in headers
    assert ann.key not in page.content()
    mark(page)
    shoot(page, "detail")

    # The page updates, and the opened headers stay open.
    client.subscribe("open/later")
    shown.locator("th", has_text="open/later").wait_for()
    assert page.locator(".realtime-headers").is_visible()

    page.locator("tr", has_text="open/extra").locator("text=Unsubscribe").click()
    assert page.input_value("[name=channel]") == "open/extra"
    page.click("#realtime-act input[type=submit]")
    assert client.wait_for("unsubscribed")["channel"] == "open/extra"
    wait_for_message(page, "1 connection was unsubscribed from open/extra.")
    wait_for_state(page, "live")
    assert shown.locator("th", has_text="open/extra").count() == 0

    staff.expected = (404,)
    client.end()
    wait_for_state(page, "gone")
    assert page.text_content("#realtime-live-state") == "This connection has ended."
    shown.locator("text=has ended, or has never existed").wait_for()
    shoot(page, "detail-gone")
    page.reload()
    page.locator("h1", has_text="Connection not found").wait_for()


def test_disconnect_from_the_page_of_one_connection(staff: StaffBrowser, crowd: Crowd) -> None:
    page = staff.sign_in()

    def attempt() -> float:
        client = crowd.open(staff.site.b, f"disconnect-{next(_numbers)}")
        open_detail(staff, page, client)
        page.click(".realtime-tools >> text=Disconnect")
        clicked_at = time.time()
        page.click("#realtime-act input[type=submit]")
        assert client.close_code() == 4403
        wait_for_message(page, "1 connection was disconnected.")
        return client.closed_at - clicked_at

    at_once(attempt)


def test_trace_shows_a_publication_and_never_a_token(staff: StaffBrowser, crowd: Crowd) -> None:
    mary = staff.site.people["mary"]
    tokens = [crowd.do(staff.site.a, "mint", user=mary.id, seconds="3600") for _ in range(2)]
    client = crowd.open(
        staff.site.b, "trace-1", person=mary, token=tokens[0], channels=["open/traced"]
    )
    page = staff.sign_in()
    connection_id = open_detail(staff, page, client)
    seen: list[str] = []
    page.on("response", lambda r: seen.append(r.text()) if "/trace/events/" in r.url else None)
    page.click(".realtime-tools >> text=Trace")
    page.check("#realtime-trace-payloads")
    page.click("#realtime-trace-start")
    page.locator("#realtime-trace-live[data-state=live]").wait_for()
    rows = page.locator("#realtime-trace-events tr")

    payload = {"text": "<img src=x onerror=window.__pwned=1> \u202ereversed"}
    crowd.do(staff.site.a, "publish", channel="open/traced", payload="plain words")
    rows.filter(has_text="open/traced").filter(has_text="plain words").wait_for()
    client.send(type="auth", token=tokens[1])
    client.wait_for("auth_ok")
    rows.filter(has_text="hidden: it may contain credentials").first.wait_for()
    client.send(type="subscribe", id="<script>", channel="<script>window.__pwned=1</script>")
    rows.filter(has_text="<script>window.__pwned=1</script>").first.wait_for()
    client.send(type="publish", id="m1", channel="open/traced", payload=payload)
    rows.filter(has_text="<img src=x onerror=window.__pwned=1> ⟨U+202E⟩reversed").first.wait_for()
    assert page.locator("#realtime-trace-events :is(img, script)").count() == 0
    shoot(page, "trace")
    for token in tokens:
        assert token not in page.content()
        assert not any(token in text for text in seen)
    assert staff.site.people["root"].key not in page.content()

    page.click("#realtime-trace-stop")
    page.locator("#realtime-trace-live[data-state=stopped]").wait_for()
    page.goto(staff.site.a.url(f"{LIST}{connection_id}/history/"))
    page.locator("#change-history td", has_text="Started a trace with payloads.").wait_for()


def test_trace_ends_with_its_connection(staff: StaffBrowser, crowd: Crowd) -> None:
    client = crowd.open(staff.site.b, "trace-2")
    page = staff.sign_in()
    open_detail(staff, page, client)
    page.click(".realtime-tools >> text=Trace")
    page.click("#realtime-trace-start")
    page.locator("#realtime-trace-live[data-state=live]").wait_for()
    staff.expected = (404,)
    client.end()
    page.locator("#realtime-trace-live[data-state=gone]").wait_for()
    assert page.text_content("#realtime-trace-state") == "This connection has ended."
