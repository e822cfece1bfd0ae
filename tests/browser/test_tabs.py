"""One connection for all tabs of a site, in Chromium against real servers with Redis."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.event_streams import wait_for_connections
from tests.support.forwarder import line_to
from tests.support.publisher import Publisher
from tests.support.servers import Server
from tests.support.site import Site, new_site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

WAIT_S = 20.0

CONNECT = """async ({ channel, shareKey, options }) => {
  const { connect } = await import("/static/channels_realtime/realtime.min.js");
  window.got = [];
  window.states = [];
  window.client = connect(null, { shareConnection: true, shareKey, backoffBaseSeconds: 0.5, backoffCapSeconds: 0.5 });
  window.client.on("state", (state) => window.states.push(state));
  window.subscription = window.client.subscribe(channel, {
    ...options,
    onMessage: ({ payload, epoch, offset }) => {
      window.got.push(payload);
      window.last = { epoch, offset };
    },
  });
  await window.subscription.ready;
}"""

# Where the connection is. The ways that are not there are not found.
WAYS = {
    "worker": "",
    "leader": "delete globalThis.SharedWorker;",
    "alone": "delete Navigator.prototype.locks;",
}

# By the locks that the worker, or the tab that was elected, holds.
PLACES = """async () => {
  const { held } = await navigator.locks.query();
  return held.map(({ name }) => /[/](worker|leader)$/.exec(name)?.[1]).filter(Boolean);
}"""

HTTP_ADDRESS = """addEventListener("DOMContentLoaded", () => {
  const meta = document.createElement("meta");
  meta.name = "realtime-http-url";
  meta.content = "/realtime/";
  document.head.append(meta);
});"""
HIDE_COOKIES = "Object.defineProperty(Document.prototype, 'cookie', { get: () => '' });"
FORBID_WORKERS = """addEventListener("DOMContentLoaded", () => {
  const policy = document.createElement("meta");
  policy.httpEquiv = "Content-Security-Policy";
  policy.content = "worker-src 'none'";
  document.head.append(policy);
});"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Site]:
    import redis  # only where there is one

    prefix = f"test-{uuid.uuid4().hex}"
    variables = {"SITE_LAYER": "pubsub", "SITE_REDIS_URL": redis_url, "SITE_REDIS_PREFIX": prefix}
    yield new_site(tmp_path_factory.mktemp("tabs"), **variables)
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(match=f"*{prefix}*", count=1000):
            client.delete(key)


@pytest.fixture(scope="module")
def servers(site: Site) -> Iterator[dict[str, Server]]:
    with site.serve("daphne") as first, site.serve("uvicorn") as second:
        yield {"daphne": first, "uvicorn": second}


@contextmanager
def visitor(chromium: Browser, way: str) -> Iterator[BrowserContext]:
    context = chromium.new_context()
    context.add_init_script(WAYS[way])
    try:
        yield context
    finally:
        context.close()


def open_tab(
    context: BrowserContext,
    origin: str,
    channel: str,
    share_key: str | None = "visitor",
    **options: Any,
) -> Page:
    tab = context.new_page()
    tab.goto(f"{origin}/")
    shared = {} if share_key is None else {"shareKey": share_key}
    tab.evaluate(CONNECT, {"channel": channel, "options": options, **shared})
    return tab


def wait(tab: Page, condition: str) -> None:
    tab.wait_for_function(condition, timeout=WAIT_S * 1000)


@pytest.mark.parametrize(
    ("way", "kind", "other"), [("worker", "daphne", "uvicorn"), ("leader", "uvicorn", "daphne")]
)
def test_four_tabs_share_a_connection_and_miss_nothing_when_tabs_close_and_it_breaks(
    chromium: Browser, servers: dict[str, Server], way: str, kind: str, other: str
) -> None:
    channel = f"kept/{uuid.uuid4().hex}"
    server = servers[kind]
    with visitor(chromium, way) as context, line_to(server.port) as line:
        tabs = [open_tab(context, line.origin, channel) for _ in range(4)]
        wait_for_connections(server, 1)
        assert len({tab.evaluate("client.connectionId") for tab in tabs}) == 1
        assert tabs[0].evaluate(PLACES) == [way]
        with Publisher(servers[other], channel) as publisher:
            publisher.publish_more()
            for _ in range(2):
                tabs.pop(0).close()
                publisher.publish_more()
                for tab in tabs:
                    wait(tab, "client.state === 'connected'")
                wait_for_connections(server, 1)
                publisher.publish_more()
            for tab in tabs:
                tab.evaluate("states.length = 0")
            line.cut()
            for tab in tabs:
                wait(tab, "states.includes('reconnecting')")
            publisher.publish_more()
            line.mend()
            for tab in tabs:
                wait(tab, "client.state === 'connected'")
            late = open_tab(
                context,
                line.origin,
                channel,
                since=tabs[0].evaluate("last"),
            )
            publisher.publish_more()
        for tab in tabs:
            wait(tab, f"window.got.includes({publisher.count - 1})")
            assert tab.evaluate("got") == list(range(publisher.count))
        wait(late, f"window.got.includes({publisher.count - 1})")
        found = late.evaluate("got")
        assert found == list(range(found[0], publisher.count))
        wait_for_connections(server, 1)


def test_a_leader_that_is_frozen_hands_over_and_misses_nothing(
    chromium: Browser, servers: dict[str, Server]
) -> None:
    server, channel = servers["daphne"], f"kept/{uuid.uuid4().hex}"
    with visitor(chromium, "leader") as context:
        leader, other = (open_tab(context, server.url(""), channel) for _ in range(2))
        # A page in front cannot be frozen, and a headless browser has no other: it only gets the events.
        dispatch = "(name) => void document.dispatchEvent(new Event(name))"
        with Publisher(servers["uvicorn"], channel) as publisher:
            publisher.publish_more()
            before = other.evaluate("client.connectionId")
            leader.evaluate(dispatch, "freeze")
            wait(other, f"client.state === 'connected' && client.connectionId !== '{before}'")
            publisher.publish_more()
            leader.evaluate(dispatch, "resume")
            wait(leader, "client.state === 'connected'")
            publisher.publish_more()
        for tab in (leader, other):
            wait(tab, f"window.got.includes({publisher.count - 1})")
            assert tab.evaluate("got") == list(range(publisher.count))
        wait_for_connections(server, 1)


@pytest.mark.parametrize("way", ["worker", "leader"])
def test_tabs_share_a_connection_where_websockets_are_blocked(
    chromium: Browser, servers: dict[str, Server], way: str
) -> None:
    server, channel = servers["uvicorn"], f"kept/{uuid.uuid4().hex}"
    with visitor(chromium, way) as context, line_to(server.port) as line:
        line.proxy.blocks_websockets = True
        context.add_init_script(HTTP_ADDRESS)
        tabs = [open_tab(context, line.origin, channel) for _ in range(2)]
        for tab in tabs:
            assert tab.evaluate("(name) => client.publish(name, 1).then(() => true)", channel)
        for tab in tabs:
            wait(tab, "window.got.length === 2")
        assert line.proxy.refused > 0
        wait_for_connections(server, 1)


def test_without_locks_each_tab_has_its_own_connection(
    chromium: Browser, servers: dict[str, Server]
) -> None:
    server = servers["uvicorn"]
    with visitor(chromium, "alone") as context:
        for _ in range(2):
            open_tab(context, server.url(""), "kept/alone")
        wait_for_connections(server, 2)


def test_a_policy_that_forbids_the_worker_makes_a_tab_lead(
    chromium: Browser, servers: dict[str, Server]
) -> None:
    server = servers["uvicorn"]
    with visitor(chromium, "worker") as context:
        context.add_init_script(FORBID_WORKERS)
        tabs = [open_tab(context, server.url(""), "kept/policy") for _ in range(2)]
        wait_for_connections(server, 1)
        assert [tab.evaluate("client.state") for tab in tabs] == ["connected", "connected"]


@pytest.mark.parametrize("way", ["worker", "leader"])
def test_a_tab_that_comes_later_gets_the_state_and_the_members(
    chromium: Browser, servers: dict[str, Server], way: str
) -> None:
    server = servers["daphne"]
    room, board = f"lounges/{uuid.uuid4().hex}", f"states/{uuid.uuid4().int % 10**6}"
    with visitor(chromium, way) as context:
        first = open_tab(context, server.url(""), room, presence=True)
        first.evaluate(
            "(name) => void (window.board = client.subscribe(name)) ?? board.ready", board
        )
        for key, version in [("a", 1), ("b", 2), ("a", 3)]:
            first.evaluate(
                "([name, stateKey, version]) => client.publish(name, version, { stateKey, version })",
                [board, key, version],
            )
        second = open_tab(context, server.url(""), board)
        wait(second, "window.got.length === 2")
        assert second.evaluate(
            "[...subscription.values].map(([key, { payload }]) => [key, payload])"
        ) == [
            ["b", 2],
            ["a", 3],
        ]
        second.evaluate(
            "(name) => (window.room = client.subscribe(name, { presence: true, onMessage() {} })).ready",
            room,
        )
        for tab, count in ((first, "subscription.count"), (second, "room.count")):
            wait(tab, f"{count} === 1")
        wait_for_connections(server, 1)


@pytest.mark.parametrize("way", ["worker", "leader"])
def test_tabs_go_on_when_the_password_changed_in_another_tab(
    chromium: Browser, servers: dict[str, Server], way: str
) -> None:
    server, channel = servers["uvicorn"], f"kept/{uuid.uuid4().hex}"
    origin = server.url("")
    with visitor(chromium, way) as context:
        page = context.new_page()
        page.goto(f"{origin}/do/make-users/")
        user = page.evaluate("JSON.parse(document.body.textContent).found[0]")
        page.goto(f"{origin}/login/?user={user['name']}")
        tabs = [open_tab(context, origin, channel) for _ in range(2)]
        with Publisher(servers["daphne"], channel) as publisher:
            publisher.publish_more()
            response = page.goto(f"{origin}/do/change-password/?password=another")
            assert response is not None
            assert response.ok
            for tab in tabs:
                wait(tab, "states.includes('reconnecting')")
                wait(tab, "client.state === 'connected'")
            publisher.publish_more()
        for tab in tabs:
            wait(tab, f"window.got.includes({publisher.count - 1})")
            assert tab.evaluate("got") == list(range(publisher.count))
            assert tab.evaluate("client.user") == str(user["id"])
        wait_for_connections(server, 1)


@pytest.mark.parametrize("cookie", ["readable", "hidden"])
@pytest.mark.parametrize("way", ["worker", "leader"])
def test_tabs_do_not_share_the_connection_of_the_user_who_was_signed_in_before(
    chromium: Browser, servers: dict[str, Server], way: str, cookie: str
) -> None:
    server = servers["uvicorn"]
    origin = server.url("")
    with visitor(chromium, way) as context:
        if cookie == "hidden":
            context.add_init_script(HIDE_COOKIES)
        page = context.new_page()
        page.goto(f"{origin}/do/make-users/?count=2")
        users = page.evaluate("JSON.parse(document.body.textContent).found")
        tabs = []
        for user in users:
            page.goto(f"{origin}/login/?user={user['name']}")
            tabs += [open_tab(context, origin, "kept/login", share_key=None) for _ in range(2)]
        assert [tab.evaluate("client.user") for tab in tabs[2:]] == [str(users[1]["id"])] * 2
        connections = {tab.evaluate("client.connectionId") for tab in tabs[2:]}
        assert len(connections) == (1 if cookie == "readable" else 2)
