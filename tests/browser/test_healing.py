"""What a page receives while its connection is broken in every way: all messages, each once, in order."""

from __future__ import annotations

import mimetypes
import os
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import pytest

from tests.support.forwarder import Line, line_to
from tests.support.publisher import Publisher
from tests.support.servers import ROOT, Server, free_port, run_server
from tests.support.site import APPLICATION, SERVERS, Site, new_site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

STATIC = ROOT / "channels_realtime" / "static"
WAIT_S = 20.0
TOKEN_S = 4.0
POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'"

FORBID = """(policy) => {
  const meta = document.createElement("meta");
  meta.httpEquiv = "Content-Security-Policy";
  meta.content = policy;
  document.head.append(meta);
}"""
CONNECT = """async ({ channel, user, tokenSeconds, options }) => {
  const { connect } = await import("/static/channels_realtime/realtime.js");
  window.got = [];
  window.states = [];
  window.reasons = [];
  const mint = async (seconds) => (await (await fetch(`/do/mint/?user=${user}&seconds=${seconds}`)).json()).found;
  const getToken = async ({ reason }) => {
    window.reasons.push(reason);
    if (reason === "expiring") return null;  // A page that has no fresh one yet.
    return mint(window.reasons.length === 1 ? tokenSeconds : 300);
  };
  window.client = connect(null, {
    ...(user ? { getToken } : {}),
    httpUrl: "/realtime/",
    ...options,
    backoffBaseSeconds: 0.5,  // No less: the cookie of a new password has to arrive.
    backoffCapSeconds: 0.5,
  });
  window.client.on("state", (state) => window.states.push(state));
  const subscription = window.client.subscribe(channel, ({ payload }) => window.got.push(payload));
  subscription.on("subscribed", () => {
    if (!window.subscribed) window.states.length = 0;  // What follows is the break.
    window.subscribed = true;
  });
}"""


class Machine:
    """A server of the site that can be killed, and starts again on its port."""

    def __init__(self, site: Site, kind: str) -> None:
        self._site = site
        self._kind = kind
        self._runs = ExitStack()
        self.port = free_port()

    def start(self) -> None:
        command = SERVERS[self._kind](APPLICATION, self.port)
        run = run_server(command, self.port, environment=self._site.environment)
        self.server = self._runs.enter_context(run)

    def kill(self) -> None:
        os.killpg(self.server.process.pid, signal.SIGKILL)
        self.server.process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._runs.close()


def wait_for(page: Page, condition: str) -> None:
    """As ``page.wait_for_function``, which a Content-Security-Policy forbids."""
    page.evaluate(
        f"""([seconds, condition]) => new Promise((resolve, reject) => {{
          const until = performance.now() + seconds * 1000;
          (function look() {{
            if ({condition}) resolve();
            else if (performance.now() > until) reject(new Error(`not within ${{seconds}} s: ${{condition}}`));
            else setTimeout(look, 20);
          }})();
        }})""",
        [WAIT_S, condition],
    )


@dataclass(frozen=True)
class Visit:
    """A page that is connected through a line of its own, and what publishes to it."""

    page: Page
    line: Line
    machine: Machine
    publisher: Publisher

    def wait(self, condition: str) -> None:
        wait_for(self.page, condition)

    @contextmanager
    def lost(self) -> Iterator[None]:
        """The block breaks the connection; publishes until it is back, and some more."""
        self.publisher.publish_more()
        yield
        self.wait("window.states.includes('connected')")
        self.publisher.publish_more()

    def wait_until_lost(self) -> None:
        self.wait("window.states.includes('reconnecting')")
        self.publisher.publish_more()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Site]:
    import redis  # only where there is one

    prefix = f"test-{uuid.uuid4().hex}"
    directory: Path = tmp_path_factory.mktemp("healing")
    variables = {
        "SITE_LAYER": "pubsub",
        "SITE_REDIS_URL": redis_url,
        "SITE_REDIS_PREFIX": prefix,
    }
    realtime = {
        "ALLOW_ANONYMOUS": False,
        "DRAIN_ON_STOP": False,
        # A busy Chromium that is set offline may not see that the connection has broken: then this tells.
        "HEARTBEAT_INTERVAL": 5.0,
        "HEARTBEAT_TIMEOUT": 4.0,
    }
    yield new_site(directory, **variables).having(realtime=realtime)
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


def static(route: Route) -> None:
    """The built client, from the checkout."""
    file = STATIC / urlsplit(route.request.url).path.removeprefix("/static/")
    if not file.is_file():
        route.fulfill(status=404)
        return
    kind = mimetypes.guess_type(file)[0] or "application/octet-stream"
    route.fulfill(content_type=kind, body=file.read_bytes())


def break_by_killing_the_server(visit: Visit) -> None:
    visit.machine.kill()
    visit.wait_until_lost()
    visit.machine.start()


def break_by_going_offline(visit: Visit) -> None:
    visit.page.context.set_offline(True)
    visit.line.cut()  # Chromium keeps the sockets that are open.
    visit.wait_until_lost()
    visit.line.mend()
    visit.page.context.set_offline(False)


def break_by_the_end_of_the_token(visit: Visit) -> None:
    visit.wait_until_lost()
    visit.wait("window.reasons.includes('refused')")
    assert visit.page.evaluate("window.reasons") == ["required", "expiring", "refused"]


def break_by_changing_the_password_in_another_tab(visit: Visit) -> None:
    tab = visit.page.context.new_page()
    response = tab.goto(f"{visit.line.origin}/do/change-password/?password=another")
    assert response is not None
    assert response.ok
    visit.wait_until_lost()


def fall_back(visit: Visit, way: str) -> None:
    """The network has blocked what is better than this way; then it fails for a moment."""
    visit.line.cut()
    visit.wait_until_lost()
    visit.line.mend()
    visit.wait(
        f"localStorage['realtime-way {visit.line.origin}/realtime/']?.startsWith('[\"{way}\"')"
    )
    visit.publisher.publish_more()
    visit.line.cut()
    visit.publisher.publish_more()
    visit.line.mend()


def break_by_blocking_websockets(visit: Visit) -> None:
    visit.line.proxy.blocks_websockets = True
    fall_back(visit, "sse")
    assert visit.line.proxy.refused


def break_by_blocking_event_streams_too(visit: Visit) -> None:
    visit.line.proxy.blocks_websockets = visit.line.proxy.buffers_streams = True
    fall_back(visit, "polling")
    assert visit.line.proxy.held_back


BREAKS: dict[str, Callable[[Visit], None]] = {
    "killed": break_by_killing_the_server,
    "offline": break_by_going_offline,
    "token ended": break_by_the_end_of_the_token,
    "password changed": break_by_changing_the_password_in_another_tab,
    "no WebSocket": break_by_blocking_websockets,
    "no event stream": break_by_blocking_event_streams_too,
}


@contextmanager
def visit(
    chromium: Browser,
    machine: Machine,
    publishing: Server,
    *,
    by_token: bool = False,
    **options: Any,
) -> Iterator[Visit]:
    """A page of a new user that is subscribed to a channel with history, and hears the publisher."""
    channel = f"kept/{uuid.uuid4().hex}"
    with line_to(machine.port) as line:
        context = chromium.new_context()
        context.route("**/static/**", static)
        page = context.new_page()
        try:
            page.goto(f"{line.origin}/do/make-users/")
            user = page.evaluate("JSON.parse(document.body.textContent).found[0]")
            if not by_token:
                page.goto(f"{line.origin}/login/?user={user['name']}")
            page.goto(f"{line.origin}/")
            page.evaluate(FORBID, POLICY)
            arguments = {
                "channel": channel,
                "user": user["id"] if by_token else None,
                "tokenSeconds": TOKEN_S,
                "options": options,
            }
            page.evaluate(CONNECT, arguments)
            wait_for(page, "window.subscribed")
            assert options or page.evaluate("localStorage.length") == 0  # It is a WebSocket.
            with Publisher(publishing, channel) as publisher:
                yield Visit(page, line, machine, publisher)
            count = publisher.count
            wait_for(page, f"window.got.includes({count - 1})")
            assert page.evaluate("window.got") == list(range(count))
        finally:
            context.close()


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("how", BREAKS)
def test_a_page_misses_nothing_when_its_connection_was_broken(
    chromium: Browser, machines: dict[str, Machine], publishing: Server, how: str, kind: str
) -> None:
    by_token = how == "token ended"
    with visit(chromium, machines[kind], publishing, by_token=by_token) as page, page.lost():
        BREAKS[how](page)


def test_tabs_that_share_a_connection_fall_back(
    chromium: Browser, machines: dict[str, Machine], publishing: Server
) -> None:
    """The worker that has it knows no cookies, and so no CSRF token of its own."""
    options = {"transports": ["sse"], "shareConnection": True, "shareKey": "visitor"}
    with visit(chromium, machines["uvicorn"], publishing, **options) as tab:
        tab.publisher.publish_more()
