"""System checks as a whole: all are registered, and the test project passes them."""

from __future__ import annotations

import pytest
from django.core import checks as django_checks

from channels_realtime import checks

from .reports import PREFIX, run

CHECKS = {name: getattr(checks, name) for name in checks.__all__}


def test_checks_are_registered():
    registry = django_checks.registry.registry
    always, deployed = set(registry.get_checks()), set(registry.get_checks(True))
    assert set(CHECKS.values()) <= deployed
    assert {name for name, check in CHECKS.items() if check not in always} == {
        "check_deployed_cookies",
        "check_deployed_origins",
        "check_deployed_tokens",
        "check_encryption",
        "check_history_responds",
    }


@pytest.mark.django_db
def test_test_project_is_fine():
    found = [message.id for message in django_checks.run_checks() if message.id.startswith(PREFIX)]
    assert found == []


@pytest.mark.parametrize(
    "name", sorted(CHECKS.keys() - {"check_settings", "check_server", "check_asgi_application"})
)
def test_check_waits_until_the_settings_are_right(name):
    wrong = {"TICKET_LIFETIME": "wrong"}
    assert run(CHECKS[name], CHANNELS_REALTIME=wrong, CHANNEL_LAYERS={}, ROOT_URLCONF="nope") == []


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_check_keeps_its_name_and_docstring(name):
    assert CHECKS[name].__name__ == name
    assert CHECKS[name].__doc__.startswith("Report ")
