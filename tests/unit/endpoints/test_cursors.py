"""Cursors of event streams: what an ``id`` says, and what a client may send back."""

from __future__ import annotations

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels_realtime.endpoints.cursors import (
    MAX_CURSOR_CHANNELS,
    UNKNOWN,
    Cursor,
    ReadCursor,
    closed_cursor,
)
from channels_realtime.protocol.messages import Position


def cursor(*channels: str, came_with: str = "", states: tuple[str, ...] = ()) -> Cursor:
    return Cursor(ReadCursor(came_with), channels, states.__contains__)


def text_of(value: object) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(value)).rstrip(b"=").decode()


def test_cursor_reads_back_the_positions_that_it_wrote():
    written = cursor("orders/1", "orders/2")
    assert written.changed() is None
    written.begin("orders/1", Position("e", 4))
    written.begin("orders/2", Position("f", 0))
    written.advance("orders/1", Position("e", 5))
    text = written.changed()
    assert text
    assert written.changed() is None  # it is said once
    read = ReadCursor(text)
    assert read.position("orders/1") == Position("e", 5)
    assert read.position("orders/2") == Position("f", 0)
    assert read.position("orders/3") is None


def test_client_that_comes_back_keeps_its_positions_until_they_move():
    first = cursor("orders/1")
    first.begin("orders/1", Position("e", 4))
    text = first.changed()
    again = cursor("orders/1", "orders/2", came_with=text)
    assert again.changed() is None
    assert again.knows("orders/1")
    assert not again.knows("orders/2")
    again.advance("orders/1", Position("e", 9))
    assert ReadCursor(again.changed()).position("orders/1") == Position("e", 9)


def test_channel_with_state_has_no_position_before_a_message_of_it():
    written = cursor("boards/1", states=("boards/1",))
    written.begin("boards/1", Position("e", 4))
    assert written.changed() is None
    written.advance("boards/1", Position("e", 5))
    assert ReadCursor(written.changed()).position("boards/1") == Position("e", 5)


def test_channel_that_the_stream_is_not_for_is_left_out():
    written = cursor("orders/1")
    written.advance("orders/2", Position("e", 1))
    assert written.changed() is None


def test_channel_that_was_left_is_left_out():
    written = cursor("orders/1")
    written.begin("orders/1", Position("e", 4))
    written.changed()
    written.forget("orders/1")
    assert written.changed() == ""


def test_cursor_holds_a_bounded_number_of_channels():
    names = [f"orders/{number}" for number in range(MAX_CURSOR_CHANNELS + 1)]
    written = cursor(*names)
    for name in names:
        written.begin(name, Position("e" * 16, 2**53))
    text = written.changed()
    assert len(text) < 1_700
    read = ReadCursor(text)
    assert read.position(names[-2]) == Position("e" * 16, 2**53)
    assert read.position(names[-1]) is None


BAD = {
    "no base64": "%%%",
    "other letters": "ä",
    "no MessagePack": "AAAA",
    "cut off": text_of([(b"123456", "e", 1)])[:-2],
    "no list": text_of({"a": 1}),
    "wrong types": text_of([("a", 1, "b")]),
    "short key": text_of([(b"1", "e", 1)]),
    "negative": text_of([(b"123456", "e", -1)]),
    "beyond a number": text_of([(b"123456", "e", 2**60)]),
    "long epoch": text_of([(b"123456", "e" * 65, 1)]),
    "too many": text_of([(b"123456", "e", 1)] * 33),
    "too long": "A" * 5_000,
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_cursor_that_cannot_be_read_is_a_position_that_nothing_meets(text):
    read = ReadCursor(text)
    assert read.closed is None
    assert read.position("orders/1") == UNKNOWN


@given(st.text(max_size=100))
def test_reading_any_text_raises_nothing(text):
    ReadCursor(text).position("orders/1")


@given(st.binary(max_size=100))
def test_reading_any_bytes_raises_nothing(data):
    ReadCursor(base64.urlsafe_b64encode(data).decode()).position("orders/1")


@pytest.mark.parametrize(
    ("text", "code"),
    [(closed_cursor(4401), 4401), ("closed.4403", 4403), ("closed.x", 4403), ("closed.", 4403)],
)
def test_cursor_of_a_stream_that_was_closed_says_why(text, code):
    assert ReadCursor(text).closed == code
