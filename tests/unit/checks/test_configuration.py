"""E001, E002 and W034: ``CHANNELS_REALTIME`` itself."""

from __future__ import annotations

import pytest

from channels_realtime import checks

from .reports import lacking, run


@pytest.mark.parametrize(
    ("settings", "expected", "values"),
    [
        ({"ALOW_ANONYMOUS": True}, "E001", ["'ALOW_ANONYMOUS'", "'ALLOW_ANONYMOUS'"]),
        ({"MAX_BATCH": 0}, "E002", ["'MAX_BATCH'", "0", "at least 1"]),
        ({"MAX_BATCH": "an unknown key"}, "E002", ["'an unknown key'"]),
        (["nope"], "E002", ["['nope']", "dict"]),
    ],
)
def test_reports_what_is_wrong(settings, expected, values):
    (found,) = run(checks.check_settings, CHANNELS_REALTIME=settings)
    assert found.id == expected
    assert lacking(found, values) == []


@pytest.mark.parametrize(
    ("prefix", "path"),
    [
        (None, "app/ws/"),
        ("", "app/ws/"),
        ("/", "app/ws/"),
        ("/app", "ws/"),
        ("/app", "apps/ws/"),
        ("/app", "app"),
    ],
)
def test_path_without_the_prefix_is_fine(prefix, path):
    settings = {"WEBSOCKET_PATH": path}
    assert (
        run(checks.check_websocket_path, CHANNELS_REALTIME=settings, FORCE_SCRIPT_NAME=prefix) == []
    )


@pytest.mark.parametrize("prefix", ["/app", "/app/"])
def test_w034_path_repeats_the_prefix(prefix):
    settings = {"WEBSOCKET_PATH": "app/ws/"}
    (found,) = run(
        checks.check_websocket_path, CHANNELS_REALTIME=settings, FORCE_SCRIPT_NAME=prefix
    )
    assert found.id == "W034"
    assert lacking(found, ["'app/ws/'", "'/app/app/ws/'", "FORCE_SCRIPT_NAME", "out: 'ws/'"]) == []
