"""How headers are found, and kept once where many connections have the same; secrets are not."""

from __future__ import annotations

import pytest

from channels_realtime.access import headers as headers_module
from channels_realtime.access.headers import MAX_SHARED, MAX_VALUE_BYTES, Headers, _shared
from tests.support.nodes import NodeHarness
from tests.support.virtual_time import in_virtual_time


def made(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """A header as a server makes it: equal to others, and the same as none."""
    return bytes(bytearray(name)), bytes(bytearray(value))


async def headers_of(harness, *headers):
    scope = {"extensions": {}, "headers": list(headers)}
    client = await harness.open(scope=scope)
    return client.connection.scope["headers"]


@in_virtual_time
async def test_headers_of_two_connections_are_the_same_where_they_are_equal():
    async with NodeHarness() as harness:
        first = await headers_of(
            harness, made(b"host", b"a.example"), made(b"user-agent", b"Firefox")
        )
        second = await headers_of(
            harness, made(b"user-agent", b"Firefox"), made(b"host", b"b.example")
        )
    assert first == [(b"host", b"a.example"), (b"user-agent", b"Firefox")]
    assert second == [(b"user-agent", b"Firefox"), (b"host", b"b.example")]
    assert first[1] is second[0]


@pytest.mark.parametrize(
    "name",
    [b"cookie", b"authorization", b"sec-websocket-protocol", b"sec-websocket-key", b"x-api-key"],
)
@in_virtual_time
async def test_header_that_may_be_a_secret_is_not_kept_for_other_connections(name):
    before = _shared.cache_info()
    async with NodeHarness() as harness:
        header = made(name, b"secret")
        assert (await headers_of(harness, header))[0] is header
    assert _shared.cache_info() == before


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(made(b"user-agent", b"x" * (MAX_VALUE_BYTES + 1)), id="long"),
        pytest.param([b"host", b"a"], id="list"),
        pytest.param((bytearray(b"host"), b"a"), id="bytearray"),
    ],
)
@in_virtual_time
async def test_header_that_cannot_be_shared_stays_as_it_is(header):
    async with NodeHarness() as harness:
        assert (await headers_of(harness, header))[0] is header


@in_virtual_time
async def test_headers_that_are_no_list_stay_as_they_are():
    headers = (made(b"host", b"a.example"),)
    async with NodeHarness() as harness:
        client = await harness.open(scope={"extensions": {}, "headers": headers})
        assert client.connection.scope["headers"] is headers


def test_what_is_kept_is_bounded():
    assert _shared.cache_info().maxsize == MAX_SHARED


# -- how they are found ------------------------------------------------------------------------------


def test_headers_are_found_by_their_names_in_any_case_and_in_their_order():
    headers = Headers({"headers": [(b"Cookie", b"a=1"), (b"host", b"h"), (b"cookie", b"b=2")]})
    assert headers.values(b"cookie") == ["a=1", "b=2"]
    assert headers.values(b"host") == ["h"]
    assert headers.values(b"origin") == []


def test_headers_of_the_same_names_have_their_own_values():
    first = Headers({"headers": [(b"origin", b"https://a.example")]})
    second = Headers({"headers": [(b"origin", b"https://b.example")]})
    assert (first.values(b"origin"), second.values(b"origin")) == (
        ["https://a.example"],
        ["https://b.example"],
    )


def test_names_of_headers_are_remembered_within_bounds(monkeypatch):
    known: dict = {}
    monkeypatch.setattr(headers_module, "_known", known)
    for number in range(2 * headers_module._MAX_KNOWN):
        Headers({"headers": [(b"x-%d" % number, b"")]})
    assert 0 < len(known) <= headers_module._MAX_KNOWN
    known.clear()
    long = Headers({"headers": [(b"x" * 2_001, b"1")]})
    assert long.values(b"x" * 2_001) == ["1"]
    assert not known
