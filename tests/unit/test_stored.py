"""History, position and purge, from Python."""

from __future__ import annotations

import pytest
from channels.layers import get_channel_layer

from channels_realtime import (
    Position,
    Published,
    ahistory,
    aposition,
    apublish,
    apurge,
    channels,
    history,
    namespace,
    operations,
    position,
    publish,
    purge,
    sending,
)
from channels_realtime.errors import (
    BadChannel,
    BadPayload,
    ImproperUse,
    NotRecoverable,
    Unavailable,
    UnknownChannel,
    Unsupported,
)
from channels_realtime.nodes.stores import stores_of
from channels_realtime.settings import get_config
from channels_realtime.stores.history.base import Usage
from tests.support.kept_channels import fresh, keep_unreadable, registered


@pytest.fixture(autouse=True)
def kinds(monkeypatch):
    monkeypatch.setattr(sending, "_serves", True)
    with registered(channels.registry):
        yield


@pytest.fixture
def filled() -> str:
    """A channel with the publications 1 to 5."""
    name = fresh("numbered")
    for number in range(1, 6):
        publish(name, number)
    return name


def read(name, **options) -> tuple[list, int]:
    page = history(name, **options)
    return [one.payload for one in page], page.position.offset


def test_history_is_oldest_first_with_positions(filled):
    page = history(filled)
    assert [(one.payload, one.position.offset) for one in page] == [(n, n) for n in range(1, 6)]
    assert len(page) == 5
    assert page.position == position(filled)
    assert {one.channel for one in page} == {filled}


def test_since_is_exclusive_and_takes_every_form_of_a_position(filled):
    epoch = position(filled).epoch
    for since in (
        Position(epoch, 3),
        Published(position=Position(epoch, 3)),
        {"epoch": epoch, "offset": 3},
    ):
        assert read(filled, since=since) == ([4, 5], 5)


def test_limit_leaves_a_position_to_go_on_from(filled):
    assert read(filled, limit=2) == ([1, 2], 2)
    assert read(filled, limit=2, since=history(filled, limit=2).position) == ([3, 4], 4)
    assert read(filled, limit=0) == ([], 5)


def test_reverse_is_newest_first_and_since_is_where_to_go_back_from(filled):
    epoch = position(filled).epoch
    assert read(filled, reverse=True, limit=2) == ([5, 4], 5)
    assert read(filled, reverse=True, limit=2, since=Position(epoch, 4)) == ([3, 2], 5)


def test_history_of_a_channel_that_nothing_was_published_to_is_empty():
    name = fresh("numbered")
    assert read(name) == ([], 0)
    assert position(name) == history(name).position


def test_position_outlives_a_purge_and_numbers_go_on(filled):
    before = position(filled)
    purge(filled)
    assert read(filled) == ([], 5)
    assert position(filled) == before
    assert publish(filled, 6).offset == 6
    with pytest.raises(NotRecoverable):
        history(filled, since=Position(before.epoch, 4))


@pytest.mark.parametrize("offset", [6, 2**53])
def test_since_above_the_newest_is_not_recoverable(filled, offset):
    with pytest.raises(NotRecoverable, match="no longer keeps what follows this position"):
        history(filled, since=Position(position(filled).epoch, offset))


def test_since_of_another_epoch_is_not_recoverable(filled):
    with pytest.raises(NotRecoverable):
        history(filled, since=Position("another", 1))


@pytest.mark.parametrize(
    "since",
    [
        7,
        "e:1",
        {},
        {"epoch": "e"},
        {"offset": 1},
        {"epoch": 1, "offset": 1},
        {"epoch": "e", "offset": -1},
        {"epoch": "e", "offset": "1"},
        {"epoch": "e", "offset": True},
        {"epoch": "e", "offset": 2**53 + 1},
        {"epoch": "\ud800", "offset": 1},
        {"epoch": "e" * 65, "offset": 1},
        Position("e", -1),
        Position(1, 1),
        Position(None, 1),
        Published(),
    ],
    ids=repr,
)
def test_malformed_since_is_refused(filled, since):
    with pytest.raises(BadPayload, match=r"^since is .*; expected a Position, or \{'epoch'"):
        history(filled, since=since)


@pytest.mark.parametrize("limit", [-1, 1001, 1.0, "5", None, True])
def test_limit_out_of_bounds_is_refused(filled, limit):
    with pytest.raises(BadPayload, match=r"^limit is .*; expected 0 to 1000 publications"):
        history(filled, limit=limit)


@pytest.mark.parametrize("call", [history, position, purge])
def test_channel_without_a_history_is_unsupported_and_names_the_remedy(call):
    with pytest.raises(Unsupported, match=r"keeps no history; expected history = .* on Open$"):
        call(fresh("open"))
    with pytest.raises(UnknownChannel, match="matches no registered route"):
        call("nope/1")
    with pytest.raises(BadChannel):
        call("a b")


@pytest.mark.parametrize(
    ("call", "twin"), [(history, "ahistory"), (position, "aposition"), (purge, "apurge")]
)
async def test_sync_call_on_the_event_loop_is_refused_and_names_the_remedy(call, twin):
    with pytest.raises(ImproperUse, match=rf"await {twin}\(\) instead$"):
        call(fresh("numbered"))


async def test_async_twins_do_the_same():
    name = fresh("numbered")
    await apublish(name, 1)
    assert [one.payload for one in await ahistory(name)] == [1]
    assert (await aposition(name)).offset == 1
    await apurge(name)
    assert len(await ahistory(name)) == 0


def test_namespaces_have_histories_of_their_own(filled):
    with namespace("tenant"):
        assert read(filled) == ([], 0)
        publish(filled, "theirs")
        assert read(filled) == (["theirs"], 1)
        purge(filled)
    assert read(filled)[1] == 5


def test_store_that_is_away_is_unavailable(filled, monkeypatch):
    async def fails(*args, **options):
        raise Unavailable("the store is away")

    monkeypatch.setattr(stores_of(get_channel_layer(), get_config()).history, "read", fails)
    with pytest.raises(Unavailable):
        position(filled)


async def test_what_cannot_be_read_is_left_out(filled):
    before = await aposition(filled)
    await keep_unreadable(stores_of(get_channel_layer(), get_config()).history, filled)
    page = await ahistory(filled, since=before, limit=1)
    assert (list(page), page.position.offset) == ([], 6)  # to go on from
    await apublish(filled, 7)
    assert [one.payload for one in await ahistory(filled, since=before)] == [7]


# -- for operators ---------------------------------------------------------------------------------


def test_operators_see_what_channels_keep(filled):
    empty = fresh("numbered")
    found = operations.stored([filled, empty, "no/such/channel"])
    assert found == {
        filled: operations.StoredReport(keeps=True, usage=Usage(position(filled), 5, 0)),
        empty: operations.StoredReport(keeps=True),
    }


def test_operators_purge_a_channel_of_a_namespace():
    name = fresh("numbered")
    with namespace("acme"):
        publish(name, 1)
    publish(name, 1)
    operations.purge(f"acme|{name}")
    found = operations.stored([f"acme|{name}", name])
    assert [found[key].usage.messages for key in (f"acme|{name}", name)] == [0, 1]
