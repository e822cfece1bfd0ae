"""uvicorn's main loop goes on while the connections are drained, whatever makes it exit."""

from __future__ import annotations

import asyncio
import signal
from types import SimpleNamespace

import pytest
from uvicorn import Config
from uvicorn.server import Server

from channels_realtime.servers.shutdown import SAME_STOP_S, on_stop


async def no_application(scope, receive, send):
    raise NotImplementedError


@pytest.fixture
def server(monkeypatch):
    """A server that has taken the signals of this process, as it does when it serves."""
    server = Server(Config(no_application, limit_max_requests=10))
    monkeypatch.setattr(
        signal, "getsignal", lambda number: server.handle_exit if number == signal.SIGTERM else None
    )
    return server


@pytest.fixture
async def drain():
    """The drain, and how often it was begun."""
    drain = SimpleNamespace(done=asyncio.get_running_loop().create_future(), begun=0)

    def begin():
        drain.begun += 1
        return drain.done

    drain.begin = begin
    return drain


def requests(server):
    server.server_state.total_requests = 10


def sigterm(server):
    server.handle_exit(signal.SIGTERM, None)


def sigint(server):
    server.handle_exit(signal.SIGINT, None)


def supervisor(server):
    server.should_exit = True


@pytest.mark.parametrize("reason", [requests, sigterm, sigint, supervisor])
async def test_uvicorn_exits_when_the_drain_is_done(server, drain, reason):
    on_stop(drain.begin)
    assert await server.on_tick(1) is False
    assert drain.begun == 0
    reason(server)
    for _ in range(3):
        assert await server.on_tick(1) is False
    assert drain.begun == 1
    drain.done.set_result(None)
    assert await server.on_tick(1) is True


async def test_limit_of_requests_is_logged_once(server, drain, caplog):
    caplog.set_level("INFO", "uvicorn.error")
    on_stop(drain.begin)
    requests(server)
    for _ in range(3):
        await server.on_tick(1)
    assert [r.message for r in caplog.records if "limit" in r.message] == [
        "Maximum request limit of 10 exceeded. Terminating process."
    ]


@pytest.fixture
async def later(monkeypatch):
    """Let this many seconds pass."""
    loop = asyncio.get_running_loop()
    real, passed = loop.time, [0.0]
    monkeypatch.setattr(loop, "time", lambda: real() + passed[0])

    def let_pass(seconds: float) -> None:
        passed[0] += seconds

    return let_pass


@pytest.mark.parametrize("first", [requests, sigterm, sigint])
@pytest.mark.parametrize("second", [sigterm, sigint])
async def test_later_signal_does_not_wait(server, drain, later, first, second):
    on_stop(drain.begin)
    first(server)
    assert await server.on_tick(1) is False
    later(SAME_STOP_S + 0.1)
    assert await server.on_tick(1) is False
    # The limit of requests is no signal: a supervisor that stops the process then does not mean at once.
    second(server)
    assert await server.on_tick(1) is (first is not requests or second is sigint)


@pytest.mark.parametrize("first", [sigterm, sigint])
async def test_signal_that_a_parent_passes_on_is_the_same_stop(server, drain, later, first):
    """Ctrl+C and systemd tell the parent and its workers, and the parent tells its workers too."""
    on_stop(drain.begin)
    first(server)
    assert await server.on_tick(1) is False
    later(0.5)
    sigterm(server)
    assert await server.on_tick(1) is False
    later(SAME_STOP_S)
    assert await server.on_tick(1) is False
    sigterm(server)
    assert await server.on_tick(1) is True


async def test_supervisor_of_workers_is_heard_while_they_drain(server, drain):
    """gunicorn kills a worker from which it has not heard."""
    heard = []

    async def notify():
        heard.append(True)

    server.config.callback_notify = notify
    server.config.timeout_notify = -1
    on_stop(drain.begin)
    sigterm(server)
    for counter in (10, 20, 30):
        assert await server.on_tick(counter) is False
    assert len(heard) == 3


async def test_hook_is_removed(server, drain):
    forget = on_stop(drain.begin)
    forget()
    sigterm(server)
    assert await server.on_tick(1) is True
    assert drain.begun == 0


async def test_other_servers_are_left_alone(drain, monkeypatch):
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_DFL)
    on_stop(drain.begin)()
    assert drain.begun == 0
