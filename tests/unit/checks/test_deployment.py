"""W016 to W020 and I001: what matters only in production."""

from __future__ import annotations

import pytest

from channels_realtime import checks

from .reports import Report, function, ids, lacking, run

SAFE = {
    "DEBUG": False,
    "SECURE_SSL_REDIRECT": True,
    "SESSION_COOKIE_SECURE": True,
    "ALLOWED_HOSTS": ["www.example.com"],
    "CHANNELS_REALTIME": {},
}


def reports(**settings) -> list[Report]:
    return [
        report
        for check in (
            checks.check_encryption,
            checks.check_deployed_cookies,
            checks.check_deployed_origins,
            checks.check_deployed_tokens,
        )
        for report in run(check, **{**SAFE, **settings})
    ]


@pytest.mark.parametrize(
    ("settings", "expected", "values"),
    [
        ({"SESSION_COOKIE_SECURE": False}, "W016", ["SESSION_COOKIE_SECURE"]),
        ({"SECURE_SSL_REDIRECT": False}, "W017", ["SECURE_SSL_REDIRECT"]),
        (
            {"CHANNELS_REALTIME": {"JWT_COOKIE": "jwt"}},
            "W018",
            ["'JWT_COOKIE'", "'jwt'", "'__Host-jwt'"],
        ),
        ({"ALLOWED_HOSTS": ["*"]}, "W019", ["ALLOWED_HOSTS", "'*'", "ALLOWED_ORIGINS"]),
        (
            {"CHANNELS_REALTIME": {"ALLOWED_ORIGINS": ["https://a.example", "null"]}},
            "W020",
            ["'ALLOWED_ORIGINS'", "'null'"],
        ),
        ({"CHANNELS_REALTIME": {"STATELESS_TOKENS": True}}, "I001", ["'STATELESS_TOKENS'"]),
    ],
)
def test_reports_what_is_unsafe(settings, expected, values):
    (found,) = reports(**settings)
    assert found.id == expected
    assert lacking(found, values) == []


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {
            "SESSION_COOKIE_SECURE": False,
            "CHANNELS_REALTIME": {"AUTHENTICATORS": ["channels_realtime.auth.tokens.HeaderToken"]},
        },
        {"CHANNELS_REALTIME": {"JWT_COOKIE": "__Host-jwt"}},
        {"CHANNELS_REALTIME": {"JWT_COOKIE": "__Secure-jwt"}},
        {
            "ALLOWED_HOSTS": ["*"],
            "CHANNELS_REALTIME": {"ALLOWED_ORIGINS": ["https://www.example.com"]},
        },
        {"CHANNELS_REALTIME": {"ALLOWED_ORIGINS": "site.origins.null"}},
        {"CHANNELS_REALTIME": {"ALLOWED_ORIGINS": function}},
        {
            "DEBUG": True,
            "SECURE_SSL_REDIRECT": False,
            "SESSION_COOKIE_SECURE": False,
            "ALLOWED_HOSTS": ["*"],
            "CHANNELS_REALTIME": {"JWT_COOKIE": "jwt", "STATELESS_TOKENS": True},
        },
    ],
)
def test_safe_site_and_development_are_fine(settings):
    assert ids(reports(**settings)) == []
