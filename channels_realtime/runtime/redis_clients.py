"""Clients of the Redis servers that hold the stores: those of the channel layer, or ``STORE_REDIS``.

In: scripts, and pipelines of commands, from any event loop. Out: their answers, or ``Unavailable``.
Each event loop has one client a server, for all stores of a layer, made at its first use, and closed when
the loop shuts down its asynchronous generators (``asyncio.run`` does, and so do servers), or by
``close``. A command is never sent twice: whether the first one was done cannot be known.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from ..config import Config
from ..errors import ImproperUse, Unavailable
from .redis_connection import CommandSender, ResponseError, Script, can_be_taken_over

MAX_CONNECTIONS = 32
"""How many connections one client opens to its server; commands beyond them wait their turn."""

_VALUES = 1_000  # read by one command

Host = Mapping[str, Any]
"""How a server is reached: what ``channels_redis`` takes as one of its ``hosts``, as a mapping."""


def redis_hosts(layer: Any, config: Config) -> list[Host] | None:
    """The Redis servers of the stores: ``STORE_REDIS``, or those of a layer of ``channels_redis``.

    Needs no running event loop.

    Returns:
        a mapping for each; None where the layer is another one and ``STORE_REDIS`` is not set.
    """
    try:  # optional: a site without Redis does not install it
        from channels_redis.core import RedisChannelLayer
        from channels_redis.pubsub import RedisPubSubChannelLayer
        from channels_redis.utils import decode_hosts
    except ImportError:
        return None
    given = config.store_redis
    if given is not None:
        return list(decode_hosts([given] if isinstance(given, str | Mapping) else given))
    if isinstance(layer, RedisChannelLayer):
        return list(layer.hosts)
    if isinstance(layer, RedisPubSubChannelLayer):
        # A proxy for a layer a loop, which alone has its hosts: these are their arguments.
        hosts = layer._kwargs.get("hosts", layer._args[0] if layer._args else None)
        return list(decode_hosts(hosts))
    return None


def key_prefix(layer: Any, config: Config) -> str:
    """What the names of all keys begin with: two sites on one Redis are told apart as their layers are.

    That is by the ``prefix`` of the layer, where it is one of ``channels_redis``, and ``GROUP_PREFIX``.
    """
    try:
        from channels_redis.core import RedisChannelLayer
        from channels_redis.pubsub import RedisPubSubChannelLayer
    except ImportError:
        return config.group_prefix
    if isinstance(layer, RedisChannelLayer):
        return f"{layer.prefix}:{config.group_prefix}"
    if isinstance(layer, RedisPubSubChannelLayer):
        args = dict(enumerate(layer._args))
        return f"{layer._kwargs.get('prefix', args.get(1, 'asgi'))}:{config.group_prefix}"
    return config.group_prefix


class _Client:
    """The client of one server on one event loop."""

    __slots__ = ("keeper", "redis", "room", "sender")

    def __init__(self, host: Host) -> None:
        self.redis = redis = connect(host)
        pool = getattr(redis, "connection_pool", None)  # a cluster has none
        self.sender = CommandSender(lambda: redis) if can_be_taken_over(pool) else None
        self.room = asyncio.Semaphore(MAX_CONNECTIONS)
        self.keeper = self._close_with_loop()

    async def _close_with_loop(self) -> AsyncGenerator[None]:
        """An unfinished generator, which the loop finishes before it closes."""
        try:
            yield
        finally:
            await self.redis.aclose()
            # redis-py closes the connections to the master, but not those to Sentinel.
            pool = getattr(self.redis, "connection_pool", None)  # a cluster has none
            manager = getattr(pool, "sentinel_manager", None)
            for sentinel in manager.sentinels if manager is not None else ():
                await sentinel.aclose()


class _Servers:
    """Some servers, and the clients of each event loop that uses them."""

    def __init__(self, hosts: list[Host]) -> None:
        self.hosts = hosts
        self._lock = threading.Lock()
        self._clients: dict[asyncio.AbstractEventLoop, dict[int, _Client]] = {}

    async def client(self, index: int) -> _Client:
        loop = asyncio.get_running_loop()
        clients = self._clients.get(loop)
        if clients is None:
            with self._lock:
                # A loop that is closed cannot close its clients any more: forgotten, they go.
                for closed in [each for each in self._clients if each.is_closed()]:
                    del self._clients[closed]
                clients = self._clients[loop] = {}
        client = clients.get(index)
        if client is None:
            client = clients[index] = _Client(self.hosts[index])
            await anext(client.keeper)  # from here on the loop knows it
        return client

    async def close(self) -> None:
        with self._lock:
            clients = self._clients.pop(asyncio.get_running_loop(), {})
        for client in clients.values():
            await client.keeper.aclose()


_lock = threading.Lock()
_servers: weakref.WeakKeyDictionary[Any, _Servers] = weakref.WeakKeyDictionary()


def _servers_beside(layer: Any, hosts: list[Host]) -> _Servers:
    """The servers of the stores beside a channel layer, the same object for all of them."""
    if layer is None:  # a store by itself
        return _Servers(hosts)
    with _lock:
        servers = _servers.get(layer)
        if servers is None or servers.hosts != hosts:
            servers = _servers[layer] = _Servers(hosts)
    return servers


class RedisClients:
    """The clients of the servers that hold one store, spread over them by bucket.

    Args:
        layer: the Channels layer, whose servers are used unless ``STORE_REDIS`` names others.
        config: the settings.
        store: what the store is called in errors, such as ``"the history store"``.

    Raises:
        ImproperUse: the layer is not one of channels_redis, and ``STORE_REDIS`` is not set.
    """

    def __init__(self, layer: Any, config: Config, store: str) -> None:
        hosts = redis_hosts(layer, config)
        if not hosts:
            raise ImproperUse(
                f"{store} has no Redis: its channel layer is not one of channels_redis;"
                " set STORE_REDIS"
            )
        self._timeout = config.store_timeout
        self._store = store
        self._servers = _servers_beside(layer, hosts)

    def __repr__(self) -> str:
        return f"<RedisClients of {self._store}: {len(self.servers)} servers>"

    @property
    def servers(self) -> range:
        """The indices of the servers."""
        return range(len(self._servers.hosts))

    def index_of(self, bucket: int) -> int:
        """The server that holds a bucket."""
        return bucket % len(self._servers.hosts)

    async def run(
        self, index: int, script: Script, keys: Sequence[str], args: Sequence[Any]
    ) -> Any:
        """Run a script on the server ``index``, in one round trip where the server knows it.

        Args:
            keys: all that it uses, of one hash tag.

        Raises:
            Unavailable: the server did not respond in time, or refused; the script may have run.
        """
        from redis.exceptions import NoScriptError

        async with self._use(index) as redis:
            try:
                return await redis.evalsha(script.digest, len(keys), *keys, *args)
            except NoScriptError:  # new, restarted or flushed; EVAL leaves it there as well
                return await redis.eval(script.text, len(keys), *keys, *args)

    async def run_in_batch(
        self, index: int, script: Script, keys: Sequence[str], args: Sequence[Any]
    ) -> Any:
        """As ``run``, for scripts with a short answer: with those of the same turn of the loop, in their order.

        They share one connection, and each batch waits for the answers to the one before. On a cluster, and
        where redis-py looks different inside, it is ``run``.
        """
        client = await self._servers.client(index)
        sender = client.sender
        if sender is None:
            return await self.run(index, script, keys, args)
        try:
            return await sender.run(script, keys, args, self._timeout)
        except TimeoutError as error:  # before OSError, which it is
            raise self._unavailable(f"did not respond within {self._timeout:g} s") from error
        except (ResponseError, OSError) as error:
            raise self._unavailable(f"failed with {type(error).__name__}") from error

    async def pipeline(self, index: int, fill: Callable[[Any], object]) -> list[Any]:
        """Send the commands that ``fill`` puts into a pipeline, in one round trip a server.

        Args:
            fill: calls the methods of redis-py's pipeline; no scripts, which a cluster refuses.

        Raises:
            Unavailable: as for ``run``.
        """
        async with self._use(index) as redis:
            pipe = redis.pipeline(transaction=False)
            fill(pipe)
            answers: list[Any] = await pipe.execute()
            return answers

    async def values(self, index: int, keys: Sequence[str]) -> list[bytes | None]:
        """The values of text keys of the server ``index``, many at once.

        Raises:
            Unavailable: as for ``run``.
        """
        found: list[bytes | None] = []
        for start in range(0, len(keys), _VALUES):
            asked = keys[start : start + _VALUES]
            if self._servers.hosts[index].get("cluster"):  # MGET takes the keys of one slot alone

                def fill(pipe: Any, asked: Sequence[str] = asked) -> None:
                    for key in asked:
                        pipe.get(key)

                found += await self.pipeline(index, fill)
            else:
                async with self._use(index) as redis:
                    found += await redis.mget(asked)
        return found

    async def ping(self) -> None:
        """Ask every server for a sign of life.

        Raises:
            Unavailable: one does not respond.
        """
        for index in self.servers:
            async with self._use(index) as redis:
                await redis.ping()

    async def close(self) -> None:
        """Close the connections of the running event loop, for all stores of the layer."""
        await self._servers.close()

    @contextlib.asynccontextmanager
    async def _use(self, index: int) -> AsyncIterator[Any]:
        from redis.exceptions import RedisClusterException, RedisError

        try:
            async with asyncio.timeout(self._timeout):
                client = await self._servers.client(index)
                async with client.room:
                    yield client.redis
        except TimeoutError as error:  # before OSError, which it is
            raise self._unavailable(f"did not respond within {self._timeout:g} s") from error
        except (RedisError, RedisClusterException, OSError) as error:
            raise self._unavailable(f"failed with {type(error).__name__}") from error

    def _unavailable(self, what: str) -> Unavailable:
        return Unavailable(f"{self._store} {what}")


def connect(host: Host) -> Any:
    """A client of redis-py for one of the hosts; opens no connection yet."""
    from channels_redis.utils import create_pool  # optional, as is redis-py
    from redis.asyncio import Redis
    from redis.asyncio.cluster import RedisCluster
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    options = dict(host)
    if not options.pop("cluster", False):
        return Redis.from_pool(create_pool(options))  # and closes the pool
    options.setdefault("retry", Retry(NoBackoff(), 0))  # a command is sent once
    address = options.pop("address", None)
    if address is not None:
        return RedisCluster.from_url(address, **options)
    return RedisCluster(**options)
