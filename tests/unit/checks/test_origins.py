"""E007, E008, E012, W004, W006 and W030: ``ALLOWED_ORIGINS``, and CORS."""

from __future__ import annotations

import pytest

from channels_realtime import checks

from .reports import FUNCTION, UNUSABLE_FUNCTIONS, function, ids, lacking, run, run_with


def test_w004_every_origin():
    (found,) = run_with(checks.check_origins, ALLOWED_ORIGINS=["*"])
    assert found.id == "W004"
    assert lacking(found, ["'ALLOWED_ORIGINS'", "'*'"]) == []


@pytest.mark.parametrize("origin", ["example.com", "*.example.com", "", "NULL "])
def test_e007_origin_without_a_scheme(origin):
    (found,) = run_with(checks.check_origins, ALLOWED_ORIGINS=[origin])
    assert found.id == "E007"
    assert lacking(found, ["'ALLOWED_ORIGINS'", repr(origin), f"'https://{origin}'"]) == []


@pytest.mark.parametrize(
    "origin",
    [
        "https://example.com/",
        "https://example.com/path",
        "https://example.com:99999",
        "https://*",
        "https://a.*.example.com",
        "https://",
        "http://user@example.com",
        "wss://example.com/",
        "WS://example.com/path",
    ],
)
def test_e007_malformed_origin(origin):
    (found,) = run_with(checks.check_origins, ALLOWED_ORIGINS=["https://example.com", origin])
    assert found.id == "E007"
    assert lacking(found, ["'ALLOWED_ORIGINS'", repr(origin)]) == []


@pytest.mark.parametrize(("path", "fault"), UNUSABLE_FUNCTIONS)
def test_e008_path_that_names_no_rule(path, fault):
    (found,) = run_with(checks.check_origins, ALLOWED_ORIGINS=path)
    assert found.id == "E008"
    assert lacking(found, ["'ALLOWED_ORIGINS'", repr(path), fault]) == []


@pytest.mark.parametrize(
    "allowed",
    [
        None,
        function,
        FUNCTION,
        ["https://example.com", "http://localhost:8000", "https://*.example.com"],
        ["null", "file://", "chrome-extension://abcdef"],
    ],
)
def test_right_origins_are_fine(allowed):
    assert run_with(checks.check_origins, ALLOWED_ORIGINS=allowed) == []


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"ALLOWED_ORIGINS": []}, ["W006"]),
        ({"ALLOWED_ORIGINS": [], "ALLOW_ANONYMOUS": True}, ["W006"]),
        ({"ALLOWED_ORIGINS": (), "ALLOW_MISSING_ORIGIN": False}, ["E012"]),
        ({"ALLOWED_ORIGINS": None}, []),
        ({"ALLOWED_ORIGINS": ["https://example.com"]}, []),
        ({"ALLOWED_ORIGINS": "nope.rule"}, []),
        ({"ALLOWED_ORIGINS": function}, []),
    ],
)
def test_empty_allowlist(settings, expected):
    found = run_with(checks.check_allowlist, **settings)
    assert ids(found) == expected
    assert all(lacking(report, settings.keys() - {"ALLOW_ANONYMOUS"}) == [] for report in found)


CORS = ["https://app.example", "http://localhost:5173"]


def test_w030_pages_that_cors_lets_in_and_the_default_does_not():
    (found,) = run(checks.check_cross_origin_sites, CORS_ALLOWED_ORIGINS=CORS)
    assert found.id == "W030"
    assert lacking(found, [*map(repr, CORS), "Add them to CSRF_TRUSTED_ORIGINS"]) == []


def test_w030_pages_that_cors_lets_in_and_the_list_does_not():
    (found,) = run(
        checks.check_cross_origin_sites,
        CORS_ORIGIN_WHITELIST=CORS,
        CHANNELS_REALTIME={"ALLOWED_ORIGINS": ["https://app.example"]},
    )
    assert found.id == "W030"
    assert "'https://app.example'" not in found.text
    assert lacking(found, ["'http://localhost:5173'", "CHANNELS_REALTIME['ALLOWED_ORIGINS']"]) == []


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"CORS_ALLOWED_ORIGINS": []},
        {"CORS_ALLOWED_ORIGINS": CORS, "CSRF_TRUSTED_ORIGINS": CORS},
        {"CORS_ALLOWED_ORIGINS": ["https://testserver"]},
        {
            "CORS_ALLOWED_ORIGINS": ["https://a.app.example"],
            "CSRF_TRUSTED_ORIGINS": ["https://*.app.example"],
        },
        {"CORS_ALLOWED_ORIGINS": CORS, "CHANNELS_REALTIME": {"ALLOWED_ORIGINS": ["*"]}},
        {"CORS_ALLOWED_ORIGINS": CORS, "CHANNELS_REALTIME": {"ALLOWED_ORIGINS": function}},
        {"CORS_ALLOWED_ORIGINS": CORS, "CHANNELS_REALTIME": {"ALLOWED_ORIGINS": FUNCTION}},
    ],
)
def test_cors_that_may_connect_is_fine(settings):
    assert run(checks.check_cross_origin_sites, **settings) == []
