"""The tests that every history store must pass, as a mixin for a test class of unittest or pytest."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from asgiref.sync import sync_to_async
from django.db import transaction

from ...errors import Conflict
from ...protocol.messages import Position
from ..scenario import scenario
from .base import Append, Appended, Condition, Entry, History, HistoryStore, Newest, Page, bucket_of

_SHORT_S = 0.05
"""A time that tests let pass; whatever must not be over yet lasts for minutes."""


class HistoryStoreContract:
    """Tests of a ``HistoryStore``: mix it into a test class, and define ``make_store``.

    Each test uses streams of its own, so that the store may be one that others use. A store that is
    ``transactional`` is appended to inside transactions on the database ``using``; its test class is
    one whose tests may commit, such as ``TransactionTestCase``.

    Example::

        class MyHistoryTests(HistoryStoreContract, SimpleTestCase):
            def make_store(self):
                return MyHistory(get_channel_layer(), get_config())
    """

    using: str = "default"
    """The database of a transactional store."""

    def make_store(self) -> HistoryStore:
        """Return a store. If it is ``shared``, all that this returns see the same streams."""
        raise NotImplementedError

    async def pass_time(self, seconds: float) -> None:
        """Let the store's clock go on; by default by waiting."""
        await asyncio.sleep(seconds)

    # -- what the tests are written with -----------------------------------------------------------

    def request(self, stream: str, **fields: Any) -> Append:
        """A publication with a body of its own."""
        uid = uuid.uuid4().hex[:16]
        history = History(size=fields.pop("size", 100), ttl=fields.pop("ttl", 600.0))
        return Append(
            **{"stream": stream, "uid": uid, "body": uid.encode(), "history": history, **fields}
        )

    async def append(self, store: HistoryStore, request: Append) -> Appended:
        """Append, in a transaction where the store wants one; the position is known afterwards."""
        if not store.transactional:
            return await store.append(request)
        appended = await sync_to_async(self._append_in_transaction)(store, request)
        if appended.position is not None or appended.duplicate:
            return appended
        return Appended((await store.read(request.stream, limit=0)).position)

    def _append_in_transaction(self, store: HistoryStore, request: Append) -> Appended:
        with transaction.atomic(using=self.using):
            return store.append_in_transaction(request, self.using)

    async def _fill(self, store: HistoryStore, number: int, **fields: Any) -> str:
        """A stream with publications whose bodies are their numbers."""
        stream = new_stream()
        for offset in range(1, number + 1):
            body = str(offset).encode()
            await self.append(store, self.request(stream, body=body, **fields))
        return stream

    async def _refused(self, store: HistoryStore, request: Append) -> None:
        before = await store.read(request.stream, limit=100)
        try:
            await self.append(store, request)
        except Conflict:
            pass
        else:
            raise AssertionError("this append was kept; expected a Conflict")
        assert await store.read(request.stream, limit=100) == before

    # -- order -------------------------------------------------------------------------------------

    @scenario
    async def test_appends_are_numbered_from_1_in_one_epoch(self, store: HistoryStore) -> None:
        stream = new_stream()
        found = [await self.append(store, self.request(stream)) for _ in range(3)]
        positions = [appended.position for appended in found]
        assert [position.offset for position in positions if position] == [1, 2, 3]
        assert len({position.epoch for position in positions if position}) == 1
        assert not any(appended.duplicate for appended in found)

    @scenario
    async def test_a_new_stream_has_an_epoch_and_keeps_it(self, store: HistoryStore) -> None:
        stream = new_stream()
        page = await store.read(stream, limit=10)
        assert page == Page(Position(page.position.epoch, 0))
        assert page.position.epoch
        appended = await self.append(store, self.request(stream))
        assert appended.position == Position(page.position.epoch, 1)

    @scenario
    async def test_streams_do_not_touch_each_other(self, store: HistoryStore) -> None:
        one, two = await self._fill(store, 3), await self._fill(store, 1)
        pages = [await store.read(stream, limit=10) for stream in (one, two)]
        assert [page.position.offset for page in pages] == [3, 1]
        assert pages[0].position.epoch != pages[1].position.epoch

    @scenario
    async def test_what_was_appended_is_read_as_it_was(self, store: HistoryStore) -> None:
        stream = new_stream()
        bodies = [b"", bytes(range(256)), b"x" * 100_000, "ä – 日本".encode()]
        requests = [self.request(stream, body=body) for body in bodies]
        for request in requests:
            await self.append(store, request)
        page = await store.read(stream, limit=10)
        assert page.entries == tuple(
            Entry(offset, request.uid, request.body) for offset, request in enumerate(requests, 1)
        )

    @scenario
    async def test_appends_at_once_get_numbers_without_a_gap(self, store: HistoryStore) -> None:
        stream = new_stream()
        appended = await asyncio.gather(
            *(self.append(store, self.request(stream)) for _ in range(20))
        )
        assert len(appended) == 20
        page = await store.read(stream, limit=100)
        assert [entry.offset for entry in page.entries] == list(range(1, 21))

    @scenario
    async def test_another_process_sees_what_was_appended(self, store: HistoryStore) -> None:
        if not store.shared:
            return
        other = self.make_store()
        try:
            stream = await self._fill(store, 1)
            await self.append(other, self.request(stream))
            assert await store.read(stream, limit=10) == await other.read(stream, limit=10)
            assert (await store.read(stream, limit=10)).position.offset == 2
        finally:
            await other.close()

    # -- reads -------------------------------------------------------------------------------------

    @scenario
    async def test_reads_begin_after_a_position(self, store: HistoryStore) -> None:
        stream = await self._fill(store, 5)
        top = (await store.read(stream, limit=0)).position
        for offset, expected in ((0, [1, 2]), (3, [4, 5]), (4, [5]), (5, [])):
            page = await store.read(stream, Position(top.epoch, offset), limit=2)
            assert _offsets(page) == expected, offset
            assert page.complete
            assert page.position == top
        assert _offsets(await store.read(stream, limit=2)) == [1, 2]

    @scenario
    async def test_reads_go_back_from_a_position(self, store: HistoryStore) -> None:
        stream = await self._fill(store, 5)
        top = (await store.read(stream, limit=0)).position
        assert _offsets(await store.read(stream, limit=2, reverse=True)) == [5, 4]
        for offset, expected in ((5, [4, 3]), (2, [1]), (1, []), (0, [])):
            page = await store.read(stream, Position(top.epoch, offset), limit=2, reverse=True)
            assert _offsets(page) == expected, offset
            assert page.complete, offset

    @scenario
    async def test_a_limit_of_0_reads_the_position_alone(self, store: HistoryStore) -> None:
        stream = await self._fill(store, 2, size=1)
        top = (await store.read(stream, limit=0)).position
        assert top.offset == 2
        assert await store.read(stream, Position(top.epoch, 1), limit=0) == Page(top)
        assert not (await store.read(stream, Position(top.epoch, 0), limit=0)).complete

    @scenario
    async def test_a_position_of_another_epoch_is_incomplete(self, store: HistoryStore) -> None:
        stream = await self._fill(store, 2)
        for reverse in (False, True):
            page = await store.read(stream, Position("another", 1), limit=10, reverse=reverse)
            assert (page.entries, page.complete) == ((), False)

    @scenario
    async def test_a_position_above_the_newest_is_incomplete(self, store: HistoryStore) -> None:
        stream = await self._fill(store, 2)
        epoch = (await store.read(stream, limit=0)).position.epoch
        page = await store.read(stream, Position(epoch, 3), limit=10)
        assert (page.entries, page.complete) == ((), False)

    # -- size and time -----------------------------------------------------------------------------

    @scenario
    async def test_the_size_is_kept_and_no_more(self, store: HistoryStore) -> None:
        stream = await self._fill(store, 5, size=3)
        page = await store.read(stream, limit=10)
        assert _offsets(page) == [3, 4, 5]
        epoch = page.position.epoch
        assert (await store.read(stream, Position(epoch, 2), limit=10)).complete
        trimmed = await store.read(stream, Position(epoch, 1), limit=10)
        assert _offsets(trimmed) == [3, 4, 5]
        assert not trimmed.complete
        assert (await store.read(stream, Position(epoch, 4), limit=9, reverse=True)).complete
        assert not (await store.read(stream, Position(epoch, 3), limit=9, reverse=True)).complete

    @scenario
    async def test_publications_expire_and_their_numbers_do_not(self, store: HistoryStore) -> None:
        stream = await self._fill(store, 2, ttl=_SHORT_S)
        await self.pass_time(_SHORT_S * 2)
        page = await store.read(stream, limit=10)
        assert (page.position.offset, page.entries) == (2, ())
        assert not (await store.read(stream, Position(page.position.epoch, 1), limit=10)).complete
        assert (await store.read(stream, page.position, limit=10)).complete
        await self.append(store, self.request(stream))
        page = await store.read(stream, page.position, limit=10)
        assert _offsets(page) == [3]
        assert page.complete

    @scenario
    async def test_publications_expire_beside_others(self, store: HistoryStore) -> None:
        stream = await self._fill(store, 2, ttl=_SHORT_S)
        await self.append(store, self.request(stream))
        await self.pass_time(_SHORT_S * 2)
        assert _offsets(await store.read(stream, limit=10)) == [3]
        await self.append(store, self.request(stream))
        assert _offsets(await store.read(stream, limit=10)) == [3, 4]

    # -- keys --------------------------------------------------------------------------------------

    @scenario
    async def test_a_key_is_kept_once(self, store: HistoryStore) -> None:
        stream = new_stream()
        first = await self.append(store, self.request(stream, key="k", digest="d"))
        await self.append(store, self.request(stream))
        again = await self.append(store, self.request(stream, key="k", digest="d"))
        assert again == Appended(first.position, duplicate=True)
        other = await self.append(store, self.request(stream, key="k2", digest="d"))
        assert not other.duplicate
        assert (await store.read(stream, limit=0)).position.offset == 3

    @scenario
    async def test_a_key_for_something_else_is_a_conflict(self, store: HistoryStore) -> None:
        stream = new_stream()
        await self.append(store, self.request(stream, key="k", digest="d"))
        await self._refused(store, self.request(stream, key="k", digest="e"))

    @scenario
    async def test_a_key_is_of_its_stream(self, store: HistoryStore) -> None:
        one, two = new_stream(), new_stream()
        for stream in (one, two):
            appended = await self.append(store, self.request(stream, key="k", digest=stream))
            assert not appended.duplicate

    @scenario
    async def test_a_key_is_forgotten_after_its_window(self, store: HistoryStore) -> None:
        stream = new_stream()
        key = {"key": "k", "key_window": _SHORT_S}
        await self.append(store, self.request(stream, digest="d", **key))
        await self.pass_time(_SHORT_S * 2)
        appended = await self.append(store, self.request(stream, digest="e", **key))
        assert not appended.duplicate

    @scenario
    async def test_of_appends_at_once_with_one_key_one_is_kept(self, store: HistoryStore) -> None:
        stream = new_stream()
        found = await asyncio.gather(
            *(self.append(store, self.request(stream, key="k")) for _ in range(10))
        )
        assert [appended.duplicate for appended in found].count(False) == 1
        assert (await store.read(stream, limit=0)).position.offset == 1

    # -- versions ----------------------------------------------------------------------------------

    @scenario
    async def test_a_version_that_is_not_new_is_dropped(self, store: HistoryStore) -> None:
        stream = new_stream()
        kept = []
        for version in (5, 4, 5, 2**53 - 1, 6):
            appended = await self.append(store, self.request(stream, version=version))
            kept.append(not appended.duplicate)
            if appended.duplicate:
                assert appended.position is None
        assert kept == [True, False, False, True, False]
        assert (await store.read(stream, limit=0)).position.offset == 2

    @scenario
    async def test_versions_are_of_their_state_key(self, store: HistoryStore) -> None:
        stream = new_stream()
        for key in ("a", "b", ""):
            appended = await self.append(store, self.request(stream, version=5, state_key=key))
            assert not appended.duplicate, key
        appended = await self.append(store, self.request(stream, version=5, state_key="a"))
        assert appended.duplicate

    # -- state -------------------------------------------------------------------------------------

    @scenario
    async def test_the_state_is_the_newest_of_each_key(self, store: HistoryStore) -> None:
        stream = new_stream()
        requests = [self.request(stream, state_key=key, size=1) for key in ("a", "ä b", "a", "")]
        requests.append(self.request(stream, size=1))
        for request in requests:
            await self.append(store, request)
        page = await store.state(stream)
        assert page.position == (await store.read(stream, limit=0)).position
        assert page.entries == tuple(
            Entry(offset, requests[offset - 1].uid, requests[offset - 1].body)
            for offset in (2, 3, 4)
        )

    @scenario
    async def test_a_new_stream_has_no_state(self, store: HistoryStore) -> None:
        stream = new_stream()
        page = await store.state(stream)
        assert page == Page(Position(page.position.epoch, 0))
        assert (await store.read(stream, limit=0)).position == page.position

    @scenario
    async def test_a_state_is_removed(self, store: HistoryStore) -> None:
        stream = new_stream()
        for key, removed in (("a", False), ("b", False), ("a", True), ("c", True)):
            await self.append(store, self.request(stream, state_key=key, removed=removed))
        assert _offsets(await store.state(stream)) == [2]
        assert _offsets(await store.read(stream, limit=10)) == [1, 2, 3, 4]

    @scenario
    async def test_a_state_outlives_its_publication(self, store: HistoryStore) -> None:
        stream = await self._fill(store, 1, state_key="a", ttl=_SHORT_S)
        await self.pass_time(_SHORT_S * 2)
        assert _offsets(await store.state(stream)) == [1]
        assert (await store.read(stream, limit=10)).entries == ()

    @scenario
    async def test_a_state_expires(self, store: HistoryStore) -> None:
        stream = new_stream()
        await self.append(store, self.request(stream, state_key="a", state_ttl=_SHORT_S))
        await self.append(store, self.request(stream, state_key="b", state_ttl=600.0))
        await self.append(store, self.request(stream, state_key="c", state_ttl=_SHORT_S))
        await self.append(store, self.request(stream, state_key="c"))
        await self.pass_time(_SHORT_S * 2)
        assert _offsets(await store.state(stream)) == [2, 4]
        new = Condition(new=True)
        await self.append(store, self.request(stream, state_key="a", condition=new))

    @scenario
    async def test_the_version_of_a_removed_state_is_remembered(self, store: HistoryStore) -> None:
        stream = new_stream()
        await self.append(store, self.request(stream, state_key="a", version=1))
        await self.append(store, self.request(stream, state_key="a", version=3, removed=True))
        late = await self.append(store, self.request(stream, state_key="a", version=2))
        assert late.duplicate
        assert (await store.state(stream)).entries == ()
        again = await self.append(store, self.request(stream, state_key="a", version=4))
        assert not again.duplicate

    @scenario
    async def test_the_version_of_an_expired_state_is_remembered(self, store: HistoryStore) -> None:
        stream = new_stream()
        short = self.request(stream, state_key="a", version=3, state_ttl=_SHORT_S)
        await self.append(store, short)
        await self.pass_time(_SHORT_S * 2)
        late = await self.append(store, self.request(stream, state_key="a", version=2))
        assert late.duplicate

    # -- conditions --------------------------------------------------------------------------------

    @scenario
    async def test_a_condition_of_no_state(self, store: HistoryStore) -> None:
        stream = new_stream()
        new = {"state_key": "a", "condition": Condition(new=True)}
        await self.append(store, self.request(stream, **new))
        await self._refused(store, self.request(stream, **new))
        await self.append(store, self.request(stream, state_key="a", removed=True))
        await self.append(store, self.request(stream, **new))

    @scenario
    async def test_a_condition_of_a_version(self, store: HistoryStore) -> None:
        stream = new_stream()
        seen = Condition(version=1)
        try:
            await self.append(store, self.request(stream, state_key="a", condition=seen))
        except Conflict:
            pass
        else:
            raise AssertionError("this append was kept; expected a Conflict")
        assert await store.newest([stream]) == [None]
        await self.append(store, self.request(stream, state_key="a", version=1))
        await self._refused(store, self.request(stream, state_key="b", condition=seen))
        await self.append(store, self.request(stream, state_key="a", version=2, condition=seen))
        later = self.request(stream, state_key="a", version=3, condition=seen)
        await self._refused(store, later)
        old = self.request(stream, state_key="a", version=1, condition=seen)
        await self._refused(store, old)  # the condition comes before the version

    @scenario
    async def test_a_key_that_was_used_comes_before_the_condition(
        self, store: HistoryStore
    ) -> None:
        stream = new_stream()
        new = {"state_key": "a", "key": "k", "condition": Condition(new=True)}
        first = await self.append(store, self.request(stream, **new))
        again = await self.append(store, self.request(stream, **new))
        assert again == Appended(first.position, duplicate=True)

    @scenario
    async def test_a_refused_append_does_not_use_its_key(self, store: HistoryStore) -> None:
        stream = await self._fill(store, 1, state_key="a", version=2)
        new = self.request(stream, state_key="a", key="k", condition=Condition(new=True))
        await self._refused(store, new)
        appended = await self.append(store, self.request(stream, key="k", digest="other"))
        assert not appended.duplicate

    # -- positions and changes ---------------------------------------------------------------------

    @scenario
    async def test_positions_are_in_the_order_asked(self, store: HistoryStore) -> None:
        streams = [await self._fill(store, number) for number in (2, 1)]
        missing = new_stream()
        found = await store.newest([streams[1], missing, streams[0]])
        assert [one and one.position.offset for one in found] == [1, None, 2]
        assert await store.newest([missing]) == [None]
        assert await store.newest([]) == []

    @scenario
    async def test_uids_that_the_store_knows_are_right(self, store: HistoryStore) -> None:
        """A store may leave them empty; nodes then notice less of what it loses."""
        stream = new_stream()
        first, second = self.request(stream), self.request(stream)
        assert (await self.append(store, first)).previous == ""
        assert (await self.append(store, second)).previous in ("", first.uid)
        (newest,) = await store.newest([stream])
        assert newest is not None
        assert newest.position.offset == 2
        assert newest.uid in ("", second.uid)
        changed = (await store.changes({bucket_of(stream): 0})).streams.get(stream)
        assert changed in (None, newest)

    @scenario
    async def test_changes_name_what_was_appended_to(self, store: HistoryStore) -> None:
        stream = await self._fill(store, 1)
        quiet = await self._fill(store, 1)
        seen = {bucket_of(each): 0 for each in (stream, quiet)}
        seen.update((await store.changes(seen)).sequences)
        appended = await self.append(store, self.request(stream))
        changes = await store.changes(seen)
        assert bucket_of(stream) not in changes.unknown
        assert changes.streams[stream].position == appended.position
        assert quiet not in changes.streams
        assert changes.sequences[bucket_of(stream)] > seen[bucket_of(stream)]

    @scenario
    async def test_changes_are_told_once(self, store: HistoryStore) -> None:
        stream = await self._fill(store, 1)
        bucket = bucket_of(stream)
        first = await store.changes({bucket: 0})
        assert stream in first.streams or bucket in first.unknown
        changes = await store.changes({bucket: first.sequences[bucket]})
        assert stream not in changes.streams
        assert changes.unknown == frozenset()

    @scenario
    async def test_a_sequence_that_the_store_never_had_is_unknown(
        self, store: HistoryStore
    ) -> None:
        stream = await self._fill(store, 1)
        bucket = bucket_of(stream)
        assert bucket in (await store.changes({bucket: 2**60})).unknown

    # -- epochs, purging, usage --------------------------------------------------------------------

    @scenario
    async def test_an_epoch_is_renewed_once(self, store: HistoryStore) -> None:
        stream = await self._fill(store, 2, state_key="a", version=None)
        old = (await store.read(stream, limit=0)).position
        seen = {bucket_of(stream): 0}
        seen.update((await store.changes(seen)).sequences)
        renewed = await store.renew_epoch(stream, old.epoch)
        assert renewed.offset == 0
        assert renewed.epoch != old.epoch
        assert await store.renew_epoch(stream, old.epoch) == renewed
        assert await store.read(stream, limit=10) == Page(renewed)
        assert await store.state(stream) == Page(renewed)
        assert (await store.changes(seen)).streams[stream] == Newest(renewed)
        appended = await self.append(store, self.request(stream))
        assert appended.position == Position(renewed.epoch, 1)

    @scenario
    async def test_of_renewals_at_once_one_counts(self, store: HistoryStore) -> None:
        stream = await self._fill(store, 2)
        epoch = (await store.read(stream, limit=0)).position.epoch
        found = await asyncio.gather(*(store.renew_epoch(stream, epoch) for _ in range(5)))
        assert len(set(found)) == 1

    @scenario
    async def test_a_purged_stream_keeps_its_position(self, store: HistoryStore) -> None:
        stream = await self._fill(store, 3, state_key="a")
        first = await self.append(store, self.request(stream, key="k", version=9))
        await store.purge(stream)
        page = await store.read(stream, limit=10)
        assert page == Page(Position(page.position.epoch, 4))
        assert first.position == page.position
        assert (await store.state(stream)).entries == ()
        behind = await store.read(stream, Position(page.position.epoch, 2), limit=10)
        assert not behind.complete
        again = await self.append(store, self.request(stream, key="k"))
        assert again == Appended(first.position, duplicate=True)
        after = await self.append(store, self.request(stream, version=1))
        assert after.position == Position(page.position.epoch, 5)

    @scenario
    async def test_purging_what_is_not_there_makes_nothing(self, store: HistoryStore) -> None:
        stream = new_stream()
        await store.purge(stream)
        assert await store.newest([stream]) == [None]

    @scenario
    async def test_usage_tells_what_is_held(self, store: HistoryStore) -> None:
        stream = await self._fill(store, 3, size=2, state_key="a")
        usage, missing = await store.usage([stream, new_stream()])
        assert missing is None
        assert usage is not None
        assert (usage.position.offset, usage.messages, usage.states) == (3, 2, 1)

    @scenario
    async def test_the_store_gives_a_sign_of_life(self, store: HistoryStore) -> None:
        await store.ping()

    # -- transactions ------------------------------------------------------------------------------

    @scenario
    async def test_a_rollback_leaves_nothing(self, store: HistoryStore) -> None:
        if not store.transactional:
            return
        stream = await self._fill(store, 1)
        before = await store.read(stream, limit=10)

        def roll_back() -> None:
            with transaction.atomic(using=self.using):
                request = self.request(stream, key="k", state_key="a", version=1)
                store.append_in_transaction(request, self.using)
                transaction.set_rollback(True, using=self.using)

        await sync_to_async(roll_back)()
        assert await store.read(stream, limit=10) == before
        assert (await store.state(stream)).entries == ()
        appended = await self.append(store, self.request(stream, key="k", version=1))
        assert not appended.duplicate

    @scenario
    async def test_a_store_that_wakes_nodes_wakes_them_after_the_append(
        self, store: HistoryStore
    ) -> None:
        if not store.wakes_nodes:
            return
        woken: list[str] = []
        end = store.watch(woken.append)
        stream = await self._fill(store, 1)
        assert stream in woken
        end()
        woken.clear()
        await self.append(store, self.request(stream))
        assert woken == []


def new_stream() -> str:
    """A name that no other test uses."""
    return f"contract/{uuid.uuid4().hex}"


def _offsets(page: Page) -> list[int]:
    return [entry.offset for entry in page.entries]
