"""E005, E006 and W003: the ASGI application and Daphne."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from channels_realtime import checks

from .reports import ids, lacking, run


@pytest.mark.parametrize("value", [None, ""])
def test_e005_no_asgi_application(value):
    (found,) = run(checks.check_server, ASGI_APPLICATION=value)
    assert found.id == "E005"
    assert lacking(found, ["ASGI_APPLICATION"]) == []


@pytest.mark.parametrize(("debug", "expected"), [(True, ["W003"]), (False, [])])
def test_w003_no_daphne_in_development(debug, expected):
    assert ids(run(checks.check_server, DEBUG=debug)) == expected


@pytest.mark.parametrize(
    ("apps", "expected"),
    [
        (["daphne", "django.contrib.staticfiles"], []),
        (["site", "daphne"], []),
        (["django.contrib.staticfiles", "daphne"], ["E006"]),
        (["whitenoise.runserver_nostatic", "daphne"], ["E006"]),
    ],
)
def test_e006_daphne_after_another_runserver(monkeypatch, apps, expected):
    configs = [SimpleNamespace(name=name) for name in apps]
    monkeypatch.setattr(checks.server.apps, "get_app_configs", lambda: configs)
    found = run(checks.check_server)
    assert ids(found) == expected
    assert all(lacking(report, apps) == [] for report in found)
