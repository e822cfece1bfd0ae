"""E010, W005, W011, W012 and W014: tokens."""

from __future__ import annotations

import pytest

from channels_realtime import checks

from .reports import FUNCTION, UNUSABLE_FUNCTIONS, ids, lacking, run, run_with


@pytest.fixture
def no_simplejwt(monkeypatch):
    monkeypatch.setattr("channels_realtime.auth.tokens._has_simplejwt", lambda: False)


@pytest.mark.parametrize(
    "settings",
    [
        {"TOKEN_VERIFIER": None},
        {"TOKEN_VERIFIER": FUNCTION},
        {"TOKEN_VERIFIER": "channels_realtime.auth.base.Authenticator"},  # a class is callable too
        {"JWT_COOKIE": "jwt"},
        {"JWT_COOKIE": None},
        {"STATELESS_TOKENS": True},
    ],
)
def test_right_settings_are_fine(settings):
    assert run_with(checks.check_tokens, **settings) == []


@pytest.mark.parametrize(("path", "fault"), UNUSABLE_FUNCTIONS)
def test_e010_path_that_names_no_verifier(path, fault):
    (found,) = run_with(checks.check_tokens, TOKEN_VERIFIER=path)
    assert found.id == "E010"
    assert lacking(found, ["'TOKEN_VERIFIER'", repr(path), fault]) == []


def test_w005_tokens_in_urls():
    (found,) = run_with(checks.check_tokens, QUERY_TOKEN=True)
    assert found.id == "W005"
    assert lacking(found, ["'QUERY_TOKEN'"]) == []


def test_w011_token_settings_without_a_verifier():
    settings = {"TOKEN_VERIFIER": None, "JWT_COOKIE": "jwt", "STATELESS_TOKENS": True}
    (found,) = run_with(checks.check_tokens, **settings)
    assert found.id == "W011"
    assert lacking(found, ["JWT_COOKIE and STATELESS_TOKENS", "channels-realtime[jwt]"]) == []


@pytest.mark.usefixtures("no_simplejwt")
@pytest.mark.parametrize(("settings", "expected"), [({"JWT_COOKIE": "jwt"}, ["W011"]), ({}, [])])
def test_w011_where_simplejwt_is_not_installed(settings, expected):
    assert ids(run_with(checks.check_tokens, **settings)) == expected


@pytest.mark.parametrize(
    ("stateless", "simple_jwt", "expected"),
    [
        (True, {"USER_ID_FIELD": "username"}, ["W012"]),
        (True, {"USER_ID_FIELD": "id"}, []),
        (True, {"USER_ID_FIELD": "pk"}, []),
        (True, {}, []),
        (False, {"USER_ID_FIELD": "username"}, []),
    ],
)
def test_w012_stateless_tokens_that_hold_no_primary_key(stateless, simple_jwt, expected):
    settings = {"STATELESS_TOKENS": stateless}
    found = run(checks.check_tokens, CHANNELS_REALTIME=settings, SIMPLE_JWT=simple_jwt)
    assert ids(found) == expected
    values = ["'STATELESS_TOKENS'", "SIMPLE_JWT['USER_ID_FIELD'] is 'username'", "to 'id'"]
    assert all(lacking(report, values) == [] for report in found)


@pytest.mark.parametrize(("leeway", "expected"), [(300, []), (301, ["W014"])])
def test_w014_leeway_that_is_a_second_lifetime(leeway, expected):
    found = run_with(checks.check_times, AUTH_LEEWAY=leeway)
    assert ids(found) == expected
    values = ["'AUTH_LEEWAY'", "301 seconds", "at most 300"]
    assert all(lacking(report, values) == [] for report in found)
