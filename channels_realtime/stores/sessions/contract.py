"""The tests that every session store must pass, as a mixin for a test class of unittest or pytest."""

from __future__ import annotations

import asyncio
import secrets

from ..scenario import scenario
from .base import Save, SessionStore, Taken

USER = "=1"


def _saved(
    key: str, owner: str = "a", identity: str = USER, body: bytes = b"x", ttl: float = 60.0
) -> Save:
    return Save(key=key, owner=owner, identity=identity, body=body, ttl=ttl)


class SessionStoreContract:
    """Tests of a ``SessionStore``: mix it into a test class, and define ``make_store``."""

    def make_store(self) -> SessionStore:
        """Return a store."""
        raise NotImplementedError

    async def advance(self, seconds: float) -> None:
        """Let the store's time pass; by default it is waited for."""
        await asyncio.sleep(seconds)

    @scenario
    async def test_takes_what_was_saved_last(self, store: SessionStore) -> None:
        key = secrets.token_hex(20)
        assert await store.save([_saved(key, body=b"first")]) == frozenset()
        assert await store.save([_saved(key, body=b" \x00\n\xff last ")]) == frozenset()
        assert await store.take(key, USER, ttl=60.0) == Taken("a", b" \x00\n\xff last ")

    @scenario
    async def test_knows_no_session_that_was_never_saved(self, store: SessionStore) -> None:
        assert await store.take(secrets.token_hex(20), USER, ttl=60.0) is None

    @scenario
    async def test_is_taken_once(self, store: SessionStore) -> None:
        key = secrets.token_hex(20)
        await store.save([_saved(key)])
        assert await store.take(key, USER, ttl=60.0) is not None
        assert await store.take(key, USER, ttl=60.0) is None

    @scenario
    async def test_one_of_many_that_race_takes_it(self, store: SessionStore) -> None:
        keys = [secrets.token_hex(20) for _ in range(20)]
        await store.save([_saved(key) for key in keys])
        for key in keys:
            taken = await asyncio.gather(*(store.take(key, USER, ttl=60.0) for _ in range(10)))
            assert sum(one is not None for one in taken) == 1

    @scenario
    async def test_refuses_the_owner_of_a_session_that_was_taken(self, store: SessionStore) -> None:
        one, two = secrets.token_hex(20), secrets.token_hex(20)
        await store.save([_saved(one), _saved(two)])
        await store.take(one, USER, ttl=60.0)
        assert await store.save([_saved(one), _saved(two)]) == {one}
        assert await store.take(one, USER, ttl=60.0) is None
        assert await store.take(two, USER, ttl=60.0) is not None

    @scenario
    async def test_refuses_another_owner(self, store: SessionStore) -> None:
        key = secrets.token_hex(20)
        await store.save([_saved(key, body=b"mine")])
        assert await store.save([_saved(key, owner="b", body=b"other")]) == {key}
        assert await store.take(key, USER, ttl=60.0) == Taken("a", b"mine")

    @scenario
    async def test_is_not_there_for_another_identity_and_stays(self, store: SessionStore) -> None:
        key = secrets.token_hex(20)
        await store.save([_saved(key)])
        for identity in ("=2", "?", "=1 ", "", "-", "=\x001", "=\ud800"):
            assert await store.take(key, identity, ttl=60.0) is None
        assert await store.take(key, USER, ttl=60.0) is not None

    @scenario
    async def test_taken_session_is_not_there_for_an_empty_identity(
        self, store: SessionStore
    ) -> None:
        key = secrets.token_hex(20)
        await store.save([_saved(key)])
        await store.take(key, USER, ttl=60.0)
        assert await store.take(key, "", ttl=60.0) is None

    @scenario
    async def test_changes_its_identity_with_its_owner(self, store: SessionStore) -> None:
        key = secrets.token_hex(20)
        await store.save([_saved(key, identity="?")])
        await store.save([_saved(key, identity=USER)])
        assert await store.take(key, "?", ttl=60.0) is None
        assert await store.take(key, USER, ttl=60.0) is not None

    @scenario
    async def test_is_too_old_after_its_time(self, store: SessionStore) -> None:
        key = secrets.token_hex(20)
        await store.save([_saved(key, ttl=0.2)])
        await self.advance(0.3)
        assert await store.take(key, USER, ttl=60.0) is None

    @scenario
    async def test_saving_again_gives_it_its_whole_time(self, store: SessionStore) -> None:
        key = secrets.token_hex(20)
        await store.save([_saved(key, ttl=0.2)])
        await store.save([_saved(key, ttl=60.0)])
        await self.advance(0.3)
        assert await store.take(key, USER, ttl=60.0) is not None

    @scenario
    async def test_owner_saves_anew_what_the_store_has_lost(self, store: SessionStore) -> None:
        key = secrets.token_hex(20)
        await store.save([_saved(key, ttl=0.2)])
        await self.advance(0.3)
        assert await store.save([_saved(key, owner="b")]) == frozenset()
        assert await store.take(key, USER, ttl=60.0) == Taken("b", b"x")

    @scenario
    async def test_forgets_for_the_owner_alone(self, store: SessionStore) -> None:
        one, two, taken = (secrets.token_hex(20) for _ in range(3))
        await store.save([_saved(one), _saved(two), _saved(taken)])
        await store.take(taken, USER, ttl=60.0)
        await store.forget([(one, "a"), (two, "b"), (taken, "a")])
        assert await store.take(one, USER, ttl=60.0) is None
        assert await store.take(two, USER, ttl=60.0) is not None
        assert await store.save([_saved(taken)]) == {taken}

    @scenario
    async def test_saves_and_forgets_nothing(self, store: SessionStore) -> None:
        assert await store.save([]) == frozenset()
        await store.forget([])
