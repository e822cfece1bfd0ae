"""How streams and polls end on real servers: drains, restarts, clients that do not read."""

import http.client
import itertools
import json
import signal
import socket
from collections.abc import Iterator

import pytest

from tests.support.clients import wait_until
from tests.support.event_streams import EventStream, post
from tests.support.many_clients import resident
from tests.support.servers import HOST, Server, together
from tests.support.site import Site, insides, state

OUTBOX_BYTES = 262_144
SIZE = 60_000
REALTIME = {
    "ALLOW_ANONYMOUS": True,
    "OUTBOX_MAX_BYTES": OUTBOX_BYTES,
    "DRAIN_GRACE": 4.0,
    "DRAIN_RETRY_WINDOW": 1.0,
}


@pytest.fixture
def servers(site: Site) -> Iterator[tuple[Server, ...]]:
    """Daphne and uvicorn, which know nothing of each other."""
    alone = site.having(realtime=REALTIME)
    with together(alone.serve("daphne"), alone.serve("uvicorn")) as running:
        yield running


def test_server_that_stops_tells_its_streams_and_polls_to_come_back(servers):
    for server in servers:
        with EventStream(server, "kept/drained") as stream:
            stream.expect("welcome")
            stream.expect("subscribed")
            _, begun = post(server, "poll", {"wait": 0})
            session = begun["messages"][0]["payload"]["session_id"]
            body = {"session_id": session, "cursor": begun["cursor"], "wait": 20}
            poll = http.client.HTTPConnection(HOST, server.port, timeout=15.0)
            poll.request("POST", "/realtime/poll/", json.dumps(body))
            state(server)  # the poll came before this request
            server.process.send_signal(signal.SIGTERM)
            closing = stream.event()
            assert closing.data["payload"]["code"] == 4503
            assert closing.data["payload"]["reconnect"] is True
            after = closing.data["payload"]["retry_after"]
            assert int(closing.retry) == max(1_000, round(after * 1000))
            assert stream.event() is None
            (last,) = json.loads(poll.getresponse().read())["messages"]
            assert last["payload"]["code"] == 4503
            poll.close()
        assert server.process.wait(20) is not None
        assert "Traceback" not in server.log()


def slow_stream(server: Server, channel: str) -> socket.socket:
    """A client that has read the beginning of its stream, and nothing more."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    sock.settimeout(15.0)
    sock.connect((HOST, server.port))
    request = f"GET /realtime/sse/?channel={channel} HTTP/1.1\r\nHost: {HOST}:{server.port}\r\n\r\n"
    sock.sendall(request.encode())
    read = b""
    while b'"subscribed"' not in read:
        read += sock.recv(4_096)
    return sock


def test_client_that_does_not_read_is_dropped_in_bounded_memory(servers):
    before = [insides(server)["descriptors"] for server in servers]
    clients = [[slow_stream(server, "public/slow") for _ in range(3)] for server in servers]
    for server in servers:
        begun = post(server, "poll", {"wait": 0})[1]["messages"][0]
        publisher = {"session_id": begun["payload"]["session_id"], "wait": 0}
        memory = resident(server.process.pid)
        for number in range(150):  # 9 MB for each
            payload = f"{number}" + "x" * SIZE
            message = {"type": "publish", "channel": "public/slow", "payload": payload}
            assert post(server, "poll", {**publisher, "messages": [message]})[0] == 200
        growth = resident(server.process.pid) - memory
        assert state(server)["metrics"]["slow"] == 3
        assert growth < 3 * (OUTBOX_BYTES + 128 * 1024) + 8 * 2**20
    for server, descriptors in zip(servers, before, strict=True):
        # They do not read their close either; what published to them may have gone.
        wait_until(lambda: state(server)["connections"] <= 1, "they have gone")  # noqa: B023
        wait_until(
            lambda: insides(server)["descriptors"] <= descriptors + 1,  # noqa: B023
            "their descriptors are closed",
        )
        assert "Traceback" not in server.log()
        assert "without completing response" not in server.log()
    for client in itertools.chain.from_iterable(clients):
        client.close()
