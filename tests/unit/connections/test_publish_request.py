"""What a client may say of its publications: keys, versions, state, echo, transient messages."""

from __future__ import annotations

import pytest

from channels_realtime import Channel, History
from channels_realtime.auth.base import Identity
from tests.support.kept_channels import Kept, register_kinds
from tests.support.nodes import FakeClient, NodeHarness, publish, subscribe
from tests.support.virtual_time import in_virtual_time

KEPT, KEYED = "numbered/1", "keyed/1"


def harness(**config) -> NodeHarness:
    made = NodeHarness(**config)
    register_kinds(made.node.routes)
    return made


async def ask(client: FakeClient, payload, channel=KEPT, **fields) -> dict:
    """Publish, and return the payload of the reply."""
    [reply] = await client.ask(publish(payload, channel, id=1, **fields))
    assert reply["type"] in ("published", "error"), reply
    return reply["payload"]


def sign_in(client: FakeClient, user_id: str) -> None:
    client.connection.identity = Identity(user_id=user_id, method="test")


# -- keys ------------------------------------------------------------------------------------------


@in_virtual_time
async def test_same_key_is_a_duplicate_with_the_first_position():
    async with harness() as site:
        client, other = await site.open(), await site.open()
        await other.ask(subscribe(KEPT))
        first = await ask(client, {"n": 1}, key="a")
        assert (first["offset"], first["duplicate"]) == (1, False)
        await ask(client, "between")
        assert await ask(client, {"n": 1}, key="a") == {**first, "duplicate": True}
        assert [message["payload"] for message in other.take()] == [{"n": 1}, "between"]


@in_virtual_time
async def test_same_key_with_another_payload_is_a_conflict():
    async with harness() as site:
        client = await site.open()
        await ask(client, 1, key="a")
        assert (await ask(client, 2, key="a"))["code"] == "conflict"
        assert (await ask(client, 1, key="a", event="said"))["code"] == "conflict"
        assert (await ask(client, 1, key="a"))["duplicate"] is True


@in_virtual_time
async def test_key_is_one_of_a_user_on_all_connections_and_of_no_other_client():
    async with harness() as site:
        tab, second, other, anonymous, nobody = [await site.open() for _ in range(5)]
        for client, user_id in ((tab, "7"), (second, "7"), (other, "8")):
            sign_in(client, user_id)
        assert (await ask(tab, 1, key="a"))["duplicate"] is False
        assert (await ask(second, 1, key="a"))["duplicate"] is True
        for client in (other, anonymous, nobody):
            assert (await ask(client, 1, key="a"))["duplicate"] is False


@in_virtual_time
async def test_key_stands_for_what_the_client_sent_not_for_what_a_hook_made_of_it():
    class Stamped(Kept):
        number = 0

        async def on_publish(self, connection, payload, event):
            Stamped.number += 1
            return {"payload": payload, "at": Stamped.number}

    async with harness() as site:
        site.node.routes.register("stamped", Stamped)
        client = await site.open()
        await ask(client, 1, "stamped", key="a")
        assert (await ask(client, 1, "stamped", key="a"))["duplicate"] is True


@in_virtual_time
async def test_key_is_passed_over_where_nothing_is_kept():
    async with harness() as site:
        client, other = await site.open(), await site.open()
        await other.ask(subscribe("open/1"))
        other.take()
        for _ in range(2):
            assert await ask(client, 1, "open/1", key="a") == {"duplicate": False}
        assert [message["payload"] for message in other.take()] == [1, 1]


# -- versions and state ----------------------------------------------------------------------------


@in_virtual_time
async def test_older_version_is_a_duplicate_and_not_sent():
    async with harness() as site:
        client, other = await site.open(), await site.open()
        await other.ask(subscribe("last/1"))
        other.take()
        assert (await ask(client, "five", "last/1", version=5))["offset"] == 1
        assert await ask(client, "four", "last/1", version=4) == {"duplicate": True}
        [message] = other.take()
        assert (message["payload"], message["version"]) == ("five", 5)


@in_virtual_time
async def test_state_of_a_key_is_set_on_a_condition_and_removed():
    async with harness() as site:
        client, other = await site.open(), await site.open()
        await other.ask(subscribe(KEYED))
        other.take()
        new = {"state_key": "a", "only_if": {"new": True}}
        assert (await ask(client, 1, KEYED, version=1, **new))["offset"] == 1
        assert (await ask(client, 2, KEYED, version=2, **new))["code"] == "conflict"
        seen = {"state_key": "a", "only_if": {"version": 1}}
        assert (await ask(client, 3, KEYED, version=2, **seen))["offset"] == 2
        assert (await ask(client, 4, KEYED, version=3, **seen))["code"] == "conflict"
        assert (await ask(client, None, KEYED, state_key="a", removed=True))["offset"] == 3
        assert [(one["payload"], one["state_key"], one.get("removed")) for one in other.take()] == [
            (1, "a", None),
            (3, "a", None),
            (None, "a", True),
        ]


# -- everybody but me ------------------------------------------------------------------------------


@in_virtual_time
async def test_echo_false_reaches_everybody_but_this_connection():
    async with harness() as site:
        tab, second, other = [await site.open() for _ in range(3)]
        for client in (tab, second):
            sign_in(client, "7")
        for channel in (KEPT, "open/1"):
            for client in (tab, second, other):
                await client.ask(subscribe(channel))
                client.take()
            await tab.ask(publish("quiet", channel, echo=False))
            await tab.ask(publish("loud", channel, echo=True))
            assert [
                [message["payload"] for message in client.take()] for client in (second, other)
            ] == [["quiet", "loud"], ["quiet", "loud"]]


@in_virtual_time
async def test_publisher_without_echo_gets_nothing_of_it():
    async with harness() as site:
        client = await site.open()
        await client.ask(subscribe(KEPT))
        replies = await client.ask(publish("quiet", KEPT, echo=False), publish("loud", KEPT))
        assert [message["payload"] for message in replies] == ["loud"]


# -- transient messages ----------------------------------------------------------------------------


@pytest.mark.parametrize("channel", [KEPT, "open/1"])
@in_virtual_time
async def test_transient_message_is_delivered_without_a_trace(channel):
    async with harness() as site:
        client, other = await site.open(), await site.open()
        await other.ask(subscribe(channel))
        other.take()
        reply = await ask(client, {"who": 7}, channel, event="typing", transient=True)
        assert reply == {"duplicate": False}
        assert other.take() == [
            {
                "type": "message",
                "channel": channel,
                "payload": {"who": 7},
                "event": "typing",
                "sender": {"user": None},
            }
        ]
        if channel == KEPT:
            assert (await ask(client, "kept"))["offset"] == 1


@in_virtual_time
async def test_transient_messages_are_limited_in_rate_by_connection_and_channel():
    async with harness() as site:
        client, other = await site.open(), await site.open()
        typing = {"event": "typing", "transient": True}
        for _ in range(2):  # transient_rate = (1.0, 2.0)
            assert (await ask(client, "…", **typing)) == {"duplicate": False}
        refusal = await ask(client, "…", **typing)
        assert (refusal["code"], refusal["reason"]) == (
            "rate_limited",
            "too many transient messages to 'numbered/1'",
        )
        assert 0 < refusal["retry_after"] <= 1.0
        assert (await ask(client, "…", "numbered/2", **typing)) == {"duplicate": False}
        assert (await ask(other, "…", **typing)) == {"duplicate": False}
        assert (await ask(client, "kept"))["offset"] == 1


# -- what is refused -------------------------------------------------------------------------------

LONG = "x" * 101
TEXT = "must be text of 1 to 100 characters"
ONLY_IF = "'only_if' must be {'new': true} or {'version': <integer>}"


@pytest.mark.parametrize(
    ("channel", "fields", "code", "text"),
    [
        (KEPT, {"key": ""}, "bad_message", TEXT),
        (KEPT, {"key": LONG}, "bad_message", TEXT),
        (KEPT, {"key": 7}, "bad_message", TEXT),
        (KEPT, {"key": ["a"]}, "bad_message", TEXT),
        (KEYED, {"state_key": ""}, "bad_message", TEXT),
        (KEYED, {"state_key": LONG}, "bad_message", TEXT),
        (KEYED, {"state_key": {}}, "bad_message", TEXT),
        (KEYED, {"version": "1"}, "bad_message", "'version' must be an integer within 2^53"),
        (KEYED, {"version": 1.5}, "bad_message", "'version' must be an integer within 2^53"),
        (KEYED, {"version": True}, "bad_message", "'version' must be an integer within 2^53"),
        (KEYED, {"version": 2**53 + 1}, "bad_message", "'version' must be an integer within 2^53"),
        (KEYED, {"state_key": "a", "only_if": {}}, "bad_message", ONLY_IF),
        (KEYED, {"state_key": "a", "only_if": []}, "bad_message", ONLY_IF),
        (KEYED, {"state_key": "a", "only_if": {"new": 1}}, "bad_message", ONLY_IF),
        (KEYED, {"state_key": "a", "only_if": {"version": "1"}}, "bad_message", "only_if.version"),
        (KEYED, {"removed": "yes"}, "bad_message", "'removed' must be true or false"),
        (KEPT, {"echo": "no"}, "bad_message", "'echo' must be true or false"),
        (KEPT, {"transient": 1}, "bad_message", "'transient' must be true or false"),
        (KEYED, {"removed": True}, "bad_payload", "expected a 'state_key' too"),
        (KEYED, {"only_if": {"new": True}}, "bad_payload", "expected a 'state_key' too"),
        (
            KEPT,
            {"transient": True, "event": "typing", "key": "a"},
            "bad_payload",
            "'key' with 'transient'",
        ),
        (KEPT, {"version": 1}, "unsupported", "has no versions; expected no 'version'"),
        (KEPT, {"state_key": "a"}, "unsupported", "is not keyed; expected no 'state_key'"),
        ("last/1", {"state_key": "a"}, "unsupported", "is not keyed; expected no 'state_key'"),
        (
            KEPT,
            {"transient": True, "event": "said"},
            "forbidden",
            "clients may not publish the event 'said' as transient to 'numbered/1'",
        ),
        (
            KEPT,
            {"transient": True},
            "forbidden",
            "clients may not publish transient messages without an event to 'numbered/1'",
        ),
        (KEPT, {"event": "typing"}, "forbidden", "clients may not publish the event 'typing' to"),
        (KEPT, {"transient": True, "event": "realtime.html"}, "forbidden", "'realtime.html'"),
        (
            "private/1",
            {"transient": True, "event": "typing"},
            "forbidden",
            "not allowed to publish to 'private/1'",
        ),
    ],
    ids=str,
)
@in_virtual_time
async def test_malformed_or_misplaced_field_is_an_error(channel, fields, code, text):
    async with harness() as site:
        client, neighbour = await site.open(), await site.open()
        await neighbour.ask(subscribe(channel))
        neighbour.take()
        error = await ask(client, 1, channel, **fields)
        assert error["code"] == code
        assert text in error["reason"]
        assert neighbour.take() == []


@pytest.mark.parametrize("event", ["realtime.html", "realtime.", "realtime.other"])
@pytest.mark.parametrize("transient", [False, True])
@in_virtual_time
async def test_event_of_the_servers_own_is_refused_although_the_class_lists_it(
    monkeypatch, event, transient
):
    monkeypatch.setattr(Kept, "client_events", (event,))
    monkeypatch.setattr(Kept, "transient_events", (event,))
    async with harness() as site:
        client, neighbour = await site.open(), await site.open()
        await neighbour.ask(subscribe(KEPT))
        neighbour.take()
        fields = {"transient": True} if transient else {}
        error = await ask(client, {"html": "<p>"}, event=event, **fields)
        assert error["code"] == "forbidden"
        assert neighbour.take() == []


@in_virtual_time
async def test_refused_publication_runs_no_hook():
    log = []

    class Logged(Kept):
        history = History()

        async def on_publish(self, connection, payload, event):
            log.append(payload)
            return payload

    async with harness() as site:
        site.node.routes.register("logged", Logged)
        client = await site.open()
        assert (await ask(client, 1, "logged", version=1))["code"] == "unsupported"
        assert log == []


# -- what is delivered -----------------------------------------------------------------------------


class Shouted(Channel):
    """Publishes in capitals."""

    public = True

    async def can_publish(self, connection):
        return True

    async def on_publish(self, connection, payload, event):
        return payload.upper()


class Signed(Shouted):
    async def sender(self, connection):
        return {"name": "a friend"}


@pytest.mark.parametrize(
    ("kind", "sender"), [(Shouted, {"user": "7"}), (Signed, {"name": "a friend"})]
)
@in_virtual_time
async def test_what_a_hook_made_of_it_is_delivered_with_its_sender(kind, sender):
    async with harness() as made:
        made.node.routes.register("shouted/<str:x>", kind)
        client = await made.open()
        sign_in(client, "7")
        await client.ask(subscribe("shouted/1"))
        [message] = await client.ask(publish("hello", "shouted/1"))
        assert message["payload"] == "HELLO"
        assert message["sender"] == sender
