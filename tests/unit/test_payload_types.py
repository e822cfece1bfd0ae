"""What channel classes declare of their payloads: accepted, converted and refused in the publisher."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import uuid
from typing import Any

import msgspec
import pytest
from django.utils.safestring import mark_safe

from channels_realtime import Channel, action, publish, publish_html
from channels_realtime.channels import registry
from channels_realtime.errors import BadPayload, ImproperUse
from channels_realtime.payload_types import UNTYPED, ActionTypes, read
from channels_realtime.testing import capture_publications
from tests.support.typed_channels import (
    Card,
    Cash,
    Line,
    Note,
    OrderChannel,
    Rename,
    Status,
    StatusChanged,
)

NOON = datetime.datetime(2026, 5, 1, 12, 0, 0, 1_000, tzinfo=datetime.UTC)


@pytest.fixture
def sent():
    """Publishes to a channel of the class, and returns what subscribers get."""
    registry.register("typed/<int:order_id>", OrderChannel)

    def sent(payload: Any, **options: Any) -> Any:
        with capture_publications() as captured:
            publish("typed/42", payload, on_commit=False, **options)
        [one] = captured
        return one.payload

    yield sent
    registry.unregister("typed/<int:order_id>")


def refusal(sent, payload: Any, **options: Any) -> str:
    with pytest.raises(BadPayload) as refused:
        sent(payload, **options)
    return refused.value.reason


# -- published by the server -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "event", "published"),
    [
        (
            StatusChanged(Status.PAID, decimal.Decimal("1.50"), NOON),
            "status",
            {"status": "paid", "total": "1.50", "at": "2026-05-01T12:00:00.001Z"},
        ),
        (
            {"status": Status.SENT, "total": decimal.Decimal(3), "at": NOON},
            "status",
            {"status": "sent", "total": "3", "at": "2026-05-01T12:00:00.001Z"},
        ),
        (
            {"status": "paid", "total": "2"},
            "status",
            {"status": "paid", "total": "2", "at": None},
        ),
        (
            Note(text="a", author="b", lines=[Line(product_name="c", pieces=2)]),
            "note",
            {"text": "a", "author": "b", "lines": [{"productName": "c", "pieces": 2}]},
        ),
        (
            {"text": "a", "author": "b", "more": 1},
            "note",
            {"text": "a", "author": "b", "lines": []},
        ),
        (Card(last4="1234"), "paid", {"type": "card", "last4": "1234"}),
        (Cash(), "paid", {"type": "cash"}),
        (None, "cleared", None),
        ({"productName": "c"}, None, {"productName": "c", "pieces": 1}),
        ({"name": "anna"}, "typing", {"name": "anna"}),
        ("a word", "said", "a word"),
        (Card(last4="1234"), "said", {"type": "card", "last4": "1234"}),
    ],
)
def test_payload_of_the_type_is_published_in_json_types(sent, payload, event, published):
    assert sent(payload, event=event) == published


@pytest.mark.parametrize(
    ("payload", "event", "reason"),
    [
        (
            {"status": "lost", "total": "1"},
            "status",
            "channel 'typed/42', the event 'status': $.status: invalid enum value 'lost'"
            " (OrderChannel.messages has StatusChanged)",
        ),
        (
            {"total": "1"},
            "status",
            "channel 'typed/42', the event 'status': $: object missing required field 'status'"
            " (OrderChannel.messages has StatusChanged)",
        ),
        (
            Note(text="a", author="b", lines=[Line(product_name=5)]),  # type: ignore[arg-type]
            "note",
            "channel 'typed/42', the event 'note': $.lines[0].productName: expected 'str', got 'int'"
            " (OrderChannel.messages has Note)",
        ),
        (
            Line(product_name="a", pieces=0),
            None,
            "channel 'typed/42', a message without an event: $.pieces: expected 'int' >= 1"
            " (OrderChannel.messages has Line)",
        ),
        (
            "paid",
            "status",
            "channel 'typed/42', the event 'status': $: expected 'object', got 'str'"
            " (OrderChannel.messages has StatusChanged)",
        ),
        (
            {},
            "cleared",
            "channel 'typed/42', the event 'cleared': $: expected 'null', got 'object'"
            " (OrderChannel.messages has None)",
        ),
        (
            {},
            "stauts",
            "channel 'typed/42', the event 'stauts': OrderChannel.messages does not have it;"
            " expected 'status' or 'note' or 'paid' or 'cleared' or 'said' or 'typing' or no event",
        ),
    ],
)
def test_other_payload_is_refused_in_the_caller(sent, payload, event, reason):
    assert refusal(sent, payload, event=event) == reason


def test_html_is_published_whatever_is_declared(sent):
    with capture_publications() as captured:
        publish_html("typed/42", html=mark_safe("<p>a</p>"), on_commit=False)
    assert captured[0].payload["html"] == "<p>a</p>"


def test_removing_a_state_needs_no_payload_of_the_type(sent):
    class Places(Channel):
        state = "keyed"
        messages = Line

    registry.register("places", Places)
    try:
        with capture_publications() as captured:
            publish("places", None, state_key="a", removed=True, on_commit=False)
            with pytest.raises(BadPayload):
                publish("places", None, state_key="a", on_commit=False)
        assert [one.payload for one in captured] == [None]
    finally:
        registry.unregister("places")


def test_undeclared_events_are_published_as_they_are_where_the_class_says_so(sent):
    class Open(Channel):
        messages = {"line": Line}
        undeclared_events = True

    registry.register("open", Open)
    try:
        with capture_publications() as captured:
            publish("open", {"x": 1}, event="other", on_commit=False)
            with pytest.raises(BadPayload):
                publish("open", {"x": 1}, event="line", on_commit=False)
        assert [one.payload for one in captured] == [{"x": 1}]
    finally:
        registry.unregister("open")


def test_class_that_declares_no_message_takes_html_alone(sent):
    Fragments = type("Fragments", (Channel,), {"__qualname__": "Fragments", "messages": {}})
    registry.register("fragments", Fragments)
    try:
        with pytest.raises(BadPayload) as refused, capture_publications():
            publish("fragments", {"x": 1}, on_commit=False)
        assert refused.value.reason == (
            "channel 'fragments', a message without an event: Fragments.messages does not have it;"
            " expected HTML alone"
        )
        with capture_publications() as captured:
            publish_html("fragments", html=mark_safe("<p>a</p>"), on_commit=False)
        assert captured[0].event == "realtime.html"
    finally:
        registry.unregister("fragments")


def test_class_without_declarations_has_no_types():
    assert Channel.payload_types is None
    assert type("Plain", (Channel,), {"client_events": ("a",)}).payload_types is None


# -- declarations ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (
            {"messages": {"status": "StatusChanged"}},
            "Made.messages['status'] is 'StatusChanged'; expected a dataclass, a msgspec.Struct, a TypedDict,"
            " str, int, float, bool or a union of them; or None for no payload",
        ),
        (
            {"messages": dict},
            "Made.messages[None] is <class 'dict'>; expected a dataclass, a msgspec.Struct, a TypedDict,"
            " str, int, float, bool or a union of them; or None for no payload",
        ),
        (
            {"messages": {3: Note}},
            "Made.messages has the key 3; expected an event's name, or None for messages without",
        ),
        (
            {"messages": {"realtime.html": Note}},
            "Made.messages has the key 'realtime.html'; 'realtime.' is reserved for the package",
        ),
        (
            {"messages": {"note": Note}, "client_events": ("note", "nite")},
            "Made.client_events has 'nite', which Made.messages does not have; expected 'note'",
        ),
        (
            {"client_events": {"note": list}},
            "Made.client_events['note'] is <class 'list'>; expected a dataclass, a msgspec.Struct, a TypedDict,"
            " str, int, float, bool or a union of them; or None for no payload",
        ),
        (
            {"parameters_type": dict},
            "Made.parameters_type is <class 'dict'>; expected a dataclass, a msgspec.Struct or a TypedDict",
        ),
    ],
)
def test_malformed_declaration_is_refused_at_the_class(attributes, message):
    with pytest.raises(ImproperUse) as refused:
        type("Made", (Channel,), {"__qualname__": "Made", **attributes})
    assert refused.value.reason == message


def test_annotations_of_an_action_are_its_types():
    assert OrderChannel.action_types("rename") == ActionTypes(argument=Rename, result=Line)
    assert OrderChannel.action_types("anything") == ActionTypes()
    assert OrderChannel.action_types("double") == ActionTypes(argument=int, result=int)


def test_annotation_that_cannot_be_resolved_counts_as_any():
    class Made(Channel):
        @action
        def move(self, connection, payload: Missing): ...  # type: ignore[name-defined]  # noqa: F821

    found = Made.action_types("move")
    assert found.argument is UNTYPED
    assert found.unread == ("payload: name 'Missing' is not defined",)


def test_structs_are_published_on_channels_without_types_too():
    class Pair(msgspec.Struct, array_like=True):
        a: int
        b: msgspec.UnsetType | int = msgspec.UNSET

    @dataclasses.dataclass
    class Box:
        card: Card
        note: msgspec.UnsetType | str = msgspec.UNSET

    registry.register("plain", type("Plain", (Channel,), {}))
    try:
        with capture_publications() as captured:
            publish("plain", [Pair(1, 2), Box(Card(last4="1"))], on_commit=False)
        assert [one.payload for one in captured] == [
            [[1, 2], {"card": {"type": "card", "last4": "1"}}]
        ]
    finally:
        registry.unregister("plain")


def test_keys_that_are_no_text_are_read_from_text():
    declared = dict[uuid.UUID, dict[int, datetime.date]]
    key = uuid.uuid4()
    value = read({str(key): {"1": "2026-01-31"}}, declared)
    assert value == {key: {1: datetime.date(2026, 1, 31)}}
    with pytest.raises(BadPayload) as refused:
        read({"rows": {"a": 1}}, dataclasses.make_dataclass("Rows", [("rows", dict[int, int])]))
    assert refused.value.reason == "key in $.rows: expected 'int', got 'str'"
