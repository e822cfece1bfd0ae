"""Long polling on real servers: in one process, and with polls that land on either of two."""

import http.client
import itertools
import json
import random
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.event_streams import post, wait_for_connections
from tests.support.servers import HOST, Server, together
from tests.support.site import Site, publish

REALTIME = {"ALLOW_ANONYMOUS": True, "HEARTBEAT_INTERVAL": 1.0, "HEARTBEAT_TIMEOUT": 4.0}


@pytest.fixture(scope="module")
def pair(site: Site, redis_url: str) -> Iterator[tuple[Server, Server]]:
    """Daphne and uvicorn, over one Redis."""
    prefix = f"test-{uuid.uuid4().hex}"
    shared = site.having(
        realtime=REALTIME, SITE_LAYER="pubsub", SITE_REDIS_URL=redis_url, SITE_REDIS_PREFIX=prefix
    )
    with together(shared.serve("daphne"), shared.serve("uvicorn")) as (first, second):
        yield first, second
    import redis

    with redis.Redis.from_url(redis_url) as connection:
        for key in connection.scan_iter(match=f"*{prefix}*", count=1000):
            connection.delete(key)


class Poller:
    """A client whose polls go to servers in turn."""

    def __init__(self, *servers: Server) -> None:
        self._servers = itertools.cycle(servers)
        self.session_id: str | None = None
        self.cursor: str | None = None

    def poll(
        self, *messages: Any, wait: float = 5.0, acknowledge: bool = True
    ) -> list[dict[str, Any]]:
        """The messages of one answer."""
        body: dict[str, Any] = {"wait": wait, "messages": list(messages)}
        if self.session_id is not None:
            body["session_id"] = self.session_id
        if self.cursor is not None:
            body["cursor"] = self.cursor
        status, answer = post(next(self._servers), "poll", body)
        assert status == 200, answer
        found: list[dict[str, Any]] = answer["messages"]
        if self.session_id is None:
            assert found[0]["type"] == "welcome"
            self.session_id = found[0]["payload"]["session_id"]
        if acknowledge:
            self.cursor = answer["cursor"]
        return found

    def until_subscribed(self, channel: str) -> None:
        """Subscribe, and take the reply."""
        found = self.poll(subscribe(channel))
        while not found:
            found = self.poll()
        assert [one["type"] for one in found] == ["subscribed"]


def subscribe(channel: str) -> dict[str, Any]:
    return {"type": "subscribe", "id": 1, "channel": channel}


def test_polls_that_land_on_either_process_are_one_connection(pair):
    channel = f"public/{uuid.uuid4().hex[:8]}"
    poller = Poller(*pair)
    poller.poll()
    poller.until_subscribed(channel)
    for number in range(6):
        timer = threading.Timer(0.1, publish, (pair[number % 2], channel, number))
        timer.start()
        assert [m["payload"] for m in poller.poll()] == [number]
        timer.join()
    assert poller.poll({"type": "ping", "id": 9}) == [{"type": "pong", "id": 9}]


def test_what_is_not_acknowledged_is_given_again(pair):
    channel = f"public/{uuid.uuid4().hex[:8]}"
    poller = Poller(*pair)
    poller.poll()
    poller.until_subscribed(channel)
    publish(pair[0], channel, 1)
    first = poller.poll(acknowledge=False)
    publish(pair[0], channel, 2)
    second: list[dict[str, Any]] = []
    while len(second) < 2:
        second = poller.poll(wait=0, acknowledge=False)
    assert first == second[:1]
    assert [m["payload"] for m in second] == [1, 2]
    assert poller.poll(wait=0) == second
    assert poller.poll(wait=0) == []


def test_answers_that_are_lost_anywhere_lose_and_repeat_nothing(pair):
    chance, channel, count = random.Random(7), f"public/{uuid.uuid4().hex[:8]}", 100
    poller = Poller(*pair)
    poller.poll()
    poller.until_subscribed(channel)

    def publish_all() -> None:
        for number in range(count):
            publish(pair[number % 2], channel, number)

    publishing = threading.Thread(target=publish_all)
    publishing.start()
    got: list[int] = []
    while len(got) < count:
        arrives = chance.random() < 0.7
        messages = poller.poll(wait=chance.choice([0, 0.05, 5]), acknowledge=arrives)
        got += [message["payload"] for message in messages if arrives]
    publishing.join()
    assert sorted(got) == list(range(count))
    assert [n for n in got if n % 2] == [
        n for n in range(count) if n % 2
    ]  # in each process's order


def test_newer_poll_ends_the_older_one(pair):
    poller = Poller(pair[0])
    poller.poll()
    body = {"session_id": poller.session_id, "cursor": poller.cursor, "wait": 20}
    older = http.client.HTTPConnection(HOST, pair[1].port, timeout=15.0)
    try:
        older.request(
            "POST", "/realtime/poll/", json.dumps(body), {"Content-Type": "application/json"}
        )
        response = older.getresponse()  # its headers come before it waits
        assert poller.poll({"type": "ping"}, wait=5) == [{"type": "pong"}]
        assert json.loads(response.read()) == {"messages": [], "cursor": body["cursor"]}
    finally:
        older.close()


def test_client_that_does_not_come_back_is_gone(pair):
    poller = Poller(pair[0])
    poller.poll()
    wait_for_connections(pair[0], 0)  # after five seconds of absence, by the settings here
    unknown = {"code": "unknown_session", "reason": "there is no such session: begin a new one"}
    body = {"session_id": poller.session_id, "wait": 0}
    assert post(pair[0], "poll", body) == (404, unknown)
    assert post(pair[1], "poll", body) == (404, unknown)


BAD = {
    "no object": (b"[]", "not a request: Expected `object`, got `array`"),
    "no JSON": (b"{", "not a request: Input data was truncated"),
    "no UTF-8": (b'{"cursor": "\xff"}', "not a request: "),
    "number": ({"cursor": 5}, "not a request: Expected `str | null`, got `int` - at `$.cursor`"),
    "cursor": ({"cursor": "-1"}, "'cursor' is not one that this session has given"),
    "long": ({"wait": 61}, "'wait' must be 0 to 60 seconds"),
    "negative": ({"wait": -1}, "'wait' must be 0 to 60 seconds"),
    "many": ({"messages": [{}] * 65}, "65 messages; expected 1 to 64"),
    "deep": (b'{"messages": [' + b"[" * 50_000, "not a request: "),
}


@pytest.mark.parametrize(("body", "reason"), BAD.values(), ids=BAD)
def test_malformed_poll_is_refused_with_a_reason(pair, body, reason):
    status, answer = post(pair[0], "poll", body)
    assert (status, answer["code"]) == (400, "bad_message")
    assert answer["reason"].startswith(reason)


def test_poll_that_is_too_large_is_refused(pair):
    refused = {
        "code": "too_large",
        "reason": "a body of 140002 bytes; expected at most 131072",
    }
    for view in ("poll", "send"):
        assert post(pair[1], view, b'"' + b"x" * 140_000 + b'"') == (413, refused)
