"""E036, E037 and W051: the stores beside the channel layer."""

from __future__ import annotations

import socket

import pytest
from channels.layers import InMemoryChannelLayer

from channels_realtime import checks
from channels_realtime.channels import Channel
from channels_realtime.stores.history.base import History, HistoryStore
from channels_realtime.stores.history.memory import MemoryHistory
from channels_realtime.stores.presence.base import Presence

from .reports import Report, ids, lacking, run

MEMORY = "channels_realtime.stores.history.memory.MemoryHistory"
REDIS = "redis://:hunter2@localhost:6379/1"
LAYERS = {
    "core": "channels_redis.core.RedisChannelLayer",
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
    "own": f"{__name__}.OtherLayer",
    "memory": "channels.layers.InMemoryChannelLayer",
}


class OtherLayer:
    """A layer of a broker of its own, which crosses processes."""


class OwnLayer(InMemoryChannelLayer):
    pass


class OwnHistory(HistoryStore):
    pass


class OwnMemory(MemoryHistory):
    pass


class KeptChannel(Channel):
    history = History()


class PresentChannel(Channel):
    presence = Presence()


@pytest.fixture(autouse=True)
def classes(monkeypatch):
    """What the registry has: a test adds to it."""
    found: list = []
    monkeypatch.setattr("channels_realtime.checks.stores.registry", found)
    return found


def reports(layer: str, **settings) -> list[Report]:
    layers = {"default": {"BACKEND": LAYERS.get(layer, layer)}}
    return run(checks.check_stores, CHANNEL_LAYERS=layers, CHANNELS_REALTIME=settings)


@pytest.mark.parametrize("layer", ["core", "pubsub", "memory", f"{__name__}.OwnLayer"])
def test_a_layer_of_redis_or_of_one_process_is_fine(layer, classes):
    classes += [("a", KeptChannel), ("b", PresentChannel)]
    assert reports(layer) == []


def test_w051_a_layer_of_another_kind(classes):
    (found,) = reports("own")
    assert found.id == "W051"
    assert lacking(found, ["CHANNEL_LAYERS['default']", "session store", "STORE_REDIS"]) == []
    assert "HISTORY_STORE" not in found.text
    classes += [("a", KeptChannel), ("b", PresentChannel)]
    (found,) = reports("own")
    assert lacking(found, ["HISTORY_STORE, PRESENCE_STORE, SESSION_STORE"]) == []


def test_a_layer_of_another_kind_with_redis_for_the_stores_is_fine(classes):
    classes.append(("a", KeptChannel))
    assert reports("own", STORE_REDIS=REDIS) == []


def test_a_layer_of_another_kind_without_anything_to_store_is_fine():
    assert reports("own", RESUME_WINDOW=0) == []


@pytest.mark.parametrize("store", [MEMORY, f"{__name__}.OwnMemory"])
def test_w051_a_store_in_memory_by_setting(store, classes):
    assert reports("core", HISTORY_STORE=store) == []
    classes.append(("a", KeptChannel))
    assert ids(reports("core", HISTORY_STORE=store)) == ["W051"]
    assert reports("memory", HISTORY_STORE=store) == []


def test_a_shared_store_of_ones_own_is_fine(classes):
    classes.append(("a", KeptChannel))
    assert reports("own", HISTORY_STORE=f"{__name__}.OwnHistory", RESUME_WINDOW=0) == []


@pytest.mark.parametrize("key", ["HISTORY_STORE", "PRESENCE_STORE", "SESSION_STORE"])
@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("nope.Store", "cannot be imported"),
        (f"{__name__}.Nope", "cannot be imported"),
        (f"{__name__}.OtherLayer", "is no "),
        (f"{__name__}.LAYERS", "is no "),
    ],
)
def test_e036_what_is_no_store(key, path, fault):
    (found,) = reports("core", **{key: path})
    assert found.id == "E036"
    assert lacking(found, [key, repr(path), fault, ".base."]) == []


@pytest.mark.parametrize(
    "given",
    [
        "http://:hunter2@localhost",
        "redis://:hunter2@localhost:port",
        {"adress": REDIS, "hostt": "hunter2"},
        [REDIS, "localhost://hunter2"],
    ],
)
def test_e037_hosts_that_cannot_be_used(given):
    (found,) = reports("core", STORE_REDIS=given)
    assert found.id == "E037"
    assert lacking(found, ["STORE_REDIS", "redis://localhost:6379/1"]) == []
    assert "hunter2" not in found.text


@pytest.mark.parametrize(
    "given",
    [
        REDIS,
        {"address": "rediss://localhost:6379", "ssl_cert_reqs": None},
        {"address": "redis://:hunter2@localhost:7000", "cluster": True},
        {"sentinels": [("localhost", 26_379)], "master_name": "m"},
        [REDIS, {"host": "localhost", "port": 6_380}],
    ],
)
def test_hosts_that_can_be_used_are_fine(given):
    assert reports("core", STORE_REDIS=given) == []


# -- W053: only with --deploy ----------------------------------------------------------------------


def deployed(**settings) -> list[Report]:
    return run(
        checks.check_history_responds,
        DEBUG=False,
        CHANNEL_LAYERS={"default": {"BACKEND": LAYERS["memory"]}},
        CHANNELS_REALTIME={"STORE_TIMEOUT": 0.5, **settings},
    )


def test_history_store_that_does_not_respond_is_reported(classes, closed_port):
    classes.append(("kept", KeptChannel))
    (report,) = deployed(STORE_REDIS=f"redis://:hunter2@127.0.0.1:{closed_port}/0")
    assert report.id == "W053"
    assert report.text.startswith(
        "The history store does not respond: the history store failed with ConnectionError. Start it"
    )
    assert "hunter2" not in report.text


def test_history_store_that_responds_is_not_reported(classes):
    classes.append(("kept", KeptChannel))
    assert deployed() == []


def test_history_store_that_no_channel_uses_is_not_asked(classes, closed_port):
    assert deployed(STORE_REDIS=f"redis://127.0.0.1:{closed_port}/0") == []


@pytest.fixture
def closed_port():
    """A port on which nothing listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
