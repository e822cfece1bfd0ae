"""What the example's pages miss: nothing. And who is there."""

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
from tests.support.forwarder import line_to
from tests.support.servers import Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

ROUNDS = 3
PUBLISHING_MS = 300
GRACE_MS = 5_000

# A page cannot see the frames of a worker. Without one, the tab that leads has the shared connection.
RECORD_FRAMES = """
delete globalThis.SharedWorker;
window.frames = { sent: [], received: [] };
const Native = WebSocket;
window.WebSocket = class extends Native {
  constructor(...args) {
    super(...args);
    this.addEventListener("message", ({ data }) => window.frames.received.push(...[JSON.parse(data)].flat()));
  }
  send(text) {
    window.frames.sent.push(...[JSON.parse(text)].flat());
    super.send(text);
  }
};
"""

ADD_CARDS = """async ({ milliseconds, title }) => {
  const form = document.querySelector("#new-card");
  const until = performance.now() + milliseconds;
  let added = 0;
  do {
    const body = new FormData(form);
    body.set("title", `${title} ${added}`);
    const response = await fetch(form.action, { method: "POST", body, headers: { Accept: "application/json" } });
    if (!response.ok) throw new Error(`${response.status}`);
    added += 1;
  } while (performance.now() < until);
  return added;
}"""

WATCH_ANNOUNCEMENTS = """() => {
  window.announced = [];
  const node = document.querySelector("#here-announcement");
  new MutationObserver(() => node.textContent && window.announced.push(node.textContent))
    .observe(node, { childList: true });
}"""


def add_cards(page: "Page", title: str, milliseconds: int = 0) -> int:
    """Publish cards from a page, one request after another. Returns how many."""
    added = page.evaluate(ADD_CARDS, {"milliseconds": milliseconds, "title": title})
    assert isinstance(added, int)
    return added


def offsets(page: "Page", channel: str) -> list[int]:
    """The offsets of a channel's messages, as its page received them."""
    return page.evaluate(  # type: ignore[no-any-return]
        """channel => window.frames.received
            .filter((message) => message.type === "message" && message.channel === channel)
            .map((message) => message.offset)""",
        channel,
    )


def requests(page: "Page") -> list[str]:
    """The types of what a page's client sent, apart from the heartbeat."""
    return page.evaluate(  # type: ignore[no-any-return]
        """window.frames.sent
            .map(({ type }) => type)
            .filter((type) => type !== "ping" && type !== "pong")"""
    )


def wait_for_titles(page: "Page", title: str, count: int, timeout_ms: int = RECONNECT_MS) -> None:
    """Wait until the page shows the cards ``<title> 0`` to ``<title> <count - 1>``, each once."""
    wait_for_text(page, ".card-title", f"{title} {count - 1}", timeout_ms)
    titles = page.locator(".card-title").all_text_contents()
    shown = sorted(int(text.rpartition(" ")[2]) for text in titles if text.startswith(f"{title} "))
    assert shown == list(range(count))


def test_who_is_here_is_shown_and_a_reload_is_not_a_leave(
    visitors: Visitors, alice: "Page", bob: "Page"
) -> None:
    for page in (alice, bob):
        visitors.open(page, "/rooms/coffee/")
    for page, names in ((alice, ": you, bob"), (bob, ": you, alice")):
        wait_for_text(page, "#here-count", "2 here", RECONNECT_MS)
        wait_for_text(page, "#here-names", names)
    bob.evaluate(WATCH_ANNOUNCEMENTS)

    visitors.open(alice, "/rooms/coffee/")
    wait_for_text(alice, "#here-count", "2 here", RECONNECT_MS)
    admin = visitors.sign_in("admin")
    visitors.open(admin, "/rooms/coffee/")
    wait_for_text(bob, "#here-count", "3 here", RECONNECT_MS)
    alice.context.close()
    wait_for_text(bob, "#here-count", "2 here", GRACE_MS + RECONNECT_MS)
    assert bob.evaluate("window.announced") == ["admin is here", "alice left"]
    wait_for_text(bob, "#here-names", ": you, admin")


def test_typing_is_shown_then_gone_and_leaves_no_trace(
    visitors: Visitors, alice: "Page", bob: "Page"
) -> None:
    for page in (alice, bob):
        visitors.open(page, "/rooms/engineering/")
    wait_for_text(alice, "#here-count", "2 here", RECONNECT_MS)
    alice.type("#text", "hm")
    wait_for_text(bob, "#typing", "alice is typing…")
    assert alice.text_content("#typing") == ""
    bob.wait_for_function("!document.querySelector('#typing').textContent", timeout=RECONNECT_MS)

    alice.type("#text", "m, yes")
    wait_for_text(bob, "#typing", "alice is typing…")
    alice.press("#text", "Enter")
    wait_for_text(bob, ".bubble", "hmm, yes")
    assert bob.text_content("#typing") == ""
    kept = bob.evaluate(
        """async () => {
          const { client } = await import("site");
          const { messages } = await client.history("rooms/engineering", { reverse: true, limit: 5 });
          return messages.map(({ event, payload }) => [event, payload?.text]);
        }"""
    )
    assert kept[0] == [None, "hmm, yes"]
    assert all(event != "typing" for event, _ in kept)


def test_earlier_messages_come_when_the_list_is_scrolled_to_its_beginning(
    visitors: Visitors, server: Server, alice: "Page"
) -> None:
    visitors.open(alice, "/rooms/")
    alice.fill("#room-name", "Long ago")
    alice.click(".new-room button")
    alice.wait_for_url(server.url("/rooms/long-ago/"))
    wait_for_text(alice, "#here-count", "1 here", RECONNECT_MS)
    alice.evaluate(
        """async () => {
          const { client } = await import("site");
          for (let n = 0; n < 70; n += 1) {
            for (;;) {
              try {
                await client.publish("rooms/long-ago", { text: `Message ${n}`, key: `k${n}` });
                break;
              } catch (error) {
                if (error.code !== "rate_limited") throw error;
                await new Promise((resolve) => setTimeout(resolve, (error.retryAfter ?? 0) * 1000));
              }
            }
          }
        }"""
    )
    visitors.open(alice, "/rooms/long-ago/")
    wait_for_text(alice, ".bubble", "Message 69", RECONNECT_MS)
    texts = alice.locator(".bubble").all_text_contents
    assert texts() == [f"Message {n}" for n in range(10, 70)]
    alice.evaluate("document.querySelector('#messages').scrollTop = 0")
    wait_for_text(alice, ".bubble", "Message 0", RECONNECT_MS)
    assert texts() == [f"Message {n}" for n in range(70)]


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_board_misses_nothing_between_the_page_and_its_subscription(
    visitors: Visitors, server: Server, alice: "Page", bob: "Page", number: int
) -> None:
    visitors.open(bob, "/boards/1/")
    held: list[Route] = []
    alice.add_init_script(RECORD_FRAMES)
    alice.route(
        "**/board.js", lambda route: held.append(route)
    )  # so that the rendered page does not subscribe yet
    with alice.expect_request("**/board.js"):
        alice.goto(server.url("/boards/1/"), wait_until="commit")
    added = add_cards(bob, f"Between {number}", PUBLISHING_MS)
    assert added >= 1
    held[0].continue_()
    wait_for_titles(alice, f"Between {number}", added)
    assert add_cards(bob, f"Live {number}") == 1
    wait_for_titles(alice, f"Live {number}", 1)

    start = alice.evaluate("JSON.parse(document.querySelector('#board').dataset.position).offset")
    assert offsets(alice, "boards/1") == list(range(start + 1, start + added + 2))
    assert requests(alice) == ["subscribe"]


def test_a_board_gets_what_it_missed_when_its_connection_was_cut(
    visitors: Visitors, server: Server, bob: "Page"
) -> None:
    visitors.open(bob, "/boards/1/")
    with line_to(server.port) as line:
        alice = visitors.sign_in("alice", line.origin)
        alice.add_init_script(RECORD_FRAMES)
        alice.goto(f"{line.origin}/boards/1/")
        assert add_cards(bob, "Before") == 1
        wait_for_titles(alice, "Before", 1)
        added = 0
        for number in range(ROUNDS):
            line.cut()
            wait_for_text(alice, "#connection-state", "Reconnecting", RECONNECT_MS)
            added += (missed := add_cards(bob, f"Missed {number}", PUBLISHING_MS))
            line.mend()
            alice.evaluate("window.dispatchEvent(new Event('online'))")
            wait_for_titles(alice, f"Missed {number}", missed)
        start = alice.evaluate(
            "JSON.parse(document.querySelector('#board').dataset.position).offset"
        )
        assert offsets(alice, "boards/1") == list(range(start + 1, start + added + 2))
        assert requests(alice) == ["subscribe", *["resume"] * ROUNDS]
        alice.context.close()


def test_a_ticker_that_was_cut_gets_each_missed_price_of_its_symbols_once(
    visitors: Visitors, server: Server
) -> None:
    admin = visitors.sign_in("admin")
    visitors.open(admin, "/stocks/")
    with line_to(server.port) as line:
        alice = visitors.sign_in("alice", line.origin)
        alice.add_init_script(RECORD_FRAMES)
        alice.goto(f"{line.origin}/stocks/")
        wait_for_text(alice, "#connection-state", "Live", RECONNECT_MS)
        alice.locator("[data-symbol=GOOG] input").uncheck(force=True)
        alice.wait_for_function(
            "window.frames.received.some(({ type }) => type === 'unsubscribed')",
            timeout=RECONNECT_MS,
        )
        line.cut()
        wait_for_text(alice, "#connection-state", "Reconnecting", RECONNECT_MS)
        for symbol, price in (("AAPL", "190.01"), ("GOOG", "190.02"), ("MSFT", "190.03")):
            admin.select_option("#publish-symbol", symbol)
            admin.fill("#publish-price", price)
            admin.click("#publish button")
            admin.locator("#publish-done", has_text=f"Published: {symbol}").wait_for()
        line.mend()
        alice.evaluate("window.dispatchEvent(new Event('online'))")
        for symbol, price in (("AAPL", "190.01"), ("MSFT", "190.03")):
            wait_for_text(alice, f"[data-symbol={symbol}] [data-price]", price, RECONNECT_MS)
        prices = alice.evaluate(
            """window.frames.received
                .filter((message) => message.channel === "stocks" && message.payload?.price >= 190.01
                    && message.payload.price <= 190.03)
                .map(({ payload }) => payload.price)"""
        )
        assert prices == [190.01, 190.03]
        # One request for all tiles. A tab that is back later than the connection that it leads may have to load
        # the charts again: one call.
        sent = requests(alice)
        assert sent[sent.index("resume") :] in (["resume"], ["resume", "call"])
        alice.context.close()


def test_a_message_that_is_sent_without_a_connection_waits_and_is_sent_once(
    visitors: Visitors, server: Server, bob: "Page"
) -> None:
    visitors.open(bob, "/rooms/coffee/")
    with line_to(server.port) as line:
        alice = visitors.sign_in("alice", line.origin)
        alice.goto(f"{line.origin}/rooms/coffee/")
        wait_for_text(alice, "#connection-state", "Live", RECONNECT_MS)
        line.cut()
        wait_for_text(alice, "#connection-state", "Reconnecting", RECONNECT_MS)
        alice.fill("#text", "Written in a tunnel")
        alice.press("#text", "Enter")
        wait_for_text(alice, ".message.waiting .bubble", "Written in a tunnel")
        line.mend()
        alice.evaluate("window.dispatchEvent(new Event('online'))")
        wait_for_text(bob, ".bubble", "Written in a tunnel", RECONNECT_MS)
        wait_for_text(alice, ".message:not(.waiting) .bubble", "Written in a tunnel", RECONNECT_MS)
        alice.locator(".message.waiting").wait_for(state="detached", timeout=RECONNECT_MS)
        for page in (alice, bob):
            assert page.locator(".bubble", has_text="Written in a tunnel").count() == 1
        alice.context.close()


def test_a_board_loads_its_cards_where_the_history_is_gone(
    chromium: "Browser", tmp_path: Path
) -> None:
    with run_demo(tmp_path) as first:
        visitors = Visitors(chromium, first)
        alice = visitors.sign_in("alice")
        visitors.open(alice, "/boards/1/")
    wait_for_text(alice, "#connection-state", "Reconnecting", RECONNECT_MS)
    save = (
        "from boards.models import *\n"
        "Card.objects.create(board_id=1, title='While it was down', status='doing')\n"
        "Card.objects.filter(title='Save a card in the admin').delete()\n"
    )
    assert manage(tmp_path, "shell", "-c", save).returncode == 0
    with run_demo(tmp_path, PORT=str(first.port)):
        alice.evaluate("window.dispatchEvent(new Event('online'))")
        wait_for_card(alice, "While it was down", "doing", 3 * RECONNECT_MS)
        assert alice.locator(".card", has_text="Save a card in the admin").count() == 0
        alice.fill("#card-title", "And on")
        alice.press("#card-title", "Enter")
        wait_for_card(alice, "And on", "todo", RECONNECT_MS)
        alice.context.close()
    assert visitors.problems == []


def test_a_symbol_that_is_switched_on_again_gets_its_newest_price_first(
    visitors: Visitors, alice: "Page"
) -> None:
    admin = visitors.sign_in("admin")
    for page in (admin, alice):
        visitors.open(page, "/stocks/")
    wait_for_text(alice, "[data-symbol=MSFT] [data-price]", ".", RECONNECT_MS)  # any price
    alice.locator("[data-symbol=MSFT] input").uncheck(force=True)
    admin.select_option("#publish-symbol", "MSFT")
    admin.fill("#publish-price", "432.50")
    admin.click("#publish button")
    wait_for_text(admin, "[data-symbol=MSFT] [data-price]", "432.50")
    assert alice.text_content("[data-symbol=MSFT] [data-price]") != "432.50"
    alice.locator("[data-symbol=MSFT] input").check(force=True)
    wait_for_text(alice, "[data-symbol=MSFT] [data-price]", "432.50", RECONNECT_MS)
