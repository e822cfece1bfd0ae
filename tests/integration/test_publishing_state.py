"""Keys, versions, state and exclusion between processes: a command publishes, two servers deliver."""

from __future__ import annotations

import itertools
import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.clients import MSGPACK, Client, client
from tests.support.servers import Server, together
from tests.support.site import Site

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def redis_site(site: Site, redis_url: str) -> Iterator[Site]:
    """The site over Redis, under a prefix of its own."""
    prefix = f"test-state-{uuid.uuid4().hex}"[:30]
    yield site.having(
        SITE_LAYER="pubsub",
        SITE_REDIS_URL=redis_url,
        SITE_REDIS_PREFIX=prefix,
        realtime={"GROUP_PREFIX": prefix},
    )
    import redis  # only tests that want a Redis need the client

    with redis.Redis.from_url(redis_url) as connection:
        for key in connection.scan_iter(match=f"*{prefix}*", count=1000):
            connection.delete(key)


@pytest.fixture(scope="module")
def pair(redis_site: Site) -> Iterator[tuple[Server, Server]]:
    with together(redis_site.serve("daphne"), redis_site.serve("uvicorn")) as (first, second):
        yield first, second


@pytest.fixture
def channel() -> str:
    return f"states/{next(_numbers)}"


@pytest.fixture
def publish(redis_site: Site, channel: str):
    """Publish from a process that serves nothing; returns what the command says."""

    def call(payload: Any, *options: str) -> str:
        return redis_site.manage("realtime_publish", channel, json.dumps(payload), *options).strip()

    return call


def state_of(reader: Client, channel: str, count: int) -> list[tuple[str, Any]]:
    """Subscribe, and read the messages that are the state."""
    reader.subscribe(channel)
    messages = [reader.expect("message") for _ in range(count)]
    assert all(message["state"] for message in messages)
    return [(message["state_key"], message["payload"]) for message in messages]


def test_same_key_is_published_once_from_two_processes(pair, channel, publish):
    assert publish(1, "--key", "a") == f"Published to {channel}, offset 1, told 0 connections."
    assert publish(1, "--key", "a") == (
        f"Not published to {channel}, offset 1: its key was used, or its version is not new."
    )


def test_state_reaches_who_comes_later_on_every_server(pair, channel, publish):
    publish("old", "--state-key", "a", "--payload-version", "1")
    publish("gone", "--state-key", "b")
    publish("new", "--state-key", "a", "--payload-version", "2")
    assert "Not published" in publish("late", "--state-key", "a", "--payload-version", "1")
    publish(None, "--state-key", "b", "--removed")
    with client(pair[0]) as first, client(pair[1], subprotocol=MSGPACK) as second:
        for reader in (first, second):
            assert state_of(reader, channel, 1) == [("a", "new")]
        assert "told 2 connections" in publish("live", "--state-key", "c")
        for reader in (first, second):
            message = reader.expect("message")
            assert (message["payload"], "state" in message) == ("live", False)


def test_excluded_connection_is_the_only_one_left_out(pair, channel, publish):
    with client(pair[0], welcomed=False) as first, client(pair[1]) as second:
        first_id = first.expect("welcome")["payload"]["connection_id"]
        for reader in (first, second):
            reader.subscribe(channel)
        assert publish("quiet", "--exclude", first_id).endswith("told 1 connection.")
        second.request("publish", channel=channel, payload="quiet too", echo=False)
        assert "told 2 connections" in publish("loud")
        assert [first.expect("message")["payload"] for _ in range(2)] == ["quiet too", "loud"]
        assert [second.expect("message")["payload"] for _ in range(2)] == ["quiet", "loud"]


def test_condition_holds_between_clients_of_two_servers(pair, channel):
    with client(pair[0]) as first, client(pair[1]) as second:
        new = {"channel": channel, "state_key": "seat", "only_if": {"new": True}}
        replies = [
            one.request("publish", payload=number, **new)["payload"]
            for number, one in enumerate((first, second))
        ]
        assert [reply.get("code") for reply in replies] == [None, "conflict"]


def test_client_reads_the_history_on_the_other_server(pair, channel, publish):
    for number in range(3):
        publish(number)
    with client(pair[1]) as reader:
        page = reader.request("history", channel=channel, limit=2)["payload"]
        assert [message["payload"] for message in page["messages"]] == [0, 1]
        since = {"epoch": page["epoch"], "offset": page["offset"]}
        assert reader.subscribe(channel, since=since)["payload"]["recovered"] is True
        assert reader.expect("message")["payload"] == 2


def test_transient_message_crosses_servers_without_a_number(pair, channel):
    with client(pair[0]) as first, client(pair[1]) as second:
        second.subscribe(channel)
        reply = first.request(
            "publish", channel=channel, payload="…", event="typing", transient=True
        )
        assert reply["payload"] == {"duplicate": False}
        message = second.expect("message")
        assert (message["event"], "offset" in message) == ("typing", False)


def test_command_tells_the_offset(channel, publish, pair):
    said = [publish(number) for number in range(2)]
    assert [re.search(r"offset (\d+)", text)[1] for text in said] == ["1", "2"]
