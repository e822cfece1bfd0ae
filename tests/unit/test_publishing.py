"""Publishing from anywhere sync, and from the event loop."""

from __future__ import annotations

import asyncio
import datetime
import logging
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace

import pytest
from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.contrib.auth.models import AnonymousUser, User
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.models import CharField
from django.test import override_settings

from channels_realtime import (
    apublish,
    apublish_many,
    apublish_to_user,
    publish,
    publish_many,
    publish_to_user,
    sending,
    user_keys,
)
from channels_realtime.errors import (
    BadChannel,
    BadPayload,
    ImproperUse,
    TooLarge,
    Unavailable,
    UnknownChannel,
)
from channels_realtime.nodes.envelope import unwrap
from channels_realtime.protocol.messages import Publication
from channels_realtime.publications import Published
from channels_realtime.runtime import loops
from channels_realtime.testing import capture_publications


class RecordingLayer(InMemoryChannelLayer):
    """Notes what is sent to groups; ``failing`` makes it fail."""

    sent: list[Publication] = []
    failing: Exception | None = None

    async def group_send(self, group, message):
        if self.failing is not None:
            raise self.failing
        self.sent.append(unwrap(message))


@pytest.fixture
def layer(settings):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"{__name__}.RecordingLayer"}}
    layer = get_channel_layer()
    layer.sent = []
    yield layer
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch):
    """As a process that serves and has published nothing."""
    monkeypatch.setattr(sending, "_warned", False)
    monkeypatch.setattr(sending, "_serves", True)
    monkeypatch.setattr(sending, "failed_after_commit", 0)


def payloads(layer) -> list:
    return [publication.payload for publication in layer.sent]


# -- what is sent ----------------------------------------------------------------------------------


def test_publication_is_sent_at_once_outside_a_transaction(layer):
    assert publish("public/a", {"n": 1}, event="created") == Published()
    assert layer.sent == [Publication("public/a", {"n": 1}, "created")]


def test_publication_shows_no_sender_because_the_server_sent_it(layer):
    publish("public/a", 1)
    assert layer.sent[0].sender is None


def test_payload_is_written_in_json_types(layer):
    publish("public/a", {"at": datetime.date(2026, 1, 2), "id": uuid.UUID(int=1), "raw": b"\xff"})
    assert payloads(layer) == [
        {"at": "2026-01-02", "id": "00000000-0000-0000-0000-000000000001", "raw": b"\xff"}
    ]


def test_many_are_sent_in_their_order(layer):
    publish_many([("public/a", 1), ("stocks", 2), ("public/a", 3)], event="e")
    assert [(p.channel, p.payload, p.event) for p in layer.sent] == [
        ("public/a", 1, "e"),
        ("stocks", 2, "e"),
        ("public/a", 3, "e"),
    ]


def test_many_may_come_from_a_generator_and_may_be_none(layer):
    publish_many(("public/a", n) for n in range(3))
    publish_many([])
    assert payloads(layer) == [0, 1, 2]


def test_none_of_many_is_sent_when_one_of_them_is_wrong(layer):
    with pytest.raises(BadPayload):
        publish_many([("public/a", 1), ("public/a", object())])
    with pytest.raises(UnknownChannel):
        publish_many([("public/a", 1), ("nope", 2)])
    assert layer.sent == []


@pytest.mark.parametrize(
    ("user", "channel"),
    [(User(pk=7), "users/7"), (7, "users/7"), ("7", "users/7")],
)
def test_user_is_published_to_on_the_users_own_channel(layer, user, channel):
    publish_to_user(user, "hello", event="e")
    assert layer.sent == [Publication(channel, "hello", "e")]


def test_user_with_a_text_for_a_key_is_published_to_on_its_quoted_channel(layer, monkeypatch):
    model = SimpleNamespace(_meta=SimpleNamespace(pk=CharField()))
    monkeypatch.setattr(user_keys, "get_user_model", lambda: model)
    publish_to_user("jürgen", "hello")
    assert layer.sent == [Publication("users/j=C3=BCrgen", "hello", None)]


@pytest.mark.parametrize("user", [AnonymousUser(), User(), None])
def test_user_without_a_primary_key_has_no_channel(layer, user):
    with pytest.raises(
        BadPayload, match=r"^publish_to_user: a user without a primary key has no channel$"
    ):
        publish_to_user(user, "hello")


# -- what is refused in the caller -----------------------------------------------------------------


def test_unknown_channel_lists_the_routes_and_asks_for_the_app(layer):
    with pytest.raises(UnknownChannel) as caught:
        publish("nope/1", 1)
    assert caught.value.reason.startswith(
        "channel 'nope/1' matches no registered route; there are: 'public/<str:name>', "
    )
    assert caught.value.reason.endswith(" Is the app with its realtime.py in INSTALLED_APPS?")


@pytest.mark.parametrize("channel", ["", "a b", "public/ä", "x" * 201, None, 7])
def test_bad_channel_is_refused(layer, channel):
    with pytest.raises(BadChannel, match="is not a name; expected 1 to 200 characters"):
        publish(channel, 1)


@pytest.mark.parametrize("payload", [object(), {1, 2}, {"a": float("nan")}, 2**70, "\ud800"])
def test_payload_that_cannot_be_encoded_is_refused(layer, payload):
    with pytest.raises(BadPayload, match=r"^payload"):
        publish("public/a", payload)
    assert layer.sent == []


@override_settings(CHANNELS_REALTIME={"MAX_PUBLICATION_BYTES": 10})
def test_payload_over_the_limit_is_refused(layer):
    publish("public/a", "x" * 8)
    with pytest.raises(TooLarge) as caught:
        publish("public/a", "x" * 9)
    assert caught.value.reason == (
        "a payload of 11 bytes for 'public/a'; expected at most 10 (MAX_PUBLICATION_BYTES)"
    )


@override_settings(CHANNELS_REALTIME={"MAX_PAYLOAD_DEPTH": 2})
def test_payload_too_deep_is_refused(layer):
    publish("public/a", [[1]])
    with pytest.raises(BadPayload, match="nested too deeply"):
        publish("public/a", [[[1]]])


@pytest.mark.parametrize("event", ["", "x" * 101, 7, b"e"])
def test_event_that_is_no_name_is_refused(layer, event):
    with pytest.raises(BadPayload, match="is not a name; expected text of 1 to 100 characters"):
        publish("public/a", 1, event=event)


def test_error_shows_no_payload(layer):
    with pytest.raises(BadPayload) as caught:
        publish("public/a", {"card": {"planted-secret"}})
    assert "planted-secret" not in caught.value.reason


def test_layer_that_fails_is_unavailable(layer):
    layer.failing = ConnectionError("redis is away")
    with pytest.raises(Unavailable) as caught:
        publish("public/a", 1)
    assert caught.value.reason == (
        "the channel layer did not take the publication: ConnectionError"
    )


@override_settings(CHANNELS_REALTIME={"CHANNEL_LAYER": "absent"})
def test_layer_that_is_absent_is_unavailable():
    with pytest.raises(Unavailable, match="CHANNEL_LAYERS has no 'absent'"):
        publish("public/a", 1)


@override_settings(CHANNELS_REALTIME={"PUBLISH_TIMEOUT": 0.05})
def test_layer_that_hangs_is_unavailable_in_time(layer, monkeypatch):
    hang(layer, monkeypatch)
    with pytest.raises(Unavailable, match="TimeoutError"):
        publish("public/a", 1)


@override_settings(CHANNELS_REALTIME={"PUBLISH_TIMEOUT": 0.05})
def test_layer_that_hangs_is_not_waited_for_by_the_next_caller(layer, monkeypatch):
    tries = hang(layer, monkeypatch)
    for _ in range(3):
        with pytest.raises(Unavailable):
            publish("public/a", 1)
    with pytest.raises(Unavailable):
        publish_many([("public/a", n) for n in range(100)])
    assert len(tries) == 1


def hang(layer, monkeypatch) -> list[str]:
    """Make the layer take nothing; returns the groups that it was given something for."""
    tries: list[str] = []

    async def group_send(group, message):
        tries.append(group)
        await asyncio.Event().wait()

    monkeypatch.setattr(layer, "group_send", group_send)
    return tries


@pytest.mark.parametrize(
    ("setting", "argument"), [("raise", "log"), ("log", None), ("log", "log"), (None, "log")]
)
def test_failure_is_logged_and_counted_where_it_is_not_to_be_raised(
    layer, settings, caplog, setting, argument
):
    settings.CHANNELS_REALTIME = {} if setting is None else {"PUBLISH_FAILURES": setting}
    layer.failing = ConnectionError("away")
    assert publish("public/a", {"card": "planted"}, failures=argument) is None
    publish_to_user(7, 2, failures=argument)
    publish_many([("public/b", 3), ("public/c", 4)], failures=argument)
    assert [record.getMessage() for record in caplog.records] == [
        "Publishing to 'public/a' failed",
        "Publishing to 'users/7' failed",
        "Publishing to 'public/b' failed",
    ]
    assert "the channel layer did not take the publication: ConnectionError" in caplog.text
    assert "planted" not in caplog.text
    assert sending.failed_after_commit == 4


@pytest.mark.parametrize(
    ("setting", "argument"), [("log", "raise"), ("raise", None), ("raise", "raise"), (None, None)]
)
def test_failure_is_raised_where_it_is_to_be(layer, settings, caplog, setting, argument):
    settings.CHANNELS_REALTIME = {} if setting is None else {"PUBLISH_FAILURES": setting}
    layer.failing = ConnectionError("away")
    with pytest.raises(Unavailable):
        publish("public/a", 1, failures=argument)
    with pytest.raises(Unavailable):
        publish_many([("public/a", 1)], failures=argument)
    assert caplog.records == []


async def test_async_twins_log_failures_too(layer, caplog):
    layer.failing = ConnectionError("away")
    await apublish("public/a", 1, failures="log")
    await apublish_to_user(7, 1, failures="log")
    await apublish_many([("public/b", 1)], failures="log")
    assert [record.getMessage() for record in caplog.records] == [
        "Publishing to 'public/a' failed",
        "Publishing to 'users/7' failed",
        "Publishing to 'public/b' failed",
    ]


@override_settings(CHANNELS_REALTIME={"PUBLISH_FAILURES": "log"})
def test_mistake_of_the_caller_is_raised_though_failures_are_logged(layer):
    with pytest.raises(UnknownChannel):
        publish("nope", 1)
    with pytest.raises(BadPayload):
        publish("public/a", object())
    with pytest.raises(ImproperUse) as caught:
        publish("public/a", 1, failures="ignore")
    assert caught.value.reason == "failures is 'ignore'; expected one of 'raise', 'log'"


def test_layer_that_cannot_be_made_is_not_taken_for_one_that_is_missing(settings):
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {"hosts": ["redis://localhost"], "serializer_format": "mspgack"},
        }
    }
    with pytest.raises(Unavailable) as caught:
        publish("public/a", 1)
    assert caught.value.reason == (
        "CHANNEL_LAYERS['default'] cannot be made: SerializerDoesNotExist: 'mspgack'"
    )


# -- transactions ----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
class TestTransactions:
    def test_publication_waits_for_the_commit(self, layer):
        with transaction.atomic():
            assert publish("public/a", 1) is None
            publish_many([("public/a", 2), ("public/a", 3)])
            assert layer.sent == []
        assert payloads(layer) == [1, 2, 3]

    def test_publication_dies_with_a_rollback(self, layer):
        with suppress(ZeroDivisionError), transaction.atomic():
            publish("public/a", 1)
            raise ZeroDivisionError
        assert layer.sent == []

    def test_publication_dies_with_its_savepoint(self, layer):
        with transaction.atomic():
            publish("public/a", "outer")
            with suppress(ZeroDivisionError), transaction.atomic():
                publish("public/a", "inner")
                raise ZeroDivisionError
            with transaction.atomic():
                publish("public/a", "kept")
        assert payloads(layer) == ["outer", "kept"]

    def test_publication_does_not_wait_when_told_so(self, layer):
        with suppress(ZeroDivisionError), transaction.atomic():
            publish("public/a", 1, on_commit=False)
            publish_many([("public/a", 2)], on_commit=False)
            publish_to_user(1, 3, on_commit=False)
            assert payloads(layer) == [1, 2, 3]
            raise ZeroDivisionError
        assert payloads(layer) == [1, 2, 3]

    def test_publication_is_of_the_moment_it_was_made(self, layer):
        payload = {"status": "paid"}
        with transaction.atomic():
            publish("public/a", payload)
            payload["status"] = "changed"
        assert payloads(layer) == [{"status": "paid"}]

    def test_mistake_is_raised_in_the_caller_though_the_commit_is_yet_to_come(self, layer):
        with transaction.atomic():
            with pytest.raises(UnknownChannel):
                publish("nope", 1)
            with pytest.raises(BadPayload):
                publish("public/a", object())

    def test_failure_after_the_commit_is_logged_and_counted_and_raises_nothing(self, layer, caplog):
        ran = []
        with transaction.atomic():
            layer.failing = ConnectionError("away")
            publish_many([("public/a", 1), ("public/a", 2)])
            transaction.on_commit(lambda: ran.append(True))
        assert ran == [True]
        assert sending.failed_after_commit == 2
        assert "Publishing to 'public/a' after the commit failed" in [
            record.getMessage() for record in caplog.records
        ]

    def test_unknown_database_is_the_callers_mistake(self, layer):
        from django.utils.connection import ConnectionDoesNotExist

        with pytest.raises(ConnectionDoesNotExist):
            publish("public/a", 1, using="nope")


@pytest.mark.django_db(transaction=True)
class TestOneTimeOut:
    """Of all that a transaction publishes, while the layer does not take it."""

    @pytest.fixture(autouse=True)
    def short(self, settings):
        settings.CHANNELS_REALTIME = {"PUBLISH_TIMEOUT": 0.2}

    def test_transaction_waits_once_for_a_layer_that_hangs(self, layer, monkeypatch, caplog):
        tries = hang(layer, monkeypatch)
        with transaction.atomic():
            for n in range(100):
                publish("public/a", n)
            publish_many([("public/a", n) for n in range(100)])
            began = time.monotonic()
        assert time.monotonic() - began < 2.0
        assert len(tries) == 1
        assert sending.failed_after_commit == 200
        said = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
        assert said == ["Publishing to 'public/a' after the commit failed"]

    def test_transaction_waits_for_a_slow_layer_no_longer_than_one_time_out(
        self, layer, settings, monkeypatch
    ):
        settings.CHANNELS_REALTIME = {"PUBLISH_TIMEOUT": 0.5}
        taken = []

        async def group_send(group, message):
            await asyncio.sleep(0.2)
            taken.append(group)

        monkeypatch.setattr(layer, "group_send", group_send)
        with transaction.atomic():
            for n in range(50):
                publish("public/a", n)
            began = time.monotonic()
        assert time.monotonic() - began < 2.0
        assert 1 <= len(taken) <= 3
        assert sending.failed_after_commit == 50 - len(taken)

    def test_next_transaction_has_a_time_out_of_its_own(self, layer, monkeypatch):
        now = 100.0
        monkeypatch.setattr(sending, "time", SimpleNamespace(monotonic=lambda: now))
        for n in range(3):
            with transaction.atomic():
                publish("public/a", n)
            now += 1.0
        assert payloads(layer) == [0, 1, 2]


class TestTwoDatabases:
    def test_publication_waits_for_the_commit_of_any_database(self, layer, other_database):
        with transaction.atomic(using="other"):
            publish("public/a", 1)
            publish_to_user(7, 2)
            publish_many([("public/a", 3)])
            assert layer.sent == []
        assert payloads(layer) == [1, 2, 3]

    def test_publication_dies_with_the_rollback_of_any_database(self, layer, other_database):
        with suppress(ZeroDivisionError), transaction.atomic(using="other"):
            publish("public/a", 1)
            raise ZeroDivisionError
        with suppress(ZeroDivisionError), transaction.atomic():
            with transaction.atomic(using="other"):
                publish("public/a", 2)
            raise ZeroDivisionError
        assert layer.sent == []

    def test_publication_waits_for_the_named_database_alone(self, layer, other_database):
        with transaction.atomic(using="other"):
            publish("public/a", 1, using="default")
            assert payloads(layer) == [1]
            with transaction.atomic():
                publish("public/a", 2, using="default")
            assert payloads(layer) == [1, 2]
            publish("public/a", 3, using="other")
            publish("public/a", 4, on_commit=False)
            assert payloads(layer) == [1, 2, 4]
        assert payloads(layer) == [1, 2, 4, 3]

    def test_capture_waits_for_the_commit_of_any_database(self, other_database):
        with capture_publications() as published:
            with transaction.atomic(using="other"), transaction.atomic():
                publish("public/a", 1)
                assert list(published) == []
            with suppress(ZeroDivisionError), transaction.atomic(using="other"):
                publish("public/a", 2)
                raise ZeroDivisionError
        assert payloads_of(published) == [1]


def payloads_of(publications) -> list:
    return [publication.payload for publication in publications]


# -- threads and loops -----------------------------------------------------------------------------


def test_publication_from_many_threads_arrives_each_once(layer):
    def work(thread):
        for n in range(20):
            publish("public/a", [thread, n])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    found = payloads(layer)
    assert len(found) == 160
    for thread in range(8):
        assert [p for p in found if p[0] == thread] == [[thread, n] for n in range(20)]


def test_publications_of_a_process_that_serves_no_connections_share_one_thread(layer):
    publish("public/a", 1)
    publish("public/a", 2)
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("realtime-publisher") == 1


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: publish("public/a", 1),
            "publish() would block the event loop it runs on: await apublish() instead",
        ),
        (
            lambda: publish_many([("public/a", 1)]),
            "publish_many() would block the event loop it runs on: await apublish_many() instead",
        ),
        (
            lambda: publish_many([]),
            "publish_many() would block the event loop it runs on: await apublish_many() instead",
        ),
    ],
)
async def test_publishing_on_the_event_loop_is_refused_and_names_the_remedy(layer, call, text):
    with pytest.raises(ImproperUse) as caught:
        call()
    assert caught.value.reason == text
    assert layer.sent == []


async def test_publishing_works_on_an_event_loop_where_django_allows_it(layer, monkeypatch):
    """A notebook, or a test by Playwright's sync API."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    publish("public/a", 1)
    publish_to_user(7, 2)
    publish_many([("public/a", 3)])
    assert payloads(layer) == [1, 2, 3]
    layer.failing = ConnectionError("away")
    with pytest.raises(Unavailable):
        publish("public/a", 4)


@pytest.mark.django_db(transaction=True)
async def test_publishing_waits_for_the_commit_on_such_a_loop_too(layer, monkeypatch):
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    with transaction.atomic():
        publish("public/a", 1)
        assert layer.sent == []
    assert payloads(layer) == [1]
    connection.close()


async def test_publishing_is_refused_on_a_loop_that_serves_though_django_allows_it(
    layer, monkeypatch
):
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    loop = asyncio.get_running_loop()
    loops.add_serving_loop(loop)
    try:
        with pytest.raises(ImproperUse, match="await apublish"):
            publish("public/a", 1)
    finally:
        loops.remove_serving_loop(loop)


async def test_publishing_to_a_user_on_the_event_loop_is_refused(layer):
    with pytest.raises(ImproperUse, match="await apublish"):
        publish_to_user(1, 1)


async def test_async_twins_publish_from_the_loop(layer):
    await apublish("public/a", 1, event="e")
    await apublish_many([("public/a", 2), ("public/a", 3)], event="e")
    await apublish_to_user(7, 4, event="e")
    assert [(p.channel, p.payload, p.event) for p in layer.sent] == [
        ("public/a", 1, "e"),
        ("public/a", 2, "e"),
        ("public/a", 3, "e"),
        ("users/7", 4, "e"),
    ]


async def test_async_twin_refuses_the_same_mistakes(layer):
    with pytest.raises(UnknownChannel):
        await apublish("nope", 1)
    with pytest.raises(BadPayload):
        await apublish_many([("public/a", 1), ("public/a", object())])
    with pytest.raises(BadPayload):
        await apublish_to_user(None, 1)
    assert layer.sent == []


async def test_async_twin_is_unavailable_when_the_layer_fails(layer):
    layer.failing = ConnectionError("away")
    with pytest.raises(Unavailable):
        await apublish("public/a", 1)


async def test_sync_publish_works_in_a_thread_of_the_loop(layer):
    await asyncio.to_thread(publish, "public/a", 1)
    assert payloads(layer) == [1]


# -- publications that reach no connection ---------------------------------------------------------

WARNING = "This publication reaches no client: the in-memory channel layer"


def warnings_of(caplog) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.getMessage().startswith("This publication")]


def test_process_that_serves_no_connections_is_told_once_over_the_in_memory_layer(
    monkeypatch, caplog
):
    monkeypatch.setattr(sending, "_serves", False)
    caplog.set_level(logging.WARNING)
    publish("public/a", 1)
    publish("public/a", 2)
    (message,) = warnings_of(caplog)
    assert message.startswith(WARNING)
    assert "Use channels_redis in CHANNEL_LAYERS" in message


def test_process_that_serves_is_not_told(caplog):
    publish("public/a", 1)
    assert warnings_of(caplog) == []


def test_building_the_application_makes_it_a_process_that_serves(monkeypatch):
    from channels_realtime.asgi import get_realtime_application

    monkeypatch.setattr(sending, "_serves", False)
    get_realtime_application(lambda scope, receive, send: None)
    assert sending._serves is True


# -- the command -----------------------------------------------------------------------------------


def test_command_publishes_json(layer, capsys):
    call_command("realtime_publish", "public/a", '{"a": [1, null]}', "--event", "e")
    assert layer.sent == [Publication("public/a", {"a": [1, None]}, "e")]
    assert capsys.readouterr().out == "Published to public/a.\n"


def test_command_is_quiet_when_told_so(layer, capsys):
    call_command("realtime_publish", "public/a", "1", verbosity=0)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["public/a", "hello"], "The payload is not JSON: "),
        (["nope", "1"], "channel 'nope' matches no registered route"),
        (["a b", "1"], "channel 'a b' is not a name"),
        (["public/a", "NaN"], "payload: nan cannot be encoded"),
    ],
)
def test_command_says_why_not(layer, arguments, message):
    with pytest.raises(CommandError) as caught:
        call_command("realtime_publish", *arguments)
    assert str(caught.value).startswith(message)
    assert layer.sent == []
