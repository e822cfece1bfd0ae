"""Sends publications from sync code of a process that serves nobody, on the caller's own thread.

In: publications, from ``sending``. Out: messages in Redis as the channel layer would have put them there, for the
layers of channels_redis. The way over an event loop costs two changes of thread and several turns of that
loop, which is most of what a publication costs; here it is one or two round trips on a connection.

A connection is opened in the background after a publication that found none free, which takes the way over the
loop: so nobody waits here for a name that is looked up, TLS or a server that
is away. What fails, other than by its time-out, is sent once more over the loop, with its name, by which
receivers know a message that came twice. A forked process begins without connections.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping
from typing import Any

from ..config import Config
from ..errors import Unavailable
from ..protocol.messages import Publication
from ..runtime import loops
from ..runtime.redis_clients import redis_hosts
from ..settings import get_config
from .adapters import redis_core
from .adapters.choice import adapter_of
from .adapters.redis_core import CoreAdapter
from .breaker import breaker_of, is_failing
from .envelope import send_over, wrap
from .groups import group_name

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 32
"""Opened to one server; threads beyond them go over the event loop, which sends theirs together."""

_OPTIONS = frozenset(
    {"address", "host", "port", "db", "username", "password", "client_name"}
    | {"socket_timeout", "socket_connect_timeout", "socket_keepalive"}
)
"""Options of a host that mean the same to both kinds of connection; with another one, the loop sends."""


def serves(layer: Any, config: Config) -> bool:
    """Whether publications over this layer can be sent here."""
    return _sender_of(layer, config) is not None


def send(layer: Any, publication: Publication, timeout: float) -> None:
    """Send a publication to every process that has a subscriber.

    Args:
        layer: one that is served here.
        timeout: seconds that it may take.

    Raises:
        Unavailable: the layer failed or did not take it in time.
    """
    config = get_config()
    group = group_name(config.group_prefix, publication.key)
    message = wrap(publication)
    sender = _sender_of(layer, config)
    deadline = time.monotonic() + timeout
    if sender is not None and not is_failing(layer) and sender.send(layer, group, message):
        return
    left = max(0.0, deadline - time.monotonic())
    loops.run(_send_over_loop(layer, group, message, left), left)
    if sender is not None:
        sender.sent_over_loop()


async def _send_over_loop(layer: Any, group: str, message: dict[str, Any], timeout: float) -> None:
    await send_over(adapter_of(layer), breaker_of(layer), group, message, timeout, "publication")


class _Server:
    """The connections to one server."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool
        self.free: deque[Any] = deque()
        self.opened = 0
        self.opening = threading.Lock()

    def open_one(self) -> None:
        """Open one more, in the background and one at a time."""
        if self.opened >= MAX_CONNECTIONS or not self.opening.acquire(blocking=False):
            return
        thread = threading.Thread(target=self._open, name="realtime-connection", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads, or the process is ending
            self.opening.release()

    def _open(self) -> None:
        try:
            connection = self.pool.make_connection()
            connection.connect()
        except Exception as error:  # the next publication tries again
            logger.debug("No connection for publishing directly: %s", type(error).__name__)
        else:
            self.opened += 1
            self.free.append(connection)
        finally:
            self.opening.release()

    def drop(self, connection: Any) -> None:
        """Close a connection that failed, and those that were idle meanwhile: they may be as old."""
        while True:
            self.opened -= 1
            connection.disconnect()
            try:
                connection = self.free.pop()
            except IndexError:
                return


class _Sender:
    """Sends over one layer."""

    def __init__(self, hosts: list[Mapping[str, Any]], timeout: float) -> None:
        self._servers = [_Server(_pool(host, timeout)) for host in hosts]
        self._timeout = timeout
        self._wanted: set[int] = set()

    def send(self, layer: Any, group: str, message: dict[str, Any]) -> bool:
        """Send a message; False where that is to be done over the loop, with the same message.

        Raises:
            Unavailable: the server did not answer in time.
        """
        raise NotImplementedError

    def sent_over_loop(self) -> None:
        """Have a connection for the next one, to the servers that had none free."""
        wanted, self._wanted = self._wanted, set()
        for index in wanted:
            self._servers[index].open_one()

    def call(self, layer: Any, index: int, *command: Any) -> Any:
        """The server's answer.

        Raises:
            _OverLoop: there is no answer; it may have been done.
            Unavailable: the server did not answer in time.
        """
        from redis.exceptions import RedisError, ResponseError, TimeoutError

        server = self._servers[index]
        try:
            connection = server.free.pop()
        except IndexError:
            self._wanted.add(index)
            raise _OverLoop from None
        began = time.monotonic()
        try:
            connection.send_command(*command)
            answer = connection.read_response()
        except ResponseError:
            server.free.append(connection)
            raise _OverLoop from None
        except TimeoutError as error:
            server.drop(connection)
            now = time.monotonic()
            breaker_of(layer).failed(now, now - began, self._timeout)
            raise Unavailable(
                "the channel layer did not take the publication: TimeoutError"
            ) from error
        except (RedisError, OSError):
            server.drop(connection)
            raise _OverLoop from None
        except BaseException:  # whatever a signal raised: its answer is still to come
            server.drop(connection)
            raise
        server.free.append(connection)
        return answer


class _OverLoop(Exception):
    """It is to be sent over the event loop."""


class _PubSubSender(_Sender):
    def send(self, layer: Any, group: str, message: dict[str, Any]) -> bool:
        from channels_redis.utils import _consistent_hash

        channel = f"{_prefix(layer)}__group__{group}"
        try:
            data = layer.serialize(message)
            self.call(
                layer, _consistent_hash(channel, len(self._servers)), "PUBLISH", channel, data
            )
        except (_OverLoop, TypeError):  # the serializer carries no bytes
            return False
        return True


class _CoreSender(_Sender):
    def send(self, layer: Any, group: str, message: dict[str, Any]) -> bool:
        now = time.time()
        key, index = layer._group_key(group), layer.consistent_hash(group)
        try:
            expired = int(now) - layer.group_expiry
            [found] = self.call(layer, index, "EVALSHA", redis_core.MEMBERS.digest, 1, key, expired)
            channels = [name.decode() for name in found]
            queues_of, bodies, capacities = layer._map_channel_keys_to_connection(channels, message)
            for index, queues in queues_of.items():
                arguments = [bodies[queue] for queue in queues]
                arguments += [capacities[queue] for queue in queues]
                arguments += [f"{now:.7f}"] * len(queues)
                arguments += [int(layer.expiry), int(now) - int(layer.expiry)]
                command = ["EVALSHA", redis_core.PUT.digest, len(queues), *queues, *arguments]
                if full := self.call(layer, index, *command):
                    logger.info("%d of %d messages over capacity", full, len(queues))
        except (_OverLoop, TypeError):
            return False
        return True


def _prefix(layer: Any) -> str:
    found: str = layer._kwargs.get("prefix", dict(enumerate(layer._args)).get(1, "asgi"))
    return found


def _pool(host: Mapping[str, Any], timeout: float) -> Any:
    from redis import ConnectionPool

    options = dict(host)
    address = options.pop("address", None)
    pool = (
        ConnectionPool(**options)
        if address is None
        else ConnectionPool.from_url(address, **options)
    )
    pool.connection_kwargs |= {"socket_timeout": timeout, "socket_connect_timeout": timeout}
    return pool


# -- the sender of a layer -------------------------------------------------------------------------

_lock = threading.Lock()
_senders: weakref.WeakKeyDictionary[Any, _Sender | None] = weakref.WeakKeyDictionary()


def _sender_of(layer: Any, config: Config) -> _Sender | None:
    try:
        return _senders[layer]
    except (KeyError, TypeError):
        pass
    with _lock:
        if layer not in _senders:
            _senders[layer] = _made(layer, config)
        return _senders[layer]


def _made(layer: Any, config: Config) -> _Sender | None:
    try:  # optional: a site without Redis does not install it
        from channels_redis.pubsub import RedisPubSubChannelLayer
    except ImportError:
        return None
    kind: type[_Sender]
    if type(layer) is RedisPubSubChannelLayer:
        kind = _PubSubSender
    elif CoreAdapter.suits(layer):
        kind = _CoreSender
    else:
        return None
    # gevent: a socket that was opened in a real thread belongs to it, and not to the greenlets.
    hosts = redis_hosts(layer, dataclasses.replace(config, store_redis=None))
    if hosts is None or loops.is_gevent() or any(set(host) - _OPTIONS for host in hosts):
        return None
    return kind(hosts, config.publish_timeout)


def _forget() -> None:
    global _lock
    _lock = threading.Lock()
    _senders.clear()


if hasattr(os, "register_at_fork"):  # a child must not talk on its parent's connections
    os.register_at_fork(after_in_child=_forget)
