"""The tests that every inbox store must pass, as a mixin for a test class of unittest or pytest."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from ...protocol.messages import Position
from ..scenario import scenario
from .inboxes import Acknowledgement, Inbox, InboxStore

_LEASE_S = 60.0
_PAST = 0.0

_Scenario = Callable[[Any, InboxStore, str], Awaitable[None]]


def _scenario(run: _Scenario) -> Callable[[Any], None]:
    """Make a test of a coroutine function that takes a store and a stream of its own."""

    @functools.wraps(run)
    async def with_stream(self: Any, store: InboxStore) -> None:
        await run(self, store, f"inbox/{uuid.uuid4().hex}")

    return scenario(with_stream)


class InboxStoreContract:
    """Tests of an ``InboxStore``: mix it into a test class, and define ``make_store``.

    The store must be one that no node looks after meanwhile.
    """

    def make_store(self) -> InboxStore:
        """Return a store. If it is ``shared``, all that this returns see the same inboxes."""
        raise NotImplementedError

    @_scenario
    async def test_inbox_begins_once(self, store: InboxStore, stream: str) -> None:
        assert await store.acknowledged(stream, "5") is None
        await store.open(stream, "5", Position("a", 3))
        await store.open(stream, "5", Position("a", 9))
        assert await store.acknowledged(stream, "5") == Inbox(Position("a", 3))
        assert await store.acknowledged(stream, "6") is None

    @_scenario
    async def test_acknowledged_position_only_grows(self, store: InboxStore, stream: str) -> None:
        for offset, expected in ((5, 5), (3, 5), (8, 8), (10, 10), (9, 10)):
            await store.acknowledge([Acknowledgement(stream, "5", Position("a", offset))])
            found = await store.acknowledged(stream, "5")
            assert found == Inbox(Position("a", expected))

    @_scenario
    async def test_position_of_another_epoch_takes_its_place(
        self, store: InboxStore, stream: str
    ) -> None:
        for position in (Position("a", 5), Position("b", 2)):
            await store.acknowledge([Acknowledgement(stream, "5", position)])
        assert await store.acknowledged(stream, "5") == Inbox(Position("b", 2))

    @_scenario
    async def test_many_are_acknowledged_at_once(self, store: InboxStore, stream: str) -> None:
        streams = [f"{stream}/{number}" for number in range(3)]
        await store.acknowledge(
            [
                Acknowledgement(each, user, Position("a", offset))
                for each in streams
                for offset, user in enumerate(("x", "y z", "é"), 1)
            ]
        )
        for each in streams:
            users = (await store.inboxes(each)).users
            assert {user: inbox.acknowledged for user, inbox in users.items()} == {
                "x": Position("a", 1),
                "y z": Position("a", 2),
                "é": Position("a", 3),
            }

    @_scenario
    async def test_what_is_expected_begins_inboxes(self, store: InboxStore, stream: str) -> None:
        await store.acknowledge([Acknowledgement(stream, "5", Position("a", 5))])
        await store.expect(stream, ["5", "6"], 1e10)
        users = (await store.inboxes(stream)).users
        assert users == {"5": Inbox(Position("a", 5)), "6": Inbox()}

    @_scenario
    async def test_stream_that_is_due_is_claimed_once(self, store: InboxStore, stream: str) -> None:
        await store.expect(stream, [], 100.0)
        await store.expect(stream, [], 200.0)  # what is due earlier stays so
        assert stream not in await store.claim(99.0, _LEASE_S, 1_000)
        assert stream in await store.claim(101.0, _LEASE_S, 1_000)
        assert stream not in await store.claim(102.0, _LEASE_S, 1_000)
        assert stream in await store.claim(101.0 + _LEASE_S, _LEASE_S, 1_000)

    @_scenario
    async def test_claims_are_bounded(self, store: InboxStore, stream: str) -> None:
        streams = {f"{stream}/{number}" for number in range(5)}
        for each in streams:
            await store.expect(each, [], _PAST)
        first = await store.claim(1.0, _LEASE_S, 2)
        assert len(first) == 2
        assert streams <= {*first, *await store.claim(1.0, _LEASE_S, 1_000)}

    @_scenario
    async def test_settled_stream_is_due_again_when_it_was_said(
        self, store: InboxStore, stream: str
    ) -> None:
        await store.expect(stream, ["5"], 100.0)
        await store.claim(101.0, _LEASE_S, 1_000)
        revision = (await store.inboxes(stream)).revision
        await store.settle(stream, revision, {"5": Position("a", 3)}, 300.0)
        assert (await store.inboxes(stream)).users == {"5": Inbox(None, Position("a", 3))}
        assert stream not in await store.claim(299.0, _LEASE_S, 1_000)
        assert stream in await store.claim(301.0, _LEASE_S, 1_000)
        await store.settle(stream, revision, {}, None)
        assert stream not in await store.claim(1e9, _LEASE_S, 1_000)

    @_scenario
    async def test_what_is_expected_meanwhile_is_not_lost(
        self, store: InboxStore, stream: str
    ) -> None:
        await store.expect(stream, [], 100.0)
        await store.claim(101.0, _LEASE_S, 1_000)
        revision = (await store.inboxes(stream)).revision
        await store.expect(stream, [], 500.0)
        await store.settle(stream, revision, {}, None)
        assert stream in await store.claim(102.0, _LEASE_S, 1_000)

    @_scenario
    async def test_what_is_expected_before_the_look_is_due_though_it_was_not_found(
        self, store: InboxStore, stream: str
    ) -> None:
        await store.expect(stream, [], 100.0)
        for claimed_at, due_again in ((101.0, None), (501.0, 900.0)):
            expected = claimed_at + 100.0
            await store.claim(claimed_at, _LEASE_S, 1_000)
            await store.expect(stream, [], expected)  # its publication is kept after the look
            revision = (await store.inboxes(stream)).revision
            await store.settle(stream, revision, {}, due_again)
            assert stream not in await store.claim(expected - 1.0, _LEASE_S, 1_000)
            assert stream in await store.claim(expected + 1.0, _LEASE_S, 1_000)
            await store.settle(stream, revision, {}, 500.0)

    @_scenario
    async def test_claim_is_not_ended_by_what_is_expected_meanwhile(
        self, store: InboxStore, stream: str
    ) -> None:
        await store.expect(stream, [], 100.0)
        await store.claim(101.0, _LEASE_S, 1_000)
        revision = (await store.inboxes(stream)).revision
        await store.expect(stream, [], 102.0)
        assert stream not in await store.claim(103.0, _LEASE_S, 1_000)
        await store.settle(stream, revision, {}, None)
        assert stream in await store.claim(103.0, _LEASE_S, 1_000)
        await store.settle(stream, revision + 1, {}, 300.0)
        await store.expect(stream, [], 200.0)
        assert stream in await store.claim(201.0, _LEASE_S, 1_000)

    @_scenario
    async def test_acknowledging_keeps_what_was_notified(
        self, store: InboxStore, stream: str
    ) -> None:
        await store.expect(stream, ["5"], 1e10)
        await store.settle(stream, 1, {"5": Position("a", 3)}, None)
        await store.acknowledge([Acknowledgement(stream, "5", Position("a", 2))])
        assert await store.acknowledged(stream, "5") == Inbox(Position("a", 2), Position("a", 3))

    @_scenario
    async def test_inbox_ends(self, store: InboxStore, stream: str) -> None:
        await store.open(stream, "5", Position("a", 3))
        await store.open(stream, "6", Position("a", 3))
        await store.forget(stream, "5")
        await store.forget(stream, "nobody")
        assert set((await store.inboxes(stream)).users) == {"6"}
