"""Consumers with the mixin on real servers: async, with a handler of its own, and sync."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest
from websockets.exceptions import InvalidStatus

from tests.site.howto_chat import steps
from tests.support.clients import TIMEOUT_S, Client, client, wait_until
from tests.support.servers import Server
from tests.support.site import SERVERS, Site, get, login, publish, state

CONSUMERS = ("async", "own", "sync")
SETTINGS = {
    "HEARTBEAT_INTERVAL": 0.6,
    "HEARTBEAT_TIMEOUT": 0.4,
    "DRAIN_GRACE": 5.0,
    "DRAIN_RETRY_WINDOW": 0.5,
}


@pytest.fixture(scope="module", params=list(SERVERS))
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def server(site: Site, kind: str) -> Iterator[Server]:
    with site.having(realtime=SETTINGS).serve(kind) as server:
        yield server


@pytest.fixture
def own_server(site: Site, kind: str) -> Iterator[Server]:
    with site.having(realtime=SETTINGS).serve(kind) as server:
        yield server


def line(server: Server, consumer: str, **options):
    return client(server, path=f"/ws/lines/{consumer}/", welcomed=False, **options)


def ask(page: Client, *call: object) -> None:
    """Have the consumer do something; it answers ``null``."""
    page.connection.send(json.dumps(call))
    assert json.loads(page.connection.recv(timeout=TIMEOUT_S)) is None


def hear(page: Client) -> object:
    """What the next publication says."""
    frame = json.loads(page.connection.recv(timeout=TIMEOUT_S))
    return frame["said"] if "said" in frame else frame["payload"]


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_publication_of_a_view_reaches_the_consumers_client(server: Server, consumer: str) -> None:
    with line(server, consumer) as page:
        ask(page, "subscribe", f"lines/{consumer}")
        publish(server, f"lines/{consumer}", {"n": 1})
        assert hear(page) == {"n": 1}
        page.connection.send(json.dumps({"type": "ping", "id": 5}))
        pong = {"type": "pong", "id": 5}
        assert json.loads(page.connection.recv(timeout=TIMEOUT_S)) == pong
    wait_until(lambda: state(server)["connections"] == 0, "the connection is gone")


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_foreign_page_is_refused(server: Server, consumer: str) -> None:
    with (
        pytest.raises(InvalidStatus) as refused,
        line(server, consumer, origin="https://evil.example"),
    ):
        pass
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_bad_token_is_closed_with_4401(server: Server, consumer: str) -> None:
    headers = [("Authorization", "Bearer rubbish")]
    with line(server, consumer, additional_headers=headers) as page:
        assert page.close_code()[0] == 4401


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_client_that_stops_answering_is_closed_with_4408(server: Server, consumer: str) -> None:
    with line(server, consumer) as page:
        page.send({"type": "pong"})
        assert page.close_code()[0] == 4408
    wait_until(lambda: state(server)["connections"] == 0, "the connection is gone")


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_sigterm_tells_every_client_and_every_consumer(own_server: Server, consumer: str) -> None:
    with line(own_server, consumer) as first, line(own_server, consumer) as second:
        for page in (first, second):
            ask(page, "subscribe", "lines/end")
        os.kill(own_server.process.pid, signal.SIGTERM)
        for page in (first, second):
            closing = page.expect("closing")["payload"]
            assert (closing["code"], closing["reconnect"]) == (4503, True)
            assert 0.0 <= closing["retry_after"] <= 0.5
            assert page.close_code()[0] == 4503
        own_server.process.wait(TIMEOUT_S)
        assert own_server.log().count("left with 4503") == 2


@pytest.mark.parametrize("number", range(steps.COUNT))
def test_step_of_the_howto_is_served(server: Server, number: int) -> None:
    cookies = [login(server, name) for name in ("alice", "bob")]
    path = f"/ws/chat/{number}/lobby/"
    with (
        client(server, path=path, cookie=cookies[0], welcomed=False) as alice,
        client(server, path=path, cookie=cookies[1], welcomed=False) as bob,
    ):
        alice.send({"message": "hello"})
        frames = [json.loads(page.connection.recv(timeout=TIMEOUT_S)) for page in (alice, bob)]
    assert frames[0] == frames[1]
    if number == steps.COUNT - 1:
        assert (frames[0]["payload"], frames[0]["sender"]) == ("hello", {"name": "alice"})
    else:
        assert frames[0] == {"message": "alice: hello" if number else "hello"}


def test_nothing_is_left_of_many_connections(server: Server) -> None:
    def stable() -> int:
        wait_until(lambda: state(server)["connections"] == 0, "all connections are gone")
        return state(server)["tasks"]

    for consumer in CONSUMERS:  # whatever is made once
        with line(server, consumer) as page:
            ask(page, "subscribe", "lines/many")
    before = stable()
    for number in range(30):
        with line(server, CONSUMERS[number % 3]) as page:
            ask(page, "subscribe", "lines/many")
            if number % 2:
                page.connection.socket.close()  # without a close frame
    wait_until(lambda: stable() <= before + 1, "the tasks are gone")
    wait_until(lambda: state(server)["channels"] == 0, "the hub is empty")
    assert get(server, "/state/")
