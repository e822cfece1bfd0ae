"""Two tenants in two schemas of one PostgreSQL, in one process: they share no user and no event."""

import json
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.support.clients import TIMEOUT_S, Client, wait_until
from tests.support.databases import own_database, postgres_answers
from tests.support.event_streams import EventStream, post
from tests.support.servers import HOST, Server
from tests.support.site import site_on


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if not postgres_answers():
        pytest.skip("no postgres answers")
    directory: Path = tmp_path_factory.mktemp("database")
    with own_database("postgres", directory) as url:
        site = site_on(url, SITE_TENANTS="1").having(
            realtime={
                "ALLOW_ANONYMOUS": False,
                "CONNECTION_CONTEXT": "tests.site.tenants.tenant_of_connection",
                "NAMESPACE": "tests.site.tenants.current_tenant",
                "SWEEP_INTERVAL": 0.2,
            }
        )
        site.manage("prepare_tenants")
        with site.serve("uvicorn") as running:
            yield running
            assert "Traceback" not in running.log(), running.log()[-5000:]


class Browser:
    """Signed in at one tenant's host."""

    def __init__(self, server: Server, tenant: str, user: str) -> None:
        self.server = server
        self.host = f"{tenant}.localhost:{server.port}"
        self.cookie = ""
        self.cookie = self.get("/login/", user=user)

    def get(self, path: str, **query: str) -> str:
        """Ask for a page; returns the cookies that it sets."""
        url = self.server.url(f"{path}?{urllib.parse.urlencode(query)}")
        request = urllib.request.Request(url, headers={"Host": self.host, "Cookie": self.cookie})
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            cookies = response.headers.get_all("Set-Cookie", [])
            return "; ".join(cookie.partition(";")[0] for cookie in cookies)

    @contextmanager
    def connect(self) -> Iterator[Client]:
        with connect(
            f"ws://{self.host}/ws/",
            sock=socket.create_connection((HOST, self.server.port), TIMEOUT_S),
            origin=f"http://{self.host}",  # type: ignore[arg-type]
            additional_headers={"Cookie": self.cookie},
            subprotocols=["realtime.v1.json"],  # type: ignore[list-item]
        ) as connection:
            yield Client(connection)


def subscribe(client: Client, channel: str) -> str:
    """What the server says to a subscription."""
    client.send({"type": "subscribe", "channel": channel, "id": 1})
    reply = client.receive()
    return str(reply["payload"]["code"] if reply["type"] == "error" else reply["type"])


def test_tenants_share_no_user_no_event_and_no_logout(server: Server) -> None:
    at_a, at_b = Browser(server, "a", "alice"), Browser(server, "b", "bob")
    with at_a.connect() as a, at_b.connect() as b:
        for client in (a, b):
            assert client.receive()["payload"]["user"] == "1"  # as the table of each tenant says
            assert subscribe(client, "public/x") == "subscribed"
        for kind in ("named", "named-async"):
            assert subscribe(a, f"{kind}/alice") == "subscribed"
            assert subscribe(a, f"{kind}/bob") == "forbidden"
            assert subscribe(b, f"{kind}/bob") == "subscribed"
            assert subscribe(b, f"{kind}/alice") == "forbidden"
        for channel in ("public/x", "users/1"):
            at_a.get("/publish/sync/", channel=channel, payload=json.dumps("for a"))
            at_b.get("/publish/sync/", channel=channel, payload=json.dumps("for b"))
            for client, payload in ((a, "for a"), (b, "for b")):
                message = client.receive()
                assert (message["channel"], message["payload"]) == (channel, payload)
        at_a.get("/logout/")
        closing = a.receive()
        assert (closing["type"], closing["payload"]["code"]) == ("closing", 4401)
        assert (
            subscribe(b, "public/y") == "subscribed"
        )  # nothing of the other tenant came before it


def test_streams_and_polls_of_tenants_hear_their_own_events(server: Server) -> None:
    at_a, at_b = Browser(server, "a", "alice"), Browser(server, "b", "bob")
    headers_a = {"Host": at_a.host, "Cookie": at_a.cookie}
    headers_b = {
        "Host": at_b.host,
        "Cookie": f"{at_b.cookie}; csrftoken={'a' * 32}",
        "X-CSRFToken": "a" * 32,
    }
    with EventStream(server, "named/alice", "public/z", headers=headers_a) as stream:
        session = stream.expect("welcome")["payload"]["session_id"]
        for _ in range(2):
            stream.expect("subscribed")
        messages = [{"type": "subscribe", "channel": "public/z"}]
        status, begun = post(server, "poll", {"wait": 5, "messages": messages}, headers_b)
        assert (status, begun["messages"][0]["payload"]["user"]) == (200, "1")
        mine = {"session_id": begun["messages"][0]["payload"]["session_id"], "wait": 5}

        def polled(kind: str) -> Any:
            """The messages of a type in the next answer."""
            answer = post(server, "poll", mine, headers_b)[1]
            mine["cursor"] = answer["cursor"]
            return [one for one in answer["messages"] if one["type"] == kind]

        wait_until(lambda: polled("subscribed"), "it is subscribed")
        at_a.get("/publish/sync/", channel="public/z", payload=json.dumps("for a"))
        at_b.get("/publish/sync/", channel="public/z", payload=json.dumps("for b"))
        assert stream.expect("message")["payload"] == "for a"
        (heard,) = wait_until(lambda: polled("message"), "a message")
        assert heard["payload"] == "for b"
        # Both are user 1, each of its own tenant.
        sent = {"session_id": session, "messages": [{"type": "ping"}]}
        assert post(server, "send", sent, headers_b)[0] == 404
