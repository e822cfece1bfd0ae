"""The shipped proxy configurations, nginx's and HAProxy's, in front of real servers."""

import itertools
import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from channels_realtime.config import Config
from tests.support.clients import JSON, MSGPACK, TIMEOUT_S, Client, client, wait_until
from tests.support.event_streams import EventStream, post
from tests.support.proxies import Proxy, haproxy, nginx, seconds
from tests.support.servers import HOST, Server, together
from tests.support.site import SERVERS, Site, get, login, publish, state

BEHIND = {"TRUSTED_PROXIES": ["127.0.0.1"], "CLIENT_ADDRESS_HEADER": "X-Forwarded-For"}
ELSEWHERE = "127.0.0.9"
"""A local address other than the proxy's."""

SERVERS_PING_S = 20.0
"""Daphne's and uvicorn's default."""

RunProxy = Callable[..., AbstractContextManager[Proxy]]
PROXIES: dict[str, RunProxy] = {"nginx": nginx, "haproxy": haproxy}

_http = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture(scope="module", params=list(SERVERS))
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def behind(site: Site, kind: str) -> Iterator[Server]:
    """A process of the site."""
    with site.having(realtime=BEHIND).serve(kind) as running:
        yield running


@pytest.fixture(scope="module", params=list(PROXIES))
def proxy_kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def proxy(behind: Server, proxy_kind: str) -> Iterator[Proxy]:
    """The proxy in front of it, as shipped."""
    with PROXIES[proxy_kind](behind) as running:
        yield running


@pytest.fixture
def front(proxy: Proxy) -> Server:
    """What clients see."""
    return proxy.server


# -- connecting ------------------------------------------------------------------------------------


@pytest.mark.parametrize("subprotocol", [None, JSON, MSGPACK])
def test_messages_pass_in_both_directions(front: Server, subprotocol: str | None) -> None:
    with client(front, subprotocol=subprotocol) as page:
        page.subscribe("public/proxied")
        large = "x" * 60_000
        reply = page.request("call", channel="public/proxied", method="echo", payload=large)
        assert reply["payload"] == large
        publish(front, "public/proxied", {"by": "a view"})
        assert page.expect("message")["payload"] == {"by": "a view"}


def test_bare_endpoint_passes(front: Server) -> None:
    with (
        client(front, path="/ws/bare/public/bare", welcomed=False) as page,
        client(front) as other,
    ):
        other.subscribe("public/bare")
        page.connection.send("hello")
        assert other.expect("message")["payload"] == "hello"


def address(page: Client) -> Any:
    page.subscribe("public/address")
    return page.request("call", channel="client", method="address")["payload"]


def test_clients_address_arrives(front: Server) -> None:
    with client(front, source_address=(ELSEWHERE, 0)) as page:
        assert address(page) == ELSEWHERE


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("X-Forwarded-For", "192.0.2.66"),
        ("X-Real-IP", "192.0.2.66"),
        ("Forwarded", "for=192.0.2.66"),
    ],
)
def test_client_cannot_write_its_address_itself(front: Server, header: str, value: str) -> None:
    with client(front, source_address=(ELSEWHERE, 0), additional_headers=[(header, value)]) as page:
        assert address(page) == ELSEWHERE


def test_own_origin_may_connect(front: Server) -> None:
    with client(front, origin=front.origin):
        pass


def refusal(server: Server, **options: Any) -> int:
    """The status that a handshake is refused with."""
    with pytest.raises(InvalidStatus) as refused, client(server, **options):
        pass
    return refused.value.response.status_code


@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1", "null"])
def test_foreign_origin_is_refused_with_403(front: Server, origin: str) -> None:
    assert refusal(front, origin=origin) == 403


@pytest.mark.parametrize("path", ["/realtime/ready/", "/realtime/health/"])
def test_probes_are_for_the_inside(front: Server, behind: Server, path: str) -> None:
    assert json.loads(get(behind, path))["status"] in ("ok", "ready")
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(front, path)
    with refused.value:
        assert refused.value.code == 404


def test_query_is_not_in_the_access_log(proxy: Proxy, proxy_kind: str) -> None:
    def log() -> str:
        return proxy.access_log() if proxy_kind == "nginx" else proxy.server.log()

    marker = f"logged-{time.monotonic_ns()}"
    with client(proxy.server, path=f"/ws/?token={marker}", user_agent_header=marker):
        pass
    wait_until(lambda: "/ws/" in log(), "the handshake is in the log")
    get(proxy.server, "/state/", token=marker)
    wait_until(lambda: "/state/" in log(), "the request is in the log")
    assert f"token={marker}" not in log()


# -- time ------------------------------------------------------------------------------------------


def test_configured_timeouts_outlive_what_is_silent_by_design() -> None:
    silence = max(Config().heartbeat_interval, SERVERS_PING_S)
    timeouts = [
        *seconds("nginx.conf", "proxy_read_timeout"),
        *seconds("nginx.conf", "proxy_send_timeout"),
        *seconds("haproxy.cfg", "timeout tunnel"),
    ]
    # nginx's default is 60 s; two pings may be lost on the way and the third still comes in time.
    assert min(timeouts) > 60
    assert min(timeouts) >= 3 * silence


SCALED = {
    "nginx": {
        "proxy_read_timeout 75s": "proxy_read_timeout 4s",
        "proxy_send_timeout 75s": "proxy_send_timeout 4s",
    },
    "haproxy": {"timeout tunnel 75s": "timeout tunnel 4s"},
}
IDLE_S = 10.0
"""More than twice the timeout."""

PINGS = {"daphne": "--ping-interval", "uvicorn": "--ws-ping-interval"}


def idle(page: Client, duration: float) -> None:
    """Send nothing but answers to pings; whatever else comes fails."""
    with pytest.raises(TimeoutError):
        page.receive(timeout=duration)


Check = Callable[[Site, str, str], None]


@pytest.fixture(scope="module")
def with_every_proxy(
    site: Site,
) -> Iterator[Callable[[Check], dict[tuple[str, str], Future[None]]]]:
    """Runs a check with every server behind every proxy at the same time, because each waits for long."""
    combinations = list(itertools.product(SERVERS, PROXIES))
    with ThreadPoolExecutor(len(combinations)) as pool:
        yield lambda check: {each: pool.submit(check, site, *each) for each in combinations}


@pytest.fixture(scope="module")
def idle_clients(with_every_proxy):
    return with_every_proxy(idle_client_outlives_the_timeout)


def test_idle_client_outlives_the_proxys_timeout(idle_clients, kind: str, proxy_kind: str) -> None:
    idle_clients[kind, proxy_kind].result()


def idle_client_outlives_the_timeout(site: Site, kind: str, proxy_kind: str) -> None:
    heartbeat = {**BEHIND, "HEARTBEAT_INTERVAL": 1.0}
    with (
        # Without the server's own pings, so that the package's keep it.
        site.having(realtime=heartbeat).serve(kind, PINGS[kind], "3600") as behind,
        PROXIES[proxy_kind](behind, changes=SCALED[proxy_kind]) as proxy,
        client(proxy.server, subprotocol=JSON, ping_interval=None) as page,
        client(proxy.server, subprotocol=None, ping_interval=None) as bare,
    ):
        began = time.monotonic()

        def cut() -> tuple[int, float]:
            code, _ = bare.close_code()
            return code, time.monotonic() - began

        # Beside the page, which answers all the time: the next ping is sent only after an answer.
        with ThreadPoolExecutor(1) as pool:
            bare_cut = pool.submit(cut)
            idle(page, IDLE_S)
        assert page.request("ping")["type"] == "pong"
        # The other way round too: a bare page, which is sent nothing, is cut.
        code, after = bare_cut.result()
        assert code == 1006
        assert 3.0 < after < IDLE_S


@pytest.fixture(scope="module")
def idle_bare_pages(with_every_proxy):
    return with_every_proxy(bare_page_is_kept)


def test_bare_page_is_kept_by_the_servers_own_pings(
    idle_bare_pages, kind: str, proxy_kind: str
) -> None:
    idle_bare_pages[kind, proxy_kind].result()


def bare_page_is_kept(site: Site, kind: str, proxy_kind: str) -> None:
    with (
        site.having(realtime=BEHIND).serve(kind, PINGS[kind], "1") as behind,
        PROXIES[proxy_kind](behind, changes=SCALED[proxy_kind]) as proxy,
        client(proxy.server, subprotocol=None, ping_interval=None) as bare,
    ):
        idle(bare, IDLE_S)
        assert bare.request("ping")["type"] == "pong"


def test_dripping_handshake_is_ended(behind: Server, proxy_kind: str) -> None:
    change = {
        "nginx": {"client_header_timeout 10s": "client_header_timeout 1s"},
        "haproxy": {"timeout http-request 10s": "timeout http-request 1s"},
    }[proxy_kind]
    with (
        PROXIES[proxy_kind](behind, changes=change) as proxy,
        socket.create_connection((HOST, proxy.server.port), timeout=TIMEOUT_S) as slow,
    ):
        slow.sendall(b"GET /ws/ HTTP/1.1\r\nHost: a\r\n")
        slow.settimeout(0.2)
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                slow.sendall(b"X-Drip: 1\r\n")
                answer = slow.recv(1_000)
            except TimeoutError:
                continue
            except OSError:
                answer = b""
            break
        else:
            pytest.fail("the handshake was left open")
        assert answer == b"" or b" 408 " in answer.splitlines()[0]


# -- limits ----------------------------------------------------------------------------------------


def test_connections_of_one_address_are_limited(behind: Server, proxy_kind: str) -> None:
    change = {
        "nginx": {"limit_conn site_sockets 200": "limit_conn site_sockets 2"},
        "haproxy": {"sc0_conn_cur gt 200": "sc0_conn_cur gt 2"},
    }[proxy_kind]
    with PROXIES[proxy_kind](behind, changes=change) as proxy:
        front = proxy.server
        with client(front), client(front):
            assert refusal(front) == 429
            with client(front, source_address=(ELSEWHERE, 0)):
                pass

        def room() -> bool:
            try:
                with client(front):
                    return True
            except InvalidStatus:
                return False

        wait_until(room, "there is room again")


# -- change ----------------------------------------------------------------------------------------


def test_connection_survives_a_reload(behind: Server) -> None:
    with nginx(behind) as proxy, client(proxy.server, subprotocol=JSON) as old:
        old.subscribe("public/reload")
        before = set(proxy.workers())
        proxy.reload()
        wait_until(lambda: set(proxy.workers()) - before, "there is a new worker")
        with client(proxy.server, subprotocol=JSON) as new:
            new.subscribe("public/reload")
            publish(proxy.server, "public/reload", "to both")
            assert old.expect("message")["payload"] == "to both"
            assert new.expect("message")["payload"] == "to both"
        assert before & set(proxy.workers())  # which the old connection keeps
        assert old.request("ping")["type"] == "pong"
        old.connection.close()
        wait_until(lambda: not before & set(proxy.workers()), "the old worker has left")


def test_process_that_drains_sends_its_clients_to_the_other(
    site: Site, kind: str, proxy_kind: str
) -> None:
    leaving_well = site.having(realtime={**BEHIND, "DRAIN_RETRY_WINDOW": 0.5})
    with (
        together(leaving_well.serve(kind), leaving_well.serve(kind)) as (first, second),
        PROXIES[proxy_kind](first, second) as proxy,
    ):
        pages = [stack(proxy.server) for _ in range(6)]
        try:
            connected = {id(server): state(server)["connections"] for server in (first, second)}
            assert connected == {id(first): 3, id(second): 3}
            os.kill(first.process.pid, signal.SIGTERM)
            wait_until(lambda: first.process.poll() is not None, "the process has left")
            moved = 0
            for page, _ in pages:
                try:
                    closing = page.receive(timeout=1.0)
                except TimeoutError:
                    continue
                except ConnectionClosed:
                    pytest.fail("a client was not told")
                assert closing["type"] == "closing"
                assert closing["payload"]["code"] == 4503
                assert 0 <= closing["payload"]["retry_after"] <= 0.5
                moved += 1
            assert moved == 3
            pages.extend(stack(proxy.server) for _ in range(3))
            assert state(second)["connections"] == 6
        finally:
            for _, manager in pages:
                manager.__exit__(None, None, None)


def stack(server: Server) -> tuple[Client, AbstractContextManager[Client]]:
    """An open client and what closes it."""
    manager = client(server, subprotocol=JSON)
    return manager.__enter__(), manager


def test_new_client_is_let_in_while_one_process_drains(site: Site) -> None:
    """uvicorn answers 503, and nginx tries the other process; Daphne can only answer 403, so the client retries."""
    slowly = {**BEHIND, "DRAIN_GRACE": 10.0, "DRAIN_BATCH_INTERVAL": 5.0}
    draining, other = (site.having(realtime=realtime) for realtime in (slowly, BEHIND))
    with (
        together(draining.serve("uvicorn"), other.serve("uvicorn")) as (first, second),
        nginx(first, second) as proxy,
        client(first),
    ):
        os.kill(first.process.pid, signal.SIGTERM)
        wait_until(lambda: status(first, "/realtime/ready/") == 503, "the first drains")
        for _ in range(8):
            with client(proxy.server):
                pass
        assert refusal(first) == 503


def status(server: Server, path: str) -> int:
    try:
        with _http.open(server.url(path), timeout=TIMEOUT_S) as response:
            found: int = response.status
            return found
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_event_stream_and_polls_pass_as_they_come(proxy: Proxy, behind: Server) -> None:
    stream_and_poll(proxy, behind)


def test_event_stream_and_polls_pass_a_proxy_that_buffers_and_compresses(behind: Server) -> None:
    """nginx speaks HTTP/1.0 to what is behind it, and buffers that, unless it is told otherwise."""
    gzip = "gzip on; gzip_proxied any; gzip_min_length 0; gzip_types text/event-stream;"
    with nginx(
        behind, changes={"location / {": f"location / {{ proxy_http_version 1.0; {gzip}"}
    ) as proxy:
        stream_and_poll(proxy, behind)


def stream_and_poll(proxy: Proxy, behind: Server) -> None:
    cookie = login(behind, "alice")
    csrf = {"Cookie": f"{cookie}; csrftoken={'a' * 32}", "X-CSRFToken": "a" * 32}
    headers = {"Cookie": cookie, "Accept-Encoding": "gzip"}
    with EventStream(proxy.server, "public/streamed", headers=headers) as stream:
        session = stream.expect("welcome")["payload"]["session_id"]
        stream.expect("subscribed")
        publish(behind, "public/streamed", 1)
        assert stream.expect("message")["payload"] == 1
        body = {"session_id": session, "messages": [{"type": "ping", "id": 2}]}
        assert post(proxy.server, "send", body, csrf) == (202, {})
        assert stream.message() == {"type": "pong", "id": 2}
    status, answer = post(proxy.server, "poll", {"wait": 1}, csrf)
    assert (status, answer["messages"][0]["type"]) == (200, "welcome")
