"""Real servers as subprocesses, each on a free port, in a process group of its own that ends with the test."""

import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
PORTS = range(15_000, 32_000)
"""Below those that the system gives to outgoing connections."""
READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0
POLL_INTERVAL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that accepts connections."""

    port: int
    process: subprocess.Popen[bytes]
    log_path: Path

    @property
    def origin(self) -> str:
        return f"http://{HOST}:{self.port}"

    def url(self, path: str = "/") -> str:
        return f"http://{HOST}:{self.port}{path}"

    def websocket_url(self, path: str = "/ws/") -> str:
        return f"ws://{HOST}:{self.port}{path}"

    def log(self) -> str:
        """What the server has written so far."""
        return self.log_path.read_text(errors="replace")


def _own_ports() -> Iterator[int]:
    """The ports of this test process, in turn: those of the processes of one run differ."""
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = PORTS[number::processes]
    start = random.randrange(len(ports))
    return itertools.cycle([*ports[start:], *ports[:start]])


_ports = _own_ports()


def free_port() -> int:
    """A free port, which this run of the tests gives to nobody else for a long time.

    The server that it is for takes it seconds later, so a free one must not be drawn twice. One of the
    system's choice (`bind` to 0) may be taken by an outgoing connection before.
    """
    while True:
        port = next(_ports)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port


def daphne(application: str, port: int, *, python: str | Path = sys.executable) -> list[str]:
    return [str(python), "-m", "daphne", "-b", HOST, "-p", str(port), application]


def uvicorn(application: str, port: int, *, python: str | Path = sys.executable) -> list[str]:
    # One application for each event loop: no lifespan protocol to rely on, as with Daphne.
    address = ["--host", HOST, "--port", str(port)]
    return [str(python), "-m", "uvicorn", *address, "--lifespan", "off", application]


def uvicorn_asyncio(
    application: str, port: int, *, python: str | Path = sys.executable
) -> list[str]:
    """uvicorn as it is without uvloop and httptools, which it uses where they are installed."""
    return [*uvicorn(application, port, python=python), "--loop", "asyncio", "--http", "h11"]


def daphne_frames(application: str, port: int, *, python: str | Path = sys.executable) -> list[str]:
    """Daphne by the package's own entry point."""
    command = daphne(application, port, python=python)
    return [command[0], "-m", "channels_realtime.servers.daphne", *command[3:]]


def uvicorn_frames(
    application: str, port: int, *, python: str | Path = sys.executable
) -> list[str]:
    """uvicorn with the package's own WebSocket protocol."""
    command = uvicorn(application, port, python=python)
    return [*command, "--ws", "channels_realtime.servers.uvicorn.frames:FrameProtocol"]


@contextmanager
def run_server(
    command: Sequence[str],
    port: int,
    *,
    cwd: str | Path = ROOT,
    environment: Mapping[str, str] | None = None,
    inherit_environment: bool = True,
    ready_timeout_s: float = READY_TIMEOUT_S,
) -> Iterator[Server]:
    """Run `command` until the block ends.

    Args:
        command: as for `subprocess`; it must listen on `port` of 127.0.0.1.
        environment: variables to set beside the inherited ones.
        inherit_environment: False starts from PATH alone.

    Raises:
        RuntimeError: it ended, or `port` accepted no connection within `ready_timeout_s`; with what it wrote.
    """
    base = dict(os.environ) if inherit_environment else {"PATH": os.environ.get("PATH", os.defpath)}
    base["PYTHONUNBUFFERED"] = "1"
    with tempfile.TemporaryDirectory(prefix="channels-realtime-") as directory:
        log_path = Path(directory) / "server.log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                list(command),
                cwd=cwd,
                env={**base, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        server = Server(port=port, process=process, log_path=log_path)
        try:
            _wait_until_ready(server, ready_timeout_s)
            yield server
        finally:
            stop(server)


@contextmanager
def together(*starts: AbstractContextManager[Server]) -> Iterator[tuple[Server, ...]]:
    """Servers that start, and end, at the same time.

    Args:
        starts: of ``run_server``, each not yet entered.
    """
    with ThreadPoolExecutor(len(starts)) as pool:
        entered = [pool.submit(start.__enter__) for start in starts]
        try:
            yield tuple(each.result() for each in entered)
        finally:
            running = [s for s, e in zip(starts, entered, strict=True) if e.exception() is None]
            ended = [pool.submit(start.__exit__, None, None, None) for start in running]
            for each in ended:
                each.result()


def stop(server: Server, *, timeout_s: float = STOP_TIMEOUT_S) -> int:
    """End the server's whole process group, gently at first. Returns the exit status."""
    process = server.process
    if process.poll() is None:
        _signal_group(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout_s)
    # The leader may be gone while children of it live on.
    _signal_group(process, signal.SIGKILL)
    return process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # The group's id is the leader's process id (`start_new_session`). PermissionError: macOS, for a group of zombies.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _wait_until_ready(server: Server, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while server.process.poll() is None:
        try:
            socket.create_connection((HOST, server.port), timeout=1.0).close()
        except OSError:
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"no connection to port {server.port} within {timeout_s} s:\n{server.log()}"
                ) from None
            time.sleep(POLL_INTERVAL_S)
        else:
            return
    raise RuntimeError(f"the server ended with {server.process.returncode}:\n{server.log()}")
