"""The largest message that uvicorn accepts: where it is found, and who says that it is too large."""

from __future__ import annotations

import logging
import signal

import pytest
from uvicorn import Config
from uvicorn.server import Server

from channels_realtime import asgi, checks, sending
from channels_realtime.servers.uvicorn import largest_message
from tests.unit.checks.reports import lacking, run_with


async def site(scope, receive, send):
    raise NotImplementedError


@pytest.fixture
def serving(monkeypatch):
    """Let a uvicorn with these options have the signals of this process."""

    def serve(**options) -> None:
        server = Server(Config(site, **options))
        monkeypatch.setattr(signal, "getsignal", lambda number: server.handle_exit)

    return serve


@pytest.mark.parametrize(
    ("argv", "environ", "size"),
    [
        (["uvicorn", "site:app"], {}, 16_777_216),
        (["/lib/uvicorn/__main__.py", "site:app"], {}, 16_777_216),
        (["uvicorn", "site:app", "--ws-max-size", "1048576"], {}, 1_048_576),
        (["uvicorn", "--ws-max-size=5", "site:app"], {"UVICORN_WS_MAX_SIZE": "7"}, 5),
        (["uvicorn", "site:app"], {"UVICORN_WS_MAX_SIZE": "7"}, 7),
        (["manage.py", "check"], {"UVICORN_WS_MAX_SIZE": "16777216"}, 16_777_216),
        (["manage.py", "check"], {"UVICORN_WS_MAX_SIZE": "much"}, None),
        (["manage.py", "check"], {}, None),
        (["daphne", "site:app"], {}, None),
        ([], {}, None),
    ],
)
def test_largest_message_is_that_of_the_command_line(argv, environ, size):
    assert largest_message(argv, environ) == size


def test_running_server_knows_best(serving):
    serving(ws_max_size=3_000_000)
    assert largest_message(["gunicorn", "site:app"], {"UVICORN_WS_MAX_SIZE": "7"}) == 3_000_000


@pytest.mark.parametrize(
    ("size", "settings"),
    [
        (1_048_576, {}),
        (1_048_576, {"MAX_FRAME_BYTES": 1_024}),
        (16_777_216, {"MAX_FRAME_BYTES": 2_097_152}),
    ],
)
def test_limit_near_the_largest_frame_is_fine(serving, size, settings):
    serving(ws_max_size=size)
    assert run_with(checks.check_message_size, **settings) == []


def test_w036_limit_far_over_the_largest_frame(serving):
    serving()
    (found,) = run_with(checks.check_message_size)
    assert found.id == "W036"
    assert lacking(found, ["16,777,216", "131,072", "--ws-max-size 1048576"]) == []


@pytest.mark.parametrize(("silenced", "count"), [([], 1), (["channels_realtime.W036"], 0)])
def test_application_logs_it_as_servers_run_no_checks(
    serving, settings, monkeypatch, caplog, silenced, count
):
    monkeypatch.setattr(sending, "_serves", False)  # which building an application changes
    settings.SILENCED_SYSTEM_CHECKS = silenced
    serving()
    with caplog.at_level(logging.WARNING, "channels_realtime.asgi"):
        asgi.get_realtime_application(site)
    assert len(caplog.messages) == count
    assert all("uvicorn accepts messages of 16,777,216 bytes" in text for text in caplog.messages)
