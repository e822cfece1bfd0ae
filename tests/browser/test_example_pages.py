"""The example's pages, seen by two users in two browser contexts."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.example_visitors import (
    RECONNECT_MS,
    Visitors,
    wait_for_card,
    wait_for_text,
)
from tests.example.site import manage, run_demo
from tests.support.promptness import PROMPTLY_MS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


def test_a_message_appears_in_both_browsers_at_once(
    visitors: Visitors, alice: "Page", bob: "Page"
) -> None:
    for page in (alice, bob):
        visitors.open(page, "/rooms/lobby/")
    alice.fill("#text", "Is anybody there?")
    alice.press("#text", "Enter")
    for page in (alice, bob):
        wait_for_text(page, ".bubble", "Is anybody there?")
    assert (
        bob.locator(".message", has_text="Is anybody there?").locator("b").text_content() == "alice"
    )

    visitors.open(bob, "/rooms/lobby/")
    wait_for_text(bob, ".bubble", "Is anybody there?", RECONNECT_MS)
    assert bob.locator(".bubble", has_text="Is anybody there?").count() == 1


def test_the_tabs_of_a_user_share_one_connection(
    visitors: Visitors, alice: "Page", bob: "Page"
) -> None:
    second = alice.context.new_page()
    visitors.open(alice, "/rooms/lobby/")
    visitors.open(second, "/rooms/")
    visitors.open(bob, "/rooms/lobby/")
    bob.fill("#text", "For both tabs")
    bob.press("#text", "Enter")
    wait_for_text(alice, ".bubble", "For both tabs")
    wait_for_text(second, "#room-lobby", "message")

    ids = [page.text_content("#connection-id") for page in (alice, second, bob)]
    assert ids[0] == ids[1] != ids[2]
    staff = visitors.sign_in("admin")
    staff.goto(visitors.server.url("/admin/channels_realtime/connectionrecord/"))
    staff.wait_for_function(
        """wanted => [...document.querySelectorAll("[name=_selected_action]")]
            .map(({ value }) => value).sort().join() === wanted""",
        arg=",".join(sorted({str(each) for each in ids})),
        timeout=RECONNECT_MS,
    )


def test_pages_without_a_script_of_their_own_show_what_happens(
    visitors: Visitors, alice: "Page", bob: "Page"
) -> None:
    admin = visitors.sign_in("admin")
    visitors.open(alice, "/rooms/")
    visitors.open(bob, "/")
    visitors.open(admin, "/rooms/engineering/")
    admin.fill("#text", "Not in the lobby")
    admin.press("#text", "Enter")
    wait_for_text(alice, "#room-engineering", "message")
    visitors.open(admin, "/rooms/lobby/")
    admin.fill("#text", "Rendered <b>by the server</b>")
    admin.press("#text", "Enter")
    wait_for_text(bob, "#latest-lobby .text", "Rendered <b>by the server</b>")
    assert bob.locator("#latest-lobby .text", has_text="Not in").count() == 0

    visitors.open(admin, "/boards/1/")
    admin.fill("#card-title", "Counted at home")
    admin.press("#card-title", "Enter")
    wait_for_text(bob, "#board-summary-1", "Last saved: Counted at home")

    visitors.open(admin, "/rooms/")
    admin.fill("#room-name", "Brand new")
    admin.click(".new-room button")
    wait_for_text(alice, "#room-brand-new", "No messages yet")


def test_who_watches_the_host_is_counted(visitors: Visitors, alice: "Page", bob: "Page") -> None:
    for page in (alice, bob):
        visitors.open(page, "/host/")
    wait_for_text(alice, "realtime-presence", "2 watching.", RECONNECT_MS)
    bob.context.close()
    wait_for_text(alice, "realtime-presence", "1 watching.", 2 * RECONNECT_MS)


def test_typing_is_shown_to_the_others(visitors: Visitors, alice: "Page", bob: "Page") -> None:
    for page in (alice, bob):
        visitors.open(page, "/rooms/coffee/")
    alice.type("#text", "hm")
    wait_for_text(bob, "#typing", "alice is typing…")
    assert alice.text_content("#typing") == ""


def test_a_message_is_shown_as_text_whatever_it_contains(visitors: Visitors, alice: "Page") -> None:
    visitors.open(alice, "/rooms/engineering/")
    text = "<img src=x onerror=alert(1)> & <b>bold</b>"
    alice.fill("#text", text)
    alice.press("#text", "Enter")
    wait_for_text(alice, ".bubble", text)
    assert alice.locator(".bubble img, .bubble b").count() == 0


def test_a_card_saved_in_the_admin_appears_in_both_browsers(
    visitors: Visitors, alice: "Page", bob: "Page"
) -> None:
    admin = visitors.sign_in("admin")
    for page in (alice, bob):
        visitors.open(page, "/boards/1/")
    admin.goto(visitors.server.url("/admin/boards/card/add/"))
    admin.select_option("[name=board]", label="First steps")
    admin.fill("[name=title]", "Written in the admin")
    admin.select_option("[name=status]", "doing")
    admin.click("[name=_continue]")
    for page in (alice, bob):
        wait_for_card(page, "Written in the admin", "doing")

    admin.select_option("[name=status]", "done")
    admin.click("[name=_save]")
    for page in (alice, bob):
        wait_for_card(page, "Written in the admin", "done")
        assert page.locator(".card", has_text="Written in the admin").count() == 1


def test_a_card_moves_in_both_browsers_by_keyboard_and_keeps_the_focus(
    visitors: Visitors, alice: "Page", bob: "Page"
) -> None:
    for page in (alice, bob):
        visitors.open(page, "/boards/1/")
    alice.fill("#card-title", "Carried by keys")
    alice.press("#card-title", "Enter")
    wait_for_card(bob, "Carried by keys", "todo")
    wait_for_card(alice, "Carried by keys", "todo")
    alice.focus(".card:has-text('Carried by keys') [data-move=right]")
    for status in ("doing", "done"):
        alice.keyboard.press("Enter")
        for page in (alice, bob):
            wait_for_card(page, "Carried by keys", status)
    focused = alice.evaluate("document.activeElement.closest('.card')?.textContent ?? ''")
    assert "Carried by keys" in focused
    assert "moved to Done" in (bob.text_content("#board-announcement") or "")


def test_a_card_is_dragged_before_another_in_both_browsers(
    visitors: Visitors, alice: "Page", bob: "Page"
) -> None:
    for page in (alice, bob):
        visitors.open(page, "/boards/1/")
    for title in ("Dragged", "Target"):
        alice.fill("#card-title", title)
        alice.select_option("#card-status", "todo" if title == "Dragged" else "doing")
        alice.press("#card-title", "Enter")
        wait_for_text(bob, ".card", title)
        wait_for_text(alice, ".card", title)
    alice.locator(".card", has_text="Dragged").drag_to(
        alice.locator(".card", has_text="Target"), target_position={"x": 40, "y": 4}
    )
    for page in (alice, bob):
        wait_for_card(page, "Dragged", "doing")
        titles = page.locator("[data-status=doing] .card-title").all_text_contents()
        assert titles.index("Target") - titles.index("Dragged") == 1


def test_an_entry_of_the_guestbook_appears_as_html_in_a_page_without_a_script(
    visitors: Visitors, alice: "Page", bob: "Page"
) -> None:
    for page in (alice, bob):
        visitors.open(page, "/guestbook/")
    wait_for_text(alice, ".guest", "bob")
    bob.click("#connection summary")
    for _ in ("Disconnect", "Connect"):  # the elements come back with the connection
        bob.click("#connection-toggle")
    bob.locator("realtime-channel[state=connected]").wait_for(state="attached")
    alice.evaluate("window.stayed = true")
    alice.fill("#entry-text", "<b>Hello</b>")
    alice.press("#entry-text", "Enter")
    for page in (alice, bob):
        wait_for_text(page, "#entries li", "<b>Hello</b>", RECONNECT_MS)
        assert page.locator("#entries li").count() == 1
        wait_for_text(page, "#summary", "1 entry by 1 user", RECONNECT_MS)
        assert page.locator("script[src*=guestbook]").count() == 0
    assert alice.evaluate("window.stayed")
    assert alice.input_value("#entry-text") == ""


def test_the_format_is_chosen_for_all_pages_of_the_browser(
    visitors: Visitors, alice: "Page", bob: "Page"
) -> None:
    alice.add_init_script("delete globalThis.SharedWorker;")  # Playwright does not see its frames
    frames: list[str | bytes] = []

    def record(frame: str | bytes) -> None:
        frames.append(frame)

    alice.on("websocket", lambda socket: socket.on("framereceived", record))
    visitors.open(alice, "/host/")
    alice.click("#connection summary")
    with alice.expect_navigation():
        alice.select_option("#connection-format", "msgpack")
    frames.clear()
    visitors.open(alice, "/rooms/coffee/")
    visitors.open(bob, "/rooms/coffee/")
    alice.fill("#text", "In few bytes")
    alice.press("#text", "Enter")
    wait_for_text(bob, ".bubble", "In few bytes")
    wait_for_text(alice, ".bubble", "In few bytes")
    assert frames
    assert {type(frame) for frame in frames} == {bytes}


def test_metrics_appear_in_both_browsers_as_they_come(
    visitors: Visitors, alice: "Page", bob: "Page"
) -> None:
    for page in (alice, bob):
        visitors.open(page, "/host/")
    for page in (alice, bob):
        page.wait_for_function(
            "document.querySelector('#cpu').textContent != '–'", timeout=PROMPTLY_MS
        )
        page.locator("#cpu-chart path.plot-line").first.wait_for()
        before = int(page.text_content("#connection-messages") or 0)
        page.wait_for_function(
            "n => Number(document.querySelector('#connection-messages').textContent) > n",
            arg=before,
            timeout=PROMPTLY_MS,
        )


def test_a_price_of_staff_appears_and_one_of_another_user_is_refused(
    visitors: Visitors, alice: "Page"
) -> None:
    admin = visitors.sign_in("admin")
    for page in (admin, alice):
        visitors.open(page, "/stocks/")
    admin.fill("#publish-price", "181.25")
    admin.click("#publish button")
    for page in (admin, alice):
        wait_for_text(page, "[data-symbol=AAPL] [data-price]", "181.25")
    admin.locator("#publish-done", has_text="Published: AAPL at 181.25.").wait_for()

    alice.fill("#publish-price", "1")
    alice.click("#publish button")
    wait_for_text(alice, "#publish-error", "you are not allowed to (forbidden)")


def test_a_symbol_is_not_sent_when_switched_off(visitors: Visitors, alice: "Page") -> None:
    admin = visitors.sign_in("admin")
    for page in (admin, alice):
        visitors.open(page, "/stocks/")
    alice.locator("[data-symbol=MSFT] input").uncheck(force=True)
    for symbol, price in (("MSFT", "400.00"), ("GOOG", "160.00")):
        admin.select_option("#publish-symbol", symbol)
        admin.fill("#publish-price", price)
        admin.click("#publish button")
        admin.locator("#publish-done", has_text=f"Published: {symbol}").wait_for()
    wait_for_text(alice, "[data-symbol=GOOG] [data-price]", "160.00")
    assert alice.text_content("[data-symbol=MSFT] [data-price]") != "400.00"


def test_the_connection_indicator_shows_how_the_connection_ended(
    chromium: "Browser", tmp_path: Path
) -> None:
    with run_demo(tmp_path) as server:
        visitors = Visitors(chromium, server)
        alice = visitors.sign_in("alice")
        visitors.open(alice, "/rooms/lobby/")
        wait_for_text(alice, "#connection-state", "Live")
        alice.click("#connection summary")
        alice.click("#connection-toggle")
        wait_for_text(alice, "#connection-state", "Closed: by this page")
        alice.fill("#text", "Into the void")
        alice.press("#text", "Enter")
        wait_for_text(alice, "#room-error", "there is no connection at the moment")
        assert alice.input_value("#text") == "Into the void"

        alice.click("#connection summary")
        alice.click("#connection-toggle")
        wait_for_text(alice, "#connection-state", "Live", RECONNECT_MS)
        alice.press("#text", "Enter")
        wait_for_text(alice, ".bubble", "Into the void")
        server.process.kill()
        wait_for_text(alice, "#connection-state", "Reconnecting", RECONNECT_MS)
        alice.context.close()


def test_the_page_catches_up_when_the_server_comes_back(
    chromium: "Browser", tmp_path: Path
) -> None:
    with run_demo(tmp_path) as first:
        visitors = Visitors(chromium, first)
        alice = visitors.sign_in("alice")
        visitors.open(alice, "/rooms/lobby/")
    wait_for_text(alice, "#connection-state", "Reconnecting", RECONNECT_MS)
    say = (
        "from rooms.models import *; from django.contrib.auth.models import User\n"
        "bob = User.objects.get(username='bob')\n"
        "Room.objects.get(slug='lobby').messages.create(user=bob, text='While you were away')\n"
    )
    assert manage(tmp_path, "shell", "-c", say).returncode == 0
    with run_demo(tmp_path, PORT=str(first.port)):
        # The delay between attempts may have grown to 30 s; the event `online` ends it.
        alice.evaluate("window.dispatchEvent(new Event('online'))")
        wait_for_text(alice, ".bubble", "While you were away", 3 * RECONNECT_MS)
        wait_for_text(alice, "#connection-state", "Live")
        assert alice.text_content("#connection-reconnects") == "1"
        alice.context.close()


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/rooms/", "/rooms/lobby/", "/boards/1/"),
        *("/host/", "/stocks/", "/guestbook/", "/break/"),
    ],
)
@pytest.mark.parametrize("width", [360, 1280])
def test_a_page_fits_its_window_and_names_its_controls(
    path: str, width: int, visitors: Visitors, alice: "Page"
) -> None:
    alice.set_viewport_size({"width": width, "height": 800})
    visitors.open(alice, path)
    too_wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert alice.evaluate(too_wide) == 0
    nameless = """[...document.querySelectorAll('button, input:not([type=hidden]), select, a')]
        .filter(node => !(node.textContent.trim() || node.ariaLabel || node.labels?.length))
        .map(node => node.outerHTML)"""
    assert alice.evaluate(nameless) == []
    assert alice.locator("h1").count() == 1


@pytest.mark.parametrize("path", ["/rooms/lobby/", "/boards/1/", "/host/", "/stocks/"])
def test_a_page_leads_an_anonymous_visitor_to_the_sign_in_and_back(
    path: str, visitors: Visitors
) -> None:
    page = visitors.browser.new_context().new_page()
    page.goto(visitors.server.url(path))
    page.click("main >> text=Sign in")
    page.click("[data-account=alice]")
    page.wait_for_url(visitors.server.url(path))
    wait_for_text(page, "#connection-state", "Live", RECONNECT_MS)


def test_signing_out_ends_at_the_home_page(visitors: Visitors, alice: "Page") -> None:
    visitors.open(alice, "/stocks/")
    alice.click("text=Sign out")
    alice.wait_for_url(visitors.server.url("/"))
    assert "Signed out" in (alice.text_content("header") or "")
    assert alice.locator("#connection").count() == 0
