"""E003, E004, W001 and W002: the channel layer."""

from __future__ import annotations

import pytest
from channels.layers import InMemoryChannelLayer

from channels_realtime import checks

from .reports import Report, ids, lacking, run

PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"
CORE = "channels_redis.core.RedisChannelLayer"
IN_MEMORY = "channels.layers.InMemoryChannelLayer"


class OwnLayer(InMemoryChannelLayer):
    pass


def reports(backend: str, *, debug: bool = True, **config) -> list[Report]:
    layers = {"default": {"BACKEND": backend, "CONFIG": config}}
    return run(checks.check_channel_layer, CHANNEL_LAYERS=layers, DEBUG=debug)


@pytest.mark.parametrize(
    ("settings", "alias"),
    [
        ({"CHANNEL_LAYERS": {}}, "default"),
        ({"CHANNELS_REALTIME": {"CHANNEL_LAYER": "events"}}, "events"),
    ],
)
def test_e003_no_such_layer(settings, alias):
    (found,) = run(checks.check_channel_layer, **settings)
    assert found.id == "E003"
    assert lacking(found, [f"CHANNEL_LAYERS has no '{alias}'", f"{{'{alias}': {{", PUBSUB]) == []


@pytest.mark.parametrize("backend", ["nope.Layer", "channels.layers.Nope", ""])
def test_e004_backend_that_cannot_be_imported(backend):
    (found,) = reports(backend)
    assert found.id == "E004"
    assert lacking(found, [f"'default'] names {backend!r}", "channels-realtime[redis]"]) == []


@pytest.mark.parametrize(
    ("backend", "config", "text"),
    [
        (PUBSUB, {"serializer_format": "mspgack"}, "SerializerDoesNotExist: 'mspgack'"),
        (CORE, {"serializer_format": "mspgack"}, "SerializerDoesNotExist: 'mspgack'"),
        (PUBSUB, {"hosts": "redis://localhost"}, "ValueError: You must pass a list of Redis hosts"),
        (CORE, {"hosts": "redis://localhost"}, "ValueError: You must pass a list of Redis hosts"),
        (PUBSUB, {"hosts": ["localhost:6379"]}, "ValueError: Redis URL must specify"),
        (CORE, {"hosts": [{"master_name": "site"}]}, "KeyError: 'sentinels'"),
        (CORE, {"host": "localhost"}, "TypeError: "),
        (f"{__name__}.LayerOfAnEnvironment", {}, "KeyError: 'address'"),
    ],
)
def test_e025_layer_that_cannot_be_made_is_not_called_missing(backend, config, text):
    (found,) = reports(backend, **config)
    assert found.id == "E025"
    assert lacking(found, [f"CHANNEL_LAYERS['default'] cannot be made: {text}", backend]) == []


class LayerOfAnEnvironment(InMemoryChannelLayer):
    def __init__(self):
        raise KeyError("address")


@pytest.mark.parametrize("backend", [IN_MEMORY, f"{__name__}.OwnLayer"])
@pytest.mark.parametrize(("debug", "expected"), [(False, ["W001"]), (True, [])])
def test_w001_in_memory_layer_in_production(monkeypatch, backend, debug, expected):
    monkeypatch.delattr("django.core.mail.outbox")  # as outside a test runner
    assert ids(reports(backend, debug=debug)) == expected


def test_in_memory_layer_is_fine_under_a_test_runner():
    assert ids(reports(IN_MEMORY, debug=False)) == []


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, ["W002"]),
        ({"hosts": ["redis://localhost"]}, ["W002"]),
        ({"hosts": [("localhost", 6379)]}, ["W002"]),
        ({"hosts": [{"address": "redis://localhost"}]}, ["W002"]),
        ({"hosts": [{"address": "redis://localhost", "socket_timeout": None}]}, []),
        ({"hosts": [{"address": "redis://a", "socket_timeout": None}, "redis://b"]}, ["W002"]),
    ],
)
def test_w002_core_layer_on_redis_py_8_with_its_defaults(monkeypatch, config, expected):
    monkeypatch.setattr(checks.layer, "_major_version", lambda distribution: 8)
    assert ids(reports(CORE, **config)) == expected


def test_core_layer_is_fine_on_an_older_redis_py(monkeypatch):
    monkeypatch.setattr(checks.layer, "_major_version", lambda distribution: 7)
    assert reports(CORE) == []


def test_pubsub_layer_is_fine():
    assert reports(PUBSUB, debug=False) == []


def test_major_version_is_zero_when_it_is_unknown():
    assert checks.layer._major_version("no-such-distribution") == 0
    assert checks.layer._major_version("django") >= 5
