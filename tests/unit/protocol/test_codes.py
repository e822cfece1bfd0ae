"""Error codes and close codes, as the wire protocol lists them."""

from __future__ import annotations

import pytest

from channels_realtime import errors
from channels_realtime.protocol.codes import CloseCode, ErrorCode


def test_error_codes_are_those_of_the_wire_protocol():
    assert set(ErrorCode) == {
        "bad_message", "unknown_type", "unsupported", "unauthenticated", "token_expired",
        "token_invalid", "forbidden", "unknown_channel", "bad_channel", "bad_payload",
        "not_subscribed", "already_subscribed", "unknown_method", "unknown_session",
        "not_recoverable", "conflict", "rate_limited", "too_large", "too_many_subscriptions",
        "timeout", "unavailable", "internal",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("code", "rfc", "reconnect"),
    [
        (1000, {1000}, False),
        (4400, {1002, 1003, 1007}, False),
        (4401, {1008}, True),
        (4403, {1008}, False),
        (4406, {1002}, False),
        (4408, {1001}, True),
        (4409, {1008}, False),
        (4413, {1009}, False),
        (4429, {1008}, True),
        (4430, {1008}, True),
        (4500, {1011}, True),
        (4503, {1001, 1012, 1013}, True),
    ],
)
def test_close_code_has_its_rfc_code_and_its_advice(code, rfc, reconnect):
    found = CloseCode(code)
    assert found.rfc in rfc
    assert found.reconnect is reconnect


def test_close_codes_are_those_of_the_wire_protocol():
    assert set(CloseCode) == {
        1000, 4400, 4401, 4403, 4406, 4408, 4409, 4413, 4429, 4430, 4500, 4503,
    }  # fmt: skip


ERRORS = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, errors.RealtimeError)
]


@pytest.mark.parametrize("error", ERRORS)
def test_error_has_a_code_and_a_reason_without_arguments(error):
    assert isinstance(error().code, ErrorCode)
    assert error().reason
    assert str(error("why")) == "why"


def test_error_takes_another_code_for_itself_alone():
    error = errors.BadMessage("what", code=ErrorCode.UNKNOWN_TYPE, retry_after=2.0)
    assert (error.code, error.retry_after) == (ErrorCode.UNKNOWN_TYPE, 2.0)
    assert errors.BadMessage().code is ErrorCode.BAD_MESSAGE


def test_error_refuses_a_code_that_is_none():
    with pytest.raises(ValueError, match="'nope' is not a valid ErrorCode"):
        errors.BadMessage(code="nope")
