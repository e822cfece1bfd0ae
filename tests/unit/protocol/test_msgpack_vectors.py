"""The vectors of the JavaScript codec's tests are what the server encodes."""

import json
from pathlib import Path

import pytest

from channels_realtime.protocol.codecs import MSGPACK

VECTORS = Path(__file__).parents[2] / "js" / "msgpack-vectors.mjs"
LINES = [line.removesuffix(",") for line in VECTORS.read_text().splitlines() if line[:3] == "  ["]


def test_vectors_are_many() -> None:
    assert len(LINES) > 50


@pytest.mark.parametrize("line", LINES)
def test_vector_is_what_the_server_encodes(line: str) -> None:
    value, encoded = json.loads(line)
    assert MSGPACK.encode(value) == bytes.fromhex(encoded)
