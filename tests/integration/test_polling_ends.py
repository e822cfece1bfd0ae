"""Clients of long polling that go without a word, on real servers with the default heartbeat."""

import http.client
import json
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from channels_realtime.connections.shell import CLOSE_GRACE_S
from tests.support.clients import wait_until
from tests.support.event_streams import post, wait_for_connections
from tests.support.servers import HOST, Server, together
from tests.support.site import Site, insides, state

KINDS = ["daphne", "uvicorn"]
REALTIME = {"ALLOW_ANONYMOUS": True, "DRAIN_GRACE": 20.0, "DRAIN_RETRY_WINDOW": 0.0}


@pytest.fixture
def pair(site: Site, redis_url: str, redis_prefix: str) -> Iterator[dict[str, Server]]:
    shared = site.having(
        realtime=REALTIME,
        SITE_LAYER="pubsub",
        SITE_REDIS_URL=redis_url,
        SITE_REDIS_PREFIX=redis_prefix,
    )
    with together(shared.serve("daphne"), shared.serve("uvicorn")) as (first, second):
        yield {"daphne": first, "uvicorn": second}


def begin(server: Server, *messages: Any) -> tuple[str, str]:
    """The session and the cursor of a new connection."""
    status, answer = post(server, "poll", {"wait": 0, "messages": list(messages)})
    assert status == 200, answer
    return answer["messages"][0]["payload"]["session_id"], answer["cursor"]


def hold(
    server: Server, session: tuple[str, str], owner: Server | None = None
) -> http.client.HTTPConnection:
    """A poll that waits. Daphne writes no headers meanwhile."""
    holder = owner or server
    waiting = insides(holder)["polls"]
    connection = http.client.HTTPConnection(HOST, server.port, timeout=30.0)
    session_id, cursor = session
    body = json.dumps({"session_id": session_id, "cursor": cursor, "wait": 25})
    connection.request("POST", "/realtime/poll/", body, {"Content-Type": "application/json"})
    wait_until(lambda: insides(holder)["polls"] == waiting + 1, "the poll waits")
    return connection


@pytest.mark.parametrize("asked", KINDS)
@pytest.mark.parametrize("owner", KINDS)
def test_client_that_cuts_its_poll_is_gone_after_some_seconds(pair, owner, asked):
    held = hold(pair[asked], begin(pair[owner]), pair[owner])
    assert state(pair[owner])["connections"] == 1
    held.close()
    wait_for_connections(pair[owner], 0)


@pytest.mark.parametrize("kind", KINDS)
def test_stopping_server_does_not_wait_for_clients_that_have_gone(pair, kind):
    server = pair[kind]
    hold(server, begin(server)).close()
    wait_until(lambda: insides(server)["polls"] == 0, "its end is noticed")
    held = hold(server, begin(server))
    started = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    (closing,) = json.loads(held.getresponse().read())["messages"]
    assert closing["payload"]["code"] == 4503
    server.process.wait(20.0)
    assert (
        time.monotonic() - started < CLOSE_GRACE_S
    )  # which a client that was not known to have gone would have
    held.close()
