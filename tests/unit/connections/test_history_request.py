"""The ``history`` request of a client."""

from __future__ import annotations

import json

import pytest

from channels_realtime import Channel, History
from channels_realtime.errors import Unavailable
from tests.support.kept_channels import keep_unreadable, register_kinds
from tests.support.nodes import NodeHarness, publish, subscribe
from tests.support.virtual_time import in_virtual_time, settle

KEPT = "numbered/1"


def get(channel: str = KEPT, **fields):
    return {"type": "history", "id": 1, "channel": channel, **fields}


async def harness_with(count: int, payload=None, **config) -> NodeHarness:
    harness = NodeHarness(connection_messages=None, **config)
    register_kinds(harness.node.routes)
    client = await harness.open()
    for number in range(1, count + 1):
        await client.ask(publish(payload or number, KEPT))
    return harness


def payloads(reply: dict) -> list:
    assert reply["type"] == "history", reply
    return [message["payload"] for message in reply["payload"]["messages"]]


@in_virtual_time
async def test_reply_has_messages_as_they_were_sent_and_the_position():
    async with await harness_with(2) as harness:
        client = await harness.open()
        [reply] = await client.ask(get())
        epoch = reply["payload"]["epoch"]
        assert reply == {
            "type": "history",
            "id": 1,
            "channel": KEPT,
            "payload": {
                "messages": [
                    {
                        "type": "message",
                        "channel": KEPT,
                        "payload": number,
                        "epoch": epoch,
                        "offset": number,
                        "sender": {"user": None},
                    }
                    for number in (1, 2)
                ],
                "epoch": epoch,
                "offset": 2,
            },
        }


@in_virtual_time
async def test_since_limit_and_reverse_choose_what_is_read():
    async with await harness_with(6) as harness:
        client = await harness.open()
        [reply] = await client.ask(get(limit=2))
        assert payloads(reply) == [1, 2]
        assert reply["payload"]["offset"] == 2  # to go on from
        since = {"epoch": reply["payload"]["epoch"], "offset": 2}
        [reply] = await client.ask(get(since=since))
        assert (payloads(reply), reply["payload"]["offset"]) == ([3, 4, 5, 6], 6)
        [reply] = await client.ask(get(limit=2, reverse=True))
        assert (payloads(reply), reply["payload"]["offset"]) == ([6, 5], 6)
        [reply] = await client.ask(get(limit=2, reverse=True, since={**since, "offset": 5}))
        assert payloads(reply) == [4, 3]
        [reply] = await client.ask(get(limit=0))
        assert (payloads(reply), reply["payload"]["offset"]) == ([], 6)


@in_virtual_time
async def test_reply_fits_into_a_frame_and_says_where_to_go_on():
    async with await harness_with(9, "ä" * 400, max_frame_bytes=4_096) as harness:
        client = await harness.open()
        read, since = 0, None
        while read < 9:
            client.connection.receive(json.dumps(get(since=since)))
            await settle()
            [event] = client.events
            assert len(event["text"].encode()) <= 4_096
            [reply] = client.take()
            found = len(payloads(reply))
            assert 1 <= found < 9
            read += found
            assert reply["payload"]["offset"] == read
            since = {"epoch": reply["payload"]["epoch"], "offset": read}
        assert read == 9


@in_virtual_time
async def test_what_cannot_be_read_is_left_out(caplog):
    async with await harness_with(2) as harness:
        client = await harness.open()
        await keep_unreadable(harness.node.history, KEPT)
        await client.ask(publish(4, KEPT))
        [reply] = await client.ask(get())
        assert (payloads(reply), reply["payload"]["offset"]) == ([1, 2, 4], 4)
    assert "cannot be read; it is left out" in caplog.text


@in_virtual_time
async def test_message_that_fills_a_frame_alone_is_still_sent():
    async with await harness_with(2, "x" * 3_000, max_frame_bytes=4_096) as harness:
        client = await harness.open()
        harness.node.config.__dict__["max_frame_bytes"] = (
            1_024  # as if it was published by the server
        )
        [reply] = await client.ask(get())
        assert len(payloads(reply)) == 1


@in_virtual_time
async def test_limit_may_be_more_than_is_read_at_once():
    async with await harness_with(0) as harness:

        class Long(Channel):
            public = True
            history = History(size=1_000, ttl=60.0)

            async def can_publish(self, connection):
                return True

        harness.node.routes.register("long", Long)
        client = await harness.open()
        for number in range(150):
            await client.ask(publish(number, "long"))
        [reply] = await client.ask(get("long", limit=140))
        assert payloads(reply) == list(range(140))
        [reply] = await client.ask(get("long", limit=1_000, reverse=True))
        assert payloads(reply) == list(range(149, -1, -1))
        [reply] = await client.ask(get("long"))
        assert len(payloads(reply)) == 100


MALFORMED = "must be an object of 'epoch' (text) and 'offset' (an integer >= 0)"


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        ({"since": 7}, "bad_message", MALFORMED),
        ({"since": "e:1"}, "bad_message", MALFORMED),
        ({"since": []}, "bad_message", MALFORMED),
        ({"since": {}}, "bad_message", MALFORMED),
        ({"since": {"epoch": "e"}}, "bad_message", MALFORMED),
        ({"since": {"offset": 1}}, "bad_message", MALFORMED),
        ({"since": {"epoch": 1, "offset": 1}}, "bad_message", MALFORMED),
        ({"since": {"epoch": "e", "offset": -1}}, "bad_message", MALFORMED),
        ({"since": {"epoch": "e", "offset": 1.5}}, "bad_message", MALFORMED),
        ({"since": {"epoch": "e", "offset": True}}, "bad_message", MALFORMED),
        ({"since": {"epoch": "e", "offset": 2**53 + 1}}, "bad_message", MALFORMED),
        ({"since": {"epoch": "x" * 65, "offset": 1}}, "bad_message", MALFORMED),
        ({"limit": -1}, "bad_message", "'limit' must be an integer from 0 to 1000"),
        ({"limit": 1_001}, "bad_message", "'limit' must be an integer from 0 to 1000"),
        ({"limit": 1.0}, "bad_message", "'limit' must be an integer from 0 to 1000"),
        ({"limit": "5"}, "bad_message", "'limit' must be an integer from 0 to 1000"),
        ({"limit": True}, "bad_message", "'limit' must be an integer from 0 to 1000"),
        ({"reverse": "yes"}, "bad_message", "'reverse' must be true or false, got text"),
        ({"since": {"epoch": "e", "offset": 1}}, "not_recoverable", "no longer keeps what follows"),
        ({"channel": "open/1"}, "unsupported", "'open/1' keeps no history"),
        ({"channel": "private/1"}, "forbidden", "not allowed on 'private/1'"),
        ({"channel": "nope/1"}, "unknown_channel", "no such channel"),
        ({"channel": "a b"}, "bad_channel", "is not a name"),
    ],
    ids=str,
)
@in_virtual_time
async def test_request_that_cannot_be_served_is_an_error(fields, code, text):
    async with await harness_with(1) as harness:
        client, neighbour = await harness.open(), await harness.open()
        await neighbour.ask(subscribe(KEPT))
        [error] = await client.ask({**get(), **fields})
        assert (error["type"], error["id"], error["payload"]["code"]) == ("error", 1, code)
        assert text in error["payload"]["reason"]
        await client.ask(publish("still here", KEPT))
        assert [message["payload"] for message in neighbour.take()] == ["still here"]


@in_virtual_time
async def test_position_that_was_trimmed_is_not_recoverable():
    async with await harness_with(30) as harness:  # of which 20 are kept
        client = await harness.open()
        [reply] = await client.ask(get(limit=0))
        epoch = reply["payload"]["epoch"]
        [error] = await client.ask(get(since={"epoch": epoch, "offset": 9}))
        assert error["payload"]["code"] == "not_recoverable"
        [reply] = await client.ask(get(since={"epoch": epoch, "offset": 10}))
        assert payloads(reply) == list(range(11, 31))


@in_virtual_time
async def test_store_that_is_away_is_unavailable(monkeypatch):
    async with await harness_with(1) as harness:

        async def fails(*args, **options):
            raise Unavailable("the store is away")

        monkeypatch.setattr(harness.node.history, "read", fails)
        client = await harness.open()
        [error] = await client.ask(get())
        assert error["payload"]["code"] == "unavailable"
