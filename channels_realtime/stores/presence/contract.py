"""The tests that every presence store passes; see ``PresenceStoreContract``."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ...protocol.messages import Member
from .base import BATCH, Change, Departure, Entry, Hold, PresenceStore, Tally, partition_of

LEASE_S = 20.0
GRACE_S = 5.0


class PresenceStoreContract:
    """A mixin for a test class, run by pytest with asyncio: subclass it beside each store.

    The tests use streams and nodes with names of their own, so that they may share a server.
    """

    _names = itertools.count()

    async def make_store(self) -> PresenceStore:
        """A store; those that are made in one test are of one and the same place."""
        raise NotImplementedError

    async def advance(self, seconds: float) -> None:
        """Let the store's time pass; by default it is waited for."""
        await asyncio.sleep(seconds)

    @asynccontextmanager
    async def store(self) -> AsyncIterator[PresenceStore]:
        store = await self.make_store()
        try:
            yield store
        finally:
            await store.close()

    def _name(self, kind: str) -> str:
        return f"contract/{kind}/{id(self)}.{next(self._names)}"

    @staticmethod
    def _entry(stream: str, connection: str, member: str = "", info: object = None) -> Entry:
        return Entry(stream, connection, Member(member or connection, None, info))

    @staticmethod
    def _departure(entry: Entry, grace: float = 0.0) -> Departure:
        return Departure(entry.hold, grace)

    @staticmethod
    async def _swept(store: PresenceStore, stream: str) -> list[Change]:
        """What a sweep changes in one stream."""
        changes: list[Change] = []
        while True:
            sweep = await store.sweep([partition_of(stream)])
            changes += [change for change in sweep.changes if change.stream == stream]
            if not sweep.more:
                return changes

    @staticmethod
    async def _ids(store: PresenceStore, stream: str, limit: int = 100) -> list[str]:
        return [member.id for member in (await store.members(stream, limit)).members]

    # -- entering and leaving ----------------------------------------------------------------------

    async def test_entering_is_a_join_with_what_was_entered(self) -> None:
        async with self.store() as store:
            stream, node = self._name("room"), self._name("node")
            member = Member("user:7", "7", {"name": "Zoë", "tags": [1, None]})
            (change,) = await store.enter(node, [Entry(stream, "c1", member)], LEASE_S)
            assert (change.stream, change.kind, change.member) == (stream, "join", member)
            assert change.count == 1
            assert change.occupied
            assert not change.vacated
            roll = await store.members(stream, 100)
            assert (roll.count, roll.members, roll.overdue) == (1, (member,), False)
            assert roll.sequence == change.sequence

    async def test_entering_again_changes_nothing(self) -> None:
        async with self.store() as store:
            stream, node = self._name("room"), self._name("node")
            entry = self._entry(stream, "c1", info={"n": 1})
            await store.enter(node, [entry], LEASE_S)
            again = self._entry(stream, "c1", info={"n": 2})
            assert await store.enter(node, [again], LEASE_S) == []
            assert (await store.members(stream, 9)).members == (entry.member,)
            (change,) = await store.leave(node, [self._departure(entry)])
            assert change.vacated

    async def test_a_member_stays_while_one_of_its_connections_does(self) -> None:
        async with self.store() as store:
            stream, one, two = self._name("room"), self._name("node"), self._name("node")
            first, second = (self._entry(stream, name, "user:1") for name in ("c1", "c2"))
            assert len(await store.enter(one, [first], LEASE_S)) == 1
            assert await store.enter(two, [second], LEASE_S) == []
            assert await store.leave(one, [self._departure(first)]) == []
            assert await self._ids(store, stream) == ["user:1"]
            (change,) = await store.leave(two, [self._departure(second)])
            assert (change.kind, change.member.id, change.count) == ("leave", "user:1", 0)
            assert change.vacated

    async def test_leaving_twice_changes_nothing(self) -> None:
        async with self.store() as store:
            stream, node = self._name("room"), self._name("node")
            first, second = (self._entry(stream, name, "user:1") for name in ("c1", "c2"))
            await store.enter(node, [first, second], LEASE_S)
            gone = self._departure(first)
            assert await store.leave(node, [gone, gone]) == []
            assert await store.leave(self._name("node"), [self._departure(second)]) == []
            assert await self._ids(store, stream) == ["user:1"]

    async def test_only_the_first_occupies_and_only_the_last_vacates(self) -> None:
        async with self.store() as store:
            stream, node = self._name("room"), self._name("node")
            entries = [self._entry(stream, f"c{n}") for n in range(3)]
            joins = await store.enter(node, entries, LEASE_S)
            assert [change.occupied for change in joins] == [True, False, False]
            leaves = await store.leave(node, [self._departure(entry) for entry in entries])
            assert [change.vacated for change in leaves] == [False, False, True]

    async def test_changes_are_numbered_without_a_gap(self) -> None:
        async with self.store() as store:
            stream, node = self._name("room"), self._name("node")
            entries = [self._entry(stream, f"c{n}") for n in range(3)]
            changes = await store.enter(node, entries, LEASE_S)
            changes += await store.leave(node, [self._departure(entries[0])])
            numbers = [change.sequence for change in changes]
            assert numbers == list(range(numbers[0], numbers[0] + 4))
            assert [tally.sequence for tally in await store.tallies([stream])] == [numbers[-1]]

    async def test_numbers_go_up_when_a_channel_was_empty(self) -> None:
        async with self.store() as store:
            stream, node = self._name("room"), self._name("node")
            entry = self._entry(stream, "c1")
            await store.enter(node, [entry], LEASE_S)
            (left,) = await store.leave(node, [self._departure(entry)])
            assert await store.tallies([stream]) == [Tally(0, 0)]
            await self.advance(0.001)
            (joined,) = await store.enter(node, [entry], LEASE_S)
            assert joined.sequence > left.sequence + 1
            assert joined.occupied

    async def test_streams_are_apart(self) -> None:
        async with self.store() as store:
            streams = [self._name("room") for _ in range(20)]
            node = self._name("node")
            changes = await store.enter(node, [self._entry(s, "c1") for s in streams], LEASE_S)
            assert {change.stream for change in changes} == set(streams)
            assert all(change.occupied for change in changes)
            nothing = self._name("room")
            tallies = await store.tallies([*streams, nothing])
            assert [tally.count for tally in tallies] == [1] * 20 + [0]

    async def test_many_enter_and_leave_in_one_call(self) -> None:
        async with self.store() as store:
            stream, node = self._name("room"), self._name("node")
            entries = [self._entry(stream, f"c{n}") for n in range(BATCH + 5)]
            assert len(await store.enter(node, entries, LEASE_S)) == BATCH + 5
            assert (await store.members(stream, 0)).count == BATCH + 5
            left = await store.leave(node, [self._departure(entry) for entry in entries])
            assert len(left) == BATCH + 5
            assert [change.count for change in left if change.vacated] == [0]

    # -- reading -----------------------------------------------------------------------------------

    async def test_members_are_bounded_and_in_the_order_of_joining(self) -> None:
        async with self.store() as store:
            stream, node = self._name("room"), self._name("node")
            names = [f"c{n}" for n in (5, 3, 9, 1)]
            for name in names:
                await store.enter(node, [self._entry(stream, name)], LEASE_S)
            roll = await store.members(stream, 3)
            assert [member.id for member in roll.members] == names[:3]
            assert roll.count == 4
            assert (await store.members(stream, 0)).members == ()

    async def test_a_channel_without_members_is_empty(self) -> None:
        async with self.store() as store:
            roll = await store.members(self._name("room"), 10)
            assert (roll.count, roll.sequence, roll.members) == (0, 0, ())

    # -- grace -------------------------------------------------------------------------------------

    async def test_a_member_that_comes_back_within_its_grace_has_never_left(self) -> None:
        async with self.store() as store:
            stream, node, other = self._name("room"), self._name("node"), self._name("node")
            entry = self._entry(stream, "c1", "user:1")
            await store.enter(node, [entry], LEASE_S)
            assert await store.leave(node, [self._departure(entry, GRACE_S)]) == []
            assert await self._ids(store, stream) == ["user:1"]
            await self.advance(GRACE_S / 2)
            assert await self._swept(store, stream) == []
            assert (
                await store.enter(other, [self._entry(stream, "c2", "user:1")], 9 * LEASE_S) == []
            )
            await self.advance(GRACE_S)
            assert await self._swept(store, stream) == []

    async def test_a_member_leaves_when_its_grace_is_over(self) -> None:
        async with self.store() as store:
            stream, node = self._name("room"), self._name("node")
            entry = self._entry(stream, "c1")
            await store.enter(node, [entry], LEASE_S)
            await store.leave(node, [self._departure(entry, GRACE_S)])
            await self.advance(GRACE_S * 1.1)
            assert (await store.members(stream, 9)).overdue
            (change,) = await self._swept(store, stream)
            assert (change.kind, change.member, change.count) == ("leave", entry.member, 0)
            assert change.vacated
            assert not (await store.members(stream, 9)).overdue

    async def test_one_of_many_sweeps_gets_a_decision(self) -> None:
        async with self.store() as store, self.store() as other:
            stream, node = self._name("room"), self._name("node")
            entries = [self._entry(stream, f"c{n}") for n in range(20)]
            await store.enter(node, entries, LEASE_S)
            await store.leave(node, [self._departure(entry, GRACE_S) for entry in entries])
            await self.advance(GRACE_S * 1.1)
            found = await asyncio.gather(
                *(self._swept(each, stream) for each in (store, other) for _ in range(5))
            )
            left = [change.member.id for changes in found for change in changes]
            assert sorted(left) == sorted(entry.member.id for entry in entries)

    # -- leases ------------------------------------------------------------------------------------

    async def test_members_of_a_dead_node_leave_with_its_lease(self) -> None:
        async with self.store() as store:
            stream, dead, alive = self._name("room"), self._name("node"), self._name("node")
            partition = partition_of(stream)
            await store.enter(dead, [self._entry(stream, "c1"), self._entry(stream, "c2")], LEASE_S)
            await store.enter(alive, [self._entry(stream, "c3")], LEASE_S)
            await self.advance(LEASE_S / 2)
            assert await store.renew(alive, {partition: 1}, LEASE_S) == frozenset()
            assert await self._swept(store, stream) == []
            await self.advance(LEASE_S * 0.6)
            assert (await store.members(stream, 9)).overdue
            changes = await self._swept(store, stream)
            assert {change.member.id for change in changes} == {"c1", "c2"}
            assert await self._ids(store, stream) == ["c3"]

    async def test_a_renewed_lease_holds(self) -> None:
        async with self.store() as store:
            stream, node = self._name("room"), self._name("node")
            partition = partition_of(stream)
            await store.enter(node, [self._entry(stream, "c1")], LEASE_S)
            for _ in range(3):
                await self.advance(LEASE_S * 0.6)
                assert await store.renew(node, {partition: 1}, LEASE_S) == frozenset()
            assert await self._swept(store, stream) == []

    async def test_a_member_that_reconnected_elsewhere_does_not_leave_with_the_dead_node(
        self,
    ) -> None:
        async with self.store() as store:
            stream, dead, alive = self._name("room"), self._name("node"), self._name("node")
            await store.enter(dead, [self._entry(stream, "c1", "user:1")], LEASE_S)
            await store.enter(alive, [self._entry(stream, "c2", "user:1")], 9 * LEASE_S)
            await self.advance(LEASE_S * 1.1)
            assert await self._swept(store, stream) == []
            assert await self._ids(store, stream) == ["user:1"]

    async def test_a_node_that_was_swept_learns_it_and_enters_again(self) -> None:
        async with self.store() as store:
            stream, node = self._name("room"), self._name("node")
            partition = partition_of(stream)
            entry = self._entry(stream, "c1")
            await store.enter(node, [entry], LEASE_S)
            await self.advance(LEASE_S * 1.1)
            assert len(await self._swept(store, stream)) == 1
            assert await store.renew(node, {partition: 1}, LEASE_S) == {partition}
            assert await store.held(node, partition) == frozenset()
            (change,) = await store.enter(node, [entry], LEASE_S)
            assert change.occupied
            assert await store.renew(node, {partition: 1}, LEASE_S) == frozenset()

    async def test_held_is_what_a_node_holds(self) -> None:
        async with self.store() as store:
            stream, node = self._name("room"), self._name("node")
            entries = [self._entry(stream, f"c{n}", "user:1") for n in range(3)]
            await store.enter(node, entries, LEASE_S)
            await store.leave(node, [self._departure(entries[0], GRACE_S)])
            expected = {Hold(stream, "user:1", "c1"), Hold(stream, "user:1", "c2")}
            assert await store.held(node, partition_of(stream)) == expected
            assert await store.held(self._name("node"), partition_of(stream)) == frozenset()

    async def test_many_members_of_a_dead_node_all_leave(self) -> None:
        async with self.store() as store:
            stream, node = self._name("room"), self._name("node")
            entries = [self._entry(stream, f"c{n}") for n in range(2 * BATCH + 1)]
            await store.enter(node, entries, LEASE_S)
            await self.advance(LEASE_S * 1.1)
            changes = await self._swept(store, stream)
            assert len(changes) == 2 * BATCH + 1
            assert changes[-1].vacated
            assert (await store.members(stream, 9)).count == 0
