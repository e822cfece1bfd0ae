"""W007, W008 and W031: proxies, and the header that they set."""

from __future__ import annotations

import pytest

from channels_realtime import checks

from .reports import lacking, run, run_with


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"TRUSTED_PROXIES": ["10.0.0.0/8", "::1"], "CLIENT_ADDRESS_HEADER": "X-Forwarded-For"},
    ],
)
def test_right_proxies_are_fine(settings):
    assert run_with(checks.check_trusted_proxies, **settings) == []


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"TRUSTED_PROXIES": ["10.0.0.1"]}, "sets TRUSTED_PROXIES without CLIENT_ADDRESS_HEADER"),
        (
            {"CLIENT_ADDRESS_HEADER": "X-Real-IP"},
            "sets CLIENT_ADDRESS_HEADER without TRUSTED_PROXIES",
        ),
    ],
)
def test_w007_one_setting_without_the_other(settings, text):
    (found,) = run_with(checks.check_trusted_proxies, **settings)
    assert found.id == "W007"
    assert lacking(found, [text]) == []


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0", "10.1.2.3/0"])
def test_w008_network_of_every_address(network):
    settings = {
        "TRUSTED_PROXIES": ["10.0.0.0/8", network],
        "CLIENT_ADDRESS_HEADER": "X-Forwarded-For",
    }
    (found,) = run_with(checks.check_trusted_proxies, **settings)
    assert found.id == "W008"
    assert lacking(found, ["'TRUSTED_PROXIES'", repr(network)]) == []


BEHIND = {"SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https")}


@pytest.mark.parametrize(
    "settings", [BEHIND, {"USE_X_FORWARDED_HOST": True}, {"USE_X_FORWARDED_PORT": True}]
)
def test_w031_proxy_that_is_not_named(settings):
    (found,) = run(checks.check_named_proxies, **settings)
    assert found.id == "W031"
    assert lacking(found, [*settings, "['TRUSTED_PROXIES']", "ADDRESS_FAILURES cannot tell"]) == []


@pytest.mark.parametrize(
    ("django", "realtime"),
    [
        ({}, {}),
        (BEHIND, {"TRUSTED_PROXIES": ["10.0.0.1"]}),
        (BEHIND, {"CLIENT_ADDRESS_HEADER": "X-Real-IP"}),  # W007 reports it
        (BEHIND, {"ADDRESS_FAILURES": None}),
    ],
)
def test_proxy_that_is_named_or_does_not_matter_is_fine(django, realtime):
    assert run(checks.check_named_proxies, CHANNELS_REALTIME=realtime, **django) == []
