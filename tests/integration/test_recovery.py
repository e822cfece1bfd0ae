"""Clients that come back with a position: over two server processes, one of each kind, and Redis."""

import itertools
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.clients import JSON, MSGPACK, Client, Message, client
from tests.support.servers import Server, together
from tests.support.site import Site, publish

Pair = tuple[Server, Server]

_numbers = itertools.count()


@pytest.fixture(scope="module", params=["pubsub", "core"])
def redis_site(request: pytest.FixtureRequest, site: Site, redis_url: str) -> Iterator[Site]:
    """The site over Redis, under a prefix of its own."""
    prefix = f"test-{request.param}-{uuid.uuid4().hex}"[:30]
    yield site.having(
        SITE_LAYER=request.param,
        SITE_REDIS_URL=redis_url,
        SITE_REDIS_PREFIX=prefix,
        realtime={"GROUP_PREFIX": prefix},
    )
    import redis  # only tests that want a Redis need the client

    with redis.Redis.from_url(redis_url) as connection:
        for key in connection.scan_iter(match=f"*{prefix}*", count=1000):
            connection.delete(key)


@pytest.fixture(scope="module")
def pair(redis_site: Site) -> Iterator[Pair]:
    with together(redis_site.serve("daphne"), redis_site.serve("uvicorn")) as (first, second):
        yield first, second


@pytest.fixture
def channel() -> str:
    return f"kept/{next(_numbers)}"


def position(message: Message) -> dict[str, Any]:
    """Of a ``message``, or of a ``subscribed``."""
    found = message if "offset" in message else message["payload"]
    return {"epoch": found["epoch"], "offset": found["offset"]}


def take(reader: Client, count: int) -> list[Message]:
    return [reader.expect("message") for _ in range(count)]


def payloads(messages: list[Message]) -> list[Any]:
    return [message["payload"] for message in messages]


@pytest.mark.parametrize("subprotocol", [JSON, MSGPACK, None])
@pytest.mark.parametrize(("here", "there"), [(0, 1), (1, 0), (0, 0)])
def test_client_that_was_cut_off_gets_what_it_missed(
    pair: Pair, channel: str, here: int, there: int, subprotocol: str | None
) -> None:
    with client(pair[here], subprotocol=subprotocol) as before:
        assert before.subscribe(channel)["payload"]["offset"] == 0
        publish(pair[0], channel, "first")
        known = position(before.expect("message"))
        before.connection.socket.shutdown(2)  # without a close frame
    for number in range(20):
        publish(pair[number % 2], channel, number)
    with client(pair[there], subprotocol=subprotocol) as after:
        reply = after.subscribe(channel, since=known)
        assert reply["payload"] == {"epoch": known["epoch"], "offset": 21, "recovered": True}
        missed = take(after, 20)
        assert payloads(missed) == list(range(20))
        assert all(message["recovered"] for message in missed)
        assert [message["offset"] for message in missed] == list(range(2, 22))
        publish(pair[here], channel, "live")
        (live,) = take(after, 1)
        assert (live["payload"], live["offset"], "recovered" in live) == ("live", 22, False)


def test_position_of_another_epoch_is_not_recovered(pair: Pair, channel: str) -> None:
    publish(pair[0], channel, "first")
    with client(pair[1]) as reader:
        known = {"epoch": "another", "offset": 0}
        error = reader.request("subscribe", channel=channel, since=known, require_recovery=True)
        assert error["payload"]["code"] == "not_recoverable"
        reply = reader.subscribe(channel, since=known)
        assert reply["payload"]["recovered"] is False
        assert reply["payload"]["offset"] == 1
        publish(pair[0], channel, "second")
        assert payloads(take(reader, 1)) == ["second"]


def test_nothing_is_lost_or_repeated_while_a_busy_channel_is_joined(
    pair: Pair, channel: str
) -> None:
    with client(pair[0]) as first:
        known = position(first.subscribe(channel))
    count = 300

    def publish_all() -> None:
        with client(pair[0]) as publisher:
            for number in range(count):
                publisher.request("publish", channel=channel, payload=number)

    publishing = threading.Thread(target=publish_all)
    publishing.start()
    got: list[Any] = []
    round_ = 0
    try:
        while len(got) < count:
            with client(pair[round_ % 2]) as reader:
                reply = reader.subscribe(channel, since=known)
                assert reply["payload"]["recovered"] is True
                for message in take(reader, min(23, count - len(got))):
                    got.append(message["payload"])
                    known = position(message)
            round_ += 1
    finally:
        publishing.join()
    assert got == list(range(count))


def test_publisher_is_told_the_position(pair: Pair, channel: str) -> None:
    with client(pair[1]) as publisher:
        first = publisher.request("publish", channel=channel, payload=1)
        second = publisher.request("publish", channel=channel, payload=2)
    assert first["payload"]["offset"] == 1
    assert second["payload"] == {
        "epoch": first["payload"]["epoch"],
        "offset": 2,
        "duplicate": False,
    }


def test_bare_connection_gets_what_is_live(pair: Pair, channel: str) -> None:
    publish(pair[0], channel, "before")
    with client(pair[1], path=f"/ws/bare/{channel}", subprotocol=None, welcomed=False) as bare:
        bare.connection.send("hello")  # comes back once it is subscribed
        assert bare.connection.recv(timeout=15) == "hello"
        publish(pair[0], channel, "live")
        assert bare.connection.recv(timeout=15) == "live"
