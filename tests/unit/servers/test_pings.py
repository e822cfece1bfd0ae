"""The server's own pings: when they are visibly off, and that both the check and the server's log say so."""

import logging

import pytest

from channels_realtime import asgi, checks, sending
from channels_realtime.servers.pings import missing_pings


@pytest.mark.parametrize(
    ("argv", "environ", "what"),
    [
        (
            ["uvicorn", "site:app", "--ws-ping-interval", "0"],
            {},
            "uvicorn --ws-ping-interval 0",
        ),
        (
            ["/venv/bin/uvicorn", "--ws-ping-interval=0.0", "site:app"],
            {},
            "uvicorn --ws-ping-interval 0.0",
        ),
        (
            ["/lib/uvicorn/__main__.py", "--ws-ping-interval", "86400"],
            {},
            "uvicorn --ws-ping-interval 86400",
        ),
        (["uvicorn", "site:app"], {"UVICORN_WS_PING_INTERVAL": "0"}, "UVICORN_WS_PING_INTERVAL=0"),
        (
            ["manage.py", "check"],
            {"UVICORN_WS_PING_INTERVAL": "0"},
            "UVICORN_WS_PING_INTERVAL=0",
        ),
        (
            ["daphne", "--ping-interval", "99999", "site:app"],
            {},
            "daphne --ping-interval 99999",
        ),
        (["daphne", "--ping-timeout=0", "site:app"], {}, "daphne --ping-timeout 0"),
        (["hypercorn", "site:app"], {}, "hypercorn without --websocket-ping-interval"),
        (
            ["hypercorn", "--websocket-ping-interval", "0", "site:app"],
            {},
            "hypercorn --websocket-ping-interval 0",
        ),
        (["granian", "--interface", "asgi", "site:app"], {}, "granian, which sends none"),
    ],
)
def test_missing_pings_are_seen(argv, environ, what) -> None:
    assert missing_pings(argv, environ) == what


@pytest.mark.parametrize(
    ("argv", "environ"),
    [
        ([], {}),
        (["manage.py", "runserver"], {}),
        (["gunicorn", "-k", "uvicorn_worker.UvicornWorker", "site:app"], {}),
        (["uvicorn", "site:app"], {}),
        (["uvicorn", "site:app", "--ws-ping-interval"], {}),
        (["uvicorn", "site:app", "--ws-ping-interval", "often"], {}),
        (["uvicorn", "--ws-ping-interval", "0", "--ws-ping-interval", "20"], {}),
        (["uvicorn", "--ws-ping-interval", "20"], {"UVICORN_WS_PING_INTERVAL": "0"}),
        (["daphne", "site:app"], {"UVICORN_WS_PING_INTERVAL": "0"}),
        (["daphne", "--ping-interval", "0", "site:app"], {}),  # every two seconds
        (["hypercorn", "--websocket-ping-interval", "20", "site:app"], {}),
        (["hypercorn", "-c", "hypercorn.toml", "site:app"], {}),
        (["granian", "--ws-ping-interval", "20", "site:app"], {}),
    ],
)
def test_nothing_is_said_where_pings_are_on_or_nobody_can_tell(argv, environ) -> None:
    assert missing_pings(argv, environ) is None


def test_w021_names_what_switches_them_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UVICORN_WS_PING_INTERVAL", "0")
    (found,) = checks.check_server_pings()
    assert found.id == "channels_realtime.W021"
    assert "(UVICORN_WS_PING_INTERVAL=0)" in found.msg
    assert found.hint
    monkeypatch.setenv("UVICORN_WS_PING_INTERVAL", "20")
    assert checks.check_server_pings() == []


async def site(scope, receive, send) -> None:
    """Anyone's HTTP application."""


def test_application_logs_it_as_servers_run_no_checks(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sending, "_serves", False)  # which building an application changes
    monkeypatch.setenv("UVICORN_WS_PING_INTERVAL", "0")
    with caplog.at_level(logging.WARNING, "channels_realtime.asgi"):
        asgi.get_realtime_application(site)
    assert caplog.messages == [
        "The server's own WebSocket pings are off (UVICORN_WS_PING_INTERVAL=0): see W021"
    ]
