"""System checks: every id, and its hint."""

from __future__ import annotations

import pytest
from channels.layers import InMemoryChannelLayer
from django.core import checks as django_checks
from django.test import override_settings

from channels_realtime import checks

PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"
CORE = "channels_redis.core.RedisChannelLayer"
IN_MEMORY = "channels.layers.InMemoryChannelLayer"


class OwnLayer(InMemoryChannelLayer):
    pass


def ids(found) -> list[str]:
    return [message.id.removeprefix("channels_realtime.") for message in found]


def layer(backend: str, **config) -> override_settings:
    return override_settings(CHANNEL_LAYERS={"default": {"BACKEND": backend, "CONFIG": config}})


def origins(*listed) -> list[django_checks.CheckMessage]:
    with override_settings(CHANNELS_REALTIME={"ALLOWED_ORIGINS": list(listed)}):
        return checks.check_origins()


def test_checks_are_registered():
    registered = django_checks.registry.registry.get_checks()
    for check in (
        checks.check_settings,
        checks.check_channel_layer,
        checks.check_server,
        checks.check_origins,
    ):
        assert check in registered


@pytest.mark.django_db
def test_test_project_is_fine_but_for_its_in_memory_layer():
    found = [
        message
        for message in django_checks.run_checks()
        if message.id.startswith("channels_realtime.")
    ]
    assert ids(found) == ["W001"]


# -- settings --------------------------------------------------------------------------------------


@override_settings(CHANNELS_REALTIME={"ALOW_ANONYMOUS": True})
def test_e001_unknown_key():
    (found,) = checks.check_settings()
    assert found == django_checks.Error(
        "CHANNELS_REALTIME has an unknown key 'ALOW_ANONYMOUS'.",
        hint="Did you mean 'ALLOW_ANONYMOUS'?",
        id="channels_realtime.E001",
    )


@override_settings(CHANNELS_REALTIME={"MAX_BATCH": 0})
def test_e002_wrong_value():
    (found,) = checks.check_settings()
    assert found == django_checks.Error(
        "CHANNELS_REALTIME['MAX_BATCH'] is 0.",
        hint="Expected an integer of at least 1.",
        id="channels_realtime.E002",
    )


@override_settings(CHANNELS_REALTIME=["nope"])
def test_e002_no_dict():
    (found,) = checks.check_settings()
    assert (found.id, found.hint) == ("channels_realtime.E002", "Make it a dict.")


@override_settings(CHANNELS_REALTIME={"MAX_BATCH": "an unknown key"})
def test_e002_when_the_value_reads_like_the_other_error():
    assert ids(checks.check_settings()) == ["E002"]


@override_settings(CHANNELS_REALTIME={"MAX_BATCH": 0}, CHANNEL_LAYERS={}, ASGI_APPLICATION=None)
def test_other_checks_wait_until_the_settings_are_right():
    assert checks.check_channel_layer() == []
    assert checks.check_origins() == []


# -- the layer -------------------------------------------------------------------------------------


@override_settings(CHANNEL_LAYERS={})
def test_e003_no_channel_layer():
    (found,) = checks.check_channel_layer()
    assert found.id == "channels_realtime.E003"
    assert found.msg == ("CHANNEL_LAYERS has no 'default': events have no way to the connections.")
    assert found.hint.startswith("Add {'default': {'BACKEND': 'channels_redis.pubsub.")


@override_settings(CHANNELS_REALTIME={"CHANNEL_LAYER": "events"})
def test_e003_no_such_alias():
    (found,) = checks.check_channel_layer()
    assert found.msg.startswith("CHANNEL_LAYERS has no 'events'")


@pytest.mark.parametrize("backend", ["nope.Layer", "channels.layers.Nope", ""])
def test_e004_backend_that_cannot_be_imported(backend):
    with layer(backend):
        (found,) = checks.check_channel_layer()
    assert found.id == "channels_realtime.E004"
    assert found.msg.startswith(
        "CHANNEL_LAYERS['default'] names a backend that cannot be imported: "
    )
    assert found.hint == (
        "Install it (pip install 'channels-realtime[redis]') or correct the path."
    )


@pytest.mark.parametrize("backend", [IN_MEMORY, f"{__name__}.OwnLayer"])
@pytest.mark.parametrize(("debug", "expected"), [(False, ["W001"]), (True, [])])
def test_w001_in_memory_layer_in_production(backend, debug, expected):
    with layer(backend), override_settings(DEBUG=debug):
        found = checks.check_channel_layer()
    assert ids(found) == expected
    if found:
        assert found[0].hint == (
            "Use channels_redis.pubsub.RedisPubSubChannelLayer, or silence"
            " channels_realtime.W001 where one process does everything."
        )


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, ["W002"]),
        ({"hosts": ["redis://localhost"]}, ["W002"]),
        ({"hosts": [("localhost", 6379)]}, ["W002"]),
        ({"hosts": [{"address": "redis://localhost"}]}, ["W002"]),
        ({"hosts": [{"address": "redis://localhost", "socket_timeout": None}]}, []),
        (
            {"hosts": [{"address": "redis://a", "socket_timeout": None}, "redis://b"]},
            ["W002"],
        ),
    ],
)
def test_w002_core_layer_on_redis_py_8_with_its_defaults(monkeypatch, config, expected):
    monkeypatch.setattr(checks.layer, "_major_version", lambda distribution: 8)
    with layer(CORE, **config):
        found = checks.check_channel_layer()
    assert ids(found) == expected
    if found:
        assert found[0].hint == (
            "Use channels_redis.pubsub.RedisPubSubChannelLayer, or write each host as"
            " {'address': 'redis://…', 'socket_timeout': None}."
        )


def test_core_layer_is_fine_on_an_older_redis_py(monkeypatch):
    monkeypatch.setattr(checks.layer, "_major_version", lambda distribution: 7)
    with layer(CORE):
        assert checks.check_channel_layer() == []


def test_pubsub_layer_is_fine():
    with layer(PUBSUB):
        assert checks.check_channel_layer() == []


def test_major_version_is_zero_when_it_is_unknown():
    assert checks.layer._major_version("no-such-distribution") == 0
    assert checks.layer._major_version("django") >= 5


# -- the server ------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, ""])
def test_e005_no_asgi_application(value):
    with override_settings(ASGI_APPLICATION=value):
        (found,) = checks.check_server()
    assert found == django_checks.Error(
        "ASGI_APPLICATION is not set: runserver would serve WSGI, which has no WebSockets.",
        hint="Set ASGI_APPLICATION = '<project>.asgi.application'.",
        id="channels_realtime.E005",
    )


@pytest.mark.parametrize(("debug", "expected"), [(True, ["W003"]), (False, [])])
def test_w003_no_daphne_while_developing(debug, expected):
    with override_settings(DEBUG=debug):
        found = checks.check_server()
    assert ids(found) == expected
    if found:
        assert found[0].hint == (
            "Put 'daphne' first in INSTALLED_APPS, or run another ASGI server and silence"
            " channels_realtime.W003."
        )


class App:
    def __init__(self, name):
        self.name = name


@pytest.mark.parametrize(
    ("apps", "expected"),
    [
        (["daphne", "django.contrib.staticfiles"], []),
        (["site", "daphne"], []),
        (["django.contrib.staticfiles", "daphne"], ["E006"]),
        (["whitenoise.runserver_nostatic", "daphne"], ["E006"]),
    ],
)
def test_e006_daphne_after_another_runserver(monkeypatch, apps, expected):
    monkeypatch.setattr(checks.server.apps, "get_app_configs", lambda: [App(name) for name in apps])
    found = checks.check_server()
    assert ids(found) == expected
    if found:
        assert found[0].msg == (
            f"'daphne' stands after {apps[0]} in INSTALLED_APPS, whose runserver command wins."
        )
        assert found[0].hint == "Put 'daphne' first."


# -- origins ---------------------------------------------------------------------------------------


def test_w004_every_origin():
    (found,) = origins("*")
    assert found.id == "channels_realtime.W004"
    assert found.hint == "List the origins, such as 'https://app.example.com'."


@pytest.mark.parametrize("origin", ["example.com", "*.example.com", "", "NULL "])
def test_e007_origin_without_a_scheme(origin):
    (found,) = origins(origin)
    assert found.id == "channels_realtime.E007"
    assert found.msg == (
        f"CHANNELS_REALTIME['ALLOWED_ORIGINS'] holds {origin!r}, which has no scheme and matches"
        " nothing."
    )
    assert found.hint == f"Write 'https://{origin}'."


@pytest.mark.parametrize(
    "origin",
    [
        "https://example.com/",
        "https://example.com/path",
        "https://example.com:99999",
        "https://*",
        "https://a.*.example.com",
        "https://",
        "http://user@example.com",
    ],
)
def test_e007_origin_that_is_none(origin):
    (found,) = origins(origin)
    assert found.id == "channels_realtime.E007"
    assert found.hint == "An origin is a scheme, a host and perhaps a port: no path, no slash."


@pytest.mark.parametrize(
    "origin",
    [
        "https://example.com",
        "http://localhost:8000",
        "https://*.example.com",
        "null",
        "file://",
        "chrome-extension://abcdef",
    ],
)
def test_right_origin_is_fine(origin):
    assert origins(origin) == []


def rule(origin, scope):
    return True


async def async_rule(origin, scope):
    return True


NOT_CALLABLE = 7


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nope.rule", "CHANNELS_REALTIME['ALLOWED_ORIGINS'] cannot be imported: "),
        (f"{__name__}.nope", "CHANNELS_REALTIME['ALLOWED_ORIGINS'] cannot be imported: "),
        (
            f"{__name__}.NOT_CALLABLE",
            f"CHANNELS_REALTIME['ALLOWED_ORIGINS'] names '{__name__}.NOT_CALLABLE', which is not"
            " callable.",
        ),
        (
            f"{__name__}.async_rule",
            f"CHANNELS_REALTIME['ALLOWED_ORIGINS'] names '{__name__}.async_rule', which is async.",
        ),
    ],
)
def test_e008_rule_that_is_none(path, message):
    with override_settings(CHANNELS_REALTIME={"ALLOWED_ORIGINS": path}):
        (found,) = checks.check_origins()
    assert found.id == "channels_realtime.E008"
    assert found.msg.startswith(message)
    assert found.hint == (
        "Name a function of an origin's text and the ASGI scope that returns a bool."
    )


@pytest.mark.parametrize("value", [None, rule, f"{__name__}.rule"])
def test_rule_or_default_is_fine(value):
    with override_settings(CHANNELS_REALTIME={"ALLOWED_ORIGINS": value}):
        assert checks.check_origins() == []
