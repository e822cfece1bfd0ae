"""The example's page that breaks its own connection: it heals, and no number is lost or comes twice."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.example_visitors import RECONNECT_MS, Visitors, wait_for_text
from tests.example.site import Visitor, run_demo
from tests.support.servers import Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HEAL_MS = 3 * RECONNECT_MS
MORE = 3


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    with run_demo(Path(tmp_path_factory.mktemp("demo")), SERVER=request.param) as server:
        yield server


@pytest.fixture
def broken(chromium: "Browser", server: Server) -> Iterator["Page"]:
    visitors = Visitors(chromium, server)
    page = visitors.sign_in("alice")
    page.goto(server.url("/break/"))
    wait_for_text(page, "#state", "Live", HEAL_MS)
    receive_more(page)
    yield page
    page.context.close()
    assert visitors.problems == []


def number(page: "Page", name: str) -> int:
    return int(page.text_content(f"#{name}") or "")


def reach(page: "Page", name: str, wanted: int) -> None:
    page.wait_for_function(
        "([name, wanted]) => Number(document.getElementById(name).textContent) >= wanted",
        arg=[name, wanted],
        timeout=HEAL_MS,
    )


def receive_more(page: "Page") -> None:
    reach(page, "received", number(page, "received") + MORE)


def heals(page: "Page", times: int, transport: str = "WebSocket") -> None:
    """Wait until the connection is there again by a transport, and check what has arrived."""
    reach(page, "healed", times)
    wait_for_text(page, "#transport", transport, HEAL_MS)
    misses_nothing(page)


def misses_nothing(page: "Page") -> None:
    receive_more(page)
    shown = [int(text) for text in page.locator("#numbers li").all_text_contents()]
    assert shown == list(range(shown[0], shown[0] + len(shown)))
    assert (number(page, "missing"), number(page, "twice")) == (0, 0)
    assert page.locator("#numbers .missing").count() == 0


def entry(page: "Page", text: str) -> None:
    wait_for_text(page, "#journal li", text, HEAL_MS)


def test_each_way_to_break_the_connection_heals(broken: "Page") -> None:
    broken.click("#drop")
    entry(broken, "Connection lost (1006)")
    heals(broken, 1)

    broken.click("#offline")
    entry(broken, "Connection lost (1006)")
    received = number(broken, "received")
    reach(broken, "attempts", number(broken, "attempts") + 2)
    broken.click("#offline")
    heals(broken, 2)
    assert number(broken, "late") > 0
    assert number(broken, "received") > received

    broken.click("#expire-token")
    entry(broken, "Connection lost (4401: the credentials were revoked)")
    entry(broken, "The token was refused: the client has fetched another")
    heals(broken, 3)

    broken.click("#restart")
    entry(broken, "Connection lost (4503: going away)")
    heals(broken, 4)


def test_a_blocked_websocket_falls_back_to_events_and_those_to_polling(broken: "Page") -> None:
    broken.click("#websocket")
    heals(broken, 1, "Server-sent events")
    broken.click("#drop")
    heals(broken, 2, "Server-sent events")
    broken.click("#sse")
    heals(broken, 3, "Long polling")
    broken.click("#drop")  # a poll that is lost is made again, and nobody notices
    misses_nothing(broken)
    assert number(broken, "healed") == 3


def test_only_the_demo_on_its_own_machine_restarts(tmp_path: Path) -> None:
    with run_demo(tmp_path, HOST="0.0.0.0") as server:
        alice = Visitor(server).sign_in("alice")
        assert 'id="restart" disabled' in alice.get("/break/")
        with pytest.raises(Exception, match="403"):
            alice.submit("/break/restart/", {}, form="/break/")
