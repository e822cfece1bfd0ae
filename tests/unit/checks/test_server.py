"""E005, E006, E033, E034 and W003: the ASGI application and Daphne."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

from channels_realtime import checks

from .reports import ids, lacking, run


@pytest.fixture
def command(monkeypatch):
    """As in a process of this management command."""

    def run_as(*arguments: str) -> None:
        monkeypatch.setattr("sys.argv", ["manage.py", *arguments])

    return run_as


@pytest.fixture
def installed(monkeypatch):
    """As on a site with these apps."""

    def install(*names: str) -> None:
        configs = [SimpleNamespace(name=name) for name in names]
        monkeypatch.setattr(checks.server.apps, "get_app_configs", lambda: configs)

    return install


@pytest.mark.parametrize("value", [None, ""])
def test_e005_no_asgi_application_where_daphne_serves(installed, value):
    installed("daphne", "site")
    (found,) = run(checks.check_server, ASGI_APPLICATION=value)
    assert found.id == "E005"
    assert lacking(found, ["ASGI_APPLICATION"]) == []


def test_application_that_wrong_settings_keep_from_being_made_is_reported_once(command):
    command("check")
    wrong = {"ALOW_ANONYMOUS": True}
    found = run(
        checks.check_asgi_application,
        ASGI_APPLICATION="tests.site.asgi.nope",
        CHANNELS_REALTIME=wrong,
    )
    assert found == []
    assert [m.id for m in run(checks.check_settings, CHANNELS_REALTIME=wrong)] == ["E001"]


@pytest.mark.parametrize("arguments", [["migrate"], ["check"], ["runserver"]])
def test_no_asgi_application_is_fine_where_another_server_is_told_it(command, arguments):
    command(*arguments)
    assert run(checks.check_server, ASGI_APPLICATION=None) == []


@pytest.mark.parametrize(
    ("debug", "arguments", "expected"),
    [
        (True, ["runserver"], ["W003"]),
        (True, ["runserver", "8001"], ["W003"]),
        (False, ["runserver"], []),
        (True, ["migrate"], []),
        (True, ["check"], []),
        (True, ["shell"], []),
        (True, [], []),
    ],
)
def test_w003_only_at_a_runserver_without_daphne(command, debug, arguments, expected):
    command(*arguments)
    assert ids(run(checks.check_server, DEBUG=debug)) == expected


def test_runserver_of_daphne_is_fine(command, installed):
    command("runserver")
    installed("daphne", "site")
    assert run(checks.check_server, DEBUG=True) == []


APPLICATIONS = {
    "asgi": get_asgi_application,
    "wsgi": get_wsgi_application,
    "router": lambda: ProtocolTypeRouter({"http": get_asgi_application()}),
    "sockets": lambda: ProtocolTypeRouter({"websocket": get_asgi_application()}),
}


def __getattr__(name: str) -> object:
    """The applications, made when a check imports them."""
    try:
        return APPLICATIONS[name]()
    except KeyError:
        raise AttributeError(name) from None


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (f"{__name__}.asgi", "Django's own application: it serves no WebSockets"),
        (f"{__name__}.wsgi", "Django's own application: it serves no WebSockets"),
        (f"{__name__}.router", "a ProtocolTypeRouter without 'websocket': it serves no WebSockets"),
    ],
)
@pytest.mark.parametrize("arguments", [["check"], ["runserver", "--noreload"]])
def test_e034_application_that_serves_no_websockets(command, arguments, path, words):
    command(*arguments)
    (found,) = run(checks.check_asgi_application, ASGI_APPLICATION=path)
    assert found.id == "E034"
    assert lacking(found, [repr(path), words, "get_realtime_application"]) == []


@pytest.mark.parametrize("path", ["tests.site.asgi.application", f"{__name__}.sockets", None, ""])
def test_application_that_serves_websockets_is_fine(command, path):
    command("check")
    assert run(checks.check_asgi_application, ASGI_APPLICATION=path) == []


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("nope.asgi.application", "ModuleNotFoundError: No module named 'nope'"),
        ("tests.site.asgi.nope", "ImportError: Module"),
        ("application", "ImportError: application doesn't look like a module path"),
    ],
)
def test_e033_application_that_cannot_be_imported(command, path, error):
    command("check")
    (found,) = run(checks.check_asgi_application, ASGI_APPLICATION=path)
    assert found.id == "E033"
    assert lacking(found, [f"names {path!r}, which cannot be imported: {error}"]) == []


@pytest.mark.parametrize("arguments", [["migrate"], ["realtime_publish"], ["test"], []])
def test_application_is_not_imported_for_commands_that_serve_nothing(command, arguments):
    command(*arguments)
    assert run(checks.check_asgi_application, ASGI_APPLICATION="nope.application") == []


@pytest.mark.parametrize(
    ("apps", "expected"),
    [
        (["daphne", "django.contrib.staticfiles"], []),
        (["site", "daphne"], []),
        (["django.contrib.staticfiles", "daphne"], ["E006"]),
        (["whitenoise.runserver_nostatic", "daphne"], ["E006"]),
    ],
)
def test_e006_daphne_after_another_runserver(installed, apps, expected):
    installed(*apps)
    found = run(checks.check_server)
    assert ids(found) == expected
    assert all(lacking(report, apps) == [] for report in found)
