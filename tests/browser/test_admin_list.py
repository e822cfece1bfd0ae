"""The list of connections as staff see it in a browser."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from channels_realtime.admin.actions import ACTIONS
from tests.browser.admin_crowd import Client, Crowd
from tests.browser.admin_staff import (
    BLOCKS,
    BROWSERS,
    CHANNELS,
    LIST,
    NODES,
    OTHERS,
    OVERVIEW,
    TIMEOUT_MS,
    StaffBrowser,
    cell,
    choose,
    id_of,
    is_same_document,
    overflow,
    row_of,
    shoot,
    wait_for_message,
    wait_for_names,
    wait_for_state,
)

if TYPE_CHECKING:
    pass


# -- the list --------------------------------------------------------------------------------------


def test_list_shows_user_address_server_and_channels(
    staff: StaffBrowser, everybody: list[Client]
) -> None:
    page = staff.sign_in()
    staff.open_list(page, staff.site.a, "?all=&admin_pages=shown")
    wait_for_names(page, {client.name for client in everybody})
    # The pages of staff that show the list are connected too.
    page.wait_for_function(
        """least => {
            const rows = document.querySelectorAll('#result_list tbody tr').length;
            const total = Number(document.querySelector('.paginator').textContent.match(/\\d+/)[0]);
            return rows > least && rows === total;
        }""",
        arg=len(everybody),
    )

    words = list(BROWSERS)
    methods = {
        "session": "login session",
        "jwt": "token expires in ",
        "anonymous": "not authenticated",
    }
    for number, client in list(enumerate(everybody))[:9]:
        row = row_of(page, client)
        assert cell(row, "shown_user").split()[0] == (client.user or "anonymous")
        assert cell(row, "shown_address") == client.address
        assert cell(row, "shown_path") == "/ws/"
        assert cell(row, "shown_health") == "good"
        assert cell(row, "shown_server").endswith(f":{client.server.process.pid}")
        assert cell(row, "shown_origin") == "https://shop.example"
        assert cell(row, "shown_browser") == words[number % len(words)]
        assert cell(row, "shown_method").startswith(methods[client.method])
        assert cell(row, "shown_channels") == ("3" if client.user else "2")  # with users/<id>
        assert re.fullmatch(r"now|\d+ (s|min) ago", cell(row, "shown_since"))
    assert page.text_content("#realtime-live-state") == "Live: this list updates automatically."
    user_link = row_of(page, everybody[0]).locator(".field-shown_user a").first
    assert user_link.get_attribute("href") == (
        f"/admin/auth/user/{staff.site.people[everybody[0].user].id}/change/"
    )
    assert overflow(page) == 0
    shoot(page, "list")


LAPTOP = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 390, "height": 844}}
COLUMNS = ["User", "Channels", "Address", "Connected", "Last seen", "Health"]


@pytest.mark.parametrize("window", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_list_shows_the_most_important_without_scrolling(
    staff: StaffBrowser, everybody: list[Client], window: dict[str, Any]
) -> None:
    page = staff.sign_in(**window)
    page.goto(staff.site.a.url(LIST + "?q=crowd-"))
    heads = page.locator("#result_list thead .text").all_text_contents()
    assert [head.strip() for head in heads if head.strip()] == COLUMNS
    hidden = page.evaluate(
        """() => {
            const box = document.querySelector("#changelist .results");
            const right = box.getBoundingClientRect().right + 1;
            const cells = [...document.querySelectorAll("#result_list tbody td")];
            return cells.filter((cell) => cell.getBoundingClientRect().right > right).length;
        }"""
    )
    assert (hidden, overflow(page)) == (0, 0)
    page.click("#changelist-filter >> text=All >> nth=-1")
    page.wait_for_url(lambda url: "columns=all" in url)
    assert page.locator("#result_list thead .text").count() > len(COLUMNS)
    assert overflow(page) == 0
    shoot(page, f"list-all-{window['viewport']['width']}")


def test_search_finds_by_user_channel_client_id_and_address(
    staff: StaffBrowser, everybody: list[Client]
) -> None:
    page = staff.sign_in()
    staff.open_list(page, staff.site.b)
    of_cleo = {client.name for client in everybody if client.user == "cleo"}
    at_cleos = {client.name for client in everybody if client.address.startswith("10.1.2.")}
    for text, wanted in (
        ("cleo", of_cleo),
        ("open/cleo", at_cleos),
        ("crowd-007", {"crowd-007"}),
        ("10.1.2.", at_cleos),
        ("10.1.2. cleo", of_cleo),
        ("nobody-has-this", set()),
    ):
        page.fill("#searchbar", text)
        page.press("#searchbar", "Enter")
        page.wait_for_url(lambda url: "q=" in url)
        wait_for_names(page, wanted)
        assert page.input_value("#searchbar") == text
    assert page.text_content("#realtime-empty p") == "No connections match."


def test_each_filter_narrows_the_list(staff: StaffBrowser, everybody: list[Client]) -> None:
    page = staff.sign_in()
    names = {client.name for client in everybody}
    host_and_pid = re.compile(rf":{staff.site.b.process.pid}$")
    by_link: list[tuple[str, str | re.Pattern[str], set[str]]] = [
        ("health", "slow", set()),
        ("process", host_and_pid, {c.name for c in everybody if c.server is staff.site.b}),
        ("authentication", "token", {c.name for c in everybody if c.method == "jwt"}),
        (
            "authentication",
            "not authenticated",
            {c.name for c in everybody if c.method == "anonymous"},
        ),
        ("connect time", "Last 5 minutes", names),
        ("connect time", "More than a day ago", set()),
    ]
    for title, choice, wanted in by_link:
        page.goto(staff.site.a.url(LIST + "?all=&q=crowd-&columns=all"))
        links = page.locator(f"#changelist-filter [data-filter-title='{title}'] a")
        links.filter(has_text=choice).click()
        page.wait_for_url(lambda url: url.count("=") > 3)
        wait_for_names(page, wanted)
    of_dan = {client.name for client in everybody if client.user == "dan"}
    at_dans = {client.name for client in everybody if client.address.startswith("10.1.3.")}
    for field, text, wanted in (
        ("user", "dan", of_dan),
        ("user", staff.site.people["dan"].id, of_dan),
        ("channel", "open/dan", at_dans),
    ):
        page.goto(staff.site.a.url(LIST + "?columns=all"))
        page.fill(f"#changelist-filter input[name={field}]", text)
        page.press(f"#changelist-filter input[name={field}]", "Enter")
        page.wait_for_url(lambda url, field=field: f"{field}=" in url)
        wait_for_names(page, wanted)
    page.click("#changelist-filter .realtime-typed >> text=Clear")
    page.wait_for_url(lambda url: "channel=" not in url)
    page.click("#changelist-filter >> text=Last 5 minutes")
    page.wait_for_url(lambda url: "since=" in url)
    page.goto(f"{page.url}&all=")  # the crowd may be more than a page of the list
    wait_for_names(page, names)


def test_list_shows_changes_in_the_other_process_without_a_reload(
    staff: StaffBrowser, crowd: Crowd
) -> None:
    stays, goes = crowd.open_all(
        [
            {"server": server, "name": f"live-{server.port}"}
            for server in (staff.site.a, staff.site.b)
        ]
    )
    page = staff.sign_in()
    staff.open_list(page, staff.site.a, "?q=live-")
    wait_for_names(page, {stays.name, goes.name})
    row_of(page, stays).locator("input.action-select").check()
    page.focus("#searchbar")

    comes = crowd.open(staff.site.b, "live-new", channels=["open/lobby"])
    wait_for_names(page, {stays.name, goes.name, comes.name})
    goes.end()
    wait_for_names(page, {stays.name, comes.name})
    assert row_of(page, stays).locator("input.action-select").is_checked()
    assert not row_of(page, comes).locator("input.action-select").is_checked()
    assert page.text_content("span.action-counter") == "1 of 2 selected"
    assert page.evaluate("document.activeElement.id") == "searchbar"

    # New checkboxes work like those of Django.
    page.check("#action-toggle")
    assert page.text_content("span.action-counter") == "2 of 2 selected"
    assert row_of(page, comes).locator("input.action-select").is_checked()

    page.click("#realtime-live-pause")
    wait_for_state(page, "paused")
    comes.end()
    stays.end()
    page.click("#realtime-live-pause")
    page.locator("#realtime-empty p", has_text="No connections match.").wait_for()
    wait_for_state(page, "live")
    assert is_same_document(page)


def test_list_works_without_javascript(
    staff: StaffBrowser, everybody: list[Client], crowd: Crowd
) -> None:
    page = staff.sign_in(java_script_enabled=False)
    client = crowd.open(staff.site.b, "plain-1")
    deadline = time.monotonic() + TIMEOUT_MS / 1000
    while True:
        page.goto(staff.site.a.url(LIST + "?columns=all&q=plain-"))
        if row_of(page, client).count():
            break
        assert time.monotonic() < deadline
    said = page.locator("#realtime-live-state").text_content()
    assert said == "Reload the page to see changes."
    assert not page.locator("#realtime-live-pause").is_visible()
    row_of(page, client).locator("input.action-select").check()
    choose(page, "disconnect")
    page.click("#realtime-act input[type=submit]")
    wait_for_message(page, "1 connection was disconnected.")
    assert client.close_code() == 4403


# -- what clients write ----------------------------------------------------------------------------

SCRIPT = "<script>window.__pwned=1;alert(1)</script>"
QUOTES = "\"'><img src=x onerror=window.__pwned=1>"
OVERRIDE = "evil\u202egpj.exe"
LONG = "ab<c>" * 1_500
HOSTILE_CHANNEL = "javascript:window.__pwned=1//"
LONG_CHANNEL = "open/" + "long" * 48


def test_values_of_clients_are_shown_as_text(staff: StaffBrowser, crowd: Crowd) -> None:
    pwner = staff.site.people[OTHERS[-1]]
    values = {"script": SCRIPT, "quotes": QUOTES, "override": OVERRIDE, "long": LONG}
    clients = {
        kind: crowd.open(
            staff.site.b,
            f"h-{kind} {value}",
            person=pwner,
            origin=value,
            user_agent=value,
            channels=[HOSTILE_CHANNEL, LONG_CHANNEL],
        )
        for kind, value in values.items()
        if kind != "long"
    }
    # An origin has 300 characters at most.
    clients["long"] = crowd.open(
        staff.site.b, f"h-long {LONG}", person=pwner, user_agent=LONG, channels=[LONG_CHANNEL]
    )
    page = staff.sign_in()
    staff.open_list(page, staff.site.a, "?q=h-")
    rows = page.locator("#result_list tbody tr")
    page.wait_for_function("() => document.querySelectorAll('#result_list tbody tr').length == 4")
    # Headers are Latin-1, in which the three bytes of the override are no letters.
    shown = {"script": SCRIPT, "quotes": QUOTES, "override": "evilâ⟨U+0080⟩®gpj.exe"}
    for kind, value in shown.items():
        row = rows.filter(has_text=f"h-{kind} ")
        for name in ("shown_origin", "shown_browser"):
            assert cell(row, name) == (value if len(value) <= 40 else value[:40] + "…")
        assert cell(row, "shown_user").rpartition(" ")[0] == pwner.name.replace(
            "\u202e", "⟨U+202E⟩"
        )
        assert row.locator(".field-shown_origin bdi").get_attribute("title") in (None, value)
    assert cell(rows.filter(has_text="h-long"), "shown_browser") == LONG[:40] + "…"
    assert page.locator("#result_list :is(img, script)").count() == 0
    assert overflow(page) == 0
    shoot(page, "hostile-list")

    for kind, value in {**shown, "long": LONG}.items():
        page.goto(staff.site.a.url(f"{LIST}?columns=all&q=h-{kind}"))
        rows.locator("a.realtime-id").first.click()
        wait_for_state(page, "live")
        page.locator("dd", has_text=value).first.wait_for(state="attached")
        for summary in page.locator("#realtime-connection summary").all():
            summary.click()
        assert page.locator("#realtime-connection :is(img, script)").count() == 0
        assert page.locator("#content a[href^='javascript:']").count() == 0
        assert overflow(page) == 0
        shoot(page, f"hostile-detail-{kind}")

    page.goto(staff.site.a.url(CHANNELS + "?q=javascript:"))
    assert page.locator("#realtime-channels th bdi").all_text_contents() == [HOSTILE_CHANNEL]
    assert page.locator("#content a[href^='javascript:']").count() == 0
    page.goto(staff.site.a.url(CHANNELS))
    page.locator("#realtime-channels th bdi", has_text=LONG_CHANNEL).wait_for()
    assert overflow(page) == 0
    shoot(page, "hostile-channels")


@pytest.mark.parametrize("value", [SCRIPT, QUOTES, OVERRIDE], ids=["script", "quotes", "override"])
def test_values_in_links_are_shown_as_text(
    staff: StaffBrowser, value: str, everybody: list[Client]
) -> None:
    page = staff.sign_in()
    page.goto(staff.site.a.url(LIST))
    for name in ("q", "user", "channel"):
        selector = f"input[name={name}]:not([type=hidden])"
        page.fill(selector, value)
        page.press(selector, "Enter")
        page.locator("#realtime-empty p").wait_for()
        assert page.input_value(selector) == value
        assert page.locator("#content :is(script, img[onerror])").count() == 0
        page.goto(staff.site.a.url(LIST))
    page.goto(staff.site.a.url(CHANNELS))
    page.fill("#realtime-search", value)
    page.press("#realtime-search", "Enter")
    page.locator(".realtime-empty bdi").wait_for()
    assert page.text_content(".realtime-empty bdi") == value.replace("\u202e", "⟨U+202E⟩")
    assert page.locator("#content-main :is(script, img[onerror])").count() == 0


# -- who may do what -------------------------------------------------------------------------------


def test_support_may_see_and_not_act(staff: StaffBrowser, everybody: list[Client]) -> None:
    page = staff.sign_in("support")
    staff.open_list(page, staff.site.a, "?q=crowd-00")
    client = everybody[0]
    row_of(page, client).wait_for()
    connection_id = id_of(page, client)
    assert page.locator("select[name=action], input.action-select").count() == 0
    assert page.locator("#result_list .field-shown_user a:not(.realtime-id)").count() == 0
    shoot(page, "list-view-only")
    row_of(page, client).locator("a.realtime-id").click()
    wait_for_state(page, "live")
    assert page.locator(".realtime-tools a").all_text_contents() == ["History", "Refresh"]
    assert page.locator("text=Unsubscribe").count() == 0

    token = next(c["value"] for c in page.context.cookies() if c["name"] == "sessionid")
    assert token == staff.site.people["support"].key
    for name in ACTIONS:
        status = page.request.get(
            staff.site.a.url(f"{LIST}act/{name}/"), params={"connection": connection_id}
        ).status
        assert (name, status) == (name, 403)
    for path in (
        f"{LIST}{connection_id}/trace/",
        CHANNELS,
        f"{CHANNELS}publish/",
        NODES,
        OVERVIEW,
        BLOCKS,
    ):
        assert (path, page.request.get(staff.site.a.url(path)).status) == (path, 403)
    page.goto(staff.site.a.url("/admin/"))
    models = page.locator("#content-main .app-channels_realtime tbody th a")
    assert models.all_inner_texts() == ["Connections"]
    client.is_served()


def test_staff_without_permissions_see_nothing(
    staff: StaffBrowser, everybody: list[Client]
) -> None:
    page = staff.sign_in("newcomer")
    assert page.request.get(staff.site.a.url(LIST)).status == 403
    staff.expected = (403,)
    page.goto(staff.site.a.url("/admin/"))
    assert page.locator(".app-channels_realtime").count() == 0
    stranger = staff.browser.new_context().new_page()  # not logged in
    stranger.goto(staff.site.a.url(LIST))
    stranger.wait_for_url(lambda url: "/admin/login/?next=" in url)
