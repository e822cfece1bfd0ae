"""Checks of the stores beside the channel layer: histories, presence and sessions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from channels.layers import channel_layers
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags
from django.utils.module_loading import import_string

from ..channels import registry
from ..config import Config
from ..errors import Unavailable
from ..runtime.redis_clients import connect, redis_hosts
from ..settings import SETTING
from ..stored import ping_history
from ..stores.history.base import HistoryStore
from ..stores.presence.base import PresenceStore
from ..stores.sessions.base import SessionStore
from .backends import crosses_processes
from .configuration import config_check

_CONTRACTS: dict[str, type] = {
    "HISTORY_STORE": HistoryStore,
    "PRESENCE_STORE": PresenceStore,
    "SESSION_STORE": SessionStore,
}


@config_check(Tags.compatibility)
def check_stores(config: Config) -> Iterator[CheckMessage]:
    """Report stores that cannot be made, and stores in memory beside a layer that crosses processes."""
    fault = _hosts_fault(config)
    if fault is not None:
        yield Error(
            f"{SETTING}['STORE_REDIS'] cannot be used: {fault}.",
            hint="Write a URL such as 'redis://localhost:6379/1', a dict as in a layer's hosts, or a"
            " list of either; install Redis support by pip install 'channels-realtime[redis]'.",
            id="channels_realtime.E037",
        )
        return
    in_memory = []
    for key, contract in _CONTRACTS.items():
        given = getattr(config, key.lower())
        if given is not None and (fault := _class_fault(given, contract)) is not None:
            yield Error(
                f"{SETTING}[{key!r}] names {given!r}, which {fault}.",
                hint=f"Name a subclass of {contract.__module__}.{contract.__qualname__}, or leave"
                " it out for the default.",
                id="channels_realtime.E036",
            )
        elif _is_used(key, config) and _is_in_memory(key, given, config):
            in_memory.append(key)
    if in_memory and crosses_processes(config.channel_layer):
        yield _in_memory_warning(in_memory, config)


@config_check(Tags.compatibility, deploy=True)
def check_history_responds(config: Config) -> Iterator[CheckMessage]:
    """Report a history store that does not respond, where a channel keeps something."""
    if not _is_used("HISTORY_STORE", config) or _hosts_fault(config) is not None:
        return
    try:
        ping_history()
    except Exception as error:
        reason = error.reason if isinstance(error, Unavailable) else type(error).__name__
        yield checks.Warning(
            f"The history store does not respond: {reason}.",
            hint="Start it, or correct its address: the hosts in CHANNEL_LAYERS, or STORE_REDIS."
            " Until it responds, nothing can be published to channels with a history.",
            id="channels_realtime.W053",
        )


def _in_memory_warning(keys: Sequence[str], config: Config) -> CheckMessage:
    what = " and ".join(key.removesuffix("_STORE").lower() for key in keys)
    return checks.Warning(
        f"CHANNEL_LAYERS[{config.channel_layer!r}] crosses processes, and each process has a"
        f" {what} store of its own in its memory ({', '.join(keys)}): one does not know what"
        " another has stored.",
        hint="Set STORE_REDIS to a Redis, or a store that all processes share, or silence"
        " channels_realtime.W051 if the site runs in one process.",
        id="channels_realtime.W051",
    )


def _hosts_fault(config: Config) -> str | None:
    """What is wrong with STORE_REDIS; opens no connection, and names no password."""
    if config.store_redis is None:
        return None
    try:
        hosts = redis_hosts(None, config)
        if hosts is None:
            return "channels_redis is not installed"
        for host in hosts:
            client = connect(host)
            if not host.get("cluster"):  # which takes its options at once
                client.connection_pool.make_connection()
    except TypeError as error:
        return f"TypeError: {error}"  # names an option that does not exist
    except Exception as error:
        return type(error).__name__  # its text may quote a password
    return None if hosts else "it names no server"


def _class_fault(path: str, contract: type) -> str | None:
    try:
        found = import_string(path)
    except ImportError as error:
        return f"cannot be imported: {error}"
    if not (isinstance(found, type) and issubclass(found, contract)):
        return f"is no {contract.__qualname__}"
    return None


def _is_used(key: str, config: Config) -> bool:
    classes = [channel_class for _, channel_class in registry]
    if key == "HISTORY_STORE":
        return any(each.kept() is not None for each in classes)
    if key == "PRESENCE_STORE":
        return any(each.presence is not None for each in classes)
    return config.resume_window > 0


def _is_in_memory(key: str, given: str | None, config: Config) -> bool:
    if given is not None:
        shared: bool = getattr(import_string(given), "shared", True)
        return not shared
    return redis_hosts(_layer(config), config) is None


def _layer(config: Config) -> object:
    """The layer, or None where there is none, which the checks of the layer report."""
    try:
        return channel_layers.make_backend(config.channel_layer)
    except Exception:
        return None
