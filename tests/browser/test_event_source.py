"""The browser's own ``EventSource`` on the stream: it comes back by itself, misses nothing, and stops when told."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.test_healing import Machine, Publisher
from tests.support.servers import Server
from tests.support.site import SERVERS, Site, new_site

if TYPE_CHECKING:
    from playwright.sync_api import Page

WAIT_MS = 20_000.0

LISTEN = """(channels) => {
  const query = new URLSearchParams(channels.map((channel) => ["channel", channel]));
  window.got = [];
  window.said = [];
  window.opens = 0;
  window.source = new EventSource(`/realtime/sse/?${query}`);
  source.onopen = () => { window.opens += 1; };
  source.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.type === "message") window.got.push(message.payload);
    else window.said.push(message);
  };
  source.addEventListener("close", ({ data }) => window.said.push(JSON.parse(data)));
}"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Site]:
    import redis  # only where there is one

    prefix = f"test-{uuid.uuid4().hex}"
    variables = {
        "SITE_LAYER": "pubsub",
        "SITE_REDIS_URL": redis_url,
        "SITE_REDIS_PREFIX": prefix,
    }
    yield new_site(tmp_path_factory.mktemp("event-source"), **variables).having(
        realtime={"ALLOW_ANONYMOUS": True}
    )
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(match=f"*{prefix}*", count=1000):
            client.delete(key)


@pytest.fixture(scope="module")
def machines(site: Site) -> Iterator[dict[str, Machine]]:
    """The pages' servers, one of each kind."""
    with ExitStack() as stack:
        made = {kind: Machine(site, kind) for kind in SERVERS}
        for machine in made.values():
            stack.enter_context(machine)
        yield made


@pytest.fixture(scope="module")
def publishing(site: Site) -> Iterator[Server]:
    """A process that is never killed."""
    with site.serve("uvicorn") as server:
        yield server


@pytest.mark.parametrize("kind", SERVERS)
def test_event_source_misses_nothing_when_its_server_is_killed(
    page: Page, machines: dict[str, Machine], publishing: Server, kind: str
) -> None:
    machine = machines[kind]
    channel = f"kept/{uuid.uuid4().hex}"
    page.goto(f"http://127.0.0.1:{machine.port}/")
    page.evaluate(LISTEN, [channel])
    page.wait_for_function("said.some(({ type }) => type === 'subscribed')", timeout=WAIT_MS)
    with Publisher(publishing, channel) as publisher:
        page.wait_for_function("got.length >= 5", timeout=WAIT_MS)
        machine.kill()
        page.wait_for_function("source.readyState === EventSource.CONNECTING", timeout=WAIT_MS)
        publisher.publish_more()
        machine.start()
        page.wait_for_function("opens === 2", timeout=WAIT_MS)
        publisher.publish_more()
    page.wait_for_function(f"got.includes({publisher.count - 1})", timeout=WAIT_MS)
    assert page.evaluate("got") == list(range(publisher.count))
    page.evaluate("source.close()")


def test_event_source_stops_when_its_login_has_ended(
    page: Page, machines: dict[str, Machine]
) -> None:
    requests: list[Any] = []
    page.on("response", lambda r: requests.append(r.status) if "/sse/" in r.url else None)
    origin = f"http://127.0.0.1:{machines['uvicorn'].port}"
    page.goto(f"{origin}/login/?user=alice")
    page.goto(f"{origin}/")
    page.evaluate(LISTEN, [])
    page.wait_for_function("said.length === 1", timeout=WAIT_MS)
    with page.expect_response(lambda response: response.status == 204, timeout=WAIT_MS):
        page.evaluate("fetch('/logout/')")
    page.wait_for_function("source.readyState === EventSource.CLOSED", timeout=WAIT_MS)
    welcome, closing, close = page.evaluate("said")
    assert welcome["payload"]["user"] is not None
    assert closing["payload"]["code"] == close["code"] == 4401
    assert requests == [200, 204]  # the one time that it came back
