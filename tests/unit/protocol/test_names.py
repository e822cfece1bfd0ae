"""Channel names and their routes."""

from __future__ import annotations

import re
import string

import pytest
from django.urls.converters import get_converters
from hypothesis import given
from hypothesis import strategies as st

from channels_realtime.errors import BadChannel
from channels_realtime.protocol.names import (
    QuotedConverter,
    Route,
    check_name,
    is_name,
    quote,
    unquote,
)

ALPHABET = string.ascii_letters + string.digits + "_-.:/@="
NAMES = st.text(ALPHABET, min_size=1, max_size=200)


@pytest.mark.parametrize(
    "name", ["a", "orders/42", "a" * 200, "A-Z_a.z:0@9=/", "/", "users/a@example.com"]
)
def test_name_is_one_when_the_grammar_allows_it(name):
    assert is_name(name)
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a" * 201,
        "a b",
        "a\n",
        "\na",
        "a\x00",
        "a+b",
        "a*",
        "ä",
        "rooms/٣",
        "rooms/３",
        "rooms/\ud800",
        None,
        1,
        b"a",
        ["a"],
    ],
)
def test_name_is_none_when_the_grammar_forbids_it(name):
    assert not is_name(name)
    with pytest.raises(BadChannel):
        check_name(name)


def test_bad_name_says_what_was_got_and_what_is_allowed():
    with pytest.raises(BadChannel) as caught:
        check_name("a b")
    assert caught.value.reason == (
        "channel 'a b' is not a name; expected 1 to 200 characters of A-Z a-z 0-9 _ - . : / @ ="
    )
    assert caught.value.code == "bad_channel"


def test_bad_name_shows_sixty_characters_at_most_when_it_is_long():
    with pytest.raises(BadChannel) as caught:
        check_name(" " * 5000)
    assert repr(" " * 60) in caught.value.reason
    assert len(caught.value.reason) < 200


def test_bad_name_names_the_type_when_it_is_no_text():
    with pytest.raises(BadChannel, match="channel a value of type int is not a name"):
        check_name(7)


# -- quoted text -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("42", "42"),
        (42, "42"),
        ("ann@example.com", "ann@example.com"),
        ("foo+tag@example.com", "foo=2Btag@example.com"),
        ("with space", "with=20space"),
        ("jürgen", "j=C3=BCrgen"),
        ("a/b:c", "a=2Fb:c"),
        ("a=b", "a=b"),
        ("a=2B", "a=3D2B"),
        ("a=2b", "a=2b"),
        ("=+", "==2B"),
        ("=2+", "=2=2B"),
        ("=3D3D", "=3D3D3D"),
        ("\n", "=0A"),
        ("\x00", "=00"),
        ("😀", "=F0=9F=98=80"),
        ("٣", "=D9=A3"),
        ("\ud800", "=ED=A0=80"),
        ("", ""),
    ],
)
def test_quote_keeps_what_a_name_may_have_and_escapes_the_rest(text, quoted):
    assert quote(text) == quoted
    assert unquote(quoted) == str(text)


@given(st.text(max_size=16))
def test_quoted_text_is_a_segment_and_comes_back(text):
    quoted = quote(text)
    assert unquote(quoted) == text
    assert not quoted or is_name(quoted)
    assert "/" not in quoted


@pytest.mark.parametrize("segment", ["=41", "a/b", "jürgen", "=FF", "=C3", "=3DZZ", "a b"])
def test_unquote_refuses_what_quote_does_not_return(segment):
    with pytest.raises(ValueError):
        unquote(segment)


def test_quoted_parameter_reaches_the_hook_as_text():
    rooms = Route("rooms/<quoted:title>", {"quoted": QuotedConverter()})
    assert rooms.match("rooms/" + quote("Café / Bar")) == {"title": "Café / Bar"}
    assert rooms.match("rooms/=41") is None  # a second name of rooms/A


# -- routes ----------------------------------------------------------------------------------------


def route(pattern: str) -> Route:
    return Route(pattern, get_converters())


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("stocks", "stocks", {}),
        ("orders/<int:order_id>", "orders/42", {"order_id": 42}),
        ("rooms/<slug>", "rooms/lobby", {"slug": "lobby"}),
        ("rooms/<slug:slug>", "rooms/a-b", {"slug": "a-b"}),
        ("files/<path:path>", "files/a/b/c", {"path": "a/b/c"}),
        ("<str:a>/<str:b>", "x/y", {"a": "x", "b": "y"}),
        ("a.b/<str:x>", "a.b/c", {"x": "c"}),
        ("mail:<str:who>", "mail:a@example.com", {"who": "a@example.com"}),
    ],
)
def test_route_matches_and_converts(pattern, name, expected):
    assert route(pattern).match(name) == expected


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("stocks", "stocks/"),
        ("stocks", "stock"),
        ("stocks", "xstocks"),
        ("stocks", "stocks\n"),
        ("orders/<int:order_id>", "orders/x"),
        ("orders/<int:order_id>", "orders/"),
        ("orders/<int:order_id>", "orders/1/2"),
        ("orders/<int:order_id>", "orders/٣"),
        ("orders/<int:order_id>", "orders/1\n"),
        ("a.b", "axb"),
        ("rooms/<str:x>", "rooms/a/b"),
    ],
)
def test_route_does_not_match_when_the_name_is_another(pattern, name):
    assert route(pattern).match(name) is None


def test_route_does_not_match_when_the_converter_says_the_value_does_not_exist():
    class Even:
        regex = "[0-9]+"

        def to_python(self, value):
            if int(value) % 2:
                raise ValueError
            return int(value)

    even = Route("even/<even:n>", {"even": Even()})
    assert even.match("even/2") == {"n": 2}
    assert even.match("even/3") is None


def test_route_matches_whole_when_a_converter_has_alternatives():
    class Word:
        regex = "a|ab"

        def to_python(self, value):
            return value

    words = Route("w/<word:w>/x", {"word": Word()})
    assert words.match("w/ab/x") == {"w": "ab"}
    assert words.match("w/a") is None


def test_route_names_its_parameters_in_order():
    assert list(route("<int:b>/<str:a>").match("1/x").items()) == [("b", 1), ("a", "x")]
    assert repr(route("stocks")) == "<Route 'stocks'>"


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("", "channel route '' is empty or begins or ends with '/'"),
        ("/a", "channel route '/a' is empty or begins or ends with '/'"),
        ("a/", "channel route 'a/' is empty or begins or ends with '/'"),
        ("a b", "channel route 'a b': 'a b' has characters that no name may have"),
        ("a/<int:x", "channel route 'a/<int:x': 'a/<int:x' has characters that no name may have"),
        ("<int:1x>", "channel route '<int:1x>': parameter '1x' is not an identifier"),
        ("<int:x>/<str:x>", "channel route '<int:x>/<str:x>': parameter 'x' is repeated"),
        ("<nope:x>", "channel route '<nope:x>': unknown converter 'nope'; expected one of "),
    ],
)
def test_route_is_refused_when_it_is_malformed(pattern, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        route(pattern)


@given(st.text(max_size=40))
def test_route_matches_no_text_that_is_no_match_and_raises_nothing(name):
    found = route("orders/<int:order_id>").match(name)
    assert (found is not None) == (re.fullmatch("orders/[0-9]+", name) is not None)
