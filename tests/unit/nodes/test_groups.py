"""The channel layer's groups that carry channels."""

from __future__ import annotations

import re
import string

import pytest
from channels.layers import BaseChannelLayer
from hypothesis import given
from hypothesis import strategies as st

from channels_realtime.nodes.groups import group_name

NAMES = st.text(string.ascii_letters + string.digits + "_-.:/@=", min_size=1, max_size=200)


@given(NAMES)
def test_group_name_is_what_every_layer_takes(name):
    group = group_name("realtime", name)
    assert BaseChannelLayer().require_valid_group_name(group)
    assert re.fullmatch(r"[A-Za-z0-9_.\-]{1,99}", group, re.ASCII)


@given(st.lists(NAMES, min_size=2, max_size=20, unique=True))
def test_group_names_differ_when_the_channels_differ(names):
    assert len({group_name("realtime", name) for name in names}) == len(names)


@given(st.text("-/:@=sceap", min_size=1, max_size=8), st.text("-/:@=sceap", min_size=1, max_size=8))
def test_group_names_are_escaped_injectively(one, other):
    assert (group_name("p", one) == group_name("p", other)) == (one == other)


@pytest.mark.parametrize("length", [1, 80, 88, 89, 100, 200])
def test_group_name_is_short_enough_whatever_the_length_of_the_prefix(length):
    for prefix in ("p", "p" * 40):
        assert len(group_name(prefix, "-" * length)) <= 99


def test_group_names_differ_when_the_prefixes_differ():
    assert group_name("one", "a") != group_name("two", "a")


def test_group_name_is_hashed_when_it_would_be_too_long():
    assert group_name("realtime", "a" * 200).startswith("realtime.h.")
    assert group_name("realtime", "a/b") == "realtime.n.a-sb"
