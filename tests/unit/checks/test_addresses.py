"""W007 and W008: proxies, and the header that they set."""

from __future__ import annotations

import pytest

from channels_realtime import checks

from .reports import lacking, run_with


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
