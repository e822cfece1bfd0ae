"""What publishers hold, as the JSON types that every codec carries."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import math
import uuid

import msgspec
import pytest
from django.db import models
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy
from hypothesis import given
from hypothesis import strategies as st

from channels_realtime.errors import BadPayload
from channels_realtime.protocol.codecs import JSON, MSGPACK
from channels_realtime.protocol.payloads import MAX_INTEGER, MIN_INTEGER, normalise
from channels_realtime.runtime.encoding import normalise_payload, payload_size


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Status(models.TextChoices):
    PAID = "paid", "Paid"


@dataclasses.dataclass
class Point:
    x: int
    label: Colour


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    points: tuple[Point, ...]


UTC = datetime.UTC


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        ("text", "text"),
        ("äöü 👋", "äöü 👋"),
        (1.5, 1.5),
        (MIN_INTEGER, MIN_INTEGER),
        (MAX_INTEGER, MAX_INTEGER),
        (b"bytes", b"bytes"),
        (bytearray(b"bytes"), b"bytes"),
        (memoryview(b"bytes"), b"bytes"),
        ((1, (2,)), [1, [2]]),
        ({"a": (1,)}, {"a": [1]}),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (Status.PAID, "paid"),
        (Point(1, Colour.RED), {"x": 1, "label": "red"}),
        (Line((Point(1, Colour.RED),)), {"points": [{"x": 1, "label": "red"}]}),
        ({1: "a", 2.5: "b", None: "d"}, {"1": "a", "2.5": "b", "null": "d"}),
        ({True: 1, False: 0}, {"true": 1, "false": 0}),
        ({Colour.RED: 1, Level.HIGH: 2}, {"red": 1, "3": 2}),
    ],
)
def test_value_becomes_json_types(value, expected):
    normal = normalise(value)
    assert normal == expected
    assert type(normal) is type(expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), "2026-01-02T03:04:05.678Z"),
        (datetime.datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (datetime.time(3, 4, 5), "03:04:05"),
        (datetime.timedelta(days=1, seconds=2), "P1DT00H00M02S"),
        (decimal.Decimal("178.40"), "178.40"),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (gettext_lazy("Yes"), "Yes"),
        ({gettext_lazy("Yes"): uuid.UUID(int=7)}, {"Yes": "00000000-0000-0000-0000-000000000007"}),
        ({datetime.date(2026, 1, 2): 1}, {"2026-01-02": 1}),
        ({uuid.UUID(int=7): 1}, {"00000000-0000-0000-0000-000000000007": 1}),
        (mark_safe("<b>bold</b>"), "<b>bold</b>"),
        ({"html": mark_safe("<b>ä</b>")}, {"html": "<b>ä</b>"}),
        ({mark_safe("key"): 1}, {"key": 1}),
    ],
)
def test_django_value_is_written_as_djangos_encoder_writes_it(value, expected):
    normal = normalise_payload(value)
    assert normal == expected
    assert msgspec.json.decode(JSON.encode(normal)) == expected
    assert MSGPACK.decode(MSGPACK.encode(normal)) == expected


@pytest.mark.parametrize("kind", [str, int, float, dict, list, tuple])
def test_subclass_of_a_json_type_becomes_the_type_itself(kind):
    class Sub(kind):
        pass

    normal = normalise(Sub())
    assert type(normal) is (list if kind is tuple else kind)
    assert JSON.encode(normal) == JSON.encode(normalise(kind()))


def test_dict_is_copied_so_that_later_changes_do_not_reach_it():
    value = {"a": [1]}
    normal = normalise(value)
    value["a"].append(2)
    assert normal == {"a": [1]}


EXPECTED = (
    "expected JSON types, dates, times, Decimal, UUID, enums, dataclasses or lazy strings"
    " (make a list or dict of anything else first)"
)


class Thing:
    pass


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({1, 2}, f"payload: a value of type set cannot be encoded; {EXPECTED}"),
        (
            {"a": [0, {"b": object()}]},
            f"payload.a[1].b: a value of type object cannot be encoded; {EXPECTED}",
        ),
        (Thing(), f"payload: a value of type {__name__}.Thing cannot be encoded; {EXPECTED}"),
        (1j, f"payload: a value of type complex cannot be encoded; {EXPECTED}"),
        (Point, f"payload: a value of type type cannot be encoded; {EXPECTED}"),
        (math.nan, "payload: nan cannot be encoded; JSON has finite numbers only"),
        ([math.inf], "payload[0]: inf cannot be encoded; JSON has finite numbers only"),
        ({"x": -math.inf}, "payload.x: -inf cannot be encoded; JSON has finite numbers only"),
        (
            2**64,
            "payload: an integer of 65 bits cannot be encoded;"
            " expected -2**63 to 2**64 - 1 (send it as text)",
        ),
        (
            [-(2**63) - 1],
            "payload[0]: an integer of 64 bits cannot be encoded;"
            " expected -2**63 to 2**64 - 1 (send it as text)",
        ),
        ("\ud800", "payload: text with a lone surrogate is not Unicode"),
        ({"a\udfff": 1}, "payload: text with a lone surrogate is not Unicode"),
        ({b"k": 1}, "payload: a key of type bytes cannot be encoded; expected text"),
        ({(1, 2): 1}, "payload: a key of type tuple cannot be encoded; expected text"),
        ({1: "a", "1": "b"}, "payload: two keys become '1'"),
    ],
)
def test_value_is_refused_with_its_path_when_it_cannot_be_encoded(value, message):
    with pytest.raises(BadPayload) as caught:
        normalise(value)
    assert caught.value.reason == message
    assert caught.value.code == "bad_payload"


def test_time_with_a_zone_is_refused_as_djangos_encoder_does():
    with pytest.raises(BadPayload, match="payload: JSON can't represent timezone-aware times"):
        normalise_payload({"at": datetime.time(1, tzinfo=UTC)})


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_value_may_be_nested_to_the_limit_and_no_further():
    assert normalise(nested(32)) == nested(32)
    with pytest.raises(BadPayload, match=r"^payload(\[0\])+: nested too deeply$"):
        normalise(nested(33))


def test_value_that_holds_itself_is_refused():
    value: dict = {}
    value["self"] = value
    with pytest.raises(BadPayload, match=r"nested too deeply$"):
        normalise(value)


def test_reason_stays_short_when_the_path_is_long():
    with pytest.raises(BadPayload) as caught:
        normalise({"k" * 5000: object()})
    assert len(caught.value.reason) < 400


def test_size_is_that_of_the_json():
    assert payload_size({"a": "ä"}) == len('{"a":"ä"}'.encode())


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(MIN_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
ANY_VALUES = st.recursive(
    JSON_VALUES
    | st.floats()
    | st.integers()
    | st.binary()
    | st.text(st.characters())
    | st.datetimes()
    | st.decimals()
    | st.uuids()
    | st.sampled_from([Colour.RED, Level.HIGH, Thing(), mark_safe("x")]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.integers() | st.floats() | st.none(), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_json_value_stays_as_it_is(value):
    assert normalise(value) == value


@given(ANY_VALUES)
def test_value_is_either_refused_or_carried_by_both_codecs(value):
    try:
        normal = normalise_payload(value)
    except BadPayload:
        return
    assert MSGPACK.decode(MSGPACK.encode(normal)) == normal
    JSON.decode(JSON.encode(normal))
    assert normalise(normal) == normal
