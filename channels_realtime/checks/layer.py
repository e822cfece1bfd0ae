"""Checks of the channel layer that carries events between processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

from channels.layers import channel_layers
from django.conf import settings
from django.core import checks, mail
from django.core.checks import CheckMessage, Error, Tags
from django.utils.module_loading import import_string

from ..config import Config
from .backends import IN_MEMORY_LAYER, names_of
from .configuration import config_check

_REDIS_CORE = "channels_redis.core.RedisChannelLayer"
_REDIS_LAYERS = {_REDIS_CORE, "channels_redis.pubsub.RedisPubSubChannelLayer"}


@config_check(Tags.compatibility)
def check_channel_layer(config: Config) -> Iterator[CheckMessage]:
    """Report a channel layer that is missing, cannot be imported or loses events."""
    alias = config.channel_layer
    layers = getattr(settings, "CHANNEL_LAYERS", {})
    if alias in layers:
        yield from _check_backend(alias, layers[alias])
    else:
        yield Error(
            f"CHANNEL_LAYERS has no {alias!r}: events cannot reach the connections.",
            hint=(
                f"Add {{{alias!r}: {{'BACKEND': 'channels_redis.pubsub.RedisPubSubChannelLayer',"
                f" 'CONFIG': {{'hosts': [...]}}}}}}, or {IN_MEMORY_LAYER!r} in development."
            ),
            id="channels_realtime.E003",
        )


def _check_backend(alias: str, layer: Mapping[str, Any]) -> Iterator[CheckMessage]:
    path = layer.get("BACKEND", "")
    try:
        backend = import_string(path)
    except ImportError as error:
        yield Error(
            f"CHANNEL_LAYERS[{alias!r}] names {path!r}, which cannot be imported: {error}",
            hint="Install it (pip install 'channels-realtime[redis]') or correct the path.",
            id="channels_realtime.E004",
        )
        return
    names = names_of(backend)
    try:
        channel_layers.make_backend(alias)
        if not _REDIS_LAYERS.isdisjoint(names):
            _check_hosts(layer.get("CONFIG", {}).get("hosts"))
    except Exception as error:
        yield Error(
            f"CHANNEL_LAYERS[{alias!r}] cannot be made: {type(error).__name__}: {error}",
            hint=f"Correct its CONFIG, the arguments of {path}.",
            id="channels_realtime.E025",
        )
        return
    if IN_MEMORY_LAYER in names and not settings.DEBUG and not _under_test():
        yield checks.Warning(
            f"CHANNEL_LAYERS[{alias!r}] is the in-memory layer and DEBUG is False: events reach"
            " only the connections of the process that publishes them.",
            hint=(
                "Use channels_redis.pubsub.RedisPubSubChannelLayer, or silence"
                " channels_realtime.W001 if the site runs in one process."
            ),
            id="channels_realtime.W001",
        )
    if _REDIS_CORE in names and _major_version("redis") >= 8:
        hosts = layer.get("CONFIG", {}).get("hosts") or [None]
        if any(not (isinstance(host, Mapping) and "socket_timeout" in host) for host in hosts):
            yield checks.Warning(
                f"CHANNEL_LAYERS[{alias!r}] is RedisChannelLayer on redis-py 8 with its default"
                " socket timeout of 5 s, which stops a receiver that is idle for 5 s.",
                hint=(
                    "Use channels_redis.pubsub.RedisPubSubChannelLayer, or write each host as"
                    " {'address': 'redis://…', 'socket_timeout': None}."
                ),
                id="channels_realtime.W002",
            )


def _under_test() -> bool:
    """Whether a test runner has prepared this process; it also turns ``DEBUG`` off."""
    return hasattr(mail, "outbox")  # what setup_test_environment() adds, of any runner


def _check_hosts(hosts: Any) -> None:
    """Make what the layer makes of its hosts at its first message; opens no connection."""
    from channels_redis.utils import create_pool, decode_hosts  # only where its layer is used

    for host in decode_hosts(hosts):
        create_pool(host)


def _major_version(distribution: str) -> int:
    try:
        return int(metadata.version(distribution).partition(".")[0])
    except (metadata.PackageNotFoundError, ValueError):
        return 0
