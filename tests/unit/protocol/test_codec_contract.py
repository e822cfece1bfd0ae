"""What each codec must do; a new one is added to ``CODECS`` and is tested here with the others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels_realtime.errors import BadMessage
from channels_realtime.protocol.codecs import CODECS, Codec
from channels_realtime.protocol.payloads import MAX_INTEGER, MIN_INTEGER

ALL = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(MIN_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",)))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), inner, max_size=5)
    ),
    max_leaves=20,
)


@ALL
def test_name_and_kind_of_frame_are_known(codec: Codec):
    assert CODECS[codec.name] is codec
    assert isinstance(codec.encode(1), bytes) is codec.binary


@ALL
@given(value=VALUES)
def test_normalised_value_comes_back_as_it_was(codec: Codec, value):
    assert codec.decode(codec.encode(value)) == value


@ALL
@given(value=VALUES)
def test_same_value_is_written_alike_each_time(codec: Codec, value):
    assert codec.encode(value) == codec.encode(value)


@ALL
@given(data=st.binary(max_size=200) | st.text(max_size=200))
def test_what_is_not_of_the_format_raises_bad_message_and_nothing_else(codec: Codec, data):
    reason = ""
    try:
        codec.decode(data)
    except BadMessage as error:
        reason = error.reason
    assert len(reason) < 200


@ALL
@pytest.mark.parametrize("depth", [1_000, 100_000])
def test_deep_nesting_is_a_bad_message(codec: Codec, depth):
    data = b"\x91" * depth if codec.binary else "[" * depth
    with pytest.raises(BadMessage):
        codec.decode(data)
