"""What ``manage.py realtime_bench`` refuses before it starts anything."""

from __future__ import annotations

import io
import resource
import socket
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from channels_realtime.benchmark import processes
from channels_realtime.benchmark.processes import (
    BenchmarkError,
    raise_open_files,
    serve,
    server_command,
)
from channels_realtime.management.commands import realtime_bench


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("realtime_bench", *arguments, stdout=out, stderr=out)
    return out.getvalue()


@pytest.fixture(autouse=True)
def application(settings: Any) -> None:
    settings.ASGI_APPLICATION = "tests.site.asgi.application"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["nonsense"], "There is no row 'nonsense'; expected connect, connect-own, fan-out"),
        (["--clients", "0"], "'0' is not a number from 1 to 1000000"),
        (["--clients", "many"], "'many' is not a number from 1 to 1000000"),
        (["--rounds", "-1"], "'-1' is not a number from 1 to 100"),
        (["--seconds", "0"], "'0' is not a number greater than 0"),
        (["--seconds", "nan"], "'nan' is not a number greater than 0"),
        (["--rate", "inf"], "'inf' is not a number greater than 0"),
        (["--server", "gunicorn"], "The server 'gunicorn' is not installed; expected daphne or"),
    ],
)
def test_command_says_what_is_wrong_with_an_argument(arguments: list[str], error: str) -> None:
    with pytest.raises(CommandError, match=error.replace("(", r"\(")):
        run(*arguments)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            ["--url", "https://example.com/ws/"],
            "--url is 'https://example.com/ws/'; expected the URL",
        ),
        (["--url", "ws://"], "--url is 'ws://'; expected the URL of a WebSocket, such as wss://"),
        (["--url", "ws://a:port/"], "--url is 'ws://a:port/'; expected the URL of a WebSocket"),
        (["--url", "ws://a/", "--token-env", "NO_SUCH"], "environment variable NO_SUCH is not set"),
        (["idle", "--url", "ws://a/"], "The row 'idle' needs a server that this command starts"),
        (["sync-publish", "--url", "ws://a/"], "The row 'sync-publish' needs a server that this"),
    ],
)
def test_command_says_what_is_wrong_with_a_server_elsewhere(
    arguments: list[str], error: str
) -> None:
    with pytest.raises(CommandError, match=error):
        run("ping", *arguments)


def test_command_needs_a_server_that_accepts_connections() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        url = f"ws://127.0.0.1:{taken.getsockname()[1]}/ws/"
        with pytest.raises(CommandError, match="The server accepts no more connections"):
            run("ping", "--url", url)


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("wss://example.com/ws/", "example.com"),
        ("wss://example.com:8443/ws/", "example.com:8443"),
        ("ws://example.com:443/ws/", "example.com:443"),
        ("ws://example.com", "example.com"),
    ],
)
def test_server_elsewhere_is_named_as_browsers_name_it(url: str, authority: str) -> None:
    target = realtime_bench._target_of(url, None)
    assert target.authority == authority
    scheme = "https" if url.startswith("wss") else "http"
    assert target.headers == (f"Origin: {scheme}://{authority}",)
    assert (target.tls is not None) is (scheme == "https")
    assert target.path in ("/ws/", "/")


def test_command_knows_what_needs_a_layer_that_processes_share(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    with pytest.raises(CommandError, match="'sync-publish' needs a channel layer that processes"):
        run("sync-publish", "--noinput")


def test_command_needs_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "SERVERS", ("no_such_server",))
    with pytest.raises(CommandError, match="Neither daphne nor uvicorn is installed"):
        run("ping")


def test_command_needs_an_application(settings: Any) -> None:
    del settings.ASGI_APPLICATION
    with pytest.raises(CommandError, match="ASGI_APPLICATION is not set"):
        run("ping")


def test_command_names_a_wrong_setting(settings: Any) -> None:
    settings.CHANNELS_REALTIME = {"CHANNEL_LAYER": "elsewhere"}
    with pytest.raises(CommandError, match="elsewhere"):
        run("ping")


def test_command_does_not_measure_a_site_in_production_unasked(settings: Any) -> None:
    settings.DEBUG = False
    with pytest.raises(CommandError, match=r"^DEBUG is off\. .* Expected --noinput"):
        run("ping")


def test_command_measures_nothing_unless_the_answer_is_yes(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DEBUG = False
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda prompt: "y")
    with pytest.raises(CommandError, match="Nothing was measured"):
        run("ping")


def test_command_needs_as_many_open_files_as_clients() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY:
        pytest.skip("this system has no limit")
    with pytest.raises(BenchmarkError, match=f"limit of open files is {hard}; expected at least"):
        raise_open_files(hard + 1)


def test_soft_limit_of_open_files_is_raised() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] != resource.RLIM_INFINITY and before[1] < 300:
        pytest.skip("the hard limit is too low")
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        raise_open_files(300)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (300, before[1])
        raise_open_files(200)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (300, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_server_that_ends_is_told_with_what_it_wrote() -> None:
    with (
        pytest.raises(BenchmarkError, match=r"(?s)ended with status \d+:.*no_such_module"),
        serve("uvicorn", "no_such_module:application", {}),
    ):
        pass


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
@pytest.mark.parametrize("frames", [False, True])
def test_servers_listen_on_the_machine_alone(kind: str, frames: bool) -> None:
    command = " ".join(server_command(kind, "module:application", 8123, frames=frames))
    assert ("channels_realtime.servers" in command) is frames
    assert "127.0.0.1" in command
    assert "8123" in command
