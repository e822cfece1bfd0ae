"""The pages of channels and nodes, the overview, and the looks of all pages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.admin_crowd import Client, Crowd
from tests.browser.admin_staff import (
    BLOCKS,
    CHANNELS,
    ENDED,
    LIST,
    NODES,
    OVERVIEW,
    StaffBrowser,
    cell_text,
    id_of,
    is_same_document,
    mark,
    overflow,
    row_of,
    shoot,
    wait_by_reload,
    wait_for_message,
    wait_for_state,
)

if TYPE_CHECKING:
    pass


def test_channels_page_counts_by_node_and_publishes(
    staff: StaffBrowser, crowd: Crowd, everybody: list[Client]
) -> None:
    client = crowd.open(staff.site.b, "channels-1", channels=["open/announcements"])
    page = staff.sign_in()
    page.goto(staff.site.a.url(CHANNELS + "?q=open/"))
    lobby = page.locator("#realtime-channels tbody tr", has_text="open/lobby")
    subscribers = int(re.findall(r"\d+", lobby.locator("td").first.text_content() or "")[0])
    assert subscribers >= len(everybody)
    by_node = lobby.locator(".realtime-nodes li").all_text_contents()
    assert len(by_node) == 2
    assert sum(int(entry.rpartition(": ")[2]) for entry in by_node) == subscribers
    assert overflow(page) == 0
    shoot(page, "channels")

    row = page.locator("#realtime-channels tbody tr", has_text="open/announcements")
    row.locator(".realtime-actions a").first.click()
    assert page.input_value("[name=channel]") == "open/announcements"
    page.fill("[name=event]", "test")
    page.fill("[name=payload]", "{not json")
    page.click(".realtime-form input[type=submit]")
    page.locator(".errorlist", has_text="This is not valid JSON").wait_for()
    page.fill("[name=payload]", '{"text": "Is this on?"}')
    shoot(page, "publish")
    page.click(".realtime-form input[type=submit]")
    wait_for_message(page, "Published to open/announcements.")
    message = client.wait_for("message", text="Is this on?")
    assert (message["channel"], message["event"]) == ("open/announcements", "test")


def test_drained_node_sends_its_connections_to_other_servers(
    staff: StaffBrowser, crowd: Crowd, everybody: list[Client]
) -> None:
    with staff.site.third() as third:
        clients = crowd.open_all([{"server": third, "name": f"drain-{n}"} for n in range(3)])
        page = staff.sign_in()
        rows = page.locator("#realtime-nodes tbody tr")
        mine = rows.filter(has_text=f"process {third.process.pid}")
        wait_by_reload(page, staff.site.a.url(NODES), lambda: mine.count() == 1)
        assert rows.count() == 3
        assert set(rows.locator("td:nth-child(3)").all_text_contents()) != {""}
        assert cell_text(mine, 2).startswith("Responding")
        shoot(page, "nodes")
        mine.locator("a.realtime-button").click()
        page.locator("h1", has_text=f":{third.process.pid}").wait_for()
        shoot(page, "nodes-drain")
        page.click("#content-main input[type=submit]")
        wait_for_message(page, "its connections move to other servers, and it accepts no new ones.")
        for client in clients:
            assert client.close_code() == 4503
            assert client.wait_for("closing")["payload"]["retry_after"] >= 0
        wait_by_reload(page, staff.site.a.url(NODES), lambda: "Draining" in cell_text(mine, 2))
        assert mine.locator("a.realtime-button").count() == 0
        assert overflow(page) == 0
        everybody[0].is_served()


def test_overview_shows_the_samples_of_the_nodes(
    staff: StaffBrowser, crowd: Crowd, everybody: list[Client]
) -> None:
    crowd.do(staff.site.a, "publish", channel="open/lobby", payload="counted")
    page = staff.sign_in()
    plots = page.locator("svg.realtime-plot")
    wait_by_reload(page, staff.site.a.url(OVERVIEW), lambda: plots.count() >= 4)
    assert page.locator(".realtime-periods a").all_text_contents() == ["Last hour", "Last day"]
    page.locator("details.realtime-data summary").first.click()
    page.locator("details.realtime-data table").first.wait_for()
    assert overflow(page) == 0
    shoot(page, "overview")
    page.click(".realtime-periods >> text=Last day")
    page.locator(".realtime-periods a[aria-current]", has_text="Last day").wait_for()
    assert plots.count() >= 4


def test_overview_and_nodes_follow_what_happens_without_a_reload(
    staff: StaffBrowser, crowd: Crowd, everybody: list[Client]
) -> None:
    page = staff.sign_in()
    for path, number in (
        (OVERVIEW, "document.querySelector('.realtime-tiles dd').textContent"),
        (NODES, "document.querySelector('#realtime-nodes td:nth-child(4)').textContent"),
    ):
        page.goto(staff.site.a.url(path))
        wait_for_state(page, "live")
        mark(page)
        as_of = page.text_content(".realtime-as-of time")
        before = page.evaluate(number)
        crowd.open_all(
            [
                {"server": server, "name": f"more-{server.port}-{len(path)}-{n}"}
                for server in (staff.site.a, staff.site.b)
                for n in range(2)
            ]
        )
        page.wait_for_function(f"before => {number} !== before", arg=before)
        assert page.text_content(".realtime-as-of time") != as_of
        assert is_same_document(page)


# -- looks -----------------------------------------------------------------------------------------

LOOKS: dict[str, dict[str, Any]] = {
    "laptop": {"viewport": {"width": 1280, "height": 800}},
    "dark": {"color_scheme": "dark"},
    "rtl": {"locale": "ar"},
    "narrow": {"viewport": {"width": 360, "height": 740}},
    "narrow-rtl": {"viewport": {"width": 360, "height": 740}, "locale": "ar"},
    "narrow-german": {"viewport": {"width": 360, "height": 740}, "locale": "de"},
}


@pytest.mark.parametrize("look", LOOKS)
def test_every_page_fits_its_window(
    look: str, staff: StaffBrowser, everybody: list[Client]
) -> None:
    page = staff.sign_in(**LOOKS[look])
    staff.open_list(page, staff.site.a)
    row_of(page, everybody[-1]).wait_for()
    connection_id = id_of(page, everybody[-1])
    one = f"connection={connection_id}"
    is_rtl = page.evaluate("document.documentElement.dir") == "rtl"
    assert is_rtl is ("rtl" in look)
    if look == "dark":
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert max(map(int, re.findall(r"\d+", background)[:3])) < 64
    for name, path in {
        "list": LIST,
        "detail": f"{LIST}{connection_id}/change/",
        "trace": f"{LIST}{connection_id}/trace/",
        "history": f"{LIST}{connection_id}/history/",
        "disconnect": f"{LIST}act/disconnect/?{one}",
        "block-form": f"{LIST}act/block/?{one}",
        "groups": f"{LIST}groups/user/",
        "notice": f"{LIST}notice/",
        "ended": ENDED,
        "channels": CHANNELS,
        "publish": f"{CHANNELS}publish/",
        "nodes": NODES,
        "overview": OVERVIEW,
        "blocks": BLOCKS,
        "block": f"{BLOCKS}add/",
    }.items():
        page.goto(staff.site.a.url(path))
        assert (name, overflow(page)) == (name, 0)
        assert page.locator("h1").count() >= 1
        if look == "laptop" and page.locator(".realtime-table").count():
            table = page.locator(".realtime-scroll").first
            assert table.evaluate("box => box.scrollWidth - box.clientWidth") == 0, name
        shoot(page, f"{look}-{name}")
