"""Keys, versions, state and conditions of what a site's own code publishes."""

from __future__ import annotations

import logging

import pytest
from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.core.management import CommandError, call_command
from django.db import transaction

from channels_realtime import (
    Position,
    Published,
    apublish,
    apublish_many,
    channels,
    history,
    publish,
    publish_many,
    publish_to_user,
    sending,
)
from channels_realtime.errors import BadPayload, Conflict, Unsupported
from channels_realtime.nodes.envelope import unwrap
from channels_realtime.nodes.stores import stores_of
from channels_realtime.protocol.messages import Publication
from channels_realtime.settings import get_config
from channels_realtime.stores.history.base import Appended, HistoryStore
from channels_realtime.stores.history.memory import MemoryHistory
from channels_realtime.testing import capture_publications
from tests.support.kept_channels import fresh, registered


class RecordingLayer(InMemoryChannelLayer):
    """Notes what is sent to groups."""

    sent: list[Publication] = []

    async def group_send(self, group, message):
        self.sent.append(unwrap(message))


@pytest.fixture(autouse=True)
def layer(settings, monkeypatch):
    monkeypatch.setattr(sending, "_serves", True)
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"{__name__}.RecordingLayer"}}
    layer = get_channel_layer()
    layer.sent = []
    with registered(channels.registry):
        yield layer
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}


def payloads(layer) -> list:
    return [publication.payload for publication in layer.sent]


# -- keys ------------------------------------------------------------------------------------------


def test_publication_has_a_position_where_its_channel_has_a_history():
    name = fresh("numbered")
    first, second = publish(name, 1), publish(name, 2)
    assert (first.offset, second.offset) == (1, 2)
    assert first.epoch == second.epoch == second.position.epoch
    assert first == Published(position=Position(first.epoch, 1))
    assert publish(fresh("open"), 1) == Published()


def test_same_key_is_sent_once_and_tells_the_first_position(layer):
    name = fresh("numbered")
    first = publish(name, {"n": 1, "m": 2}, key="a")
    publish(name, "between")
    assert publish(name, {"m": 2, "n": 1}, key="a") == Published(
        position=first.position, duplicate=True
    )
    assert payloads(layer) == [{"n": 1, "m": 2}, "between"]


def test_same_key_on_another_channel_is_another_key(layer):
    publish(fresh("numbered"), 1, key="a")
    assert publish(fresh("numbered"), 1, key="a").duplicate is False
    assert payloads(layer) == [1, 1]


@pytest.mark.parametrize(
    "other",
    [{"payload": 2}, {"event": "e"}, {"version": 2}, {"state_key": "k"}],
    ids=lambda other: next(iter(other)),
)
def test_same_key_for_something_else_is_a_conflict(layer, other):
    name = fresh("keyed")
    publish(name, 1, key="a")
    with pytest.raises(Conflict):
        publish(name, **{"payload": 1, **other}, key="a")
    assert payloads(layer) == [1]


async def test_key_works_from_async_code_and_is_in_the_same_scope(layer):
    name = fresh("numbered")
    assert (await apublish(name, 1, key="a")).duplicate is False
    assert (await apublish(name, 1, key="a")).duplicate is True


# -- versions --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "duplicate"), [(4, True), (5, True), (6, False)])
def test_version_that_is_not_newer_is_dropped(layer, version, duplicate):
    name = fresh("last")
    publish(name, "five", version=5)
    published = publish(name, "next", version=version)
    assert (published.duplicate, published.position is None) == (duplicate, duplicate)
    assert len(layer.sent) == (1 if duplicate else 2)


def test_version_is_that_of_a_state_key(layer):
    name = fresh("keyed")
    publish(name, 1, state_key="a", version=5)
    assert publish(name, 2, state_key="b", version=1).duplicate is False
    assert [p.version for p in layer.sent] == [5, 1]


# -- state -----------------------------------------------------------------------------------------


async def state_of(layer, name: str) -> list:
    page = await stores_of(layer, get_config()).history.state(name)
    return [entry.offset for entry in page.entries]


async def test_last_publication_of_a_last_value_channel_is_its_state(layer):
    name = fresh("last")
    await apublish(name, 1)
    await apublish(name, 2)
    await apublish(name, "typing", event="typing", transient=True)
    assert await state_of(layer, name) == [2]
    assert [p.state_key for p in layer.sent] == [None, None, None]


async def test_keyed_channel_keeps_the_newest_of_each_key_until_it_is_removed(layer):
    name = fresh("keyed")
    await apublish(name, 1, state_key="a")
    await apublish(name, 2, state_key="b")
    await apublish(name, 3, state_key="a")
    await apublish(name, "no state")
    assert await state_of(layer, name) == [2, 3]
    await apublish(name, None, state_key="a", removed=True)
    assert await state_of(layer, name) == [2]
    assert layer.sent[-1].removed is True


def test_only_if_takes_a_new_key_or_the_version_that_was_seen(layer):
    name = fresh("keyed")
    publish(name, 1, state_key="a", version=1, only_if={"new": True})
    with pytest.raises(Conflict):
        publish(name, 2, state_key="a", version=2, only_if={"new": True})
    publish(name, 3, state_key="a", version=2, only_if={"version": 1})
    with pytest.raises(Conflict):
        publish(name, 4, state_key="a", version=3, only_if={"version": 1})
    assert payloads(layer) == [1, 3]


# -- transient -------------------------------------------------------------------------------------


def test_transient_publication_of_the_server_is_sent_and_not_kept(layer):
    name = fresh("numbered")
    assert publish(name, "…", event="typing", transient=True) == Published()
    assert layer.sent == [Publication(name, "…", "typing")]
    assert len(history(name)) == 0


# -- what is refused -------------------------------------------------------------------------------

LONG = "x" * 101


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"key": ""}, "key '' is not a key; expected text of 1 to 100 characters"),
        ({"key": LONG}, "is not a key; expected text of 1 to 100 characters"),
        ({"key": 7}, "key 7 is not a key; expected text of 1 to 100 characters"),
        ({"key": b"a"}, "is not a key; expected text"),
        ({"key": "\ud800"}, "is not a key; expected text"),
        ({"state_key": ""}, "state_key '' is not a key; expected text of 1 to 100 characters"),
        ({"state_key": LONG}, "is not a key; expected text"),
        ({"state_key": 7}, "state_key 7 is not a key"),
        ({"version": "1"}, r"version is '1'; expected an integer within 2\*\*53"),
        ({"version": 1.0}, r"version is 1\.0; expected an integer"),
        ({"version": True}, "version is True; expected an integer"),
        ({"version": 2**53 + 1}, "expected an integer within"),
        ({"version": -(2**60)}, "expected an integer within"),
        ({"state_key": "a", "removed": "yes"}, "removed is 'yes'; expected True or False"),
        ({"state_key": "a", "removed": None}, "removed is None; expected True or False"),
        ({"transient": 1}, "transient is 1; expected True or False"),
        ({"removed": True}, "'removed' is about the state of a key; expected a 'state_key' too"),
        (
            {"only_if": {"new": True}},
            "'only_if' is about the state of a key; expected a 'state_key'",
        ),
        ({"state_key": "a", "only_if": {}}, "expected {'new': True} or {'version': <integer>}"),
        ({"state_key": "a", "only_if": {"new": False}}, "expected {'new': True} or"),
        ({"state_key": "a", "only_if": {"new": 1}}, "expected {'new': True} or"),
        ({"state_key": "a", "only_if": {"new": True, "version": 1}}, "expected {'new': True} or"),
        ({"state_key": "a", "only_if": {"version": None}}, "expected {'new': True} or"),
        ({"state_key": "a", "only_if": {"version": "1"}}, r"only_if\['version'\] is '1'; expected"),
        ({"state_key": "a", "only_if": "new"}, "only_if is 'new'; expected {'new': True} or"),
        ({"state_key": "a", "only_if": ["new"]}, "expected {'new': True} or"),
        (
            {"transient": True, "key": "a"},
            "'key' with 'transient': a transient message is not kept",
        ),
        ({"transient": True, "version": 1}, "'version' with 'transient'"),
        ({"transient": True, "state_key": "a"}, "'state_key' with 'transient'"),
    ],
    ids=str,
)
def test_malformed_option_is_refused_in_the_caller(layer, options, text):
    with pytest.raises(BadPayload, match=text):
        publish(fresh("keyed"), 1, **options)
    assert layer.sent == []


@pytest.mark.parametrize(
    ("kind", "options", "text"),
    [
        ("open", {"key": "a"}, r"keeps no history, so .*; expected no key, or history = History"),
        (
            "open",
            {"version": 1},
            "has no versions; expected no 'version', or versions = True on Open",
        ),
        (
            "numbered",
            {"version": 1},
            "has no versions; expected no 'version', or versions = True on Kept",
        ),
        ("open", {"state_key": "a"}, "is not keyed; expected no 'state_key', or state = \"keyed\""),
        ("last", {"state_key": "a"}, "is not keyed; expected no 'state_key', or state = \"keyed\""),
        (
            "unversioned",
            {"state_key": "a", "only_if": {"version": 1}},
            "has no versions; expected 'only_if' with 'new', or versions = True on Unversioned",
        ),
    ],
)
def test_option_that_the_channel_class_does_not_have_names_the_remedy(layer, kind, options, text):
    with pytest.raises(Unsupported, match=text):
        publish(fresh(kind), 1, **options)
    with pytest.raises(Unsupported, match="keeps no history"):
        publish_to_user(7, 1, key="a")
    assert layer.sent == []


# -- many, transactions ----------------------------------------------------------------------------


async def test_many_return_what_became_of_each():
    name, other = fresh("numbered"), fresh("open")
    many = await apublish_many([(name, 1), (other, 2), (name, 3)])
    assert [one.offset for one in many] == [1, None, 2]
    assert await apublish_many([]) == []


@pytest.mark.django_db(transaction=True)
def test_nothing_is_known_before_the_commit(layer):
    with transaction.atomic():
        assert publish(fresh("numbered"), 1) is None
        assert publish_many([(fresh("numbered"), 1)]) is None
        assert publish(fresh("numbered"), 1, on_commit=False).offset == 1
    assert len(layer.sent) == 3


@pytest.mark.django_db(transaction=True)
def test_conflict_after_the_commit_is_logged(layer, caplog):
    name = fresh("numbered")
    publish(name, 1, key="a")
    with transaction.atomic():
        assert publish(name, 2, key="a") is None
        publish(name, 3)
    assert payloads(layer) == [1, 3]
    [record] = [record for record in caplog.records if record.exc_info]
    assert record.getMessage() == f"Publishing to {name!r} after the commit failed"
    assert record.levelno == logging.WARNING
    assert isinstance(record.exc_info[1], Conflict)


class TransactionalStore(MemoryHistory):
    """As one in the site's own database: what is appended in a transaction ends with it."""

    transactional = True
    knows_positions = True

    def append_in_transaction(self, request, using):
        self.used = using
        appended = self._append(request)
        return appended if self.knows_positions else Appended(None, appended.duplicate)


@pytest.fixture
def transactional(layer, settings) -> HistoryStore:
    settings.CHANNELS_REALTIME = {"HISTORY_STORE": f"{__name__}.TransactionalStore"}
    store = stores_of(layer, get_config()).history
    assert isinstance(store, TransactionalStore)
    return store


@pytest.mark.django_db(transaction=True)
def test_transactional_store_keeps_at_once_and_nodes_are_told_after_the_commit(
    layer, transactional
):
    name, other = fresh("numbered"), fresh("open")
    with transaction.atomic():
        published = publish(name, 1)
        assert published.offset == 1
        assert publish(other, "not kept") is None
        assert transactional.used == "default"
        assert layer.sent == []
    assert [(p.payload, p.position) for p in layer.sent] == [
        (1, published.position),
        ("not kept", None),
    ]
    assert len(history(name)) == 1


@pytest.mark.django_db(transaction=True)
def test_transactional_store_raises_a_conflict_in_the_caller(layer, transactional):
    name = fresh("numbered")
    with transaction.atomic():
        first = publish(name, 1, key="a")
        assert publish(name, 1, key="a") == Published(position=first.position, duplicate=True)
        with pytest.raises(Conflict):
            publish(name, 2, key="a")
    assert payloads(layer) == [1]


@pytest.mark.django_db(transaction=True)
def test_position_that_is_known_at_the_commit_is_read_then(layer, transactional):
    transactional.knows_positions = False
    name = fresh("numbered")
    with transaction.atomic():
        assert publish(name, 1) == Published()
    assert [(p.payload, p.position.offset) for p in layer.sent] == [(1, 1)]


@pytest.mark.django_db(transaction=True)
def test_store_that_wakes_the_nodes_itself_leaves_nothing_to_send(layer, transactional):
    transactional.wakes_nodes = True
    name = fresh("numbered")
    with transaction.atomic():
        publish(name, 1)
    assert layer.sent == []
    assert len(history(name)) == 1


@pytest.mark.django_db(transaction=True)
def test_transaction_that_is_rolled_back_tells_no_node(layer, transactional):
    with transaction.atomic():
        publish(fresh("numbered"), 1)
        transaction.set_rollback(True)
    assert layer.sent == []


# -- in tests --------------------------------------------------------------------------------------


def test_capture_shows_every_option():
    name = fresh("keyed")
    with capture_publications() as published:
        assert (
            publish(
                name,
                {"n": 1},
                key="k",
                version=3,
                state_key="a",
                only_if={"version": 2},
                exclude="0123456789abcdef",
            )
            == Published()
        )
        publish(name, None, state_key="a", removed=True)
        publish(name, "…", transient=True)
    first, second, third = published
    assert (first.idempotency_key, first.version, first.state_key) == ("k", 3, "a")
    assert (first.only_if, first.exclude, first.transient) == (
        {"version": 2},
        "0123456789abcdef",
        False,
    )
    assert (second.removed, second.idempotency_key) == (True, None)
    assert third.transient is True


# -- the command -----------------------------------------------------------------------------------


def test_command_takes_the_options_and_says_what_became_of_it(layer, capsys):
    name = fresh("keyed")
    arguments = (name, "1", "--key", "k", "--payload-version", "3", "--state-key", "a")
    call_command("realtime_publish", *arguments, "--exclude", "0123456789abcdef")
    call_command("realtime_publish", *arguments)
    call_command("realtime_publish", name, "null", "--state-key", "a", "--removed")
    assert capsys.readouterr().out.splitlines() == [
        f"Published to {name}, offset 1.",
        f"Not published to {name}, offset 1: its key was used, or its version is not new.",
        f"Published to {name}, offset 2.",
    ]
    first, second = layer.sent
    assert (first.version, first.state_key, first.exclude) == (3, "a", "0123456789abcdef")
    assert second.removed is True


def test_command_says_why_an_option_is_refused():
    with pytest.raises(CommandError, match="is not keyed; expected no 'state_key'"):
        call_command("realtime_publish", fresh("open"), "1", "--state-key", "a")
