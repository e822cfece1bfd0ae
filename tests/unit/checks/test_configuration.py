"""E001 and E002: ``CHANNELS_REALTIME`` itself."""

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
