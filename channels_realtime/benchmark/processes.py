"""The servers of a measurement, and what they use of the processor and of the memory."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

HOST = "127.0.0.1"
SERVERS = ("daphne", "uvicorn")
_READY_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 30.0
_POLL_INTERVAL_S = 0.05
_LOG_LINES = 20


class BenchmarkError(Exception):
    """A measurement cannot be made; the text says why, for the operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that accepts connections on ``port`` of 127.0.0.1."""

    port: int
    process: subprocess.Popen[bytes]
    log_path: Path

    def log(self) -> str:
        """The last lines that it has written."""
        lines = self.log_path.read_text(errors="replace").splitlines()
        return "\n".join(lines[-_LOG_LINES:])


def installed_servers() -> list[str]:
    """The names of the servers that can be started, in the order of preference."""
    return [name for name in SERVERS if find_spec(name) is not None]


def server_command(kind: str, application: str, port: int, *, frames: bool = False) -> list[str]:
    """The command that starts a server, with the options of a deployment: no access log, room for arrivals.

    Args:
        kind: of ``SERVERS``.
        application: as the server's command line names it.
        port: of 127.0.0.1.
        frames: whether this package starts it, so that a frame is made once.
    """
    start = [sys.executable, "-m", kind]
    if kind == "daphne":
        if frames:
            start[-1] = "channels_realtime.servers.daphne"
        endpoint = f"tcp:port={port}:interface={HOST}:backlog=4096"
        return [*start, "--verbosity", "0", "-e", endpoint, application]
    options = ["--no-access-log", "--log-level", "warning", "--ws-max-size", "1048576"]
    if frames:
        options += ["--ws", "channels_realtime.servers.uvicorn.frames:FrameProtocol"]
    return [*start, *options, "--host", HOST, "--port", str(port), application]


@contextlib.contextmanager
def serve(
    kind: str, application: str, environment: dict[str, str], *, frames: bool = False
) -> Iterator[Server]:
    """Run a server until the block ends.

    Args:
        kind: of ``SERVERS``.
        application: as the server's command line names it.
        environment: variables beside this process's own.
        frames: see ``server_command``.

    Raises:
        BenchmarkError: it ended, or accepts no connection; with what it wrote.
    """
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="realtime-bench-") as directory:
        log_path = Path(directory) / "server.log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 # this Python, and names from the lists above
                server_command(kind, application, port, frames=frames),
                env=inherited() | environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the command, which ends the server in turn
            )
        server = Server(port=port, process=process, log_path=log_path)
        try:
            _wait_until_ready(server)
            yield server
        finally:
            _stop(process)


def inherited() -> dict[str, str]:
    """The variables with which another Python finds what this one does, such as the site's modules."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(server: Server) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while server.process.poll() is None:
        try:
            socket.create_connection((HOST, server.port), timeout=1.0).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise BenchmarkError(
                    f"The server accepts no connection after {_READY_TIMEOUT_S:g} s:\n{server.log()}"
                ) from None
            time.sleep(_POLL_INTERVAL_S)
    raise BenchmarkError(
        f"The server ended with status {server.process.returncode}:\n{server.log()}"
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a server, gently at first: its node deletes what it wrote about itself."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_TIMEOUT_S)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def processor_seconds(pid: int | None) -> float | None:
    """The processor time that all threads of a process have used, or None where the system does not tell."""
    total = 0
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
                total += int(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return total / 1e9


def resident(pid: int | None) -> int | None:
    """Bytes of memory that a process holds, or None where the system does not tell."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def raise_open_files(wanted: int) -> None:
    """Let this process and its children have ``wanted`` open files.

    Raises:
        BenchmarkError: the system's hard limit is lower.
    """
    try:
        import resource  # not on Windows
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise BenchmarkError(
            f"The limit of open files is {hard}; expected at least {wanted}. Raise it ('ulimit -Hn', or"
            " LimitNOFILE of a systemd unit), or ask for fewer --clients."
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
