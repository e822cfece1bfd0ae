"""``CHANNELS_REALTIME`` as a ``Config``."""

from __future__ import annotations

import math

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from channels_realtime.config import FIELDS, Config
from channels_realtime.settings import _RULES, Problem, get_config, problems


def problem(key: str, value: object) -> Problem | None:
    found = list(problems({key: value}))
    assert len(found) <= 1
    return found[0] if found else None


@pytest.mark.parametrize("raw", [None, {}])
def test_defaults_hold_when_nothing_is_set(raw):
    with override_settings(CHANNELS_REALTIME=raw):
        assert get_config() == Config()


def test_defaults_hold_when_the_setting_is_absent(settings):
    del settings.CHANNELS_REALTIME
    assert get_config() == Config()


def test_setting_is_read_on_access():
    with override_settings(CHANNELS_REALTIME={"MAX_BATCH": 3}):
        assert get_config().max_batch == 3
        with override_settings(CHANNELS_REALTIME={"MAX_BATCH": 4}):
            assert get_config().max_batch == 4
        assert get_config().max_batch == 3
    assert get_config().max_batch == 64


def test_config_is_the_same_object_until_the_setting_changes():
    assert get_config() is get_config()


def test_limits_are_those_of_the_settings():
    limits = Config(max_frame_bytes=1, max_payload_bytes=2, max_batch=3, max_in_flight=4).limits
    assert limits.advertised() == {
        "max_frame": 1,
        "max_payload": 2,
        "max_batch": 3,
        "max_subscriptions": 256,
        "max_in_flight": 4,
    }


def test_every_setting_has_a_rule_that_its_default_keeps():
    assert set(_RULES) == set(FIELDS)
    defaults = {key: getattr(Config(), key.lower()) for key in FIELDS}
    assert list(problems(defaults)) == []


def test_wrong_setting_raises_with_the_value_and_the_remedy():
    with (
        override_settings(CHANNELS_REALTIME={"MAX_BATCH": "many"}),
        pytest.raises(
            ImproperlyConfigured,
            match=r"^CHANNELS_REALTIME\['MAX_BATCH'\] is 'many'\."
            r" Expected an integer of at least 1\.$",
        ),
    ):
        get_config()


def test_unknown_key_suggests_the_nearest():
    assert problem("MAX_BATCHES", 1) == Problem(
        "MAX_BATCHES",
        "CHANNELS_REALTIME has an unknown key 'MAX_BATCHES'.",
        "Did you mean 'MAX_BATCH'?",
    )
    assert problem("allow_anonymous", True).hint == "Did you mean 'ALLOW_ANONYMOUS'?"


@pytest.mark.parametrize("key", ["ZZZZ", 7, None, ("a",)])
def test_unknown_key_lists_the_known_ones_when_none_is_near(key):
    found = problem(key, 1)
    assert found.message == f"CHANNELS_REALTIME has an unknown key {key!r}."
    assert found.hint == f"Known: {', '.join(sorted(FIELDS))}."


@pytest.mark.parametrize("raw", [[], "x", 1, True])
def test_setting_must_be_a_dict(raw):
    assert list(problems(raw)) == [Problem("", f"CHANNELS_REALTIME is {raw!r}.", "Make it a dict.")]


def test_every_problem_is_listed():
    assert [found.key for found in problems({"NOPE": 1, "MAX_BATCH": 0, "CLOSE_CODES": "x"})] == [
        "NOPE",
        "MAX_BATCH",
        "CLOSE_CODES",
    ]


SECONDS = "a number of seconds greater than 0"
AT_LEAST_1 = "an integer of at least 1"


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("ALLOW_ANONYMOUS", 1, "True or False"),
        ("ALLOW_ANONYMOUS", None, "True or False"),
        ("ALLOW_MISSING_ORIGIN", "yes", "True or False"),
        ("AUTH_TIMEOUT", 0, SECONDS),
        ("AUTH_TIMEOUT", -1, SECONDS),
        ("AUTH_TIMEOUT", True, SECONDS),
        ("HEARTBEAT_INTERVAL", math.nan, SECONDS),
        ("HEARTBEAT_INTERVAL", math.inf, SECONDS),
        ("HEARTBEAT_TIMEOUT", "10", SECONDS),
        ("HOOK_TIMEOUT", None, SECONDS),
        ("PUBLISH_TIMEOUT", 0, SECONDS),
        ("SUBSCRIBE_TIMEOUT", [], SECONDS),
        ("LAYER_CHECK_INTERVAL", 0, SECONDS),
        ("MAX_FRAME_BYTES", 127, "an integer of at least 128"),
        ("MAX_PAYLOAD_BYTES", 0, AT_LEAST_1),
        ("MAX_PAYLOAD_BYTES", 1.0, AT_LEAST_1),
        ("MAX_PUBLICATION_BYTES", True, AT_LEAST_1),
        ("MAX_PAYLOAD_DEPTH", 0, AT_LEAST_1),
        ("MAX_BATCH", 0, AT_LEAST_1),
        ("MAX_SUBSCRIPTIONS", 0, AT_LEAST_1),
        ("MAX_IN_FLIGHT", 0, AT_LEAST_1),
        ("MAX_BAD_MESSAGES", -1, "an integer of at least 0"),
        ("HOOK_THREADS", -1, "an integer of at least 0"),
        ("MAX_CONCURRENT_HOOKS", 0, AT_LEAST_1),
        ("GROUP_PREFIX", "", "1 to 40 characters of A-Z a-z 0-9 _ - ."),
        ("GROUP_PREFIX", "a" * 41, "1 to 40 characters of A-Z a-z 0-9 _ - ."),
        ("GROUP_PREFIX", "a:b", "1 to 40 characters of A-Z a-z 0-9 _ - ."),
        ("GROUP_PREFIX", "a\n", "1 to 40 characters of A-Z a-z 0-9 _ - ."),
        ("WEBSOCKET_PATH", "/ws/", "a path without a leading slash, such as 'ws/'"),
        ("WEBSOCKET_PATH", "", "a path without a leading slash, such as 'ws/'"),
        ("WEBSOCKET_PATH", "/", "a path without a leading slash, such as 'ws/'"),
        ("CHANNEL_LAYER", "", "text that is not empty"),
        ("CHANNEL_LAYER", None, "text that is not empty"),
        ("CLOSE_CODES", "RFC", "one of 'application', 'rfc'"),
        ("SUBPROTOCOLS", ["json"], "a dict of subprotocol names to one of json, msgpack"),
        ("SUBPROTOCOLS", {"chat": "cbor"}, "a dict of subprotocol names to one of json, msgpack"),
        ("SUBPROTOCOLS", {"a b": "json"}, "a dict of subprotocol names to one of json, msgpack"),
        ("SUBPROTOCOLS", {1: "json"}, "a dict of subprotocol names to one of json, msgpack"),
        (
            "ALLOWED_ORIGINS",
            "*",
            "None, a list of origins, a callable or the dotted path of one",
        ),
        (
            "ALLOWED_ORIGINS",
            "https://a.example",
            "None, a list of origins, a callable or the dotted path of one",
        ),
        (
            "ALLOWED_ORIGINS",
            [1],
            "None, a list of origins, a callable or the dotted path of one",
        ),
    ],
)
def test_wrong_value_is_a_problem_that_says_what_was_expected(key, value, expected):
    assert problem(key, value) == Problem(
        key, f"CHANNELS_REALTIME[{key!r}] is {value!r}.", f"Expected {expected}."
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("AUTH_TIMEOUT", 0.1),
        ("AUTH_TIMEOUT", 5),
        ("MAX_BAD_MESSAGES", 0),
        ("HOOK_THREADS", 0),
        ("WEBSOCKET_PATH", "api/ws"),
        ("GROUP_PREFIX", "a" * 40),
        ("CLOSE_CODES", "rfc"),
        ("SUBPROTOCOLS", {"chat": "json", "chat.v2+x": "msgpack"}),
        ("ALLOWED_ORIGINS", []),
        ("ALLOWED_ORIGINS", ("https://a.example",)),
        ("ALLOWED_ORIGINS", {"null"}),
        ("ALLOWED_ORIGINS", "project.origins.rule"),
        ("ALLOWED_ORIGINS", lambda origin, scope: True),
    ],
)
def test_right_value_is_no_problem(key, value):
    assert problem(key, value) is None
