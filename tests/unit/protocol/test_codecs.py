"""Values to frames and back."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels_realtime.errors import BadMessage
from channels_realtime.protocol.codecs import CODECS, JSON, MSGPACK


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "{",
        "nope",
        "{'type': 'ping'}",
        '{"type": "ping"',
        '{"type": "ping"} x',
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "9" * 5000,
        '"\\ud800"',
        '"\\udc00\\ud800"',
        '"\ud800"',
        '"\x00"',
        '"line\nbreak"',
        "[" * 100_000,
        '{"a":' * 100_000,
        "[" * 100_000 + "]" * 100_000,
        "\ufeff{}",
        "01",
        '{"type": "ping",}',
        '{"type": "ping"} // comment',
        '"\\x41"',
    ],
    ids=lambda text: repr(text[:20]),
)
def test_json_refuses_what_is_no_json(text):
    with pytest.raises(BadMessage) as caught:
        JSON.decode(text)
    assert caught.value.reason.startswith("not JSON: ")
    assert len(caught.value.reason) < 150
    assert caught.value.code == "bad_message"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x81",
        b"\x01\x02",
        b"\xa2\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x81\x80\x01",
        b"\x81\xd4\x05a\x01",
        b"\xc7\x0c\xff" + b"\xff" * 12,
        b"\x91" * 100_000 + b"\x01",
    ],
    ids=lambda data: data[:6].hex(),
)
def test_msgpack_refuses_what_is_no_msgpack(data):
    with pytest.raises(BadMessage) as caught:
        MSGPACK.decode(data)
    assert caught.value.reason.startswith("not MessagePack: ")
    assert caught.value.code == "bad_message"


def test_json_shows_bytes_as_base64():
    assert JSON.encode({"a": b"\x00\xff"}) == '{"a":"AP8="}'


def test_msgpack_carries_bytes():
    assert MSGPACK.decode(MSGPACK.encode({"a": b"\x00\xff"})) == {"a": b"\x00\xff"}


def test_codecs_say_what_their_frames_are():
    assert {name: (codec.name, codec.binary) for name, codec in CODECS.items()} == {
        "json": ("json", False),
        "msgpack": ("msgpack", True),
    }
    assert isinstance(JSON.encode({}), str)
    assert isinstance(MSGPACK.encode({}), bytes)


def test_json_error_does_not_quote_the_frame():
    with pytest.raises(BadMessage) as caught:
        JSON.decode('{"token": "planted-secret", nope}')
    assert "planted-secret" not in caught.value.reason


@given(st.text(st.characters(categories=None)) | st.binary())
def test_json_raises_nothing_but_bad_message(frame):
    try:
        value = JSON.decode(frame)
    except BadMessage:
        return
    msgspec.json.encode(value)


@given(st.binary())
def test_msgpack_raises_nothing_but_bad_message(frame):
    try:
        MSGPACK.decode(frame)
    except BadMessage:
        pass
