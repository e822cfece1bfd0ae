"""What clients may publish, ask and call on a channel whose class declares types."""

from __future__ import annotations

import logging

import pytest

from channels_realtime import action
from tests.support.nodes import FakeClient, NodeHarness, publish, subscribe
from tests.support.typed_channels import Line, OrderChannel, PriceChannel
from tests.support.virtual_time import in_virtual_time

CHANNEL = "orders/42"


def harness() -> NodeHarness:
    made = NodeHarness()
    made.node.routes.register("orders/<int:order_id>", OrderChannel)
    return made


async def reply_to(client: FakeClient, **message) -> dict:
    [reply] = await client.ask({"id": 1, "channel": CHANNEL, **message})
    return reply


async def refused(client: FakeClient, **message) -> str:
    reply = await reply_to(client, **message)
    assert (reply["type"], reply["payload"]["code"]) == ("error", "bad_payload"), reply
    return reply["payload"]["reason"]


@in_virtual_time
async def test_payload_of_the_type_is_published_as_the_hook_returns_it():
    async with harness() as site:
        client, other = await site.open(), await site.open()
        await other.ask(subscribe(CHANNEL))
        other.take()
        payload = {"text": "hello", "lines": [{"productName": "a"}]}
        await client.ask(publish(payload, CHANNEL, event="note", id=1))
        await client.ask(publish({"name": "anna"}, CHANNEL, event="typing", transient=True, id=2))
        assert [message["payload"] for message in other.take()] == [
            {"text": "hello", "author": "anna", "lines": [{"productName": "a", "pieces": 1}]},
            {"name": "anna"},
        ]


@in_virtual_time
async def test_result_has_the_fields_that_its_annotation_says():
    class Typed(OrderChannel):
        @action
        async def line(self, connection, payload) -> Line:
            return {"productName": payload, "price": 5}

    async with harness() as site:
        site.node.routes.register("typed", Typed)
        client = await site.open()
        reply = await reply_to(client, type="call", channel="typed", method="line", payload="a")
        assert reply["payload"] == {"productName": "a", "pieces": 1}


@in_virtual_time
async def test_result_that_is_not_what_its_annotation_says_is_the_sites_mistake(caplog):
    class Wrong(OrderChannel):
        @action
        async def line(self, connection, payload) -> Line:
            return {"productName": "a", "pieces": 0}

    async with harness() as site:
        site.node.routes.register("wrong", Wrong)
        client = await site.open()
        reply = await reply_to(client, type="call", channel="wrong", method="line", payload=None)
        assert (reply["type"], reply["payload"]["code"]) == ("error", "internal")
    assert (
        "line() of 'wrong' returned what it does not declare: $.pieces: expected 'int' >= 1"
        " (expected Line)" in caplog.text
    )


@in_virtual_time
@pytest.mark.parametrize(
    ("payload", "event", "reason"),
    [
        ({"text": 5}, "note", "$.text: expected 'str', got 'int'"),
        ({"text": "a", "author": "eve"}, "note", "$: object contains unknown field 'author'"),
        ({"text": "  "}, "note", "$: a note needs a text"),
        ({"text": "bug"}, "note", "$: not accepted"),
        (None, "note", "$: expected 'object', got 'null'"),
        ({"type": "cheque"}, "paid", "$.type: invalid value 'cheque'"),
        ([], None, "$: expected 'object', got 'array'"),
    ],
)
async def test_other_payload_is_refused_with_its_path(payload, event, reason):
    async with harness() as site:
        client, other = await site.open(), await site.open()
        await other.ask(subscribe(CHANNEL))
        other.take()
        message = {"type": "publish", "payload": payload} | ({"event": event} if event else {})
        assert await refused(client, **message) == reason
        assert other.take() == []


@in_virtual_time
async def test_message_without_an_event_is_refused_where_none_is_declared():
    class Notes(OrderChannel):
        messages = {"note": OrderChannel.messages["note"]}
        client_events = ("note",)
        transient_events = ()

    async with harness() as site:
        site.node.routes.register("notes", Notes)
        client = await site.open()
        reason = await refused(client, type="publish", channel="notes", payload={"text": "a"})
        assert reason == "a message without an event: expected 'note'"


@in_virtual_time
async def test_hook_that_returns_what_is_not_declared_is_the_sites_mistake(caplog):
    class Wrong(OrderChannel):
        async def on_publish(self, connection, payload, event):
            return {"text": payload.text}

    async with harness() as site:
        site.node.routes.register("wrong", Wrong)
        client = await site.open()
        with caplog.at_level(logging.ERROR):
            reply = await reply_to(
                client, type="publish", channel="wrong", payload={"text": "a"}, event="note"
            )
        assert (reply["payload"]["code"], reply["payload"]["reason"]) == (
            "internal",
            "internal error",
        )
        assert "$: object missing required field 'author'" in caplog.text


@in_virtual_time
async def test_call_has_its_payload_in_the_annotated_type():
    async with harness() as site:
        client = await site.open()
        reply = await reply_to(client, type="call", method="rename", payload={"name": "x"})
        assert reply["payload"] == {"productName": "x", "pieces": 1}
        assert (await reply_to(client, type="call", method="double", payload=4))["payload"] == 8
        assert (await reply_to(client, type="call", method="anything"))["payload"] is None


@in_virtual_time
async def test_call_with_another_payload_is_refused():
    async with harness() as site:
        client = await site.open()
        reason = await refused(client, type="call", method="rename", payload={"name": None})
        assert reason == "$.name: expected 'str', got 'null'"
        reason = await refused(client, type="call", method="double", payload="4")
        assert reason == "$: expected 'int', got 'str'"


@in_virtual_time
async def test_parameters_are_of_the_declared_type_and_select_by_its_defaults():
    async with harness() as site:
        site.node.routes.register("prices", PriceChannel)
        client = await site.open()
        await client.ask(subscribe("prices"))
        assert client.connection.subscriptions["prices"].parameters.symbol == "AAPL"
        to = {"channel": "prices"}
        reply = await reply_to(client, type="subscribe", payload={"symbol": "AAPL"}, **to)
        assert reply["payload"]["code"] == "already_subscribed"
        reason = await refused(client, type="subscribe", payload={"depth": 2}, **to)
        assert reason == "$.depth: invalid enum value 2"
        reply = await reply_to(client, type="unsubscribe", payload={"symbol": "AAPL"}, **to)
        assert reply["type"] == "unsubscribed"
