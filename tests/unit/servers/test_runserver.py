"""``runserver`` where this app is installed before Daphne, and where it is not."""

from __future__ import annotations

import pytest
from daphne.management.commands.runserver import Command as DaphneCommand
from django.contrib.staticfiles.management.commands.runserver import Command as StaticCommand
from django.core.management import get_commands, load_command_class
from django.core.management.commands.runserver import Command as DjangoCommand
from django.test import override_settings

from channels_realtime.management.commands.runserver import command
from channels_realtime.servers.daphne.server import Server

OTHERS = ["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"]


def with_apps(*names: str):
    return override_settings(INSTALLED_APPS=[*names, *OTHERS])


def test_daphnes_command_starts_our_server():
    with with_apps("channels_realtime", "daphne", "django.contrib.staticfiles"):
        found = command()
    assert issubclass(found, DaphneCommand)
    assert found.server_cls is Server
    assert DaphneCommand.server_cls is not Server


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("channels_realtime",), DjangoCommand),
        (("channels_realtime", "django.contrib.staticfiles"), StaticCommand),
        (("channels_realtime", "django.contrib.staticfiles", "daphne"), StaticCommand),
    ],
)
def test_command_is_that_of_the_next_app(names, expected):
    with with_apps(*names):
        assert command() is expected


def test_command_of_an_app_with_a_server_of_its_own_stays(monkeypatch):
    monkeypatch.setattr(DaphneCommand, "server_cls", object)
    with with_apps("channels_realtime", "daphne"):
        assert command() is DaphneCommand


@pytest.mark.parametrize(
    ("names", "ours"),
    [
        (("channels_realtime", "daphne"), True),
        (("daphne", "channels_realtime"), False),
    ],
)
def test_django_takes_the_command_of_the_first_app(names, ours):
    with with_apps(*names):
        get_commands.cache_clear()
        try:
            owner = get_commands()["runserver"]
        finally:
            get_commands.cache_clear()
    assert owner == ("channels_realtime" if ours else "daphne")
    assert load_command_class(owner, "runserver")
