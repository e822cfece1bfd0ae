"""E009, W009 and W015: ``AUTHENTICATORS`` and login sessions."""

from __future__ import annotations

import pytest

from channels_realtime import checks
from channels_realtime.auth.base import Authenticator
from channels_realtime.auth.login_session import LoginSession

from .reports import FUNCTION, ids, lacking, run, run_with

LOGIN_SESSION = "channels_realtime.auth.login_session.LoginSession"
SESSIONS = "django.contrib.sessions.backends"


class OwnAuthenticator(Authenticator):
    pass


class OwnLoginSession(LoginSession):
    pass


class NoAuthenticator:
    pass


@pytest.mark.parametrize(
    "settings",
    [{}, {"AUTHENTICATORS": []}, {"AUTHENTICATORS": [f"{__name__}.OwnAuthenticator"]}],
)
def test_right_authenticators_are_fine(settings):
    assert run_with(checks.check_authenticators, **settings) == []


@pytest.mark.parametrize(
    ("named", "fault"),
    [
        ("nope.Nope", "cannot be imported"),
        (f"{__name__}.Nope", "cannot be imported"),
        (FUNCTION, "not a subclass of channels_realtime.auth.base.Authenticator"),
        (
            f"{__name__}.NoAuthenticator",
            "not a subclass of channels_realtime.auth.base.Authenticator",
        ),
    ],
)
def test_e009_entry_that_is_no_authenticator(named, fault):
    (found,) = run_with(checks.check_authenticators, AUTHENTICATORS=[LOGIN_SESSION, named])
    assert found.id == "E009"
    assert lacking(found, ["'AUTHENTICATORS'", repr(named), fault]) == []


def test_login_sessions_of_the_test_project_are_fine():
    assert run(checks.check_login_sessions) == []


def test_w009_no_session_middleware():
    middleware = ["django.middleware.csrf.CsrfViewMiddleware", "nope.Nope"]
    (found,) = run(checks.check_login_sessions, MIDDLEWARE=middleware)
    assert found.id == "W009"
    assert lacking(found, ["'AUTHENTICATORS'", "SessionMiddleware is not in MIDDLEWARE"]) == []


@pytest.mark.parametrize(
    ("engine", "expected"), [("db", ["W009"]), ("cached_db", ["W009"]), ("cache", [])]
)
def test_w009_no_sessions_app(monkeypatch, engine, expected):
    monkeypatch.setattr("django.apps.apps.is_installed", lambda name: False)
    found = run(checks.check_login_sessions, SESSION_ENGINE=f"{SESSIONS}.{engine}")
    assert ids(found) == expected
    missing = "'django.contrib.sessions' is not in INSTALLED_APPS"
    assert all(lacking(report, [missing]) == [] for report in found)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ([f"{__name__}.OwnLoginSession"], ["W009"]),
        ([f"{__name__}.OwnAuthenticator", "nope.Nope", FUNCTION], []),
        ([], []),
    ],
)
def test_w009_only_where_login_sessions_are_read(named, expected):
    settings = {"AUTHENTICATORS": named}
    found = run(checks.check_login_sessions, MIDDLEWARE=[], CHANNELS_REALTIME=settings)
    assert ids(found) == expected


def test_w015_sessions_in_signed_cookies():
    (found,) = run(checks.check_login_sessions, SESSION_ENGINE=f"{SESSIONS}.signed_cookies")
    assert found.id == "W015"
    assert lacking(found, ["SESSION_ENGINE", f"'{SESSIONS}.db'"]) == []
