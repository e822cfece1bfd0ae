"""The admin as staff see it in a browser: two processes of one site, and a crowd that is connected to both."""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from channels_realtime.admin.actions import ACTIONS
from tests.browser.admin_crowd import AdminSite, Client, Crowd, admin_site
from tests.support.servers import ROOT, Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page

CROWD = 24
"""Connections on both processes together; 300 work as well."""

TIMEOUT_MS = 15_000
AT_ONCE_S = 1.0

LIST = "/admin/channels_realtime/connectionrecord/"
CHANNELS = "/admin/channels_realtime/subscriptionrecord/"
NODES = "/admin/channels_realtime/noderecord/"
OVERVIEW = "/admin/channels_realtime/samplerecord/"
BLOCKS = "/admin/channels_realtime/blockrecord/"

VISITORS = ("ann", "ben", "cleo", "dan", "eve", "finn")
"""The users of the crowd. The tests revoke and block ``OTHERS``."""

OTHERS = ("vera", "walt", "xena", "yann", "zoe", "mary", "\u202e<script>window.__pwned=1</script>")

BROWSERS = {
    "Firefox 128, Ubuntu": (
        "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
    ),
    "Chrome 126, Windows 10": (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
        " Chrome/126.0.0.0 Safari/537.36"
    ),
    "Mobile Safari 17, iOS 17": (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15"
        " (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
    ),
}

_numbers = itertools.count(1)


# -- the site, the crowd and the browser -----------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[AdminSite]:
    directory: Path = tmp_path_factory.mktemp("admin")
    with admin_site(directory, redis_url, [*VISITORS, *OTHERS]) as made:
        yield made


@pytest.fixture(scope="module")
def lasting_crowd(site: AdminSite) -> Iterator[Crowd]:
    with Crowd() as crowd:
        yield crowd


@pytest.fixture
def crowd(lasting_crowd: Crowd) -> Iterator[Crowd]:
    """For connections of one test."""
    with lasting_crowd.of_one_test():
        yield lasting_crowd


@pytest.fixture(scope="module")
def everybody(site: AdminSite, lasting_crowd: Crowd) -> list[Client]:
    """Six users and a few anonymous clients, half of them on each process, for all tests."""
    crowd = lasting_crowd
    browsers = list(BROWSERS.values())
    tokens = {
        name: crowd.do(site.a, "mint", user=site.people[name].id, seconds="3600")
        for name in VISITORS
    }
    wanted: list[dict[str, Any]] = []
    for number in range(CROWD):
        visitor = number % len(VISITORS)
        name = VISITORS[visitor]
        anonymous, by_token = number % 8 == 6, number % 8 == 3
        wanted.append(
            {
                "server": (site.a, site.b)[number // len(VISITORS) % 2],
                "name": f"crowd-{number:03}",
                "person": None if anonymous else site.people[name],
                "token": tokens[name] if by_token else None,
                "address": f"10.1.{visitor}.{number // len(VISITORS) + 1}",
                "user_agent": browsers[number % len(browsers)],
                "channels": ["open/lobby", f"open/{name}"],
            }
        )
    return crowd.open_all(wanted)


class StaffBrowser:
    """Browser pages of staff, and the problems that they had."""

    def __init__(self, browser: Browser, site: AdminSite) -> None:
        self.browser = browser
        self.site = site
        self.problems: list[str] = []
        self.expected: tuple[int, ...] = ()
        """Statuses that a page may answer with."""
        self._contexts: dict[str, BrowserContext] = {}
        self._scriptless: set[BrowserContext] = set()

    def sign_in(self, name: str = "root", **options: Any) -> Page:
        """A page of a logged-in user. Options: of the browser context.

        Tests share the contexts, and with them what the browser has cached.
        """
        options.setdefault("viewport", {"width": 1500, "height": 900})
        key = repr((name, options))
        if key not in self._contexts:
            context = self._contexts[key] = self.browser.new_context(**options)
            context.set_default_timeout(TIMEOUT_MS)
            cookie = {"name": "sessionid", "value": self.site.people[name].key}
            context.add_cookies([{**cookie, "url": self.site.a.url()}])  # type: ignore[list-item]
            self._watch(context)
            if options.get("java_script_enabled") is False:
                self._scriptless.add(context)
        return self._contexts[key].new_page()

    def assert_harmless(self) -> None:
        """No page ran a script of a client or had a problem."""
        for context in self.browser.contexts:
            for page in context.pages:
                if context not in self._scriptless and page.url.startswith("http"):
                    assert page.evaluate("() => window.__pwned") is None
        assert self.problems == []

    def leave(self) -> None:
        """Close all pages."""
        for context in self.browser.contexts:
            for page in context.pages:
                page.close()
        self.problems.clear()
        self.expected = ()

    def _watch(self, context: BrowserContext) -> None:
        note = self.problems.append

        def on_page(page: Page) -> None:
            page.on("pageerror", lambda error: note(f"error: {error}"))
            page.on("console", self._hear)
            page.on("response", lambda r: note(f"{r.status}: {r.url}") if r.status >= 500 else None)

        def on_dialog(dialog: Any) -> None:
            note(f"dialog: {dialog.message}")
            dialog.dismiss()

        context.on("page", on_page)
        context.on("dialog", on_dialog)

    def _hear(self, said: ConsoleMessage) -> None:
        where = said.location["url"]
        if said.type not in ("error", "warning") or where.endswith("/favicon.ico"):
            return
        if any(f"responded with a status of {status}" in said.text for status in self.expected):
            return
        self.problems.append(f"{said.type}: {said.text} ({where})")

    def open_list(self, page: Page, server: Server, query: str = "") -> None:
        """Go to the list and wait until it is live."""
        page.goto(server.url(LIST + query))
        wait_for_state(page, "live")
        mark(page)


@pytest.fixture(scope="module")
def staff_browser(chromium: Browser, site: AdminSite) -> StaffBrowser:
    return StaffBrowser(chromium, site)


@pytest.fixture
def staff(staff_browser: StaffBrowser, request: pytest.FixtureRequest) -> Iterator[StaffBrowser]:
    """Closes all pages after the test, which fails if one had a problem."""
    failed = request.session.testsfailed
    try:
        yield staff_browser
        staff_browser.assert_harmless()
    finally:
        if request.session.testsfailed > failed:
            _picture_all(staff_browser.browser, request.node.name)
        staff_browser.leave()


def _picture_all(browser: Browser, name: str) -> None:
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", name)
    directory = ROOT / "test-results"
    directory.mkdir(exist_ok=True)
    for number, context in enumerate(browser.contexts):
        for page in context.pages:
            with suppress(Exception):
                page.screenshot(path=directory / f"{name}-{number}.png", full_page=True)


def shoot(page: Page, name: str) -> None:
    """Take a screenshot, if ``SCREENSHOTS`` names a directory."""
    if directory := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(directory) / f"{name}.png", full_page=True)


# -- reading and waiting ---------------------------------------------------------------------------


def wait_for_state(page: Page, state: str) -> None:
    page.locator(f"#realtime-live[data-state={state}]").wait_for()


def mark(page: Page) -> None:
    """Mark the document, to notice a reload."""
    page.evaluate("window.__sameDocument = true")


def is_same_document(page: Page) -> bool:
    return page.evaluate("window.__sameDocument === true") is True


def row_of(page: Page, client: Client) -> Locator:
    return page.locator("#result_list tbody tr", has_text=client.name)


def names_shown(page: Page) -> set[str]:
    """The client ids in the list; the connections of staff have none."""
    cells = page.locator("#result_list .field-shown_client_id bdi").all_text_contents()
    return set(cells)


def wait_for_names(page: Page, wanted: set[str]) -> None:
    """Until the list shows these and no others of the crowd."""
    page.wait_for_function(
        """wanted => {
            const cells = document.querySelectorAll('#result_list .field-shown_client_id bdi');
            const shown = new Set([...cells].map(cell => cell.textContent));
            return shown.size === wanted.length && wanted.every(name => shown.has(name));
        }""",
        arg=sorted(wanted),
    )


def id_of(page: Page, client: Client) -> str:
    key = row_of(page, client).locator("[data-key]").first.get_attribute("data-key")
    assert key
    return key


def cell(row: Locator, name: str) -> str:
    return (row.locator(f".field-{name}").text_content() or "").strip()


def wait_for_message(page: Page, text: str) -> None:
    page.locator(".messagelist li", has_text=text).wait_for()


def overflow(page: Page) -> int:
    """Pixels by which the page is wider than its window."""
    found: int = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return found


# -- the list --------------------------------------------------------------------------------------


def test_list_shows_user_address_server_and_channels(
    staff: StaffBrowser, everybody: list[Client]
) -> None:
    page = staff.sign_in()
    staff.open_list(page, staff.site.a, "?all=")
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
        assert cell(row, "shown_user") == (client.user or "anonymous")
        assert cell(row, "shown_address") == client.address
        assert cell(row, "shown_transport") == "WebSocket"
        assert cell(row, "shown_server").endswith(f":{client.server.process.pid}")
        assert cell(row, "shown_origin") == "https://shop.example"
        assert cell(row, "shown_browser") == words[number % len(words)]
        assert cell(row, "shown_method").startswith(methods[client.method])
        assert cell(row, "shown_channels") == ("3" if client.user else "2")  # with users/<id>
        assert re.fullmatch(r"now|\d+ (s|min) ago", cell(row, "shown_since"))
    assert page.text_content("#realtime-live-state") == "Live: this list updates automatically."
    user_link = row_of(page, everybody[0]).locator(".field-shown_user a")
    assert user_link.get_attribute("href") == (
        f"/admin/auth/user/{staff.site.people[everybody[0].user].id}/change/"
    )
    assert overflow(page) == 0
    shoot(page, "list")


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
        ("transport", "WebSocket", names),
        ("transport", "long polling", set()),
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
        page.goto(staff.site.a.url(LIST + "?all=&q=crowd-"))
        links = page.locator(f"#changelist-filter [data-filter-title='{title}'] a")
        links.filter(has_text=choice).click()
        page.wait_for_url(lambda url: url.count("=") > 2)
        wait_for_names(page, wanted)
    of_dan = {client.name for client in everybody if client.user == "dan"}
    at_dans = {client.name for client in everybody if client.address.startswith("10.1.3.")}
    for field, text, wanted in (
        ("user", "dan", of_dan),
        ("user", staff.site.people["dan"].id, of_dan),
        ("channel", "open/dan", at_dans),
    ):
        page.goto(staff.site.a.url(LIST))
        page.fill(f"#changelist-filter input[name={field}]", text)
        page.press(f"#changelist-filter input[name={field}]", "Enter")
        page.wait_for_url(lambda url, field=field: f"{field}=" in url)
        wait_for_names(page, wanted)
    page.click("#changelist-filter >> text=Clear >> nth=0")
    page.wait_for_url(lambda url: "channel=" not in url)
    page.click("#changelist-filter >> text=WebSocket")
    page.wait_for_url(lambda url: "transport=" in url)
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
        page.goto(staff.site.a.url(LIST + "?q=plain-"))
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


# -- actions ---------------------------------------------------------------------------------------


def choose(page: Page, action: str) -> None:
    """An entry of the list's menu, for the rows that are ticked."""
    page.select_option("select[name=action]", action)
    page.click("button[name=index]")
    page.locator("#realtime-act").wait_for()


class Acting:
    """Three connections, one here and two there, and the page of process A that lists them."""

    def __init__(self, staff: StaffBrowser, crowd: Crowd, **options: Any) -> None:
        self.prefix = f"act{next(_numbers):02}-"
        self.page = staff.sign_in()
        self.staff = staff
        there, here = staff.site.b, staff.site.a
        servers = {"near": here, "far": there, "other": there}
        addresses = options.pop("addresses", {})
        self.near, self.far, self.other = crowd.open_all(
            [
                {
                    "server": server,
                    "name": self.prefix + name,
                    **({"address": addresses[name]} if name in addresses else {}),
                    **options,
                }
                for name, server in servers.items()
            ]
        )
        self.open()

    @property
    def all(self) -> list[Client]:
        return [self.near, self.far, self.other]

    def open(self) -> None:
        self.staff.open_list(self.page, self.staff.site.a, f"?q={self.prefix}")
        self.wait_for(*self.all)
        self.ids = {client.name: id_of(self.page, client) for client in self.all}

    def wait_for(self, *clients: Client) -> None:
        wait_for_names(self.page, {client.name for client in clients})

    def confirm(
        self, action: str, *clients: Client, fill: Callable[[Page], None] | None = None
    ) -> float:
        """Act on one by its checkbox, or on all; returns the time of the last click."""
        if len(clients) == 1:
            row_of(self.page, clients[0]).locator("input.action-select").check()
        else:
            self.page.check("#action-toggle")
        choose(self.page, action)
        named = self.page.locator(".realtime-names").text_content() or ""
        assert all(self.ids[client.name] in named for client in clients)
        if fill is not None:
            fill(self.page)
        if len(clients) == 1:
            shoot(self.page, f"confirm-{action}")
        at = time.time()
        self.page.click("#realtime-act input[type=submit]")
        return at

    def returned(self, message: str) -> None:
        """Wait for the same list, with this message."""
        wait_for_message(self.page, message)
        assert f"q={self.prefix}" in self.page.url
        wait_for_state(self.page, "live")
        mark(self.page)

    def logged(self, client: Client, text: str) -> None:
        """Wait for an entry in the history of the connection, open or ended."""
        page = self.page.context.new_page()
        page.goto(self.staff.site.b.url(f"{LIST}{self.ids[client.name]}/history/"))
        page.locator("#change-history td", has_text=text).first.wait_for()
        page.close()


def test_disconnect_closes_a_socket_of_the_other_process_within_a_second(
    staff: StaffBrowser, crowd: Crowd
) -> None:
    acting = Acting(staff, crowd)
    clicked_at = acting.confirm("disconnect", acting.far)
    assert acting.far.close_code() == 4403
    assert acting.far.closed_at - clicked_at < AT_ONCE_S
    closing = acting.far.wait_for("closing")
    assert closing["payload"]["reason"] == "disconnected by an administrator"
    acting.returned("1 connection was disconnected.")
    acting.wait_for(acting.near, acting.other)
    acting.logged(acting.far, "Disconnected (4403).")

    acting.confirm("disconnect", acting.near, acting.other)
    assert [acting.near.close_code(), acting.other.close_code()] == [4403, 4403]
    acting.returned("2 connections were disconnected.")
    acting.wait_for()
    assert is_same_document(acting.page)


def test_disconnect_may_let_them_come_back(staff: StaffBrowser, crowd: Crowd) -> None:
    acting = Acting(staff, crowd)

    def fill(page: Page) -> None:
        page.check("[name=then][value=may_return]")
        page.fill("[name=retry_after]", "7")

    for clients, words in (
        ([acting.other], "1 connection was disconnected."),
        ([acting.near, acting.far], "2 connections were disconnected."),
    ):
        acting.confirm("disconnect", *clients, fill=fill)
        for client in clients:
            assert client.close_code() == 4503
            closing = client.wait_for("closing")["payload"]
            assert (closing["code"], closing["retry_after"]) == (4503, 7)
        acting.returned(words)
        acting.wait_for(*(c for c in acting.all if c.page.closed_at is None))
    acting.logged(acting.near, "Disconnected; the client may reconnect after 7 s (4503).")


def test_notice_reaches_one_and_many(staff: StaffBrowser, crowd: Crowd) -> None:
    acting = Acting(staff, crowd)
    acting.confirm("notify", acting.far, fill=lambda page: page.fill("[name=text]", "Just you"))
    acting.far.wait_for_notice("Just you")
    acting.returned("The notice was sent to 1 connection.")
    assert not acting.other.has("message")

    acting.confirm("notify", *acting.all, fill=lambda page: page.fill("[name=text]", "<b>All</b>"))
    for client in acting.all:
        client.wait_for_notice("<b>All</b>")
    acting.returned("The notice was sent to 3 connections.")
    acting.logged(acting.near, "Sent a notice: <b>All</b>")


def test_unsubscribe_ends_a_subscription_of_one_and_many(staff: StaffBrowser, crowd: Crowd) -> None:
    acting = Acting(staff, crowd, channels=["open/keep", "open/gone"])

    def fill(page: Page) -> None:
        page.fill("[name=channel]", "open/gone")

    def is_unsubscribed(client: Client) -> None:
        ended = client.wait_for("unsubscribed")
        assert ended["channel"] == "open/gone"

    acting.confirm("unsubscribe", acting.other, fill=fill)
    is_unsubscribed(acting.other)
    acting.returned("1 connection was unsubscribed from open/gone.")
    acting.page.wait_for_function(
        "name => [...document.querySelectorAll('#result_list tbody tr')].some(row =>"
        " row.textContent.includes(name)"
        " && row.querySelector('.field-shown_channels').textContent === '1')",
        arg=acting.other.name,
    )
    acting.confirm("unsubscribe", *acting.all, fill=fill)
    for client in (acting.near, acting.far):
        is_unsubscribed(client)
    acting.returned("2 connections were unsubscribed from open/gone.")
    wait_for_message(acting.page, "1 connection was not subscribed or had already ended.")
    acting.logged(acting.far, "Unsubscribed from open/gone.")
    acting.far.is_served()


def test_clients_with_a_token_are_asked_for_new_credentials(
    staff: StaffBrowser, crowd: Crowd
) -> None:
    mary = staff.site.people["mary"]

    def token() -> str:
        minted: str = crowd.do(staff.site.a, "mint", user=mary.id, seconds="3600")
        return minted

    acting = Acting(staff, crowd, person=mary, token=token())
    acting.confirm("credentials", acting.far)
    asked = acting.far.wait_for("auth_expiring")["payload"]
    assert 0 < asked["expires_at"] - time.time() <= 30
    acting.returned("1 connection was asked for new credentials.")
    acting.far.send(type="auth", token=token())
    acting.far.wait_for("auth_ok", user=mary.id)

    acting.confirm("credentials", *acting.all)
    for client in (acting.near, acting.other):
        client.wait_for("auth_expiring")
    acting.returned("3 connections were asked for new credentials.")
    acting.logged(acting.other, "Asked for new credentials.")


def test_revoking_a_user_ends_all_connections_of_the_user(
    staff: StaffBrowser, crowd: Crowd, everybody: list[Client]
) -> None:
    acting = Acting(staff, crowd, person=staff.site.people["vera"])
    acting.confirm("revoke", acting.far)
    assert {client.close_code() for client in acting.all} == {4401}
    acting.returned("All sessions and tokens of 1 user were revoked.")
    acting.wait_for()
    acting.logged(acting.far, "Revoked all sessions and tokens of the user.")

    several = Acting(staff, crowd, person=staff.site.people["walt"])
    several.confirm("revoke", *several.all)
    assert {client.close_code() for client in several.all} == {4401}
    several.returned("All sessions and tokens of 1 user were revoked.")
    several.wait_for()
    everybody[0].is_served()


def test_blocking_a_user_keeps_the_user_out(
    staff: StaffBrowser, crowd: Crowd, everybody: list[Client]
) -> None:
    xena = staff.site.people["xena"]
    acting = Acting(staff, crowd, person=xena)

    def fill(page: Page) -> None:
        page.check("[name=target][value=users]")
        page.select_option("[name=seconds]", "600")
        page.fill("[name=reason]", "Floods the lobby")

    acting.confirm("block", acting.far, fill=fill)
    assert {client.close_code() for client in acting.all} == {4403}
    acting.returned("1 user is blocked for 10 minutes.")
    acting.wait_for()
    acting.logged(acting.far, "Blocked the user for 10 minutes.")
    assert is_denied(crowd, staff.site.a, person=xena)
    everybody[0].is_served()

    page = acting.page
    page.goto(staff.site.a.url(BLOCKS))
    row = page.locator("#result_list tbody tr", has_text="xena")
    assert "Floods the lobby" in (row.text_content() or "")
    shoot(page, "blocks")
    row.locator("input.action-select").check()
    page.select_option("select[name=action]", "delete_selected")
    page.click("button[name=index]")
    page.click("#content input[type=submit]")
    page.locator(".messagelist .success").wait_for()
    wait_until_accepted(crowd, staff.site.b, person=xena)


def test_blocking_addresses_keeps_them_out(
    staff: StaffBrowser, crowd: Crowd, everybody: list[Client]
) -> None:
    addresses = {"near": "10.66.0.1", "far": "10.66.0.2", "other": "10.66.0.2"}
    acting = Acting(staff, crowd, addresses=addresses)

    def fill(page: Page) -> None:
        page.check("[name=target][value=addresses]")
        page.select_option("[name=seconds]", "3600")

    acting.confirm("block", acting.near, fill=fill)
    assert acting.near.close_code() == 4403
    acting.returned("1 address is blocked for 1 hour.")
    acting.wait_for(acting.far, acting.other)
    assert is_denied(crowd, staff.site.b, address="10.66.0.1")

    acting.confirm("block", acting.far, acting.other, fill=fill)
    assert {client.close_code() for client in (acting.far, acting.other)} == {4403}
    acting.returned("1 address is blocked for 1 hour.")
    acting.wait_for()
    acting.logged(acting.other, "Blocked the address for 1 hour.")
    everybody[0].is_served()


def is_denied(crowd: Crowd, server: Server, **options: Any) -> bool:
    """Whether a connection with this login session or address is denied."""
    return crowd.code_at_the_handshake(server, **options) in (403, 4403)


def wait_until_accepted(crowd: Crowd, server: Server, **options: Any) -> None:
    deadline = time.monotonic() + TIMEOUT_MS / 1000
    while is_denied(crowd, server, **options):
        assert time.monotonic() < deadline


def test_invalid_form_is_shown_again(staff: StaffBrowser, crowd: Crowd) -> None:
    acting = Acting(staff, crowd)
    acting.confirm("notify", acting.far)
    acting.page.locator("#realtime-act .errorlist", has_text="This field is required.").wait_for()
    acting.page.fill("[name=text]", "Now")
    acting.page.click("#realtime-act input[type=submit]")
    acting.far.wait_for_notice("Now")
    acting.returned("The notice was sent to 1 connection.")

    acting.confirm("unsubscribe", acting.far, fill=lambda p: p.fill("[name=channel]", "<script>"))
    acting.page.locator(
        "#realtime-act .errorlist", has_text="<script> is not a valid channel name."
    ).wait_for()
    acting.page.click("text=Cancel")
    acting.wait_for(*acting.all)


# -- one connection --------------------------------------------------------------------------------


def open_detail(staff: StaffBrowser, page: Page, client: Client) -> str:
    """Go to the page of the connection from the list; returns its id."""
    page.goto(staff.site.a.url(f"{LIST}?q={client.name}"))
    row_of(page, client).wait_for()
    connection_id = id_of(page, client)
    row_of(page, client).locator("th a").click()
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
    client = crowd.open(staff.site.b, "detail-2")
    page = staff.sign_in()
    open_detail(staff, page, client)
    page.click(".realtime-tools >> text=Disconnect")
    clicked_at = time.time()
    page.click("#realtime-act input[type=submit]")
    assert client.close_code() == 4403
    assert client.closed_at - clicked_at < AT_ONCE_S
    wait_for_message(page, "1 connection was disconnected.")


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


# -- channels, nodes, overview ---------------------------------------------------------------------


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
    row.locator(".realtime-actions a").click()
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


def cell_text(row: Locator, number: int) -> str:
    return (row.locator(f"> :nth-child({number})").first.text_content() or "").strip()


def wait_by_reload(page: Page, url: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_MS / 1000
    while True:
        page.goto(url)
        if condition():
            return
        assert time.monotonic() < deadline, page.text_content("body")


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
        assert cell(row, "shown_user") == pwner.name.replace("\u202e", "⟨U+202E⟩")
        assert row.locator(".field-shown_origin bdi").get_attribute("title") in (None, value)
    assert cell(rows.filter(has_text="h-long"), "shown_browser") == LONG[:40] + "…"
    assert page.locator("#result_list :is(img, script)").count() == 0
    assert overflow(page) == 0
    shoot(page, "hostile-list")

    for kind, value in {**shown, "long": LONG}.items():
        page.goto(staff.site.a.url(f"{LIST}?q=h-{kind}"))
        rows.locator("th a").first.click()
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
    assert page.locator("#result_list .field-shown_user a").count() == 0
    shoot(page, "list-view-only")
    row_of(page, client).locator("th a").click()
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


# -- looks -----------------------------------------------------------------------------------------

LOOKS: dict[str, dict[str, Any]] = {
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
        shoot(page, f"{look}-{name}")
