"""Redis servers of a test's own that are killed, stopped, emptied and promoted."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from tests.support.redis_server import answers
from tests.support.servers import HOST, free_port

READY_TIMEOUT_S = 20.0
POLL_INTERVAL_S = 0.05
MASTER = "checked"


class RedisProcess:
    """One server; it keeps nothing on disk, so it is empty after ``start``.

    Args:
        directory: for its files.
        options: of the command line, as ``{"replicaof": "127.0.0.1 6379"}``.
    """

    def __init__(self, directory: Path, **options: str) -> None:
        binary = shutil.which("redis-server") or shutil.which("valkey-server")
        if binary is None:
            pytest.skip("no redis-server and no valkey-server is installed")
        self.port = free_port()
        self._command = [binary, "--port", str(self.port), "--bind", HOST, "--dir", str(directory)]
        self._command += ["--save", "", "--repl-diskless-sync-delay", "0"]
        for name, value in options.items():
            self._command += [f"--{name}", *value.split()]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def client(self) -> redis.Redis:
        return redis.Redis(HOST, self.port)

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        wait_until(lambda: answers((HOST, self.port)), f"Redis on port {self.port} answers")

    def kill(self) -> None:
        """End it at once, as a machine that loses its power."""
        if self.process is not None and self.process.poll() is None:
            self.go_on()
            self.process.kill()
            self.process.wait()

    def pause(self) -> None:
        """Stop it: connections stay open, and nothing is answered."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)


@contextmanager
def redis_process(**options: str) -> Iterator[RedisProcess]:
    """A server, for as long as the block runs."""
    with tempfile.TemporaryDirectory(prefix="channels-realtime-redis-") as directory:
        server = RedisProcess(Path(directory), **options)
        server.start()
        try:
            yield server
        finally:
            server.kill()


@dataclass(frozen=True, slots=True)
class Watched:
    """A master and a replica that a Sentinel watches."""

    master: RedisProcess
    replica: RedisProcess
    sentinel_port: int

    def wait_for_replica(self) -> None:
        """Wait until the replica has all that the master has."""
        with self.master.client() as client:
            client.wait(1, 0)

    def detach_replica(self) -> None:
        """Have the replica get nothing more: from now on it is stale."""
        with self.replica.client() as client:
            client.execute_command("REPLICAOF", HOST, "1")

    def kill_master(self) -> None:
        """Kill the master, and wait until Sentinel has promoted the replica."""
        self.master.kill()

        def promoted() -> bool:
            with self.replica.client() as client:
                return bool(client.role()[0] == b"master")

        wait_until(promoted, "the replica is promoted")


@contextmanager
def watched_redis() -> Iterator[Watched]:
    """A master, a replica that is in step with it, and a Sentinel that promotes it after a second."""
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="channels-realtime-"))
        master = stack.enter_context(redis_process())
        replica = stack.enter_context(redis_process(replicaof=f"{HOST} {master.port}"))
        port = free_port()
        path = Path(directory) / "sentinel.conf"
        path.write_text(
            f"port {port}\nbind {HOST}\ndir {directory}\n"
            f"sentinel monitor {MASTER} {HOST} {master.port} 1\n"
            f"sentinel down-after-milliseconds {MASTER} 1000\n"
            f"sentinel failover-timeout {MASTER} 5000\n"
        )
        binary = shutil.which("redis-server") or shutil.which("valkey-server")
        assert binary is not None
        process = subprocess.Popen([binary, str(path), "--sentinel"], stdout=subprocess.DEVNULL)
        stack.callback(process.wait)
        stack.callback(process.kill)
        wait_until(lambda: answers((HOST, port)), "Sentinel answers")

        def in_step() -> bool:
            with redis.Redis(HOST, port) as sentinel, replica.client() as client:
                known = sentinel.sentinel_slaves(MASTER)
                return len(known) == 1 and client.info("replication")["master_link_status"] == "up"

        wait_until(in_step, "Sentinel knows the replica")
        yield Watched(master, replica, port)


def wait_until(condition, what: str, timeout: float = READY_TIMEOUT_S) -> None:
    """Ask until the answer is true.

    Raises:
        TimeoutError: it was not in time.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            if condition():
                return
        except redis.RedisError:
            pass
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:g} s: {what}")
        time.sleep(POLL_INTERVAL_S)
