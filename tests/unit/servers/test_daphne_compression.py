"""Answers to offers of permessage-deflate, and messages that are compressed once for all."""

import logging
import zlib
from types import SimpleNamespace

import pytest
from autobahn.websocket.compress import PERMESSAGE_COMPRESSION_EXTENSION, PerMessageDeflateOffer
from autobahn.websocket.compress_deflate import PerMessageDeflate
from autobahn.websocket.protocol import WebSocketProtocol

from channels_realtime.servers.daphne import compression as daphne_compression
from channels_realtime.servers.daphne.compression import (
    INFLATED_MAX_BYTES,
    REMEMBERED,
    Accept,
    SharedDeflate,
    compress,
    deflated,
)


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    daphne_compression._remembered.clear()


def protocol(**attributes):
    """What is asked of Daphne's protocol object."""
    return SimpleNamespace(
        **{
            "maxMessagePayloadSize": 1_000_000,
            "perMessageCompressionAccept": lambda _: None,
            **attributes,
        }
    )


def offer(text: str) -> PerMessageDeflateOffer:
    """An offer as it stands in the header."""
    ((_, parameters),) = WebSocketProtocol._parseExtensionsHeader(
        SimpleNamespace(log=logging), text
    )
    return PerMessageDeflateOffer.parse(parameters)


def answer(text: str) -> Accept:
    asked = protocol()
    compress(asked)
    return asked.perMessageCompressionAccept([offer(text)])


def inflated(data: bytes) -> bytes:
    decompressor = zlib.decompressobj(-15)
    return decompressor.decompress(data + b"\0\0\xff\xff")


# -- the answer ------------------------------------------------------------------------------------

TAKES = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


@pytest.mark.parametrize(
    ("offered", "answered"),
    [
        ("permessage-deflate", TAKES),
        ("permessage-deflate; client_max_window_bits", TAKES),
        ("permessage-deflate; client_max_window_bits=9", TAKES),
        (
            "permessage-deflate; server_max_window_bits=9",
            f"{TAKES}; server_max_window_bits=9",
        ),
        (
            "permessage-deflate; server_max_window_bits=15",
            f"{TAKES}; server_max_window_bits=12",
        ),
        ("permessage-deflate; server_no_context_takeover", TAKES),
    ],
)
def test_answer_to_an_offer(offered: str, answered: str) -> None:
    assert answer(offered).get_extension_string() == answered


def test_window_is_no_larger_than_the_client_asks_for() -> None:
    made = SharedDeflate.create_from_offer_accept(
        True, answer("permessage-deflate; server_max_window_bits=9")
    )
    assert made.server_max_window_bits == 9


def test_other_compression_is_not_taken() -> None:
    asked = protocol()
    compress(asked)
    assert asked.perMessageCompressionAccept([object()]) is None


def test_autobahn_finds_the_shared_kind_by_the_answer() -> None:
    found = PERMESSAGE_COMPRESSION_EXTENSION[answer("permessage-deflate").EXTENSION_NAME]
    assert found["PMCE"] is SharedDeflate
    with pytest.raises(ValueError, match="there is no extension"):
        found["Offer"].parse({})


@pytest.mark.parametrize(
    ("of_the_server", "limit"), [(1_000_000, 1_000_000), (0, INFLATED_MAX_BYTES)]
)
def test_messages_inflate_to_the_servers_limit(of_the_server: int, limit: int) -> None:
    asked = protocol(maxMessagePayloadSize=of_the_server)
    compress(asked)
    accepted = asked.perMessageCompressionAccept([offer("permessage-deflate")])
    assert accepted.max_message_size == limit


# -- where it cannot be done -----------------------------------------------------------------------


def unbounded(self, data):
    """autobahn's before 26.7.1."""


@pytest.mark.parametrize(
    ("asked", "missing"),
    [
        (protocol(), "a bound on what a message inflates to (install autobahn 26.7.1 or later)"),
        (SimpleNamespace(), "perMessageCompressionAccept"),
        (SimpleNamespace(perMessageCompressionAccept=None), "maxMessagePayloadSize"),
    ],
)
def test_it_is_said_once_where_it_cannot_be_done(
    asked, missing: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(daphne_compression, "_complained", False)
    monkeypatch.setattr(PerMessageDeflate, "decompress_message_data", unbounded)
    before = vars(asked).copy()
    compress(asked)
    compress(asked)
    assert vars(asked) == before
    assert caplog.messages == [f"DAPHNE_COMPRESSION has no effect: this autobahn lacks {missing}"]


# -- messages --------------------------------------------------------------------------------------


def shared() -> SharedDeflate:
    return SharedDeflate.create_from_offer_accept(True, answer("permessage-deflate"))


def compressed_by(extension: SharedDeflate, *parts: bytes) -> bytes:
    """As autobahn calls it."""
    extension.start_compress_message()
    out = [extension.compress_message_data(part) for part in parts]
    return b"".join([*out, extension.end_compress_message()])


@pytest.mark.parametrize("payload", [b"", b"x", b'{"type":"pong"}', b"abc" * 50_000])
def test_message_comes_out_as_it_went_in(payload: bytes) -> None:
    assert inflated(compressed_by(shared(), payload)) == payload


def test_message_in_parts_comes_out_whole() -> None:
    assert inflated(compressed_by(shared(), b"one ", b"two")) == b"one two"


def test_message_to_many_is_compressed_once() -> None:
    for _ in range(3):
        compressed_by(shared(), b"news" * 100)
    ((window_bits, payload, compressed),) = daphne_compression._remembered
    assert (window_bits, payload) == (12, b"news" * 100)
    assert deflated(b"news" * 100, 12) is compressed


def test_message_for_another_window_is_compressed_again() -> None:
    payload = bytes(range(256)) * 64
    assert inflated(deflated(payload, 9)) == inflated(deflated(payload, 12)) == payload
    assert deflated(payload, 9) is not deflated(payload, 12)


def test_few_messages_are_remembered() -> None:
    for number in range(100):
        deflated(b"%d" % number, 12)
    assert len(daphne_compression._remembered) == REMEMBERED


def test_extension_holds_nothing_between_messages() -> None:
    extension = shared()
    compressed_by(extension, b"out" * 1_000)
    extension.start_decompress_message()
    assert extension.decompress_message_data(deflated(b"in" * 1_000, 12)) == b"in" * 1_000
    extension.end_decompress_message()
    assert (extension._compressor, extension._decompressor, extension._parts) == (None, None, [])
