"""Clients that stop answering: the process is stopped (SIGSTOP), but its kernel still acknowledges."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.clients import JSON, client, wait_until
from tests.support.servers import ROOT, Server
from tests.support.site import Site, insides, state

INTERVAL_S, TIMEOUT_S = 1.0, 1.0
BEATS = {"HEARTBEAT_INTERVAL": INTERVAL_S, "HEARTBEAT_TIMEOUT": TIMEOUT_S}

CLIENT = """
import json, sys
from websockets.sync.client import connect
from websockets.exceptions import ConnectionClosed
url, subprotocol, channel = sys.argv[1:]
subprotocols = [subprotocol] if subprotocol else None
with connect(url, subprotocols=subprotocols, proxy=None, compression=None) as connection:
    connection.send(json.dumps({"type": "subscribe", "channel": channel}))
    try:
        for frame in connection:
            message = json.loads(frame)
            if message["type"] == "ping":
                try:
                    connection.send(json.dumps({"type": "pong"}))
                except ConnectionClosed:
                    pass  # but what came before the close is still to be read
            if message["type"] != "message":
                print(json.dumps(message), flush=True)
    except ConnectionClosed:
        pass
    print(json.dumps({"code": connection.close_code}), flush=True)
"""


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def server(request: pytest.FixtureRequest, site: Site) -> Iterator[Server]:
    with site.having(realtime=BEATS).serve(request.param) as server:
        yield server


@contextmanager
def process(server: Server, channel: str, subprotocol: str = JSON) -> Iterator[subprocess.Popen]:
    """A client in a process of its own, subscribed."""
    arguments = [server.websocket_url(), subprotocol, channel]
    with subprocess.Popen(
        [sys.executable, "-c", CLIENT, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as running:
        try:
            expect(running, "subscribed")
            yield running
        finally:
            running.kill()  # also of a process that is stopped


def expect(running: subprocess.Popen, kind: str) -> dict:
    assert running.stdout is not None
    for line in running.stdout:
        message = json.loads(line)
        if message.get("type") == kind or kind in message:
            return message
    raise AssertionError(f"the client has ended without {kind!r}")


def test_stopped_client_is_closed_4408_and_leaves_hub_and_groups(server):
    before, groups = state(server), insides(server)["groups"]

    def in_hub() -> bool:
        return state(server)["channels"] > before["channels"]

    with process(server, "public/stopped") as stopped:
        assert in_hub()
        os.kill(stopped.pid, signal.SIGSTOP)
        start = time.monotonic()
        wait_until(lambda: insides(server)["closing"] or not in_hub(), "it is closed", every=0.02)
        took = time.monotonic() - start
        # At once: autobahn, beneath Daphne, waits a second for the answer to a close, then resets.
        os.kill(stopped.pid, signal.SIGCONT)
        closing = expect(stopped, "closing")
        assert (closing["payload"]["code"], closing["payload"]["reconnect"]) == (4408, True)
        assert expect(stopped, "code") == {"code": 4408}
    wait_until(lambda: not in_hub(), "it has left the hub")
    wait_until(lambda: insides(server)["groups"] == groups, "it has left the group")
    assert state(server)["connections"] == before["connections"]
    # A second is the tests' own: asking for the state, on a machine that is busy.
    assert took <= INTERVAL_S + TIMEOUT_S + 1.0


def test_stopped_client_that_was_sent_a_lot_leaves_no_descriptor(server):
    """Its buffers are full: no more data can be sent, and a closing handshake never ends."""
    with client(server) as publisher:
        before, connections = descriptors(server), state(server)["connections"]
        with process(server, "newest/full") as stopped:
            os.kill(stopped.pid, signal.SIGSTOP)
            for _ in range(200):
                publisher.request("publish", channel="newest/full", payload="x" * 60_000)
            wait_until(
                lambda: state(server)["connections"] == connections, "it is gone", timeout=30
            )
            wait_until(lambda: descriptors(server) <= before, "its socket is closed", timeout=30)


def descriptors(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def test_client_that_answers_stays(server):
    with client(server) as lively, client(server, subprotocol=None) as silent:
        deadline = time.monotonic() + 2 * (INTERVAL_S + TIMEOUT_S)
        while (left := deadline - time.monotonic()) > 0:
            with pytest.raises(TimeoutError):
                lively.receive(left)  # answers the pings that it reads
        assert lively.request("ping")["type"] == "pong"
        # A bare page answers nothing and is not cut for it: the server's own pings keep it.
        assert silent.request("ping")["type"] == "pong"
