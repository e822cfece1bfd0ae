"""A publication is kept first and sent then; what happens where the store or the layer is away."""

import asyncio
import logging

import msgspec
import pytest

from channels_realtime.config import Config
from channels_realtime.errors import Conflict, Unavailable
from channels_realtime.nodes.breaker import is_failing
from channels_realtime.nodes.outgoing import Outcome, Outgoing, send
from channels_realtime.nodes.store_requests import ask
from channels_realtime.protocol.messages import Position, Publication
from channels_realtime.stores.history.base import Appended, Entry, History, HistoryStore, Page
from tests.support.virtual_time import in_virtual_time

OUTGOING = Outgoing(publication=Publication("room", {"n": 1}), history=History())


class ScriptedStore(HistoryStore):
    """Numbers what it is given; fails or hangs as told, before or after it has done what was asked."""

    def __init__(self) -> None:
        self.requests = []
        self.kept = {}
        self.entries = []
        self.before = []
        self.after = []
        self.hanging = False

    async def append(self, request):
        self.requests.append(request)
        if self.hanging:
            await asyncio.Event().wait()
        if self.before:
            raise self.before.pop(0)
        offset = self.kept.get(request.key) if request.key else None
        duplicate = offset is not None
        if offset is None:
            offset = len(self.entries) + 1
            self.entries.append(Entry(offset, request.uid, request.body))
            if request.key:
                self.kept[request.key] = offset
        if self.after:
            raise self.after.pop(0)
        return Appended(Position("e", offset), duplicate)

    async def read(self, stream, since=None, *, limit, reverse=False):
        top = Position("e", len(self.entries))
        return Page(top, tuple(self.entries[since.offset : since.offset + limit]))


class Sent(list):
    """What went over the layer."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    async def __call__(self, publication, timeout):
        if self.errors:
            raise self.errors.pop(0)
        self.append((publication.position, publication.payload))


async def send_to(store, sent, outgoing=OUTGOING, *, timeout=5.0, **config):
    return await send(outgoing, store=store, config=Config(**config), forward=sent, timeout=timeout)


@in_virtual_time
async def test_publication_is_sent_with_its_position_and_its_uid():
    store, sent = ScriptedStore(), Sent()
    assert await send_to(store, sent) == Outcome(position=Position("e", 1))
    assert await send_to(store, sent) == Outcome(position=Position("e", 2))
    assert sent == [(Position("e", 1), {"n": 1}), (Position("e", 2), {"n": 1})]
    assert len({entry.uid for entry in store.entries}) == 2


@in_virtual_time
async def test_publication_without_history_asks_no_store():
    sent = Sent()
    outgoing = msgspec.structs.replace(OUTGOING, history=None)
    assert await send_to(ScriptedStore(), sent, outgoing) == Outcome()
    assert sent == [(None, {"n": 1})]


@in_virtual_time
async def test_duplicate_key_sends_nothing():
    store, sent = ScriptedStore(), Sent()
    outgoing = msgspec.structs.replace(OUTGOING, key="k")
    await send_to(store, sent, outgoing)
    again = await send_to(store, sent, outgoing)
    assert again == Outcome(position=Position("e", 1), duplicate=True)
    assert len(sent) == 1


@in_virtual_time
async def test_publication_that_is_kept_succeeds_though_the_layer_is_away(caplog):
    caplog.set_level(logging.WARNING)
    outcome = await send_to(ScriptedStore(), Sent(Unavailable("no layer")))
    assert outcome == Outcome(position=Position("e", 1))
    assert [r.getMessage() for r in caplog.records] == ["A publication is delivered late: no layer"]


@in_virtual_time
async def test_store_that_is_away_refuses_by_default():
    store, sent = ScriptedStore(), Sent()
    store.before = [OSError("refused")]
    with pytest.raises(Unavailable, match=r"^the history store did not answer: OSError$"):
        await send_to(store, sent)
    assert sent == []


@in_virtual_time
async def test_store_that_hangs_is_waited_for_once_and_refuses_then_at_once():
    store, sent = ScriptedStore(), Sent()
    store.hanging = True
    loop = asyncio.get_running_loop()
    began = loop.time()
    for expected in (2.0, 2.0):
        with pytest.raises(Unavailable, match="the history store"):
            await send_to(store, sent, store_timeout=2.0)
        assert loop.time() - began == pytest.approx(expected)
    assert len(store.requests) == 1


@in_virtual_time
async def test_live_sends_without_a_position_where_the_store_is_away():
    store, sent = ScriptedStore(), Sent()
    store.before = [OSError("refused")]
    assert await send_to(store, sent, store_failures="live") == Outcome()
    assert sent == [(None, {"n": 1})]


@in_virtual_time
async def test_retry_waits_for_the_store_within_the_time_out():
    store, sent = ScriptedStore(), Sent()
    store.before = [OSError("refused")] * 3
    assert await send_to(store, sent, store_failures="retry") == Outcome(position=Position("e", 1))
    assert sent == [(Position("e", 1), {"n": 1})]
    store.before = [OSError("refused")] * 100
    began = asyncio.get_running_loop().time()
    with pytest.raises(Unavailable):
        await send_to(store, sent, store_failures="retry", timeout=5.0)
    assert 4.0 < asyncio.get_running_loop().time() - began <= 5.0


@pytest.mark.parametrize("key", [None, "mine"])
@in_virtual_time
async def test_retry_publishes_once_where_only_the_answer_was_lost(key):
    store, sent = ScriptedStore(), Sent()
    store.after = [OSError("reset")]
    outgoing = msgspec.structs.replace(OUTGOING, key=key)
    outcome = await send_to(store, sent, outgoing, store_failures="retry")
    assert outcome == Outcome(position=Position("e", 1))
    assert sent == [(Position("e", 1), {"n": 1})]
    assert len(store.entries) == 1


@in_virtual_time
async def test_retry_of_a_key_that_was_used_before_is_a_duplicate():
    store, sent = ScriptedStore(), Sent()
    outgoing = msgspec.structs.replace(OUTGOING, key="k")
    await send_to(store, sent, outgoing)
    store.before = [OSError("refused")]
    outcome = await send_to(store, sent, outgoing, store_failures="retry")
    assert outcome == Outcome(position=Position("e", 1), duplicate=True)
    assert len(sent) == 1


@in_virtual_time
async def test_state_of_a_store_is_kept_and_logged_once(caplog):
    caplog.set_level(logging.INFO)
    store, sent = ScriptedStore(), Sent()
    store.before = [OSError("refused"), OSError("refused"), Conflict("another payload")]
    for _ in range(2):
        with pytest.raises(Unavailable):
            await send_to(store, sent)
    assert is_failing(store)
    with pytest.raises(Conflict):
        await send_to(store, sent)  # an answer
    assert not is_failing(store)
    await ask(store, store.read("room", Position("e", 0), limit=1), 1.0)
    assert [record.getMessage() for record in caplog.records] == [
        "The history store cannot be used: OSError: refused",
        "The history store can be used again",
    ]
