"""Actions on connections, from the list in a browser to the sockets."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.browser.admin_crowd import Client, Crowd
from tests.browser.admin_staff import (
    BLOCKS,
    LIST,
    TIMEOUT_MS,
    StaffBrowser,
    at_once,
    choose,
    id_of,
    is_same_document,
    mark,
    row_of,
    shoot,
    wait_for_message,
    wait_for_names,
    wait_for_state,
)
from tests.support.servers import Server

if TYPE_CHECKING:
    from playwright.sync_api import Page


_numbers = itertools.count(1)


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
    acting: Acting

    def attempt() -> float:
        nonlocal acting
        acting = Acting(staff, crowd)
        clicked_at = acting.confirm("disconnect", acting.far)
        assert acting.far.close_code() == 4403
        return acting.far.closed_at - clicked_at

    at_once(attempt)
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
